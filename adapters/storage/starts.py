"""How the last starts ended: a small file beside the ledger, since the ledger may be what is broken.

A start is unclean when its process ended without saying so: killed, crashed, or by exit code 70. After so many of them
within so many seconds the next start is one in safe mode, and stays so until a person has looked. A start on a ledger
that must not be worked with is one in safe mode, too.
"""

import contextlib
import json
import sqlite3
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from adapters.storage.examine import CheckLimits, Examined, examine
from adapters.storage.files import replace_text
from adapters.storage.migrate import revision_of_file
from daemon.domain.errors import StartRefused
from daemon.domain.safe_mode import SafeMode
from daemon.domain.times import iso

NAME = "starts.json"
LEAVE = "look at its log, then `tokd safe-mode leave` and start it again"
FULL_CHECK_EVERY = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Starts:
    """What the file says. Times are ISO 8601, in UTC."""

    running: str | None = None  # since when; still there at the next start: that one did not end cleanly
    unclean: tuple[str, ...] = ()
    safe_mode: str | None = None  # why
    has_ledger: bool = False
    harm: str | None = None  # what is wrong with the ledger: it is checked again until nothing is
    checked: str | None = (
        None  # when the full check last found nothing, or the week until the first one began
    )


class StartLog:
    """Keeps the file. The state folder's lock must be held for `begin` and `end`."""

    def __init__(
        self, folder: Path, ledger: Path | None, most: int, within_s: float, limits: CheckLimits | None = None
    ) -> None:
        self._path = folder / NAME
        self._ledger = ledger
        self._most = most
        self._within = timedelta(seconds=within_s)
        self._limits = limits or CheckLimits()

    def begin(self, now: datetime) -> SafeMode | None:
        """Note a start; return why it must be one in safe mode, None where it need not.

        A ledger that is gone, damaged or behind its mark makes it a blind one: nothing is made in its place, since an
        empty or older ledger would post again what was posted. Raises StartRefused where a person at the machine must
        mend something else first.
        """
        found = read_starts(self._path)
        unclean = found.unclean
        if found.running is not None:
            unclean = (*unclean, found.running)
        unclean = tuple(at for at in unclean if now - datetime.fromisoformat(at) <= self._within)
        reason = found.safe_mode
        if reason is None and self._most and len(unclean) >= self._most:
            reason = f"{len(unclean)} starts in a row did not end cleanly, the first at {unclean[0]}"
        examined = self._examine(found, now)
        self._write(
            replace(
                found,
                running=iso(now),
                unclean=unclean,
                safe_mode=reason,
                has_ledger=found.has_ledger or examined.is_ledger,
                harm=examined.harm.reason if examined.harm is not None else None,
                checked=iso(now) if examined.was_full or found.checked is None else found.checked,
            )
        )
        if examined.harm is not None:
            return SafeMode(examined.harm.reason, examined.harm.todo, is_blind=True)
        return SafeMode(reason, LEAVE) if reason is not None else None

    def _examine(self, found: Starts, now: datetime) -> Examined:
        if self._ledger is None:
            return Examined(is_ledger=False)
        last = datetime.fromisoformat(found.checked) if found.checked is not None else now
        return examine(
            self._ledger,
            is_expected=found.has_ledger,
            needs_check=found.running is not None or found.harm is not None,
            is_full_due=found.harm is not None or now - last >= FULL_CHECK_EVERY or now < last,
            limits=self._limits,
        )

    def end(self) -> None:
        """Note a clean end, or a start that was refused: the row of unclean ones is over."""
        found, has_ledger = read_starts(self._path), False
        if self._ledger is not None:
            with contextlib.suppress(sqlite3.Error):  # a damaged one: that there is one is noted already
                has_ledger = revision_of_file(self._ledger) is not None
        self._write(replace(found, running=None, unclean=(), has_ledger=found.has_ledger or has_ledger))

    def _write(self, starts: Starts) -> None:
        replace_text(self._path, json.dumps(asdict(starts)) + "\n")


def read_starts(path: Path) -> Starts:
    """Return what the file says; a missing or unreadable one says nothing."""
    try:
        found = json.loads(path.read_text())
        return Starts(
            running=found["running"], unclean=tuple(found["unclean"]), safe_mode=found["safe_mode"],
            has_ledger=bool(found["has_ledger"]), harm=found.get("harm"), checked=found.get("checked"),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError):
        return Starts()


def require_unharmed(folder: Path, ledger: Path | None) -> None:
    """Raise StartRefused where a command must not write to the ledger while tokd is stopped, or make one anew."""
    found = read_starts(folder / NAME)
    if ledger is None:
        return
    has_harm = found.harm is not None
    examined = examine(
        ledger, is_expected=found.has_ledger, needs_check=has_harm or found.running is not None, is_full_due=has_harm,
        limits=CheckLimits(),
    )  # fmt: skip
    if examined.harm is not None:
        raise StartRefused(f"{examined.harm.reason}; {examined.harm.todo}")


def leave_safe_mode(folder: Path) -> str | None:
    """Forget the unclean starts and the harm; return why there was a safe mode, None where there was none.

    Where there is harm, the ledger must have been replaced or accepted before.
    """
    found = read_starts(folder / NAME)
    if found != Starts():
        left = replace(found, unclean=(), safe_mode=None, harm=None)
        replace_text(folder / NAME, json.dumps(asdict(left)) + "\n")
    return found.safe_mode
