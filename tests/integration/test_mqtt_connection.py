"""How the gateway meets a broker, loses it, finds it again and says goodbye."""

import contextlib
import logging
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic

import pytest

from adapters.mqtt import TlsSettings
from adapters.mqtt.backoff import Backoff
from daemon.domain.reports import BrokerJoined
from tests.brokers import Broker, Listener, eventually, free_port, running_broker
from tests.fakes.bus import FakeBus
from tests.integration.mqtt_server import ScriptedServer, publish_packet, scripted_server
from tests.integration.mqtt_stage import (
    BASE,
    PING,
    cut,
    deaths,
    drop,
    make_gateway,
    running_gateway,
    socket_of,
)

AVAILABILITY = f"{BASE}/availability"
FENCE = f"{BASE}/cmd/_self/fence"
both_protocols = pytest.mark.parametrize("protocol", ["5", "3.1.1"])


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path / "broker") as broker:
        yield broker


@pytest.fixture
def bus() -> FakeBus:
    return FakeBus()


@both_protocols
def test_it_says_online_when_it_has_connected(broker: Broker, bus: FakeBus, protocol: str) -> None:
    with Listener(broker, AVAILABILITY) as listener, running_gateway(broker, bus, protocol=protocol):
        assert listener.wait_for(AVAILABILITY) == [b"online"]


@both_protocols
def test_online_is_retained(broker: Broker, bus: FakeBus, protocol: str) -> None:
    with running_gateway(broker, bus, protocol=protocol), Listener(broker, AVAILABILITY) as first:
        first.wait_for(AVAILABILITY, b"online")
        with Listener(broker, AVAILABILITY) as late:
            assert late.wait_for(AVAILABILITY) == [b"online"]


@both_protocols
def test_status_names_the_protocol_it_speaks(broker: Broker, bus: FakeBus, protocol: str) -> None:
    with running_gateway(broker, bus, protocol=protocol) as gateway:
        assert gateway.status()["protocol"] == protocol


def test_auto_speaks_mqtt_5_where_the_broker_does(broker: Broker, bus: FakeBus) -> None:
    with running_gateway(broker, bus, protocol="auto") as gateway:
        assert gateway.status()["protocol"] == "5"


def test_it_connects_through_a_unix_socket(broker: Broker, bus: FakeBus) -> None:
    with running_gateway(None, bus, unix_socket=broker.socket_path) as gateway:
        assert gateway.status()["connected"]


def test_it_connects_over_tls(tmp_path: Path, bus: FakeBus) -> None:
    with (
        tls_broker(tmp_path) as (port, tls),
        running_gateway(None, bus, host="localhost", port=port, tls=tls),
    ):
        bus.store_all([("event", "post", "x" * 1000)] * 300)

        bus.wait(lambda: len(bus.sent) == 300)


def test_a_certificate_of_a_stranger_is_refused(tmp_path: Path, bus: FakeBus) -> None:
    with tls_broker(tmp_path) as (port, _):
        gateway = make_gateway(None, bus, host="localhost", port=port, tls=TlsSettings(enabled=True))
        gateway.start()

        eventually(lambda: "CERTIFICATE_VERIFY_FAILED" in (gateway.status()["last_error"] or ""))

        gateway.stop()


def test_it_shows_its_own_certificate_where_the_broker_asks_for_one(tmp_path: Path, bus: FakeBus) -> None:
    folder = tmp_path / "asks"
    folder.mkdir()
    asks = ["require_certificate true", f"cafile {folder / 'cert.pem'}", "use_identity_as_username true"]
    with running_broker_with_tls(folder, *asks) as (_, port, tls):
        shown = replace(tls, cert_file=folder / "cert.pem", key_file=folder / "key.pem")
        with running_gateway(None, bus, host="localhost", port=port, tls=shown) as gateway:
            assert gateway.status()["connected"]
        silent = make_gateway(None, bus, host="localhost", port=port, tls=tls)
        silent.start()
        eventually(lambda: silent.status()["last_error"] not in {None, "not started"})
        assert not silent.status()["connected"]
        silent.stop()


