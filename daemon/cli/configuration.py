"""`tokd config …`: is it right, what holds, what could be written."""

from pathlib import Path
from typing import Annotated, Any

import typer

from config.login_markers import built_in_toml, markers_toml
from config.problems import ConfigError
from config.schema import example_toml, settings_schema
from config.show import effective
from daemon.cli.exits import CONFIG
from daemon.cli.invocation import Json, invocation_of
from daemon.cli.output import print_json, say

configuration = typer.Typer(help="Check and show the configuration.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands to the root."""
    app.add_typer(configuration, name="config")


def _shown(path: Path | None) -> str:
    return str(path) if path else "no file: defaults and environment"


@configuration.command("check")
def check(ctx: typer.Context, as_json: Json = False) -> None:
    """Check the configuration and tell every mistake at once; exits with 78 if there is one.

    Example: tokd --config tokd.toml config check
    """
    try:
        loaded = invocation_of(ctx).loaded()
    except ConfigError as error:
        if not as_json:
            raise
        print_json({"ok": False, "problems": [vars(problem) for problem in error.problems]})
        raise typer.Exit(CONFIG) from error
    if as_json:
        path = str(loaded.path) if loaded.path else None
        print_json({"ok": True, "path": path, "warnings": list(loaded.warnings)})
        return
    for warning in loaded.warnings:
        say(f"warning: {warning}", error=True, style="yellow")
    say(f"ok ({_shown(loaded.path)})")


@configuration.command("show")
def show(ctx: typer.Context, as_json: Json = False) -> None:
    """Show every setting that holds, and where it comes from; secrets are masked.

    Example: tokd config show
    """
    loaded = invocation_of(ctx).loaded()
    if not as_json:
        say(effective(loaded.settings, loaded.origins).rstrip("\n"))
        return
    found: dict[str, Any] = loaded.settings.model_dump(mode="json")  # SecretStr dumps as asterisks
    origins = {name: str(origin) for name, origin in loaded.origins.items()}
    print_json({"settings": found, "origins": origins})


@configuration.command("schema")
def schema(as_json: Json = False) -> None:  # noqa: ARG001 - it is JSON either way
    """Print the JSON schema of the settings file, for editors.

    Example: tokd config schema > tokd.schema.json
    """
    print_json(settings_schema())


@configuration.command("example")
def example(as_json: Json = False) -> None:
    """Print a settings file that changes nothing, with a sentence for every key.

    Example: tokd config example > tokd.toml
    """
    if as_json:
        print_json({"toml": example_toml()})
    else:
        print(example_toml(), end="")


@configuration.command("markers")
def markers(
    ctx: typer.Context,
    holds: Annotated[
        bool, typer.Option("--effective", help="Print what holds now, your own file included.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print the built-in login markers, to be saved and changed: session.login_markers_file names your file.

    Example: tokd config markers > login_markers.toml
    """
    text = markers_toml(invocation_of(ctx).loaded().markers) if holds else built_in_toml()
    if as_json:
        print_json({"toml": text})
    else:
        print(text, end="")
