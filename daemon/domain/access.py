"""Who may call over HTTP: what a token says, what is remembered of it, and whose things are whose."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from daemon.domain.ids import Actor
from daemon.domain.times import iso

# No MQTT topic and no name on the control socket can hold the colon: such an actor comes from a checked token only.
_HTTP = "http:"


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token that holds says. Without an id it comes from another issuer, who alone can take it back."""

    user: str
    token_id: str | None
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token that was issued here, as the ledger keeps it: never its text."""

    id: str
    user: str
    issued_at: datetime
    expires_at: datetime
    revoked_at: datetime | None = None

    def holds(self, now: datetime) -> bool:
        """Tell whether a caller may still come with it."""
        return self.revoked_at is None and now < self.expires_at


def http_actor(user: str) -> Actor:
    """Return the actor that a user of HTTP acts as."""
    return Actor(f"{_HTTP}{user}")


def may_touch(owner: str, actor: str) -> bool:
    """Tell whether `actor` may see and change what `owner` has ordered.

    What a user of HTTP has ordered belongs to that user. Everything else belongs to nobody in particular, and the
    person at the machine or at the broker, who is no user of HTTP, may see all of it.
    """
    return owner == actor or not owner.startswith(_HTTP) or not actor.startswith(_HTTP)


def token_view(token: Token, now: datetime) -> dict[str, Any]:
    """Return a token as it may be shown: who, since when, until when."""
    view: dict[str, Any] = {
        "token": token.id,
        "user": token.user,
        "issued_at": iso(token.issued_at),
        "expires_at": iso(token.expires_at),
        "valid": token.holds(now),
    }
    return view | ({"revoked_at": iso(token.revoked_at)} if token.revoked_at else {})
