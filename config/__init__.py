"""Settings: one model, one loader, the defaults and the logging set-up. Imports nothing of the rest."""
