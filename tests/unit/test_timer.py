"""The alarm clock: it calls at the date, it never sleeps past its cap, and it stops when told."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from adapters.scheduler import ApschedulerTimer, RandomIds, SystemClock
from daemon.domain.errors import AdapterFailed
from daemon.domain.ids import NAME

DEADLINE_S = 10


class Bell:
    """Counts its rings and lets a test wait for them."""

    def __init__(self) -> None:
        self.count = 0
        self._changed = threading.Condition()

    def __call__(self) -> None:
        with self._changed:
            self.count += 1
            self._changed.notify_all()

    def wait_for(self, count: int) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self.count >= count, DEADLINE_S)


@pytest.fixture
def wake() -> Bell:
    return Bell()


@pytest.fixture
def sweep() -> Bell:
    return Bell()


@pytest.fixture
def make() -> Iterator[Callable[..., ApschedulerTimer]]:
    made: list[ApschedulerTimer] = []

    def build(sweep_s: float = 300, cap_s: float = 30) -> ApschedulerTimer:
        made.append(ApschedulerTimer(sweep_s, cap_s))
        return made[-1]

    yield build
    for timer in made:
        timer.stop()


Make = Callable[..., ApschedulerTimer]


def soon(seconds: float = 0.05) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def test_it_wakes_at_the_date_and_not_before(make: Make, wake: Bell, sweep: Bell) -> None:
    timer = make()
    timer.start(wake, sweep)
    at = soon()

    timer.arm(at)

    assert wake.wait_for(1)
    assert datetime.now(UTC) >= at


def test_a_date_in_the_past_wakes_at_once(make: Make, wake: Bell, sweep: Bell) -> None:
    timer = make()
    timer.start(wake, sweep)

    timer.arm(datetime(2020, 1, 1, tzinfo=UTC))

    assert wake.wait_for(1)


def test_a_date_armed_before_the_start_is_kept(make: Make, wake: Bell, sweep: Bell) -> None:
    timer = make()
    timer.arm(soon())

    timer.start(wake, sweep)

    assert wake.wait_for(1)


def test_a_new_date_replaces_the_old_one(make: Make, wake: Bell, sweep: Bell) -> None:
    timer = make()
    timer.start(wake, sweep)
    timer.arm(soon(3600))

    timer.arm(soon())

    assert wake.wait_for(1)


def test_a_removed_date_does_not_wake(make: Make, wake: Bell, sweep: Bell) -> None:
    timer = make()
    timer.start(wake, sweep)
    timer.arm(soon(0.1))

    timer.arm(None)
    timer.arm(soon(0.3))

    assert wake.wait_for(1)
    timer.stop()
    assert wake.count == 1


def test_one_date_wakes_once(make: Make, wake: Bell, sweep: Bell) -> None:
    timer = make()
    timer.start(wake, sweep)
    at = soon()

    for _ in range(1000):
        timer.arm(at)

    assert wake.wait_for(1)
    timer.stop()
    assert wake.count == 1


def test_a_date_that_was_reached_can_be_armed_again(make: Make, wake: Bell, sweep: Bell) -> None:
    timer = make()
    timer.start(wake, sweep)
    at = soon()
    timer.arm(at)
    assert wake.wait_for(1)

    timer.arm(at)

    assert wake.wait_for(2)


def test_a_call_may_arm_the_next_date(make: Make, sweep: Bell) -> None:
    timer = make()
    bell = Bell()

    def wake() -> None:
        bell()
        timer.arm(soon(0.01))

    timer.start(wake, sweep)
    timer.arm(soon(0.01))

    assert bell.wait_for(20)


def test_many_threads_may_arm_while_it_rings(make: Make, sweep: Bell) -> None:
    timer = make(cap_s=0.01)
    bell = Bell()
    done = threading.Event()

    def wake() -> None:
        bell()
        timer.arm(soon(0.001))

    def arm() -> None:
        while not done.is_set():
            timer.arm(soon(0.001))
            timer.arm(None)

    timer.start(wake, sweep)
    threads = [threading.Thread(target=arm) for _ in range(4)]
    for thread in threads:
        thread.start()
    rang = bell.wait_for(50)
    done.set()
    for thread in threads:
        thread.join(DEADLINE_S)

    assert rang
    assert not any(thread.is_alive() for thread in threads)


def test_it_wakes_without_a_date_as_often_as_the_cap_says(make: Make, wake: Bell, sweep: Bell) -> None:
    make(cap_s=0.02).start(wake, sweep)

    assert wake.wait_for(5)
    assert sweep.count == 0


def test_it_sweeps_at_its_interval(make: Make, wake: Bell, sweep: Bell) -> None:
    make(sweep_s=0.02).start(wake, sweep)

    assert sweep.wait_for(3)
    assert wake.count == 0


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(timedelta(hours=-1), id="an hour back"),
        pytest.param(timedelta(hours=1), id="an hour forward"),
        pytest.param(timedelta(days=365 * 50), id="fifty years forward"),
    ],
)
def test_it_goes_on_waking_after_the_clock_was_set(
    make: Make, wake: Bell, sweep: Bell, step: timedelta
) -> None:
    with time_machine.travel(datetime(2026, 10, 1, 12, tzinfo=UTC)) as traveller:
        make(cap_s=0.05).start(wake, sweep)
        assert wake.wait_for(1)

        traveller.move_to(datetime(2026, 10, 1, 12, tzinfo=UTC) + step)

        assert wake.wait_for(wake.count + 4)


def test_a_clock_step_over_the_date_is_noticed_within_the_cap(make: Make, wake: Bell, sweep: Bell) -> None:
    reached: list[datetime] = []

    def note() -> None:
        reached.append(datetime.now(UTC))
        wake()

    with time_machine.travel(datetime(2026, 10, 1, 12, tzinfo=UTC)) as traveller:
        timer = make(cap_s=0.2)
        timer.start(note, sweep)
        timer.arm(datetime(2026, 10, 1, 13, tzinfo=UTC))

        traveller.move_to(datetime(2026, 10, 1, 13, tzinfo=UTC))

        assert wake.wait_for(2)
        assert reached[-1] >= datetime(2026, 10, 1, 13, tzinfo=UTC)


def test_a_call_that_fails_does_not_end_the_alarm(make: Make, sweep: Bell) -> None:
    bell = Bell()

    def wake() -> None:
        bell()
        raise RuntimeError("the queue is gone")

    make(cap_s=0.02).start(wake, sweep)

    assert bell.wait_for(3)


def test_a_time_without_a_zone_is_refused(make: Make) -> None:
    with pytest.raises(ValueError, match="no zone"):
        make().arm(datetime(2026, 10, 1, 12))  # noqa: DTZ001 - what is refused


def test_stop_is_safe_before_start_and_twice(make: Make, wake: Bell, sweep: Bell) -> None:
    timer = make()
    timer.stop()
    timer.start(wake, sweep)

    timer.stop()
    timer.stop()


def test_nothing_is_called_after_stop(make: Make, wake: Bell, sweep: Bell) -> None:
    timer = make(cap_s=0.02)
    timer.start(wake, sweep)
    assert wake.wait_for(1)
    before = {thread.name for thread in threading.enumerate()}

    timer.stop()
    timer.arm(datetime(2020, 1, 1, tzinfo=UTC))

    assert "APScheduler" in before
    assert "APScheduler" not in {thread.name for thread in threading.enumerate()}


def test_starting_twice_is_refused(make: Make, wake: Bell, sweep: Bell) -> None:
    timer = make()
    timer.start(wake, sweep)

    with pytest.raises(AdapterFailed):
        timer.start(wake, sweep)


def test_the_clock_is_aware_and_its_seconds_never_go_back() -> None:
    clock = SystemClock()

    assert clock.now().utcoffset() == timedelta(0)
    assert clock.monotonic() <= clock.monotonic() <= time.monotonic()


def test_new_ids_are_names_that_do_not_repeat() -> None:
    ids = RandomIds()

    posts = {ids.post() for _ in range(1000)}

    assert len(posts) == 1000
    assert all(post.startswith("p_") and len(post) == 14 and NAME.fullmatch(post) for post in posts)
    assert NAME.fullmatch(ids.boot())


@pytest.mark.parametrize("step", [timedelta(hours=-1), timedelta(minutes=5)])
def test_a_step_of_the_clock_is_counted_once(sweep: Bell, step: timedelta) -> None:
    jumps, wake = Bell(), Bell()
    timer = ApschedulerTimer(cap_s=0.05, on_jump=jumps)
    with time_machine.travel(datetime(2026, 10, 1, 12, tzinfo=UTC)) as traveller:
        timer.start(wake, sweep)
        assert wake.wait_for(2)
        assert jumps.count == 0

        traveller.move_to(datetime(2026, 10, 1, 12, tzinfo=UTC) + step)

        assert jumps.wait_for(1)
        assert wake.wait_for(wake.count + 3)
        timer.stop()  # before the journey ends, which is a step, too
    assert jumps.count == 1
