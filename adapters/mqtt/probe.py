"""A look at the broker for `tokd doctor`: a client that comes, tries what the daemon needs, and leaves no trace."""

import secrets
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Literal

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from adapters.mqtt.settings import MqttSettings
from adapters.mqtt.sockets import _context  # the same trust as the gateway's
from daemon.domain.topics import Topics

Verdict = Literal["ok", "warn", "fail"]
EXPIRES_SOON_DAYS = 14
UNSUPPORTED_VERSION = 0x84
STEP_S = 0.05
_WHY = {
    0x85: "set another mqtt.client_id",
    0x86: "check mqtt.username and mqtt.password_file",
    0x87: "check mqtt.username, mqtt.password_file and what the broker allows this user",
}


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What one check found, and what to do about it."""

    name: str
    verdict: Verdict
    text: str
    advice: str = ""


class _Failed(Exception):
    """A check failed, and those after it make no sense."""

    def __init__(self, name: str, text: str, advice: str = "") -> None:
        super().__init__(text)
        self.result = ProbeResult(name, "fail", text, advice)


def probe(settings: MqttSettings, deadline_s: float = 10.0) -> list[ProbeResult]:
    """Resolve, connect, encrypt, log in, and prove subscribe and publish rights. Never raises for a bad broker.

    Comes under a client id of its own, so that a running daemon is not pushed off.
    """
    results: list[ProbeResult] = []
    end = monotonic() + deadline_s
    try:
        sock = _reach(settings, end, results)
        visit = _log_in(settings, sock, end, results)
        try:
            _prove_rights(visit, settings, end, results)
        finally:
            visit.leave()
    except _Failed as failure:
        results.append(failure.result)
    except (OSError, ValueError) as error:
        results.append(ProbeResult("mqtt", "fail", f"{settings.address}: {error}"))
    return results


# -- the way there ---------------------------------------------------------------------------------------


def _left(end: float) -> float:
    return max(0.01, end - monotonic())


def _reach(settings: MqttSettings, end: float, results: list[ProbeResult]) -> socket.socket:
    if settings.unix_socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(_left(end))
            sock.connect(str(settings.unix_socket))
        except OSError as error:
            sock.close()
            raise _Failed("mqtt socket", f"{settings.unix_socket}: {error.strerror or error}") from error
    else:
        _resolve(settings, results)
        sock = _connect(settings, end)
    results.append(ProbeResult("mqtt connection", "ok", f"{settings.address} accepts connections"))
    if not settings.tls.enabled:
        return sock
    try:
        return _encrypt(settings, sock, results)
    except BaseException:
        sock.close()
        raise


def _resolve(settings: MqttSettings, results: list[ProbeResult]) -> None:
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise _Failed(
            "mqtt host",
            f"{settings.host} has no address: {error.strerror or error}",
            "check mqtt.host and DNS",
        ) from error
    addresses = ", ".join(dict.fromkeys(str(address[0]) for *_, address in found))
    results.append(ProbeResult("mqtt host", "ok", f"{settings.host} is {addresses}"))


def _connect(settings: MqttSettings, end: float) -> socket.socket:
    try:
        sock = socket.create_connection((settings.host or "", settings.port), _left(end))
    except OSError as error:
        raise _Failed(
            "mqtt connection",
            f"{settings.address}: {error.strerror or error}",
            "is the broker running, is mqtt.port right, does a firewall stand between?",
        ) from error
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _encrypt(settings: MqttSettings, sock: socket.socket, results: list[ProbeResult]) -> socket.socket:
    try:
        wrapped = _context(settings.tls).wrap_socket(sock, server_hostname=settings.host or "localhost")
    except ssl.SSLCertVerificationError as error:
        raise _Failed(
            "mqtt tls", f"the certificate is not trusted: {error.verify_message}",
            "set mqtt.tls.ca_file to the authority that signed it, and mqtt.host to a name in it",
        ) from error  # fmt: skip
    except OSError as error:
        raise _Failed(
            "mqtt tls",
            f"no TLS on this port: {error}",
            "8883 is usual with TLS; else set mqtt.tls.enabled = false",
        ) from error
    results.append(_certificate(wrapped))
    return wrapped


def _certificate(sock: ssl.SSLSocket) -> ProbeResult:
    found: dict[str, Any] = dict(sock.getpeercert() or {})
    if not found:
        return ProbeResult(
            "mqtt tls",
            "warn",
            f"{sock.version()}, the certificate is not checked",
            "set mqtt.tls.verify = true",
        )
    issuer = dict(pair for part in found.get("issuer", ()) for pair in part)
    name = issuer.get("commonName") or issuer.get("organizationName") or "an unnamed authority"
    ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(found["notAfter"])), UTC)
    days = (ends - datetime.now(UTC)).days
    text = f"{sock.version()}, certificate by {name}, valid until {ends:%Y-%m-%d}"
    if days < EXPIRES_SOON_DAYS:
        return ProbeResult("mqtt tls", "warn", f"{text}: {days} days left", "renew the broker's certificate")
    return ProbeResult("mqtt tls", "ok", text)


# -- the visit -------------------------------------------------------------------------------------------


class _Given(Client):
    """paho on a socket that is open already."""

    given: socket.socket

    def _create_socket(self) -> Any:
        return self.given


@dataclass
class _Visit:
    """One connection as a guest; its callbacks only take notes."""

    client: _Given
    is_v5: bool
    connack: ReasonCode | None = None
    lost: str = ""
    granted: dict[int, list[ReasonCode]] = field(default_factory=dict)
    acknowledged: dict[int, ReasonCode] = field(default_factory=dict)
    received: list[tuple[str, bytes]] = field(default_factory=list)

    def listen(self) -> None:
        """Let the callbacks take notes."""
        self.client.on_connect = self._on_connect
        self.client.on_disconnect = self._on_disconnect
        self.client.on_subscribe = self._on_subscribe
        self.client.on_publish = self._on_publish
        self.client.on_message = self._on_message

    def _on_connect(self, *args: Any) -> None:
        self.connack = args[3]

    def _on_disconnect(self, *args: Any) -> None:
        self.lost = str(args[3])

    def _on_subscribe(self, *args: Any) -> None:
        self.granted[args[2]] = args[3]

    def _on_publish(self, *args: Any) -> None:
        self.acknowledged[args[2]] = args[3]

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        self.received.append((message.topic, bytes(message.payload)))

    def wait(self, is_done: Callable[[], bool], end: float) -> bool:
        """Run the connection until it is done or cut, or time is up; tell whether it is done."""
        while not is_done() and not self.lost and monotonic() < end:
            self.client.loop(STEP_S)
        return is_done()

    def leave(self) -> None:
        """Say goodbye."""
        self.client.disconnect()
        sock = self.client.given
        sock.close()


def _log_in(settings: MqttSettings, sock: socket.socket, end: float, results: list[ProbeResult]) -> _Visit:
    visit = _greet(settings, sock, is_v5=settings.protocol != "3.1.1", end=end)
    code = visit.connack
    is_unsupported = code is not None and code.value == UNSUPPORTED_VERSION
    if settings.protocol == "auto" and (code is None or is_unsupported):
        visit.leave()
        quiet: list[ProbeResult] = []
        visit = _greet(settings, _reach(settings, end, quiet), is_v5=False, end=end)
        code = visit.connack
    if code is None:
        visit.leave()
        raise _Failed(
            "mqtt login",
            f"{settings.address} does not answer as an MQTT broker ({visit.lost or 'time is up'})",
        )
    who = settings.username or "nobody (anonymous)"
    if code.is_failure:
        visit.leave()
        raise _Failed("mqtt login", f"refused as {who}: {code}", _WHY.get(code.value, ""))
    version = "5" if visit.is_v5 else "3.1.1"
    results.append(ProbeResult("mqtt login", "ok", f"logged in as {who}, MQTT {version}"))
    return visit


def _greet(settings: MqttSettings, sock: socket.socket, *, is_v5: bool, end: float) -> _Visit:
    client = _Given(
        CallbackAPIVersion.VERSION2, f"{settings.client_id}-doctor-{secrets.token_hex(4)}",
        clean_session=None if is_v5 else True,
        protocol=MQTTProtocolVersion.MQTTv5 if is_v5 else MQTTProtocolVersion.MQTTv311,
        reconnect_on_failure=False,
    )  # fmt: skip
    if settings.username is not None:
        client.username_pw_set(settings.username, settings.password)
    client.given = sock
    visit = _Visit(client, is_v5)
    visit.listen()
    client.connect(settings.host or "localhost", settings.port, settings.keepalive_s)
    visit.wait(lambda: visit.connack is not None, end)
    return visit


def _prove_rights(visit: _Visit, settings: MqttSettings, end: float, results: list[ProbeResult]) -> None:
    """Subscribe beside the commands, publish beside the replies, and see the message come round.

    A SUBACK alone proves nothing: mosquitto grants it and then delivers nothing.
    """
    topics = Topics(settings.prefix, settings.node)
    commands, replies = f"{topics.base}/cmd/_doctor/#", f"{topics.base}/reply/_doctor/#"
    for what in (commands, replies):
        _subscribe(visit, what, end)
    results.append(ProbeResult("mqtt subscribe", "ok", f"{commands} is granted"))
    topic, word = f"{topics.base}/reply/_doctor/self-test", secrets.token_hex(8).encode()
    mid = visit.client.publish(topic, word, 1).mid
    advice = f"let {settings.username or 'this user'} read and write {topics.base}/#"
    if not visit.wait(lambda: mid in visit.acknowledged, end):
        raise _Failed("mqtt publish", f"{topic} was not acknowledged {visit.lost}".rstrip(), advice)
    if visit.acknowledged[mid].is_failure:
        raise _Failed("mqtt publish", f"{topic} is refused: {visit.acknowledged[mid]}", advice)
    if not visit.wait(lambda: (topic, word) in visit.received, min(end, monotonic() + 2.0)):
        raise _Failed(
            "mqtt rights", f"a message to {topic} does not come back: the broker's ACL drops it", advice
        )
    results.append(ProbeResult("mqtt rights", "ok", f"may write and read below {topics.base}/"))


def _subscribe(visit: _Visit, what: str, end: float) -> None:
    _, mid = visit.client.subscribe(what, 1)
    if not visit.wait(lambda: mid in visit.granted, end):
        raise _Failed("mqtt subscribe", f"{what} was not answered {visit.lost}".rstrip())
    refused = [code for code in visit.granted[mid or 0] if code.is_failure]
    if refused:
        raise _Failed(
            "mqtt subscribe",
            f"{what} is refused: {refused[0]}",
            "let this user subscribe there in the broker's ACL",
        )
