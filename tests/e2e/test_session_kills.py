"""Everything of a session can be killed at any moment, and nothing of it stays."""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.brokers import Broker
from tests.daemons import Caller
from tests.e2e.session_stage import SessionStage, caller_at, command_line, retained, sessions
from tests.waiting import wait_until

# Where a session's daemon is killed, and what brings the session there for a while.
STATES = {"cloning": None, "starting": None, "detecting": "slow", "open": None}
GONE_WITHIN_S = 5.0


@dataclass
class Killed:
    """What was seen of a session whose daemon was killed, and of the daemon's next start."""

    stage: SessionStage
    state: str
    session: str
    gone_after_s: float
    replies: list[dict[str, Any]] = field(default_factory=list)

    def ends(self) -> list[dict[str, Any]]:
        return self.stage.ends(self.session)


@pytest.fixture(scope="module", params=STATES)
def killed(request: pytest.FixtureRequest, site: str, logged_in: Path) -> Iterator[Killed]:
    """A daemon is killed while a session is in this state, and started again."""
    state = request.param
    with sessions(site, logged_in) as stage:
        if state == "cloning":
            heavy(stage.master)
        order = {"url": stage.page(page)} if (page := STATES[state]) else {}
        stage.later("session/open", order, id="order-1")
        session = wait_until(lambda: stage.newest("order-1"), every_s=0.001)
        wait_until(lambda: stage.state(session) == state, every_s=0.001, what=state)
        if state == "starting":
            wait_until(lambda: of(stage, session), every_s=0.001, what="a process of the session")
        stage.daemon.kill()
        at = time.monotonic()
        seen = Killed(stage, stage.state(session), session, 0.0)
        wait_until(lambda: not stage.left(), 15, what=lambda: str(stage.left()))
        seen.gone_after_s = time.monotonic() - at
        stage.daemon.start()
        stage.end_of(session)
        seen.replies = [stage.daemon.call("session/open", order, id="order-1") for _ in range(2)]
        yield seen


def heavy(profile: Path) -> None:
    """Make a profile so large that its clone takes a while."""
    for number in range(10):
        folder = profile / "Default" / "IndexedDB" / f"https_{number}.test_0.indexeddb.leveldb"
        folder.mkdir(parents=True)
        for name in range(300):
            (folder / f"{name:06}.ldb").write_bytes(b"x" * 4000)


def test_the_kill_hits_the_state_that_was_meant(killed: Killed, request: pytest.FixtureRequest) -> None:
    assert killed.state in request.node.name


def test_within_seconds_of_the_daemons_death_no_process_is_left(killed: Killed) -> None:
    assert killed.gone_after_s < GONE_WITHIN_S


def test_the_next_start_ends_the_session_as_orphaned_exactly_once(killed: Killed) -> None:
    assert [end["reason"] for end in killed.ends()] == ["orphaned"]


def test_the_next_start_leaves_no_clone(killed: Killed) -> None:
    wait_until(lambda: killed.stage.clone_files() == [], what=lambda: str(killed.stage.clone_files()))


def test_the_death_leaves_nothing_in_the_temp_folder(killed: Killed) -> None:
    assert killed.stage.temp_files() == []


def test_the_order_is_answered_with_the_session_that_it_had_opened(killed: Killed) -> None:
    reply = killed.replies[0]

    about = reply["result"] if killed.state == "open" else reply["error"]
    assert about["session"] == killed.session


def test_the_order_is_answered_the_same_again_and_again(killed: Killed) -> None:
    first, second = killed.replies

    assert first.get("error") == second.get("error")
    assert first.get("result") == second.get("result")


def test_the_order_opens_no_second_session(killed: Killed) -> None:
    assert [found["session"] for found in killed.stage.sessions()] == []


def test_sessions_open_again_after_the_death(killed: Killed) -> None:
    again = killed.stage.opened()

    assert killed.stage.close(again)["reason"] == "closed_by_command"


@dataclass
class Told:
    """What came over MQTT of a session whose daemon was killed, and what a newcomer heard then and later."""

    session: str
    events: list[dict[str, Any]]
    before: dict[str, Any]
    after: dict[str, Any]


