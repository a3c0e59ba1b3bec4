"""Numbers about the daemon at work, for whoever shows them: plain counters, no driver and no format."""

import threading
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Tally(StrEnum):
    """What is counted. Labels come from closed lists, never from what callers send."""

    POST_MOVES = "post_moves"  # labels: state before, state after
    INIT_CALLS = "init_calls"  # label: ok, or the fault class
    UPLOAD_BYTES = "upload_bytes"
    REPEATS = "repeats"  # commands that were answered with their stored reply
    LAUNCH_FAILURES = "launch_failures"
    CLOCK_JUMPS = "clock_jumps"
    LEFT_OUT = "left_out"  # answers over MQTT for which there was no room
    HINTS = "hints"  # label: what a webhook has led to


class Timing(StrEnum):
    """What is timed, in seconds."""

    COMMIT = "commit"


class Look(StrEnum):
    """What is looked at when somebody asks."""

    WAL_BYTES = "wal_bytes"
    REDACTIONS = "redactions"
    SAFE_MODE = "safe_mode"
    BROKER = "broker"  # 1: connected; no number: no broker is configured
    DISK_FREE = "disk_free"


BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


@dataclass(frozen=True, slots=True)
class Series:
    """How many observations were at most as long as each of BOUNDS, how many there were, and their sum."""

    within: tuple[int, ...]
    total: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How things stand at a moment, read from the ledger. Times are seconds, moments seconds since 1970."""

    posts: Mapping[str, int]
    due_lag_s: float  # of the oldest post that is due and has not begun
    inbox_open: int
    outbox_pending: int
    outbox_oldest_s: float
    sessions: Mapping[str, int]
    token_expiry: Mapping[str, float]
    last_success: Mapping[str, float] = field(default_factory=dict)
    last_backup: float | None = None


class Figures:
    """Counts and times. Safe from any thread; nothing blocks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[Tally, dict[tuple[str, ...], float]] = {what: {} for what in Tally}
        self._cells = {what: [0] * (len(BOUNDS) + 1) for what in Timing}
        self._sums = dict.fromkeys(Timing, 0.0)
        self._looks: dict[Look, Callable[[], float | None]] = {}

    def count(self, what: Tally, *labels: str, by: float = 1) -> None:
        """Add to a count."""
        with self._lock:
            found = self._counts[what]
            found[labels] = found.get(labels, 0) + by

    def observe(self, what: Timing, seconds: float) -> None:
        """Note how long something took."""
        with self._lock:
            self._cells[what][bisect_left(BOUNDS, seconds)] += 1
            self._sums[what] += seconds

    def watch(self, what: Look, look: Callable[[], float | None]) -> None:
        """Let this be asked whenever somebody wants the number; None is no number. It may come from any thread."""
        self._looks[what] = look

    def counts(self, what: Tally) -> dict[tuple[str, ...], float]:
        """Return the counts by their labels."""
        with self._lock:
            return dict(self._counts[what])

    def series(self, what: Timing) -> Series:
        """Return what was observed."""
        with self._lock:
            cells, seconds = list(self._cells[what]), self._sums[what]
        return Series(tuple(sum(cells[: end + 1]) for end in range(len(BOUNDS))), sum(cells), seconds)

    def look(self, what: Look) -> float | None:
        """Return a number as it is now, None where there is none."""
        found = self._looks.get(what)
        return None if found is None else found()
