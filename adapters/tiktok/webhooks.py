"""TikTok's webhooks: whether one is TikTok's, for this app and of just now, and what it says (WO, WE, WV).

The signature is the first thing that is looked at: what is not signed is never parsed.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from typing import Any

from adapters.tiktok.answers import load_object
from adapters.tiktok.settings import TikTokSettings
from daemon.domain.errors import Code, Rejected
from daemon.domain.hints import Hint, HintKind
from daemon.ports import Clock

# Both spellings of each word are about: the misspelt ones are in TikTok's own documents, old and new.
KINDS: Mapping[str, HintKind] = {
    "post.publish.failed": HintKind.POST_FAILED,
    "post.publish.complete": HintKind.POST_COMPLETE,
    "post.publish.inbox_delivered": HintKind.POST_IN_INBOX,
    "post.publish.publicly_available": HintKind.POST_PUBLIC,
    "post.publish.publicaly_available": HintKind.POST_PUBLIC,
    "post.publish.no_longer_publicly_available": HintKind.POST_NOT_PUBLIC,
    "post.publish.no_longer_publicaly_available": HintKind.POST_NOT_PUBLIC,
    "authorization.removed": HintKind.ACCOUNT_REMOVED,
}
_PART = re.compile(r"[ \t]*([A-Za-z]+)[ \t]*=[ \t]*([0-9A-Fa-f]+)[ \t]*")
_TIME = re.compile(r"[0-9]{1,12}")
_HEX = re.compile(r"[0-9a-f]{64}")
_ID = re.compile(r"[!-~]{1,200}")


class Webhooks:
    """Reads webhooks. Safe from any thread."""

    def __init__(self, settings: TikTokSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock

    def read(self, signatures: Sequence[str], body: bytes) -> Hint:
        """Return what a webhook says. Raises Rejected as ports.HintReader promises."""
        key, secret = self._settings.client_key, self._settings.client_secret
        if not key or not secret:
            raise Rejected(
                Code.NOT_CONFIGURED, "tokd cannot take webhooks: its app is not set up", retryable=True
            )
        if len(signatures) != 1 or not self._is_signed(signatures[0], body, secret):
            raise _not_ours()
        envelope = load_object(body)
        if envelope is None:
            raise _unreadable()
        told = envelope.get("client_key")
        if not isinstance(told, str):
            raise _unreadable()
        if not hmac.compare_digest(told.encode("utf-8", "replace"), key.encode()):
            raise _not_ours()
        return _hint(envelope)

    def _is_signed(self, header: str, body: bytes, secret: str) -> bool:
        found = parse_signature(header)
        if found is None:
            return False
        stamp, given = found
        wanted = hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
        is_right = hmac.compare_digest(wanted, given)
        age = self._clock.now().timestamp() - int(stamp)
        return is_right and abs(age) <= self._settings.webhook_max_age_s


def parse_signature(header: str) -> tuple[str, str] | None:
    """Return the time as it was written, and the signature in lower case; None for any other form.

    The order of the two, spaces around them and the case do not matter. Each stands once and nothing else does:
    where two signatures are given, the one that fits would be the forger's choice.
    """
    found: dict[str, str] = {}
    for part in header.split(","):
        match = _PART.fullmatch(part)
        if match is None or match[1].lower() in found:
            return None
        found[match[1].lower()] = match[2]
    if found.keys() != {"t", "s"}:
        return None
    stamp, given = found["t"], found["s"].lower()
    return (stamp, given) if _TIME.fullmatch(stamp) and _HEX.fullmatch(given) else None


def _hint(envelope: Mapping[str, Any]) -> Hint:
    event, open_id = envelope.get("event"), envelope.get("user_openid", "")
    if not isinstance(event, str) or not isinstance(open_id, str):
        raise _unreadable()
    kind = KINDS.get(event.strip().lower(), HintKind.OTHER)
    if kind is HintKind.OTHER:
        return Hint(platform="tiktok", kind=kind, open_id="")
    sent_at = envelope.get("create_time")
    if not isinstance(sent_at, int) or isinstance(sent_at, bool) or not _ID.fullmatch(open_id):
        raise _unreadable()
    if kind is HintKind.ACCOUNT_REMOVED:
        return Hint(platform="tiktok", kind=kind, open_id=open_id, sent_at=sent_at)
    content = _content(envelope.get("content"))
    publish_id, public_id = _id(content.get("publish_id")), _id(content.get("post_id"))
    if not publish_id:
        raise _unreadable()
    return Hint(
        platform="tiktok", kind=kind, open_id=open_id, publish_id=publish_id, public_id=public_id, sent_at=sent_at,
    )  # fmt: skip


def _content(told: object) -> Mapping[str, Any]:
    """Return what stands in `content`: JSON, as a string inside the JSON (WE)."""
    found = load_object(told.encode("utf-8", "replace")) if isinstance(told, str) else None
    if found is None:
        raise _unreadable()
    return found


def _id(told: object) -> str:
    """Return an id as a string: TikTok's webhooks send strings, its status answers numbers (WE, ST)."""
    if told is None or told == "":
        return ""
    found = str(told) if isinstance(told, (str, int)) and not isinstance(told, bool) else ""
    if not _ID.fullmatch(found):
        raise _unreadable()
    return found


def _not_ours() -> Rejected:
    return Rejected(Code.UNAUTHORIZED, "a valid signature is needed")


def _unreadable() -> Rejected:
    return Rejected(Code.BAD_JSON, "this webhook cannot be read")
