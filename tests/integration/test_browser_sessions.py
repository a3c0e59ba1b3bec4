"""Sessions in a real Chromium: opened, read, handed over, asked, closed. Both backends keep the same promises."""

import contextlib
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from adapters.browser.launching import profile_of
from daemon.domain.errors import Code, Rejected
from daemon.domain.login import Doubt, Login
from daemon.domain.session import (
    BrowserEnded,
    Closing,
    Encryption,
    EndingSoon,
    EndReason,
    HandedOver,
    LoginSeen,
    Pictured,
    SessionKind,
    Started,
    Workplace,
)  # fmt: skip
from tests.integration import browser_stage
from tests.integration.browser_stage import Pages, Recorder, Screen, Stage, arguments_of, last_verdict
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with browser_stage.site() as found:
        yield found


@pytest.fixture(scope="module")
def other() -> Iterator[Pages]:
    with browser_stage.pages() as found:
        yield found


@pytest.fixture(scope="module")
def screen() -> Iterator[Screen]:
    with browser_stage.screen() as found:
        yield found


@pytest.fixture(scope="module")
def shown(url: str, screen: Screen) -> Iterator[Stage]:
    """Windows on a private screen, by undetected-chromedriver."""
    with browser_stage.set_stage(url, screen) as found:
        yield found


@pytest.fixture(scope="module", params=["undetected", "selenium"])
def stage(url: str, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """No windows; each backend in turn."""
    with browser_stage.set_stage(url, backend=request.param) as found:
        yield found


@pytest.fixture(scope="module")
def bare(url: str) -> Iterator[Stage]:
    """No windows, and the default backend: for what does not depend on it."""
    with browser_stage.set_stage(url) as found:
        yield found


# -- the same for both backends ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def running(stage: Stage) -> Iterator[Recorder]:
    """One open session for all that only look at it."""
    session = stage.open("logged_in")
    session.opened()
    session.place = stage.places[-1]
    yield session
    session.closed()


def test_a_session_that_is_logged_in_is_handed_over(running: Recorder) -> None:
    assert [type(each) for each in running.news[:3]] == [Started, LoginSeen, HandedOver]
    verdict = running.all(LoginSeen)[0].verdict
    assert (verdict.login, verdict.username) == (Login.LOGGED_IN, "demo_creator")


def test_a_session_can_be_asked_for_its_login_state_again(running: Recorder) -> None:
    running.handle.check("again")

    verdict = running.seen("again").verdict
    assert (verdict.login, verdict.username) == (Login.LOGGED_IN, "demo_creator")


def test_a_picture_of_the_page_is_a_jpeg(running: Recorder) -> None:
    running.handle.picture("p1")

    found = running.wait_for(Pictured)
    assert (found.token, found.refusal, found.image[:3]) == ("p1", None, b"\xff\xd8\xff")


def test_the_debugging_port_is_closed_once_the_window_is_handed_over(running: Recorder) -> None:
    port = browser_stage.debug_port_of(running.opened(), running.place)

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 1)


def test_no_driver_is_left_once_the_window_is_handed_over(running: Recorder) -> None:
    found = browser_stage.descendants(running.handle.pid).values()

    assert [each for each in found if any("chromedriver" in part for part in each[:4])] == []


def test_the_browser_opens_exactly_the_sessions_profile(running: Recorder) -> None:
    found = [each for each in arguments_of(running.opened()) if each.startswith("--user-data-dir")]

    assert found == [f"--user-data-dir={running.place.user_data_dir}"]


def test_root_is_told_that_the_sandbox_is_off(running: Recorder) -> None:
    if os.geteuid() != 0:
        pytest.skip("for root only; the other test is for everybody else")

    started = running.all(Started)[0]

    assert (started.is_sandboxed, len(started.warnings)) == (False, 1)
    assert "sandbox" in started.warnings[0]


