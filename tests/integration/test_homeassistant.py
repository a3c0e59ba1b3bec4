"""Home Assistant's manners on a real broker: the order of a connection, births, crashes, and a broker that forgets."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.broker import ANYBODY, Actors, Guest, acl_file
from adapters.homeassistant import Birth
from daemon.domain.reports import NeighbourCame
from tests.brokers import Broker, Listener, running_broker
from tests.daemons import Daemon
from tests.fakes.bus import FakeBus
from tests.homeassistant_schema import check_message
from tests.integration.mqtt_stage import BASE, running_gateway
from tests.waiting import wait_until

STATUS = "homeassistant/status"
HUB, ADA = "homeassistant/device/tokd_main/config", "homeassistant/device/tokd_main_ada/config"
AVAILABILITY = f"{BASE}/availability"
USERS = {"tokd-main": "secret-1", "homeassistant": "secret-2"}
both_protocols = pytest.mark.parametrize("protocol", ["5", "3.1.1"])


# -- births, at the gateway ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with running_broker(tmp_path_factory.mktemp("plain")) as broker:
        yield broker


def came(bus: FakeBus) -> int:
    return sum(isinstance(report, NeighbourCame) for report in bus.reports)


@both_protocols
def test_a_birth_makes_everything_be_said_again_and_online_last(plain_broker: Broker, protocol: str) -> None:
    bus = FakeBus()
    bus.on_report = lambda report: (
        bus.store("discovery", "homeassistant/x/config", "{}") if isinstance(report, NeighbourCame) else None
    )
    birth = Birth(STATUS, (0.0, 0.0))
    with (
        Listener(plain_broker, AVAILABILITY, "homeassistant/x/config") as listener,
        running_gateway(plain_broker, bus, protocol=protocol, neighbour=birth),
    ):
        listener.wait_for(AVAILABILITY, b"online")
        birth._last = None  # the connection's own round is long ago
        listener.publish(STATUS, b"online")
        listener.wait_for("homeassistant/x/config", b"{}")
        listener.wait_for(AVAILABILITY, b"online", count=2)

        assert [topic for topic, _ in listener.heard()][-2:] == ["homeassistant/x/config", AVAILABILITY]
    assert came(bus) == 1


def test_a_birth_that_the_broker_has_kept_is_no_round(plain_broker: Broker) -> None:
    bus = FakeBus()
    with Listener(plain_broker, f"{BASE}/reply/me/#") as listener:
        listener.publish(STATUS, b"online", retain=True)
        birth = Birth(STATUS, (0.0, 0.0))
        with running_gateway(plain_broker, bus, neighbour=birth):
            listener.publish(f"{BASE}/cmd/me/system/ping", b"{}")  # behind the kept birth
            bus.wait_for_requests(1)

            assert (birth.due_at, came(bus)) == (None, 0)
        listener.publish(STATUS, b"", retain=True)


def test_a_birth_from_while_we_were_away_is_no_round(plain_broker: Broker) -> None:
    bus = FakeBus()
    with Listener(plain_broker) as listener:
        with running_gateway(plain_broker, bus, neighbour=Birth(STATUS, (0.0, 0.0))):
            pass  # the broker keeps this session, and what comes for it
        listener.publish(STATUS, b"online")
        birth = Birth(STATUS, (0.0, 0.0))
        with running_gateway(plain_broker, bus, neighbour=birth):
            listener.publish(f"{BASE}/cmd/me/system/ping", b"{}")
            bus.wait_for_requests(1)

            assert birth.due_at is None


def test_births_in_a_row_are_one_round_later(plain_broker: Broker) -> None:
    bus = FakeBus()
    birth = Birth(STATUS, (0.0, 0.0))
    with Listener(plain_broker) as listener, running_gateway(plain_broker, bus, neighbour=birth):
        for _ in range(5):
            listener.publish(STATUS, b"online")
        listener.publish(f"{BASE}/cmd/me/system/ping", b"{}")
        bus.wait_for_requests(1)

        assert birth.due_at is not None  # ten seconds after the connection's own round
        assert came(bus) == 0


# -- a real daemon -------------------------------------------------------------------------------------------


class House:
    """A broker with an ACL, a daemon with one account, and Home Assistant's user."""

    def __init__(self, folder: Path) -> None:
        guest = Guest("homeassistant", "homeassistant", STATUS)
        acl = acl_file(Actors(daemon="tokd-main", node="main", plain=[ANYBODY], home_assistant=guest))
        self.broker = Broker(folder / "broker", users=USERS, acl=acl)
        self.broker.start()
        self.daemon = Daemon(folder / "daemon").use_broker(self.broker.port, "tokd-main", "secret-1")
        self.daemon.settings |= {
            "mqtt.will_delay_s": "0", "homeassistant.birth_delay_s": "[0, 0]", "tiktok.client_key": "key",
            "tiktok.api_base": "http://127.0.0.1:9", "tiktok.client_secret": "secret",
        }  # fmt: skip

    def listen(self, *filters: str) -> Listener:
        return Listener(self.broker, *filters, username="homeassistant", password=USERS["homeassistant"])

    def restart(self, **settings: str) -> None:
        self.daemon.stop()
        self.daemon.settings |= {f"homeassistant.{key}": value for key, value in settings.items()}
        self.daemon.start()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    found = House(tmp_path_factory.mktemp("house"))
    try:
        found.daemon.start()
        args = {"account": "ada", "access_token": "a", "refresh_token": "r", "open_id": "o"}
        assert found.daemon.call("account/import", args)["status"] == "done"
        yield found
    finally:
        found.daemon.stop()
        found.broker.close()


