"""A8: backups while posts go out, a restore, and on: nothing goes out a second time, and what waited goes out."""

import contextlib
import json
import os
import random
import shutil
import sqlite3
import statistics
import tarfile
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from adapters.storage.check import check_ledger
from adapters.storage.store import PENDING
from tests.crash.campaign import SMALL
from tests.crash.ledgers import FINAL, Ordered
from tests.crash.stage import Stage
from tests.daemons import Daemon
from tests.scorecard.forks import Forks
from tests.scorecard.row import Task
from tests.waiting import wait_until

ACCOUNTS = tuple(f"creator-{number}" for number in range(1, 5))
FOLDERS = ("the same folder", "a fresh folder", "a damaged ledger")
DEADLINE_S = 60.0
IN_HAND = {"claimed", "validating", "initialised", "uploading", "committing", "processing", "uncertain"}
WAITING = {"scheduled", "retry_wait", "held"}


@dataclass
class Order:
    """One order, and the post that was promised for it."""

    expected: Ordered
    post: str
    due: datetime


@dataclass
class Load:
    """Orders posts all the while: some for now, some for soon, some for after the restore."""

    stage: Stage
    daemon: Daemon
    chance: random.Random
    clips: list[tuple[str, Ordered]]
    orders: list[Order] = field(default_factory=list)
    told: int = 0
    over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="orders")
        self._thread.start()

    def stop(self) -> None:
        self.over.set()
        if self._thread is not None:
            self._thread.join()

    def acknowledged(self) -> list[Order]:
        """Return what has been answered `done` up to now."""
        return self.orders[: self.told]

    def _run(self) -> None:
        while not self.over.wait(0.02) and self.clips:
            wait_s = self.chance.choice((0, 0, 1, 3, 6))
            due = datetime.now(UTC) + timedelta(seconds=wait_s)
            if self.chance.random() < 0.5:
                media, expected = self.clips.pop()
                source: dict[str, Any] = {"media": media}
            else:
                expected = self.stage.address()
                source = {"media": None, "url": expected.url}
            account = ACCOUNTS[len(self.orders) % len(ACCOUNTS)]
            at = due.isoformat() if wait_s else "now"
            reply = self.daemon.schedule(id=expected.command, account=account, at=at, **source)
            assert reply["status"] == "done", reply
            self.orders.append(Order(expected, reply["result"]["post"], due))
            self.told = len(self.orders)


@dataclass
class Inside:
    """What an independent reader finds in a ledger: the last event and the state of every post."""

    last: int
    posts: dict[str, tuple[str, float]]  # state, due

    @classmethod
    def read(cls, ledger: Path) -> "Inside":
        with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True, timeout=10)) as raw:
            raw.execute("BEGIN")
            last = raw.execute("SELECT COALESCE(MAX(sequence), 0) FROM outbox").fetchone()[0]
            rows = raw.execute("SELECT id, state, due_at FROM post").fetchall()
        return cls(last, {key: (state, (due or 0) / 1e6) for key, state, due in rows})


