"""What sessions do to a profile: nothing, unless the person logs in to it or keeps a clone as one."""

import shutil
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from adapters.profiles.live import WARNING
from tests.e2e.session_stage import NAME, SessionStage, browser_on, command_line, sessions
from tests.integration import browser_stage
from tests.integration.browser_stage import Screen
from tests.profiles import Chromium, fingerprint
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def screen() -> Iterator[Screen]:
    with browser_stage.screen() as found:
        yield found


@pytest.fixture(scope="module")
def stage(site: str, logged_in: Path, screen: Screen) -> Iterator[SessionStage]:
    with sessions(site, logged_in, screen, ending_soon_s="0") as found:
        yield found


@pytest.fixture
def master(stage: SessionStage, logged_in: Path) -> Path:
    """A fresh profile."""
    return stage.have(logged_in)


@pytest.fixture
def guest(stage: SessionStage, logged_out: Path) -> str:
    """The name of a fresh profile that is logged out."""
    stage.have(logged_out, "guest")
    return "guest"


# -- left alone ----------------------------------------------------------------------------------------------


@dataclass
class Three:
    """Three sessions on one profile, one after the other."""

    before: str
    after: str
    preferences: bytes
    verdicts: list[dict[str, Any]]
    temp: list[str]
    clones: list[str]


@pytest.fixture(scope="module")
def three(stage: SessionStage, logged_in: Path) -> Three:
    master = stage.have(logged_in)
    before, found = fingerprint(master), []
    for _ in range(3):
        found.append(stage.opened())
        stage.close(found[-1])
    return Three(
        before, fingerprint(master), (master / "Default" / "Preferences").read_bytes(),
        [stage.verdict(each) for each in found], stage.temp_files(), stage.clone_files(),
    )  # fmt: skip


def test_every_byte_mode_and_time_of_a_profile_is_the_same_after_its_sessions(three: Three) -> None:
    assert three.after == three.before


def test_one_login_is_enough_for_many_sessions(three: Three) -> None:
    assert [verdict["state"] for verdict in three.verdicts] == ["logged_in"] * 3


def test_a_name_that_is_not_ascii_stays_as_it_is_in_the_profile(three: Three, logged_in: Path) -> None:
    assert NAME.encode() in three.preferences
    assert three.preferences == (logged_in / "Default" / "Preferences").read_bytes()


def test_sessions_leave_nothing_in_the_temp_folder(three: Three) -> None:
    assert three.temp == []


def test_sessions_leave_no_clone(three: Three) -> None:
    assert three.clones == []


def test_a_crashed_session_leaves_the_profile_alone(stage: SessionStage, master: Path) -> None:
    before = fingerprint(master)
    session = stage.opened()

    subprocess.run(["kill", "-9", str(stage.browser(session))], check=True)

    stage.end_of(session)
    assert fingerprint(master) == before


# -- locks ---------------------------------------------------------------------------------------------------


def test_locks_of_a_dead_browser_in_the_profile_hinder_nobody(stage: SessionStage, master: Path) -> None:
    gone = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True, check=True).stdout.strip()
    (master / "SingletonLock").symlink_to(f"{socket.gethostname()}-{gone}")
    (master / "SingletonCookie").symlink_to("1234567890")
    (master / "SingletonSocket").symlink_to("/tmp/org.chromium.Chromium.none/SingletonSocket")

    session = stage.opened()

    assert stage.close(session)["reason"] == "closed_by_command"


def test_a_profile_that_the_persons_own_browser_has_open_is_refused(
    stage: SessionStage, master: Path, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "DBUS_SESSION_BUS_ADDRESS", "disabled:"
    )  # it writes its command line anew, as on a desktop
    with Chromium(master, stage.folder / "own", f"{site}/") as own:
        reply = stage.open()

        assert (reply["status"], reply["error"]["code"]) == ("rejected", "user_data_locked")
        assert str(own.pid) in reply["error"]["message"]
    shutil.rmtree(stage.folder / "own")


@dataclass
class Live:
    """A session whose profile the person's own browser had open, where session.allow_live is set."""

    started: dict[str, Any]
    verdict: dict[str, Any]
    end: dict[str, Any]
    goes_on: bool


@pytest.fixture(scope="module")
def live(site: str, logged_in: Path) -> Iterator[Live]:
    with sessions(site, logged_in, allow_live="true") as stage:
        with Chromium(stage.master, stage.folder / "own", f"{site}/") as own:
            session = stage.opened()
            end = stage.close(session)
            told = next(
                event["data"] for event in stage.told(session) if event["type"].endswith("session.started")
            )
            assert own.process is not None
            found = Live(told, stage.verdict(session), end, own.process.poll() is None)
        yield found


