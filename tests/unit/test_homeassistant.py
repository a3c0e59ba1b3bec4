"""What Home Assistant is told: messages that it takes, templates that it can render, and a ledger of all of it."""

import json
import random
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import jinja2
import pytest

from adapters.homeassistant import Birth, HomeAssistant, HomeAssistantSettings
from adapters.homeassistant.introducer import CLEARED, MIGRATE
from adapters.homeassistant.names import device_id, entity_id
from daemon.domain.commands import SWITCHES, VERBS
from daemon.domain.events import EventType, types_of
from daemon.domain.ids import AccountName, NodeName, ProfileName
from daemon.domain.introduction import AccountFacts, Facts, Told
from daemon.domain.login import Login
from daemon.domain.post import FINAL
from daemon.domain.session import SessionState
from daemon.domain.topics import Topics
from daemon.domain.wire import read_request
from tests.homeassistant_schema import check_message

NOW = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)
DAEMON, SHOP = "homeassistant/device/tokd_main/config", "homeassistant/device/tokd_main_shop/config"
COMING = {"account/enable", "account/disable", "account/check"}  # verbs that another part brings
STATE = {
    "account": "shop", "login": "ok", "enabled": True, "token_days_left": 364, "profile": "master", "session": "open",
    "session_id": "00ff", "session_ends_at": None, "queued": 3, "next_post_at": "2026-12-01T08:00:00.000Z",
    "last_result": {"state": "published", "post": "p_1"}, "last_error": {"code": "x" * 300, "message": "why"},
    "problems": [], "browser_login": {"state": "logged_in", "method": "info"},
}  # fmt: skip


def facts(*accounts: str, profile: str = "master", node: str = "main") -> Facts:
    found = (AccountFacts(AccountName(name), ProfileName(profile)) for name in accounts)
    return Facts(NodeName(node), "1.2.3", tuple(found))


def adapter(**settings: Any) -> HomeAssistant:
    return HomeAssistant(Topics("tokd", "main"), HomeAssistantSettings(**settings))


class Ledger:
    """Plays the part of the handler: keeps what was told, and applies what comes."""

    def __init__(self) -> None:
        self.told: dict[str, Told] = {}

    def tell(self, home: HomeAssistant, found: Facts, *, again: bool = False) -> list[tuple[str, str]]:
        done = home.introduce(found, self.told, again=again)
        for topic, told in done.told.items():
            self.told.pop(topic, None)
            if told is not None:
                self.told[topic] = told
        return list(done.messages)


def components(messages: Iterable[tuple[str, str]]) -> dict[str, dict[str, Any]]:
    return {
        component["unique_id"]: component
        for topic, payload in messages
        for component in check_message(topic, payload).values()
    }


def render(template: str, payload: object = None, **values: Any) -> str:
    """Render as Home Assistant does: in a sandbox, with its own names, a message as `value_json` unless it is empty."""
    from jinja2.sandbox import SandboxedEnvironment

    environment = SandboxedEnvironment(undefined=jinja2.StrictUndefined, autoescape=False)
    environment.globals |= {"now": lambda: NOW, "timedelta": timedelta}
    if payload is not None:
        values["value_json"] = payload
    return environment.from_string(template).render(**values)


@pytest.fixture(scope="module")
def shop() -> Mapping[str, dict[str, Any]]:
    found = components(Ledger().tell(adapter(screenshots=True), facts("shop")))
    return {key.removeprefix("tokd_main_"): component for key, component in found.items()}


# -- the messages --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["device", "component"])
def test_every_message_is_one_that_home_assistant_takes(mode: Any) -> None:
    names = ("shop", "my.shop", "a" * 64)
    messages = Ledger().tell(adapter(mode=mode, screenshots=True, url="https://example.com/"), facts(*names))

    found = components(messages)

    assert len(found) == 5 + 3 * 18
    assert all(topic.startswith("homeassistant/") for topic, _ in messages)


def test_both_modes_make_the_same_entities() -> None:
    device = components(Ledger().tell(adapter(), facts("shop")))
    single = components(Ledger().tell(adapter(mode="component"), facts("shop")))

    assert device.keys() == single.keys()
    for key, component in device.items():
        told = {name: value for name, value in component.items() if name != "platform"}
        assert {name: single[key][name] for name in told} == told


