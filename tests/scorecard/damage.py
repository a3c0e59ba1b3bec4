"""A7: what lies on the disk is damaged, cut short, or an older copy."""

import contextlib
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from adapters.storage.mark import mark_of
from adapters.storage.restore import accept_ledger
from tests.crash.campaign import SMALL
from tests.crash.ledgers import FINAL, Ordered
from tests.crash.stage import Stage
from tests.daemons import Daemon
from tests.fakes.values import NODE
from tests.scorecard.row import Task
from tests.waiting import wait_until

PATIENCE_S = 40.0
SETTLE_S = 0.3  # a second init would follow the first one at once


class Original:
    """A ledger as a kill leaves it: posts that are out, posts that are late by now, and posts of next year."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self.stage = stage
        self.daemon = stage.daemon(folder)
        self.older = folder / "older.db"
        shutil.copy(self.daemon.state_dir / "tokd.db", self.older)
        self.out: list[Ordered] = []
        self.late: list[Ordered] = []
        self.daemon.start()
        later = datetime.now(UTC) + timedelta(hours=1)
        late: list[str] = []
        for number in range(9):
            name, order = stage.clip(self.daemon, SMALL)
            at = ("now", later.isoformat(), "2099-01-01T00:00:00Z")[number // 3]
            reply = self.daemon.schedule(name, id=order.command, at=at)
            assert reply["status"] == "done", reply
            if number < 3:
                self.daemon.wait_state(reply["result"]["post"], *FINAL)
            [self.out, self.late, []][number // 3].append(order)
            late += [reply["result"]["post"]] if number // 3 == 1 else []
        self.daemon.kill()
        self.posts = {row[0] for row in self.daemon.rows("SELECT id FROM post")}
        # Let time pass. The connection stays: its end would write the log back into the file.
        self._raw = sqlite3.connect(self.daemon.state_dir / "tokd.db", isolation_level=None)
        self._raw.execute("PRAGMA wal_autocheckpoint=0")
        past = f"due_at = due_at - {3700 * 10**6}, wake_at = wake_at - {3700 * 10**6}"
        self._raw.execute(f"UPDATE post SET {past} WHERE id IN (?, ?, ?)", late)

    def copy(self, folder: Path) -> Daemon:
        """Return a daemon with a copy of it."""
        daemon = self.stage.daemon(folder)
        shutil.rmtree(daemon.state_dir)
        ignored = shutil.ignore_patterns("*.sock", "lock")
        shutil.copytree(self.daemon.state_dir, daemon.state_dir, ignore=ignored)
        shutil.copytree(self.daemon.media, daemon.media, dirs_exist_ok=True)
        return daemon

    def close(self) -> None:
        """Let go of it."""
        self._raw.close()


# -- the kinds of damage -------------------------------------------------------------------------------------


@contextlib.contextmanager
def _opened(path: Path) -> Any:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as raw:
        yield raw
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _checkpoint(path: Path) -> None:
    """Have all of it in the one file."""
    with _opened(path):
        pass


def _log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


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
    size = _log_of(path).stat().st_size
    with _log_of(path).open("r+b") as file:
        file.truncate(chance.randrange(0, size))
    return "the log cut short"


def _log_gone(path: Path, _chance: random.Random) -> str:
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    return "the log gone"


def _log_turned(path: Path, chance: random.Random) -> str:
    data = bytearray(_log_of(path).read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    _log_of(path).write_bytes(data)
    return "a bit of the log turned"


def _no_index(path: Path, _chance: random.Random) -> str:
    path.with_name(path.name + "-shm").unlink(missing_ok=True)
    return "the log's index gone"


def _contradicted(path: Path, chance: random.Random) -> str:
    name = chance.choice(("post_account", "post_wake", "outbox_sequence"))
    with _opened(path) as raw:
        found = raw.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'post' AND sql NOTNULL "
            "ORDER BY name = ? DESC, name", (name,)
        ).fetchone()  # fmt: skip
        change = "UPDATE sqlite_master SET sql = ? WHERE name = ?"
        raw.execute("PRAGMA writable_schema=ON")
        raw.execute(change, (found[1].partition(" WHERE ")[0] + " WHERE 0", found[0]))
        raw.execute("PRAGMA writable_schema=RESET")
        raw.execute("UPDATE post SET state = state, account = account || '', wake_at = wake_at + 1")
        raw.execute("PRAGMA writable_schema=ON")
        raw.execute(change, (found[1], found[0]))
    return "an index contradicts its table"


def _empty(path: Path, _chance: random.Random) -> str:
    path.write_bytes(b"")
    return "the database empty"


def _empty_both(path: Path, _chance: random.Random) -> str:
    path.write_bytes(b"")
    _log_of(path).unlink(missing_ok=True)
    return "the database empty, no log"


def _garbage(path: Path, chance: random.Random) -> str:
    path.write_bytes(chance.randbytes(path.stat().st_size))
    return "garbage for a database"


def _gone(path: Path, _chance: random.Random) -> str:
    for end in ("", "-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    return "the database gone"


def _older(path: Path, older: Path) -> str:
    _gone(path, random.Random())
    shutil.copy(older, path)
    return "an older copy in its place"


DAMAGES: tuple[Callable[[Path, random.Random], str] | None, ...] = (
    _pages, _cut_log, _bytes, _log_turned, _cut, _contradicted, _pages, _log_gone, _bytes, None, _cut_log, _empty,
    _empty_both, _garbage, _gone, _no_index,
)  # fmt: skip
ACCEPTS, ACCEPTS_MAX = "accepted afterwards", 10
ACCEPTED = {"the log cut short", "an older copy in its place", "a bit of the log turned"}


def damaged_ledger(task: Task) -> None:
    """A7. On a damaged ledger it says so, does nothing and leaves the file alone; or all that it says is right."""
    stage = Stage(task.folder / "stage")
    chance = random.Random(task.seed)
    ends: Counter[str] = Counter()
    original: Original | None = None
    try:
        original = Original(stage, task.folder / "original")
        _without_the_mark(task, original)
        for number in range(task.count or 40):
            if task.is_over():
                break
            daemon = original.copy(task.folder / f"d{number}")
            path, damage = daemon.state_dir / "tokd.db", DAMAGES[number % len(DAMAGES)]
            if damage in {_pages, _bytes, _cut} and chance.random() < 0.7:
                _checkpoint(path)
            what = damage(path, chance) if damage is not None else _older(path, original.older)
            task.tally.faults["damaged ledger"] += 1
            case = Case(task, original, daemon, what)
            ends[case.start()] += 1
            if case.is_safe and what in ACCEPTED and ends[ACCEPTS] < ACCEPTS_MAX:
                case.accept()
                ends[ACCEPTS] += 1
            shutil.rmtree(daemon.folder, ignore_errors=True)
            task.say(f"{number + 1} of {task.count}: {dict(ends)}")
    finally:
        task.tally.figures["ends"] = "; ".join(f"{how} {count} times" for how, count in sorted(ends.items()))
        if original is not None:
            original.close()
        stage.close()


def _without_the_mark(task: Task, original: Original) -> None:
    """Negative control: the guard is taken away, and an older copy must be seen to be worked with."""
    daemon = original.copy(task.folder / "control")
    path = daemon.state_dir / "tokd.db"
    what = _older(path, original.older)
    mark_of(path).unlink()
    beside = Task(task.folder, task.seed, 1, task.deadline, f"{task.name} control")
    Case(beside, original, daemon, what).start()
    if beside.tally.lost == len(original.posts):
        task.tally.controls += 1
    else:
        task.tally.wrong.append(
            "negative control: an older copy without its mark was worked with, and not seen"
        )


class Case:
    """One damaged ledger, what the daemon makes of it, and the judgement."""

    def __init__(self, task: Task, original: Original, daemon: Daemon, what: str) -> None:
        self._task, self._original, self._daemon, self._what = task, original, daemon, what
        self._path = daemon.state_dir / "tokd.db"
        self.is_safe = False

    def start(self) -> str:
        """Start on it and return how that ended."""
        damaged, before = self._bytes(), self._inits()
        self._daemon.start(wait=False)
        try:
            health = self._answer()
            self.is_safe = health is not None and health["phase"] == "safe_mode"
            if self.is_safe:
                self._ask_in_vain()
            elif health is not None:
                self._let_post(before)
            assert self._daemon.process is not None
            code = self._daemon.process.poll()
        finally:
            self._daemon.kill()
        made = self._made(before)
        self._check_inits(made)
        if code is not None or self.is_safe:
            if made:
                self._harm(f"posted in safe mode: {dict(made)}")
            if self._bytes() != damaged:
                self._harm("the file has changed")
            return "safe mode" if self.is_safe else f"ended with {code}"
        return self._check_running()

    def accept(self) -> None:
        """Go on with what is left, as a person would: nothing may go out twice."""
        before = self._inits()
        accept_ledger(self._path, NODE, datetime.now(UTC), "1", has_broker=True)
        try:
            self._daemon.start(wait=False)
            health = self._answer()
            if health is None or health["phase"] == "safe_mode" or not health["paused"]:
                self._harm(f"accepted, and yet {health}")
            self._daemon.call("system/resume", id="on")
            self._let_post(before, SETTLE_S)
        finally:
            self._daemon.kill()
        made = self._made(before)
        self._check_inits(made)
        if any(made[order.size] for order in self._original.late):
            self._harm("a post that may have been out was sent after the ledger was accepted")

    def _answer(self) -> dict[str, Any] | None:
        """Return its health, None where it ended instead."""
        found: list[dict[str, Any]] = []

        def look() -> bool:
            assert self._daemon.process is not None
            if self._daemon.process.poll() is not None:
                return True
            reply = self._daemon.call_or_none("system/health")
            if reply is not None and reply["status"] == "done":
                found.append(reply["result"])
            return bool(found)

        try:
            wait_until(look, PATIENCE_S, every_s=0.05)
        except AssertionError:
            self._task.tally.wrong.append(
                f"{self._what}: it neither answered nor ended\n{self._daemon.tail(5)}"
            )
        return found[0] if found else None

    def _ask_in_vain(self) -> None:
        """Its answers must be refusals that say what to do; nothing may be answered from a ledger like this."""
        order = {"account": "demo", "media": "clip.mp4", "privacy": "SELF_ONLY", "at": "now"}
        for verb, args in (("post/schedule", order), ("post/list", {}), ("account/list", {})):
            reply = self._daemon.call(verb, args, id=f"try-{verb.replace('/', '-')}")
            error = reply.get("error") or {}
            if error.get("code") != "safe_mode" or "tokd restore FILE" not in error.get("message", ""):
                self._harm(f"{verb} was answered {reply}")

    def _let_post(self, before: Counter[int], within_s: float = 8.0) -> None:
        """Let it send what is late, and a moment more."""
        late = [order.size for order in self._original.late]
        with contextlib.suppress(AssertionError):
            wait_until(lambda: all(self._made(before)[size] for size in late), within_s, every_s=0.1)
        with contextlib.suppress(AssertionError):
            wait_until(lambda: False, SETTLE_S)

    def _check_inits(self, made: Counter[int]) -> None:
        again = [order.command for order in self._original.out if made[order.size] > 0]
        again += [order.command for order in self._original.late if made[order.size] > 1]
        self._task.tally.doubled += len(again)
        self._task.tally.wrong += [f"{self._what}: {name} was begun again" for name in again]

    def _check_running(self) -> str:
        """It runs and says that all is well: then it must know all its posts, and the file must be sound."""
        try:
            posts = {row[0] for row in self._daemon.rows("SELECT id FROM post")}
            health = [row[0] for row in self._daemon.rows("PRAGMA integrity_check")]
        except sqlite3.Error as error:
            posts, health = set(), [str(error)]
        missing = self._original.posts - posts
        if health != ["ok"]:
            self._harm(f"it runs on a damaged ledger: {health[:2]}")
        if missing:
            self._task.tally.lost += len(missing)
            self._task.tally.wrong.append(f"{self._what}: it runs, and does not know {len(missing)} posts")
        return "ran on a damaged ledger" if missing or health != ["ok"] else "ran, and nothing was wrong"

    def _harm(self, text: str) -> None:
        self._task.tally.integrity += 1
        self._task.tally.wrong.append(f"{self._what}: {text}")

    def _bytes(self) -> dict[str, bytes]:
        files = (self._path, _log_of(self._path))
        found = {path.name: path.read_bytes() for path in files if path.exists()}
        if not found.get(_log_of(self._path).name):
            found.pop(_log_of(self._path).name, None)  # a reader may leave an empty one
        return found

    def _inits(self) -> Counter[int]:
        inits = self._original.stage.simulator.ledger()["inits"]
        return Counter(init["source_info"].get("video_size") for init in inits)

    def _made(self, before: Counter[int]) -> Counter[int]:
        made = self._inits()
        made.subtract(before)
        return +made
