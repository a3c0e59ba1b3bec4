"""A row of the scorecard, the task of running it, and what came of it."""

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

HELD, BROKEN, NOT_RUN = "held", "broken", "not run"


class CannotRun(Exception):
    """This machine cannot run the row; the text says what it lacks."""


@dataclass
class Tally:
    """What was done and what it led to. Everything from `lost` on but `uncertain` is trouble."""

    faults: Counter[str] = field(default_factory=Counter)
    cases: int = 0  # tests or rounds
    orders: int = 0
    inits: int = 0
    uncertain: int = 0
    lost: int = 0
    doubled: int = 0
    unreported: int = 0  # doubts without a reason in the ledger, or words that the ledger denies
    integrity: int = 0
    controls: int = 0  # negative controls that were caught
    figures: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def add(self, line: dict[str, Any]) -> None:
        """Add a line of `tests/notes.py`."""
        self.faults.update(line.pop("faults", {}))
        for name, count in line.items():
            setattr(self, name, getattr(self, name) + count)

    def take(self, findings: Any) -> None:
        """Count what the independent reader has found (`tests/crash/ledgers.py`)."""
        self.lost += len(findings.lost)
        self.doubled += len(findings.doubled) + len(findings.second_inits)
        self.unreported += len(findings.wrong_words) + len(findings.unjust_doubts)
        self.integrity += len(findings.broken) + len(findings.wrong_bytes)
        self.uncertain += len(findings.uncertain)
        self.wrong += [f"{name}: {text}" for name, found in findings.wrong.items() for text in found]

    @property
    def is_clean(self) -> bool:
        return not (self.wrong or self.lost or self.doubled or self.unreported or self.integrity)


@dataclass
class Task:
    """One run of a row: a folder of its own, a seed, how many faults are wanted, and until when."""

    folder: Path
    seed: int
    count: int
    deadline: float  # monotonic
    name: str
    tally: Tally = field(default_factory=Tally)
    lock: Lock = field(default_factory=Lock)  # for whoever counts from more than one thread
    _told: float = 0.0

    def part(self, number: int, lanes: int) -> "Task":
        """Return a share of this task, with a folder and a seed of its own; all shares count together."""
        folder, share = self.folder / str(number), self.count // lanes + (number < self.count % lanes)
        folder.mkdir()
        return Task(folder, self.seed + number, share, self.deadline, self.name, self.tally, self.lock)

    def is_over(self) -> bool:
        """Tell whether the time is up; what was done until then counts."""
        return time.monotonic() >= self.deadline

    def say(self, text: str, *, every_s: float = 10.0) -> None:
        """Print a line of progress, not more often than this."""
        if time.monotonic() - self._told >= every_s:
            self._told = time.monotonic()
            print(f"  {self.name}: {text}", flush=True)


def side_by_side(task: Task, lanes: int, run: Callable[[int], None]) -> None:
    """Run this so many times at once, each with its number from 0. Raises what the first of them has raised.

    Most of a row's time is waiting for a process to start: two at once take little longer than one.
    """
    with ThreadPoolExecutor(lanes, thread_name_prefix=task.name) as pool:
        for future in [pool.submit(run, number) for number in range(lanes)]:
            future.result()


Run = Callable[[Task], None]
Environ = Callable[[int, int], dict[str, str]]


@dataclass(frozen=True)
class Row:
    """One promise.

    `run` injects the faults by itself; `tests` are pytest ids that are the row (`environ` gives them the count and
    the seed); a row with neither says in `missing` why it is not run. `full` is how many faults the figure wants.
    """

    id: str
    sentence: str
    figure: str
    tier: str  # C: every run of the suite has it or a sample of it; N: release or weekly
    full: int = 0
    run: Run | None = None
    tests: tuple[str, ...] = ()
    environ: Environ | None = None
    control: tuple[str, ...] = ()  # tests that break the program on purpose and must catch it
    missing: str = ""
    short: int = 0  # how many where nobody asks for another number; 0 means `full`
    note: str = ""
    lanes: int = 1  # in so many processes at once its tests are run, each with its share of the count
    alone: bool = False  # it measures time or memory: no other row beside it

    @property
    def part(self) -> str:
        return self.id[0]


@dataclass
class Result:
    """A row that was run, or the reason why not; one line of the file of results."""

    row: str
    verdict: str
    tally: Tally = field(default_factory=Tally)
    reason: str = ""
    seed: int = 0
    wanted: int = 0
    seconds: float = 0.0
    commit: str = ""
    at: str = ""

    def as_dict(self) -> dict[str, Any]:
        tally = vars(self.tally) | {"faults": dict(self.tally.faults)}  # asdict() would spoil a Counter
        return vars(self) | {"tally": tally}

    @classmethod
    def of(cls, line: dict[str, Any]) -> "Result":
        tally = Tally(**line.pop("tally"))
        tally.faults = Counter(tally.faults)
        return cls(tally=tally, **line)
