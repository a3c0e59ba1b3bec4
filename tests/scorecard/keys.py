"""A12: the key of the tokens is exchanged, and whatever is killed on the way, every row opens."""

import json
import random
import sqlite3
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from adapters.storage.store import SqlStore
from adapters.vault import FernetVault, load_keys
from daemon.domain.ids import NodeName
from tests.daemons import Daemon
from tests.fakes.values import a_post, an_account, an_attempt
from tests.scorecard.forks import Forks, kill
from tests.scorecard.row import Task

ACCOUNTS = 500  # two tokens each
ATTEMPTS = 120  # of posts under way: several pages of `keys/reseal`
SECRETS = "SELECT 'access_token', name, access_token FROM account UNION ALL "
SECRETS += "SELECT 'refresh_token', name, refresh_token FROM account UNION ALL "
SECRETS += "SELECT 'upload_url', post, upload_url FROM attempt WHERE upload_url IS NOT NULL"


def clear_of(purpose: str, owner: str) -> str:
    """Return what was sealed."""
    return f"{purpose} of {owner}"


@dataclass
class Shelf:
    """A state folder with a thousand tokens, and the independent reader of it: file and rows, no word of tokd."""

    daemon: Daemon
    rows: int = 0
    looks: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def file(self) -> Path:
        return self.daemon.state_dir / "secrets" / "fernet.keys"

    def fill(self) -> None:
        """Write the accounts through the store, sealed by the vault."""
        self.file.parent.mkdir(parents=True, mode=0o700)
        self.daemon.state_dir.chmod(0o700)
        vault = FernetVault(load_keys(self.file, None, create=True)[0])
        store = SqlStore(f"sqlite:///{self.daemon.state_dir / 'tokd.db'}", NodeName("main"))
        store.open()
        later = datetime.now(UTC) + timedelta(days=300)
        with store.transaction() as unit:
            for name in (f"u{number}" for number in range(ACCOUNTS)):
                sealed = {
                    purpose: vault.seal(purpose, name, clear_of(purpose, name))
                    for purpose in ("access_token", "refresh_token")
                }
                account = an_account(name, access_expires_at=later, refresh_expires_at=later)
                unit.save_account(replace(account, **sealed))
            for name in (f"p_{number}" for number in range(ATTEMPTS)):
                unit.add_post(a_post(name, account=f"u{name[2:]}", due_at=later, wake_at=later, attempt=1))
                url = vault.seal("upload_url", name, clear_of("upload_url", name))
                unit.save_attempt(an_attempt(name, upload_url=url))
        store.close()
        self.rows = 2 * ACCOUNTS + ATTEMPTS

    def look(self) -> tuple[int, int]:
        """Check that every row opens with the keys that were in the file at one moment; return keys, rows under the newest.

        The rows are one moment of the database, and the file was the same before and after that moment.
        """
        while True:
            before = self.file.read_text()
            rows = self._read()
            if self.file.read_text() == before:
                break
        keys = [Fernet(line) for line in before.split()]
        every = MultiFernet(keys)
        newest = 0
        if len(rows) != self.rows:
            self.faults.append(f"{len(rows)} rows, not {self.rows}")
        for purpose, owner, sealed in rows:
            try:
                body = json.loads(every.decrypt(sealed))
                assert body == {"p": purpose, "o": owner, "v": clear_of(purpose, owner)}
            except (InvalidToken, AssertionError) as error:
                self.faults.append(f"{purpose} of {owner}: {type(error).__name__}, with {len(keys)} keys")
            newest += opens(keys[0], sealed)
        self.looks += 1
        return len(keys), newest

    def _read(self) -> list[tuple[str, str, str]]:
        with closing(sqlite3.connect(f"file:{self.daemon.state_dir / 'tokd.db'}?mode=ro", uri=True)) as raw:
            return raw.execute(SECRETS).fetchall()


def opens(key: Fernet, sealed: str) -> bool:
    """Tell whether this very key opens it."""
    try:
        key.decrypt(sealed)
    except InvalidToken:
        return False
    return True


