"""Workers that hang, lines that are full, letters that wait, a nursery that breaks: no browser is started."""

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
import pytest

from adapters.browser import nursery as nurseries
from adapters.browser.deadline import Deadline
from adapters.browser.handle import Patience, WorkerHandle
from adapters.browser.letters import Check, Close, Extend, Letter, Warm
from adapters.browser.mailbox import Mailbox
from adapters.browser.nursery import Nursery
from adapters.browser.processes import interrupt
from daemon.domain.errors import Code, Rejected
from daemon.domain.session import BrowserEnded, Closing, EndReason, HandedOver
from tests.integration import browser_stage
from tests.waiting import wait_until

PATIENCE = Patience(start_s=0.2, close_s=0.2, slack_s=0.2)
HEEDS_ONCE = """
import signal, sys, threading
def once(number, frame):
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Timer(0.4, go.set).start()
go = threading.Event()
signal.signal(signal.SIGINT, once)
print("up", flush=True)
while not go.wait(0.05): pass
sys.exit(7)
"""


@dataclass
class Worker:
    """A process that does nothing, and a line that would lead to it."""

    process: "subprocess.Popen[bytes]"
    ours: Connection
    theirs: Connection
    cleaned: list[bool] = field(default_factory=list)

    def handle(self, patience: Patience = PATIENCE) -> WorkerHandle:
        return WorkerHandle(self.ours, self.process.pid, self.clean_up, patience)

    def clean_up(self) -> None:
        self.cleaned.append(self.process.poll() is not None)


@pytest.fixture
def worker() -> Iterator[Worker]:
    ours, theirs = (Connection(each.detach()) for each in socket.socketpair())
    process = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    found = Worker(process, ours, theirs)
    try:
        yield found
    finally:
        process.kill()
        process.wait()
        theirs.close()
        ours.close()


def told(ended: object) -> tuple[EndReason, str]:
    assert isinstance(ended, BrowserEnded)
    assert ended.error is not None
    return ended.reason, ended.error.message


# -- a worker that hangs -------------------------------------------------------------------------------------


def test_a_worker_that_never_says_a_word_is_killed_and_cleaned_up_after(worker: Worker) -> None:
    news = list(worker.handle().news())

    assert [told(each) for each in news] == [(EndReason.CRASHED, "the session's worker process hung")]
    assert worker.process.poll() == -signal.SIGKILL
    assert worker.cleaned == [True]


def test_a_stopped_worker_does_not_outlive_the_end_of_the_sessions_time(worker: Worker) -> None:
    handle = worker.handle(Patience(start_s=60, close_s=60, slack_s=0.2))
    worker.theirs.send(HandedOver(0.3))
    worker.process.send_signal(signal.SIGSTOP)

    news = list(handle.news())

    assert told(news[-1])[0] is EndReason.CRASHED
    assert worker.process.poll() == -signal.SIGKILL


def test_a_stopped_worker_that_is_asked_to_close_is_killed_and_the_reason_is_kept(worker: Worker) -> None:
    handle = worker.handle(Patience(start_s=60, close_s=0.2, slack_s=0.2))
    worker.theirs.send(HandedOver(60))
    worker.process.send_signal(signal.SIGSTOP)
    handle.close(EndReason.SHUTDOWN)
    handle.close(EndReason.CLOSED_BY_COMMAND)

    news = list(handle.news())

    assert told(news[-1]) == (EndReason.SHUTDOWN, "the session's worker process hung")


def test_an_extension_puts_off_the_daemons_own_deadline_too(worker: Worker) -> None:
    handle = worker.handle(Patience(start_s=60, close_s=0.1, slack_s=0.1))
    worker.theirs.send(HandedOver(0.2))
    news = handle.news()
    assert isinstance(next(news), HandedOver)

    handle.extend(1.0)

    started = time.monotonic()
    assert isinstance(next(news), BrowserEnded)
    assert time.monotonic() - started > 0.9


def test_a_worker_that_closes_its_browser_has_the_time_for_it(worker: Worker) -> None:
    handle = worker.handle(Patience(start_s=0.1, close_s=60, slack_s=60))
    ended = BrowserEnded(reason=EndReason.TIMEOUT)
    worker.theirs.send(Closing(EndReason.TIMEOUT))
    threading.Timer(0.4, end_with, (worker, ended)).start()

    assert list(handle.news()) == [Closing(EndReason.TIMEOUT), ended]


def end_with(worker: Worker, news: BrowserEnded) -> None:
    worker.theirs.send(news)
    worker.process.kill()
    worker.process.wait()


def test_half_a_message_of_a_stopped_worker_holds_nobody_up(worker: Worker) -> None:
    handle = worker.handle(Patience(start_s=60, close_s=60, slack_s=0.3))
    os.write(worker.theirs.fileno(), b"\0\0\0\x64abc")

    assert told(list(handle.news())[-1])[1] == "the session's worker process hung"


