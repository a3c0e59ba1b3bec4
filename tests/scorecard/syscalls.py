"""A3, A5, A9: a system call of the daemon is the last one, or fails. strace brings that about."""

import contextlib
import random
import re
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from alembic import command
from sqlalchemy import insert

from adapters.storage import rows
from adapters.storage.migrate import HEAD, _config, revision_of_file
from adapters.storage.statements import POST
from adapters.storage.store import SqlStore, make_engine
from tests.crash.campaign import SMALL
from tests.crash.ledgers import FINAL, Books
from tests.crash.stage import Stage
from tests.daemons import ROOT, Daemon
from tests.fakes.values import NODE, a_post
from tests.scorecard.row import CannotRun, Task, side_by_side
from tests.waiting import wait_until

LANES = 2  # lives at once
AFTER_S = 4.0  # for which a daemon is watched whose disk has failed, and that goes on
T = TypeVar("T")
KILLED_AT = ("fdatasync", "pwrite64", "sendto")
FAILED = ("fdatasync", "pwrite64", "pread64")
_LINE = re.compile(r"^(\d+) +(\w+)\(")
_OPEN = "import sys; from adapters.storage.store import SqlStore; s = SqlStore(sys.argv[1], 'main'); s.open(); s.close()"


def strace(log: Path, calls: str, inject: str = "", paths: tuple[Path, ...] = ()) -> tuple[str, ...]:
    """Return the beginning of a command. The daemon stays our child: `-D` makes strace the grandchild."""
    found = shutil.which("strace")
    if found is None:
        raise CannotRun("strace is missing: apt install strace")
    only = [part for path in paths for part in ("-P", str(path))]
    how = ("-e", f"inject={inject}") if inject else ()
    # With a filter in the kernel only these calls stop the program, not every one that it makes. But strace 6.1 sends
    # no signal then, and says nothing of it.
    fast = () if "signal=" in inject else ("--seccomp-bpf",)
    return (found, "-D", "-f", *fast, "-qq", "-o", str(log), "-e", f"trace={calls}", *only, *how)


class Life:
    """One post, from its order to its end, in a daemon that something happens to."""

    def __init__(self, task: Task, stage: Stage, number: object) -> None:
        self.task = task
        self.stage = stage
        self.folder = task.folder / f"d{number}"
        self.daemon: Daemon = stage.daemon(self.folder)
        self.media, self.order = stage.clip(self.daemon, SMALL)
        self.promised = ""  # the post that the caller was told

    def under(self, wrapper: tuple[str, ...], within_s: float = 20.0, log: Path | None = None) -> str:
        """Start so, order, and say how it went: `passed`, `ended N`, or `went on` without an end in time.

        With a log the time runs out some seconds after it has the first failure.
        """
        self.daemon.wrapper = wrapper
        self.daemon.start(wait=False)
        with contextlib.suppress(AssertionError):
            wait_until(lambda: self._is_over() or (log is not None and _is_met(log)), within_s, every_s=0.05)
            wait_until(self._is_over, min(within_s, AFTER_S), every_s=0.05)
        assert self.daemon.process is not None
        code = self.daemon.process.poll()
        if code is None and self._is_final():
            return "passed" if self.daemon.stop() == 0 else f"ended {self.daemon.process.returncode}"
        if code is None:
            self.daemon.kill()
            return "went on"
        return f"ended {code}"

    def _is_over(self) -> bool:
        assert self.daemon.process is not None
        return self.daemon.process.poll() is not None or (self._order() and self._is_final())

    def _order(self) -> bool:
        if self.promised:
            return True
        args = {"account": "demo", "media": self.media, "privacy": "SELF_ONLY", "at": "now"}
        reply = self.daemon.call_or_none("post/schedule", args, id=self.order.command)
        if reply is not None and reply["status"] == "done":
            self.promised = reply["result"]["post"]
        return bool(self.promised)

    def _is_final(self) -> bool:
        reply = self.daemon.call_or_none("post/status", {"post": self.promised}) if self.promised else None
        return reply is not None and reply.get("result", {}).get("state") in FINAL

    def go_on(self, name: str) -> None:
        """Start unharmed, let the post come to its end, and read both ledgers."""
        told = self.promised
        self.daemon.wrapper = ()
        self.daemon.start(wait=False)
        try:
            self.daemon.wait_ready(30)
            wait_until(
                lambda: self._order() and self._is_final(), 30, every_s=0.1, what="the post at its end"
            )
            assert self.daemon.stop() == 0
        except AssertionError as error:
            self.task.tally.wrong.append(f"{name}: {error}\n{self.daemon.tail(5)}")
            self.daemon.kill()
        if told and told != self.promised:
            self.task.tally.lost += 1
        self.read(name)

    def read(self, name: str) -> None:
        books = Books(self.stage.simulator.ledger(), self.daemon.state_dir / "tokd.db")
        findings, tally = books.check([self.order]), self.task.tally
        with self.task.lock:
            before = len(tally.wrong)
            tally.take(findings)
            tally.wrong[before:] = [f"{name}: {text}" for text in tally.wrong[before:]]
            tally.orders += 1
            tally.inits += len(books.inits_of(self.order))
        if not findings.wrong:
            shutil.rmtree(self.folder, ignore_errors=True)


