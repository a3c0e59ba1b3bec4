"""The sessions' folders: made under a lock that shows from the first moment, removed whole, and found when orphaned."""

import fcntl
import json
import os
import shutil
import stat
import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.profiles import locks
from adapters.profiles.cloning import opened
from daemon.domain.ids import NAME, SessionId

NEW, GONE = ".new-", ".gone-"
RETRIES_S = (0.2, 0.4, 0.8)
_PREFIX = "tokd-s-"
# A Unix socket's path has 107 bytes, and Chromium puts this behind its temp folder.
_SOCKET = "/org.chromium.Chromium.XXXXXX/SingletonSocket"
_SOCKET_MAX = 107
_MARKS = frozenset({"profile", "t", "session.json"})
_YOUNG_S = 60
# From linux/fs.h, for most machines; on the others the kernel does not know them.
_GET_FLAGS = 2 << 30 | struct.calcsize("l") << 16 | ord("f") << 8 | 1
_SET_FLAGS = 1 << 30 | struct.calcsize("l") << 16 | ord("f") << 8 | 2
_TOP_OF_TREES = 0x20000
_QUICK_FILES = 5000


@dataclass(frozen=True, slots=True)
class Folder:
    """One session's folder, locked."""

    path: Path
    user_data_dir: Path
    temp_dir: Path
    lock: int
    is_master: bool = False


@dataclass(frozen=True, slots=True)
class Folders:
    """The folder of the sessions' folders. `temp_bases`: where a short temp folder may be, the best first."""

    path: Path
    temp_bases: tuple[Path, ...]
    pause: Callable[[float], object]

    def make(self, session: SessionId, master: Path | None, note: Mapping[str, Any]) -> Folder:
        """Make the folder of a session, locked before anybody can see it under its name. Raises OSError.

        `master`: the profile itself, where the session works on no clone.
        """
        with self._door(fcntl.LOCK_SH) as door:
            _spread(door)
            return self._make(session, master, note)

    @contextmanager
    def _door(self, how: int) -> Iterator[int]:
        """Hold the folder of the sessions itself: together with others while one of them is made. Raises OSError."""
        with opened(str(self.path), os.O_RDONLY | os.O_DIRECTORY) as door:
            fcntl.flock(door, how)
            yield door

    def _make(self, session: SessionId, master: Path | None, note: Mapping[str, Any]) -> Folder:
        fresh, final = self.path / f"{NEW}{session}", self.path / session
        if os.path.lexists(final):
            raise FileExistsError(17, "there is a session of this name", str(final))
        fresh.mkdir(0o700)
        temp_dir, lock = None, -1
        try:
            lock = _locked(fresh)
            temp_dir = self._temp_dir(fresh, final, session)
            folder = Folder(final, master or final / "profile", temp_dir, lock, master is not None)
            places = {"user_data_dir": str(folder.user_data_dir), "temp_dir": str(temp_dir)}
            told = {**note, "session": session, **places}
            _write(fresh / "session.json", json.dumps(told, indent=1) + "\n")
            fresh.rename(final)
        except BaseException:
            _remove(fresh, temp_dir)
            if lock >= 0:
                os.close(lock)
            raise
        return folder

    def _temp_dir(self, fresh: Path, final: Path, session: SessionId) -> Path:
        if len(os.fsencode(f"{final}/t{_SOCKET}")) <= _SOCKET_MAX:
            (fresh / "t").mkdir(0o700)
            return final / "t"
        for base in self.temp_bases:
            if len(os.fsencode(f"{base}/{_PREFIX}{session}{_SOCKET}")) > _SOCKET_MAX:
                continue
            with suppress(OSError):  # by this name it is found where no note tells of it
                (base / f"{_PREFIX}{session}").mkdir(0o700)
                return base / f"{_PREFIX}{session}"
            with suppress(OSError):
                return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
        raise FileNotFoundError(
            2, "no folder with a short path is left for the browser's socket", str(self.temp_bases[-1])
        )

    def remove(self, path: Path, temp_dir: Path) -> bool:
        """Remove a session's folder and its temp folder; return whether all is gone. Never raises.

        It is renamed first: what will not go, or is cut short, is known by its name later.
        """
        gone = self.path / f"{GONE}{path.name}"
        with suppress(OSError):
            path.rename(gone)
            path = gone
        outside = temp_dir if self._is_ours_outside(temp_dir) else None
        if _remove(path, outside):
            return True
        for wait_s in RETRIES_S:
            self.pause(wait_s)
            if _remove(path, outside):
                return True
        return False

    def give_up(self, path: Path, temp_dir: Path) -> None:
        """Remove as much of a session's folder as goes quickly; a survey does the rest. Never raises."""
        gone = self.path / f"{GONE}{path.name}"
        with suppress(OSError):
            path.rename(gone)
            path = gone
            if self._is_ours_outside(temp_dir):
                shutil.rmtree(temp_dir)
            _remove_some(path)

    def _is_ours_outside(self, temp_dir: Path) -> bool:
        """Tell whether this is a temp folder of the kind that we make: whoever wrote it down may be mistaken."""
        if temp_dir.parent not in self.temp_bases or not temp_dir.name.startswith(_PREFIX):
            return False
        try:
            found = temp_dir.lstat()
        except OSError:
            return False
        return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()

    def survey(
        self, now: float, is_master: Callable[[Path], bool]
    ) -> tuple[dict[SessionId, Folder], set[SessionId]]:
        """Return the orphans, locked now, and the sessions that somebody holds. Clears up broken beginnings and ends."""
        orphans: dict[SessionId, Folder] = {}
        held: set[SessionId] = set()
        try:
            paths = sorted(self.path.iterdir())
        except OSError:
            return {}, set()
        for path in paths:
            name = path.name
            with suppress(OSError):
                if not stat.S_ISDIR(path.lstat().st_mode):
                    continue
                if name.startswith((NEW, GONE)) and NAME.fullmatch(name.removeprefix(NEW).removeprefix(GONE)):
                    self._clear(path)
                elif NAME.fullmatch(name):
                    self._look(SessionId(name), path, now, is_master, orphans, held)
        return orphans, held

    def _look(
        self, session: SessionId, path: Path, now: float, is_master: Callable[[Path], bool],
        orphans: dict[SessionId, Folder], held: set[SessionId],
    ) -> None:  # fmt: skip
        note = read_note(path)
        names = {entry.name for entry in path.iterdir()}
        if note.get("session") != session and not (names & _MARKS and "lock" in names):
            return  # somebody else's folder: the setting may name one that holds more than sessions
        if "lock" not in names and _is_young(path, now):
            return
        lock = locks.try_lock(path / "lock", fcntl.LOCK_EX)
        if lock is None:
            held.add(session)
            return
        told = Path(str(note.get("user_data_dir", "")))
        master = is_master(told)
        user_data_dir = told if master else path / "profile"
        orphans[session] = Folder(
            path, user_data_dir, self._outside(path, session) or path / "t", lock, master
        )

    def _clear(self, path: Path) -> None:
        """Remove what was being made or removed, unless somebody is still at it. Raises OSError."""
        if os.path.lexists(path / "lock"):
            lock = locks.try_lock(path / "lock", fcntl.LOCK_EX)
            if lock is not None:
                self._drop(path)
                os.close(lock)
            return
        with self._door(fcntl.LOCK_EX | fcntl.LOCK_NB):  # nobody is making one
            if not os.path.lexists(path / "lock"):  # nor has just finished
                self._drop(path)

    def _drop(self, path: Path) -> None:
        _remove(path, self._outside(path, path.name.removeprefix(NEW).removeprefix(GONE)))

    def _outside(self, path: Path, session: str) -> Path | None:
        """Return where a session's temp folder is that is not in its own; its maker may have died before the note."""
        told = Path(str(read_note(path).get("temp_dir", "")))
        found = (told, *(base / f"{_PREFIX}{session}" for base in self.temp_bases))
        return next((temp_dir for temp_dir in found if self._is_ours_outside(temp_dir)), None)