def test_a_command_comes_through_tls(tmp_path: Path, bus: FakeBus) -> None:
    with (
        running_broker_with_tls(tmp_path) as (broker, port, tls),
        running_gateway(None, bus, host="localhost", port=port, tls=tls),
        Listener(broker, AVAILABILITY) as listener,
    ):
        listener.wait_for(AVAILABILITY, b"online")
        for number in range(50):
            listener.publish(PING, f'{{"id": "n{number}"}}')

        assert [request.id for request in bus.wait_for_requests(50)] == [f"n{n}" for n in range(50)]


@contextlib.contextmanager
def running_broker_with_tls(folder: Path, *more: str) -> Iterator[tuple[Broker, int, TlsSettings]]:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    port = free_port()
    options = [
        f"listener {port} 127.0.0.1", f"certfile {folder / 'cert.pem'}", f"keyfile {folder / 'key.pem'}", *more,
    ]  # fmt: skip
    with running_broker(folder / "broker", options=options) as broker:
        yield broker, port, TlsSettings(enabled=True, ca_file=folder / "cert.pem")


@contextlib.contextmanager
def tls_broker(folder: Path) -> Iterator[tuple[int, TlsSettings]]:
    with running_broker_with_tls(folder) as (_, port, tls):
        yield port, tls


@pytest.mark.parametrize(
    ("failures", "was_refused", "limit"),
    [
        pytest.param(1, False, 0.2, id="the first"),
        pytest.param(2, False, 0.4, id="the second"),
        pytest.param(40, False, 30.0, id="the longest"),
        pytest.param(40, True, 60.0, id="the longest after a refusal"),
    ],
)
def test_waits_double_up_to_a_limit(failures: int, was_refused: bool, limit: float) -> None:
    backoff = Backoff(lambda: 1.0)

    waits = [backoff.next_wait(was_refused=was_refused) for _ in range(failures)]

    assert waits[-1] == limit


def test_a_connection_that_does_not_last_mends_nothing() -> None:
    backoff = Backoff(lambda: 1.0)
    backoff.next_wait(was_refused=False)

    backoff.connection_lasted(0.1)

    assert backoff.next_wait(was_refused=False) == 0.4


def test_what_is_known_goes_out_between_info_and_online(broker: Broker, bus: FakeBus) -> None:
    bus.store("state", "daemon", "{}")

    with Listener(broker, f"{BASE}/#") as listener, running_gateway(broker, bus):
        listener.wait_for(AVAILABILITY, b"online")

        topics = [topic for topic, _ in listener.heard()]
        assert topics == [FENCE, f"{BASE}/info", f"{BASE}/state/daemon", AVAILABILITY]


def test_states_that_the_join_makes_go_out_before_online(broker: Broker, bus: FakeBus) -> None:
    bus.on_report = lambda report: (
        bus.store("state", "daemon", "{}") if isinstance(report, BrokerJoined) else None
    )

    with Listener(broker, f"{BASE}/#") as listener, running_gateway(broker, bus):
        listener.wait_for(AVAILABILITY, b"online")

        topics = [topic for topic, _ in listener.heard()]
        assert topics == [FENCE, f"{BASE}/info", f"{BASE}/state/daemon", AVAILABILITY]


def test_the_bus_is_told_that_there_was_no_session(broker: Broker, bus: FakeBus) -> None:
    with running_gateway(broker, bus):
        bus.wait(lambda: BrokerJoined(has_session=False) in bus.reports)


@both_protocols
def test_the_bus_is_told_of_a_kept_session(broker: Broker, bus: FakeBus, protocol: str) -> None:
    with running_gateway(broker, bus, protocol=protocol):
        pass

    with running_gateway(broker, bus, protocol=protocol):
        bus.wait(lambda: BrokerJoined(has_session=True) in bus.reports)


@both_protocols
def test_a_crash_is_told_by_the_will(broker: Broker, bus: FakeBus, protocol: str) -> None:
    with Listener(broker, AVAILABILITY) as listener:
        gateway = make_gateway(broker, bus, protocol=protocol)
        gateway.start()
        listener.wait_for(AVAILABILITY, b"online")

        cut(gateway)

        listener.wait_for(AVAILABILITY, b"offline")


