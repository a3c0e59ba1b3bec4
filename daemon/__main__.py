"""`python -m daemon` is `tokd`."""

from daemon.cli import main

if __name__ == "__main__":
    main()
