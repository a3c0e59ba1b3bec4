"""The first day with sessions, as a person has it: a screen, real key presses, the README's commands, and MQTT."""

import json
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from pathlib import Path
from subprocess import CompletedProcess, Popen
from typing import Any

import pytest

from tests.brokers import Broker
from tests.daemons import Caller
from tests.e2e.session_stage import SessionStage, caller_at, retained, sessions
from tests.integration import browser_stage
from tests.integration.browser_stage import Screen
from tests.readme import fenced, run_options, words_of_tokd
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def screen() -> Iterator[Screen]:
    with browser_stage.screen() as found:
        yield found


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    found = Broker(tmp_path_factory.mktemp("broker"))
    found.start()
    yield found
    found.close()


@dataclass
class Visit:
    """One session of the journey: what the command line said, and what came over MQTT."""

    session: str
    said: CompletedProcess[str] = field(default_factory=lambda: CompletedProcess((), -1, ""))
    alive: list[tuple[bool, bool]] = field(default_factory=list)  # the window, and the command that opened it
    retained: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Journey:
    """All that happened, in its order."""

    stage: SessionStage
    caller: Caller
    login: CompletedProcess[str]
    visit: Visit
    guest: Visit
    profile: dict[str, Any]
    account: dict[str, Any]

    def states(self, session: str) -> list[str]:
        """Return the states of a session as they stood retained, one after the other; "" for nothing."""
        wanted = f"{self.caller.prefix}/state/session/{session}"
        told = [json.loads(text or "{}") for topic, text, _ in list(self.caller.messages) if topic == wanted]
        return [name for name, _ in groupby(each.get("state", "") for each in told)]

    def kinds(self, session: str) -> list[str]:
        events = self.events(session)
        return [event["type"].removeprefix("dev.tokd.session.") for event in events]

    def events(self, session: str) -> list[dict[str, Any]]:
        return [event for event in self.caller.events() if event.get("subject") == f"session/{session}"]

    def end(self, session: str) -> dict[str, Any]:
        data: dict[str, Any] = self.events(session)[-1]["data"]
        return data


@pytest.fixture(scope="module")
def journey(screen: Screen, broker: Broker) -> Iterator[Journey]:
    """As `make run` runs it, with this broker; log in; open, look, close; log out on the site's side; open again."""
    login_words, open_words = words_of_tokd(fenced("**Browser sessions**"))
    with sessions("", None, screen, broker=broker, start=False, headless="false") as stage:
        stage.daemon.options = tuple(word for word in run_options() if word != "--with-broker")
        stage.daemon.settings["session.tiktok_url"] = (
            "https://www.tiktok.com/"  # the default: --simulate changes it
        )
        stage.daemon.settings["session.login_negative_grace"] = "2"
        stage.daemon.start()
        port = int((stage.daemon.state_dir / "simulator" / "port").read_text())
        stage.site = f"http://127.0.0.1:{port}"
        caller = caller_at(broker)
        login = log_in(stage, caller, login_words)
        visit = look(stage, caller, open_words)
        profile, account = latest(caller, "state/profile/master"), latest(caller, "state/account/demo")
        revoke(stage)
        said = stage.tokd(*open_words)
        # what the command line has said may be ahead of what has come over the broker
        guest = Visit(wait_until(lambda: newest(caller, but=visit.session)), said)
        wait_until(lambda: any_of(caller, guest.session, "ended"), 10)
        wait_until(lambda: latest(caller, f"state/session/{guest.session}") == {}, 10)
        yield Journey(stage, caller, login, visit, guest, profile, account)
        caller.close()


def log_in(stage: SessionStage, caller: Caller, words: list[str]) -> CompletedProcess[str]:
    with stage.tokd_running(*words) as process:
        session = wait_until(lambda: newest(caller, "opened"), 20)
        stage.type_login()
        stage.close_window(session)
        return last_words(process)


def look(stage: SessionStage, caller: Caller, words: list[str]) -> Visit:
    login = newest(caller, "opened")
    with stage.tokd_running(*words) as process:
        visit = Visit(wait_until(lambda: newest(caller, "opened", but=login), 20))
        visit.alive.append((bool(stage.hands().titles()), process.poll() is None))
        visit.retained.append(retained(stage.daemon, visit.session))
        stage.close_window(visit.session)
        visit.said = last_words(process)
        visit.alive.append((bool(stage.hands().titles()), process.poll() is None))
    wait_until(lambda: latest(caller, f"state/session/{visit.session}") == {}, 10)
    visit.retained.append(retained(stage.daemon, visit.session))
    return visit


def last_words(process: "Popen[str]") -> CompletedProcess[str]:
    out, _ = process.communicate(timeout=10)
    return CompletedProcess((), process.returncode, out)