def test_a_session_that_is_logged_out_closes_by_itself(stage: Stage) -> None:
    session = stage.open("logged_out")

    ended = session.ended()

    assert [type(each) for each in session.news] == [Started, LoginSeen, Closing, BrowserEnded]
    assert (ended.reason, ended.is_clean) == (EndReason.LOGGED_OUT, True)


def test_a_command_closes_the_browser_cleanly(stage: Stage) -> None:
    session = stage.open()
    session.opened()

    session.handle.close(EndReason.SHUTDOWN)

    ended = session.ended()
    assert session.all(Closing) == [Closing(EndReason.SHUTDOWN)]
    assert (ended.reason, ended.exit_status, ended.is_clean) == (EndReason.SHUTDOWN, 0, True)


def test_the_end_is_announced_and_comes_in_time(bare: Stage) -> None:
    session = bare.open(timeout_s=1.5, ending_soon_s=1.0)

    ended = session.ended()

    told, closing = session.all(EndingSoon)[0], session.all(Closing)[0]
    at = dict(zip([type(each) for each in session.news], session.times, strict=True))
    assert told.seconds == pytest.approx(1.0, abs=0.15)
    assert closing.reason is ended.reason is EndReason.TIMEOUT
    assert at[Closing] - at[HandedOver] == pytest.approx(1.5, abs=0.3)


def test_a_plain_session_opens_its_page_and_reads_nothing(stage: Stage, other: Pages) -> None:
    session = stage.open(f"{other.url}/plain", kind=SessionKind.PLAIN)

    session.opened()

    wait_until(lambda: "/plain" in other.asked, 5)
    assert session.all(LoginSeen) == []
    session.closed()


# -- what the verdict does -----------------------------------------------------------------------------------


def test_a_session_nobody_can_judge_is_closed_as_uncertain(bare: Stage) -> None:
    session = bare.open("500", detection_timeout_s=1.0)

    ended = session.ended()

    assert (last_verdict(session).reason, ended.reason) == (Doubt.SERVER_ERROR, EndReason.UNCERTAIN)


def test_a_site_that_leads_to_its_login_page_is_logged_out(bare: Stage) -> None:
    session = bare.open("to_login", negative_grace_s=0.5)

    assert session.ended().reason is EndReason.LOGGED_OUT


def test_an_uncertain_session_stays_open_where_that_is_wanted(bare: Stage) -> None:
    session = bare.open("neither", detection_timeout_s=1.0, keep_uncertain=True)

    session.opened()

    assert last_verdict(session).login is Login.UNCERTAIN
    session.closed()


def test_a_challenge_leaves_the_window_to_the_person(shown: Stage) -> None:
    session = shown.open("challenge")

    session.opened()

    assert last_verdict(session).reason is Doubt.CHALLENGE
    session.closed()


def test_a_dialog_in_the_page_hinders_nobody(shown: Stage, other: Pages) -> None:
    session = shown.open(f"{other.url}/alert_at_once", detection_timeout_s=2.0, keep_uncertain=True)

    session.opened()

    assert session.closed().reason is EndReason.CLOSED_BY_COMMAND


def test_a_dialog_while_the_window_is_open_leaves_the_session_alone(shown: Stage, other: Pages) -> None:
    session = shown.open(f"{other.url}/alert", detection_timeout_s=2.0)
    session.opened()

    session.handle.check("a")
    session.handle.picture("b")

    assert session.wait_for(LoginSeen, count=2).token == "a"
    assert session.wait_for(Pictured).token == "b"
    assert session.closed().reason is EndReason.CLOSED_BY_COMMAND


def test_a_check_sees_a_logout_that_has_come_since(bare: Stage, other: Pages) -> None:
    other.asked.clear()
    session = bare.open(f"{other.url}/leave", negative_grace_s=0.3)
    session.opened()

    session.handle.check("again")

    assert session.all(LoginSeen)[0].verdict.login is Login.LOGGED_IN
    assert session.seen("again").verdict.login is Login.LOGGED_OUT
    session.closed()


