"""The cookie databases: how they are encrypted, whether the key can be reached, and a copy of one in use."""

import os
import re
import socket
import sqlite3
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote

from adapters.profiles import refusals
from adapters.profiles.cloning import opened, profile_folders
from daemon.domain.errors import Code, Rejected
from daemon.domain.ids import ProfileName
from daemon.domain.session import Encryption

_COUNT = "SELECT substr(encrypted_value, 1, 3), count(*) FROM cookies GROUP BY 1"
_TABLE = "SELECT 1 FROM sqlite_master WHERE name = 'cookies'"
_PAGES = 200
_NAP_S = 0.05
_ROUNDS = 10_000  # 2 million pages: a database that is begun anew all the time ends here
_CONNECT_S = 1.0
_UNIX = re.compile(r"unix:(?:.*,)?(?P<kind>path|abstract)=(?P<where>[^,]+)")

# Closing any descriptor of a file drops every POSIX lock this process has on it: one at a time.
ONE_READER = threading.Lock()


class InUse(Exception):
    """The database stayed locked, or would not hold still, for as long as was granted."""


def read_encryption(user_data_dir: Path) -> tuple[Encryption, tuple[str, ...]]:
    """Count the cookies by the key they are encrypted with; nothing is written, nothing decrypted.

    Return the warnings of databases that could not be read, too; these count as empty. Raises OSError.
    """
    found = {b"v10": 0, b"v11": 0}
    warnings = []
    for folder in profile_folders(user_data_dir):
        path = folder / "Cookies"
        if not path.is_file():
            continue
        try:
            for prefix, count in _count(path):
                if prefix in found:
                    found[prefix] += count
        except sqlite3.Error as error:
            warnings.append(f"the cookies of {path.parent.name} could not be counted: {error}")
    return Encryption(v10=found[b"v10"], v11=found[b"v11"]), tuple(warnings)


def _count(path: Path) -> list[tuple[bytes, int]]:
    # `immutable`: not even a lock or a journal's roll-back.
    with ONE_READER, closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as database:
        is_filled = database.execute(_TABLE).fetchone()  # a browser's first seconds leave an empty one
        return database.execute(_COUNT).fetchall() if is_filled else []


def refuse_lost_key(profile: ProfileName, found: Encryption, store: str, environ: Mapping[str, str]) -> None:
    """Raise Rejected(keyring_unreachable) where the browser could not decrypt the cookies.

    It would not only be logged out then: it deletes them.
    """
    if not found.needs_keyring:
        return
    if store == "basic":
        raise refusals.no_keyring(
            profile, "and session.password_store is basic, which cannot read them: set it to detect"
        )
    if not is_bus_reachable(environ):
        raise refusals.no_keyring(
            profile,
            "and no session bus is reachable: run tokd as your user service inside the desktop session, "
            "or make a profile of its own with `tokd profile login`",
        )


def is_bus_reachable(environ: Mapping[str, str]) -> bool:
    """Tell whether the desktop's session bus takes a connection; of one that is no Unix socket nobody can tell."""
    named = environ.get("DBUS_SESSION_BUS_ADDRESS", "")
    if not named:
        runtime = environ.get("XDG_RUNTIME_DIR", "")
        return bool(runtime) and _takes(f"{runtime}/bus")
    return any(_is_reachable(address) for address in named.split(";") if address)


def _is_reachable(address: str) -> bool:
    if not address.startswith("unix:"):
        return not address.startswith(("autolaunch:", "disabled:"))
    found = _UNIX.fullmatch(address.partition(",guid=")[0])
    if found is None:
        return False
    where = unquote(found["where"])
    return _takes(f"\0{where}" if found["kind"] == "abstract" else where)


def _takes(where: str) -> bool:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(_CONNECT_S)
            probe.connect(where)
    except (OSError, ValueError):
        return False
    return True


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