@both_protocols
def test_a_stop_is_told_by_offline(broker: Broker, bus: FakeBus, protocol: str) -> None:
    with Listener(broker, AVAILABILITY) as listener:
        with running_gateway(broker, bus, protocol=protocol):
            listener.wait_for(AVAILABILITY, b"online")

        assert listener.wait_for(AVAILABILITY, b"offline") == [b"online", b"offline"]


@both_protocols
def test_an_offline_from_somebody_else_is_corrected(broker: Broker, bus: FakeBus, protocol: str) -> None:
    with Listener(broker, AVAILABILITY) as listener, running_gateway(broker, bus, protocol=protocol):
        listener.wait_for(AVAILABILITY, b"online")

        listener.publish(AVAILABILITY, b"offline", retain=True)

        assert listener.wait_for(AVAILABILITY, b"online", count=2)[-1] == b"online"


def test_a_fight_over_availability_is_fought_once_a_second(broker: Broker, bus: FakeBus) -> None:
    with Listener(broker, AVAILABILITY) as listener, running_gateway(broker, bus):
        listener.wait_for(AVAILABILITY, b"online")

        start = monotonic()
        for _ in range(20):
            listener.publish(AVAILABILITY, b"offline")
        listener.wait(lambda: listener.on(AVAILABILITY)[-1] == b"online")

        assert listener.on(AVAILABILITY).count(b"online") - 1 <= 2 + (monotonic() - start)


def test_a_broken_connection_is_made_again(broker: Broker, bus: FakeBus) -> None:
    with Listener(broker, AVAILABILITY) as listener, running_gateway(broker, bus) as gateway:
        listener.wait_for(AVAILABILITY, b"online")

        drop(gateway)

        listener.wait_for(AVAILABILITY, b"online", count=2)


def test_a_broker_that_comes_later_is_found(tmp_path: Path, bus: FakeBus) -> None:
    broker = Broker(tmp_path / "broker")
    gateway = make_gateway(broker, bus)
    gateway.start()
    try:
        eventually(lambda: "cannot reach the broker" in (gateway.status()["last_error"] or ""))
        broker.start()

        eventually(lambda: gateway.status()["connected"])
    finally:
        gateway.stop()
        broker.close()


