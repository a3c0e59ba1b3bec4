"""`tokd session …`: open windows on clones of profiles, look at them, close them."""

import base64
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from daemon.cli import options as o
from daemon.cli.exits import FAILED
from daemon.cli.invocation import LONG_S, CommandId, Json, ask, conclude, exchange, invocation_of, new_id
from daemon.cli.narration import end_of, is_good_end, login_in_short, login_of
from daemon.cli.output import as_size, print_fields, print_json, print_table, say
from daemon.cli.story import Story, find, tell_step, wait_until_over
from daemon.cli.times import local_hour, local_time

sessions = typer.Typer(help="Open browser windows, look at them, close them.", no_args_is_help=True)

Profile = Annotated[
    str | None, typer.Option("--profile", "-p", metavar="NAME", help="A profile; see `tokd profile list`.")
]
Url = Annotated[str | None, typer.Option("--url", metavar="URL", help="The page to open, instead of TikTok.")]
Lasting = Annotated[
    str | None, typer.Option("--for", metavar="TIME", help="How long it stays open: 90, 90s, 5m, 1h.")
]
Session = Annotated[
    str | None,
    typer.Argument(
        metavar="SESSION", help="The session's id; needed where several are open.", show_default=False
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands to the root."""
    app.add_typer(sessions, name="session")


@sessions.command("open")
def open_session(
    ctx: typer.Context,
    profile: Profile = None,
    url: Url = None,
    lasting: Lasting = None,
    headless: Annotated[
        bool | None, typer.Option("--headless/--no-headless", help="Without a window; for checks only.")
    ] = None,
    require_login: Annotated[
        bool | None,
        typer.Option("--require-login/--no-require-login", help="Close it again where it is not logged in."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Stay until it has ended, and say why.")] = False,
    command_id: CommandId = None,
    as_json: Json = False,
) -> None:
    """Open a window on a clone of a profile, and tell each step of it.

    Example: tokd session open --profile shop --for 10m --wait
    """
    args = {
        "profile": profile, "url": url, "timeout_seconds": o.duration_of(lasting, "--for"), "headless": headless,
        "require_login": require_login,
    }  # fmt: skip
    order = order_of(args, command_id)
    story = Story(invocation_of(ctx).client(), order["id"]) if wait or not as_json else None
    follow = None if as_json or story is None else lambda _status: story.until_open(tell_step)
    try:
        reply = exchange(ctx, "session/open", order, follow, timeout_s=LONG_S)
        result = conclude(reply, as_json=as_json)
        if result is not None:
            _show_open(result)
        if wait and story is not None:
            _stay(ctx, story, reply, as_json=as_json)
    except KeyboardInterrupt:
        named = f" {story.session}" if story is not None and story.session else ""
        say(f"the session goes on; `tokd session close{named}` closes it", error=True)
        raise


def order_of(args: dict[str, Any], command_id: str | None) -> dict[str, Any]:
    """Return the message of an order, without the arguments that nobody gave."""
    given = {name: value for name, value in args.items() if value is not None}
    return {"id": command_id or new_id(), "args": given}


def _show_open(result: dict[str, Any]) -> None:
    what = "it is open, without a window," if result.get("headless") else "the window is open"
    until = f" until {local_hour(result['ends_at'])}" if result.get("ends_at") else ""
    say(f"session {result['session']}: {what}{until}")


def _stay(ctx: typer.Context, story: Story, reply: dict[str, Any], *, as_json: bool) -> None:
    story.session = reply["result"]["session"]
    # An order that was given before may have opened a session that ended long ago.
    past = find(invocation_of(ctx).client(), [story.session], ended=True) if reply.get("replayed") else []
    event = {"data": past[0]} if past else story.until_end(_tell_nothing if as_json else tell_step)
    if as_json:
        print_json(past[0] if past else event)
    else:
        say(f"session {story.session} {end_of(event['data'])}")
    if not is_good_end(event["data"]):
        raise typer.Exit(FAILED)


def _tell_nothing(_event: dict[str, Any]) -> None:
    """Take a step for read."""


@sessions.command("close")
def close(
    ctx: typer.Context,
    session: Session = None,
    every: Annotated[bool, typer.Option("--all", help="Close all that are open.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait until it has ended.")] = False,
    command_id: CommandId = None,
    as_json: Json = False,
) -> None:
    """Close a session cleanly, and say why it ended.

    Example: tokd session close --all
    """
    if every and session is not None:
        raise typer.BadParameter("give a SESSION or --all, not both", param_hint="--all")
    reply = exchange(ctx, "session/close", order_of({"session": session, "all": every or None}, command_id))
    conclude(reply, as_json=as_json)
    result = reply["result"]
    names = result["closing"] if "closing" in result else [result["session"]]
    if not names and not as_json:
        say("no session is open")
    client = invocation_of(ctx).client()
    if no_wait:
        for name in names if not as_json else ():
            say(f"session {name} is closing")
        return
    is_over = wait_until_over(client, names)
    for view in find(client, names, ended=True):
        if as_json:
            print_json(view)
        else:
            say(f"session {view['session']} {end_of(view)}")
    if not is_over:
        say("still closing after 30 s; `tokd session list` tells when it has ended", error=True)
        raise typer.Exit(FAILED)


@sessions.command("list")
def list_sessions(
    ctx: typer.Context,
    ended: Annotated[bool, typer.Option("--ended", help="Those that were, instead.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many.")] = 50,
    as_json: Json = False,
) -> None:
    """List the sessions that are open, newest first.

    Example: tokd session list --ended
    """
    result = ask(ctx, "session/list", {"ended": ended, "limit": limit}, as_json=as_json)
    if result is None:
        return
    rows = [
        [found["session"], found["kind"], found["profile"], found["state"], login_in_short(found.get("login") or {}),
         local_time(found.get("ends_at")), found.get("reason") or ""]
        for found in result["sessions"]
    ]  # fmt: skip
    empty = "no session has ended yet" if ended else "no session is open; `tokd session open` opens one"
    print_table(["session", "kind", "profile", "state", "login", "ends at", "reason"], rows, empty)


@sessions.command("show")
def show(
    ctx: typer.Context,
    session: Annotated[
        str, typer.Argument(metavar="SESSION", help="The session's id, open or over.", show_default=False)
    ],
    as_json: Json = False,
) -> None:
    """Tell everything about one session, open or over.

    Example: tokd session show 0123456789abcdef
    """
    result = ask(ctx, "session/show", {"session": session}, as_json=as_json)
    if result is None:
        return
    login = {"login": login_of(result["login"])} if "login" in result else {}
    print_fields(result | login)


@sessions.command("extend")
def extend(
    ctx: typer.Context,
    words: Annotated[
        list[str],
        typer.Argument(metavar="[SESSION] TIME", help="At least so long from now: 300, 90s, 5m, 1h."),
    ],
    command_id: CommandId = None,
    as_json: Json = False,
) -> None:
    """Keep a session open for at least so long from now.

    Example: tokd session extend 10m
    """
    *named, text = words
    if len(named) > 1:
        raise typer.BadParameter("give one SESSION, and a TIME", param_hint="[SESSION] TIME")
    args = {"session": named[0] if named else None, "seconds": o.duration_of(text, "TIME")}
    result = ask(ctx, "session/extend", args, as_json=as_json, command_id=command_id)
    if result is not None:
        say(f"session {result['session']}: open until {local_hour(result['ends_at'])}")


@sessions.command("screenshot")
def screenshot(
    ctx: typer.Context,
    session: Session = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write it here, whatever was there.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Take a picture of a session's page.

    Example: tokd session screenshot --out page.jpg
    """
    args = {"session": session, "inline": True if out else None}
    given = {name: value for name, value in args.items() if value is not None}
    reply = exchange(ctx, "session/screenshot", {"args": given})
    if out is not None and reply["status"] == "done":
        image = base64.b64decode(reply["result"].pop("image"))
        _write(out, image)
    result = conclude(reply, as_json=as_json)
    if result is not None:
        say(f"{out or result['path']} ({result['media_type']}, {as_size(result['bytes'])})")


def _write(path: Path, content: bytes) -> None:
    """Write a file for its owner's eyes only: the page may show what is nobody else's business."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror}", param_hint="--out") from error


@sessions.command("check")
def check(ctx: typer.Context, session: Session = None, as_json: Json = False) -> None:
    """Read the login state of an open session once more, in a tab of its own.

    Example: tokd session check
    """
    result = ask(ctx, "session/check", {"session": session}, as_json=as_json)
    if result is not None:
        say(f"session {result['session']}: {login_of(result['login'])}")
