"""What every command needs: the settings, the way to the daemon, and one way to ask it."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from adapters.control import ControlClient
from config.load import Loaded, load_with_origins
from daemon.cli.exits import FAILED
from daemon.cli.output import print_json, print_refusal, say
from daemon.domain.commands import VERBS

SHORT_S = 60.0
LONG_S = 900.0  # a large file is read in full before its post is scheduled

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
CommandId = Annotated[
    str | None,
    typer.Option("--id", metavar="ID", help="Your own name for this order; sent twice, it is done once."),
]


@dataclass
class Invocation:
    """The global options."""

    config: Path | None = None
    overrides: dict[str, str] = field(default_factory=dict)

    def loaded(self) -> Loaded:
        """Load the settings. Raises ConfigError."""
        return load_with_origins(self.config, self.overrides)

    def client(self) -> ControlClient:
        """Return the way to the daemon of these settings."""
        return ControlClient(self.loaded().settings.control_socket)


def invocation_of(ctx: typer.Context) -> Invocation:
    """Return what this run was given."""
    found = ctx.obj
    assert isinstance(found, Invocation)
    return found


def new_id() -> str:
    """Return a command id that nobody has used."""
    return f"cli-{secrets.token_hex(8)}"


def ask(
    ctx: typer.Context,
    verb: str,
    args: dict[str, Any],
    *,
    as_json: bool,
    command_id: str | None = None,
    dry_run: bool = False,
    timeout_s: float = SHORT_S,
) -> dict[str, Any] | None:
    """Send a command and return its result; None where the reply has been printed as JSON.

    Prints the refusal and exits with 1 where there is one.
    """
    envelope: dict[str, Any] = {"args": {name: value for name, value in args.items() if value is not None}}
    if dry_run:
        envelope["dry_run"] = True
    return send(ctx, verb, envelope, as_json=as_json, command_id=command_id, timeout_s=timeout_s)


def send(
    ctx: typer.Context,
    verb: str,
    envelope: dict[str, Any],
    *,
    as_json: bool,
    command_id: str | None = None,
    timeout_s: float = SHORT_S,
) -> dict[str, Any] | None:
    """Send an envelope as it is, with an id if it has none and the command has an effect."""
    row = VERBS.get(verb)
    if command_id is not None:
        envelope = envelope | {"id": command_id}
    elif row is not None and row.is_durable and envelope.get("id") is None:
        envelope = envelope | {"id": new_id()}
        if row.needs_id and not as_json:
            say(f"id {envelope['id']}")  # before it is sent: whatever happens, it can be asked after
    on_accepted = None if as_json else _say_accepted
    return conclude(exchange(ctx, verb, envelope, on_accepted, timeout_s=timeout_s), as_json=as_json)


def exchange(
    ctx: typer.Context,
    verb: str,
    envelope: dict[str, Any],
    on_accepted: Callable[[str], object] | None = None,
    *,
    timeout_s: float = SHORT_S,
) -> dict[str, Any]:
    """Send an envelope and return the final reply, whatever it says; hand the status of each earlier one over."""
    final: dict[str, Any] = {}
    for reply in invocation_of(ctx).client().call(verb, envelope, timeout_s):
        if not reply["final"] and on_accepted is not None:
            on_accepted(reply["status"])
        final = reply
    return final


def _say_accepted(status: str) -> None:
    say(f"{status}; working on it …", error=True)


def conclude(reply: dict[str, Any], *, as_json: bool) -> dict[str, Any] | None:
    """Print a final reply as JSON, or return its result; a refusal is printed and exits with 1."""
    if as_json:
        print_json(reply)
        if reply["status"] != "done":
            raise typer.Exit(FAILED)
        return None
    if reply["status"] != "done":
        print_refusal(reply.get("error") or {"code": reply["status"], "message": f"it is {reply['status']}"})
        raise typer.Exit(FAILED)
    if reply.get("replayed"):
        say("this order was given before; this is its answer of then", error=True)
    result: dict[str, Any] = reply.get("result") or {}
    return result
