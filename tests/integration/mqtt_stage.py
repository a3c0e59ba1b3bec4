"""A gateway on a real broker, with a fake bus behind it."""

import contextlib
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
    gateway = MqttGateway(
        MqttSettings(**found), bus, RealClock(), "b007", lambda: {"node": "main"}, deaths.append
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
    """End the gateway as a crash would: its sockets close without a word, and nothing more is sent."""
    network = gateway._network
    thread = gateway._thread
    assert network is not None
    assert thread is not None
    network.close = lambda: None  # type: ignore[method-assign]
    link = network._link
    network.is_finished = True
    if link is not None and (sock := link.socket()) is not None:
        sock.shutdown(2)
    thread.join(5)
    if link is not None:
        link.close()


def others(listener: Listener) -> list[tuple[str, bytes]]:
    """Return what was heard beside availability and info."""
    return [
        (topic, payload)
        for topic, payload in listener.heard()
        if not topic.endswith(("availability", "info"))
    ]
