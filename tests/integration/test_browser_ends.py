"""How sessions end in a real Chromium: by the person's hand, by force, by accident; and what is left: nothing."""

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from adapters.browser.debug_port import DebugPort
from daemon.domain.errors import Code
from daemon.domain.login import Doubt, Login
from daemon.domain.session import (
    BrowserEnded,
    Closing,
    EndReason,
    HandedOver,
    LoginSeen,
    SessionKind,
    Started,
    Workplace,
)  # fmt: skip
from tests.integration import browser_stage
from tests.integration.browser_stage import Pages, Recorder, Screen, Stage, last_verdict
from tests.profiles import descriptors
from tests.waiting import wait_until

SLOW = "slow&delay_ms=20000"


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
    """Windows on a private screen. How a browser was started does not matter to how it ends."""
    with browser_stage.set_stage(url, screen) as found:
        yield found


@pytest.fixture(scope="module", params=["undetected", "selenium"])
def stage(url: str, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """No windows; each backend in turn."""
    with browser_stage.set_stage(url, backend=request.param) as found:
        yield found


@pytest.fixture(scope="module")
def bare(url: str) -> Iterator[Stage]:
    """No windows, and the default backend."""
    with browser_stage.set_stage(url) as found:
        yield found


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    os.kill(pid, number)


def drivers() -> list[int]:
    return [
        pid
        for pid, line in browser_stage.descendants(os.getpid()).items()
        if any("chromedriver" in part for part in line[:4])
    ]


def browser_of(stage: Stage) -> list[int]:
    return browser_stage.mentions(f"--user-data-dir={stage.places[-1].user_data_dir}")


# -- the person ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["ctrl+shift+w", "ctrl+w"])
def test_a_window_that_the_person_closes_ends_the_session(shown: Stage, key: str) -> None:
    session = shown.open()
    session.opened()
    assert shown.screen is not None

    shown.screen.press_until(key, lambda: session.all(BrowserEnded))

    ended = session.ended()
    assert (ended.reason, ended.exit_status, ended.is_clean) == (EndReason.CLOSED_BY_USER, 0, True)
    assert session.all(Closing) == []


def test_the_session_goes_on_when_the_first_of_two_tabs_is_closed(shown: Stage) -> None:
    session = shown.open()
    session.opened()
    screen = shown.screen
    assert screen is not None
    screen.press_until("ctrl+t", lambda: any("New Tab" in each for each in screen.titles()))

    screen.press("ctrl+1", "ctrl+w")
    session.handle.check("after")

    assert session.wait_for(LoginSeen, count=2).token == "after"
    assert session.closed().reason is EndReason.CLOSED_BY_COMMAND


def test_a_login_window_that_the_person_closes_ends_the_session_cleanly(url: str, screen: Screen) -> None:
    with browser_stage.set_stage(url, screen) as stage:
        session = stage.open("logged_out", kind=SessionKind.LOGIN)
        session.opened()

        screen.press_until("ctrl+shift+w", lambda: session.all(BrowserEnded))

        ended = session.ended()
        assert (ended.reason, ended.is_clean) == (EndReason.CLOSED_BY_USER, True)


# -- accidents -----------------------------------------------------------------------------------------------


def test_a_browser_that_is_killed_has_crashed(bare: Stage) -> None:
    session = bare.open()

    kill(session.opened())

    ended = session.ended()
    assert (ended.reason, ended.exit_status, ended.is_clean) == (EndReason.CRASHED, -9, False)


def test_a_browser_that_dies_while_it_is_read_has_crashed(stage: Stage) -> None:
    session = stage.open(SLOW)

    kill(session.wait_for(Started).pid)

    assert session.ended(5).reason is EndReason.CRASHED


def test_a_session_outlives_the_driver_that_has_started_it(stage: Stage, other: Pages) -> None:
    other.asked.clear()
    session = stage.open(f"{other.url}/late")
    wait_until(lambda: "/late" in other.asked)

    for pid in drivers():
        kill(pid)

    session.opened()
    assert session.closed().reason is EndReason.CLOSED_BY_COMMAND


def test_a_driver_that_dies_during_the_start_ends_the_session_at_once(stage: Stage) -> None:
    session = stage.open()

    kill(wait_until(drivers, every_s=0.001)[0])

    ended = session.ended(8)
    assert ended.reason in {EndReason.FAILED, EndReason.CLOSED_BY_COMMAND}
    assert ended.error is not None
    assert ended.error.code == Code.BROWSER_FAILED.value
    assert browser_of(stage) == []


def test_a_browser_that_dies_during_the_start_ends_the_session_at_once(stage: Stage) -> None:
    session = stage.open()

    kill(wait_until(lambda: browser_of(stage), every_s=0.001)[0])

    assert session.ended(8).reason is EndReason.FAILED


def test_a_page_that_crashes_is_no_end(bare: Stage) -> None:
    session = bare.open()
    lines = browser_stage.descendants(session.opened())
    pages = [pid for pid, line in lines.items() if any("--type=renderer" in part for part in line)]

    for pid in pages:
        kill(pid)
    wait_until(lambda: not browser_stage.alive(pages))
    session.handle.check("after")

    assert session.wait_for(LoginSeen, count=2).token == "after"
    assert session.closed().reason is EndReason.CLOSED_BY_COMMAND


def test_a_browser_is_asked_on_its_own_line_before_it_is_interrupted(bare: Stage) -> None:
    session = bare.open(interrupt_timeout_s=0.0)  # an interruption would be followed by the kill at once
    session.opened()

    ended = session.closed()

    assert (ended.exit_status, ended.is_clean) == (0, True)


def test_a_browser_that_cannot_be_asked_is_interrupted_before_it_is_killed(bare: Stage, other: Pages) -> None:
    other.asked.clear()
    session = bare.open(f"{other.url}/late", close_timeout_s=0.0)
    pid = session.wait_for(Started).pid
    wait_until(lambda: "/late" in other.asked)  # the login state is being read

    cut_line(pid, browser_stage.debug_port_of(pid, bare.places[-1]))

    ended = session.ended(8)
    assert last_verdict(session).reason is Doubt.BROWSER
    assert (ended.reason, ended.exit_status, ended.is_clean) == (EndReason.UNCERTAIN, 0, True)


def cut_line(pid: int, port: int) -> None:
    """Cut every connection to a browser's debugging port from outside, and let no other come in."""
    pidfd = os.pidfd_open(pid)
    try:
        DebugPort(pid, pidfd, port).shut(own=0)
    finally:
        os.close(pidfd)


def test_a_browser_that_hangs_is_killed_when_it_is_to_close(bare: Stage) -> None:
    session = bare.open(close_timeout_s=1.0, interrupt_timeout_s=0.5)
    kill(session.opened(), signal.SIGSTOP)

    session.handle.close(EndReason.CLOSED_BY_COMMAND)

    ended = session.ended(5)
    assert (ended.reason, ended.exit_status, ended.is_clean) == (EndReason.CLOSED_BY_COMMAND, -9, False)


def test_a_browser_that_hangs_does_not_hinder_the_deadline(bare: Stage) -> None:
    session = bare.open(timeout_s=1.0, close_timeout_s=0.5, interrupt_timeout_s=0.5)
    kill(session.opened(), signal.SIGSTOP)

    session.handle.check("never answered by the page")
    session.handle.picture("nor this")

    assert session.ended(12).reason is EndReason.TIMEOUT


def test_a_screen_that_dies_is_told_from_a_window_that_was_closed(url: str) -> None:
    with browser_stage.screen() as screen, browser_stage.set_stage(url, screen) as stage:
        session = stage.open()
        session.opened()

        screen.stop()

        assert session.ended().reason is EndReason.DISPLAY_LOST


def test_a_session_that_is_not_open_in_time_has_failed(stage: Stage) -> None:
    started = time.monotonic()
    session = stage.open(SLOW, creation_timeout_s=2.0)

    ended = session.ended(8)

    assert time.monotonic() - started < 5
    assert ended.reason is EndReason.FAILED
    assert ended.error is not None
    assert ended.error.code == Code.SESSION_TIMEOUT.value
    assert browser_of(stage) == []


def test_a_browser_that_never_answers_its_driver_fails_in_time(stage: Stage) -> None:
    sleeper = stage.root / "sleeper"
    sleeper.write_text(
        '#!/bin/sh\n[ $# = 1 ] && exec chromium --version\nexec "$(command -v python3)" -c '
        '"import signal; signal.pause()" "$@"\n'
    )
    sleeper.chmod(0o700)
    session = stage.open(browser_path=sleeper, creation_timeout_s=2.0)

    ended = session.ended(8)

    assert ended.reason is EndReason.FAILED
    assert ended.error is not None
    assert ended.error.code == Code.SESSION_TIMEOUT.value
    assert browser_of(stage) == []


def test_a_session_can_be_closed_while_it_starts(stage: Stage) -> None:
    session = stage.open()
    wait_until(drivers, every_s=0.001)

    session.handle.close(EndReason.SHUTDOWN)

    assert session.ended(10).reason is EndReason.SHUTDOWN
    assert session.all(HandedOver) == []
    assert browser_of(stage) == []


def test_a_session_can_be_closed_while_its_page_is_awaited(bare: Stage) -> None:
    session = bare.open(SLOW)
    session.wait_for(Started)

    session.handle.close(EndReason.SHUTDOWN)

    assert session.ended(8).reason is EndReason.SHUTDOWN


def test_a_flood_of_messages_does_not_freeze_the_browser(bare: Stage) -> None:
    noisy = (*browser_stage.LOOPBACK_ONLY, "--enable-logging=stderr", "--v=2")
    session = bare.open(browser_args=noisy)
    session.opened()
    log = Path(bare.places[-1].folder, "browser.log")

    wait_until(lambda: log.stat().st_size > 128 * 1024)
    session.handle.check("still there")

    assert session.wait_for(LoginSeen, count=2).verdict.login.value == "logged_in"
    session.closed()


# -- nothing is left -----------------------------------------------------------------------------------------


def test_a_worker_that_is_killed_takes_its_browser_with_it(bare: Stage) -> None:
    session = bare.open()
    browser = session.opened()
    everybody = [session.handle.pid, browser, *browser_stage.descendants(browser)]

    kill(session.handle.pid)

    ended = session.ended(5)
    assert ended.reason is EndReason.CRASHED
    assert ended.error is not None
    wait_until(lambda: not browser_stage.alive(everybody), 5)


@pytest.mark.parametrize("attempt", [1, 2])  # a worker has two threads: two death signals came half the time
def test_a_login_whose_worker_is_killed_loses_nothing(bare: Stage, attempt: int) -> None:
    del attempt
    session = bare.open("logged_out", kind=SessionKind.LOGIN)
    session.opened()
    profile = Path(bare.places[-1].user_data_dir, "Default")
    wait_until((profile / "Cookies").exists)

    kill(session.handle.pid)

    assert session.ended().reason is EndReason.CRASHED
    assert '"exit_type":"Normal"' in (profile / "Preferences").read_text()


def test_a_login_that_was_interrupted_before_it_is_closed_loses_nothing(bare: Stage) -> None:
    session = bare.open("logged_out", kind=SessionKind.LOGIN)
    pid = session.opened()
    wait_until(lambda: Path(bare.places[-1].user_data_dir, "Default", "Cookies").exists())

    kill(pid, signal.SIGINT)
    session.handle.close(EndReason.CLOSED_BY_COMMAND)

    ended = session.ended()
    assert (ended.exit_status, ended.error) == (0, None)


def test_a_browser_that_somebody_ends_with_a_signal_was_not_closed_by_the_person(bare: Stage) -> None:
    session = bare.open()

    kill(session.opened(), signal.SIGTERM)

    ended = session.ended()
    assert (ended.reason, ended.exit_status, ended.is_clean) == (EndReason.CRASHED, 0, False)
    assert ended.error is not None
    assert "signal" in ended.error.message


def test_a_connection_made_to_the_debugging_port_while_it_was_open_is_cut(bare: Stage, other: Pages) -> None:
    session = bare.open(f"{other.url}/late")
    pid = session.wait_for(Started).pid
    port = browser_stage.debug_port_of(pid, bare.places[-1])
    with socket.create_connection(("127.0.0.1", port), 5) as stranger:
        stranger.sendall(b"GET /json/version HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert stranger.recv(4096).startswith(b"HTTP/1.1 200")
        session.opened()

        assert hears_nothing(stranger)
    session.handle.check("still ours")
    assert session.seen("still ours").verdict.login is Login.LOGGED_IN
    session.closed()


def test_everything_of_a_session_that_listens_does_so_on_loopback_alone(stage: Stage) -> None:
    session = stage.open(SLOW)
    pid = session.wait_for(Started).pid
    port = browser_stage.debug_port_of(pid, stage.places[-1])
    ours = {session.handle.pid, *browser_stage.descendants(session.handle.pid)}

    found = [
        each
        for each in psutil.net_connections("inet")
        if each.pid in ours and each.status == psutil.CONN_LISTEN
    ]

    assert port in {each.laddr.port for each in found}
    assert {each.laddr.ip for each in found} <= {"127.0.0.1", "::1"}
    session.closed()


def hears_nothing(sock: socket.socket) -> bool:
    """Tell whether the other end has hung up."""
    with contextlib.suppress(ConnectionError):
        while sock.recv(4096):
            pass
    return True


def test_signals_for_the_daemon_do_not_end_its_sessions(bare: Stage) -> None:
    session = bare.open()
    session.opened()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        kill(session.handle.pid, number)
    session.handle.check("still there")

    assert session.wait_for(LoginSeen, count=2).token == "still there"
    session.closed()


def test_the_lock_of_the_folder_is_free_only_when_worker_and_owner_have_let_go(bare: Stage) -> None:
    session = bare.open()
    session.opened()
    place = bare.places[-1]

    assert is_locked(place.folder)
    os.close(place.locks[0])
    bare.places.remove(place)
    assert is_locked(place.folder)  # by the worker
    session.closed()
    assert not is_locked(place.folder)


def is_locked(folder: str) -> bool:
    done = subprocess.run(["flock", "--nonblock", f"{folder}/lock", "true"], check=False, timeout=5)
    return done.returncode != 0


@pytest.mark.parametrize("page", ["logged_in", SLOW])
def test_nothing_outlives_an_owner_that_is_killed(url: str, page: str) -> None:
    with browser_stage.owner(url, page=page) as (process, told):
        assert len(told["all"]) > 5

        process.kill()

        wait_until(lambda: not browser_stage.alive(told["all"]), 8, what=lambda: left(told["all"]))


def test_a_stopped_worker_does_not_hold_its_session_when_the_owner_is_killed(url: str) -> None:
    with browser_stage.owner(url) as (process, told):
        kill(psutil.Process(told["browser"]).ppid(), signal.SIGSTOP)

        process.kill()

        wait_until(lambda: not browser_stage.alive(told["all"]), 15, what=lambda: left(told["all"]))


def left(pids: list[int]) -> str:
    return str([psutil.Process(pid).cmdline() for pid in browser_stage.alive(pids)])


def test_nothing_outlives_an_owner_that_is_killed_during_a_login(url: str) -> None:
    with browser_stage.owner(url, page="logged_out", kind="login") as (process, told):
        process.kill()

        wait_until(lambda: not browser_stage.alive(told["all"]), 15, what=lambda: left(told["all"]))
        assert '"exit_type":"Normal"' in (
            Path(told["root"], "s000", "profile", "Default", "Preferences").read_text()
        )


def test_three_sessions_leave_no_process_no_zombie_and_no_descriptor(bare: Stage) -> None:
    def one() -> None:
        session = bare.open()
        session.opened()
        session.closed()
        bare.release(bare.places[-1])

    one()
    before = (descriptors(), browser_stage.family())

    for _ in range(3):
        one()

    # one of `before` may have been on its way out
    wait_until(
        lambda: browser_stage.family().items() <= before[1].items(),
        10,
        what=lambda: str(browser_stage.family()),
    )
    assert descriptors() <= before[0]


def test_a_session_leaves_nothing_outside_its_folder(url: str) -> None:
    common = browsers_in_tmp()
    with browser_stage.set_stage(url) as stage:
        session = stage.open()
        session.opened()
        session.closed()
        stage.release(stage.places[-1])

        found = {str(path.relative_to(stage.root)) for path in stage.root.rglob("*") if path.is_file()}

    assert browsers_in_tmp() <= common
    assert {each for each in found if not each.startswith("state/browser/")} <= {
        each
        for each in found
        if each.startswith(("home/.cache/", "home/.config/", "home/.local/", "home/.pki/"))
    }
    assert [each for each in found if "undetected" in each or "Crash" in each or "chromium" in each] == []


def browsers_in_tmp() -> set[str]:
    return {each.name for each in Path(tempfile.gettempdir()).iterdir() if "hromium" in each.name}


def test_three_sessions_at_once_do_not_disturb_each_other(bare: Stage) -> None:
    sessions = [bare.open() for _ in range(3)]
    pids = [session.opened() for session in sessions]

    kill(pids[0])

    assert sessions[0].ended().reason is EndReason.CRASHED
    assert len(browser_stage.alive(pids[1:])) == 2
    assert [session.closed().reason for session in sessions[1:]] == [EndReason.CLOSED_BY_COMMAND] * 2


def test_two_first_sessions_at_once_make_one_patched_driver_and_remove_an_older_one(url: str) -> None:
    with browser_stage.set_stage(url) as stage:
        old = stage.root / "state" / "browser" / "chromedriver-1.2.3.4-abcdefabcdef"
        old.parent.mkdir(parents=True)
        old.write_text("")
        sessions = [stage.open(), stage.open()]

        for session in sessions:
            session.opened()

        found = list((stage.root / "state" / "browser").iterdir())
        assert sorted(each.name.split("-")[0] for each in found) == ["chromedriver", "launch"]


# -- the persons's own browser -------------------------------------------------------------------------------


def test_ending_a_session_does_not_touch_the_persons_own_browser(bare: Stage) -> None:
    session = bare.open()
    browser = session.opened()
    place = bare.places[-1]
    own = own_browser(bare, f"{place.user_data_dir}2")
    kill(session.handle.pid, signal.SIGSTOP)

    bare.browsers().end(place)

    assert browser_stage.alive([browser]) == []
    assert browser_stage.alive([own.pid]) == [own.pid]
    kill(session.handle.pid)
    session.ended()
    own.kill()
    own.wait()


def test_a_login_into_a_profile_that_is_open_does_not_touch_the_persons_browser(bare: Stage) -> None:
    order = bare.order("logged_out", kind=SessionKind.LOGIN)
    place = bare.place(order, is_master=True)
    own = own_browser(bare, place.user_data_dir)

    session = Recorder(bare.browsers().open(order, place))
    ended = session.ended()
    bare.browsers().end(place)

    assert ended.reason is EndReason.FAILED
    assert browser_stage.alive([own.pid]) == [own.pid]
    own.kill()
    own.wait()


def own_browser(stage: Stage, folder: str) -> subprocess.Popen[bytes]:
    """Start a browser as a person would, with a folder whose name begins like the session's."""
    home = {"HOME": str(stage.home), "PATH": os.environ["PATH"], "TMPDIR": str(stage.home)}
    safe = () if os.geteuid() else ("--no-sandbox",)
    argv = ["chromium", "--headless=new", f"--user-data-dir={folder}", *safe, "--no-first-run", "about:blank"]
    process = subprocess.Popen(
        [*argv, *browser_stage.LOOPBACK_ONLY], env=home, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wait_until(lambda: os.path.lexists(f"{folder}/SingletonLock"))
    return process


def test_ending_a_profile_asks_its_browser_before_it_is_killed(bare: Stage) -> None:
    desktop = dict(bare.make_settings().environ) | {"DBUS_SESSION_BUS_ADDRESS": "unix:path=/nowhere"}
    session = bare.open("logged_out", kind=SessionKind.LOGIN, environ=desktop)
    session.opened()
    wait_until(lambda: Path(bare.places[-1].user_data_dir, "Default", "Cookies").exists())

    bare.browsers().end(session_place(bare))

    ended = session.ended()
    assert (ended.exit_status, ended.is_clean) == (0, True)


def session_place(stage: Stage) -> Workplace:
    return replace(stage.places[-1], is_master=True)


def test_stopping_twice_is_safe(url: str) -> None:
    with browser_stage.set_stage(url) as stage:
        stage.browsers().warm()
        stage.browsers().stop()

        stage.browsers().stop()

        assert browser_stage.mentions(str(stage.root)) == []


def test_a_session_can_be_opened_after_the_nursery_was_killed(bare: Stage) -> None:
    first = bare.open()
    first.opened()
    parent = psutil.Process(first.handle.pid).ppid()

    kill(parent)
    second = bare.open()

    second.opened()
    assert first.closed().reason is EndReason.CLOSED_BY_COMMAND
    second.closed()
