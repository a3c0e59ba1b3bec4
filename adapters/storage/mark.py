"""The high-water mark: a small file beside the ledger that says how far the ledger was when the world was last told so.

A write-ahead log that was cut short, or an older copy put in the ledger's place, looks sound to SQLite: what is missing
is not missed by anything in the file, and what is missing may be that a post went out. So every write transaction moves
a counter in the ledger, in the same commit, and after the commit the counter is written here.

The order makes it safe: first the commit, which waits for the disk (synchronous=FULL), then the mark, which does not. So
a power cut can leave a mark that is behind the ledger, which is normal, but never one that is ahead of it. A mark ahead
of its ledger means that acknowledged commits are gone.
"""

import contextlib
import logging
import os
import secrets
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from adapters.storage.files import replace_text

LOG = logging.getLogger("tokd.storage")
_SIZE = 96  # within one sector: a power cut leaves the old text or the new one
_WORD = "tokd-mark-1"
# The flags of the ledger itself belong to no node, "", for a node may be renamed.
WATER_FLAGS = _ID, _COMMITS = "ledger_id", "commits"
_SET = (
    "INSERT INTO flag (node, name, value) VALUES ('', ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value"
)
_COUNT = (
    "UPDATE flag SET value = CAST(value AS INTEGER) + 1 WHERE node = '' AND name = 'commits' RETURNING value"
)


@dataclass(frozen=True, slots=True)
class Water:
    """How far a ledger is: its own random name, its write transactions so far, its node's newest event."""

    ledger: str
    commits: int
    sequence: int


def mark_of(ledger: Path) -> Path:
    """Return where a ledger's mark stands."""
    return ledger.with_suffix(".mark")


def read_mark(path: Path) -> Water | None:
    """Return what a mark says; a missing or unreadable one says nothing."""
    with contextlib.suppress(OSError, ValueError):
        word, name, commits, sequence, check = path.read_text("ascii").split()
        if word == _WORD and int(check) == crc32(f"{name} {commits} {sequence}".encode()):
            return Water(name, int(commits), int(sequence))
    return None


def read_water(raw: sqlite3.Connection) -> Water | None:
    """Return how far a ledger is, None where it has never been counted. Raises sqlite3.Error."""
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    if any(raw.execute(query, (name,)).fetchone() is None for name in ("flag", "outbox")):
        return None
    found = dict(raw.execute("SELECT name, value FROM flag WHERE node = ''"))
    if _ID not in found or not found.get(_COMMITS, "").isdecimal():
        return None
    sequence = raw.execute("SELECT COALESCE(MAX(sequence), 0) FROM outbox").fetchone()[0]
    return Water(found[_ID], int(found[_COMMITS]), sequence)


def what_is_missing(marked: Water | None, found: Water | None) -> str | None:
    """Return what a ledger lacks of what its mark says; None where it lacks nothing, or nothing is marked."""
    if marked is None or (
        found is not None and found.ledger == marked.ledger and found.commits >= marked.commits
    ):
        return None
    if found is None:
        return "it is an older copy, or another ledger than the one that tokd wrote last"
    if found.ledger != marked.ledger:
        return "it is another ledger than the one that tokd wrote last"
    commits = _count(marked.commits - found.commits, "commit")
    events = _count(max(0, marked.sequence - found.sequence), "event")
    return (
        f"{commits} that tokd had acknowledged and {events} are missing: its log was cut short, or an older copy was put "
        "in its place"
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


class Mark:
    """Keeps the file for the one process that writes the ledger (the state folder's lock says which)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._ledger = ""
        self._sequence = 0
        self._has_complained = False

    def open(self, raw: sqlite3.Connection) -> None:
        """Begin to count this ledger, and mark how far it is. In a write transaction of its own.

        Whether an older mark is ahead of the ledger must have been looked at before.
        """
        raw.execute("BEGIN IMMEDIATE")
        try:
            found = read_water(raw)
            if found is None:
                found = Water(secrets.token_hex(8), 0, 0)
                raw.execute(_SET, (_ID, found.ledger))
                raw.execute(_SET, (_COMMITS, "0"))
            raw.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                raw.execute("ROLLBACK")
            raise
        self._ledger, self._sequence = found.ledger, found.sequence
        try:
            replace_text(self._path, _text(found))
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            self._complain(error)

    @staticmethod
    def count(raw: sqlite3.Connection) -> int:
        """Count a write transaction, as its last statement; return the count. Raises sqlite3.Error."""
        return int(raw.execute(_COUNT).fetchone()[0])

    def write(self, commits: int, sequence: int | None) -> None:
        """Mark a commit, once it is durable. Never raises: a mark that stays behind only sees less."""
        self._sequence = max(self._sequence, sequence or 0)
        if self._descriptor is None:
            return
        try:
            os.pwrite(self._descriptor, _text(Water(self._ledger, commits, self._sequence)).encode(), 0)
        except OSError as error:
            self._complain(error)

    def close(self) -> None:
        """Let go of the file. Safe twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _complain(self, error: OSError) -> None:
        if not self._has_complained:
            self._has_complained = True
            LOG.warning(
                "the mark %s cannot be written: %s; a ledger cut short would not be noticed",
                self._path,
                error,
            )


def _text(water: Water) -> str:
    values = f"{water.ledger} {water.commits} {water.sequence}"
    return f"{_WORD} {values} {crc32(values.encode())}".ljust(_SIZE - 1) + "\n"
