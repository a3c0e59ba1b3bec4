"""`tokd run` and `tokd simulator`."""

from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.exits import FAILED
from daemon.cli.invocation import Json, invocation_of
from daemon.cli.output import print_json, say
from daemon.importing import without_collections


def register(app: typer.Typer) -> None:
    """Add the commands to the root."""
    app.command("run")(run)
    app.command("simulator")(simulator)


def run(
    ctx: typer.Context,
    with_broker: Annotated[
        bool, typer.Option("--with-broker", help="Start a mosquitto of our own, on this machine only.")
    ] = False,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Post to a simulated TikTok, with an account `demo`.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Log JSON lines, whatever the settings say.")
    ] = False,
) -> None:
    """Run the daemon, until Ctrl-C or SIGTERM.

    Example: tokd run --with-broker --simulate
    """
    invocation = invocation_of(ctx)
    if as_json:
        invocation.overrides.setdefault("log.format", "json")
    loaded = invocation.loaded()
    with without_collections():
        from daemon.app import leave_hanging_threads  # noqa: PLC0415
        from daemon.bootstrap import RunOptions, run_daemon  # noqa: PLC0415 - it imports every adapter

    code = run_daemon(
        loaded, RunOptions(with_broker=with_broker, simulate=simulate), reread=invocation.loaded
    )
    leave_hanging_threads(code)
    raise typer.Exit(code)


def simulator(
    state_dir: Annotated[Path, typer.Option("--state-dir", metavar="D", help="Where its ledger is kept.")],
    port: Annotated[
        int, typer.Option("--port", metavar="P", min=0, max=65535, help="On loopback; 0 takes a free one.")
    ] = 0,
    users: Annotated[
        list[str] | None, typer.Option("--user", metavar="NAME", help="A simulated creator; may be repeated.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run the simulated TikTok alone, on this machine only, until Ctrl-C.

    Example: tokd simulator --port 8899 --state-dir ./simulator
    """
    with without_collections():
        from adapters.simulator.options import SimulatorOptions  # noqa: PLC0415 - FastAPI costs half a second
        from adapters.simulator.server import serve  # noqa: PLC0415

    def announce(url: str) -> None:
        if as_json:
            print_json({"url": url, "client_key": options.client_key})
        else:
            say(f"simulator ready at {url}")

    options = SimulatorOptions(users=tuple(users)) if users else SimulatorOptions()
    try:
        code = serve(port, state_dir, ready=announce, options=options)
    except OSError as error:
        say(str(error), error=True)
        code = FAILED
    raise typer.Exit(code)