def test_a_worker_that_has_died_is_not_said_to_hang(worker: Worker) -> None:
    handle = worker.handle(Patience(start_s=60, close_s=60))
    worker.process.kill()
    worker.process.wait()
    worker.theirs.close()

    assert told(list(handle.news())[-1]) == (EndReason.CRASHED, "the session's worker process ended")


def test_writing_to_a_stopped_worker_blocks_nobody(worker: Worker) -> None:
    handle = worker.handle()
    started = time.monotonic()

    for _ in range(60):  # far more than the line holds
        handle.check("x" * 8000)
    handle.extend(5)
    handle.close(EndReason.SHUTDOWN)

    assert time.monotonic() - started < 5
    assert wait_until(worker.theirs.poll)
    assert isinstance(worker.theirs.recv(), Check)  # what it got, it got whole


# -- what the worker hears -----------------------------------------------------------------------------------


def test_an_extension_that_waits_behind_a_question_is_heeded_at_once() -> None:
    ours, theirs = (Connection(each.detach()) for each in socket.socketpair())
    mailbox, deadline = Mailbox(theirs), Deadline(0)
    deadline.set(0)
    mailbox.heed_extensions(deadline.set)
    mailbox.start()

    letters: tuple[Letter, ...] = (Check("a long one"), Extend(60))
    for letter in letters:
        ours.send(letter)

    wait_until(lambda: not deadline.has_come())
    assert mailbox.take() == Check("a long one")
    assert mailbox.take() is None
    ours.send(Close(EndReason.SHUTDOWN))
    wait_until(lambda: mailbox.closing)
    ours.close()
    wait_until(lambda: mailbox.is_orphaned)
    theirs.close()


def test_a_deadline_is_announced_once_each_time_that_it_is_set() -> None:
    deadline = Deadline(60)
    deadline.set(60.001)
    first = wait_until(deadline.take_warning)

    assert first == pytest.approx(60, abs=0.5)
    assert deadline.take_warning() is None


def test_a_time_that_is_shorter_than_the_warning_is_announced_as_it_begins() -> None:
    deadline = Deadline(60)
    deadline.set(30)

    assert deadline.take_warning() == pytest.approx(30, abs=0.5)
    assert deadline.take_warning() is None
    assert 29 < deadline.seconds_to_next() <= 30


def test_no_time_is_announced_where_no_warning_is_wanted() -> None:
    deadline = Deadline(0)
    deadline.set(30)

    assert deadline.take_warning() is None
    assert 29 < deadline.seconds_to_next() <= 30


# -- interrupting --------------------------------------------------------------------------------------------


def test_a_browser_that_is_closing_is_not_interrupted_a_second_time() -> None:
    with subprocess.Popen([sys.executable, "-c", HEEDS_ONCE], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        pidfd = os.pidfd_open(process.pid)

        assert not interrupt(process.pid, pidfd, 0.1)
        assert interrupt(process.pid, pidfd, 5)

        os.close(pidfd)
        assert process.wait() == 7


def test_a_browser_that_never_heeds_an_interruption_is_waited_for_no_longer_than_said() -> None:
    ignoring = (
        "import signal; signal.signal(signal.SIGINT, signal.SIG_DFL); print(flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", ignoring], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        pidfd = os.pidfd_open(process.pid)

        assert not interrupt(process.pid, pidfd, 0.2)

        os.close(pidfd)
        assert process.poll() is None
        process.kill()


# -- the nursery ---------------------------------------------------------------------------------------------


def test_a_nursery_that_breaks_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nurseries, "_START", "raise ImportError('no module named webbing')")
    nursery = Nursery(tmp_path / "browser")
    with browser_stage.set_stage("") as stage:
        programs = stage.browsers()._programs

        with pytest.raises(Rejected, match="no module named webbing"):
            nursery.employ(Warm(settings=stage.make_settings(), driver=programs.driver()), (), 5)

    log = tmp_path / "browser" / "nursery.log"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    nursery.stop()


def test_a_nursery_that_takes_too_long_is_a_session_that_is_not_open_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nurseries, "_START", "import signal; signal.pause()")
    nursery = Nursery(tmp_path / "browser")
    with browser_stage.set_stage("") as stage:
        programs = stage.browsers()._programs

        with pytest.raises(Rejected, match=r"not start within 0.1 s") as caught:
            nursery.employ(Warm(settings=stage.make_settings(), driver=programs.driver()), (), 0.1)

    assert caught.value.code is Code.SESSION_TIMEOUT
    nursery.stop()


def test_the_nursery_knows_no_settings_and_no_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKD_MQTT__PASSWORD", "hunter2")
    monkeypatch.setenv("SE_DEBUG", "1")
    nursery = Nursery(tmp_path)
    before = set(psutil.Process().children())
    nursery.start()

    (child,) = set(psutil.Process().children()) - before
    found = wait_until(lambda: child.environ() if "-I" in child.cmdline() else None)

    assert found
    assert [name for name in found if name.startswith(("TOKD_", "SE_"))] == []
    nursery.stop()
