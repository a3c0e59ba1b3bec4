"""What goes out: in order, complete, at most twenty under way, and never lost by a crash of the broker."""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from adapters.mqtt.relay import MOST_OF_ONE
from daemon.domain.reports import MessagesSent
from daemon.ports import Outgoing
from tests.brokers import Broker, Listener, eventually, running_broker
from tests.fakes.bus import FakeBus
from tests.integration.mqtt_server import ScriptedServer, scripted_server
from tests.integration.mqtt_stage import BASE, drop, make_gateway, running_gateway

AVAILABILITY = f"{BASE}/availability"
EVENTS = f"{BASE}/event/post"
both_protocols = pytest.mark.parametrize("protocol", ["5", "3.1.1"])


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path / "broker") as broker:
        yield broker


@pytest.fixture
def bus() -> FakeBus:
    return FakeBus()


def events(count: int) -> list[tuple[str, str, str]]:
    return [("event", "post", f"{number:06d}") for number in range(count)]


def numbers(listener: Listener) -> list[int]:
    return [int(payload) for payload in listener.on(EVENTS)]


def first_seen(found: list[int]) -> list[int]:
    return list(dict.fromkeys(found))


@both_protocols
def test_an_event_is_published_and_reported_as_sent(broker: Broker, bus: FakeBus, protocol: str) -> None:
    with Listener(broker, EVENTS) as listener, running_gateway(broker, bus, protocol=protocol):
        row = bus.store("event", "post", '{"n":1}').row

        assert listener.wait_for(EVENTS) == [b'{"n":1}']
        bus.wait(lambda: bus.sent == [row])


def test_an_event_is_not_retained_and_says_what_it_is(broker: Broker, bus: FakeBus) -> None:
    with Listener(broker, EVENTS) as listener, running_gateway(broker, bus):
        bus.store("event", "post", "{}")
        listener.wait_for(EVENTS)

        message = listener.messages[0]
        assert message.properties.ContentType == "application/cloudevents+json"
    with Listener(broker, EVENTS, AVAILABILITY) as late:
        late.wait_for(AVAILABILITY)
        assert not late.on(EVENTS)


@both_protocols
def test_a_state_is_retained(broker: Broker, bus: FakeBus, protocol: str) -> None:
    topic = f"{BASE}/state/post/p_1"
    with running_gateway(broker, bus, protocol=protocol):
        bus.store("state", "post/p_1", '{"s":1}')
        bus.wait(lambda: bus.sent)

        with Listener(broker, topic) as late:
            assert late.wait_for(topic) == [b'{"s":1}']


@both_protocols
def test_an_empty_state_clears(broker: Broker, bus: FakeBus, protocol: str) -> None:
    topic = f"{BASE}/state/post/p_1"
    with running_gateway(broker, bus, protocol=protocol):
        bus.store_all([("state", "post/p_1", "{}"), ("state", "post/p_1", "")])
        bus.wait(lambda: len(bus.sent) == 2)

        with Listener(broker, topic, AVAILABILITY) as late:
            late.wait_for(AVAILABILITY)
            assert not late.on(topic)


def test_a_reply_carries_correlation_and_what_is_left_of_its_life(broker: Broker, bus: FakeBus) -> None:
    topic = f"{BASE}/reply/me/x"
    with Listener(broker, topic) as listener, running_gateway(broker, bus):
        bus.store("reply", topic, "{}", correlation=b"\x00c", expires_at=datetime.now(UTC) + timedelta(60))
        listener.wait_for(topic)

        properties = listener.messages[0].properties
        assert properties.CorrelationData == b"\x00c"
        assert 59 * 86400 < properties.MessageExpiryInterval <= 60 * 86400


def test_a_reply_that_is_late_is_still_delivered_to_who_listens(broker: Broker, bus: FakeBus) -> None:
    topic = f"{BASE}/reply/me/x"
    with Listener(broker, topic) as listener, running_gateway(broker, bus):
        bus.store("reply", topic, "{}", expires_at=datetime.now(UTC) - timedelta(60))

        assert listener.wait_for(topic) == [b"{}"]


def test_a_reply_without_a_row_is_published_and_not_reported(broker: Broker, bus: FakeBus) -> None:
    topic = f"{BASE}/reply/me/x"
    with Listener(broker, topic) as listener, running_gateway(broker, bus) as gateway:
        gateway.offer([Outgoing(row=0, transport="mqtt", kind="reply", address=topic, payload="pong")])

        assert listener.wait_for(topic) == [b"pong"]
        assert not bus.sent