def test_an_account_is_behind_its_daemon() -> None:
    messages = dict(Ledger().tell(adapter(), facts("shop")))

    device = json.loads(messages[SHOP])["device"]

    assert device["via_device"] in json.loads(messages[DAEMON])["device"]["identifiers"]


def test_the_origin_names_the_program_and_its_version() -> None:
    messages = dict(Ledger().tell(adapter(url="https://example.com/help"), facts()))

    assert json.loads(messages[DAEMON])["origin"] == {
        "name": "tokd", "sw_version": "1.2.3", "support_url": "https://example.com/help",
    }  # fmt: skip


def test_an_event_entity_declares_every_type_that_its_channel_has(shop: Mapping[str, Any]) -> None:
    posts = [kind.value.removeprefix("post.") for kind in EventType if kind.value.startswith("post.")]

    assert shop["shop_post"]["event_types"] == posts
    assert shop["shop_session_event"]["event_types"] == list(types_of("session"))


def test_the_options_are_all_that_can_be_told(shop: Mapping[str, Any]) -> None:
    assert set(shop["shop_session"]["options"]) == {"none", *SessionState}
    assert set(shop["shop_browser_login"]["options"]) == {"none", *Login}
    assert set(shop["shop_last_result"]["options"]) == {"none", *FINAL}


def test_pictures_are_not_offered_unless_somebody_wants_them(shop: Mapping[str, Any]) -> None:
    assert "tokd_main_shop_screenshot" not in components(Ledger().tell(adapter(), facts("shop")))
    assert shop["shop_screenshot"]["enabled_by_default"] is False


def test_only_a_state_with_a_heartbeat_expires(shop: Mapping[str, Any]) -> None:
    assert {key for key, found in shop.items() if "expire_after" in found} == {"problem"}


def test_the_switch_of_an_account_stays_available_when_it_is_off(shop: Mapping[str, Any]) -> None:
    assert [found["topic"] for found in shop["shop_enabled"]["availability"]] == ["tokd/v1/main/availability"]


@pytest.mark.parametrize(
    "pair",
    [
        (("main_x", None), ("main", "x")),
        (("main", "a.b"), ("main", "a-b")),
        (("main", "a_b"), ("main", "a-b")),
        (("a", "b_c"), ("a_b", "c")),
    ],
)
def test_two_things_never_have_one_id(pair: tuple[tuple[str, Any], tuple[str, Any]]) -> None:
    assert device_id(*pair[0]) != device_id(*pair[1])


def test_an_entity_id_has_its_domain_and_plain_letters() -> None:
    assert entity_id("sensor", "My.Shop", "queue") == "sensor.tokd_my_shop_queue"


# -- the templates -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("login", "ON"), ("problem", "OFF"), ("browser_login", "logged_in"), ("session", "open"), ("queue", "3"),
        ("next_post", "2026-12-01T08:00:00.000Z"), ("last_result", "published"), ("last_error", "x" * 255),
        ("token_days", "364"), ("enabled", "ON"),
    ],
)  # fmt: skip
def test_an_accounts_state_is_read(shop: Mapping[str, Any], key: str, value: str) -> None:
    assert render(shop[f"shop_{key}"]["value_template"], STATE) == value


@pytest.mark.parametrize(
    ("key", "value"),
    [("browser_login", "none"), ("last_result", "none"), ("last_error", "none"), ("next_post", "None")],
)
def test_what_there_is_not_is_none_or_unknown(shop: Mapping[str, Any], key: str, value: str) -> None:
    bare = STATE | dict.fromkeys(("next_post_at", "last_result", "last_error"))
    del bare["browser_login"]

    assert render(shop[f"shop_{key}"]["value_template"], bare) == value


def test_a_cleared_state_breaks_no_template_and_makes_unavailable(shop: Mapping[str, Any]) -> None:
    own = {key: found for key, found in shop.items() if found.get("state_topic", "").endswith("account/shop")}
    assert len(own) == 10

    assert {render(found["value_template"]) for found in own.values()} == {"None"}
    assert {
        render(found["json_attributes_template"])
        for found in own.values()
        if "json_attributes_template" in found
    } == {"{}"}
    message = json.loads(dict(Ledger().tell(adapter(), facts("shop")))[SHOP])
    template = message["availability"][1]["value_template"]
    assert [render(template), render(template, STATE), render(template, STATE | {"enabled": False})] == [
        "offline", "online", "offline",
    ]  # fmt: skip


