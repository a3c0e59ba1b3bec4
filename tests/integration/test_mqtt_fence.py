"""The backlog fence and the loopback self-test: what was sent while nobody was here, and whether we are heard at all."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.mqtt.fence import Fence
from daemon.domain.errors import Code
from tests.brokers import Broker, Listener, eventually, running_broker
from tests.fakes.bus import FakeBus
from tests.integration.mqtt_stage import BASE, PAUSE, PING, cut, make_gateway, running_gateway

FENCE = f"{BASE}/cmd/_self/fence"
AVAILABILITY = f"{BASE}/availability"
both_protocols = pytest.mark.parametrize("protocol", ["5", "3.1.1"])


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path / "broker") as broker:
        yield broker


@pytest.fixture
def bus() -> FakeBus:
    return FakeBus()


def leave_a_session(broker: Broker, protocol: str) -> None:
    bus = FakeBus()
    gateway = make_gateway(broker, bus, protocol=protocol)
    gateway.start()
    eventually(lambda: gateway.status()["self_test"])
    cut(gateway)
    gateway.stop(0)


@both_protocols
def test_what_waited_at_the_broker_is_told_from_what_comes_now(
    broker: Broker, bus: FakeBus, protocol: str
) -> None:
    leave_a_session(broker, protocol)
    with Listener(broker) as sender:
        for number in range(60):
            sender.publish(PAUSE, f'{{"id": "old-{number}"}}')
        with running_gateway(broker, bus, protocol=protocol) as gateway:
            eventually(lambda: gateway.status()["self_test"])
            sender.publish(PAUSE, '{"id": "new"}')
            found = bus.wait_for_requests(61)

    assert [request.id for request in found if not request.is_backlog] == ["new"]
    assert sum(request.is_backlog for request in found) == 60


@both_protocols
def test_what_had_come_before_a_crash_is_no_backlog(broker: Broker, protocol: str) -> None:
    crashed, bus = FakeBus(settles=False), FakeBus()
    gateway = make_gateway(broker, crashed, protocol=protocol)
    gateway.start()
    eventually(lambda: gateway.status()["self_test"])
    with Listener(broker) as sender:
        sender.publish(PAUSE, '{"id": "begun"}')
        crashed.wait_for_requests(1)  # it is there, and its commit is not
        cut(gateway)
        gateway.stop(0)
        with running_gateway(broker, bus, protocol=protocol):
            again = bus.wait_for_requests(1)[0]

    assert (again.id, again.is_backlog) == ("begun", False)


@both_protocols
def test_without_a_session_nothing_is_backlog(broker: Broker, bus: FakeBus, protocol: str) -> None:
    with running_gateway(broker, bus, protocol=protocol), Listener(broker, AVAILABILITY) as sender:
        sender.wait_for(AVAILABILITY, b"online")
        sender.publish(PING)

        assert not bus.wait_for_requests(1)[0].is_backlog


def test_our_own_marker_is_no_command(broker: Broker, bus: FakeBus) -> None:
    with running_gateway(broker, bus) as gateway, Listener(broker) as sender:
        eventually(lambda: gateway.status()["self_test"])
        sender.publish(PING)
        bus.wait_for_requests(1)

    assert [request.verb for request in bus.requests] == ["system/ping"]


def test_a_strangers_order_in_our_own_name_is_refused(broker: Broker, bus: FakeBus) -> None:
    with running_gateway(broker, bus) as gateway, Listener(broker) as sender:
        eventually(lambda: gateway.status()["self_test"])
        sender.publish(FENCE, '{"args": {}}')
        found = bus.wait_for_requests(1)[0]

    assert found.error is not None
    assert found.error.code is Code.FORBIDDEN


def test_a_broker_that_keeps_commands_from_us_is_told(tmp_path: Path, bus: FakeBus) -> None:
    acl = f"user tokd\ntopic write {BASE}/#\ntopic read {BASE}/availability\n"
    with (
        running_broker(tmp_path / "b", users={"tokd": "x"}, acl=acl) as broker,
        running_gateway(broker, bus, username="tokd", password="x", self_test_s=0.2) as gateway,
    ):
        eventually(lambda: gateway.status()["self_test"] is False)

        assert "access rules keep commands from us" in gateway.status()["last_error"]


# -- the fence alone -------------------------------------------------------------------------------------------


def test_commands_that_never_cease_do_not_keep_the_fence_up_where_the_marker_does_not_come() -> None:
    fence = Fence(10)
    fence.raise_(0, has_session=True)

    given_up = [fence.gave_up(at) or (fence.is_backlog(at) and False) for at in range(0, 200, 5)]

    assert given_up.count(True) == 1
    assert not fence.is_backlog(200)


def test_the_fence_waits_longer_while_a_backlog_comes() -> None:
    fence = Fence(10)
    fence.raise_(0, has_session=True)
    fence.is_backlog(10 - 1)

    assert not fence.gave_up(10)
    assert fence.gave_up(2 * 10 - 1)


def test_a_marker_that_does_not_come_is_not_waited_for_for_ever() -> None:
    fence = Fence(10)
    fence.raise_(0, has_session=True)

    assert [fence.gave_up(at) for at in (1, 10, 10 + 1)] == [False, True, False]
    assert not fence.is_backlog(10 + 1)


def test_the_marker_of_a_lost_connection_ends_nothing() -> None:
    fence = Fence(10)
    old = fence.raise_(0, has_session=True)
    fence.raise_(1, has_session=True)

    assert fence.passes(old)
    assert fence.is_backlog(2)