def _most_calls(log: Path) -> Counter[str]:
    """Return for each call how often the busiest thread has made it: strace counts for each thread apart."""
    each: Counter[tuple[str, str]] = Counter()
    for line in log.read_text(errors="replace").splitlines():
        if found := _LINE.match(line):
            each[found.group(2), found.group(1)] += 1
    most: Counter[str] = Counter()
    for (call, _), count in each.items():
        most[call] = max(most[call], count)
    return most


def _measured(task: Task, stage: Stage, calls: tuple[str, ...], *, only_ledger: bool) -> Counter[str]:
    life = Life(task, stage, "measure")
    log = task.folder / "strace.log"
    paths = _files(life) if only_ledger else ()
    how = life.under(strace(log, ",".join(calls), paths=paths), 60)
    life.daemon.kill()
    if how != "passed":
        raise CannotRun(f"strace does not work here: the daemon {how}: {life.daemon.tail(3)}")
    most = _most_calls(log)
    task.say(f"calls of one life: {dict(most)}", every_s=0)
    return most


def _files(life: Life) -> tuple[Path, ...]:
    return (life.daemon.state_dir / "tokd.db", life.daemon.state_dir / "tokd.db-wal")


def _points(task: Task, most: Counter[str]) -> list[tuple[str, int]]:
    points = [(call, number) for call, count in sorted(most.items()) for number in range(1, count + 1)]
    task.tally.figures["points"] = str(len(points))
    random.Random(task.seed).shuffle(points)
    return points


def kill_at_each_call(task: Task) -> None:
    """A3. SIGKILL at the N-th call of a kind, of any thread, for as many N as one post's life has."""
    stage = Stage(task.folder / "stage")
    ends: Counter[str] = Counter()

    def live(number: int, point: tuple[str, int]) -> None:
        call, nth = point
        life = Life(task, stage, number)
        how = life.under(strace(life.folder / "strace", call, f"{call}:signal=SIGKILL:when={nth}"))
        with task.lock:
            ends[how] += 1
        if how == "passed":  # this life had fewer calls of the kind
            life.read(f"{call} {nth}, not met")
        else:
            task.tally.faults["kill at a system call"] += 1
            life.go_on(f"{call} {nth}")

    try:
        points = _points(task, _measured(task, stage, KILLED_AT, only_ledger=False))
        _for_each(task, points, live)
        if ends and not task.tally.faults:
            task.tally.wrong.append(
                "strace has killed nothing: its injection does not work as it is used here"
            )
    finally:
        task.tally.figures["ends"] = _words(ends)
        stage.close()


def _for_each(task: Task, points: Sequence[T], live: Callable[[int, T], None]) -> None:
    """Try the points, some at once, until enough faults were met; begin none after the task's time.

    A life may have fewer calls of a kind than the one that was measured: its point is passed, and counts for nothing.
    """
    left = iter(enumerate(points))

    def is_enough() -> bool:
        return bool(task.count) and task.tally.faults.total() >= task.count

    def lane(_number: int) -> None:
        while not (task.is_over() or is_enough()):
            with task.lock:
                number, point = next(left, (0, None))
            if point is None:
                return
            live(number, point)
            task.say(f"{number + 1} of {len(points)} points")

    side_by_side(task, LANES, lane)


