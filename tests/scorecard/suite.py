"""Rows that are tests of the suite: pytest runs them in a process of its own, and its report is counted."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from tests.daemons import ROOT
from tests.scorecard.row import Task

if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST_S = 6 * 3600.0


def run_tests(task: Task, tests: "Sequence[str]", environ: dict[str, str] | None = None) -> int:
    """Run the tests, add their counts to the tally, and return how many have passed. Failures are `wrong`."""
    report, notes = task.folder / "report.xml", task.folder / "notes.jsonl"
    report.unlink(missing_ok=True)
    notes.unlink(missing_ok=True)
    argv = [sys.executable, "-m", "pytest", "-v", "--tb=short", "-p", "no:cacheprovider", "-p", "no:randomly"]
    argv.append(f"--hypothesis-seed={task.seed}")
    argv += [f"--junitxml={report}", f"--basetemp={task.folder / 'pytest'}", *tests]
    with (task.folder / "pytest.log").open("w") as log:
        process = subprocess.Popen(
            argv, cwd=ROOT, env=os.environ | (environ or {}) | {"SCORECARD_NOTES": str(notes)}, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        alarm = threading.Timer(
            min(max(task.deadline + 600 - time.monotonic(), 1), LONGEST_S), process.terminate
        )
        alarm.start()
        done = 0
        assert process.stdout is not None
        for line in process.stdout:
            log.write(line)
            done += line.count(" PASSED") + line.count(" FAILED")
            task.say(f"{done} tests done")
        process.wait()
        alarm.cancel()
    with task.lock:
        if notes.exists():
            for line in notes.read_text().splitlines():
                task.tally.add(json.loads(line))
        if not report.exists():
            task.tally.wrong.append(
                f"pytest ended with {process.returncode}: see {task.folder / 'pytest.log'}"
            )
            return 0
        return _read(report, task)


def _read(report: Path, task: Task) -> int:
    passed = 0
    for case in ET.parse(report).getroot().iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        bad = next((child for child in case if child.tag in {"failure", "error", "skipped"}), None)
        if bad is None:
            passed += 1
        else:
            task.tally.wrong.append(f"{name}: {bad.tag}: {(bad.get('message') or '')[:300]}")
    if passed == 0 and not task.tally.wrong:
        task.tally.wrong.append(f"no test was found: {', '.join(task.folder.parts[-1:])}")
    return passed