def test_a_question_opens_no_tab_in_the_persons_window(shown: Stage) -> None:
    session = shown.open("slow&delay_ms=500&force=in", require_login=False)
    session.opened()
    assert shown.screen is not None

    session.handle.check("a")
    shown.screen.press_until("ctrl+w", lambda: session.all(BrowserEnded))  # there is one tab to be closed

    assert session.ended().reason is EndReason.CLOSED_BY_USER


def test_a_session_can_be_extended(bare: Stage) -> None:
    session = bare.open(timeout_s=1.0, ending_soon_s=0.5)
    session.wait_for(EndingSoon)

    session.handle.extend(1.5)

    again = session.wait_for(EndingSoon, count=2)
    assert again.seconds == pytest.approx(0.5, abs=0.15)
    assert session.ended().reason is EndReason.TIMEOUT
    assert session.times[-1] - session.times[2] > 1.9


def test_cookies_lost_for_want_of_their_keyring_are_no_logout_however_often_one_looks(
    bare: Stage, other: Pages
) -> None:
    place = profile_with_keyring(bare, other)
    session = Recorder(bare.browsers().open(bare.order("logged_out", require_login=False), place))
    session.opened()

    session.handle.check("again")

    assert session.seen("again").verdict.reason is Doubt.KEYRING
    assert session.all(LoginSeen)[0].verdict.reason is Doubt.KEYRING
    session.closed()


def profile_with_keyring(stage: Stage, other: Pages) -> Workplace:
    """Make a profile whose only cookie was encrypted with a key that nobody has here."""
    session = stage.open(f"{other.url}/plain", kind=SessionKind.PLAIN)
    session.opened()
    place = stage.places[-1]
    cookies = Path(place.user_data_dir, "Default", "Cookies")
    wait_until(lambda: cookies.exists() and "/plain" in other.asked)
    session.handle.check("is the page there?")
    session.wait_for(LoginSeen)
    session.closed()
    with contextlib.closing(sqlite3.connect(cookies)) as base:
        changed = base.execute("UPDATE cookies SET encrypted_value = ?", (b"v11" + b"x" * 48,))
        base.commit()
        assert changed.rowcount >= 1
    return replace(place, encryption=Encryption(v11=changed.rowcount))


# -- the login into the profile itself -----------------------------------------------------------------------


def test_a_login_is_a_plain_browser_that_cannot_be_asked_and_loses_nothing(bare: Stage) -> None:
    session = bare.open("logged_out", kind=SessionKind.LOGIN)
    pid = session.opened()

    arguments = arguments_of(pid)
    drivers = [each for each in browser_stage.descendants(os.getpid()).values() if "chromedriver" in each[0]]
    session.handle.check("a")
    session.handle.picture("b")

    assert [each for each in arguments if "debugging" in each or "automation" in each] == []
    assert drivers == []
    assert session.wait_for(LoginSeen).verdict.reason is Doubt.BROWSER
    assert session.wait_for(Pictured).refusal
    wait_until(lambda: Path(bare.places[-1].user_data_dir, "Default", "Cookies").exists())
    ended = session.closed()
    assert (ended.exit_status, ended.is_clean) == (0, True)


# -- several profiles in one folder --------------------------------------------------------------------------


def test_of_several_profiles_the_one_that_was_used_last_is_opened_and_closed_cleanly(stage: Stage) -> None:
    order = stage.order("logged_in")
    place = stage.place(order)
    several_profiles(Path(place.user_data_dir), "Profile 1")
    session = Recorder(stage.browsers().open(order, place))

    session.opened()

    assert session.closed().is_clean
    assert Path(place.user_data_dir, "Profile 1", "Cookies").exists()
    assert not Path(place.user_data_dir, "Default", "Cookies").exists()


