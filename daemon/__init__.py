"""What tokd decides: the core of the daemon. Imports no driver."""
