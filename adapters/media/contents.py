"""A media file's bytes: their hash, and readers over parts of them."""

import hashlib
import io
import os
import threading
from typing import BinaryIO, cast

from adapters.media.names import Found, identity_of
from adapters.media.refusals import shutting_down

_BLOCK = 1024 * 1024


def hash_bytes(fd: int, size: int, stopping: threading.Event | None) -> str:
    """Return the SHA-256 of the first `size` bytes in hex. Raises Rejected(shutting_down), OSError."""
    digest = hashlib.sha256()
    block = memoryview(bytearray(min(_BLOCK, size)))
    offset = 0
    while offset < size:
        if stopping is not None and stopping.is_set():
            raise shutting_down()
        count = os.preadv(fd, [block[: size - offset]], offset)
        if count == 0:
            break  # it became shorter: the hash cannot be equal to one over `size` bytes
        digest.update(block[:count])
        offset += count
    return digest.hexdigest()


class OpenFile:
    """A checked file held open (daemon.ports.OpenMedia)."""

    def __init__(self, found: Found, sha256: str) -> None:
        self._file = io.FileIO(
            found.fd, "rb"
        )  # owns the descriptor: after close it refuses, never reads another's
        self._size = found.status.st_size
        self._written = _written(found.status)
        self._identity = identity_of(found.status)
        self._sha256 = sha256

    @property
    def size(self) -> int:
        """Return the size in bytes at the time of opening."""
        return self._size

    def window(self, first: int, last: int) -> BinaryIO:
        """Return a reader over bytes first..last (inclusive). Raises ValueError for bytes it has not."""
        if not 0 <= first <= last < self._size:
            raise ValueError(f"bytes {first} to {last} are not within the {self._size} bytes of the file")
        return cast("BinaryIO", Window(self._file, first, last))

    def has_changed(self) -> bool:
        """Tell whether anybody has written to the file since it was opened.

        Moving, deleting and chmod touch the change time alone: then the hash decides, once for each touch.
        """
        status = os.fstat(self._file.fileno())
        if identity_of(status) == self._identity:
            return False
        if _written(status) != self._written:
            return True
        try:
            is_same = hash_bytes(self._file.fileno(), self._size, None) == self._sha256
        except OSError:
            return True
        if is_same:
            self._identity = identity_of(status)
        return not is_same

    def close(self) -> None:
        """Let go of the file. Safe twice."""
        self._file.close()


def _written(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


class Window(io.RawIOBase):
    """Reads one range of a file, with a position of its own: windows of one file do not disturb each other.

    Has what an HTTP client needs to send it as a body of known length, and to send it again.
    """

    def __init__(self, file: io.FileIO, first: int, last: int) -> None:
        super().__init__()
        self._file = file
        self._first = first
        self._length = last - first + 1
        self._position = 0

    def __len__(self) -> int:
        return self._length

    def __next__(self) -> bytes:
        block = self.read(64 * 1024)  # the lines of the base class would be read byte by byte
        if not block:
            raise StopIteration
        return block

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position within the window."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move within the window and return the new position."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._length}[whence]
        if base + offset < 0:
            raise ValueError("a position before the beginning of the window")
        self._position = base + offset
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes, b"" at the end. Raises OSError where the file has become shorter."""
        left = max(0, self._length - self._position)
        wanted = left if size < 0 else min(size, left)
        if wanted == 0:
            return b""
        block = os.pread(self._file.fileno(), wanted, self._first + self._position)
        if not block:
            raise OSError("the file has become shorter while it was read")
        self._position += len(block)
        return block

    def readall(self) -> bytes:
        """Return the rest. Raises OSError where the file has become shorter."""
        return b"".join(iter(self.read, b""))

    def readinto(self, buffer: object, /) -> int:
        """Fill the buffer and return how many bytes it got."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]  # typeshed's Buffer is not in 3.11
        block = self.read(len(view))
        view[: len(block)] = block
        return len(block)
