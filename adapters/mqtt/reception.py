"""What comes in: commands go to the bus, our own echoes go nowhere, and all of it is acknowledged in time."""

import logging
from collections.abc import Callable

from paho.mqtt.client import MQTTMessage

from adapters.mqtt.fence import Fence
from adapters.mqtt.inbound import Delivery, Echoes, busy_reply, is_clear, read_delivery
from adapters.mqtt.letters import JSON, Ack, Letter
from adapters.mqtt.link import Link
from adapters.mqtt.mailbox import Mailbox
from adapters.mqtt.relay import Relay
from daemon.domain.topics import Topics
from daemon.ports import Bus, Clock

log = logging.getLogger("tokd.mqtt")

MOST_UNSETTLED = 2000


class Reception:
    """Used by the network thread only. `complain` logs a cause once a minute."""

    def __init__(
        self,
        *,
        bus: Bus,
        clock: Clock,
        boot: str,
        topics: Topics,
        mailbox: Mailbox,
        complain: Callable[[str], None],
        self_test_s: float,
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._boot = boot
        self._topics = topics
        self._mailbox = mailbox
        self._complain = complain
        self._echoes = Echoes()
        self.fence = Fence(self_test_s)
        self._unsettled = 0

    def connected(self) -> None:
        """Begin on a new connection."""
        self._echoes.connected(self._clock.monotonic())

    def settled(self) -> None:
        """Note that the bus is done with a command, whichever connection brought it."""
        self._unsettled -= 1

    def letter_left(self, letter: Letter) -> None:
        """Note what leaves: a clear may come back."""
        if letter.kind == "clear":
            self._echoes.expect(letter.topic, self._clock.monotonic())

    def take(self, message: MQTTMessage, topic: str, link: Link, relay: Relay) -> None:
        """Hand a command to the bus, which says when it may be acknowledged; acknowledge the rest at once."""
        is_marker = topic == self._topics.fence and self.fence.passes(bytes(message.payload))
        if not is_marker and self._is_command(message, topic, link):
            self._submit(message, link, relay)
        elif message.qos:
            link.ack(message.mid, message.qos)

    def _is_command(self, message: MQTTMessage, topic: str, link: Link) -> bool:
        if not self._topics.is_command(topic) or is_clear(message):
            return False
        # MQTT 5 shows the flag of our own clear; 3.1.1 sends it back as if it were a command
        now = self._clock.monotonic()
        return link.is_v5 or not self._echoes.swallow(topic, bytes(message.payload), now)

    def _submit(self, message: MQTTMessage, link: Link, relay: Relay) -> None:
        ack = Ack(link.number, message.mid, message.qos)
        delivery = read_delivery(
            message, self._topics, self._clock.now(), lambda: self._mailbox.put(ack),
            # what comes a second time had come live: a crash is no reason not to carry it out
            is_backlog=self.fence.is_backlog(self._clock.monotonic()) and not message.dup,
        )  # fmt: skip
        if self._unsettled < MOST_UNSETTLED:
            self._unsettled += 1
            self._bus.submit(delivery.request)
        else:
            self._turn_away(delivery, ack, relay)
        if delivery.is_retained:
            relay.add(Letter(kind="clear", topic=message.topic, payload=b"", retain=True))

    def _turn_away(self, delivery: Delivery, ack: Ack, relay: Relay) -> None:
        self._complain("too many commands wait; new ones are answered busy")
        request = delivery.request
        payload = busy_reply(request, self._topics.node, self._boot, self._clock.now()).encode()
        relay.add(
            Letter(
                kind="reply",
                topic=request.reply_to,
                payload=payload,
                content_type=JSON,
                correlation=request.correlation,
            )
        )
        if ack.qos:
            relay.add(ack)
