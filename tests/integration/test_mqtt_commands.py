"""Commands in: every message is answered, acknowledged after its commit, and never believed too much."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.mqtt.reception import MOST_UNSETTLED
from daemon.domain.commands import Pause, Ping
from daemon.domain.errors import Code
from daemon.domain.topics import Topics
from daemon.domain.wire import Request
from tests.brokers import Broker, Listener, eventually, running_broker
from tests.fakes.bus import FakeBus
from tests.integration.mqtt_server import ScriptedServer, publish_packet, scripted_server
from tests.integration.mqtt_stage import BASE, PAUSE, PING, cut, drop, make_gateway, running_gateway

AVAILABILITY = f"{BASE}/availability"
REPLY = f"{BASE}/reply/me/system/ping"
both_protocols = pytest.mark.parametrize("protocol", ["5", "3.1.1"])


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path / "broker") as broker:
        yield broker


@pytest.fixture
def bus() -> FakeBus:
    return FakeBus()


@pytest.fixture
def sender(broker: Broker) -> Iterator[Listener]:
    with Listener(broker, f"{BASE}/#") as listener:
        yield listener


def one_request(
    broker: Broker, bus: FakeBus, sender: Listener, topic: str, payload: bytes | str = b"{}", **more: Any
) -> Request:
    protocol = more.pop("protocol", "5")
    with running_gateway(broker, bus, protocol=protocol):
        sender.wait_for(AVAILABILITY, b"online")
        sender.publish(topic, payload, **more)
        return bus.wait_for_requests(1)[0]


def code_of(request: Request) -> Code | None:
    return request.error.code if request.error else None


@both_protocols
def test_a_command_comes_with_actor_verb_and_default_reply_topic(
    broker: Broker, bus: FakeBus, sender: Listener, protocol: str
) -> None:
    found = one_request(broker, bus, sender, PING, b'{"id": "x-1"}', protocol=protocol)

    assert (found.actor, found.verb, found.reply_to, found.id) == ("me", "system/ping", REPLY, "x-1")
    assert found.command == Ping()


@both_protocols
def test_an_empty_message_is_a_command_without_arguments(
    broker: Broker, bus: FakeBus, sender: Listener, protocol: str
) -> None:
    assert one_request(broker, bus, sender, PING, b"", protocol=protocol).command == Ping()


def test_the_mqtt_5_properties_are_taken(broker: Broker, bus: FakeBus, sender: Listener) -> None:
    wanted = f"{BASE}/reply/me/here/it/is"

    found = one_request(
        broker, bus, sender, PING, ResponseTopic=wanted, CorrelationData=b"\x00\xff", MessageExpiryInterval=60
    )

    assert (found.reply_to, found.correlation) == (wanted, b"\x00\xff")
    assert found.expires_at is not None
    assert found.expires_at - found.received_at <= timedelta(seconds=60)


@both_protocols
def test_the_payload_may_name_the_reply_topic(
    broker: Broker, bus: FakeBus, sender: Listener, protocol: str
) -> None:
    wanted = f"{BASE}/reply/me/cli"

    found = one_request(
        broker, bus, sender, PING, json.dumps({"reply_to": wanted}).encode(), protocol=protocol
    )

    assert (found.reply_to, found.error) == (wanted, None)


@pytest.mark.parametrize(
    "topic",
    [
        pytest.param(f"{BASE}/reply/other/x", id="another actor's"),
        pytest.param(f"{BASE}/reply/me", id="the actor's root"),
        pytest.param(f"{BASE}/reply/me/", id="an empty level"),
        pytest.param(f"{BASE}/reply/me/../other", id="dots are only letters"),
        pytest.param(f"{BASE}/cmd/me/system/pause", id="our own commands"),
        pytest.param("homeassistant/device/x/config", id="somebody else's tree"),
        pytest.param("$SYS/x", id="the broker's tree"),
        pytest.param(f"{BASE}/reply/me/#", id="many levels"),
        pytest.param(f"{BASE}/reply/me/+/x", id="one level"),
        pytest.param(f"{BASE}/reply/me/$x", id="a dollar"),
        pytest.param(f"{BASE}/reply/me/a\x01b", id="a control character"),
        pytest.param(f"{BASE}/reply/me/\uffff", id="no character"),
        pytest.param(f"{BASE}/reply/me/{'x' * 600}", id="too long"),
        pytest.param("", id="nothing"),
    ],
)
def test_the_fence_around_replies(topic: str) -> None:
    is_inside = topic == f"{BASE}/reply/me/../other"

    assert Topics("tokd", "main").may_reply_to(topic, "me") is is_inside


@pytest.mark.parametrize(
    "wanted", [f"{BASE}/reply/other/x", f"{BASE}/reply/me/#", "a/b", f"{BASE}/cmd/me/a/b"]
)
def test_a_reply_topic_outside_the_fence_is_answered_at_the_default_one(
    broker: Broker, bus: FakeBus, sender: Listener, wanted: str
) -> None:
    found = one_request(broker, bus, sender, PING, json.dumps({"reply_to": wanted}))

    assert found.error is not None
    assert (found.error.code, found.error.field) == (Code.FORBIDDEN, "reply_to")
    assert (found.reply_to, found.command) == (REPLY, None)


def test_a_response_topic_outside_the_fence_is_refused(
    broker: Broker, bus: FakeBus, sender: Listener
) -> None:
    found = one_request(broker, bus, sender, PING, ResponseTopic="homeassistant/status")

    assert (code_of(found), found.reply_to) == (Code.FORBIDDEN, REPLY)


def test_a_reply_topic_that_is_no_text_is_refused(broker: Broker, bus: FakeBus, sender: Listener) -> None:
    assert code_of(one_request(broker, bus, sender, PING, b'{"reply_to": 5}')) == Code.BAD_FIELD


@pytest.mark.parametrize(
    ("tail", "code", "reply"),
    [
        pytest.param("/me/ping", Code.UNKNOWN_COMMAND, "/me/ping", id="too few levels"),
        pytest.param("/me", Code.UNKNOWN_COMMAND, "/me", id="only an actor"),
        pytest.param("", Code.FORBIDDEN, "", id="only cmd"),
        pytest.param("/me/system/ping/x", Code.UNKNOWN_COMMAND, "/me/system/ping/x", id="too many levels"),
        pytest.param("/me//ping", Code.UNKNOWN_COMMAND, "/me//ping", id="an empty level"),
        pytest.param("/me/system/pong", Code.UNKNOWN_COMMAND, "/me/system/pong", id="no such verb"),
        pytest.param("/a b/system/ping", Code.FORBIDDEN, "/a b/system/ping", id="no name"),
        pytest.param("/_self/fence/x", Code.FORBIDDEN, "/_self/fence/x", id="the daemon's own name"),
    ],
)
def test_every_shape_of_topic_is_answered(
    broker: Broker, bus: FakeBus, sender: Listener, tail: str, code: Code, reply: str
) -> None:
    found = one_request(broker, bus, sender, f"{BASE}/cmd{tail}")

    assert (code_of(found), found.reply_to) == (code, f"{BASE}/reply{reply}")


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        pytest.param(b"{", Code.BAD_JSON, id="half an object"),
        pytest.param(b"[]", Code.BAD_JSON, id="a list"),
        pytest.param(b'{"id": "\xff"}', Code.BAD_JSON, id="not UTF-8"),
        pytest.param(b'{"args": {"x": 1}}', Code.UNKNOWN_FIELD, id="an unknown field"),
        pytest.param(b" " * 100 * 1024, Code.TOO_LARGE, id="100 KiB"),
    ],
)
def test_every_payload_is_answered(
    broker: Broker, bus: FakeBus, sender: Listener, payload: bytes, code: Code
) -> None:
    assert code_of(one_request(broker, bus, sender, PING, payload)) == code


def test_ten_megabytes_do_not_hurt(broker: Broker, bus: FakeBus, sender: Listener) -> None:
    with running_gateway(broker, bus):
        sender.wait_for(AVAILABILITY, b"online")
        sender.publish(PING, b"x" * 10 * 1024 * 1024, qos=0)
        sender.publish(PING, b'{"id": "after"}')

        bus.wait(lambda: bus.requests and bus.requests[-1].id == "after")


@both_protocols
def test_a_stored_retained_command_is_refused_and_removed(
    broker: Broker, bus: FakeBus, sender: Listener, protocol: str
) -> None:
    sender.publish(PAUSE, b"{}", retain=True)

    with running_gateway(broker, bus, protocol=protocol):
        found = bus.wait_for_requests(1)[0]
        sender.wait_for(PAUSE, b"")

    assert (code_of(found), found.command) == (Code.RETAINED_COMMAND, None)
    assert not retained(broker, PAUSE)


def test_a_live_command_with_the_flag_is_refused_and_removed_on_5(
    broker: Broker, bus: FakeBus, sender: Listener
) -> None:
    found = one_request(broker, bus, sender, PAUSE, b"{}", retain=True)

    assert code_of(found) == Code.RETAINED_COMMAND
    sender.wait_for(PAUSE, b"")
    assert not retained(broker, PAUSE)


@both_protocols
def test_the_echo_of_a_removal_is_not_a_command(
    broker: Broker, bus: FakeBus, sender: Listener, protocol: str
) -> None:
    sender.publish(PAUSE, b"{}", retain=True)

    with running_gateway(broker, bus, protocol=protocol):
        sender.wait_for(PAUSE, b"")
        sender.publish(PING)
        bus.wait(lambda: [request.verb for request in bus.requests][-1:] == ["system/ping"])

        assert [request.verb for request in bus.requests] == ["system/pause", "system/ping"]


@both_protocols
def test_after_the_echo_an_empty_command_is_a_command_again(
    broker: Broker, bus: FakeBus, sender: Listener, protocol: str
) -> None:
    sender.publish(PAUSE, b"{}", retain=True)

    with running_gateway(broker, bus, protocol=protocol):
        sender.wait_for(PAUSE, b"")
        sender.publish(PAUSE, b"")

        assert bus.wait_for_requests(2)[1].command == Pause()


def test_a_person_may_remove_a_retained_command(broker: Broker, bus: FakeBus, sender: Listener) -> None:
    with running_gateway(broker, bus):
        sender.wait_for(AVAILABILITY, b"online")
        sender.publish(PAUSE, b"", retain=True)
        sender.publish(PING)

        assert [request.verb for request in bus.wait_for_requests(1)] == ["system/ping"]


@both_protocols
def test_a_command_that_was_not_settled_comes_again(
    broker: Broker, bus: FakeBus, sender: Listener, protocol: str
) -> None:
    bus.settles = False
    first = make_gateway(broker, bus, protocol=protocol)
    first.start()
    sender.wait_for(AVAILABILITY, b"online")
    sender.publish(PING, b'{"id": "once"}')
    bus.wait_for_requests(1)

    cut(first)

    with running_gateway(broker, bus, protocol=protocol):
        assert [request.id for request in bus.wait_for_requests(2)] == ["once", "once"]


@both_protocols
def test_a_settled_command_does_not_come_again(
    broker: Broker, bus: FakeBus, sender: Listener, protocol: str
) -> None:
    with running_gateway(broker, bus, protocol=protocol):
        sender.wait_for(AVAILABILITY, b"online")
        sender.publish(PING, b'{"id": "first"}')
        bus.wait_for_requests(1)

    with running_gateway(broker, bus, protocol=protocol):
        sender.publish(PING, b'{"id": "second"}')

        assert [request.id for request in bus.wait_for_requests(2)] == ["first", "second"]


def test_a_late_settle_does_not_acknowledge_on_another_connection(
    broker: Broker, bus: FakeBus, sender: Listener
) -> None:
    bus.settles = False
    with running_gateway(broker, bus) as gateway:
        sender.wait_for(AVAILABILITY, b"online")
        sender.publish(PING, b'{"id": "held"}')
        first = bus.wait_for_requests(1)[0]
        drop(gateway)
        bus.wait_for_requests(2)

        assert first.settle is not None
        first.settle()
        bus.store("event", "post", "the settle has been handled")
        bus.wait(lambda: bus.sent)
        drop(gateway)

        assert [request.id for request in bus.wait_for_requests(3)] == ["held"] * 3


def test_acks_go_out_in_the_order_of_settles(bus: FakeBus) -> None:
    bus.settles = False
    packets = b"".join(publish_packet(PING.encode(), b"{}", mid, is_v5=True) for mid in (11, 12, 13))
    with (
        scripted_server(ScriptedServer(greeting=packets)) as server,
        running_gateway(None, bus, host="127.0.0.1", port=server.port),
    ):
        requests = bus.wait_for_requests(3)
        for request in (requests[1], requests[2], requests[0]):
            assert request.settle is not None
            request.settle()

        eventually(lambda: server.acknowledged == [12, 13, 11])


def test_a_reply_is_published_before_its_command_is_acknowledged(bus: FakeBus) -> None:
    log: list[str] = []
    server = ScriptedServer(greeting=publish_packet(PING.encode(), b"{}", 11, is_v5=True))
    server.published = Spy(log, "reply", lambda item: item[0] == REPLY)
    server.acknowledged = Spy(log, "ack", lambda _: True)
    bus.on_submit = lambda request: bus.store("reply", request.reply_to, "{}")

    with scripted_server(server), running_gateway(None, bus, host="127.0.0.1", port=server.port):
        eventually(lambda: log == ["reply", "ack"])


class Spy(list):  # type: ignore[type-arg]  # a list that notes when something is appended
    def __init__(self, log: list[str], word: str, wants: Any) -> None:
        super().__init__()
        self._log, self._word, self._wants = log, word, wants

    def append(self, item: Any) -> None:
        super().append(item)
        if self._wants(item):
            self._log.append(self._word)


def test_commands_come_in_the_order_they_were_sent(broker: Broker, bus: FakeBus, sender: Listener) -> None:
    with running_gateway(broker, bus):
        sender.wait_for(AVAILABILITY, b"online")
        for number in range(100):
            sender.publish(PING, f'{{"id": "n{number}"}}')

        assert [request.id for request in bus.wait_for_requests(100)] == [f"n{n}" for n in range(100)]


def test_too_many_open_commands_are_answered_busy_at_once(
    broker: Broker, bus: FakeBus, sender: Listener
) -> None:
    bus.settles = False
    with running_gateway(broker, bus):
        sender.wait_for(AVAILABILITY, b"online")
        for number in range(MOST_UNSETTLED):
            sender.publish(PING, f'{{"id": "n{number}"}}', qos=0)
        bus.wait_for_requests(MOST_UNSETTLED)

        sender.publish(PING, b'{"id": "one-more"}', CorrelationData=b"c")

        reply = json.loads(sender.wait_for(REPLY)[0])
        assert (reply["id"], reply["error"]["code"], reply["error"]["retry_after_s"]) == (
            "one-more",
            "busy",
            1,
        )
        assert len(bus.requests) == MOST_UNSETTLED


def test_there_is_room_again_when_commands_are_settled(
    broker: Broker, bus: FakeBus, sender: Listener
) -> None:
    bus.settles = False
    with running_gateway(broker, bus):
        sender.wait_for(AVAILABILITY, b"online")
        for _ in range(MOST_UNSETTLED):
            sender.publish(PING, qos=0)
        for request in bus.wait_for_requests(MOST_UNSETTLED):
            assert request.settle is not None
            request.settle()
        bus.store("event", "post", "the settles have been handled")
        bus.wait(lambda: bus.sent)

        sender.publish(PING, b'{"id": "room"}')

        assert bus.wait_for_requests(MOST_UNSETTLED + 1)[-1].id == "room"


def retained(broker: Broker, topic: str) -> list[bytes]:
    """Return what the broker keeps on a topic."""
    with Listener(broker, topic, "marker") as late:
        late.publish("marker", b"x")
        late.wait_for("marker")
        return late.on(topic)
