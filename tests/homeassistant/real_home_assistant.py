"""What a real Home Assistant makes of tokd. Not part of the suite: `make test-ha` installs it and runs this file.

The tests run in this order on one stage, and at the end read what Home Assistant has complained of meanwhile.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from adapters.homeassistant.entities import NONE
from daemon.domain.commands import VERBS
from tests.homeassistant.instance import version
from tests.homeassistant.stage import DEVICE, REPLIES, Stage, running_stage
from tests.waiting import wait_until

SILENT_UNTIL_USED = {
    f"{DEVICE}_{key}"
    for key in (
        "open_session", "close_session", "publish_next", "check_login", "post", "session_event", "next_post",
    )
}  # fmt: skip
CONNECTED = "tokd_main_connected"


needs_device_discovery = pytest.mark.skipif(
    version() < (2024, 11), reason="this Home Assistant is older than 2024.11: it knows components only"
)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with running_stage() as found:
        yield found


def all_are_there(states: dict[str, str]) -> bool:
    return len(states) >= 20 and "unavailable" not in states.values() and states[CONNECTED] == "on"


def test_every_entity_that_is_announced_appears_and_has_a_state(stage: Stage) -> None:
    announced = stage.announced()

    stage.home.wait_states(lambda states: states.keys() == announced.keys())

    stage.home.wait_states(all_are_there)
    unknown = {key for key, found in stage.home.states().items() if found["state"] == "unknown"}
    assert unknown <= SILENT_UNTIL_USED


def test_each_account_is_a_device_behind_the_daemon(stage: Stage) -> None:
    devices = stage.home.devices()

    assert devices[DEVICE]["via_device_id"] == devices["tokd_main"]["id"]
    assert (devices[DEVICE]["name"], devices[DEVICE]["model"]) == ("TikTok demo", "Account")


def test_a_press_opens_a_session_once_and_another_one_closes_it(stage: Stage) -> None:
    session = f"{DEVICE}_session"
    with stage.listen(REPLIES) as replies:
        stage.home.call(f"{DEVICE}_open_session", "press")
        stage.home.wait_state(session, "open", within_s=60)
        stage.home.wait_state(f"{DEVICE}_browser_login", "logged_in")
        event = stage.home.states()[f"{DEVICE}_session_event"]["attributes"]
        stage.home.call(f"{DEVICE}_close_session", "press")
        stage.home.wait_state(session, NONE)
        told = [json.loads(payload) for _, payload in replies.heard()]

    assert (event["event_type"], event["profile"]) == ("opened", "master")
    assert (stage.orders("session/open"), stage.orders("session/close")) == (1, 1)
    assert [reply["command"] for reply in told if reply["final"]] == ["session.open", "session.close"]
    wait_until(lambda: event_of(stage, "session_event") == "ended")


def event_of(stage: Stage, key: str) -> Any:
    return stage.home.states()[f"{DEVICE}_{key}"]["attributes"]["event_type"]


def test_two_presses_are_two_orders(stage: Stage) -> None:
    before = stage.orders("session/close")
    stage.home.call(f"{DEVICE}_close_session", "press")
    stage.home.call(f"{DEVICE}_close_session", "press")

    wait_until(lambda: stage.orders("session/close") == before + 2)


def test_the_next_post_is_shown_and_a_press_publishes_it(stage: Stage) -> None:
    reply = stage.daemon.schedule(at="2035-01-01T12:00:00+00:00")
    assert reply["status"] == "done", reply
    stage.home.wait_state(f"{DEVICE}_queue", "1")
    stage.home.wait_state(f"{DEVICE}_next_post", "2035-01-01T12:00:00+00:00")

    stage.home.call(f"{DEVICE}_publish_next", "press")

    stage.home.wait_state(f"{DEVICE}_last_result", "published")
    stage.home.wait_state(f"{DEVICE}_queue", "0")
    wait_until(lambda: event_of(stage, "post") in {"published", "public"})
    assert stage.orders("post/publish_now") == 1
    assert stage.home.states()[f"{DEVICE}_last_result"]["attributes"]["post"] == reply["result"]["post"]


def test_a_post_that_fails_is_told_with_its_reason(stage: Stage) -> None:
    stage.simulator.faults(
        {"endpoint": "video_init", "action": "error", "code": "invalid_params", "status": 400}
    )
    reply = stage.daemon.schedule(id="fails")
    assert reply["status"] == "done", reply

    stage.home.wait_states(lambda states: states[f"{DEVICE}_last_error"] not in {NONE, "unavailable"})
    stage.simulator.clear_faults()

    told = stage.home.states()[f"{DEVICE}_last_error"]
    assert told["attributes"]["post"] == reply["result"]["post"]


def test_the_switch_pauses_and_resumes(stage: Stage) -> None:
    stage.home.call("tokd_main_paused", "turn_on")
    stage.home.wait_state("tokd_main_paused", "on")
    assert stage.daemon.call("system/health")["result"]["paused"] is True
    assert stage.home.state("tokd_main_problem") == "off"  # a person's wish is no problem

    stage.home.call("tokd_main_paused", "turn_off")

    stage.home.wait_state("tokd_main_paused", "off")
    assert stage.daemon.call("system/health")["result"]["paused"] is False
    assert (stage.orders("system/pause"), stage.orders("system/resume")) == (1, 1)


@pytest.mark.parametrize(
    ("key", "service", "command"),
    [
        ("enabled", "turn_off", "account.disable"),
        ("enabled", "turn_on", "account.enable"),
        ("check_login", "press", "account.check"),
    ],
)
def test_the_other_orders_reach_their_verbs_once(stage: Stage, key: str, service: str, command: str) -> None:
    with stage.listen(REPLIES) as replies:
        stage.home.call(f"{DEVICE}_{key}", service)
        replies.wait(lambda: finals(replies))

        assert [reply["command"] for reply in finals(replies)] == [command]


def finals(replies: Any) -> list[dict[str, Any]]:
    told = [json.loads(payload) for _, payload in replies.heard()]
    return [reply for reply in told if reply["final"]]


@pytest.mark.skipif("account/disable" not in VERBS, reason="this tokd has no account/disable yet")
def test_a_disabled_account_is_unavailable_but_can_be_enabled_again(stage: Stage) -> None:
    stage.home.call(f"{DEVICE}_enabled", "turn_off")
    stage.home.wait_state(f"{DEVICE}_queue", "unavailable")
    stage.home.wait_state(f"{DEVICE}_enabled", "off")

    stage.home.call(f"{DEVICE}_enabled", "turn_on")

    stage.home.wait_states(all_are_there)


def test_a_killed_daemon_is_unavailable_until_it_is_back(stage: Stage) -> None:
    stage.daemon.kill()
    stage.home.wait_state(CONNECTED, "off")
    others = {key: found["state"] for key, found in stage.home.states().items() if key != CONNECTED}
    assert set(others.values()) == {"unavailable"}

    stage.daemon.start()

    stage.home.wait_states(all_are_there)


def test_a_killed_broker_comes_back_with_everything(stage: Stage) -> None:
    stage.broker.kill()
    stage.home.wait_state(f"{DEVICE}_queue", "unavailable")

    stage.broker.start()  # it has kept nothing: no retained message, no session

    stage.home.wait_states(all_are_there, within_s=60)


@pytest.mark.parametrize("first", ["broker", "daemon"])
def test_both_come_back_in_either_order(stage: Stage, first: str) -> None:
    stage.daemon.kill()
    stage.broker.kill()
    stage.home.wait_state(CONNECTED, "unavailable")

    if first == "broker":
        stage.broker.start()
        stage.daemon.start()
    else:
        stage.daemon.start()
        stage.broker.start()

    stage.home.wait_states(all_are_there, within_s=90)


def test_home_assistant_finds_everything_after_its_own_restart(stage: Stage) -> None:
    before = {key: found["entity_id"] for key, found in stage.home.entities().items()}
    stage.home.stop()

    stage.home.start()

    stage.home.wait_states(all_are_there)
    wait_until(lambda: "a neighbour has come" in stage.daemon.log.read_text())
    assert {key: found["entity_id"] for key, found in stage.home.entities().items()} == before


def test_its_birth_brings_back_what_the_broker_has_lost(stage: Stage) -> None:
    stage.home.stop()
    announced = stage.announced()
    with stage.listen(stage.topics) as listener:
        listener.wait(lambda: len(listener.heard()) >= (2 if stage.mode == "device" else len(announced)))
        for topic in {topic for topic, _ in listener.heard()}:
            listener.publish(topic, b"", retain=True)

    stage.home.start()

    stage.home.wait_states(all_are_there)


def restart(stage: Stage, **settings: str) -> None:
    stage.daemon.stop()
    stage.daemon.settings |= {f"homeassistant.{key}": value for key, value in settings.items()}
    stage.daemon.start()


# -- the blueprints ------------------------------------------------------------------------------------------


def use(stage: Stage, blueprint: str, **inputs: Any) -> None:
    found = {"path": f"tokd/{blueprint}.yaml", "input": inputs}
    stage.home.automate({"id": blueprint, "alias": blueprint, "use_blueprint": found})


def entity(stage: Stage, key: str) -> str:
    return str(stage.home.entities()[f"{DEVICE}_{key}"]["entity_id"])


@needs_device_discovery  # the blueprints need 2024.10
def test_the_blueprint_for_a_file_posts_it_once_a_day(stage: Stage) -> None:
    stage.daemon.settings["posts.duplicate_window_s"] = "0"
    restart(stage)
    use(stage, "post_a_file", account="demo", media="clip.mp4", at="03:00:00", title="Good morning: 'hello'")
    with stage.listen(REPLIES) as replies:
        stage.home.trigger("post_a_file")
        replies.wait(lambda: finals(replies))
        stage.home.trigger("post_a_file")
        replies.wait(lambda: len(finals(replies)) >= 2)

        first, second = finals(replies)[:2]

    assert first["status"] == "done", first
    assert (second["replayed"], second["result"]["post"]) == (True, first["result"]["post"])
    assert stage.daemon.post(first["result"]["post"])["title"] == "Good morning: 'hello'"


@needs_device_discovery
def test_the_blueprint_for_lost_logins_says_which(stage: Stage) -> None:
    topic = "homeassistant/test/told"
    publish = {"action": "mqtt.publish", "data": {"topic": topic, "payload": "{{ message }}"}}
    use(
        stage, "login_lost", login=entity(stage, "login"), browser_login=entity(stage, "browser_login"),
        patience={"seconds": 0}, notify=[publish],
    )  # fmt: skip
    stage.home.wait_state(f"{DEVICE}_login", "on")
    state = "tokd/v1/main/state/account/demo"
    with stage.listen(topic) as told, stage.listen(state, user="tokd-main") as states:
        now = json.loads(states.wait_for(state)[-1])
        states.publish(state, json.dumps(now | {"login": "needs_login"}), retain=True)
        told.wait_for(topic)

        assert told.on(topic) == [b"TikTok demo: tokd must be linked again"]
    restart(stage)  # it tells the truth again
    stage.home.wait_state(f"{DEVICE}_login", "on")


@needs_device_discovery
def test_the_blueprint_for_a_morning_opens_and_closes_a_session(stage: Stage) -> None:
    before = stage.orders("session/open"), stage.orders("session/close")
    use(
        stage, "morning_session", open_session=entity(stage, "open_session"), session=entity(stage, "session"),
        close_session=entity(stage, "close_session"), at="03:00:00", duration={"seconds": 1},
    )  # fmt: skip

    stage.home.trigger("morning_session")

    wait_until(lambda: stage.orders("session/close") == before[1] + 1, 60)
    assert stage.orders("session/open") == before[0] + 1
    stage.home.wait_state(f"{DEVICE}_session", NONE)


# -- the end -------------------------------------------------------------------------------------------------


def test_home_assistant_has_had_nothing_to_complain_of(stage: Stage) -> None:
    found = [line for line in stage.home.complaints() if not is_about_the_broker(line)]
    if (
        stage.mode == "component"
    ):  # before 2024.11 it makes a time unknown, as it should, but not without a word
        found = [line for line in found if "Invalid state message" not in line]

    assert not found, "\n".join(found)


def is_about_the_broker(line: str) -> bool:
    """Tell whether a complaint is that the broker was away, which it was."""
    words = (
        "The connection was lost",
        "Disconnected from MQTT server",
        "failed to receive on socket",
        "Failed to connect",
        "Connection refused",
        "not currently connected",
    )
    return any(word in line for word in words)


@needs_device_discovery
def test_entities_survive_the_move_to_components_and_back(stage: Stage) -> None:
    def registered() -> dict[str, str]:
        return {key: found["id"] for key, found in stage.home.entities().items()}

    before = registered()

    restart(stage, discovery="component")
    stage.home.wait_states(all_are_there)
    with stage.listen("homeassistant/+/+/config", "homeassistant/+/+/+/config") as listener:
        listener.wait(lambda: len(listener.heard()) >= len(before))
        assert not [topic for topic, payload in listener.heard() if "/device/" in topic and payload]
    assert registered() == before

    restart(stage, discovery="device")
    stage.home.wait_states(all_are_there)
    assert registered() == before


def test_the_picture_entity_is_there_but_asleep_where_pictures_are_allowed(stage: Stage) -> None:
    restart(stage, screenshots="true")
    found = wait_until(lambda: stage.home.entities().get(f"{DEVICE}_screenshot"))

    assert found["disabled_by"] == "integration"

    restart(stage, screenshots="false")
    # Home Assistant keeps a disabled entity in its list until a person deletes it; it must not be announced any more
    assert f"{DEVICE}_screenshot" not in stage.announced()


def test_discovery_that_is_off_takes_everything_back(stage: Stage) -> None:
    restart(stage, discovery="off")

    wait_until(lambda: awake(stage) == [], 30, what=lambda: f"still there: {awake(stage)}")


def awake(stage: Stage) -> list[str]:
    """Return our entities that are not asleep: Home Assistant keeps a disabled one until a person deletes it."""
    found = stage.home.entities()
    return [key for key, entry in found.items() if key.startswith("tokd_") and entry["disabled_by"] is None]


def test_it_has_only_complained_of_the_moves_that_it_asks_for(stage: Stage) -> None:
    # Its manual wants the old topic cleared after a move, and its log calls exactly that a conflict. It clears the
    # topics of removed entities itself, and is surprised by its own message.
    known = ("Received a conflicting MQTT discovery message", "No device components", "Invalid state message")
    found = [line for line in stage.home.complaints() if not is_about_the_broker(line)]

    assert not [line for line in found if not any(words in line for words in known)]
