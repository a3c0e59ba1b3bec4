"""The command line: the same commands as over MQTT, spoken to the daemon's own Unix socket."""


def main() -> None:
    """Run the command line and exit with its code."""
    from daemon.cli.app import app  # noqa: PLC0415 - importing this package must cost nothing

    app(prog_name="tokd")
