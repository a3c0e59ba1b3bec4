"""What has happened, as it is told to the world: CloudEvents 1.0 in structured JSON (mqtt.md section 7.2)."""

import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from daemon.domain.times import iso


class EventType(StrEnum):
    """Every event tokd publishes, without the `dev.tokd.` before it."""

    POST_DRAFTED = "post.drafted"
    POST_SCHEDULED = "post.scheduled"
    POST_RESCHEDULED = "post.rescheduled"
    POST_STARTED = "post.started"
    POST_INITIALISED = "post.initialised"
    POST_PROGRESS = "post.progress"
    POST_PROCESSING = "post.processing"
    POST_RETRYING = "post.retrying"
    POST_HELD = "post.held"
    POST_RELEASED = "post.released"
    POST_UNCERTAIN = "post.uncertain"
    POST_RESOLVED = "post.resolved"
    POST_PUBLISHED = "post.published"
    POST_PUBLIC = "post.public"
    POST_SENT_TO_INBOX = "post.sent_to_inbox"
    POST_FAILED = "post.failed"
    POST_CANCELLED = "post.cancelled"
    MEDIA_FETCHING = "media.fetching"
    MEDIA_FETCHED = "media.fetched"
    MEDIA_REFUSED = "media.refused"
    TASK_SUBMITTED = "task.submitted"
    TASK_UPDATED = "task.updated"
    TASK_POSTED = "task.posted"  # its post is ordered; what becomes of that is an update
    ACCOUNT_LINKED = "account.linked"
    ACCOUNT_LINK_FAILED = "account.link_failed"
    ACCOUNT_UNLINKED = "account.unlinked"
    ACCOUNT_REFRESHED = "account.refreshed"
    ACCOUNT_NEEDS_LOGIN = "account.needs_login"
    ACCOUNT_DISABLED = "account.disabled"
    ACCOUNT_ENABLED = "account.enabled"
    SESSION_REQUESTED = "session.requested"
    SESSION_STARTED = "session.started"
    SESSION_LOGIN_STATE = "session.login_state"
    SESSION_OPENED = "session.opened"
    SESSION_EXTENDED = "session.extended"
    SESSION_ENDING_SOON = "session.ending_soon"
    SESSION_ENDED = "session.ended"
    TOKEN_ISSUED = "token.issued"  # noqa: S105 - names, no secrets
    TOKEN_REVOKED = "token.revoked"  # noqa: S105
    DAEMON_STARTED = "daemon.started"
    DAEMON_PAUSED = "daemon.paused"
    DAEMON_RESUMED = "daemon.resumed"
    DAEMON_STOPPED = "daemon.stopped"
    DAEMON_BACKED_UP = "daemon.backed_up"
    DAEMON_RESTORED = "daemon.restored"  # the ledger is that of a backup: numbers of events go on further up
    DAEMON_SAFE_MODE = "daemon.safe_mode"


def types_of(channel: str) -> tuple[str, ...]:
    """Return the types of a channel's events, without the channel: `published` for `post.published`."""
    found = (kind.value.partition(".") for kind in EventType)
    return tuple(name for owner, _, name in found if owner == channel)


@dataclass(frozen=True, slots=True)
class Event:
    """A fact. `subject` names the thing (`post/p_7Q2`), `data` holds plain JSON values."""

    type: EventType
    subject: str
    time: datetime
    data: dict[str, Any]

    @property
    def channel(self) -> str:
        """Return the topic level under `event/`: post, media, task, account, session, token or daemon."""
        return self.type.value.partition(".")[0]


def as_cloudevent(event: Event, node: str, sequence: int) -> dict[str, Any]:
    """Return the event as a CloudEvent; `id` and `source` let a reader drop what it has seen."""
    return {
        "specversion": "1.0",
        "id": f"{node}-{sequence:08d}",
        "sequence": f"{sequence:08d}",
        "source": f"tokd/{node}",
        "type": f"dev.tokd.{event.type.value}",
        "subject": event.subject,
        "time": iso(event.time),
        "datacontenttype": "application/json",
        "data": event.data,
    }


def as_json(value: object) -> str:
    """Return compact JSON, one spelling for every wire."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
