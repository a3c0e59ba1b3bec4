"""Values with every field filled in; a test names only those it is about."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from daemon.domain.account import Account, Login
from daemon.domain.ids import AccountName, Actor, NodeName, PostId
from daemon.domain.post import (
    Attempt,
    Consent,
    Description,
    Kind,
    LateRule,
    Mode,
    Post,
    Source,
    State,
)  # fmt: skip
from daemon.domain.wire import Request
from tests.fakes.clock import START
from tests.fakes.media import facts_of

NODE = NodeName("main")
NOW = START


def a_post(key: str = "p_1", **changes: Any) -> Post:
    """Return a file post of `ada` that is due now."""
    due_at = changes.get("due_at", NOW)
    post = Post(
        id=PostId(key), node=NODE, account=AccountName("ada"), platform="tiktok", mode=Mode.DIRECT,
        kind=Kind.VIDEO, source=Source.FILE, media=("clip.mp4",), facts=facts_of("clip.mp4", b"0" * 30),
        description=Description(title="Hello", hashtags=("one", "two"), privacy="SELF_ONLY"),
        consent=Consent(who="me", actor="me", at="2026-12-01T09:00:00Z", through="test"), due_at=due_at, zone="UTC",
        late_rule=LateRule.HOLD, late_after_s=3600, state=State.SCHEDULED, state_since=NOW - timedelta(hours=1),
        created_at=NOW - timedelta(hours=1), command_id="c-1", wake_at=due_at,
    )  # fmt: skip
    return replace(post, **changes)


def an_address_post(key: str = "p_1", **changes: Any) -> Post:
    """Return a post whose video the platform fetches itself."""
    address = {"source": Source.URL, "media": ("https://media.example/a.mp4",), "facts": None}
    return a_post(key, **(address | changes))


def an_account(name: str = "ada", **changes: Any) -> Account:
    """Return a linked account that works."""
    account = Account(
        name=AccountName(name), platform="tiktok", open_id=f"open-{name}", scopes=("video.publish", "video.upload"),
        access_token="sealed-access", refresh_token="sealed-refresh", access_expires_at=NOW + timedelta(days=1),
        refresh_expires_at=NOW + timedelta(days=365), login=Login.OK, linked_at=NOW,
    )  # fmt: skip
    return replace(account, **changes)


def an_attempt(post: str = "p_1", number: int = 1, **changes: Any) -> Attempt:
    """Return an attempt that has just begun."""
    attempt = Attempt(post=PostId(post), number=number, fence=1, node=NODE, started_at=NOW)
    return replace(attempt, **changes)


def a_request(**changes: Any) -> Request:
    """Return a decoded request."""
    values: dict[str, Any] = {
        "actor": Actor("me"), "verb": "post/cancel", "transport": "mqtt", "received_at": NOW,
        "reply_to": "tokd/reply", "correlation": b"\x00\xff", "id": "c-1", "body": '{"args":{}}', "body_hash": "abc",
    }  # fmt: skip
    return Request(**(values | changes))
