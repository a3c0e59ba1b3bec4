"""The command line: the same commands as over MQTT, spoken to the daemon's own Unix socket."""


def main() -> None:
    """Run the command line and exit with its code."""
    from daemon.importing import without_collections  # noqa: PLC0415 - importing this package must cost nothing

    with without_collections():
        from daemon.cli.app import app  # noqa: PLC0415

    app(prog_name="tokd")
