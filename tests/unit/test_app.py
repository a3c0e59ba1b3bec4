"""The daemon's life: start in order, stop backwards whatever a part does, and say by the exit code how it was."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.app import EXIT_FAILED, EXIT_OK, EXIT_REFUSED, App, Step
from daemon.domain.errors import StartRefused
from daemon.signals import stop_on_signals
from daemon.worker import supervised_thread

ROOT = Path(__file__).resolve().parents[2]


class Stage:
    """An app whose parts write down what happens to them."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self.app = App(self.stopping)
        self.log: list[str] = []

    def part(
        self,
        name: str,
        start: Callable[[], None] | None = None,
        stop: Callable[[float], bool | None] | None = None,
    ) -> None:
        def on_start() -> None:
            self.log.append(f"start {name}")
            if start is not None:
                start()

        def on_stop(seconds: float) -> bool | None:
            self.log.append(f"stop {name}")
            return stop(seconds) if stop is not None else None

        self.app.steps.append(Step(name, on_start, on_stop))

    def run(self) -> int:
        return self.app.run(self.ready)

    def ready(self) -> None:
        self.log.append("ready")
        self.app.stop()


@pytest.fixture
def stage() -> Stage:
    return Stage()


def refuse(*_args: object) -> None:
    raise StartRefused("the port is taken")


def fail(*_args: object) -> None:
    raise RuntimeError("broken")


def test_parts_start_in_order_and_stop_backwards(stage: Stage) -> None:
    for name in ("a", "b", "c"):
        stage.part(name)

    assert stage.run() == EXIT_OK
    assert stage.log == ["start a", "start b", "start c", "ready", "stop c", "stop b", "stop a"]


def test_a_part_that_raises_on_stop_lets_the_rest_stop(stage: Stage) -> None:
    stage.part("a")
    stage.part("b", stop=fail)
    stage.part("c")

    assert stage.run() == EXIT_FAILED
    assert stage.log[-3:] == ["stop c", "stop b", "stop a"]


def test_a_part_that_does_not_end_in_time_is_a_failure(stage: Stage) -> None:
    stage.part("a", stop=lambda _s: False)
    stage.part("b", stop=lambda _s: True)

    assert stage.run() == EXIT_FAILED


def test_a_refused_start_has_its_own_code(stage: Stage) -> None:
    stage.part("a")
    stage.part("b", start=refuse)
    stage.part("c")

    assert stage.run() == EXIT_REFUSED
    assert stage.log == ["start a", "start b", "stop b", "stop a"]


def test_a_failed_start_stops_what_has_started(stage: Stage) -> None:
    stage.part("a")
    stage.part("b", start=fail)

    assert stage.run() == EXIT_FAILED
    assert stage.log == ["start a", "start b", "stop b", "stop a"]


def test_a_refused_start_whose_parts_do_not_stop_is_a_failure(stage: Stage) -> None:
    stage.part("a", stop=fail)
    stage.part("b", start=refuse)

    assert stage.run() == EXIT_FAILED


def test_the_death_of_a_part_ends_the_daemon_with_a_failure(stage: Stage) -> None:
    stage.part("a", start=lambda: supervised_thread("a", fail, stage.app).start())
    stage.ready = lambda: stage.log.append("ready")  # type: ignore[method-assign]

    assert stage.run() == EXIT_FAILED
    assert stage.log[-1] == "stop a"


def test_a_death_while_starting_starts_nothing_more(stage: Stage) -> None:
    stage.part("a", start=lambda: stage.app.died("a", RuntimeError("broken")))
    stage.part("b")

    assert stage.run() == EXIT_FAILED
    assert stage.log == ["start a", "stop a"]


def test_every_part_gets_a_share_of_one_deadline(stage: Stage) -> None:
    given: list[float] = []
    for name in ("a", "b"):
        stage.part(name, stop=lambda seconds: given.append(seconds))

    stage.run()

    assert len(given) == 2
    assert all(0.5 <= seconds <= 20 for seconds in given)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_daemon_cleanly(stage: Stage, number: signal.Signals) -> None:
    stage.part("a")
    stage.ready = lambda: os.kill(os.getpid(), number)  # type: ignore[method-assign]

    assert stage.run() == EXIT_OK
    assert stage.log == ["start a", "stop a"]


def test_the_former_signal_handlers_are_back_afterwards(stage: Stage) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]

    stage.run()

    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_the_former_signal_handlers_are_back_after_a_refused_start(stage: Stage) -> None:
    before = signal.getsignal(signal.SIGTERM)
    stage.part("a", start=refuse)

    stage.run()

    assert signal.getsignal(signal.SIGTERM) is before


def test_the_former_signal_handlers_are_back_after_an_exception() -> None:
    before = signal.getsignal(signal.SIGTERM)

    with pytest.raises(KeyError), stop_on_signals(threading.Event()):
        raise KeyError

    assert signal.getsignal(signal.SIGTERM) is before


def test_a_thread_that_ends_well_reports_no_death(stage: Stage) -> None:
    thread = supervised_thread("a", lambda: None, stage.app)
    thread.start()
    thread.join(10)

    assert not stage.stopping.is_set()


HANG = """
import logging, threading
from daemon.app import EXIT_OK, leave_hanging_threads
logging.basicConfig()
threading.Thread(target=threading.Event().wait, name="stuck").start()
leave_hanging_threads(EXIT_OK)
"""


def test_a_thread_that_hangs_does_not_keep_the_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANG], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )

    assert done.returncode == EXIT_FAILED
    assert "stuck" in done.stderr


def test_a_signal_that_comes_before_the_sleep_wakes_the_main_thread_all_the_same() -> None:
    # The signal falls between the look at the flag and the sleep: the bell must have kept it.
    stopping = threading.Event()

    with stop_on_signals(stopping) as bell:
        os.kill(os.getpid(), signal.SIGTERM)
        bell.wait()

    assert stopping.is_set()
