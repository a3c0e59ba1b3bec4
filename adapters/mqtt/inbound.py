"""From a received message to a request. Whatever is wrong with it becomes its error: all is answered."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from paho.mqtt.client import MQTTMessage

from daemon.domain.errors import Code, Rejected
from daemon.domain.events import as_json
from daemon.domain.times import iso
from daemon.domain.topics import CommandTopic, Topics
from daemon.domain.wire import Request, read_request

TRANSPORT = "mqtt"
ECHO_S = 10.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a message asks for, and whether the broker still keeps it for the next connection."""

    request: Request
    is_retained: bool


class Echoes:
    """Topics that we have just cleared. On 3.1.1 the clear comes back as an empty message without a flag.

    Taken for a command it would run: an empty `system/pause` is a complete order.
    """

    def __init__(self) -> None:
        self._expected: dict[str, list[float]] = {}

    def expect(self, topic: str, now: float) -> None:
        """Note that a clear of this topic is leaving."""
        self._expected = {
            name: times for name, times in self._expected.items() if any(now - at < ECHO_S for at in times)
        }
        self._expected.setdefault(topic, []).append(now)

    def swallow(self, topic: str, payload: bytes, now: float) -> bool:
        """Tell whether this message is such an echo. Each clear has one."""
        times = self._expected.get(topic)
        if payload or not times:
            return False
        oldest = times.pop(0)
        if not times:
            del self._expected[topic]
        return now - oldest < ECHO_S

    def connected(self, now: float) -> None:
        """Begin the wait anew: the echo may have been queued while we were away."""
        self._expected = {name: [now] * len(times) for name, times in self._expected.items()}


def is_clear(message: MQTTMessage) -> bool:
    """Tell whether this only removes a retained message: our own doing, or a helpful person's."""
    return message.retain and not message.payload


def read_delivery(
    message: MQTTMessage, topics: Topics, received_at: datetime, settle: Callable[[], None], *, is_backlog: bool
) -> Delivery:  # fmt: skip
    """Return the request in a message under `cmd/`. The topic is known to be UTF-8."""
    topic = topics.read_command(message.topic)
    properties = message.properties
    request, envelope = read_request(
        actor=topic.actor,
        verb=topic.verb,
        raw=bytes(message.payload),
        transport=TRANSPORT,
        received_at=received_at,
        reply_to=topics.default_reply(topic.topic),
        correlation=getattr(properties, "CorrelationData", None),
        expires_in_s=getattr(properties, "MessageExpiryInterval", None),
        settle=settle,
    )
    refusal = _refusal_of_sender(topic)
    if refusal is None:
        request, refusal = _with_reply_topic(request, envelope, topics, properties)
    if message.retain:
        refusal = Rejected(
            Code.RETAINED_COMMAND,
            "commands are not retained: a broker would send it again at every start (it has been removed)",
        )
    if refusal is not None:
        request = replace(request, command=None, error=refusal)
    return Delivery(replace(request, is_backlog=is_backlog), message.retain)


def busy_reply(request: Request, node: str, boot: str, now: datetime) -> str:
    """Return the answer of a gateway whose bus has too much to do already."""
    error = Rejected(
        Code.BUSY, "too many commands wait; send it again with the same id", retryable=True, retry_after_s=1
    )
    return as_json(
        {
            "id": request.id,
            "command": request.verb.replace("/", "."),
            "status": "rejected",
            "final": True,
            "error": error.as_dict(),
            "replayed": False,
            "node": node,
            "boot": boot,
            "time": iso(now),
        }
    )


def _refusal_of_sender(topic: CommandTopic) -> Rejected | None:
    if not topic.actor_is_allowed:
        return Rejected(
            Code.FORBIDDEN, f"{topic.actor[:64]!r} is not the name of an actor who may send commands"
        )
    if not topic.is_well_formed:
        return Rejected(Code.UNKNOWN_COMMAND, "a command's topic ends in cmd/<actor>/<resource>/<verb>")
    return None


def _with_reply_topic(
    request: Request, envelope: dict[str, Any], topics: Topics, properties: object
) -> tuple[Request, Rejected | None]:
    wanted = getattr(properties, "ResponseTopic", None)
    if wanted is None:
        wanted = envelope.get("reply_to")
    if wanted is None:
        return request, None
    if not isinstance(wanted, str):
        return request, Rejected(Code.BAD_FIELD, '"reply_to" is a topic', field="reply_to")
    if not topics.may_reply_to(wanted, request.actor):
        fence = f"{topics.base}/reply/{request.actor}/"
        return request, Rejected(Code.FORBIDDEN, f"replies go to topics under {fence}", field="reply_to")
    return replace(request, reply_to=wanted), None
