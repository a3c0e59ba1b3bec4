"""One connection to the broker: a fresh paho client, driven by our loop; its callbacks only take notes."""

import select
import socket
import ssl
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from adapters.mqtt.letters import Letter
from adapters.mqtt.settings import MqttSettings
from daemon.domain.topics import Topics

IN_FLIGHT = 20
MAX_PACKET = 16 * 1024 * 1024  # what is larger the broker drops, and its sender hears nothing of it


@dataclass(frozen=True, slots=True)
class Connected:
    """The broker took us."""

    has_session: bool
    window: int  # how many publishes may be unacknowledged
    max_packet: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The broker did not take us."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection is over."""

    reason: str


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The broker's answer to our subscriptions; `refused` is empty when all of them stand."""

    refused: str


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A publish of ours arrived, or was refused with `failure`."""

    mid: int
    failure: str


Note = Connected | Refused | Lost | Subscribed | Acknowledged | MQTTMessage


def _properties(packet_type: int) -> Properties:
    return Properties(packet_type)  # type: ignore[no-untyped-call]  # paho leaves it so


class _Client(Client):
    """paho on a socket that we have opened: its own connect could not be interrupted."""

    given: socket.socket

    def _create_socket(self) -> Any:
        return self.given


class Link:
    """All calls come from the gateway's thread. After any call, `take_notes` has what happened meanwhile."""

    def __init__(
        self, settings: MqttSettings, topics: Topics, *, is_v5: bool, number: int, also: tuple[str, ...] = ()
    ) -> None:
        """Prepare a client; `also` are topics to hear beside our own."""
        self.number = number
        self.is_v5 = is_v5
        self._settings = settings
        self._topics = topics
        self._also = also
        self._notes: list[Note] = []
        self._client = self._make_client()

    def open(self, sock: socket.socket) -> None:
        """Send CONNECT over this socket."""
        self._client.given = sock
        keywords: dict[str, Any] = {}
        if self.is_v5:
            # clean_start's default is "first only", and a fresh client is always at its first
            keywords = {"clean_start": False, "properties": self._connect_properties()}
        self._client.connect(
            self._settings.host or "localhost", self._settings.port, self._settings.keepalive_s, **keywords
        )

    def take_notes(self) -> list[Note]:
        """Return and forget what has happened."""
        notes, self._notes = self._notes, []
        return notes

    def socket(self) -> socket.socket | None:
        """Return the socket, None once the connection is over."""
        return self._client.socket()  # type: ignore[return-value]  # it is the one we gave

    def events(self) -> int:
        """Return the poll mask that the connection waits for."""
        return select.POLLIN | (select.POLLOUT if self._client.want_write() else 0)

    def has_buffered_input(self) -> bool:
        """Tell whether TLS holds decrypted bytes that no poll will announce."""
        sock = self.socket()
        return isinstance(sock, ssl.SSLSocket) and sock.pending() > 0

    def read(self) -> None:
        """Take in what has arrived. A packet that paho cannot parse ends the connection, not the thread."""
        try:
            self._client.loop_read()
        except Exception as error:  # noqa: BLE001  # our callbacks only append: this is a broken packet
            self._notes.append(Lost(f"the broker sent a broken packet ({type(error).__name__}: {error})"))
            self.close()

    def write(self) -> None:
        """Send what waits."""
        self._client.loop_write()

    def tick(self) -> None:
        """Keep the connection alive, or notice that it is not."""
        self._client.loop_misc()

    def subscribe(self) -> None:
        """Subscribe to the commands first, then to our own availability and to the others."""
        self._client.subscribe(self._filters())

    def publish(self, letter: Letter, now: datetime) -> int:
        """Hand a letter to the network and return its message id. Raises ValueError for an impossible one."""
        properties = self._publish_properties(letter, now) if self.is_v5 else None
        info = self._client.publish(letter.topic, letter.payload, 1, letter.retain, properties)
        return info.mid

    def ack(self, mid: int, qos: int) -> None:
        """Acknowledge a received message."""
        self._client.ack(mid, qos)

    def disconnect(self) -> None:
        """Say goodbye, so that the will is not sent."""
        self._client.disconnect()

    def close(self) -> None:
        """Cut the connection without a word. Safe twice."""
        sock = self.socket()
        if sock is not None:
            sock.close()

    def _make_client(self) -> _Client:
        settings = self._settings
        version = MQTTProtocolVersion.MQTTv5 if self.is_v5 else MQTTProtocolVersion.MQTTv311
        client = _Client(
            CallbackAPIVersion.VERSION2, settings.client_id, clean_session=None if self.is_v5 else False,
            protocol=version, reconnect_on_failure=False, manual_ack=True,
        )  # fmt: skip
        if settings.username is not None:
            client.username_pw_set(settings.username, settings.password)
        will = None
        if self.is_v5:
            will = _properties(PacketTypes.WILLMESSAGE)
            will.WillDelayInterval = settings.will_delay_s
        client.will_set(self._topics.availability, b"offline", 1, retain=True, properties=will)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        return client

    def _connect_properties(self) -> Properties:
        found = _properties(PacketTypes.CONNECT)
        found.SessionExpiryInterval = self._settings.session_expiry_s
        found.TopicAliasMaximum = 0  # paho does not resolve aliases: paho #893
        found.MaximumPacketSize = MAX_PACKET
        return found

    def _filters(self) -> Any:
        own = self._topics.availability
        # the others without acknowledgement: nothing of theirs shall wait for us while we are away
        if not self.is_v5:
            return [(self._topics.commands, 1), (own, 1), *((topic, 0) for topic in self._also)]
        # with the flag kept we see a live retained command, too, and can refuse and clear it
        commands = SubscribeOptions(qos=1, retainAsPublished=True, retainHandling=0)
        others = ((topic, SubscribeOptions(qos=0)) for topic in self._also)
        return [(self._topics.commands, commands), (own, SubscribeOptions(qos=1)), *others]

    @staticmethod
    def _publish_properties(letter: Letter, now: datetime) -> Properties:
        found = _properties(PacketTypes.PUBLISH)
        if letter.content_type:
            found.ContentType = letter.content_type
            found.PayloadFormatIndicator = 1
        if letter.correlation is not None:
            found.CorrelationData = letter.correlation
        expires_in = letter.expires_in(now)
        if expires_in is not None:
            found.MessageExpiryInterval = expires_in
        return found

    def _on_connect(
        self,
        _client: Client,
        _data: Any,
        flags: ConnectFlags,
        code: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if code.is_failure:
            self._notes.append(Refused(code.value, str(code)))
            return
        window = min(IN_FLIGHT, getattr(properties, "ReceiveMaximum", IN_FLIGHT))
        max_packet = getattr(properties, "MaximumPacketSize", 2**28)
        self._notes.append(Connected(flags.session_present, window, max_packet))

    def _on_disconnect(
        self, _client: Client, _data: Any, flags: DisconnectFlags, code: ReasonCode, _properties: object
    ) -> None:
        who = (
            "the broker ended the connection" if flags.is_disconnect_packet_from_server else "connection lost"
        )
        self._notes.append(Lost(f"{who} ({code})"))

    def _on_subscribe(
        self, _client: Client, _data: Any, _mid: int, codes: list[ReasonCode], _properties: object
    ) -> None:
        self._notes.append(Subscribed(", ".join(str(code) for code in codes if code.is_failure)))

    def _on_publish(
        self, _client: Client, _data: Any, mid: int, code: ReasonCode, _properties: object
    ) -> None:
        self._notes.append(Acknowledged(mid, str(code) if code.is_failure else ""))

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        self._notes.append(message)
