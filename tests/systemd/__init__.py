"""The units in a real systemd, booted inside a copy of this machine (make test-systemd)."""
