"""One module for each command or event, and the two registries that name them all."""
