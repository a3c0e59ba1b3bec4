"""`tokd profile …`: the browser profiles, logging in to one, keeping a clone as one."""

from typing import Annotated, Any

import typer

from daemon.cli import options as o
from daemon.cli.exits import FAILED
from daemon.cli.interrupt import Interrupt
from daemon.cli.invocation import LONG_S, CommandId, Json, ask, conclude, exchange, invocation_of
from daemon.cli.narration import end_of, is_good_end, kind_of, login_in_short
from daemon.cli.output import as_size, print_json, print_table, program, say
from daemon.cli.sessions import Lasting, Session, Url, order_of
from daemon.cli.story import Story, tell_step
from daemon.cli.times import local_hour, local_time
from daemon.domain.events import EventType

profiles = typer.Typer(help="Browser profiles: see them, log in, keep a clone.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands to the root."""
    app.add_typer(profiles, name="profile")


@profiles.command("list")
def list_profiles(ctx: typer.Context, as_json: Json = False) -> None:
    """List the browser profiles, who uses them, and their login state when last seen.

    Example: tokd profile list
    """
    result = ask(ctx, "profiles/list", {}, as_json=as_json)
    if result is None:
        return
    rows = [
        [found["profile"], as_size(found.get("size", 0)), local_time(found.get("used_at")), found.get("in_use_by", ""),
         found.get("encryption", ""), _login(found.get("login") or {}), found.get("account", "")]
        for found in result["profiles"]
    ]  # fmt: skip
    columns = ["profile", "size", "last used", "in use by", "encryption", "login when last seen", "account"]
    print_table(columns, rows, "there is no profile yet; `tokd profile login` makes one")


def _login(sighting: dict[str, Any]) -> str:
    seen = local_time(sighting.get("seen_at"))
    return f"{login_in_short(sighting)}, {seen}" if seen else ""


@profiles.command("login")
def login(
    ctx: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="The profile; made where it is new.", show_default=False),
    ] = None,
    url: Url = None,
    lasting: Lasting = None,
    command_id: CommandId = None,
    as_json: Json = False,
) -> None:
    """Open a window on a profile itself, to log in there; stay until it is closed. Ctrl-C closes it cleanly.

    Example: tokd profile login shop
    """
    args = {"profile": name, "url": url, "timeout_seconds": o.duration_of(lasting, "--for")}
    order = order_of(args, command_id)
    story = Story(invocation_of(ctx).client(), order["id"])

    with Interrupt(lambda: _close(ctx, story)) as ctrl_c:

        def tell(event: dict[str, Any]) -> None:
            if not as_json:
                _tell_login(event)
            if ctrl_c.is_pressed and kind_of(event) == EventType.SESSION_REQUESTED:
                _close(ctx, story)  # it was pressed before there was anything to close

        reply = exchange(
            ctx, "profiles/login", order, lambda _status: story.until_open(tell), timeout_s=LONG_S
        )
        result = conclude(reply, as_json=as_json)
        if result is not None:
            say(f"the window is open until {local_hour(result['ends_at'])}", error=True)
        story.session = reply["result"]["session"]
        event = story.until_end(tell)
    if as_json:
        print_json(event)
    else:
        _show_login(event["data"])
    if not is_good_end(event["data"]):
        raise typer.Exit(FAILED)


def _show_login(data: dict[str, Any]) -> None:
    say(f"the session {end_of(data)}")
    if is_good_end(data):
        say(f"next: {program()} session open --profile {data['profile']}")


def _tell_login(event: dict[str, Any]) -> None:
    tell_step(event)
    if kind_of(event) == EventType.SESSION_STARTED:  # not before: it may be refused
        profile = event["data"].get("profile")
        say(f"A browser window opens on profile {profile}: log in there, then close the window.")


def _close(ctx: typer.Context, story: Story) -> None:
    """Let the window close cleanly, so that the profile keeps all that was done in it."""
    say("closing the window …", error=True)
    if story.session is not None:
        exchange(ctx, "session/close", order_of({"session": story.session}, None))


@profiles.command("promote")
def promote(
    ctx: typer.Context,
    session: Session = None,
    profile: Annotated[
        str | None,
        typer.Option(
            "--as", metavar="NAME", help="The profile to become, instead of the one it was cloned from."
        ),
    ] = None,
    command_id: CommandId = None,
    as_json: Json = False,
) -> None:
    """Close a session cleanly and keep its clone as the profile; the old one becomes a backup.

    Example: tokd profile promote --as shop
    """
    args = {"session": session, "profile": profile}
    story = Story(invocation_of(ctx).client())
    reply = exchange(ctx, "profiles/promote", order_of(args, command_id))
    conclude(reply, as_json=as_json)
    story.session = reply["result"]["session"]
    event = story.until_end(lambda _event: None)
    if as_json:
        print_json(event)
    else:
        _show_promotion(event["data"])
    if not event["data"].get("promoted_to"):
        raise typer.Exit(FAILED)


def _show_promotion(data: dict[str, Any]) -> None:
    if not data.get("promoted_to"):
        why = data.get("promotion_error") or f"the session {end_of(data)}"
        say(f"the profile was not replaced: {why}", error=True, style="red")
        if data.get("kept_clone"):
            kept = (
                f"its clone is kept in {data['kept_clone']}; moved beside the profiles it is one of its own"
            )
            say(kept, error=True)
        return
    say(f"the clone of session {data['session']} is profile {data['promoted_to']} now")
    say(
        f"the old one is kept in {data['backup']}"
        if data.get("backup")
        else "there was none of that name before"
    )