def several_profiles(folder: Path, last: str) -> None:
    """Make what a browser leaves whose person has made a second profile."""
    names = {"Default": {"name": "One"}, "Profile 1": {"name": "Two"}}
    for name, named in names.items():
        (folder / name).mkdir()
        (folder / name / "Preferences").write_text(json.dumps({"profile": named}))
    told = {"profile": {"info_cache": names, "last_used": last, "profiles_created": 2}}
    (folder / "Local State").write_text(json.dumps(told))


@pytest.mark.parametrize("told", [None, 7, "", "..", "../..", "Profile 9", "a/b", "lang"])
def test_a_profile_that_is_not_there_is_not_looked_for(tmp_path: Path, told: object) -> None:
    several_profiles(tmp_path, told)  # type: ignore[arg-type]
    (tmp_path / "lang").mkdir()
    (tmp_path / "lang/Preferences").touch()

    assert profile_of(str(tmp_path)) == "Default"


def test_a_profile_that_is_the_only_one_is_opened_whatever_its_name(tmp_path: Path) -> None:
    several_profiles(tmp_path, "Gone")
    shutil.rmtree(tmp_path / "Default")

    assert profile_of(str(tmp_path)) == "Profile 1"


def test_an_empty_folder_gets_the_usual_profile(tmp_path: Path) -> None:
    assert profile_of(str(tmp_path)) == "Default"


# -- known beforehand ----------------------------------------------------------------------------------------


def test_a_window_without_a_screen_is_refused_at_once(bare: Stage) -> None:
    with pytest.raises(Rejected) as refused:
        bare.browsers().check(bare.order(headless=False))

    assert refused.value.code is Code.NO_DISPLAY


def test_a_screen_that_is_dead_is_refused_and_not_named(bare: Stage) -> None:
    with pytest.raises(Rejected) as refused:
        bare.browsers(display=":4711").check(bare.order(headless=False))

    assert refused.value.code is Code.NO_DISPLAY
    assert "4711" not in refused.value.message


def test_a_screen_that_lives_is_accepted(shown: Stage) -> None:
    shown.browsers().check(shown.order())


def test_a_browser_that_is_not_there_is_refused(bare: Stage) -> None:
    with pytest.raises(Rejected) as refused:
        bare.browsers(browser_path=Path("/nowhere/chromium")).check(bare.order())

    assert refused.value.code is Code.NO_BROWSER
    assert "apt install" in refused.value.message


def test_a_driver_of_another_version_is_refused_with_both_versions(bare: Stage) -> None:
    driver = bare.root / "chromedriver"
    driver.write_text("#!/bin/sh\necho ChromeDriver 99.1.2.3 abc\n")
    driver.chmod(0o700)

    with pytest.raises(Rejected) as refused:
        bare.browsers(driver_path=driver).check(bare.order())

    assert refused.value.code is Code.DRIVER_MISMATCH
    assert "99.1.2.3" in refused.value.message
    assert bare.browsers()._programs.browser().version in refused.value.message


@pytest.mark.parametrize("word", ["headless", "lang"])
def test_a_path_that_the_driver_would_misread_is_refused(bare: Stage, word: str) -> None:
    order = bare.order()
    place = bare.place(order, user_data_dir=str(bare.root / f"my-{word}-clone"))

    with pytest.raises(Rejected) as refused:
        bare.browsers().open(order, place)

    assert refused.value.code is Code.BROWSER_FAILED
    assert word in refused.value.message


def test_a_browser_that_has_opened_another_profile_is_not_kept(bare: Stage) -> None:
    """As undetected-chromedriver lets it do, where it drops the switch."""
    astray = bare.root / "astray"
    astray.write_text(
        '#!/bin/sh\n[ "$*" = --version ] && exec chromium --version\nfor word do shift\n'
        'case "$word" in --user-data-dir=*) word=$word-another ;; esac\nset -- "$@" "$word"\ndone\nexec chromium "$@"\n'
    )
    astray.chmod(0o700)
    session = bare.open(browser_path=astray, backend="undetected")

    ended = session.ended()

    assert ended.reason is EndReason.FAILED
    assert ended.error is not None
    assert (
        "not started with the session's profile" in ended.error.message
    )  # before its driver is there, or after
    wait_until(lambda: not browser_stage.mentions(f"{bare.places[-1].user_data_dir}-another"))


