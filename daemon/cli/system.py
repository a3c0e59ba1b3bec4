"""`tokd send`, `pause`, `resume`, `health`."""

import sys
from typing import Annotated, Any

import typer

from daemon.cli.invocation import LONG_S, CommandId, Json, ask, send
from daemon.cli.output import as_text, print_fields, print_json, say
from daemon.domain.wire import ENVELOPE_FIELDS, MAX_BYTES, parse_object

_UNITS = {"s": 1, "m": 60, "h": 3600}


def register(app: typer.Typer) -> None:
    """Add the commands to the root."""
    app.command("send")(send_any)
    app.command("pause")(pause)
    app.command("resume")(resume)
    app.command("health")(health)
    app.command("log-level")(log_level)


def send_any(
    ctx: typer.Context,
    verb: Annotated[str, typer.Argument(metavar="VERB", help="Such as post/status or system/describe.")],
    text: Annotated[
        str, typer.Argument(metavar="JSON", help="The message, as over MQTT; - reads standard input.")
    ] = "{}",
    command_id: CommandId = None,
    as_json: Json = False,
) -> None:
    """Send any command: JSON is what you would send over MQTT, or only its arguments.

    Example: tokd send post/status '{"args": {"post": "p_7Q2"}}'
    """
    raw = sys.stdin.buffer.read(MAX_BYTES + 1) if text == "-" else text.encode("utf-8", "surrogateescape")
    envelope = envelope_of(parse_object(raw))
    result = send(ctx, verb, envelope, as_json=as_json, command_id=command_id, timeout_s=LONG_S)
    if result is not None:
        print_json(result)


def envelope_of(found: dict[str, Any]) -> dict[str, Any]:
    """Return the message; an object without any field of a message is taken for its arguments."""
    return {"args": found} if found and not set(found) & set(ENVELOPE_FIELDS) else found


def pause(
    ctx: typer.Context,
    reason: Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why.")] = None,
    as_json: Json = False,
) -> None:
    """Stop posting: due posts are held until `tokd resume`.

    Example: tokd pause --reason holidays
    """
    result = ask(ctx, "system/pause", {"reason": reason}, as_json=as_json)
    if result is not None:
        say("paused: posts that become due are held until `tokd resume`")


def resume(ctx: typer.Context, as_json: Json = False) -> None:
    """Post again.

    Example: tokd resume
    """
    result = ask(ctx, "system/resume", {}, as_json=as_json)
    if result is not None:
        say("posting again")


def log_level(
    ctx: typer.Context,
    level: Annotated[str, typer.Argument(metavar="LEVEL", help="debug, info, warning or error.")],
    for_: Annotated[
        str | None,
        typer.Option("--for", metavar="TIME", help="Such as 30s, 10m or 2h; else until the next start."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Log more or less from now on, without a restart.

    Example: tokd log-level debug --for 10m
    """
    seconds = _seconds(for_) if for_ is not None else None
    result = ask(ctx, "system/log_level", {"level": level, "for_s": seconds}, as_json=as_json)
    if result is not None:
        say(f"the log's level is {result['level']}" + (f" for {for_}" if for_ else " until the next start"))


def _seconds(text: str) -> int:
    number, unit = text[:-1], text[-1:]
    if not number.isdecimal() or unit not in _UNITS:
        raise typer.BadParameter(f"{text!r} is not a time such as 30s, 10m or 2h", param_hint="--for")
    return int(number) * _UNITS[unit]


def health(ctx: typer.Context, as_json: Json = False) -> None:
    """Tell the state of every part.

    Example: tokd health --json
    """
    result = ask(ctx, "system/health", {}, as_json=as_json)
    if result is None:
        return
    parts = result.pop("parts", None) or {}
    print_fields({name: value for name, value in result.items() if value not in ([], {}, None)})
    for name, part in parts.items():
        details = ", ".join(f"{key} {as_text(value)}" for key, value in part.items() if key != "ok")
        is_ok = part.get("ok", True)
        say(f"{'ok  ' if is_ok else 'FAIL'}  {name}  {details}".rstrip(), style="" if is_ok else "red")