def test_messages_of_other_transports_are_left_alone(broker: Broker, bus: FakeBus) -> None:
    topic = f"{BASE}/reply/me/x"
    with Listener(broker, topic, EVENTS) as listener, running_gateway(broker, bus):
        bus.store("reply", topic, "{}", transport="http")
        row = bus.store("event", "post", "{}").row
        listener.wait_for(EVENTS)

        bus.wait(lambda: bus.sent == [row])
        assert not listener.on(topic)


@both_protocols
def test_five_thousand_events_arrive_once_and_in_order(broker: Broker, bus: FakeBus, protocol: str) -> None:
    with Listener(broker, EVENTS, qos=0) as listener, running_gateway(broker, bus, protocol=protocol):
        bus.store_all(events(2500))
        for number in range(2500, 5000):
            bus.store("event", "post", f"{number:06d}")
        listener.wait_for(EVENTS, count=5000)

        assert numbers(listener) == list(range(5000))
        bus.wait(lambda: bus.sent == list(range(1, 5001)))


def test_few_commits_report_many_rows(broker: Broker, bus: FakeBus) -> None:
    with running_gateway(broker, bus):
        bus.store_all(events(1000))
        bus.wait(lambda: len(bus.sent) == 1000)

        reports = [report for report in bus.reports if isinstance(report, MessagesSent)]
        assert len(reports) <= 40


def test_twenty_are_under_way_at_most(bus: FakeBus) -> None:
    bus.store_all(events(200))
    with scripted_server(ScriptedServer(acks=False)) as server:
        gateway = make_gateway(None, bus, host="127.0.0.1", port=server.port)
        gateway.start()
        eventually(lambda: len(server.published) >= 20)
        turns = gateway.turns
        bus.store_all(events(200))
        eventually(lambda: gateway.turns > turns)
        gateway.stop(0.2)

        assert len([topic for topic, _ in server.published if topic == EVENTS]) < 20
        assert len(server.published) == 20


def test_memory_is_bounded_when_nothing_is_acknowledged(bus: FakeBus) -> None:
    with (
        scripted_server(ScriptedServer(acks=False)) as server,
        running_gateway(None, bus, host="127.0.0.1", port=server.port) as gateway,
    ):
        for _ in range(30):
            bus.store_all(events(500))
        eventually(lambda: 0 < gateway.status()["queued"] < 200)


def test_what_a_flood_is_refused_holds_up_nobody_else_and_what_is_left_out_is_told_once(
    bus: FakeBus, caplog: pytest.LogCaptureFixture
) -> None:
    too_many, left_out = 300, []
    with (
        scripted_server(ScriptedServer()) as server,
        running_gateway(
            None, bus, host="127.0.0.1", port=server.port, on_left_out=left_out.append
        ) as gateway,
    ):
        gateway.offer([*(refusal("flood", n) for n in range(MOST_OF_ONE + too_many)), refusal("steady", 0)])
        eventually(lambda: left_out)
        answered = [topic for topic, _ in server.published if "/reply/" in topic]

    assert left_out == [too_many]
    assert len(answered) == MOST_OF_ONE + 1
    assert answered.index(refusal("steady", 0).address) <= 2
    told = [record for record in caplog.records if getattr(record, "action", "") == "mqtt_left_out"]
    assert [(record.actor, record.count) for record in told] == [("flood", too_many)]  # type: ignore[attr-defined]


def refusal(actor: str, number: int) -> Outgoing:
    address = f"{BASE}/reply/{actor}/system/ping"
    return Outgoing(row=0, transport="mqtt", kind="reply", address=address, payload=f'{{"id": "{number}"}}')


def test_what_is_stored_while_the_broker_is_away_comes_later(tmp_path: Path, bus: FakeBus) -> None:
    broker = Broker(tmp_path / "broker")
    gateway = make_gateway(broker, bus, share=lambda: 1.0)
    gateway.start()
    try:
        bus.store_all(events(350))
        eventually(lambda: gateway.status()["last_error"])
        assert gateway.status()["queued"] == 0
        broker.start()
        with Listener(broker, EVENTS, qos=0) as listener:
            bus.wait(lambda: bus.sent == list(range(1, 351)))
            listener.wait(lambda: numbers(listener)[-1:] == [349])  # it may hear later than the broker
            heard = numbers(listener)
            assert heard == list(range(350))[-len(heard) :]
    finally:
        gateway.stop()
        broker.close()


