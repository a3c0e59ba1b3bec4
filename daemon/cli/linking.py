"""`tokd account link`: the address of TikTok's page, and the wait for the person to come back from it."""

import contextlib
import os
import sys
import webbrowser
from collections.abc import Iterator
from datetime import UTC, datetime
from time import monotonic
from typing import Annotated, Any
from urllib.parse import parse_qs, urlsplit

import typer
from rich.console import Console

from adapters.control import ControlClient
from daemon.cli.exits import FAILED
from daemon.cli.invocation import LONG_S, Json, ask, conclude, exchange, invocation_of
from daemon.cli.narration import kind_of
from daemon.cli.output import print_json, print_refusal, say
from daemon.cli.story import ask_quietly
from daemon.cli.times import local_hour
from daemon.domain.errors import Code, Rejected
from daemon.domain.events import EventType

LINKED, FAILED_TO_LINK = EventType.ACCOUNT_LINKED.value, EventType.ACCOUNT_LINK_FAILED.value
CALLBACK = "/tiktok/callback"
_PARTS = ("state", "code", "scopes", "error", "error_description")
_BEYOND = 2**53 - 1  # no event has this number: only the latest one's is asked for
_GRACE_S = 150.0  # the person may come back at the last moment, and TikTok may be slow then


def link(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the account is called here.")],
    paste: Annotated[
        bool,
        typer.Option("--paste", help="Read the address the browser ended at: for a server reached by ssh."),
    ] = False,
    no_open: Annotated[bool, typer.Option("--no-open", help="Print the address, open no browser.")] = False,
    ask_again: Annotated[
        bool, typer.Option("--ask-again", help="Show TikTok's page to who has agreed before, too (web flow).")
    ] = False,
    as_json: Json = False,
) -> None:
    """Link an account: agree on TikTok's page in a browser, and tokd does the rest.

    The browser must run on this machine, or where tiktok.redirect_uri leads to tokd. Where it does not, as on a
    server reached by ssh, use --paste: open the address in any browser, agree, and paste the address of the page
    that it ends at, even where that page cannot be loaded.

    Example: tokd account link shop
    """
    client = invocation_of(ctx).client()
    after = int(ask_quietly(client, "events/replay", {"after": _BEYOND, "limit": 1})["latest"])
    args = {"account": name, "disable_auto_auth": True if ask_again else None}
    given = {key: value for key, value in args.items() if value is not None}
    reply = exchange(ctx, "account/link", {"args": given})
    begun = conclude(reply, as_json=as_json) or reply["result"]
    if not as_json:
        say("Open this address in a browser, log in as the account's person, and agree:", error=True)
        print(begun["auth_url"], flush=True)
    if paste:
        _finish(ctx, name, as_json=as_json)
        return
    if not _listens(begun.get("redirect_uri", ""), invocation_of(ctx).loaded().settings.redirect_uri):
        say(
            f"note: by these settings tokd does not listen at {begun['redirect_uri']}; where the last page cannot be "
            f"loaded, use `tokd account link {name} --paste`",
            error=True,
        )  # fmt: skip
    if not no_open and _has_desktop():
        webbrowser.open(begun["auth_url"])
    try:
        with _progress(name, begun):
            event = _outcome(client, name, after, begun)
    except KeyboardInterrupt:
        say(
            f"the address holds until {local_hour(begun['expires_at'])}: agree there, and `tokd account list` tells; "
            f"or begin anew with `tokd account link {name}`",
            error=True,
        )
        raise
    _tell(event, name, as_json=as_json)


def _listens(redirect_uri: str, ours: str | None) -> bool:
    """Tell whether the browser may well find tokd there: a server's own proxy is nothing that can be seen from here."""
    parts = urlsplit(redirect_uri)
    return parts.scheme != "http" or (redirect_uri == ours and parts.path == CALLBACK)


def _has_desktop() -> bool:
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


@contextlib.contextmanager
def _progress(name: str, begun: dict[str, Any]) -> Iterator[None]:
    words = f"waiting for account {name} until {local_hour(begun['expires_at'])} (no way back here? --paste)"
    console = Console(stderr=True)
    if not console.is_terminal:
        say(words, error=True)
        yield
        return
    with console.status(words):
        yield


def _outcome(client: ControlClient, name: str, after: int, begun: dict[str, Any]) -> dict[str, Any] | None:
    """Return the event that says how it ended, None where nobody came back in time."""
    left = (datetime.fromisoformat(begun["expires_at"]) - datetime.now(UTC)).total_seconds()
    try:
        for event in client.watch(after, until=monotonic() + max(0.0, left + _GRACE_S)):
            if event.get("subject") == f"account/{name}" and kind_of(event) in {LINKED, FAILED_TO_LINK}:
                return event
    except TimeoutError:
        pass
    return None


def _tell(event: dict[str, Any] | None, name: str, *, as_json: bool) -> None:
    if event is None:
        say(f"nobody came back in time; begin anew with `tokd account link {name}`", error=True)
        raise typer.Exit(FAILED)
    data = event["data"]
    if as_json:
        print_json(event)
    elif kind_of(event) == LINKED:
        _say_linked(name, data.get("warnings") or ())
    else:
        print_refusal(data)
    if kind_of(event) != LINKED:
        raise typer.Exit(FAILED)


def _say_linked(name: str, warnings: Any) -> None:
    say(f"account {name} is linked", style="green")
    for warning in warnings:
        say(f"  but: {warning}", error=True, style="yellow")


def _finish(ctx: typer.Context, name: str, *, as_json: bool) -> None:
    say("Then paste the address that the browser ended at:", error=True)
    args = parts_of(sys.stdin.readline()) | {"account": name}
    result = ask(ctx, "account/finish_link", args, as_json=as_json, timeout_s=LONG_S)
    if result is not None:
        _say_linked(name, result["warnings"])


def parts_of(address: str) -> dict[str, str]:
    """Return what TikTok has put into an address. Raises Rejected, and no part of what was read is in its message."""
    try:
        found = parse_qs(urlsplit(address.strip()).query)
    except ValueError:
        found = {}
    parts = {name: found[name][0] for name in _PARTS if len(found.get(name, ())) == 1}
    if "state" not in parts or not parts.keys() & {"code", "error"}:
        raise Rejected(
            Code.BAD_FIELD,
            "this is not the address that TikTok sends a browser back to: it has …/callback?code=…&state=… in it",
        )
    return parts
