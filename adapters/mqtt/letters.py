"""What goes out: a letter is one publish, an ack is one PUBACK of ours; both wait in the same line."""

import math
from dataclasses import dataclass
from datetime import datetime

from daemon.domain.topics import Topics
from daemon.ports import Outgoing

CLOUDEVENT = "application/cloudevents+json"
JSON = "application/json"
OVERHEAD = 512  # generous: fixed header, topic length, properties


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """One message to publish with QoS 1. `row` is its outbox row, 0 where it has none."""

    kind: str
    topic: str
    payload: bytes
    row: int = 0
    retain: bool = False
    content_type: str | None = None
    correlation: bytes | None = None
    expires_at: datetime | None = None

    @property
    def size(self) -> int:
        """Return about how large the packet is."""
        return len(self.topic) + len(self.payload) + len(self.correlation or b"") + OVERHEAD

    def expires_in(self, now: datetime) -> int | None:
        """Return the whole seconds left, at least 1: `expired` is an answer worth a delivery, too."""
        if self.expires_at is None:
            return None
        left = math.ceil((self.expires_at - now).total_seconds())
        return max(1, min(left, 2**32 - 1))


@dataclass(frozen=True, slots=True)
class Ack:
    """A received message that may be acknowledged, on the connection that brought it and on no other."""

    connection: int
    mid: int
    qos: int


def letter_of(message: Outgoing, topics: Topics) -> Letter:
    """Return the letter of an outbox row. Raises ValueError for a kind that MQTT has no place for."""
    payload = message.payload.encode()
    if message.kind == "event":
        return Letter(
            kind="event", topic=topics.event(message.address), payload=payload, row=message.row,
            content_type=CLOUDEVENT,
        )  # fmt: skip
    if message.kind == "state":
        return Letter(
            kind="state", topic=topics.state(message.address), payload=payload, row=message.row,
            retain=True, content_type=JSON if payload else None,
        )  # fmt: skip
    if message.kind == "reply":
        return Letter(
            kind="reply", topic=message.address, payload=payload, row=message.row, content_type=JSON,
            correlation=message.correlation, expires_at=message.expires_at,
        )  # fmt: skip
    if message.kind == "discovery":
        return Letter(
            kind="discovery", topic=message.address, payload=payload, row=message.row,
            retain=True, content_type=JSON if payload else None,
        )  # fmt: skip
    if (
        message.kind == "screenshot"
    ):  # never retained: a logged-in account has no place in a broker's disk file
        return Letter(kind="screenshot", topic=topics.screenshot(message.address), payload=payload)
    raise ValueError(f"no topic for a message of kind {message.kind!r}")
