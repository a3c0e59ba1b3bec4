"""D2: the daemon is killed under its browsers. And the stage that all rows with browsers share."""

import contextlib
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator

import psutil

from tests.daemons import Simulator
from tests.e2e.session_stage import SessionStage, carriers, command_line, make_profile, minted, sessions
from tests.integration.browser_stage import Screen
from tests.scorecard.row import CannotRun, Task
from tests.waiting import wait_until

AT_ONCE = 3
GONE_WITHIN_S = 5.0
PATIENCE_S = 60.0


@contextlib.contextmanager
def windows(
    task: Task,
    prepare: Callable[[SessionStage], object] | None = None,
    screen: Screen | None = None,
    **settings: str,
) -> Iterator[SessionStage]:
    """Put up a daemon with a logged-in profile; at the end nothing of it may be left. Keywords: section `session`."""
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    if missing:
        raise CannotRun(f"{', '.join(missing)} missing: apt install chromium chromium-driver")
    simulator = Simulator(task.folder / "simulator")
    try:
        (task.folder / "made").mkdir()
        profile = make_profile(task.folder / "made" / "p", f"{simulator.url}/", minted(simulator))
        with sessions(simulator.url, profile, screen, start=prepare is None, **settings) as stage:
            if prepare is not None:
                prepare(stage)
                stage.daemon.start()
            yield stage
    finally:
        simulator.stop()


def main_process(stage: SessionStage, session: str) -> int | None:
    """Return a session's browser, or the launcher that becomes it; None where there is none yet, or no more."""
    for pid in carriers(stage.clones / session):
        line = command_line(pid)
        if f"--user-data-dir={stage.clones / session}/" in line and " --type=" not in line:
            return pid
    return None


def of_type(stage: SessionStage, session: str, word: str) -> list[int]:
    """Return those processes of a session whose command line has this word, not its browser."""
    return [pid for pid in carriers(stage.clones / session) if word in command_line(pid)]


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return those that live; one that is dead and that nobody has reaped does not."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def everybody(stage: SessionStage) -> list[psutil.Process]:
    """Return the daemon and all that it has started."""
    found = []
    for pid in stage.left():
        with contextlib.suppress(psutil.Error):
            found.append(psutil.Process(pid))
    return found


# -- D2 ------------------------------------------------------------------------------------------------------


def kill_the_daemon(task: Task) -> None:
    """D2. kill -9 of the daemon while three browsers live, at any moment of theirs; then it is started again."""
    chance = random.Random(task.seed)
    gone: list[float] = []
    with windows(task, creation_timeout="60") as stage:
        try:
            for number in range(task.count):
                if task.is_over():
                    break
                gone.append(_kill_once(task, stage, number, chance))
                task.say(f"{number + 1} of {task.count} kills")
        finally:
            if gone:
                what = "seconds from the kill until a new daemon was ready and no browser left (max)"
                task.tally.figures[what] = f"{max(gone):.1f}"


def _kill_once(task: Task, stage: SessionStage, number: int, chance: random.Random) -> float:
    names = [f"d2-{task.seed}-{number}-{each}" for each in range(AT_ONCE)]
    for name in names:
        stage.later("session/open", {"timeout_seconds": 600}, id=name)
    task.tally.orders += AT_ONCE
    found = [str(wait_until(lambda n=name: stage.newest(n), PATIENCE_S, 0.05)) for name in names]  # type: ignore[misc]
    wait_until(lambda: all(main_process(stage, each) for each in found), PATIENCE_S, what="three browsers")
    if number % 2:
        wait_until(lambda: all(stage.state(each) == "open" for each in found), PATIENCE_S, 0.05)
    else:
        threading.Event().wait(chance.uniform(0.0, 0.8))
    how = "kill -9 of the daemon"
    if number % 3 == 2 and (browser := main_process(stage, found[0])) is not None:
        how = "kill -9 of the daemon, a worker stopped"
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            os.kill(psutil.Process(browser).ppid(), signal.SIGSTOP)
    before = everybody(stage)
    stage.daemon.kill()
    killed = time.monotonic()
    task.tally.faults[how] += 1
    stage.daemon.start()
    with contextlib.suppress(AssertionError):
        wait_until(lambda: not alive(before), GONE_WITHIN_S)
    took = time.monotonic() - killed
    survivors = alive(before)
    _check(task, stage, found, [command_line(process.pid)[:150] for process in survivors])
    for process in survivors:  # told above; the next round must not find them
        with contextlib.suppress(psutil.Error):
            process.kill()
    return took


def _check(task: Task, stage: SessionStage, found: list[str], left: list[str]) -> None:
    wrong = [f"{GONE_WITHIN_S:g} s after the start this was left: {line}" for line in left]
    for session in found:
        reasons = [
            stage.end_of(session, PATIENCE_S)["reason"],
            *[end["reason"] for end in stage.ends(session)][1:],
        ]
        if reasons != ["orphaned"]:
            wrong.append(f"session {session} has ended as {reasons}")
    for what, look in (("clones", stage.clone_files), ("the temp folder", stage.temp_files)):
        try:
            wait_until(lambda look=look: look() == [], 10)  # type: ignore[misc]
        except AssertionError:
            wrong.append(f"left in {what}: {look()[:5]}")
    task.tally.wrong += wrong
