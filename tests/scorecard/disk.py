"""A6 and A7: the disk is full, or what lies on it is damaged."""

import contextlib
import random
import shutil
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.crash.campaign import SMALL
from tests.crash.ledgers import FINAL, Books, Ordered
from tests.crash.stage import Stage
from tests.daemons import Daemon
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


# -- A7 ------------------------------------------------------------------------------------------------------


class Original:
    """A ledger as a kill leaves it: posts that are out, posts that are late by now, and posts of next year."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self.stage = stage
        self.daemon = stage.daemon(folder)
        self.out: list[Ordered] = []
        self.late: list[Ordered] = []
        self.daemon.start()
        for number in range(9):
            name, order = stage.clip(self.daemon, SMALL)
            at = ("now", (datetime.now(UTC) + timedelta(seconds=8)).isoformat(), "2099-01-01T00:00:00Z")[
                number // 3
            ]
            reply = self.daemon.schedule(name, id=order.command, at=at)
            assert reply["status"] == "done", reply
            if number < 3:
                self.daemon.wait_state(reply["result"]["post"], *FINAL)
            [self.out, self.late, []][number // 3].append(order)
        self.daemon.kill()
        self.posts = {row[0] for row in self.daemon.rows("SELECT id FROM post")}
        _pass(6.0)  # what was ordered for then is late now

    def copy(self, folder: Path) -> Daemon:
        """Return a daemon with a copy of it."""
        daemon = self.stage.daemon(folder)
        shutil.rmtree(daemon.state_dir)
        ignored = shutil.ignore_patterns("*.sock", "lock")
        shutil.copytree(self.daemon.state_dir, daemon.state_dir, ignore=ignored)
        shutil.copytree(self.daemon.media, daemon.media, dirs_exist_ok=True)
        return daemon


def _pages(path: Path, chance: random.Random) -> str:
    data = bytearray(path.read_bytes())
    count = chance.choice((1, 3, 10, 100))
    for _ in range(count):
        page = chance.randrange(len(data) // 4096)
        data[page * 4096 : (page + 1) * 4096] = chance.randbytes(4096)
    path.write_bytes(data)
    return f"{count} pages overwritten"


def _bytes(path: Path, chance: random.Random) -> str:
    data = bytearray(path.read_bytes())
    for _ in range(20):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    return "20 bits turned"


def _cut(path: Path, chance: random.Random) -> str:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(chance.randrange(1, size))
    return "the database cut short"


def _cut_log(path: Path, chance: random.Random) -> str:
    wal = path.with_name(path.name + "-wal")
    with wal.open("r+b") as file:
        file.truncate(chance.randrange(0, max(wal.stat().st_size, 1)))
    return "the log cut short"


def _empty(path: Path, _chance: random.Random) -> str:
    path.write_bytes(b"")
    return "the database empty"


def _empty_both(path: Path, _chance: random.Random) -> str:
    path.write_bytes(b"")
    path.with_name(path.name + "-wal").unlink(missing_ok=True)
    return "the database empty, no log"


def _garbage(path: Path, chance: random.Random) -> str:
    path.write_bytes(chance.randbytes(path.stat().st_size))
    return "garbage for a database"


def _gone(path: Path, _chance: random.Random) -> str:
    for end in ("", "-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    return "the database gone"


def _no_index(path: Path, _chance: random.Random) -> str:
    path.with_name(path.name + "-shm").unlink(missing_ok=True)
    return "the log's index gone"


DAMAGES = (_pages, _bytes, _cut, _cut_log, _empty, _empty_both, _garbage, _gone, _no_index)


def damaged_ledger(task: Task) -> None:
    """A7. Started on a damaged ledger, it refuses and leaves the file alone, or all that it says is right."""
    stage = Stage(task.folder / "stage")
    chance = random.Random(task.seed)
    ends: Counter[str] = Counter()
    try:
        original = Original(stage, task.folder / "original")
        for number in range(task.count or 40):
            if task.is_over():
                break
            daemon = original.copy(task.folder / f"d{number}")
            path = daemon.state_dir / "tokd.db"
            damage = DAMAGES[number % len(DAMAGES)]
            if damage in {_pages, _bytes, _cut} and chance.random() < 0.7:
                with contextlib.closing(sqlite3.connect(path)) as raw:  # all of it in the one file
                    raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            what = damage(path, chance)
            task.tally.faults["damaged ledger"] += 1
            ends[_started(task, original, daemon, what)] += 1
            shutil.rmtree(daemon.folder, ignore_errors=True)
            task.say(f"{number + 1} of {task.count}: {dict(ends)}")
    finally:
        task.tally.figures["ends"] = "; ".join(f"{how} {count} times" for how, count in sorted(ends.items()))
        stage.close()


def _started(task: Task, original: Original, daemon: Daemon, what: str) -> str:
    path = daemon.state_dir / "tokd.db"
    damaged, before = _read(path), _inits(original.stage)
    daemon.start(wait=False)
    try:
        with contextlib.suppress(AssertionError):
            daemon.wait_ready(15)
        assert daemon.process is not None
        if daemon.process.poll() is None:
            _pass(2.0)  # what is late goes out now
        code = daemon.process.poll()
    finally:
        daemon.kill()
    made = Counter(_inits(original.stage))
    made.subtract(before)
    _check_inits(task, original, made, what)
    if code is not None:
        if _read(path) != damaged:
            task.tally.integrity += 1
            task.tally.wrong.append(f"{what}: refused with {code}, and the file has changed")
        return "refused"
    return _check_running(task, original, daemon, what, +made)


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _inits(stage: Stage) -> Counter[int]:
    return Counter(init["source_info"].get("video_size") for init in stage.simulator.ledger()["inits"])


def _check_inits(task: Task, original: Original, made: Counter[int], what: str) -> None:
    again = [order.command for order in original.out if made[order.size] > 0]
    again += [order.command for order in original.late if made[order.size] > 1]
    task.tally.doubled += len(again)
    task.tally.wrong += [f"{what}: {name} was begun again" for name in again]


def _check_running(task: Task, original: Original, daemon: Daemon, what: str, made: Counter[int]) -> str:
    try:
        posts = {row[0] for row in daemon.rows("SELECT id FROM post")}
        health = [row[0] for row in daemon.rows("PRAGMA integrity_check")]
    except sqlite3.Error as error:
        posts, health = set(), [str(error)]
    missing = original.posts - posts
    if not missing and health == ["ok"]:
        return "ran, and nothing was wrong"
    if made:
        task.tally.integrity += 1
        task.tally.wrong.append(
            f"{what}: posted from a damaged ledger: {health[:2]}, {len(missing)} posts missing"
        )
        return "posted from a damaged ledger"
    if missing:
        task.tally.lost += len(missing)
        task.tally.wrong.append(
            f"{what}: it runs, and does not know {len(missing)} posts of {len(original.posts)}"
        )
        return "ran without knowing its posts"
    return "ran, and posted nothing"
