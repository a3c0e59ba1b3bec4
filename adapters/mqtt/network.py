"""The network thread's state: connecting, serving, saying goodbye. One `turn` is one round of its loop."""

import logging
import select
from collections.abc import Callable
from typing import Any

from paho.mqtt.client import MQTTMessage

from adapters.mqtt.backoff import Backoff, OncePer
from adapters.mqtt.letters import JSON, Ack, Letter
from adapters.mqtt.link import Acknowledged, Connected, Link, Lost, Note, Refused, Subscribed
from adapters.mqtt.mailbox import Item, Mailbox
from adapters.mqtt.reception import Reception
from adapters.mqtt.relay import Relay
from adapters.mqtt.settings import MqttSettings
from adapters.mqtt.sockets import Interrupted, Patience, open_socket
from daemon.domain.events import as_json
from daemon.domain.reports import BrokerJoined, NeighbourCame
from daemon.domain.times import iso
from daemon.domain.topics import Topics
from daemon.ports import Bus, Clock, Neighbour

log = logging.getLogger("tokd.mqtt")

LONGEST_NAP_S = 5.0  # so that a watchdog sees the thread live
CONNACK_WITHIN_S = 10.0
HEAL_EVERY_S = 1.0
UNSUPPORTED_VERSION = 0x84
NOT_AUTHORISED = {0x86, 0x87, 0x8C}


