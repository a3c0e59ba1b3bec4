"""A gateway on a real broker, with a fake bus behind it."""

import contextlib
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from adapters.mqtt import MqttGateway, MqttSettings
from tests.brokers import Broker, Listener, eventually
from tests.fakes.bus import FakeBus

BASE = "tokd/v1/main"
PING = f"{BASE}/cmd/me/system/ping"
PAUSE = f"{BASE}/cmd/me/system/pause"


class RealClock:
    """Implements ports.Clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return monotonic()


def make_gateway(broker: Broker | None, bus: FakeBus, **settings: Any) -> MqttGateway:
    """Return a gateway that is not started; keywords change its settings."""
    address: dict[str, Any] = {"host": broker.host, "port": broker.port} if broker else {}
    found = (
        {"node": "main", "client_id": "tokd-main", "protocol": "5", "will_delay_s": 0} | address | settings
    )
    share = found.pop("share", lambda: 0.5)
    more = {name: found.pop(name) for name in ("neighbour", "on_left_out") if name in found}
    gateway = MqttGateway(
        MqttSettings(**found),
        bus,
        RealClock(),
        "b007",
        lambda: {"node": "main"},
        deaths.append,
        share=share,
        **more,
    )
    bus.publishers = [gateway]
    return gateway


deaths: list[BaseException] = []


@contextlib.contextmanager
def running_gateway(broker: Broker | None, bus: FakeBus, **settings: Any) -> Iterator[MqttGateway]:
    """Give a gateway that is connected, and stop it; fail if its thread died."""
    deaths.clear()
    gateway = make_gateway(broker, bus, **settings)
    gateway.start()
    try:
        eventually(lambda: gateway.status()["connected"])
        yield gateway
    finally:
        gateway.stop(2)
    assert not deaths


def cut(gateway: MqttGateway) -> None:
    """End the gateway as a crash would: its socket dies without a goodbye."""
    assert gateway._network is not None
    assert gateway._thread is not None
    sock = socket_of(gateway)
    gateway._network.is_finished = True
    with contextlib.suppress(OSError):  # the thread may have ended already
        sock.shutdown(socket.SHUT_RDWR)
    gateway._thread.join(5)


def drop(gateway: MqttGateway) -> None:
    """Break the gateway's connection, as a network does."""
    socket_of(gateway).shutdown(socket.SHUT_RDWR)


def socket_of(gateway: MqttGateway) -> socket.socket:
    """Return the socket of the gateway's connection."""
    assert gateway._network is not None
    assert gateway._network._link is not None
    found = gateway._network._link.socket()
    assert found is not None
    return found


def others(listener: Listener) -> list[tuple[str, bytes]]:
    """Return what was heard beside availability and info."""
    return [
        (topic, payload)
        for topic, payload in listener.heard()
        if not topic.endswith(("availability", "info"))
    ]
