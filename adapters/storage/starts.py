"""How the last starts ended: a small file beside the ledger, since the ledger may be what is broken.

A start is unclean when its process ended without saying so: killed, crashed, or by exit code 70. After so many of them
within so many seconds the next start is one in safe mode, and stays so until a person has looked.
"""

import json
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from adapters.storage.check import quick_fault
from adapters.storage.files import replace_text
from daemon.domain.errors import StartRefused
from daemon.domain.times import iso

NAME = "starts.json"


@dataclass(frozen=True, slots=True)
class Starts:
    """What the file says. Times are ISO 8601, in UTC."""

    running: str | None = None  # since when; still there at the next start: that one did not end cleanly
    unclean: tuple[str, ...] = ()
    safe_mode: str | None = None  # why
    has_ledger: bool = False


class StartLog:
    """Keeps the file. The state folder's lock must be held for `begin` and `end`."""

    def __init__(self, folder: Path, ledger: Path | None, most: int, within_s: float) -> None:
        self._path = folder / NAME
        self._ledger = ledger
        self._most = most
        self._within = timedelta(seconds=within_s)

    def begin(self, now: datetime) -> str | None:
        """Note a start; return why it must be one in safe mode, None where it need not.

        Raises StartRefused where the ledger is gone, empty or, after an unclean end, damaged: nothing is made in its
        place, since an empty ledger forgets what was posted and would post it again.
        """
        found = read_starts(self._path)
        if self._ledger is not None:
            _require_ledger(self._ledger, found)
        unclean = found.unclean
        if found.running is not None:
            unclean = (*unclean, found.running)
        unclean = tuple(at for at in unclean if now - datetime.fromisoformat(at) <= self._within)
        reason = found.safe_mode
        if reason is None and self._most and len(unclean) >= self._most:
            reason = f"{len(unclean)} starts in a row did not end cleanly, the first at {unclean[0]}"
        self._write(replace(found, running=iso(now), unclean=unclean, safe_mode=reason))
        return reason

    def end(self) -> None:
        """Note a clean end, or a start that was refused: the row of unclean ones is over."""
        found = read_starts(self._path)
        self._write(replace(found, running=None, unclean=()))

    def _write(self, starts: Starts) -> None:
        if self._ledger is not None and self._ledger.exists() and self._ledger.stat().st_size > 0:
            starts = replace(starts, has_ledger=True)
        replace_text(self._path, json.dumps(asdict(starts)) + "\n")


def read_starts(path: Path) -> Starts:
    """Return what the file says; a missing or unreadable one says nothing."""
    try:
        found = json.loads(path.read_text())
        return Starts(
            running=found["running"], unclean=tuple(found["unclean"]), safe_mode=found["safe_mode"],
            has_ledger=bool(found["has_ledger"]),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError):
        return Starts()


def leave_safe_mode(folder: Path) -> str | None:
    """Forget the unclean starts; return why there was a safe mode, None where there was none."""
    found = read_starts(folder / NAME)
    if found != Starts():
        replace_text(folder / NAME, json.dumps(asdict(replace(found, unclean=(), safe_mode=None))) + "\n")
    return found.safe_mode


def _require_ledger(ledger: Path, found: Starts) -> None:
    is_there = ledger.exists() and ledger.stat().st_size > 0
    if not is_there and (found.has_ledger or ledger.exists()):
        raise StartRefused(
            f"the ledger {ledger} is {'empty' if ledger.exists() else 'gone'}, and there was one. Nothing is put in its "
            "place: without it tokd would not know what was posted. `tokd restore FILE` puts a backup back; to begin "
            f"with an empty ledger all the same, remove {ledger.with_name(NAME)} and the empty file"
        )
    if is_there and found.running is not None and (fault := quick_fault(ledger)) is not None:
        raise StartRefused(
            f"the ledger {ledger} is damaged: {fault}. Nothing was changed. `tokd db check` says more; "
            "`tokd restore FILE` puts a backup back"
        )