def read_note(path: Path) -> dict[str, Any]:
    """Return what session.json tells; nothing where it is broken or missing."""
    try:
        found = json.loads((path / "session.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _spread(folder: int) -> None:
    """Have ext4 put the folders in this open one far from each other (`chattr +T`); elsewhere nothing happens.

    It puts neighbours' files together otherwise, and for a minute does not use again what a removed one has left, but
    looks at it one by one for each new file: a clone soon after other sessions took 100 ms instead of 10.
    """
    with suppress(OSError):
        (flags,) = struct.unpack("l", fcntl.ioctl(folder, _GET_FLAGS, struct.pack("l", 0)))
        if not flags & _TOP_OF_TREES:
            fcntl.ioctl(folder, _SET_FLAGS, struct.pack("l", flags | _TOP_OF_TREES))


def _write(path: Path, text: str) -> None:
    path.touch(0o600, exist_ok=False)
    path.write_text(text, encoding="utf-8")


def _locked(folder: Path) -> int:
    """Make the lock file, which gets its name once it is locked: a sweeper never sees it free."""
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (folder / ".lock").rename(folder / "lock")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _is_young(path: Path, now: float) -> bool:
    return now - path.lstat().st_mtime < _YOUNG_S


def _remove_some(top: Path) -> None:
    """Remove a tree, or the first so many files of it. Raises OSError."""
    files_left = _QUICK_FILES
    for folder, _, names in os.walk(top, topdown=False):
        for name in names:
            if not files_left:
                return
            files_left -= 1
            Path(folder, name).unlink()
        Path(folder).rmdir()


def _remove(path: Path, outside: Path | None) -> bool:
    for folder in (outside, path):
        if folder is not None:
            try:
                shutil.rmtree(folder)
            except FileNotFoundError:
                if os.path.lexists(folder):
                    return False
            except OSError:
                return False
    return True
