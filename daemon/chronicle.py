"""What an operator should find in the log of what has happened: how posts end, what holds them up, who must log in.

Everything else is in the events (`tokd watch`) and, with who ordered it, in the audit trail (`tokd audit list`).
"""

import json
import logging
from collections.abc import Iterable

from daemon.domain.events import EventType
from daemon.ports import Outgoing

LOG = logging.getLogger("tokd.news")
LEVELS = {
    EventType.POST_PUBLISHED: logging.INFO,
    EventType.POST_SENT_TO_INBOX: logging.INFO,
    EventType.POST_RETRYING: logging.INFO,
    EventType.POST_HELD: logging.WARNING,
    EventType.POST_UNCERTAIN: logging.WARNING,
    EventType.POST_FAILED: logging.WARNING,
    EventType.ACCOUNT_NEEDS_LOGIN: logging.WARNING,
    EventType.ACCOUNT_DISABLED: logging.WARNING,
}
_CHANNELS = frozenset(kind.value.partition(".")[0] for kind in LEVELS)
_MARKS = tuple(f'"type":"dev.tokd.{kind.value}"' for kind in LEVELS)
# Fields to search by: TOKD_EVENT, TOKD_POST and so on in systemd's journal.
_FIELDS = ("post", "account", "state", "reason", "attempt", "command_id")


def note(messages: Iterable[Outgoing]) -> None:
    """Log those of the messages that are such events. They have been committed, and have no secret in them."""
    for message in messages:
        # Most events are of no interest here: only those are read that can be.
        if message.kind == "event" and message.address in _CHANNELS and _is_marked(message.payload):
            _log(json.loads(message.payload))


def _is_marked(payload: str) -> bool:
    return any(mark in payload for mark in _MARKS)


def _log(event: dict[str, object]) -> None:
    name = str(event["type"]).removeprefix("dev.tokd.")
    level = LEVELS.get(EventType(name))  # None: the mark stood in a person's own words
    data = event["data"]
    if level is None or not isinstance(data, dict):
        return
    why = " ".join(str(data[key]) for key in ("reason", "detail") if data.get(key))
    fields = {key: data[key] for key in _FIELDS if data.get(key) is not None}
    LOG.log(
        level, "%s %s%s", event["subject"], name, f": {why}" if why else "", extra={"event": name, **fields}
    )