def standing(house: House) -> dict[str, bytes]:
    """Return what stands retained for Home Assistant once availability is there."""
    with house.listen("homeassistant/#", f"{BASE}/state/#", AVAILABILITY) as listener:
        listener.wait_for(AVAILABILITY, b"online")
        listener.wait(lambda: listener.on(f"{BASE}/state/account/ada") and listener.on(ADA))
        return {topic: payload for topic, payload in listener.heard() if payload}


def test_what_stands_is_what_home_assistant_takes(house: House) -> None:
    found = standing(house)

    for topic in (HUB, ADA):
        components = check_message(topic, found[topic].decode())
        topics = {component["state_topic"] for component in components.values() if "state_topic" in component}
        assert {topic for topic in topics if "/event/" not in topic} <= found.keys()


def test_a_kill_makes_it_unavailable_and_a_start_says_states_then_discovery_then_online(house: House) -> None:
    with house.listen("homeassistant/#", f"{BASE}/state/#", AVAILABILITY) as listener:
        listener.wait(lambda: listener.on(ADA) and listener.on(HUB) and listener.on(AVAILABILITY))
        wait_until(
            lambda: house.daemon.call("system/health")["result"]["outbox"] == 0
        )  # else it is sent once more
        house.daemon.kill()
        listener.wait_for(AVAILABILITY, b"offline")
        at = len(listener.heard())

        house.daemon.start()

        listener.wait_for(AVAILABILITY, b"online", count=2)
        said = [topic for topic, _ in listener.heard()[at:]]
        state = f"{BASE}/state/account/ada"
        assert said.index(state) < said.index(HUB) < said.index(ADA) < said.index(AVAILABILITY)


def test_a_clean_stop_takes_no_discovery_back(house: House) -> None:
    house.daemon.stop()
    with house.listen("homeassistant/#", AVAILABILITY) as listener:
        listener.wait_for(AVAILABILITY, b"offline")
        listener.wait(lambda: listener.on(HUB) and listener.on(ADA))

        assert all(payload for topic, payload in listener.heard() if topic in {HUB, ADA})
    house.daemon.start()


def test_a_broker_that_has_forgotten_everything_is_told_again(house: House) -> None:
    before = standing(house)

    house.broker.restart()

    after = standing(house)
    assert after.keys() == before.keys()
    assert [after[topic] for topic in (HUB, ADA)] == [before[topic] for topic in (HUB, ADA)]


def test_an_order_of_home_assistant_is_carried_out_under_its_own_name_only(house: House) -> None:
    with house.listen(f"{BASE}/reply/homeassistant/#", f"{BASE}/state/daemon") as listener:
        listener.publish(f"{BASE}/cmd/me/system/paused", b'{"args":{"on":true}}')  # the ACL stops it
        listener.publish(f"{BASE}/cmd/homeassistant/system/paused", b'{"id":"ha-1","args":{"on":false}}')
        reply = json.loads(listener.wait_for(f"{BASE}/reply/homeassistant/system/paused")[0])

        assert (reply["command"], reply["result"]["paused"], reply["result"]["released"]) == (
            "system.resume", False, 0,
        )  # fmt: skip
    assert house.daemon.rows("SELECT count(*) FROM command WHERE verb = 'system/pause'") == [(0,)]


def test_components_replace_the_devices_and_off_takes_all_of_it_back(house: House) -> None:
    with house.listen("homeassistant/#") as listener:
        listener.wait_for(ADA)
        house.restart(discovery="component")
        listener.wait_for(ADA, b"")
        single = {
            topic: payload for topic, payload in listener.heard() if payload and "/device/" not in topic
        }
        assert len(single) == 23 - 2
        for topic, payload in single.items():
            check_message(topic, payload.decode())

        house.restart(discovery="off")

        listener.wait(lambda: {topic for topic, payload in listener.heard() if not payload} >= single.keys())
    assert house.daemon.rows("SELECT count(*) FROM discovery") == [(0,)]