def fail_each_call(task: Task) -> None:
    """A5. The N-th sync, write or read of the ledger's files fails with EIO, once or from then on."""
    stage = Stage(task.folder / "stage")
    ends: Counter[str] = Counter()

    def live(number: int, point: tuple[str, str]) -> None:
        call, nth = point
        life = Life(task, stage, number)
        log = life.folder / "strace"
        how = life.under(strace(log, call, f"{call}:error=EIO:when={nth}", _files(life)), 12, log)
        with task.lock:
            ends[how] += 1
        if _is_met(log):
            task.tally.faults["I/O error"] += 1
        life.go_on(f"EIO at {call} {nth} ({how})")

    try:
        points = _points(task, _measured(task, stage, FAILED, only_ledger=True))
        both = [(call, f"{nth}{more}") for call, nth in points for more in ("", "+")]
        _for_each(task, both, live)
    finally:
        task.tally.figures["ends"] = _words(ends)
        stage.close()


def _is_met(log: Path) -> bool:
    return log.exists() and "INJECTED" in log.read_text(errors="replace")


def _words(ends: Counter[str]) -> str:
    return "; ".join(f"{how} {count} times" for how, count in sorted(ends.items())) or "none"


# -- A9 ------------------------------------------------------------------------------------------------------


def kill_the_migration(task: Task) -> None:
    """A9. The step from each released schema is killed at each of its writes and syncs."""
    revisions = [
        path.stem.split("_")[0]
        for path in sorted((ROOT / "adapters/storage/migrations/versions").glob("0*.py"))
    ]
    points: list[tuple[str, str, int]] = []
    for revision in revisions[:-1]:
        template = task.folder / f"{revision}.db"
        _make_old(template, revision)
        copy = _copy(template, task.folder / f"measure-{revision}")
        log = task.folder / "strace.log"
        code = _open(copy, strace(log, "pwrite64,fdatasync"))
        if code != 0 or revision_of_file(copy) != HEAD:
            raise CannotRun(f"strace does not work here: {code}")
        points += [
            (revision, call, nth) for call, count in _most_calls(log).items() for nth in range(1, count + 1)
        ]
    task.tally.figures["points"] = str(len(points))
    random.Random(task.seed).shuffle(points)

    def live(number: int, point: tuple[str, str, int]) -> None:
        revision, call, nth = point
        copy = _copy(task.folder / f"{revision}.db", task.folder / f"m{number}")
        code = _open(copy, strace(copy.with_name("strace"), call, f"{call}:signal=SIGKILL:when={nth}"))
        with task.lock:  # Alembic keeps its configuration for one migration at a time
            task.tally.faults["kill at a system call"] += code != 0
            _check_migrated(task, copy, f"{revision} at {call} {nth}", revision)

    _for_each(task, points, live)


def _make_old(path: Path, revision: str) -> None:
    engine = make_engine(f"sqlite:///{path}")
    config = _config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        known = {row[1] for row in connection.exec_driver_sql("PRAGMA table_info(post)")}
        for number in range(50):
            values = rows.post_values(a_post(f"p_{number}"))
            connection.execute(insert(POST).values({k: v for k, v in values.items() if k in known}))
    engine.dispose()


def _copy(template: Path, folder: Path) -> Path:
    folder.mkdir()
    return Path(shutil.copy(template, folder / "tokd.db"))


def _open(path: Path, wrapper: tuple[str, ...] = ()) -> int:
    done = subprocess.run(
        [*wrapper, sys.executable, "-c", _OPEN, f"sqlite:///{path}"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    return done.returncode


def _check_migrated(task: Task, path: Path, name: str, old: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as raw:
        health = [row[0] for row in raw.execute("PRAGMA integrity_check")]
        found = raw.execute("SELECT version_num FROM alembic_version").fetchone()[0]
        posts = raw.execute("SELECT count(*) FROM post").fetchone()[0]
    if health != ["ok"]:
        task.tally.integrity += 1
        task.tally.wrong.append(f"{name}: {health}")
    if found not in {old, HEAD}:
        task.tally.wrong.append(f"{name}: schema {found}, neither {old} nor {HEAD}")
    task.tally.lost += 50 - posts
    store = SqlStore(f"sqlite:///{path}", NODE)
    store.open()
    with store.transaction() as unit:
        kept = sum(unit.post(a_post(f"p_{number}").id) == a_post(f"p_{number}") for number in range(50))
    store.close()
    task.tally.lost += 50 - kept
    if revision_of_file(path) != HEAD or kept != 50:
        task.tally.wrong.append(f"{name}: {revision_of_file(path)}, {kept} of 50 posts as they were")
    shutil.rmtree(path.parent)
