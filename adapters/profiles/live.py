"""Cloning a profile that a browser has open: as good as it gets, and it says what may be missing."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from adapters.profiles import refusals
from adapters.profiles.cloning import Walk, is_skipped, never, opened
from adapters.profiles.cookies import ONE_READER, InUse, back_up
from daemon.domain.ids import ProfileName

WARNING = "cloned while a browser had the profile open: the cookies of its last 30 seconds may be missing"
COOKIES_WITHIN_S = 3.0
# Held exclusively for as long as the browser runs, and none of them is needed for being logged in.
LOCKED = re.compile(
    r"History|Favicons|Shortcuts|Top Sites|Network Action Predictor|Affiliation Database|ServerCertificate|"
    r"Reporting and NEL|Trust Tokens|(Account )?Web Data|Login Data( For Account)?|.*_opt_out\.db"
)
_OTHERS_WITHIN_S = 0.1
_COPIES = 3
_SQLITE = b"SQLite format 3\0"
_HEADER = 20
_ROLLBACK = 1  # the journal mode's byte at 18; 2 is a write-ahead log


class LiveWalk(Walk):
    """Copies each kind of file so that it is whole: databases by backup, LevelDB folders until two looks agree."""

    def __init__(self, profile: ProfileName, stop: Callable[[], bool] = never) -> None:
        super().__init__(is_skipped, stop)
        self._profile = profile
        self.warnings = [WARNING]

    def file(self, name: str, source: int, target: int, path: str, copy: str) -> None:
        """Copy one file, or leave out what is locked and what belongs to a database that is copied whole."""
        if name.endswith(("-journal", "-shm")) or LOCKED.fullmatch(name):
            return
        if not self._is_rollback(name, source):
            self.plain(name, source, target)
            return
        try:
            with ONE_READER:
                within_s = COOKIES_WITHIN_S if name == "Cookies" else _OTHERS_WITHIN_S
                back_up(Path(path, name), Path(copy, name), within_s, self._patience.ask)
        except InUse as error:
            if name == "Cookies":
                raise refusals.locked(
                    self._profile,
                    f"a browser that keeps its cookies locked ({error})",
                    "close that browser",
                ) from error

    def folder(
        self, name: str, source: int, target: int, path: str, copy: str, parts: tuple[str, ...]
    ) -> None:
        """Copy one folder; one of LevelDB again where it changed meanwhile, three times at most."""
        found = f"{path}/{name}"
        for _ in range(_COPIES):
            before = outline(found)
            super().folder(name, source, target, path, copy, parts)
            if before is None or outline(found) == before:
                return
            shutil.rmtree(f"{copy}/{name}")
        super().folder(name, source, target, path, copy, parts)
        self.warnings.append(f"{'/'.join((*parts, name))} changed all the while and may be incomplete")

    @staticmethod
    def _is_rollback(name: str, source: int) -> bool:
        """Tell whether this is a database with a roll-back journal: a plain copy of such a one can be torn."""
        with ONE_READER, opened(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, within=source) as found:
            header = os.pread(found, _HEADER, 0)
        return header.startswith(_SQLITE) and header[18:19] == bytes((_ROLLBACK,))


def outline(folder: str) -> tuple[bytes, frozenset[tuple[str, int]]] | None:
    """Return what must not change while a LevelDB folder is copied; None where it is none.

    Its logs only grow at their ends, so that their sizes do not count; its manifest's does.
    """
    try:
        current = Path(folder, "CURRENT").read_bytes()
        with os.scandir(folder) as entries:
            return current, frozenset((entry.name, _size(entry)) for entry in entries)
    except OSError:
        return None


def _size(entry: "os.DirEntry[str]") -> int:
    return entry.stat(follow_symlinks=False).st_size if entry.name.startswith("MANIFEST") else 0


def walk_for(
    profile: ProfileName, stop: Callable[[], bool], *, is_live: bool
) -> tuple[Walk, Callable[[], tuple[str, ...]]]:
    """Return the walk for a profile, and what asks it for its warnings afterwards."""
    walk = LiveWalk(profile, stop) if is_live else Walk(is_skipped, stop)
    return walk, lambda: tuple(walk.warnings)