def test_a_lost_broker_is_logged_once_however_often_it_is_tried(
    tmp_path: Path, bus: FakeBus, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = make_gateway(Broker(tmp_path / "broker"), bus, share=lambda: 0.01)
    gateway.start()
    eventually(lambda: gateway.turns > 8)
    gateway.stop()

    assert [record.levelno for record in caplog.records].count(logging.WARNING) == 1


def test_a_wrong_password_is_named_and_a_mended_one_works(tmp_path: Path, bus: FakeBus) -> None:
    with running_broker(tmp_path / "broker", users={"tokd": "right"}) as broker:
        gateway = make_gateway(broker, bus, username="tokd", password="wrong")
        gateway.start()
        try:
            eventually(lambda: gateway.status()["last_error"])
            assert gateway.status()["last_error"] == "not authorised: check mqtt.username/password_file"
            broker.set_users({"tokd": "wrong"})

            eventually(lambda: gateway.status()["connected"])
        finally:
            gateway.stop()


def test_the_password_is_not_in_the_settings_text(broker: Broker, bus: FakeBus) -> None:
    gateway = make_gateway(broker, bus, username="tokd", password="canary")

    assert "canary" not in repr(gateway._settings)


def test_a_server_of_3_1_1_only_is_taken_as_it_is(bus: FakeBus) -> None:
    with (
        scripted_server(ScriptedServer(takes_v5=False)) as server,
        running_gateway(None, bus, host="127.0.0.1", port=server.port, protocol="auto") as gateway,
    ):
        assert gateway.status()["protocol"] == "3.1.1"
        assert server.versions == [5, 4]


def test_protocol_5_does_not_fall_back(bus: FakeBus) -> None:
    with scripted_server(ScriptedServer(takes_v5=False)) as server:
        gateway = make_gateway(None, bus, host="127.0.0.1", port=server.port, protocol="5")
        gateway.start()
        eventually(lambda: len(server.versions) > 1)
        gateway.stop()

        assert set(server.versions) == {5}


def test_a_broken_packet_ends_the_connection_and_not_the_thread(bus: FakeBus) -> None:
    garbage = b"\x32\x02\x00\xff"
    deaths.clear()
    with scripted_server(ScriptedServer(greeting=garbage)) as server:
        gateway = make_gateway(None, bus, host="127.0.0.1", port=server.port)
        gateway.start()
        eventually(lambda: len(server.versions) > 1)
        gateway.stop()

        assert not deaths


@both_protocols
def test_a_topic_that_is_not_utf8_is_acknowledged_and_left(bus: FakeBus, protocol: str) -> None:
    is_v5 = protocol == "5"
    bad = publish_packet(BASE.encode() + b"/cmd/me/\xff\xfe/x", b"{}", 7, is_v5=is_v5)
    good = publish_packet(PING.encode(), b"{}", 8, is_v5=is_v5)
    with (
        scripted_server(ScriptedServer(greeting=bad + good)) as server,
        running_gateway(None, bus, host="127.0.0.1", port=server.port, protocol=protocol),
    ):
        eventually(lambda: server.acknowledged == [7, 8])

        assert [request.verb for request in bus.requests] == ["system/ping"]


def test_tcp_nodelay_is_set(broker: Broker, bus: FakeBus) -> None:
    with running_gateway(broker, bus) as gateway:
        assert socket_of(gateway).getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_an_idle_gateway_does_not_poll(broker: Broker, bus: FakeBus) -> None:
    with Listener(broker, AVAILABILITY) as listener, running_gateway(broker, bus) as gateway:
        listener.wait_for(AVAILABILITY, b"online")
        bus.store("event", "post", "{}")
        bus.wait(lambda: bus.sent)
        turns = gateway.turns

        threading.Event().wait(1.0)

        assert gateway.turns - turns <= 2


def test_an_idle_connection_is_kept_alive(broker: Broker, bus: FakeBus) -> None:
    with running_gateway(broker, bus, keepalive_s=1) as gateway:
        since = gateway.status()["since"]

        threading.Event().wait(2.5)

        assert gateway.status()["since"] == since


def test_a_server_that_never_answers_does_not_hold_up_a_stop(bus: FakeBus) -> None:
    with scripted_server(ScriptedServer(answers_connect=False)) as server:
        gateway = make_gateway(None, bus, host="127.0.0.1", port=server.port)
        gateway.start()
        eventually(lambda: server.versions)
        start = monotonic()

        gateway.stop(5)

        assert monotonic() - start < 1
        assert not gateway.is_alive()


def test_a_missing_broker_does_not_hold_up_a_stop(tmp_path: Path, bus: FakeBus) -> None:
    gateway = make_gateway(Broker(tmp_path / "broker"), bus, share=lambda: 100.0)
    gateway.start()
    eventually(lambda: gateway.status()["last_error"])
    start = monotonic()

    gateway.stop(5)

    assert monotonic() - start < 1


def test_stop_may_be_called_twice_and_before_start(broker: Broker, bus: FakeBus) -> None:
    gateway = make_gateway(broker, bus)
    gateway.stop()
    gateway.start()

    gateway.stop()
    gateway.stop()

    assert not gateway.is_alive()


def test_an_offer_after_stop_does_nothing(broker: Broker, bus: FakeBus) -> None:
    with running_gateway(broker, bus):
        pass

    bus.store("event", "post", "{}")

    assert not bus.sent


def test_a_network_thread_that_dies_is_told(broker: Broker, bus: FakeBus) -> None:
    deaths.clear()
    error = KeyError("a mistake of ours")

    def fail(_request: object) -> None:
        raise error

    bus.on_submit = fail
    gateway = make_gateway(broker, bus)
    gateway.start()
    with Listener(broker, AVAILABILITY) as listener:
        listener.wait_for(AVAILABILITY, b"online")
        listener.publish(PING, b"{}", qos=0)

        eventually(lambda: deaths == [error])
        eventually(lambda: not gateway.is_alive())