def test_the_daemons_state_is_read(shop: Mapping[str, Any]) -> None:
    state = {
        "degraded": ["paused"], "problems": [], "paused": True, "boot": "b", "version": "1.2.3",
        "started_at": "2026-11-21T12:00:00.000Z",
    }  # fmt: skip

    assert render(shop["problem"]["value_template"], state) == "OFF"
    assert render(shop["problem"]["value_template"], state | {"problems": ["mqtt"]}) == "ON"
    assert render(shop["paused"]["value_template"], state) == "ON"
    assert render(shop["started"]["value_template"], state) == "2026-11-21T12:00:00.000Z"
    assert json.loads(render(shop["version"]["value_template"], state)) == {
        "installed_version": "1.2.3", "latest_version": "1.2.3",
    }  # fmt: skip


@pytest.mark.parametrize("kind", [kind for kind in EventType if kind.value.startswith(("post.", "session."))])
def test_an_event_becomes_one_of_the_declared_types(shop: Mapping[str, Any], kind: EventType) -> None:
    entity = shop["shop_post" if kind.value.startswith("post.") else "shop_session_event"]
    data = {"account": "shop", "profile": "master", "title": 'a "b" <c> & ü'}

    found = json.loads(render(entity["value_template"], {"type": f"dev.tokd.{kind.value}", "data": data}))

    assert found.pop("event_type") in entity["event_types"]
    assert found == data


def test_another_accounts_event_is_nothing(shop: Mapping[str, Any]) -> None:
    data = {"account": "other", "profile": "other"}
    for key in ("shop_post", "shop_session_event"):
        assert render(shop[key]["value_template"], {"type": "dev.tokd.post.failed", "data": data}) == ""