def test_a_profile_that_is_open_elsewhere_is_cloned_where_that_is_wanted(live: Live) -> None:
    assert live.end["reason"] == "closed_by_command"


def test_the_event_warns_of_what_may_be_missing_in_a_clone_of_an_open_profile(live: Live) -> None:
    assert WARNING in live.started["warnings"]


def test_the_clone_of_an_open_profile_is_logged_in(live: Live) -> None:
    assert live.verdict["state"] == "logged_in"


def test_the_browser_that_has_the_profile_open_goes_on(live: Live) -> None:
    assert live.goes_on


@dataclass
class Held:
    """What came of two orders while the profile's own window was open."""

    opening: dict[str, Any]
    opening_s: float
    login: dict[str, Any]
    login_s: float
    end: dict[str, Any]
    after: str


@pytest.fixture(scope="module")
def held(stage: SessionStage, logged_in: Path) -> Held:
    stage.have(logged_in)
    session = stage.log_in()
    opening, opening_s = timed(stage.open)
    login, login_s = timed(lambda: stage.daemon.call("profiles/login", {"profile": "master"}))
    end = stage.close(session)
    again = stage.opened()
    return Held(opening, opening_s, login, login_s, end, stage.close(again)["reason"])


def timed(call: Any) -> tuple[dict[str, Any], float]:
    began = time.monotonic()
    return call(), time.monotonic() - began


def test_a_profile_whose_own_window_is_open_is_not_cloned(held: Held) -> None:
    assert (held.opening["status"], held.opening["error"]["code"]) == ("rejected", "user_data_locked")


def test_the_refusal_of_a_clone_is_quick(held: Held) -> None:
    assert held.opening_s < 1


def test_a_profile_has_one_window_of_its_own(held: Held) -> None:
    assert (held.login["status"], held.login["error"]["code"]) == ("rejected", "user_data_locked")


def test_the_refusal_of_a_second_window_is_quick(held: Held) -> None:
    assert held.login_s < 1


def test_the_refusal_leaves_the_first_window_alone(held: Held) -> None:
    assert (held.end["reason"], held.end["exit_status"]) == ("closed_by_command", 0)


def test_a_profile_can_be_cloned_as_soon_as_its_window_is_closed(held: Held) -> None:
    assert held.after == "closed_by_command"


# -- refusals ------------------------------------------------------------------------------------------------


def test_a_profile_that_is_not_there_is_refused_with_the_command_that_makes_it(stage: SessionStage) -> None:
    reply = stage.open(profile="nobody")

    assert reply["error"]["code"] == "no_such_profile"
    assert "`tokd profile login nobody`" in reply["error"]["message"]


def test_cookies_of_the_keyring_are_not_opened_without_it(stage: SessionStage, master: Path) -> None:
    with sqlite3.connect(master / "Default" / "Cookies") as database:
        database.execute("UPDATE cookies SET encrypted_value = CAST('v11' || 'x' AS BLOB)")
    database.close()

    reply = stage.open(id="v11")

    assert (reply["status"], reply["error"]["code"]) == ("rejected", "keyring_unreachable")
    session = stage.newest("v11")
    assert session is not None
    assert stage.kinds(session) == ["requested", "ended"]  # and no word of a login state


# -- keeping a clone -----------------------------------------------------------------------------------------


@dataclass
class Promoted:
    """A guest's session in which the person logged in, kept as the profile; and the next session."""

    end: dict[str, Any]
    old: str
    backup: str
    verdict: dict[str, Any]
    name: bytes


@pytest.fixture(scope="module")
def promoted(stage: SessionStage, logged_out: Path) -> Promoted:
    master = stage.have(logged_out)
    old = fingerprint(master)
    session = stage.opened(headless=False, require_login=False)
    stage.type_login()
    stage.daemon.call("profiles/promote", {"session": session})
    end = stage.end_of(session)
    again = stage.opened()
    stage.close(again)
    preferences = (master / "Default" / "Preferences").read_bytes()
    return Promoted(end, old, fingerprint(Path(end["backup"])), stage.verdict(again), preferences)


def test_a_clone_can_become_the_profile(promoted: Promoted) -> None:
    assert promoted.end["promoted_to"] == "master"


def test_the_session_after_a_promotion_is_logged_in(promoted: Promoted) -> None:
    assert (promoted.verdict["state"], promoted.verdict["username"]) == ("logged_in", "demo_creator")


def test_a_name_that_is_not_ascii_stays_as_it_is_in_the_new_profile(promoted: Promoted) -> None:
    assert NAME.encode() in promoted.name


