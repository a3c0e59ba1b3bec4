"""The cookie databases: how they are encrypted, whether the key can be reached, and a copy of one in use."""

import hashlib
import os
import re
import shutil
import sqlite3
import stat
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from adapters.profiles import keyring, refusals
from adapters.profiles.cloning import Patience, copy_file, opened, profile_folders
from daemon.domain.errors import Code, Rejected
from daemon.domain.ids import ProfileName
from daemon.domain.session import Encryption

_ROWS = "SELECT name, encrypted_value FROM cookies"
_TABLE = "SELECT 1 FROM sqlite_master WHERE name = 'cookies'"
_PAGES = 200
_NAP_S = 0.05
_ROUNDS = 10_000  # 2 million pages: a database that is begun anew all the time ends here
_FIXED = "v10"  # the tag of a key that everybody knows
_TAG = re.compile(rb"v[0-9]{2}")
# What belongs to a database beside its file: changes that a killed browser has not brought into it yet.
LOGS = ("Cookies-journal", "Cookies-wal")
_COPY = "tokd-cookies-"
_OLD_S = 60  # of a copy that is looked at for a moment only
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW

# Closing any descriptor of a file drops every POSIX lock this process has on it: one at a time.
ONE_READER = threading.Lock()


class InUse(Exception):
    """The database stayed locked, or would not hold still, for as long as was granted."""


@dataclass(frozen=True, slots=True)
class Jar:
    """What a profile's cookie databases hold: how many rows of which key's tag. `unread`: why one is not counted.

    `names` and `digests` are those of the cookies whose key a keyring has.
    """

    rows: Mapping[str, int]
    unread: tuple[str, ...] = ()
    names: frozenset[str] = field(default=frozenset(), repr=False)
    digests: frozenset[bytes] = field(default=frozenset(), repr=False)

    @property
    def encryption(self) -> Encryption:
        """Return what the core knows of it: all keys but the fixed one are somebody's, who must be asked."""
        fixed = self.rows.get(_FIXED, 0)
        return Encryption(v10=fixed, v11=sum(self.rows.values()) - fixed)

    @property
    def tags(self) -> frozenset[str]:
        """Return the tags of the keys that a keyring keeps."""
        return frozenset(self.rows) - {_FIXED}

    def has_lost(self, now: "Jar") -> bool:
        """Tell whether the keyring's cookies are gone by `now`; new ones, perhaps with another key, are no comfort.

        A site may give a new value to each of them: then all their names are still there.
        """
        return bool(self.digests) and not self.digests & now.digests and not self.names <= now.names


def read(user_data_dir: Path) -> Jar:
    """Count the cookies by the key they are encrypted with; nothing is written there, nothing decrypted.

    Raises OSError.
    """
    rows: Counter[str] = Counter()
    unread, names, digests = [], set(), set()
    for folder in profile_folders(user_data_dir):
        if not (folder / "Cookies").is_file():
            continue
        try:
            for name, value in _rows(folder):
                if not isinstance(value, bytes) or not _TAG.fullmatch(value[:3]):
                    continue
                rows[value[:3].decode()] += 1
                if value[:3] != _FIXED.encode():
                    names.add(str(name))
                    digests.add(hashlib.sha256(value).digest())
        except sqlite3.Error as error:
            unread.append(f"the cookies of {folder.name} could not be counted: {error}")
    return Jar(rows, tuple(unread), frozenset(names), frozenset(digests))


def _rows(folder: Path) -> list[tuple[object, object]]:
    if not any(_is_filled(folder / name) for name in LOGS):
        # `immutable`: not even a lock. Nothing else is to be considered, so that nothing is missed by that.
        return _ask(f"{(folder / 'Cookies').as_uri()}?mode=ro&immutable=1")
    with tempfile.TemporaryDirectory(prefix=_COPY) as copy:
        keep_copy(folder, Path(copy))
        return _ask((Path(copy) / "Cookies").as_uri())


def _ask(uri: str) -> list[tuple[object, object]]:
    with ONE_READER, closing(sqlite3.connect(uri, uri=True)) as database:
        is_filled = database.execute(_TABLE).fetchone()  # a browser's first seconds leave an empty one
        return database.execute(_ROWS).fetchall() if is_filled else []


def clear_copies(now: float) -> None:
    """Remove the copies that a killed tokd has left in the temp folder. Never raises."""
    for path in Path(tempfile.gettempdir()).glob(f"{_COPY}*"):
        with suppress(OSError):
            found = path.lstat()
            is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
            if is_ours and now - found.st_mtime > _OLD_S:
                shutil.rmtree(path)


def _is_filled(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


def keep_copy(folder: Path, target: Path) -> None:
    """Copy a profile folder's cookie database, and what belongs to it, as files 0600. Raises OSError."""
    with ONE_READER, opened(str(folder), _FOLDER) as source, opened(str(target), _FOLDER) as made:
        for name in ("Cookies", *LOGS):
            with suppress(FileNotFoundError):
                copy_file(name, source, made, Patience())


def refuse_lost_key(profile: ProfileName, jar: Jar, store: str, environ: Mapping[str, str]) -> None:
    """Raise Rejected(keyring_unreachable) where the browser could not decrypt the cookies.

    It would not only be logged out then: it deletes them.
    """
    if not jar.tags:
        return
    why: str | None = "and session.password_store is basic, which cannot read them: set it to detect"
    if store != "basic":
        why = keyring.trouble(jar.tags, store, environ)
    if why is not None:
        raise refusals.no_keyring(profile, why)


def refuse_loss(profile: ProfileName, before: Jar, now: Jar) -> None:
    """Raise Rejected where the clone's browser could not read the keyring's cookies, and so has deleted them."""
    if before.unread:
        raise refusals.changed(
            profile, f"was cloned without its cookies being understood ({before.unread[0]})"
        )
    if before.has_lost(now):
        raise refusals.changed(
            profile,
            "kept its cookies with the desktop's keyring, and its clone has lost them all: their key was not reached",
        )


def back_up(source: Path, target: Path, within_s: float, ask: Callable[[], object] = lambda: None) -> None:
    """Copy a database that a browser has open, as of one moment. Raises InUse, Rejected, OSError, and what `ask` raises.

    Bounded: SQLite itself waits for ever on a database that is locked exclusively, as Chromium's are but for Cookies.
    """
    naps_left = within_s / _NAP_S
    rounds_left = _ROUNDS

    def progress(status: int, _remaining: int, _pages: int) -> None:
        nonlocal naps_left, rounds_left
        ask()
        rounds_left -= 1
        naps_left -= status in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
        if naps_left < 0 or rounds_left < 0:
            raise InUse(f"{source.name} stays locked")

    with opened(str(target), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW):
        pass  # made by us, for the mode of it
    try:
        with (
            closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True, timeout=0)) as ours,
            closing(sqlite3.connect(target, isolation_level=None)) as theirs,
        ):
            theirs.execute("PRAGMA journal_mode=OFF")
            theirs.execute("PRAGMA synchronous=OFF")
            ours.backup(theirs, pages=_PAGES, progress=progress, sleep=_NAP_S)
    except (InUse, sqlite3.Error) as error:
        target.unlink(missing_ok=True)
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise Rejected(
                Code.DISK_FULL,
                "the disk is full while cloning the cookies; free some space and try again",
                retryable=True,
            ) from error
        raise error if isinstance(error, InUse) else InUse(f"{source.name}: {error}") from error