@pytest.fixture(scope="module")
def told(site: str, logged_in: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    broker = Broker(tmp_path_factory.mktemp("broker"))
    broker.start()
    with sessions(site, logged_in, broker=broker) as stage:
        caller = caller_at(broker)
        session = caller.call("session/open", {}, within_s=20)["result"]["session"]
        wait_until(lambda: retained(stage.daemon, session))
        before = retained(stage.daemon, session)
        stage.daemon.kill()
        stage.daemon.start()
        wait_until(lambda: ended_in(caller), 10)
        stage.close(stage.opened())
        wait_until(lambda: len(ended_in(caller)) == 2, 10)
        yield Told(session, caller.events(), before, retained(stage.daemon, session))
        caller.close()
    broker.close()


def ended_in(caller: Caller) -> list[dict[str, Any]]:
    return [event for event in caller.events() if event["type"] == "dev.tokd.session.ended"]


def test_the_end_of_a_session_whose_daemon_was_killed_comes_once_over_mqtt(told: Told) -> None:
    ends = [event["data"] for event in told.events if event["type"] == "dev.tokd.session.ended"]

    assert [end["reason"] for end in ends if end["session"] == told.session] == ["orphaned"]


def test_a_newcomer_hears_no_more_of_a_session_whose_daemon_was_killed(told: Told) -> None:
    assert (told.before["state"], told.after) == ("open", {})


# -- parts of it ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stage(site: str, logged_in: Path) -> Iterator[SessionStage]:
    with sessions(site, logged_in) as found:
        yield found


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def of(stage: SessionStage, session: str) -> dict[int, str]:
    """Return the processes that carry a session's folder."""
    return {pid: words for pid, words in stage.left().items() if session in command_line(pid)}


def test_a_killed_browser_is_a_crash(stage: SessionStage) -> None:
    session = stage.opened()

    kill(stage.browser(session))

    ended = stage.end_of(session)
    assert (ended["reason"], ended["exit_status"]) == ("crashed", -9)


def test_a_killed_browser_leaves_nothing(stage: SessionStage) -> None:
    session = stage.opened()

    kill(stage.browser(session))

    stage.end_of(session)
    assert (of(stage, session), stage.clone_files()) == ({}, [])


def test_a_browser_killed_while_it_is_read_is_answered_as_failed(stage: SessionStage) -> None:
    answer = stage.later("session/open", {"url": stage.page("slow")}, id="read-1")
    session = wait_until(lambda: stage.newest("read-1"))
    wait_until(lambda: stage.state(session) == "detecting", every_s=0.005)

    kill(stage.browser(session))

    reply = answer.result(20)
    assert (reply["status"], reply["error"]["code"]) == ("failed", "browser_failed")


def test_a_killed_worker_process_is_a_crash(stage: SessionStage) -> None:
    session = stage.opened()

    kill(worker_of(stage, session))

    assert stage.end_of(session)["reason"] == "crashed"


def test_a_killed_worker_process_takes_everything_of_its_session_with_it(stage: SessionStage) -> None:
    session = stage.opened()

    kill(worker_of(stage, session))

    stage.end_of(session)
    assert (of(stage, session), stage.clone_files()) == ({}, [])


def test_a_killed_worker_process_leaves_the_other_session_alone(stage: SessionStage) -> None:
    first, second = stage.opened(), stage.opened()

    kill(worker_of(stage, first))

    stage.end_of(first)
    assert stage.state(second) == "open"
    assert stage.close(second)["reason"] == "closed_by_command"


def test_a_killed_nursery_takes_no_open_session_with_it(stage: SessionStage) -> None:
    session = stage.opened()

    kill(psutil.Process(worker_of(stage, session)).ppid())
    again = stage.opened()

    assert stage.close(session)["reason"] == "closed_by_command"
    assert stage.close(again)["reason"] == "closed_by_command"


def worker_of(stage: SessionStage, session: str) -> int:
    return psutil.Process(stage.browser(session)).ppid()


# -- the orderly end -----------------------------------------------------------------------------------------


@dataclass
class Stopped:
    """What was seen of a daemon that was told to stop with two sessions open."""

    code: int
    ends: list[list[dict[str, Any]]]
    left: dict[int, str]
    files: list[str]


@pytest.fixture(scope="module")
def stopped(site: str, logged_in: Path) -> Iterator[Stopped]:
    with sessions(site, logged_in) as stage:
        both = [stage.opened(), stage.opened()]
        code = stage.daemon.stop()
        yield Stopped(code, [stage.ends(each) for each in both], stage.left(), stage.clone_files())


def test_a_stopping_daemon_ends_its_sessions_as_shutdown(stopped: Stopped) -> None:
    assert [[end["reason"] for end in ends] for ends in stopped.ends] == [["shutdown"], ["shutdown"]]


def test_a_stopping_daemon_closes_its_browsers_cleanly(stopped: Stopped) -> None:
    assert [ends[0]["exit_status"] for ends in stopped.ends] == [0, 0]


def test_a_daemon_that_stops_with_windows_open_exits_with_0(stopped: Stopped) -> None:
    assert stopped.code == 0


def test_a_stopped_daemon_leaves_no_process(stopped: Stopped) -> None:
    assert stopped.left == {}


def test_a_stopped_daemon_leaves_no_clone(stopped: Stopped) -> None:
    assert stopped.files == []