def orders(shop: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Return key, verb and payload of everything that Home Assistant may send."""
    for key, found in shop.items():
        if "command_topic" in found:
            base, _, verb = found["command_topic"].partition("/cmd/homeassistant/")
            assert base == "tokd/v1/main"
            if found["platform"] == "switch":
                yield f"{key} on", verb, found["payload_on"]
                yield f"{key} off", verb, found["payload_off"]
            else:
                yield key, verb, render(found["command_template"], value="PRESS")


def test_every_command_is_one_that_tokd_takes(shop: Mapping[str, Any]) -> None:
    sent = list(orders(shop))

    assert len(sent) == 9
    for key, verb, payload in sent:
        request, _ = read_request(
            actor="homeassistant", verb=verb, raw=payload.encode(), transport="mqtt", received_at=NOW
        )
        assert request.verb in VERBS.keys() | COMING
        if request.verb in VERBS:
            assert request.error is None, (key, request.error)
        if verb in SWITCHES:
            assert request.verb == SWITCHES[verb][0 if key.endswith(" on") else 1]
            assert request.verb not in VERBS or not VERBS[request.verb].needs_id
        else:
            assert request.id is not None
            assert json.loads(payload)["expires_at"] == (NOW + timedelta(seconds=120)).isoformat()


def test_two_presses_have_two_ids(shop: Mapping[str, Any]) -> None:
    template = shop["shop_publish_next"]["command_template"]
    random.seed(1)

    first, second = (json.loads(render(template, value="PRESS"))["id"] for _ in range(2))  # at one instant

    assert first != second


# -- the ledger ----------------------------------------------------------------------------------------------


def test_what_stands_there_already_is_not_sent_again() -> None:
    ledger, home = Ledger(), adapter()
    ledger.tell(home, facts("shop"))

    assert ledger.tell(home, facts("shop")) == []
    assert [topic for topic, _ in ledger.tell(home, facts("shop"), again=True)] == [DAEMON, SHOP]


def test_only_what_has_changed_is_sent() -> None:
    ledger, home = Ledger(), adapter()
    ledger.tell(home, facts("shop"))

    assert [topic for topic, _ in ledger.tell(home, facts("shop", profile="other"))] == [SHOP]


def test_an_account_that_is_no_more_is_taken_back() -> None:
    ledger, home = Ledger(), adapter()
    ledger.tell(home, facts("shop"))

    assert ledger.tell(home, facts()) == [(SHOP, CLEARED)]
    assert set(ledger.told) == {DAEMON}


def test_a_component_is_removed_in_two_steps() -> None:
    ledger = Ledger()
    ledger.tell(adapter(screenshots=True), facts("shop"))

    (_, first), (_, second) = ledger.tell(adapter(), facts("shop"))

    assert json.loads(first)["components"]["screenshot"] == {"platform": "image"}
    assert "screenshot" not in json.loads(second)["components"]
    assert ledger.tell(adapter(), facts("shop")) == []


def test_a_component_of_another_platform_is_removed_first() -> None:
    ledger, home = Ledger(), adapter()
    ledger.tell(home, facts())
    old = ledger.told[DAEMON]
    ledger.told[DAEMON] = Told({**old.components, "paused": "select"}, "another")

    (_, first), (_, second) = ledger.tell(home, facts())

    assert json.loads(first)["components"]["paused"] == {"platform": "select"}
    assert json.loads(second)["components"]["paused"]["platform"] == "switch"


@pytest.mark.parametrize(("before", "after"), [("device", "component"), ("component", "device")])
def test_entities_move_between_the_two_ways_without_being_forgotten(before: Any, after: Any) -> None:
    ledger = Ledger()
    old = [topic for topic, _ in ledger.tell(adapter(mode=before), facts("shop"))]

    messages = ledger.tell(adapter(mode=after), facts("shop"))

    assert messages[: len(old)] == [(topic, MIGRATE) for topic in sorted(old, key=old.index)]
    assert messages[-len(old) :] == [(topic, CLEARED) for topic in old]
    components(messages[len(old) : -len(old)])


def test_discovery_that_is_off_takes_back_what_was_said_and_says_nothing() -> None:
    ledger = Ledger()
    ledger.tell(adapter(), facts("shop"))

    assert ledger.tell(adapter(mode="off"), facts("shop")) == [(DAEMON, CLEARED), (SHOP, CLEARED)]
    assert ledger.tell(adapter(mode="off"), facts("shop"), again=True) == []


def test_another_prefix_takes_the_old_messages_back() -> None:
    ledger = Ledger()
    ledger.tell(adapter(), facts())

    messages = ledger.tell(adapter(prefix="ha"), facts())

    assert messages[-1] == (DAEMON, CLEARED)
    assert set(ledger.told) == {"ha/device/tokd_main/config"}


# -- the birth -----------------------------------------------------------------------------------------------


@pytest.fixture
def birth() -> Birth:
    return Birth("homeassistant/status", (1, 5), lambda low, high: (low + high) / 2)


def test_a_birth_is_answered_after_a_while(birth: Birth) -> None:
    birth.heard(b"online", 100.0, is_replay=False)

    assert birth.due_at == 103.0
    assert (birth.is_due(102.9), birth.is_due(103.0), birth.is_due(200.0)) == (False, True, False)


def test_several_births_are_one_round_and_rounds_keep_their_distance(birth: Birth) -> None:
    birth.heard(b"online", 100.0, is_replay=False)
    birth.heard(b"online", 101.0, is_replay=False)
    assert birth.is_due(103.0)

    birth.heard(b"online", 104.0, is_replay=False)

    assert birth.due_at == 113.0


def test_a_kept_birth_and_a_goodbye_are_none(birth: Birth) -> None:
    birth.heard(b"online", 100.0, is_replay=True)
    birth.heard(b"offline", 100.0, is_replay=False)

    assert birth.due_at is None


def test_a_new_connection_is_a_round_of_its_own(birth: Birth) -> None:
    birth.heard(b"online", 100.0, is_replay=False)
    birth.joined(101.0)
    assert birth.due_at is None

    birth.heard(b"online", 102.0, is_replay=False)

    assert birth.due_at == 111.0


def test_the_delay_is_drawn_between_its_bounds() -> None:
    for _ in range(50):
        birth = Birth("homeassistant/status", (1, 5))
        birth.heard(b"online", 0.0, is_replay=False)
        assert birth.due_at is not None
        assert 1 <= birth.due_at <= 5