def test_the_old_profile_is_kept_whole(promoted: Promoted) -> None:
    assert promoted.backup == promoted.old


def test_a_profile_that_has_changed_is_not_replaced(stage: SessionStage, master: Path) -> None:
    session = stage.opened()
    (master / "Default" / "Preferences").write_text("{}")
    changed = fingerprint(master)

    stage.daemon.call("profiles/promote", {"session": session})

    end = stage.end_of(session)
    assert "has changed" in end["promotion_error"]
    assert fingerprint(master) == changed
    shutil.rmtree(master)
    stage.have(Path(end["kept_clone"]))
    assert stage.close(stage.opened())["login"] == "logged_in"


def test_a_session_whose_browser_hangs_is_not_promoted(stage: SessionStage, master: Path) -> None:
    before = fingerprint(master)
    session = stage.opened()
    subprocess.run(["kill", "-STOP", str(stage.browser(session))], check=True)

    stage.daemon.call("profiles/promote", {"session": session})

    end = stage.end_of(session, 20)
    assert "did not close cleanly" in end["promotion_error"]
    assert fingerprint(master) == before


# -- the daemon dies while the profile's own window is open --------------------------------------------------


@dataclass
class Bereft:
    """A profile whose window was open when the daemon was killed."""

    ends: list[dict[str, Any]]
    locked: bool
    verdict: dict[str, Any]
    again: str


@pytest.fixture(scope="module")
def bereft(site: str, screen: Screen, logged_out: Path) -> Iterator[Bereft]:
    """The person logs in, the daemon is killed, and started again."""
    with sessions(site, logged_out, screen) as stage:
        session = stage.log_in()
        stage.type_login()
        stage.daemon.kill()
        wait_until(lambda: not stage.left(), 20, what=lambda: str(stage.left()))
        locked = (stage.master / "SingletonLock").is_symlink()
        stage.daemon.start()
        stage.end_of(session)
        reader = stage.opened()
        stage.close(reader)
        again = stage.close(stage.log_in())["reason"]
        yield Bereft(stage.ends(session), locked, stage.verdict(reader), again)


def test_a_login_is_kept_though_the_daemon_is_killed(bereft: Bereft) -> None:
    assert bereft.verdict["state"] == "logged_in"


def test_a_login_whose_daemon_was_killed_is_orphaned_once(bereft: Bereft) -> None:
    assert [end["reason"] for end in bereft.ends] == ["orphaned"]


def test_a_profile_is_closed_cleanly_though_the_daemon_is_killed(bereft: Bereft) -> None:
    assert not bereft.locked


def test_a_profile_can_be_logged_in_to_again_after_the_death(bereft: Bereft) -> None:
    assert bereft.again == "closed_by_command"


@dataclass
class Alone:
    """A profile's own browser whose worker and daemon were both killed: nobody is left to close it but the next start."""

    outlived: bool
    left: dict[int, str]
    ends: list[str]
    verdict: dict[str, Any]


@pytest.fixture(scope="module")
def alone(site: str, screen: Screen, logged_out: Path) -> Iterator[Alone]:
    with sessions(site, logged_out, screen) as stage:
        session = stage.log_in()
        stage.type_login()
        browser = browser_on(stage.master)
        stage.daemon.pause()  # it would close the browser of a dead worker, as a worker would that of a dead daemon
        psutil.Process(browser).parent().kill()  # type: ignore[union-attr]
        wait_until(
            lambda: psutil.Process(browser).ppid() == 1 or not is_worker(psutil.Process(browser).ppid())
        )
        stage.daemon.kill()
        outlived = command_line(browser) != ""
        stage.daemon.start()
        stage.end_of(session)
        left = {pid: words for pid, words in stage.left().items() if str(stage.master) in words}
        reader = stage.opened()
        stage.close(reader)
        ends = [end["reason"] for end in stage.ends(session)]
        yield Alone(outlived, left, ends, stage.verdict(reader))


def is_worker(pid: int) -> bool:
    return "adapters.browser.nursery" in command_line(pid)


def test_a_browser_that_nobody_looks_after_is_closed_by_the_next_start(alone: Alone) -> None:
    assert (alone.outlived, alone.left) == (True, {})


def test_the_session_of_a_browser_that_nobody_looked_after_is_orphaned_once(alone: Alone) -> None:
    assert alone.ends == ["orphaned"]


def test_a_browser_that_nobody_looked_after_is_closed_without_losing_the_login(alone: Alone) -> None:
    assert alone.verdict["state"] == "logged_in"
