"""The watchdog is fed while every essential loop turns, and only then; what goes wrong outside is told, not punished."""

from concurrent.futures import Future
from typing import Any

import pytest

from daemon.domain.reports import HealthWanted
from daemon.pulse import Pulse, status_line
from tests.fakes.clock import FakeClock

HEALTHY = {"phase": "ready", "degraded": [], "posts": {"due": 0, "published": 2}}


class Manager:
    """systemd, which writes down what it hears."""

    def __init__(self, watchdog_s: float | None = 10, *, is_listening: bool = True) -> None:
        self.watchdog_s = watchdog_s
        self.is_listening = is_listening
        self.heard: list[str] = []

    def starting(self, what: str, within_s: float) -> None:
        self.heard.append(f"starting {what} {within_s:.0f}")

    def ready(self, status: str) -> None:
        self.heard.append(f"ready {status}")

    def status(self, status: str) -> None:
        self.heard.append(f"status {status}")

    def alive(self) -> None:
        self.heard.append("alive")

    def reloading(self) -> None:
        self.heard.append("reloading")

    def stopping(self) -> None:
        self.heard.append("stopping")


class Asked:
    """The bus, as far as the pulse knows it: it answers when the test wants it to."""

    def __init__(self) -> None:
        self.open: list[Future[Any]] = []

    def promise(self, report: object) -> "Future[Any]":
        assert isinstance(report, HealthWanted)
        self.open.append(Future())
        return self.open[-1]


class Stage:
    def __init__(self, watchdog_s: float | None = 10, *, is_listening: bool = True) -> None:
        self.manager = Manager(watchdog_s, is_listening=is_listening)
        self.clock = FakeClock()
        self.ages = {"bus": 0.0, "timer": 0.0}
        self.stacks_in: list[float] = []
        self.pulse = Pulse(self.manager, self.clock, self.stacks_in.append)
        self.bus = Asked()
        self.woken = 0
        self.pulse.watch("timer", lambda: self.clock.monotonic() - self.ages["timer"], 5.0)
        self.pulse.join(self.bus, lambda: self.clock.monotonic() - self.ages["bus"], self.wake)  # type: ignore[arg-type]

    def wake(self) -> None:
        self.woken += 1

    def turn_after(self, seconds: float) -> float | None:
        self.clock.advance(seconds)
        return self.pulse.turn()


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_the_watchdog_is_fed_at_half_its_period(stage: Stage) -> None:
    assert stage.pulse.turn() == 5
    assert stage.turn_after(2) == 3
    assert stage.turn_after(3) == 5

    assert stage.manager.heard == ["alive", "alive"]


def test_a_loop_that_hangs_is_named_and_the_watchdog_is_not_fed(stage: Stage) -> None:
    stage.ages["timer"] = 6

    stage.pulse.turn()

    assert stage.manager.heard == ["status hanging: timer"]


def test_a_bus_may_be_silent_for_one_period_of_the_watchdog(stage: Stage) -> None:
    stage.ages["bus"] = 10
    stage.pulse.turn()
    stage.ages["bus"] = 11
    stage.turn_after(5)

    assert stage.manager.heard == ["alive", "status hanging: bus"]


def test_the_stacks_are_to_be_printed_some_seconds_after_the_watchdogs_signal(stage: Stage) -> None:
    stage.pulse.turn()
    stage.turn_after(5)
    stage.ages["timer"] = 6
    stage.turn_after(5)

    assert stage.stacks_in == [15, 15], "put off at each sign of life, and at nothing else"


def test_without_a_watchdog_no_stacks_are_printed() -> None:
    stage = Stage(None)
    stage.pulse.turn()

    assert stage.stacks_in == []


def test_a_loop_that_turns_again_is_fed_for_again(stage: Stage) -> None:
    stage.ages["timer"] = 6
    stage.pulse.turn()
    stage.ages["timer"] = 0
    stage.turn_after(5)

    assert stage.manager.heard[-1] == "alive"


def test_the_status_is_what_the_health_answer_says(stage: Stage) -> None:
    stage.pulse.turn()
    stage.bus.open[0].set_result(HEALTHY)
    assert stage.woken == 1
    stage.pulse.turn()

    assert stage.manager.heard[-1] == "status ready; posts: 2 published"


def test_trouble_outside_is_told_and_the_watchdog_is_fed_all_the_same(stage: Stage) -> None:
    stage.pulse.turn()
    stage.bus.open[0].set_result(HEALTHY | {"phase": "degraded", "degraded": ["mqtt", "paused"]})
    stage.turn_after(5)

    assert stage.manager.heard[-2:] == ["status degraded (mqtt, paused); posts: 2 published", "alive"]


def test_a_bus_that_does_not_answer_is_asked_once(stage: Stage) -> None:
    for _ in range(4):
        stage.turn_after(5)

    assert len(stage.bus.open) == 1


def test_a_question_that_fails_is_asked_again(stage: Stage) -> None:
    stage.pulse.turn()
    stage.bus.open[0].set_exception(RuntimeError("the disk is full"))
    stage.turn_after(5)

    assert len(stage.bus.open) == 2


def test_the_main_thread_may_sleep_for_ever_where_nobody_listens() -> None:
    stage = Stage(is_listening=False)

    assert stage.pulse.turn() is None
    assert stage.bus.open == []


def test_the_status_is_told_without_a_watchdog_too() -> None:
    stage = Stage(watchdog_s=None)

    assert stage.pulse.turn() == 30
    assert len(stage.bus.open) == 1


def test_a_status_counts_the_posts() -> None:
    view = {"phase": "ready", "degraded": [], "posts": {"due": 1, "uploading": 0}}

    assert status_line(view) == "ready; posts: 1 due"
