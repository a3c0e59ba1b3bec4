"""A clock that stands still until it is moved, an alarm that rings when it is told to, and names in a row."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from daemon.domain.ids import PostId, SessionId, TaskId

START = datetime(2026, 12, 1, 9, 0, tzinfo=UTC)


class FakeClock:
    """Implements ports.Clock. `advance` moves both hands, `step` the wall clock alone."""

    def __init__(self, now: datetime = START) -> None:
        self._now = now
        self._monotonic = 1000.0
        self._guard = threading.Lock()

    def now(self) -> datetime:
        with self._guard:
            return self._now

    def monotonic(self) -> float:
        with self._guard:
            return self._monotonic

    def advance(self, by: timedelta | float) -> None:
        found = by if isinstance(by, timedelta) else timedelta(seconds=by)
        with self._guard:
            self._now += found
            self._monotonic += found.total_seconds()

    def advance_to(self, instant: datetime) -> None:
        self.advance(max(timedelta(), instant - self.now()))

    def step(self, by: timedelta) -> None:
        with self._guard:
            self._now += by


class ManualTimer:
    """Implements ports.Timer: remembers the armed date; `ring` and `sweep` make the calls."""

    def __init__(self) -> None:
        self.at: datetime | None = None
        self.armings: list[datetime | None] = []
        self._wake: Callable[[], None] | None = None
        self._sweep: Callable[[], None] | None = None

    def start(self, wake: Callable[[], None], sweep: Callable[[], None]) -> None:
        self._wake, self._sweep = wake, sweep

    def arm(self, at: datetime | None) -> None:
        self.at = at
        self.armings.append(at)

    def stop(self) -> None:
        self._wake = self._sweep = None

    def ring(self) -> None:
        if self._wake is not None:
            self._wake()

    def sweep(self) -> None:
        if self._sweep is not None:
            self._sweep()


class CountedIds:
    """Implements ports.Ids: p_1, p_2, … and boot1, boot2, … over all restarts of a test."""

    def __init__(self) -> None:
        self._posts = 0
        self._boots = 0
        self._sessions = 0
        self._tasks = 0
        self._tokens = 0
        self._guard = threading.Lock()

    def post(self) -> PostId:
        with self._guard:
            self._posts += 1
            return PostId(f"p_{self._posts:05d}")

    def task(self) -> TaskId:
        with self._guard:
            self._tasks += 1
            return TaskId(f"t_{self._tasks:05d}")

    def session(self) -> SessionId:
        with self._guard:
            self._sessions += 1
            return SessionId(f"{self._sessions:016x}")

    def token(self) -> str:
        with self._guard:
            self._tokens += 1
            return f"k_{self._tokens:016x}"

    def boot(self) -> str:
        with self._guard:
            self._boots += 1
            return f"boot{self._boots}"
