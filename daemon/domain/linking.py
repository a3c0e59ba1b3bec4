"""Linking an account: a person agrees in a browser, and TikTok sends them back with a code and our own state."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from ipaddress import ip_address
from urllib.parse import urlsplit

from daemon.domain.ids import AccountName, Actor, NodeName

_STATE_BYTES = 32  # 256 bits (reliability-security.md 4.4)
_VERIFIER_BYTES = 48  # 64 letters; TikTok takes 43 to 128 (LKD)
VERIFIER = "pkce_verifier"  # what it is sealed as

# What does not work without a scope (tiktok-api.md 1.5).
_NEEDED_FOR = {
    "user.info.basic": "TikTok names the person to no app without it, so tokd may not recognise this account again",
    "video.publish": "direct posts will be refused, and what the creator may do cannot be read",
    "video.upload": "inbox drafts will be refused",
}
_POSTING = frozenset({"video.publish", "video.upload"})


class Flow(StrEnum):
    """Which of TikTok's two flows an address belongs to: they differ in PKCE (LKW, LKD)."""

    WEB = "web"
    DESKTOP = "desktop"


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingLink:
    """A link that somebody has asked for. The state itself is nowhere in it, and the verifier is sealed."""

    account: AccountName
    state_hash: str
    node: NodeName
    actor: Actor
    platform: str
    client_key: str
    redirect_uri: str
    scopes: tuple[str, ...]
    verifier: str | None = field(default=None, repr=False)
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None = None


def new_state() -> str:
    """Return a state that nobody can guess: 256 bits, safe in an address."""
    return secrets.token_urlsafe(_STATE_BYTES)


def new_verifier() -> str:
    """Return a PKCE verifier; a new one for each request."""
    return secrets.token_urlsafe(_VERIFIER_BYTES)


def hash_of(state: str) -> str:
    """Return what is kept of a state: enough to know it again, too little to make it from."""
    return hashlib.sha256(state.encode()).hexdigest()


def is_same(found: str, wanted: str) -> bool:
    """Tell whether two hashes are the same, in a time that says nothing about where they differ."""
    return hmac.compare_digest(found.encode(), wanted.encode())


def flow_of(redirect_uri: str) -> Flow:
    """Return the flow: an address of this machine is the desktop's, any other the web's."""
    host = urlsplit(redirect_uri).hostname or ""
    if host == "localhost":
        return Flow.DESKTOP
    try:
        return Flow.DESKTOP if ip_address(host).is_loopback else Flow.WEB
    except ValueError:
        return Flow.WEB


def missing_scopes(asked: Iterable[str], granted: Sequence[str]) -> tuple[str, ...]:
    """Return what was asked for and not granted: a person may untick any of it."""
    return tuple(scope for scope in asked if scope not in granted)


def warnings_about(asked: Iterable[str], granted: Sequence[str]) -> tuple[str, ...]:
    """Return one sentence for each scope that is missing and matters."""
    found = [
        f"{scope} was not granted: {_NEEDED_FOR.get(scope, 'what needs it will not work')}"
        for scope in missing_scopes(asked, granted)
    ]
    if "user.info.basic" not in granted and "user.info.basic" not in asked:
        found.append(f"user.info.basic was not asked for: {_NEEDED_FOR['user.info.basic']}")
    if not _POSTING & set(granted):
        found.append("no scope for posting was granted: nothing can be posted; link it again and tick them")
    return tuple(found)
