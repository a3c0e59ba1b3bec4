"""Runs rows one after the other within a time, and writes a line for each as soon as it is over."""

import contextlib
import json
import random
import shutil
import subprocess
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.daemons import ROOT
from tests.scorecard.row import BROKEN, HELD, NOT_RUN, CannotRun, Result, Row, Task
from tests.scorecard.suite import run_tests


@dataclass
class Runner:
    """`results` is a file of JSON lines; with `again` rows that stand there for this commit are run once more."""

    results: Path
    seed: int = 0
    count: int = 0
    minutes: float = 0.0
    again: bool = False
    home: Path = Path("/tmp")  # short: the path of a control socket must have less than 108 bytes

    def run(self, rows: Iterable[Row]) -> bool:
        """Run the rows; tell whether none is broken."""
        end = time.monotonic() + self.minutes * 60 if self.minutes else float("inf")
        done = {} if self.again else {result.row: result for result in self._known()}
        good = True
        for row in rows:
            if row.id in done and done[row.id].verdict != NOT_RUN:
                print(f"{row.id}: {done[row.id].verdict} already, at this commit", flush=True)
                continue
            if time.monotonic() >= end:
                print(f"{row.id}: the time is over; run the same again to go on here", flush=True)
                break
            result = self._run(row, end)
            good &= result.verdict != BROKEN
            with self.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(result.as_dict()) + "\n")
            print(f"{row.id}: {describe(result)}", flush=True)
        return good

    def _known(self) -> Iterator[Result]:
        return (result for result in read_results(self.results) if result.commit == commit())

    def _run(self, row: Row, end: float) -> Result:
        seed = self.seed or random.SystemRandom().randrange(1, 10**6)
        wanted = self.count or row.short or row.full
        result = Result(
            row.id, NOT_RUN, seed=seed, wanted=wanted, commit=commit(), at=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        )  # fmt: skip
        if row.missing:
            result.reason = row.missing
            return result
        print(f"{row.id}: {row.sentence} (seed {seed})", flush=True)
        folder = Path(tempfile.mkdtemp(prefix=f"tokd-{row.id}-", dir=self.home))
        task = Task(folder, seed, wanted, end, row.id)
        result.tally, begun = task.tally, time.monotonic()
        try:
            _carry_out(row, task)
            result.verdict = HELD if task.tally.is_clean else BROKEN
            result.reason = row.note
        except CannotRun as error:
            result.reason = str(error)
        except (Exception, KeyboardInterrupt) as error:
            # What was done until here counts, and so does what ended it.
            result.verdict = BROKEN
            task.tally.wrong.append(f"{type(error).__name__}: {error}"[:2000])
            traceback.print_exc()
            if isinstance(error, KeyboardInterrupt):
                raise
        finally:
            result.seconds = round(time.monotonic() - begun, 1)
            if result.verdict != BROKEN:
                with contextlib.suppress(OSError):
                    shutil.rmtree(folder)
            else:
                print(f"  {row.id}: what is left of it is in {folder}", flush=True)
        return result


def _carry_out(row: Row, task: Task) -> None:
    if row.run is not None:
        row.run(task)
    if row.tests:
        task.tally.cases += run_tests(
            task, row.tests, row.environ(task.count, task.seed) if row.environ else None
        )
    if row.control:
        beside = Task(task.folder, task.seed, task.count, task.deadline, f"{row.id} control")
        passed = run_tests(beside, row.control)
        # What the control did to a broken program is no fault of this one's count.
        task.tally.controls += passed
        task.tally.wrong += [f"negative control: {text}" for text in beside.tally.wrong]


def read_results(path: Path) -> list[Result]:
    """Return the lines of a file of results, oldest first."""
    if not path.exists():
        return []
    return [Result.of(json.loads(line)) for line in path.read_text().splitlines() if line.strip()]


def commit() -> str:
    """Return the commit, with a + where the program's own files have changed since."""
    asked = ("git", "-C", str(ROOT))
    told = subprocess.run(
        [*asked, "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True, check=True
    )
    changed = subprocess.run(
        [*asked, "status", "--porcelain", "--", "daemon", "adapters", "config"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return told.stdout.strip() + ("+" if changed.stdout.strip() else "")


def describe(result: Result) -> str:
    """Return a line about a result."""
    if result.verdict == NOT_RUN:
        return f"not run: {result.reason}"
    tally = result.tally
    faults = (
        ", ".join(f"{count} {kind}" for kind, count in sorted(tally.faults.items())) or f"{tally.cases} cases"
    )
    figures = "".join(f", {name} {value}" for name, value in tally.figures.items())
    trouble = "".join(f"\n    {text}" for text in tally.wrong[:10])
    return (
        f"{result.verdict}: {faults}; orders {tally.orders}, inits {tally.inits}, lost {tally.lost}, doubled "
        f"{tally.doubled}, UNCERTAIN {tally.uncertain}, unreported {tally.unreported}, integrity {tally.integrity}"
        f"{figures}; {result.seconds} s{trouble}"
    )
