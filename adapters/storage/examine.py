"""May this ledger be worked with? Looked at before every start, and only read: a harmed ledger stays as it is."""

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from adapters.storage.check import file_faults, open_readonly, quick_faults, unreadable_rows
from adapters.storage.mark import mark_of, read_mark, read_water, what_is_missing
from adapters.storage.migrate import HEAD, refuse_newer, revision_of_file
from adapters.storage.store import PENDING
from daemon.domain.errors import StartRefused

RESTORE = "stop tokd; `tokd db check` says more, and `tokd restore FILE` puts a backup back"
ACCEPT = (
    "stop tokd, then `tokd restore FILE` puts a backup back; or, if you know how this came about, `tokd db accept` goes "
    "on with the ledger as it is and doubts every post that may have gone out since"
)
_SOONEST = 1000  # posts that are looked into
# Errors that say nothing of the bytes: another program, this user's rights, a full disk.
_AROUND = {
    sqlite3.SQLITE_PERM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL,
}  # fmt: skip
_UNREADABLE = {sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS}


@dataclass(frozen=True, slots=True)
class CheckLimits:
    """Up to how many bytes the full check is made: after every unclean end, and once a week.

    Measured: 0.3 s for the 35 MB of 10,000 posts, 4 s for the 354 MB of 100,000. Above, the quick check (a fifth of
    that) must do, which does not see an index that contradicts its table; above the second, `tokd db check` by hand.
    """

    always: int = 64 * 1024**2
    weekly: int = 1024**3


@dataclass(frozen=True, slots=True)
class Harm:
    """What is wrong with a ledger, and what a person is to do."""

    reason: str
    todo: str = RESTORE


@dataclass(frozen=True, slots=True)
class Examined:
    """What an examination has found."""

    harm: Harm | None = None
    is_ledger: bool = True  # False: there is none yet, or one without a schema, and none is expected
    was_full: bool = False  # the full check was made, and found nothing


def examine(
    ledger: Path, *, is_expected: bool, needs_check: bool, is_full_due: bool, limits: CheckLimits
) -> Examined:
    """Look at a ledger before anything opens it for writing.

    `is_expected`: there was one. `needs_check`: the last end was unclean, or harm was found then. `is_full_due`: the
    weekly check has its turn. Raises StartRefused where it is none of harm: a restore that was cut short, a newer
    program's ledger, a file that this user may not open, another program that holds it.
    """
    if ledger.with_name(ledger.name + PENDING).exists():
        raise StartRefused(f"a restore of {ledger} was interrupted; run `tokd restore FILE` once more")
    is_expected = is_expected or mark_of(ledger).exists()
    if not ledger.exists() or ledger.stat().st_size == 0:
        if not is_expected and not ledger.exists():
            return Examined(is_ledger=False)
        return Examined(_gone(ledger))
    if not os.access(ledger, os.R_OK | os.W_OK):
        raise StartRefused(
            f"the ledger {ledger} cannot be read and written by this user: look at its owner and mode"
        )
    try:
        revision = revision_of_file(ledger)
        refuse_newer(revision)
        if revision is None:
            harm = (
                Harm(f"the ledger {ledger} has no table in it, and there was a ledger")
                if is_expected
                else None
            )
            return Examined(harm, is_ledger=False)
        size = _size(ledger)
        is_full = (needs_check and size <= limits.always) or (is_full_due and size <= limits.weekly)
        return _examine(ledger, needs_check=needs_check, is_full=is_full, is_ours=revision == HEAD)
    except sqlite3.Error as error:
        return Examined(_harm_of(ledger, error))


def _examine(ledger: Path, *, needs_check: bool, is_full: bool, is_ours: bool) -> Examined:
    with closing(open_readonly(ledger)) as raw:
        missing = what_is_missing(read_mark(mark_of(ledger)), read_water(raw))
        faults = file_faults(raw) if is_full else quick_faults(raw) if needs_check else []
        if not faults and is_ours and (is_full or needs_check):
            faults = unreadable_rows(raw, _SOONEST)
    if faults:
        more = f" and {len(faults) - 1} more faults" if len(faults) > 1 else ""
        return Examined(Harm(f"the ledger {ledger} is damaged: {faults[0]}{more}"))
    if missing is not None:
        return Examined(Harm(f"the ledger {ledger} is not the one that tokd left: {missing}", ACCEPT))
    return Examined(was_full=is_full)


def _gone(ledger: Path) -> Harm:
    what = "empty" if ledger.exists() else "gone"
    return Harm(
        f"the ledger {ledger} is {what}, and there was one: without it tokd does not know what was posted",
        "stop tokd, then `tokd restore FILE` puts a backup back; to begin with an empty ledger all the same, remove "
        f"{ledger.with_name('starts.json')}, {mark_of(ledger)} and what is left of the ledger",
    )


def _harm_of(ledger: Path, error: sqlite3.Error) -> Harm:
    """Return the harm that an error means. Raises StartRefused for an error that says nothing of the bytes."""
    code = getattr(error, "sqlite_errorcode", None) or 0
    if code & 0xFF not in _AROUND or code in _UNREADABLE:
        return Harm(f"the ledger {ledger} is damaged: {error}")
    raise StartRefused(
        f"the ledger {ledger} cannot be looked at: {error}. Is another program at it, is the disk full, may this user "
        "read it? Nothing was changed"
    ) from None


def _size(ledger: Path) -> int:
    log = ledger.with_name(ledger.name + "-wal")
    return ledger.stat().st_size + (log.stat().st_size if log.exists() else 0)
