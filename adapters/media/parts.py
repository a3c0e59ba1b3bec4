"""Files that are still coming in: in a hidden folder of the media store, each locked by whoever writes it."""

import contextlib
import errno
import fcntl
import json
import os
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from daemon.domain.errors import Code, Rejected

HIDDEN = ".parts"
PART = ".part"
NOTE = ".json"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LOOK_EVERY = 16 * 1024 * 1024  # bytes between two looks at the free space
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class PartTaken(Exception):
    """Somebody else is writing this part."""


class Part:
    """A part that is open for writing at its end, and locked until it is closed or the process ends."""

    def __init__(self, folder: "PartFolder", name: str, fd: int) -> None:
        self.name = name
        self._folder = folder
        self._fd = fd
        self._lock = (
            threading.Lock()
        )  # closing waits for a write under way: its descriptor must not be another's
        self._unlooked = 0
        self.is_published = False
        self.received = os.fstat(fd).st_size

    def write(self, block: bytes) -> None:
        """Add bytes. Raises Rejected(disk_full), and OSError where it is closed."""
        with self._lock:
            if self._fd < 0:
                raise OSError(errno.EBADF, "the part is closed")
            self._unlooked += len(block)
            if self._unlooked >= _LOOK_EVERY:
                self._unlooked = 0
                self._folder.require_space(len(block))
            left = memoryview(block)
            try:
                while left:
                    done = os.pwrite(self._fd, left, self.received)
                    self.received += done
                    left = left[done:]
            except OSError as error:
                raise _as_full(error) from error

    def empty(self) -> None:
        """Begin anew."""
        with self._lock:
            os.ftruncate(self._fd, 0)
            self.received = 0

    def settle(self, age_s: float) -> None:
        """Put the bytes on disk for good, and let the file look `age_s` old: nobody will write to it any more."""
        with self._lock:
            try:
                os.fsync(self._fd)
            except OSError as error:
                raise _as_full(error) from error
            at = time.time() - age_s
            os.utime(self._fd, (at, at))

    @property
    def fd(self) -> int:
        """Return the descriptor, for reading; it is the part's own."""
        return self._fd

    def close(self, *, keep: bool) -> None:
        """Let go, and remove the part unless it is to be kept. Safe twice."""
        with self._lock:
            if self._fd < 0:
                return
            if not keep and not self.is_published:
                self._folder.remove(self.name)
            os.close(self._fd)
            self._fd = -1