class Restores:
    """One daemon; each round loads it, takes a backup of it, ends it, restores it, and lets it go on."""

    def __init__(self, task: Task, stage: Stage, daemon: Daemon, forks: Forks) -> None:
        self.task, self.stage, self.daemon, self.forks = task, stage, daemon, forks
        self.chance = random.Random(task.seed)
        self.orders: list[Order] = []
        self.lags: list[int] = []
        self.took = {"backup": 0.15, "restore": 0.15}
        self.copies = self.poor_copies = 0
        self.ways: Counter[str] = Counter()

    @property
    def ledger(self) -> Path:
        return self.daemon.state_dir / "tokd.db"

    def wrong(self, text: str) -> None:
        self.task.tally.wrong.append(f"restore {self.task.tally.faults['restore'] + 1}: {text}")

    def round(self, number: int) -> None:
        clips = [self.stage.clip(self.daemon, SMALL) for _ in range(12)]
        load = Load(self.stage, self.daemon, self.chance, clips)
        load.start()
        try:
            wait_until(lambda: load.told >= 6, DEADLINE_S, what="the first orders")
            if self.chance.random() < 0.5:
                self._kill_a_backup(number)
            backup, inside = self._take(number, load)
            self._copy(number, load)
        finally:
            load.stop()
        self.orders += load.orders
        self._end()
        earliest = time.time()
        self._restore(number, backup)
        self._go_on(inside, (earliest, time.time()), load)

    # -- the backup --------------------------------------------------------------------------------------

    def _take(self, number: int, load: Load) -> tuple[Path, Inside]:
        """Take a backup. What the reader saw before it is in it, and nothing that was not there after it."""
        backup = self.daemon.folder / f"b{number}.tar"
        before, promised = Inside.read(self.ledger), load.acknowledged()
        begun = time.monotonic()
        code = self.forks.run("backup", str(backup))
        self.took["backup"] = min(time.monotonic() - begun, 5.0)
        after = Inside.read(self.ledger)
        assert code == 0, self.forks.said()
        inside = self._open(backup)
        if not before.last <= inside.last <= after.last:
            self.wrong(
                f"the backup ends at event {inside.last}, begun at {before.last}, over at {after.last}"
            )
        missing = [order.post for order in promised if order.post not in inside.posts]
        if missing:
            self.task.tally.lost += len(missing)
            self.wrong(f"promised before the backup, and not in it: {missing}")
        self.lags.append(after.last - inside.last)
        return backup, inside

    def _open(self, backup: Path) -> Inside:
        """Take the ledger out of the file with nothing of tokd's, and hold it to all its rules."""
        ledger = self.daemon.folder / "looked-at.db"
        with tarfile.open(backup) as archive:
            member = archive.extractfile("tokd.db")
            assert member is not None
            ledger.write_bytes(member.read())
        for look in check_ledger(f"sqlite:///{ledger}"):
            if not look.is_ok:
                self.task.tally.integrity += 1
                self.wrong(f"in the backup, {look.name}: {look.text}")
        found = Inside.read(ledger)
        ledger.unlink()
        return found

    def _kill_a_backup(self, number: int) -> None:
        """End a backup at any moment: there is no file by that name, or a whole one."""
        target = self.daemon.folder / f"killed{number}.tar"
        if self.forks.kill(self.chance.uniform(0, 1.1) * self.took["backup"], "backup", str(target)):
            self.task.tally.faults["kill -9 in a backup"] += 1
        if target.exists():
            self._open(target)  # raises where it is half a file
            target.unlink()
        for draft in self.daemon.folder.glob(".*.tar.*"):
            draft.unlink()

    def _copy(self, number: int, load: Load) -> None:
        """The negative control: `cp` of the file while tokd writes to it."""
        copy = self.daemon.folder / f"cp{number}.db"
        promised = load.acknowledged()
        shutil.copyfile(self.ledger, copy)
        self.copies += 1
        try:
            found = Inside.read(copy).posts
            self.poor_copies += any(order.post not in found for order in promised)
        except sqlite3.Error:
            self.poor_copies += 1
        for end in ("", "-wal", "-shm"):
            copy.with_name(copy.name + end).unlink(missing_ok=True)

    # -- the restore -------------------------------------------------------------------------------------

    def _end(self) -> None:
        if self.chance.random() < 0.5:
            self.daemon.kill()
        else:
            assert self.daemon.stop() == 0, self.daemon.tail()

    def _restore(self, number: int, backup: Path) -> None:
        """Put the backup back, one way or another."""
        way = FOLDERS[number % len(FOLDERS)]
        self.ways[way] += 1
        if way == "a fresh folder":
            self._leave_the_folder(number)
        elif way == "a damaged ledger":
            with self.ledger.open("r+b") as file:
                file.write(os.urandom(8192))
        if self.chance.random() < 0.5:
            self._kill_a_restore(backup)
        begun = time.monotonic()
        code = self.forks.run("restore", str(backup))
        self.took["restore"] = min(time.monotonic() - begun, 5.0)
        assert code == 0, self.forks.said()
        for kept in self.daemon.state_dir.glob("tokd.db.before-*"):
            kept.unlink()

    def _leave_the_folder(self, number: int) -> None:
        """Go on in a folder that has the keys and nothing else, as on another machine."""
        old = self.daemon.state_dir.with_name(f"state-{number}")
        self.daemon.state_dir.rename(old)
        self.daemon.state_dir.mkdir(mode=0o700)
        shutil.copytree(old / "secrets", self.daemon.state_dir / "secrets")
        shutil.rmtree(old)

    def _kill_a_restore(self, backup: Path) -> None:
        """End a restore at any moment: the old ledger is there untouched, or the new one whole, or tokd does not start."""
        before = self.ledger.read_bytes() if self.ledger.exists() else None
        if self.forks.kill(self.chance.uniform(0, 1.1) * self.took["restore"], "restore", str(backup)):
            self.task.tally.faults["kill -9 in a restore"] += 1
        if self.ledger.with_name(self.ledger.name + PENDING).exists():
            self.ways["killed half-way"] += 1
            self.daemon.start(wait=False)
            if (code := self.daemon.wait_dead()) != 78:
                self.wrong(f"half a restore, and tokd started and ended with {code}")
        elif self.ledger.exists() and self.ledger.read_bytes() != before:
            if not self._is_marked():
                self.wrong(
                    "a killed restore has left a ledger that is neither the old one nor a restored one"
                )
        elif before is not None and not self.ledger.exists():
            self.wrong("a killed restore has left no ledger and no mark")
        for draft in self.daemon.state_dir.glob(".tokd.db.*.restoring*"):
            draft.unlink()

    def _is_marked(self) -> bool:
        with (
            contextlib.suppress(sqlite3.Error),
            closing(sqlite3.connect(f"file:{self.ledger}?mode=ro", uri=True)) as raw,
        ):
            whole = raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            return whole and raw.execute("SELECT 1 FROM flag WHERE name = 'restored'").fetchall() != []
        return False

    # -- and on ------------------------------------------------------------------------------------------

    def _go_on(self, inside: Inside, between: tuple[float, float], load: Load) -> None:
        """Start it; the restore was made between these two moments, and what was due then is doubted."""
        self.daemon.start()
        doubted, waiting = set(), set()
        for key, (state, due) in inside.posts.items():
            if state in IN_HAND or (state in WAITING and due <= between[0]):
                doubted.add(key)
            elif state in WAITING and due > between[1]:
                waiting.add(key)
        states = dict(self.daemon.rows("SELECT id, state FROM post"))
        silent = {key for key in doubted if states.get(key) not in {"uncertain", *FINAL}}
        if silent:
            self.task.tally.unreported += len(silent)
            self.wrong(f"may have gone out, and is not doubted: {[(key, states.get(key)) for key in silent]}")
        self._check_told(doubted & {key for key, state in states.items() if state == "uncertain"})
        assert self.daemon.call("system/resume", id=f"on-{between[0]}")["status"] == "done"
        wait_until(
            self._is_quiet,
            DEADLINE_S,
            every_s=0.1,
            what=lambda: f"all posts at their end: {self._open_posts()}",
        )
        self._compare(waiting, load)
        self.task.tally.faults["restore"] += 1

    def _check_told(self, uncertain: set[str]) -> None:
        rows = self.daemon.rows("SELECT payload FROM outbox WHERE sequence IS NOT NULL")
        events = [json.loads(payload) for (payload,) in rows]
        told = {event["data"]["post"] for event in events if event["type"] == "dev.tokd.post.uncertain"}
        if untold := uncertain - told:
            self.task.tally.unreported += len(untold)
            self.wrong(f"doubted, and no event told of it: {untold}")

    def _open_posts(self) -> list[tuple[Any, ...]]:
        ends = "('published', 'sent_to_inbox', 'failed', 'cancelled')"
        query = f"SELECT id, state, reason FROM post WHERE state NOT IN {ends} "
        return self.daemon.rows(query + "AND NOT (state = 'uncertain' AND wake_at IS NULL)")

    def _is_quiet(self) -> bool:
        return not self._open_posts()

    def _compare(self, waiting: set[str], load: Load) -> None:
        """Hold what the ledger says to what the simulator has seen; then say of each doubt what is true."""
        seen = _Seen(self.stage.simulator.ledger())
        states = dict(self.daemon.rows("SELECT id, state FROM post"))
        tally = self.task.tally
        tally.orders += len(load.orders)
        for order in self.orders:
            state, published = states.get(order.post), seen.publishes[order.expected.key]
            if published > 1 or (order.expected.url and seen.inits[order.expected.key] > 1):
                tally.doubled += 1
                self.wrong(
                    f"{order.expected.key}: {published} publishes, {seen.inits[order.expected.key]} inits"
                )
            if state in FINAL and published != 1:
                tally.unreported += 1
                self.wrong(f"{order.post}: {state}, and the simulator has {published} publishes")
            if order.post in waiting and state not in FINAL:
                tally.lost += 1
                self.wrong(f"{order.post} had time in the backup, and is {state}")
            if state == "uncertain":
                tally.uncertain += 1
                outcome = "published" if published else "not_published"
                self.daemon.call(
                    "post/resolve", {"post": order.post, "outcome": outcome}, id=f"said-{order.post}"
                )
        tally.inits = sum(seen.inits.values())