class Network:
    """Used by one thread. `status` is replaced as a whole, so that other threads may read it."""

    def __init__(
        self, settings: MqttSettings, bus: Bus, clock: Clock, boot: str, info: Callable[[], dict[str, Any]],
        mailbox: Mailbox, share: Callable[[], float], pass_point: Callable[[str], None],
        neighbour: Neighbour | None = None, on_left_out: Callable[[int], None] = lambda _count: None,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._bus = bus
        self._clock = clock
        self._info = info
        self._mailbox = mailbox
        self._neighbour = neighbour
        self._topics = Topics(settings.prefix, settings.node)
        self._reception = Reception(
            bus=bus,
            clock=clock,
            boot=boot,
            topics=self._topics,
            mailbox=mailbox,
            complain=self._complain,
            self_test_s=settings.self_test_s,
        )
        self._relay = Relay(bus, clock, self._topics, self._reception.letter_left, pass_point, on_left_out)
        self._backoff = Backoff(share)
        self._log_limit = OncePer(60.0)
        self._is_v5 = settings.protocol != "3.1.1"
        self._link: Link | None = None
        self._number = 0
        self._joined_at: float | None = None
        self._retry_at = clock.monotonic()
        self._connack_by = 0.0
        self._healed_at = clock.monotonic() - HEAL_EVERY_S
        self._heal_at: float | None = None
        self._is_saying_goodbye = False
        self.is_finished = False
        self.last_beat = clock.monotonic()
        self.turns = 0
        self.status: dict[str, Any] = {
            "connected": False, "protocol": None, "since": None, "last_error": None, "session_present": None,
            "self_test": None,
        }  # fmt: skip

    @property
    def queued(self) -> int:
        """Return how many messages are in memory on their way out."""
        return self._relay.queued

    def turn(self) -> None:
        """Do what is due, then wait until something happens."""
        self.turns += 1
        self.last_beat = now = self._clock.monotonic()
        self._take_mail()
        if self._link is not None:
            self._serve(self._link, now)
        elif self._mailbox.must_stop():
            self.is_finished = True
        elif now >= self._retry_at:
            self._connect()
        if not self.is_finished:
            self._wait()

    def close(self) -> None:
        """Cut what is left."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def _take_mail(self) -> None:
        if self._mailbox.has_overflowed:
            self._mailbox.has_overflowed = False  # before the database is read, or one more would be missed
            self._relay.fall_behind()
        self._mailbox.take_all(self._take)
        self._relay.caught_up()

    def _take(self, item: Item) -> None:
        if isinstance(item, Ack):
            self._reception.settled()
            if item.qos:
                self._relay.add(item)
        else:
            self._relay.take(item)

    def _serve(self, link: Link, now: float) -> None:
        link.tick()
        while notes := link.take_notes():
            for note in notes:
                if self._link is link:
                    self._handle(note)
            if self._link is link and self._joined_at is not None:
                self._relay.pump()
        if self._link is not link:
            return
        if link.socket() is None:
            self._lose("connection lost")
        elif self._joined_at is not None:
            self._test_ourselves(now)
            self._heal(now)
            self._say_again(now)
            self._relay.pump()
            self._relay.report()
            self._relay.tell_left_out()
        elif now >= self._connack_by:
            self._lose("the broker did not answer CONNECT")
        if self._mailbox.stop_by is not None:
            self._say_goodbye(self._mailbox.stop_by, now)

    def _handle(self, note: Note) -> None:
        if isinstance(note, MQTTMessage):
            self._receive(note)
        elif isinstance(note, Acknowledged):
            self._relay.arrived(note)
            self._relay.report()
        elif isinstance(note, Connected):
            self._join(note)
        elif isinstance(note, Refused):
            self._refused(note)
        elif isinstance(note, Subscribed):
            if note.refused:
                cause = f"the broker refused a subscription: {note.refused}"
                self.status = self.status | {"last_error": cause}
                self._complain(cause)
        elif isinstance(note, Lost):
            self._lose(note.reason)

    def _connect(self) -> None:
        self._number += 1
        also = (self._neighbour.topic,) if self._neighbour is not None else ()
        link = Link(self._settings, self._topics, is_v5=self._is_v5, number=self._number, also=also)
        patience = Patience(self._mailbox.reader, self._clock.monotonic, self._mailbox.must_stop)
        try:
            link.open(open_socket(self._settings, patience))
        except Interrupted:
            return
        except (OSError, UnicodeError) as error:  # UnicodeError: a host name that cannot be one
            self._lose(f"cannot reach the broker: {error}")
            return
        self._link = link
        self._connack_by = self._clock.monotonic() + CONNACK_WITHIN_S

    def _join(self, found: Connected) -> None:
        link = self._link
        if link is None:
            return
        self._joined_at = self._clock.monotonic()
        protocol = "5" if link.is_v5 else "3.1.1"
        self.status = {
            "connected": True, "protocol": protocol, "since": iso(self._clock.now()), "last_error": None,
            "session_present": found.has_session, "self_test": None,
        }  # fmt: skip
        log.info("connected", extra={
            "action": "mqtt_connected", "broker": self._settings.address, "protocol": protocol,
            "session_present": found.has_session,
        })  # fmt: skip
        link.subscribe()
        if self._neighbour is not None:
            self._neighbour.joined(self._joined_at)
        self._relay.connected(link, found)
        self._reception.connected()
        marker = self._reception.fence.raise_(self._joined_at, has_session=found.has_session)
        self._relay.add(Letter(kind="fence", topic=self._topics.fence, payload=marker))
        info = as_json(self._info()).encode()
        self._relay.add(
            Letter(kind="info", topic=self._topics.info, payload=info, retain=True, content_type=JSON)
        )
        self._bus.tell(BrokerJoined(has_session=found.has_session))
        self._relay.read_page()  # what the bus made of BrokerJoined is in it, unless there is a backlog
        self._relay.add(self._availability(b"online"))

    def _refused(self, note: Refused) -> None:
        if note.code == UNSUPPORTED_VERSION and self._settings.protocol == "auto" and self._is_v5:
            log.warning(
                "the broker does not speak MQTT 5; going on with 3.1.1", extra={"action": "mqtt_fallback"}
            )
            self._is_v5 = False
            self._lose("unsupported protocol version", is_quiet=True)
            self._retry_at = self._clock.monotonic()
        elif note.code in NOT_AUTHORISED:
            self._lose("not authorised: check mqtt.username/password_file", was_refused=True)
        else:
            self._lose(f"the broker refused the connection: {note.reason}")

    def _lose(self, cause: str, *, was_refused: bool = False, is_quiet: bool = False) -> None:
        now = self._clock.monotonic()
        if self._joined_at is not None:
            self._backoff.connection_lasted(now - self._joined_at)
        self._retry_at = now + self._backoff.next_wait(was_refused=was_refused)
        self._relay.disconnected()
        self._reception.fence.fall()
        self.close()
        self._joined_at = self._heal_at = None
        if self.status["connected"] or self.status["since"] is None:
            self.status = self.status | {"connected": False, "since": iso(self._clock.now())}
        self.status = self.status | {"last_error": cause}
        if not is_quiet:
            self._complain(cause)

    def _complain(self, cause: str) -> None:
        if self._log_limit.allows(cause, self._clock.monotonic()):
            log.warning(cause, extra={"action": "mqtt_trouble", "broker": self._settings.address})

    def _receive(self, message: MQTTMessage) -> None:
        link = self._link
        if link is None:
            return
        try:
            topic = message.topic
        except UnicodeDecodeError:  # nobody can be answered there
            self._complain("a message came on a topic that is not UTF-8")
            topic = ""
        if topic == self._topics.availability:
            self._own_availability(message, self._clock.monotonic())
        elif self._neighbour is not None and topic == self._neighbour.topic:
            self._neighbour.heard(bytes(message.payload), self._clock.monotonic(), is_replay=message.retain)
        self._reception.take(message, topic, link, self._relay)

    def _own_availability(self, message: MQTTMessage, now: float) -> None:
        is_replay = message.retain  # from before this connection's `online`, which is on its way
        if not is_replay and bytes(message.payload) != b"online" and not self._is_saying_goodbye:
            self._heal_at = max(now, self._healed_at + HEAL_EVERY_S)

    def _test_ourselves(self, now: float) -> None:
        fence = self._reception.fence
        if fence.is_proven and self.status["self_test"] is None:
            self.status = self.status | {"self_test": True}
        elif fence.gave_up(now):
            cause = (
                f"a message of ours to {self._topics.fence} does not come back: the broker's access rules keep"
                " commands from us (`tokd doctor` says more, `tokd acl` prints rules that work)"
            )
            self.status = self.status | {"self_test": False, "last_error": cause}
            self._complain(cause)

    def _heal(self, now: float) -> None:
        if self._heal_at is not None and now >= self._heal_at:
            self._heal_at = None
            self._healed_at = now
            self._relay.add(self._availability(b"online"))

    def _say_again(self, now: float) -> None:
        """Say everything again to somebody who has come after us, `online` last."""
        if self._neighbour is None or not self._neighbour.is_due(now):
            return
        log.info("a neighbour has come: everything is said again", extra={"action": "mqtt_neighbour"})
        self._bus.tell(NeighbourCame())
        self._bus.read(
            lambda _unit: None
        )  # when this comes back, what the bus has made of it is in the mailbox
        self._take_mail()
        self._relay.add(self._availability(b"online"))

    def _availability(self, word: bytes) -> Letter:
        return Letter(kind="availability", topic=self._topics.availability, payload=word, retain=True)

    def _say_goodbye(self, by: float, now: float) -> None:
        link = self._link
        if link is None or self._joined_at is None:
            self.is_finished = True
        elif not self._is_saying_goodbye:
            if self._relay.is_drained or now >= self._mailbox.last_word_at:
                self._is_saying_goodbye = True
                self._relay.finish(self._availability(b"offline"))
                self._relay.pump()
        elif self._relay.is_drained:
            self._relay.disconnected()
            link.disconnect()
            self.is_finished = True
        elif now >= by:  # without a goodbye the broker sends the will in our place
            self._relay.disconnected()
            self.is_finished = True

    def _wait(self) -> None:
        now = self._clock.monotonic()
        link = self._link
        if link is None:
            self._mailbox.wait(None, 0, self._next_time(now) - now)
            return
        # A connection may be over before it has begun: a broker refuses a certificate after the handshake.
        is_pressing = link.has_buffered_input() or link.socket() is None
        timeout = 0.0 if is_pressing else self._next_time(now) - now
        ready = self._mailbox.wait(link.socket(), link.events(), timeout)
        if ready & select.POLLOUT:
            link.write()
        if ready & ~select.POLLOUT or link.has_buffered_input():
            link.read()

    def _next_time(self, now: float) -> float:
        times = [now + min(LONGEST_NAP_S, self._settings.keepalive_s / 4)]
        if self._link is None:
            times.append(self._retry_at)
        elif self._joined_at is None:
            times.append(self._connack_by)
        again_at = (
            self._neighbour.due_at if self._neighbour is not None and self._joined_at is not None else None
        )
        waits = (
            self._relay.wants_attention_at, self._heal_at, self._reception.fence.gives_up_at, again_at,
        )  # fmt: skip
        times += [at for at in waits if at is not None]
        if self._mailbox.stop_by is not None:
            is_late = self._is_saying_goodbye
            times.append(self._mailbox.stop_by if is_late else self._mailbox.last_word_at)
        return min(times)
