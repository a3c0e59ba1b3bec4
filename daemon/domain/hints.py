"""What a platform sends by itself (a webhook). It is a hint and no more: it makes tokd ask, and changes nothing."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum


class HintKind(StrEnum):
    """What a hint is about, in one spelling."""

    POST_FAILED = "post_failed"
    POST_COMPLETE = "post_complete"
    POST_IN_INBOX = "post_in_inbox"
    POST_PUBLIC = "post_public"
    POST_NOT_PUBLIC = "post_not_public"
    ACCOUNT_REMOVED = "account_removed"
    OTHER = "other"  # nothing of ours


class HintOutcome(StrEnum):
    """What a hint has led to."""

    READ = "read"  # the post's status is read now
    DELAYED = "delayed"  # the same, as soon as the local budget allows
    CHECK = "check"  # the account's tokens are tried now
    REPEAT = "repeat"  # it has come before
    SETTLED = "settled"  # a read could say nothing new
    BUSY = "busy"  # a worker is at the post; it reads the status by itself
    UNKNOWN = "unknown"  # no post or account of ours
    IGNORED = "ignored"  # an event that says nothing to us


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """One event of a platform, its signature checked."""

    platform: str
    kind: HintKind
    open_id: str  # whose account, as the platform names it
    publish_id: str = ""
    public_id: str = ""
    sent_at: int = 0  # seconds since 1970, by the platform's clock; the same in every repeat

    @property
    def key(self) -> str:
        """Return what repeats have in common, in 64 characters whatever was sent (tiktok-api.md section 7)."""
        last = self.public_id or str(self.sent_at)
        parts = (self.platform, self.kind.value, self.open_id, self.publish_id, last)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()