def test_events_are_complete_and_in_order_over_dropped_connections(broker: Broker, bus: FakeBus) -> None:
    with Listener(broker, EVENTS, qos=0) as listener, running_gateway(broker, bus) as gateway:
        for round_number in range(5):
            start = round_number * 200
            bus.store_all(events(1000)[start : start + 200])
            listener.wait(lambda start=start: len(first_seen(numbers(listener))) > start + 20)
            drop(gateway)
            eventually(lambda: not gateway.status()["connected"])
            eventually(lambda: gateway.status()["connected"])
        bus.wait(lambda: len(set(bus.sent)) == 1000)
        listener.wait(lambda: len(first_seen(numbers(listener))) == 1000)

        assert first_seen(numbers(listener)) == list(range(1000))


def test_events_are_complete_over_a_killed_broker(broker: Broker, bus: FakeBus) -> None:
    # the first try comes after 2 s, so that the second listener is there before the gateway is
    with running_gateway(broker, bus, share=lambda: 10.0) as gateway:
        with Listener(broker, EVENTS, qos=0) as before:
            bus.store_all(events(900))
            before.wait(lambda: len(numbers(before)) > 50)
            broker.kill()
            before.wait_until_lost()
            eventually(lambda: not gateway.status()["connected"])
            bus.store_all([("event", "post", f"{number:06d}") for number in range(900, 1000)])
        broker.start()
        with Listener(broker, EVENTS, qos=0) as after:
            bus.wait(lambda: len(set(bus.sent)) == 1000)
            after.wait(lambda: numbers(after) and numbers(after)[-1] == 999)

            assert numbers(after) == sorted(numbers(after))
            assert first_seen(numbers(before) + numbers(after)) == list(range(1000))


@both_protocols
def test_stop_flushes_and_says_offline_last(broker: Broker, bus: FakeBus, protocol: str) -> None:
    with Listener(broker, EVENTS, AVAILABILITY, qos=0) as listener:
        with running_gateway(broker, bus, protocol=protocol):
            listener.wait_for(AVAILABILITY, b"online")
            bus.store_all(events(500))

        listener.wait_for(AVAILABILITY, b"offline")
        assert numbers(listener) == list(range(500))
        assert listener.heard()[-1] == (AVAILABILITY, b"offline")
        assert bus.sent == list(range(1, 501))


def test_stop_gives_up_a_flush_in_time_and_keeps_the_rows(bus: FakeBus) -> None:
    with scripted_server(ScriptedServer(acks=False)) as server:
        gateway = make_gateway(None, bus, host="127.0.0.1", port=server.port)
        gateway.start()
        eventually(lambda: gateway.status()["connected"])
        bus.store_all(events(50))

        gateway.stop(0.3)

        assert not gateway.is_alive()
        assert not bus.sent


def test_a_message_larger_than_the_broker_takes_does_not_stop_the_line(tmp_path: Path, bus: FakeBus) -> None:
    with (
        running_broker(tmp_path / "broker", options=["max_packet_size 5000"]) as broker,
        Listener(broker, EVENTS) as listener,
        running_gateway(broker, bus),
    ):
        bus.store_all([("event", "post", "x" * 6000), ("event", "post", "small")])

        assert listener.wait_for(EVENTS) == [b"small"]
        bus.wait(lambda: bus.sent == [1, 2])


def test_a_state_with_an_impossible_topic_does_not_stop_the_line(broker: Broker, bus: FakeBus) -> None:
    with Listener(broker, EVENTS) as listener, running_gateway(broker, bus):
        bus.store_all([("state", "post/#", "{}"), ("event", "post", "next")])

        assert listener.wait_for(EVENTS) == [b"next"]
        bus.wait(lambda: bus.sent == [1, 2])


def test_a_refused_message_counts_as_sent_and_is_logged_once(
    tmp_path: Path, bus: FakeBus, caplog: pytest.LogCaptureFixture
) -> None:
    acl = f"user tokd\ntopic read {BASE}/#\ntopic write {BASE}/availability\n"
    with (
        running_broker(tmp_path / "broker", users={"tokd": "x"}, acl=acl) as broker,
        running_gateway(broker, bus, username="tokd", password="x"),
    ):
        bus.store_all(events(5))
        bus.wait(lambda: bus.sent == [1, 2, 3, 4, 5])

    refused = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [vars(record)["kind"] for record in refused] == ["fence", "info", "event"]


def test_info_is_retained_json(broker: Broker, bus: FakeBus) -> None:
    with running_gateway(broker, bus), Listener(broker, f"{BASE}/info") as late:
        assert json.loads(late.wait_for(f"{BASE}/info")[0]) == {"node": "main"}
