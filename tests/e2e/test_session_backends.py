"""The same session, whichever library drives the browser: undetected-chromedriver or Selenium alone."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.session_stage import SessionStage, sessions
from tests.integration import browser_stage
from tests.integration.browser_stage import Screen
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def screen() -> Iterator[Screen]:
    with browser_stage.screen() as found:
        yield found


@pytest.fixture(scope="module", params=["undetected", "selenium"])
def stage(
    request: pytest.FixtureRequest, site: str, logged_in: Path, logged_out: Path, screen: Screen
) -> Iterator[SessionStage]:
    with sessions(site, logged_in, screen, backend=request.param, headless="false") as found:
        found.have(logged_out, "guest")
        yield found


def test_a_logged_in_profile_is_handed_over_and_closed_by_a_key(stage: SessionStage) -> None:
    session = stage.opened()

    end = stage.close_window(session)

    assert stage.kinds(session) == ["requested", "started", "login_state", "opened", "ended"]
    assert (end["reason"], end["exit_status"], end["login"]) == ("closed_by_user", 0, "logged_in")


def test_a_logged_out_profile_closes_by_itself(stage: SessionStage) -> None:
    reply = stage.open(profile="guest")

    assert (reply["status"], reply["error"]["code"]) == ("failed", "not_logged_in")
    assert stage.end_of(reply["error"]["session"])["reason"] == "logged_out"


def test_a_challenge_is_left_to_the_person(stage: SessionStage) -> None:
    reply = stage.open("challenge")

    assert (reply["status"], reply["result"]["state"]) == ("done", "open")
    login = reply["result"]["login"]
    assert (login["state"], login["reason"], login["method"]) == ("uncertain", "challenge", "challenge")
    stage.close(reply["result"]["session"])


def test_a_command_closes_the_window_cleanly(stage: SessionStage) -> None:
    end = stage.close(stage.opened())

    assert (end["reason"], end["exit_status"]) == ("closed_by_command", 0)


def test_the_window_closes_when_its_time_is_over(stage: SessionStage) -> None:
    end = stage.end_of(stage.opened(timeout_seconds=1))

    assert (end["reason"], end["exit_status"]) == ("timeout", 0)


def test_a_killed_browser_is_a_crash(stage: SessionStage) -> None:
    session = stage.opened()

    os.kill(stage.browser(session), signal.SIGKILL)

    end = stage.end_of(session)
    assert (end["reason"], end["exit_status"]) == ("crashed", -9)


def test_any_page_can_be_opened_without_a_word_of_a_login(stage: SessionStage) -> None:
    session = stage.opened(url=stage.site.replace("127.0.0.1", "localhost") + "/elsewhere")

    stage.close(session)

    assert stage.kinds(session) == ["requested", "started", "opened", "ended"]


def test_an_open_session_tells_its_login_state_once_more(stage: SessionStage) -> None:
    session = stage.opened()

    reply = stage.daemon.call("session/check", {"session": session})

    assert reply["result"]["login"]["state"] == "logged_in"
    stage.close(session)


def test_an_open_session_gives_a_picture(stage: SessionStage) -> None:
    session = stage.opened()

    reply = stage.daemon.call("session/screenshot", {"session": session})

    assert Path(reply["result"]["path"]).read_bytes().startswith(b"\xff\xd8")
    stage.close(session)


def test_none_of_it_leaves_anything(stage: SessionStage) -> None:
    stage.close(stage.opened())

    wait_until(lambda: not [line for line in stage.left().values() if "chrom" in line])
    assert (stage.clone_files(), stage.temp_files()) == ([], [])