class PartFolder:
    """The store's folder and the hidden one in it. Nothing is made before it is needed."""

    def __init__(self, folder: Path, floor_bytes: int) -> None:
        self.folder = folder
        self._floor = floor_bytes

    @contextlib.contextmanager
    def opened(self, *, make: bool = True) -> Iterator[tuple[int, int]]:
        """Open both folders, the store's first.

        Raises Rejected(not_configured) where somebody else could write there, and FileNotFoundError where they are
        missing and shall not be made.
        """
        if make:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        outer = os.open(self.folder, _DIRECTORY)
        try:
            status = os.fstat(outer)
            if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o022:
                raise Rejected(
                    Code.NOT_CONFIGURED,
                    f"{self.folder} must belong to the user that tokd runs as and be writable by nobody else: "
                    f"chmod 700 {self.folder}",
                )
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(HIDDEN, 0o700, dir_fd=outer)
            inner = os.open(HIDDEN, _DIRECTORY, dir_fd=outer)
            try:
                yield outer, inner
            finally:
                os.close(inner)
        finally:
            os.close(outer)

    def require_space(self, more: int) -> None:
        """Raise Rejected(disk_full) where `more` bytes would leave less than the floor."""
        with self.opened() as (outer, _):
            found = os.fstatvfs(outer)
        free = found.f_bavail * found.f_frsize
        if free - more < self._floor:
            raise _full(
                f"{free // 1_000_000} MB are free, {more // 1_000_000} more are needed, and ", self._floor
            )

    def open_part(self, name: str, *, make: bool = True) -> Part:
        """Open a part, new or not, and lock it. Raises PartTaken, FileNotFoundError, Rejected(disk_full)."""
        with self.opened(make=make) as (_, inner):
            while True:
                try:
                    fd = os.open(f"{name}{PART}", _FILE | (os.O_CREAT if make else 0), 0o600, dir_fd=inner)
                except OSError as error:
                    raise _as_full(error) from error
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if _is_still(fd, f"{name}{PART}", inner):  # else it was finished while we came
                        return Part(self, name, fd)
                except BlockingIOError:
                    os.close(fd)
                    raise PartTaken(name) from None
                except BaseException:
                    os.close(fd)
                    raise
                os.close(fd)

    def sizes(self, start: str) -> dict[str, int]:
        """Return the parts whose name begins so, with the bytes they have."""
        try:
            with self.opened(make=False) as (_, inner):
                names = [name for name in os.listdir(inner) if name.startswith(start) and name.endswith(PART)]  # noqa: PTH208
                return {name.removesuffix(PART): os.stat(name, dir_fd=inner).st_size for name in names}
        except FileNotFoundError:
            return {}

    def publish(self, part: Part, name: str) -> None:
        """Give a part its final name in the store's folder, durably; what had the name is replaced."""
        with self.opened() as (outer, inner):
            os.rename(f"{part.name}{PART}", name, src_dir_fd=inner, dst_dir_fd=outer)
            part.is_published = True
            os.fsync(outer)
            os.fsync(inner)

    def remove(self, name: str) -> None:
        """Remove a part, if it is there."""
        with contextlib.suppress(FileNotFoundError), self.opened(make=False) as (_, inner):
            os.unlink(f"{name}{PART}", dir_fd=inner)

    def note(self, name: str) -> dict[str, Any]:
        """Return what was written down about a part; empty where nothing was."""
        try:
            with self.opened(make=False) as (_, inner):
                fd = os.open(f"{name}{NOTE}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=inner)
                with os.fdopen(fd, "rb") as file:
                    found = json.load(file)
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def write_note(self, name: str, note: dict[str, Any]) -> None:
        """Write something down about a part, in one piece and durably. Raises Rejected(disk_full)."""
        with self.opened() as (_, inner):
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
                fd = os.open(f"{name}.new", flags, 0o600, dir_fd=inner)
                with os.fdopen(fd, "wb") as file:
                    file.write(json.dumps(note).encode())
                    file.flush()
                    os.fsync(fd)
            except OSError as error:
                raise _as_full(error) from error
            os.rename(f"{name}.new", f"{name}{NOTE}", src_dir_fd=inner, dst_dir_fd=inner)
            os.fsync(inner)

    def sweep(self, before: float) -> int:
        """Remove what was last written before that time and is in nobody's hands; return how many."""
        count = 0
        with contextlib.suppress(FileNotFoundError), self.opened(make=False) as (_, inner):
            for name in os.listdir(inner):  # noqa: PTH208
                if os.stat(name, dir_fd=inner, follow_symlinks=False).st_mtime >= before:
                    continue
                with contextlib.suppress(PartTaken, FileNotFoundError, Rejected):
                    part = (
                        self.open_part(name.removesuffix(PART), make=False) if name.endswith(PART) else None
                    )
                    os.unlink(name, dir_fd=inner)
                    count += 1
                    if part is not None:
                        part.close(keep=True)
        return count


def _is_still(fd: int, name: str, folder: int) -> bool:
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    mine = os.fstat(fd)
    return (found.st_dev, found.st_ino) == (mine.st_dev, mine.st_ino) and stat.S_ISREG(mine.st_mode)


def _as_full(error: OSError) -> Exception:
    return _full("nothing is left of it; ", 0) if error.errno in _FULL else error


def _full(why: str, floor: int) -> Rejected:
    stays = f"{floor // 1_000_000} MB stay free (media.free_space_min_mb)" if floor else "make room"
    return Rejected(
        Code.DISK_FULL, f"the disk of the media store is full: {why}{stays}", retryable=True, retry_after_s=60
    )