# -- the browser itself --------------------------------------------------------------------------------------


def test_the_sandbox_is_on_for_everybody_but_root(url: str) -> None:
    other_user = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups") if os.geteuid() == 0 else ()

    with browser_stage.owner(url, other_user, python_for(other_user)) as (_, told):
        lines = browser_stage.descendants(told["browser"])
        renderers = [pid for pid, line in lines.items() if any("--type=renderer" in each for each in line)]
        status = Path(f"/proc/{renderers[0]}/status").read_text()

        assert told["started"] is True
        assert "--no-sandbox" not in arguments_of(told["browser"])
        assert "\nSeccomp:\t2\n" in status


def python_for(prefix: tuple[str, ...]) -> str:
    """Return an interpreter that the other user may run: root's own may stand in root's home."""
    wanted = f"import sys; assert sys.version_info[:2] == {sys.version_info[:2]}; print(sys.executable)"
    for name in (os.path.realpath(sys.executable), "/usr/bin/python3", "/usr/bin/python3.11"):
        with contextlib.suppress(OSError):
            argv = ["/usr/bin/env", *prefix, "sh", "-c", 'exec "$0" -c "$1"', name, wanted]
            done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=20)
            if done.returncode == 0:
                return name
    pytest.fail("no Python here that another user than root may run: the sandbox cannot be shown")


def test_settings_secrets_and_a_home_that_cannot_be_written_do_not_reach_the_browser(bare: Stage) -> None:
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": "/nowhere",
        "TOKD_MQTT__PASSWORD": "hunter2",
        "SE_DEBUG": "1",
    }
    session = bare.open(environ=environ)

    found = psutil.Process(session.opened()).environ()

    assert [name for name in found if name.startswith(("TOKD_", "SE_"))] == []
    assert found["HOME"] == bare.places[-1].folder
    session.closed()


def test_a_proxy_is_used_and_told_to_nobody(bare: Stage, other: Pages) -> None:
    session = bare.open(
        "http://127.0.0.1:8099/behind", proxy=other.url, browser_args=("--proxy-bypass-list=<-loopback>",),
        detection_timeout_s=1.0,
    )  # fmt: skip

    session.ended()

    assert "http://127.0.0.1:8099/behind" in other.asked
    assert other.url not in repr(session.news) + repr(bare.make_settings(proxy=other.url))


@pytest.mark.parametrize("kind", [SessionKind.PLAIN, SessionKind.LOGIN])
def test_a_proxy_stands_in_no_command_line_of_an_open_session(
    bare: Stage, other: Pages, kind: SessionKind
) -> None:
    desktop = dict(bare.make_settings().environ) | {"DBUS_SESSION_BUS_ADDRESS": "unix:path=/nowhere"}
    other.asked.clear()
    session = bare.open(
        "http://127.0.0.1:8099/behind", proxy=other.url, browser_args=("--proxy-bypass-list=<-loopback>",), kind=kind,
        environ=desktop,
    )  # fmt: skip

    session.opened()

    wait_until(lambda: "http://127.0.0.1:8099/behind" in other.asked)
    assert browser_stage.mentions(other.url) == []
    assert "proxy" not in repr(session.all(Started)[0].warnings)
    session.closed()


def test_a_session_whose_proxy_the_driver_has_dropped_goes_nowhere(bare: Stage, other: Pages) -> None:
    other.asked.clear()
    session = bare.open(
        f"{other.url}/plain", kind=SessionKind.PLAIN, proxy="http://headless.test:3128", backend="undetected"
    )

    ended = session.ended()

    assert ended.reason is EndReason.FAILED
    assert ended.error is not None
    assert "proxy" in ended.error.message
    assert other.asked == []
