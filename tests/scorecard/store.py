"""A11, C4: many writers at once, and many posts that are due."""

import contextlib
import itertools
import multiprocessing
import random
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

from adapters.storage.store import SqlStore
from tests.bench.punctuality import Bench, a_post
from tests.fakes.values import NODE
from tests.scorecard.row import Task

WRITERS, READERS = 8, 4
COUNTER = "scorecard"


def many_writers(task: Task) -> None:
    """A11. Eight writers read, add one and write back, four read, one checkpoints; then the same without the rule."""
    path = task.folder / "tokd.db"
    each = max((task.count or 8000) // WRITERS, 1)
    commits: list[float] = []
    errors: list[str] = []
    over = threading.Event()
    _make(path)
    beside = [threading.Thread(target=_read, args=(path, over, errors)) for _ in range(READERS)]
    beside.append(threading.Thread(target=_checkpoint, args=(path, over, errors)))
    ready = threading.Barrier(WRITERS)
    writers = [
        threading.Thread(target=_write, args=(path, each, ready, commits, errors)) for _ in range(WRITERS)
    ]
    for thread in [*beside, *writers]:
        thread.start()
    for thread in writers:
        thread.join()
    over.set()
    for thread in beside:
        thread.join()
    tally = task.tally
    tally.orders = each * WRITERS
    tally.cases = each * WRITERS
    tally.lost = len(commits) - _counted(path)  # of those that were told to be stored
    tally.wrong += errors[:10]
    p99 = statistics.quantiles(commits, n=100)[98] * 1000 if len(commits) > 1 else 0.0
    tally.figures |= {"errors": str(len(errors)), "p99 of a transaction (ms)": f"{p99:.1f}"}
    lost = _without_the_rule(task.folder / "control.db", min(each, 300))
    tally.figures["control lost"] = str(lost)
    if lost:
        tally.controls += 1
    else:
        tally.wrong.append("negative control: plain BEGIN has lost nothing, so this row would not see it")


def _make(path: Path) -> None:
    store = SqlStore(f"sqlite:///{path}", NODE)
    store.open()
    store.close()


def _write(path: Path, each: int, ready: threading.Barrier, commits: list[float], errors: list[str]) -> None:
    store = SqlStore(f"sqlite:///{path}", NODE)
    store.open()
    ready.wait(60)
    pause, chance = threading.Event(), random.Random()
    for _ in range(each):
        pause.wait(chance.uniform(0, 0.002))  # SQLite's lock is not fair to whoever waits beside a tight loop
        begun = time.monotonic()
        try:
            with store.transaction() as unit:
                unit.set_flag(COUNTER, str(int(unit.flag(COUNTER) or 0) + 1))
            commits.append(time.monotonic() - begun)
        except Exception as error:  # noqa: BLE001 - every one is a fault of the row
            errors.append(f"a writer was told: {error}")
    store.close()


def _read(path: Path, over: threading.Event, errors: list[str]) -> None:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as raw:
        while not over.wait(0.002):
            try:
                raw.execute("SELECT count(*) FROM flag").fetchone()
            except sqlite3.Error as error:
                errors.append(f"a reader was told: {error}")


def _checkpoint(path: Path, over: threading.Event, errors: list[str]) -> None:
    with contextlib.closing(sqlite3.connect(path)) as raw:
        while not over.wait(0.1):
            try:
                raw.execute("PRAGMA wal_checkpoint(PASSIVE)")
            except sqlite3.Error as error:
                errors.append(f"the checkpoint was told: {error}")


def _counted(path: Path) -> int:
    store = SqlStore(f"sqlite:///{path}", NODE)
    store.open()
    with store.transaction() as unit:
        found = int(unit.flag(COUNTER) or 0)
    store.close()
    return found


def _without_the_rule(path: Path, each: int) -> int:
    """Read and write in transactions of their own, which is what one has without BEGIN IMMEDIATE; return the loss."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute("PRAGMA journal_mode=WAL")
        raw.execute("CREATE TABLE counter (number INTEGER)")
        raw.execute("INSERT INTO counter VALUES (0)")
    refused = itertools.count()

    def write() -> None:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as raw:
            for _ in range(each):
                try:
                    raw.execute("BEGIN")
                    number = raw.execute("SELECT number FROM counter").fetchone()[0]
                    raw.execute("UPDATE counter SET number = ?", (number + 1,))
                    raw.execute("COMMIT")
                except sqlite3.Error:
                    next(refused)  # "database is locked", at once: the change is lost to its caller
                    with contextlib.suppress(sqlite3.Error):
                        raw.execute("ROLLBACK")

    threads = [threading.Thread(target=write) for _ in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with contextlib.closing(sqlite3.connect(path)) as raw:
        found = raw.execute("SELECT number FROM counter").fetchone()[0]
    return each * WRITERS - int(found)


def punctual(task: Task) -> None:
    """C4. Posts fall due over a while with both processors loaded; each is taken in hand after its time, and soon."""
    posts = task.count or 500
    over_s = min(50.0, posts * 0.1)
    chance = random.Random(task.seed)
    loads = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(multiprocessing.cpu_count())
    ]
    bench = Bench(task.folder, 2000, 1000)
    try:
        now = bench.clock.now()
        due = [now + timedelta(seconds=1 + chance.uniform(0, over_s)) for _ in range(posts)]
        late = sorted(bench.run([a_post(f"s{n}", n, at, now) for n, at in enumerate(due)]))
    finally:
        bench.close()
        for load in loads:
            load.kill()
            load.wait()
    p99 = late[max(int(len(late) * 0.99) - 1, 0)]
    task.tally.cases = task.tally.orders = posts
    task.tally.figures |= {"p99 late (ms)": f"{p99:.0f}", "earliest (ms)": f"{late[0]:.1f}"}
    if p99 > 2000:
        task.tally.wrong.append(f"p99 is {p99:.0f} ms late, more than 2 s")
    if late[0] < 0:
        task.tally.wrong.append(f"a post was taken {-late[0]:.1f} ms before its time")
