"""The root of the command line: global options, and the table of commands."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli import (
    access,
    accounts,
    configuration,
    describing,
    doctor,
    keys,
    posts,
    profiles,
    running,
    safekeeping,
    sessions,
    system,
    tasks,
    tokens,
    watching,
)  # fmt: skip
from daemon.cli.exits import Commands
from daemon.cli.invocation import Invocation

_HELP = """\
tokd posts to TikTok at set times, exactly once, and tells every step. It opens your own browser profile, too,
as a clone that is thrown away.

\b
First steps, without a TikTok app:
  tokd run --with-broker --simulate
  tokd post schedule clip.mp4 --account demo --at +10s --privacy SELF_ONLY
  tokd watch
\b
First steps with a browser, while tokd runs:
  tokd profile login
  tokd session open --wait
  tokd session list
\b
Exit codes: 0 done, 1 refused or failed, 2 wrong usage,
69 tokd is not running, 70 a fault of tokd, 78 a mistake in the configuration.
"""

app = typer.Typer(
    cls=Commands,
    help=_HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # they would print local values, tokens among them
    context_settings={"help_option_names": ["-h", "--help"]},
)
running.register(app)
posts.register(app)
accounts.register(app)
tasks.register(app)
sessions.register(app)
profiles.register(app)
system.register(app)
tokens.register(app)
access.register(app)
keys.register(app)
safekeeping.register(app)
watching.register(app)
configuration.register(app)
describing.register(app)
doctor.register(app)


def _show_version(value: bool) -> None:
    if value:
        try:
            found = version("tokd")
        except PackageNotFoundError:  # run from a checkout
            found = "unknown"
        typer.echo(f"tokd {found}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", metavar="PATH", help="Settings file; else $TOKD_CONFIG, ./tokd.toml."),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Another value for a setting, such as log.level=debug."
        ),
    ] = None,
    show_version: Annotated[  # noqa: ARG001 - its callback has done the work
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Keep the global options for the command."""
    found: dict[str, str] = {}
    for pair in overrides or ():
        name, sign, value = pair.partition("=")
        if not sign or not name.strip():
            raise typer.BadParameter(
                f"{pair!r} is not KEY=VALUE, such as log.level=debug", param_hint="--set"
            )
        found[name.strip()] = value
    ctx.obj = Invocation(config, found)
