"""A6: the disk is full."""

import contextlib
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.crash.campaign import SMALL
from tests.crash.ledgers import FINAL, Books
from tests.crash.stage import Stage
from tests.scorecard.row import CannotRun, Task
from tests.waiting import wait_until

REFUSED_WITHIN_S = 2.0
RESUMES_WITHIN_S = 30.0


@contextlib.contextmanager
def small_disk(place: Path, megabytes: int) -> Iterator[Path]:
    """Give a file system of so many megabytes. Raises CannotRun where it cannot be mounted."""
    place.mkdir(parents=True)
    argv = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotRun(f"no small file system can be mounted here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


class FullDisk:
    """One daemon whose state lies on a small disk, one post of it, and a file that takes all the room."""

    def __init__(self, task: Task, stage: Stage, folder: Path) -> None:
        self.task, self.stage = task, stage
        self.daemon = stage.daemon(folder)
        self.media, self.order = stage.clip(self.daemon, SMALL)
        self.ballast = self.daemon.state_dir / "ballast"
        self.post = ""

    def fill(self) -> None:
        with contextlib.suppress(OSError), self.ballast.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        self.task.tally.faults["disk full"] += 1

    def give_room(self) -> None:
        self.ballast.unlink()

    def try_order(self, at: str = "now") -> dict[str, Any] | None:
        args = {"account": "demo", "media": self.media, "privacy": "SELF_ONLY", "at": at}
        reply = self.daemon.call_or_none("post/schedule", args, id=self.order.command)
        if reply is not None and reply["status"] == "done":
            self.post = reply["result"]["post"]
        return reply

    def must_order(self, at: str = "now") -> None:
        wait_until(
            lambda: self.try_order(at) and self.post, RESUMES_WITHIN_S, every_s=0.2, what="the order taken"
        )

    def wait_state(self, *states: str) -> None:
        self.daemon.wait_state(self.post, *states, within_s=RESUMES_WITHIN_S)

    def check_reads(self) -> None:
        """It must tell what it knows though it can write nothing."""
        listed = self.daemon.call("post/list", {})
        assert listed["status"] == "done", listed


def _before_the_order(full: FullDisk) -> None:
    full.daemon.start()
    full.fill()
    begun = time.monotonic()
    reply = full.try_order()
    took = time.monotonic() - begun
    if full.post:
        return  # there was room for it in the log's file: taken is taken
    assert reply is not None, "no answer while the disk is full"
    assert reply["status"] in {"error", "rejected", "failed"}, reply
    assert took <= REFUSED_WITHIN_S, f"refused after {took:.1f} s"
    full.check_reads()
    full.give_room()
    full.must_order()


def _while_it_waits(full: FullDisk) -> None:
    full.daemon.start()
    full.must_order((datetime.now(UTC) + timedelta(seconds=2)).isoformat())
    full.fill()
    _pass(3.5)
    full.check_reads()
    full.give_room()


def _while_it_is_uploaded(full: FullDisk) -> None:
    slow = {"endpoint": "upload", "action": "slow_after", "seconds": 1.5, "times": None}
    full.stage.simulator.faults(slow)
    full.daemon.start()
    full.must_order()
    full.wait_state("uploading", "committing", "processing", *FINAL)
    full.fill()
    _pass(2.5)
    full.check_reads()
    full.give_room()


def _while_it_is_processed(full: FullDisk) -> None:
    full.stage.simulator.post("settings", {"processing_seconds": 1.5})
    full.daemon.start()
    full.must_order()
    full.wait_state("processing", *FINAL)
    full.fill()
    _pass(2.5)
    full.check_reads()
    full.give_room()


def _over_a_kill(full: FullDisk) -> None:
    full.daemon.start()
    full.must_order((datetime.now(UTC) + timedelta(seconds=2)).isoformat())
    full.fill()
    full.daemon.kill()
    full.task.tally.faults["kill -9"] += 1
    full.daemon.start(wait=False)  # it may refuse to start, and must harm nothing
    _pass(2.5)
    full.give_room()
    assert full.daemon.process is not None
    if full.daemon.process.poll() is None:
        full.daemon.wait_ready(RESUMES_WITHIN_S)
    else:
        full.daemon.start()


STAGES: tuple[Callable[[FullDisk], None], ...] = (
    _before_the_order, _while_it_waits, _while_it_is_uploaded, _while_it_is_processed, _over_a_kill,
)  # fmt: skip


def _pass(seconds: float) -> None:
    """Let time pass on a full disk: what is due now must not be lost."""
    with contextlib.suppress(AssertionError):
        wait_until(lambda: False, seconds)


def full_disk(task: Task) -> None:
    """A6. The disk is full at each stage of a post, then there is room again."""
    stage = Stage(task.folder / "stage")
    chance = random.Random(task.seed)
    waits: list[float] = []
    try:
        for number in range(task.count or len(STAGES)):
            if task.is_over():
                break
            at = STAGES[number % len(STAGES)]
            name = f"{at.__name__.strip('_')} ({number})"
            folder = task.folder / f"d{number}"
            with small_disk(folder / "state", chance.randint(2, 8)):
                _fill_once(task, stage, folder, at, name, waits)
            task.say(f"{number + 1} of {task.count} times")
    finally:
        if waits:
            task.tally.figures["seconds until it went on (max)"] = f"{max(waits):.1f}"
        stage.close()


def _fill_once(
    task: Task, stage: Stage, folder: Path, at: Callable[[FullDisk], None], name: str, waits: list[float]
) -> None:
    full = FullDisk(task, stage, folder)
    try:
        at(full)
        begun = time.monotonic()
        full.wait_state(*FINAL)
        waits.append(time.monotonic() - begun)
        assert full.daemon.stop() == 0
        books = Books(stage.simulator.ledger(), full.daemon.state_dir / "tokd.db")
        task.tally.take(books.check([full.order]))
        task.tally.orders += 1
        task.tally.inits += len(books.inits_of(full.order))
    except AssertionError as error:
        task.tally.wrong.append(f"{name}: {error}\n{full.daemon.tail(6)}")
    finally:
        full.daemon.kill()
        stage.simulator.clear_faults()
        stage.simulator.post("settings", {"processing_seconds": 0.05})