class Rotation:
    """Kills: of the command while tokd is down, of the command while tokd runs, of tokd while the command runs."""

    def __init__(self, task: Task, shelf: Shelf, forks: tuple[Forks, Forks]) -> None:
        self.task, self.shelf, self.forks = task, shelf, forks
        self.chance = random.Random(task.seed)
        self.took = {
            "rotate": 0.5,
            "prune": 0.5,
        }  # seconds of a whole one, measured anew at each that is let live
        self.ends: Counter[str] = Counter()

    def is_up(self) -> bool:
        process = self.shelf.daemon.process
        return process is not None and process.poll() is None

    def kill_one(self) -> None:
        """Begin a rotation or a removal and kill something of it at a moment that nobody chose."""
        words, name = self._draw()
        if self.is_up() and self.chance.random() < 0.4:
            self._kill_daemon(words, name)
        else:
            after = self.chance.uniform(0, 1.1) * self.took[name]
            if self.forks[0].kill(after, *words):
                self.task.tally.faults[f"kill -9 in keys {name}"] += 1
            else:
                self.ends["over before its kill"] += 1
        self._look()

    def _draw(self) -> tuple[tuple[str, ...], str]:
        keys = len(self.shelf.file.read_text().split())
        if keys > 6 or self.chance.random() < 0.3:
            return ("keys", "prune"), "prune"
        if self.chance.random() < 0.3:
            return ("keys", "rotate", "--reseal-only"), "rotate"
        return ("keys", "rotate"), "rotate"

    def _kill_daemon(self, words: tuple[str, ...], name: str) -> None:
        process = self.forks[0].begin(*words)
        threading.Event().wait(self.chance.uniform(0, 1.1) * self.took[name])
        self.shelf.daemon.kill()
        self._look()  # before the command goes on by itself, if it does
        if self.chance.random() < 0.9:
            kill(process)  # otherwise it waits for tokd to come back, and goes on alone
        self.forks[0].end(process)
        self.task.tally.faults[f"kill -9 of tokd in keys {name}"] += 1

    def race(self) -> None:
        """Let a rotation and a removal run at the same time."""
        both = [
            (fork, fork.begin("keys", word))
            for fork, word in zip(self.forks, ("rotate", "prune"), strict=True)
        ]
        for fork, process in both:
            fork.end(process)
        self.ends["rotate beside prune"] += 1
        self._look()

    def finish(self) -> None:
        """Let both run to their end: one key is left, and it opens everything."""
        for name in ("rotate", "prune"):
            begun = time.monotonic()
            code = self.forks[0].run("keys", name)
            self.took[name] = min(max(time.monotonic() - begun, 0.05), 10.0)
            if code:
                self.task.tally.wrong.append(f"keys {name} ended with {code}: {self.forks[0].said()[-300:]}")
        keys, newest = self._look()
        if (keys, newest) != (1, self.shelf.rows):
            self.task.tally.wrong.append(
                f"after the end: {keys} keys, {newest} of {self.shelf.rows} rows under it"
            )
        self.ends["whole rotations"] += 1

    def _look(self) -> tuple[int, int]:
        found = self.shelf.look()
        self.task.tally.wrong += self.shelf.faults[: 10 - len(self.task.tally.wrong)]
        self.task.tally.lost += len(self.shelf.faults)
        self.shelf.faults.clear()
        return found


def rotate_under_kills(task: Task) -> None:
    """A12. Every row opens with the key file as it stands, after each kill and all the while."""
    nobody = {"tiktok.api_base": "http://127.0.0.1:9"}  # no TikTok is asked
    shelf = Shelf(Daemon(task.folder / "d", nobody))
    shelf.fill()
    over = threading.Event()
    watch = threading.Thread(target=_watch, args=(task, shelf, over), name="reader")
    with (
        Forks(shelf.daemon, task.folder / "one.log") as one,
        Forks(shelf.daemon, task.folder / "two.log") as two,
    ):
        rotation = Rotation(task, shelf, (one, two))
        rotation.finish()
        watch.start()
        try:
            while task.tally.faults.total() < task.count and not task.is_over():
                number = task.tally.faults.total()
                if number % 10 == 5 and not rotation.is_up():
                    shelf.daemon.start()
                elif number % 10 == 0 and rotation.is_up():
                    shelf.daemon.stop()
                rotation.kill_one()
                if rotation.chance.random() < 0.1:
                    rotation.race()
                    rotation.finish()
                task.say(f"{task.tally.faults.total()} of {task.count} kills; {dict(rotation.ends)}")
            rotation.finish()
        finally:
            over.set()
            watch.join()
            shelf.daemon.kill()
            task.tally.figures |= {
                "secrets": str(shelf.rows), "looks at all of them": str(shelf.looks),
                "seconds of a rotation": f"{rotation.took['rotate']:.2f}",
                **{name: str(count) for name, count in sorted(rotation.ends.items())},
            }  # fmt: skip


def _watch(task: Task, shelf: Shelf, over: threading.Event) -> None:
    """Look while it happens, too; a look costs a fifth of a second of a processor."""
    beside = Shelf(shelf.daemon, shelf.rows)
    while not over.wait(1.0):
        try:
            beside.look()
        except (OSError, sqlite3.Error) as error:
            beside.faults.append(f"the reader was told: {error}")
        if beside.faults:
            task.tally.wrong += [f"while it ran: {text}" for text in beside.faults[:3]]
            task.tally.lost += len(beside.faults)
            beside.faults.clear()
    shelf.looks += beside.looks
