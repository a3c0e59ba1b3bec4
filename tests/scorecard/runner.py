"""Runs rows within a time, one after the other or some at once, and writes a line for each as soon as it is over."""

import contextlib
import fcntl
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.daemons import ROOT
from tests.scorecard.row import BROKEN, HELD, NOT_RUN, CannotRun, Result, Row, Task, side_by_side
from tests.scorecard.suite import run_tests


@dataclass
class Runner:
    """`results` is a file of JSON lines; with `again` rows that stand there for this commit are run once more."""

    results: Path
    seed: int = 0
    count: int = 0
    minutes: float = 0.0
    again: bool = False
    jobs: int = 1
    command: tuple[str, ...] = (
        sys.executable,
        "-m",
        "tests.scorecard",
    )  # which runs a row in its own process
    home: Path = Path("/tmp")  # short: the path of a control socket must have less than 108 bytes

    def run(self, rows: Iterable[Row]) -> bool:
        """Run the rows; tell whether none is broken."""
        end = time.monotonic() + self.minutes * 60 if self.minutes else float("inf")
        done = {} if self.again else self._known()
        for name, verdict in done.items():
            print(f"{name}: {verdict} already, at this commit", flush=True)
        left = [row for row in rows if row.id not in done]
        if self.jobs > 1:
            beside = [row for row in left if not row.alone]
            last = [row for row in left if row.alone]
            return self._start(beside, end, self.jobs) & self._start(last, end, 1)
        good = True
        for row in left:
            if _is_late(row, end):
                break
            result = self._run(row, end)
            good &= result.verdict != BROKEN
            self._keep(result)
            print(f"{row.id}: {describe(result)}", flush=True)
        return good

    def _keep(self, result: Result) -> None:
        with self.results.open("a", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # rows run in processes of their own
            file.write(json.dumps(result.as_dict()) + "\n")

    def _start(self, rows: list[Row], end: float, jobs: int) -> bool:
        """Run each row in a process of its own, so many at once. They print, and keep their results, by themselves."""

        def one(row: Row) -> bool:
            if _is_late(row, end):
                return True
            argv = [*self.command, "--row", row.id, "--results", str(self.results)]
            argv += [f"--seed={self.seed}", f"--count={self.count}"]
            if self.minutes:
                argv.append(f"--minutes={max(end - time.monotonic(), 1) / 60}")
            return subprocess.run(argv, check=False, stdin=subprocess.DEVNULL).returncode == 0

        with ThreadPoolExecutor(jobs) as pool:
            return all(list(pool.map(one, rows)))

    def _known(self) -> dict[str, str]:
        """Return the newest verdict of each row that was run at this commit."""
        here = commit()
        found = {result.row: result.verdict for result in read_results(self.results) if result.commit == here}
        return {name: verdict for name, verdict in found.items() if verdict != NOT_RUN}

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


def _is_late(row: Row, end: float) -> bool:
    late = time.monotonic() >= end
    if late:
        print(f"{row.id}: the time is over; run the same again to go on here", flush=True)
    return late


def _carry_out(row: Row, task: Task) -> None:
    if row.run is not None:
        row.run(task)
    if row.tests:
        lanes = row.lanes if task.count >= 20 * row.lanes else 1
        parts = [task.part(number, lanes) for number in range(lanes)] if lanes > 1 else [task]
        side_by_side(task, lanes, lambda number: _run_tests(row, parts[number]))
    if row.control:
        beside = Task(task.folder, task.seed, task.count, task.deadline, f"{row.id} control")
        passed = run_tests(beside, row.control)
        # What the control did to a broken program is no fault of this one's count.
        task.tally.controls += passed
        task.tally.wrong += [f"negative control: {text}" for text in beside.tally.wrong]


def _run_tests(row: Row, task: Task) -> None:
    passed = run_tests(task, row.tests, row.environ(task.count, task.seed) if row.environ else None)
    with task.lock:
        task.tally.cases += passed


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
