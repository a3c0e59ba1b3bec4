"""How many sessions, for how long, on what screen, through which proxy."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.brokers import Broker, free_port
from tests.daemons import Caller
from tests.e2e.doors import ask
from tests.e2e.session_stage import SessionStage, caller_at, command_line, sessions
from tests.integration.browser_stage import LOOPBACK_ONLY
from tests.waiting import wait_until

NOWHERE = "https://tokd.invalid/"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    found = Broker(tmp_path_factory.mktemp("broker"))
    found.start()
    yield found
    found.close()


@pytest.fixture(scope="module")
def stage(site: str, logged_in: Path, logged_out: Path, broker: Broker) -> Iterator[SessionStage]:
    """Four sessions at most, two profiles."""
    with sessions(site, logged_in, broker=broker, ending_soon_s="1") as found:
        found.have(logged_out, "guest")
        yield found


@pytest.fixture(scope="module")
def caller(stage: SessionStage, broker: Broker) -> Iterator[Caller]:
    del stage  # it is there
    found = caller_at(broker)
    yield found
    found.close()


# -- how many ------------------------------------------------------------------------------------------------


@dataclass
class Four:
    """Four sessions that were opened at the same moment, and a fifth order."""

    replies: list[dict[str, Any]]
    browsers: int
    fifth: dict[str, Any]
    sixth: dict[str, Any]
    ends: list[str]


@pytest.fixture(scope="module")
def four(stage: SessionStage) -> Four:
    orders: list[dict[str, Any]] = [
        {"profile": "master"},
        {"profile": "master", "url": stage.page("skeleton")},
        {"profile": "guest", "require_login": False},
        {"profile": "guest", "require_login": False, "url": stage.page("challenge")},
    ]
    promises = [stage.later("session/open", order) for order in orders]
    replies = [promise.result(30) for promise in promises]
    names = [str(reply["result"]["session"]) for reply in replies]
    browsers = len({stage.browser(name) for name in names})
    fifth = stage.open()
    stage.close(names[0])
    sixth = stage.open()
    names = [*names[1:], str(sixth["result"]["session"])]
    stage.daemon.call("session/close", {"all": True})
    return Four(replies, browsers, fifth, sixth, [stage.end_of(name)["reason"] for name in names])


def test_four_sessions_open_at_once(four: Four) -> None:
    assert [reply["status"] for reply in four.replies] == ["done"] * 4


def test_sessions_at_once_have_browsers_of_their_own(four: Four) -> None:
    assert four.browsers == 4


def test_sessions_at_once_each_see_their_own_profile_and_page(four: Four) -> None:
    seen = [reply["result"]["login"]["state"] for reply in four.replies]

    assert seen == ["logged_in", "logged_in", "logged_out", "uncertain"]


def test_one_session_too_many_is_refused(four: Four) -> None:
    assert (four.fifth["status"], four.fifth["error"]["code"]) == ("rejected", "session_limit")


def test_a_session_that_has_ended_makes_room(four: Four) -> None:
    assert four.sixth["status"] == "done"


def test_all_can_be_closed_at_once(four: Four) -> None:
    assert four.ends == ["closed_by_command"] * 4


# -- how long ------------------------------------------------------------------------------------------------


def test_a_session_ends_when_its_time_is_over(stage: SessionStage) -> None:
    session = stage.opened(timeout_seconds=3)
    began = time.monotonic()

    end = stage.end_of(session)

    assert end["reason"] == "timeout"
    assert 2 < time.monotonic() - began < 6


def test_a_session_is_announced_to_end(stage: SessionStage) -> None:
    session = stage.opened(timeout_seconds=2)

    stage.end_of(session)

    assert stage.kinds(session) == [
        "requested", "started", "login_state", "opened", "ending_soon", "ended",
    ]  # fmt: skip
    (told,) = [event["data"] for event in stage.told(session) if event["type"].endswith("ending_soon")]
    assert (told["seconds"], "ends_at" in told) == (1, True)


def test_a_session_can_be_extended_over_mqtt(stage: SessionStage, caller: Caller) -> None:
    session = stage.opened(timeout_seconds=2)
    told = caller.call("session/extend", {"session": session, "seconds": 4})
    began = time.monotonic()

    end = stage.end_of(session)

    assert told["status"] == "done"
    assert end["reason"] == "timeout"
    assert time.monotonic() - began > 3


def test_an_extension_is_told(stage: SessionStage, caller: Caller) -> None:
    session = stage.opened(timeout_seconds=60)

    reply = caller.call("session/extend", {"session": session, "seconds": 120})

    told = wait_until(lambda: [e for e in caller.events() if e["type"] == "dev.tokd.session.extended"])
    assert (told[-1]["data"]["session"], told[-1]["data"]["ends_at"]) == (session, reply["result"]["ends_at"])
    stage.close(session)


def test_a_session_over_mqtt_is_answered_with_its_state(stage: SessionStage, caller: Caller) -> None:
    reply = caller.call("session/open", {"profile": "master"}, id="mqtt-1", within_s=20)

    assert reply["status"] == "done"
    assert (reply["result"]["state"], reply["result"]["command_id"]) == ("open", "mqtt-1")
    stage.close(reply["result"]["session"])


# -- no screen -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["session/open", "profiles/login"])
def test_a_window_without_a_screen_is_refused_within_a_second(stage: SessionStage, verb: str) -> None:
    began = time.monotonic()

    reply = stage.daemon.call(verb, {"headless": False} if verb == "session/open" else {})

    assert (reply["status"], reply["error"]["code"]) == ("rejected", "no_display")
    assert time.monotonic() - began < 1


# -- the proxy -----------------------------------------------------------------------------------------------


@dataclass
class Proxied:
    """All that was told about a session whose proxy is dead."""

    verdict: dict[str, Any]
    everything: str


@pytest.fixture(scope="module")
def proxied(site: str, logged_in: Path, broker: Broker) -> Iterator[Proxied]:
    address = f"127.0.0.1:{free_port()}"
    arguments, port = json.dumps([found for found in LOOPBACK_ONLY if "proxy" not in found]), free_port()
    with sessions(
        site, logged_in, broker=broker, start=False, proxy=f"http://{address}", browser_args=arguments,
        on_uncertain="keep", login_detection_timeout="4",
    ) as stage:  # fmt: skip
        stage.daemon.settings |= {
            "mqtt.prefix": "proxied", "mqtt.client_id": "proxied", "session.tiktok_url": NOWHERE, "log.level": "debug",
            "http.port": str(port),
        }  # fmt: skip
        stage.daemon.start()
        caller = Caller(broker.port, prefix="proxied/v1/main")
        reply = caller.call("session/open", {}, within_s=25)
        session = reply["result"]["session"]
        more = [stage.daemon.call(verb) for verb in ("session/list", "session/check", "profiles/list")]
        token = stage.daemon.call("token/issue", {"user": "ann"})["result"]["text"]
        paths = ("/tiktok/sessions", f"/tiktok/session/{session}", "/readyz")
        http = [ask(port, token, "GET", path) for path in paths]
        assert session in repr(http)
        lines = [command_line(pid) for pid in stage.left()]
        assert any("--proxy-server=" in line for line in lines)
        stage.close(session)
        environ = {f"TOKD_{key.upper().replace('.', '__')}": v for key, v in stage.daemon.settings.items()}
        stage.daemon.environ |= environ
        shown = [
            stage.tokd("config", "show").stdout,
            stage.tokd("doctor").stdout,
            stage.tokd("session", "list").stdout,
        ]
        messages = [f"{topic} {payload!r}" for topic, payload, _ in list(caller.messages)]
        assert "session" in shown[0]
        events = stage.daemon.events()
        caller.close()
        stage.daemon.stop()
        files = [
            path.read_text(errors="replace")
            for path in stage.daemon.state_dir.rglob("*")
            if path.is_file() and not path.name.startswith("chromedriver")
        ]
        told = [
            repr(reply),
            repr(more),
            repr(http),
            *lines,
            *shown,
            *messages,
            repr(events),
            stage.daemon.log.read_text(),
            *files,
        ]
        assert f"session/{session}" in "".join(messages)
        found = "\n".join(told)
        yield Proxied(stage.verdict(session), found.replace(address, "<<the proxy>>"))


def test_a_dead_proxy_leaves_the_login_uncertain(proxied: Proxied) -> None:
    assert (proxied.verdict["state"], proxied.verdict["reason"]) == ("uncertain", "unreachable")


def test_the_proxy_is_shown_nowhere(proxied: Proxied) -> None:
    at = proxied.everything.find("<<the proxy>>")

    assert at < 0, proxied.everything[max(0, at - 300) : at + 100]