class _Seen:
    """Inits and publishes by size or address, from the simulator's ledger."""

    def __init__(self, ledger: dict[str, Any]) -> None:
        keys = {}
        for init in ledger["inits"]:
            source = init["source_info"]
            keys[init["publish_id"]] = source.get("video_url") or source.get("video_size")
        self.inits = Counter(keys.values())
        self.publishes = Counter(keys[row["publish_id"]] for row in ledger["publishes"])


def backup_under_load(task: Task) -> None:
    """A8. A backup in the middle of the work, a restore of it, and nothing twice."""
    stage = Stage(task.folder / "stage", ACCOUNTS)
    daemon = stage.daemon(task.folder / "daemon")
    try:
        with Forks(daemon, task.folder / "cli.log") as forks:
            restores = Restores(task, stage, daemon, forks)
            daemon.start()
            for number in range(task.count):
                if task.is_over():
                    break
                restores.round(number)
                task.say(f"{number + 1} of {task.count} restores")
            _close(task, restores)
    finally:
        daemon.kill()
        stage.close()


def _close(task: Task, restores: Restores) -> None:
    tally = task.tally
    tally.figures |= {
        "copies by cp that lack what was promised": f"{restores.poor_copies} of {restores.copies}",
        "events between a backup and its end": f"median {statistics.median(restores.lags or [0]):.0f}, most "
        f"{max(restores.lags, default=0)}",
        "restored into": ", ".join(f"{way} {count}" for way, count in sorted(restores.ways.items())),
    }  # fmt: skip
    if restores.poor_copies:
        tally.controls += 1
    elif restores.copies > 3:
        tally.wrong.append(
            "negative control: no copy by cp lacked a row, so this row would not see a backup that does"
        )