def revoke(stage: SessionStage) -> None:
    """Let the site forget the login, as it does when a person logs out everywhere."""
    request = urllib.request.Request(
        f"{stage.site}/_simulator/site/revoke", b'{"user": "demo"}', {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert json.load(answer)["revoked"] >= 1


def any_of(caller: Caller, session: str, kind: str) -> bool:
    return any(
        event["type"] == f"dev.tokd.session.{kind}" and event["data"]["session"] == session
        for event in caller.events()
    )


def newest(caller: Caller, kind: str = "requested", but: str = "") -> str:
    """Return the last session that has told this, "" while that is `but` still."""
    found = [e["data"]["session"] for e in caller.events() if e["type"] == f"dev.tokd.session.{kind}"]
    return str(found[-1]) if found and found[-1] != but else ""


def latest(caller: Caller, topic: str) -> dict[str, Any]:
    """Return the last message on a topic, nothing where it was cleared."""

    def told() -> list[bytes]:
        return [payload for name, payload, _ in list(caller.messages) if name == f"{caller.prefix}/{topic}"]

    found = wait_until(told, what=f"something on {topic}")
    return dict(json.loads(found[-1])) if found[-1] else {}


# -- logging in ----------------------------------------------------------------------------------------------


def test_a_login_ends_when_its_window_is_closed(journey: Journey) -> None:
    assert "ended (closed_by_user)" in journey.login.stdout


def test_a_login_that_was_closed_is_a_success(journey: Journey) -> None:
    assert journey.login.returncode == 0


def test_a_login_tells_what_to_do_next(journey: Journey) -> None:
    assert "tokd session open --profile master" in journey.login.stdout


def test_a_login_makes_the_profile(journey: Journey) -> None:
    assert Path(journey.stage.master, "Default", "Cookies").is_file()


# -- logged in -----------------------------------------------------------------------------------------------


def test_a_session_finds_the_login_of_the_profile(journey: Journey) -> None:
    assert "logged in as demo" in journey.visit.said.stdout


def test_who_waits_for_a_session_is_told_its_end(journey: Journey) -> None:
    said = journey.visit.said

    assert (said.returncode, "ended (closed_by_user): its window was closed" in said.stdout) == (0, True)


def test_the_window_and_who_waits_for_it_stay_until_it_is_closed(journey: Journey) -> None:
    assert journey.visit.alive == [(True, True), (False, False)]


def test_a_key_that_closes_the_window_ends_the_session(journey: Journey) -> None:
    end = journey.end(journey.visit.session)

    assert (end["reason"], end["exit_status"]) == ("closed_by_user", 0)


def test_the_events_come_in_their_order(journey: Journey) -> None:
    assert journey.kinds(journey.visit.session) == ["requested", "started", "login_state", "opened", "ended"]


def test_the_state_goes_through_every_step_and_then_is_gone(journey: Journey) -> None:
    assert journey.states(journey.visit.session) == [
        "requested", "cloning", "starting", "detecting", "open", "",
    ]  # fmt: skip


def test_the_login_event_names_state_method_evidence_and_time(journey: Journey) -> None:
    (told,) = [e["data"] for e in journey.events(journey.visit.session) if e["type"].endswith("login_state")]

    assert (told["state"], told["username"], told["account"]) == ("logged_in", "demo_creator", "demo")
    assert told["method"] in {"info", "page_state"}
    assert told["evidence"]
    assert 0 < told["ms"] < 8000


def test_the_end_tells_how_long_the_window_was_open(journey: Journey) -> None:
    opened, ended = journey.events(journey.visit.session)[-2:]

    between_s = (
        datetime.fromisoformat(ended["time"]) - datetime.fromisoformat(opened["time"])
    ).total_seconds()
    assert ended["data"]["seconds"] == pytest.approx(between_s, abs=0.2)


def test_a_newcomer_is_told_of_the_open_session(journey: Journey) -> None:
    told = journey.visit.retained[0]

    assert (told["state"], told["profile"], told["login"]["state"]) == ("open", "master", "logged_in")


def test_a_newcomer_is_not_told_of_a_session_that_is_over(journey: Journey) -> None:
    assert journey.visit.retained[1] == {}


def test_the_state_of_the_profile_tells_its_login(journey: Journey) -> None:
    login = journey.profile["login"]

    assert (login["state"], login["username"], journey.profile["account"]) == (
        "logged_in", "demo_creator", "demo",
    )  # fmt: skip


def test_the_state_of_the_account_tells_the_login_of_its_profile(journey: Journey) -> None:
    assert journey.account["browser_login"] == journey.profile["login"]


# -- logged out ----------------------------------------------------------------------------------------------


def test_a_logged_out_session_closes_by_itself(journey: Journey) -> None:
    assert journey.end(journey.guest.session)["reason"] == "logged_out"


def test_the_state_of_a_logged_out_session_skips_open(journey: Journey) -> None:
    assert journey.states(journey.guest.session) == [
        "requested", "cloning", "starting", "detecting", "closing", "",
    ]  # fmt: skip


def test_a_logged_out_session_is_never_handed_over(journey: Journey) -> None:
    assert journey.kinds(journey.guest.session) == ["requested", "started", "login_state", "ended"]


def test_a_logged_out_session_says_how_to_log_in(journey: Journey) -> None:
    assert "tokd profile login master" in journey.guest.said.stdout


def test_a_logged_out_session_is_a_failure(journey: Journey) -> None:
    assert journey.guest.said.returncode != 0


def test_the_state_of_the_profile_tells_that_it_is_logged_out(journey: Journey) -> None:
    assert latest(journey.caller, "state/profile/master")["login"]["state"] == "logged_out"


def test_the_state_of_the_account_tells_that_its_profile_is_logged_out(journey: Journey) -> None:
    assert latest(journey.caller, "state/account/demo")["browser_login"]["state"] == "logged_out"


# -- afterwards ----------------------------------------------------------------------------------------------


def test_the_journey_leaves_no_clone(journey: Journey) -> None:
    assert journey.stage.clone_files() == []


def test_the_journey_leaves_nothing_in_the_temp_folder(journey: Journey) -> None:
    assert journey.stage.temp_files() == []


def test_the_journey_leaves_no_browser(journey: Journey) -> None:
    assert [line for line in journey.stage.left().values() if "--user-data-dir" in line] == []
