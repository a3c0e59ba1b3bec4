"""Where uploaded bytes go: a file per upload, or nowhere, and always through SHA-256."""

import asyncio
import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from .records import Post

if TYPE_CHECKING:
    from hashlib import _Hash

_READ_SIZE = 1 << 20


class Hashes:
    """The running hash of each unfinished upload: always that of the stored prefix."""

    def __init__(self, directory: Path, *, discard: bool) -> None:
        self._directory = directory
        self._discard = discard
        self._running: dict[str, _Hash] = {}

    def clear(self) -> None:
        """Forget all hashes."""
        self._running.clear()

    def sink(self, post: Post, first: int, running: "_Hash | None") -> "Sink":
        """Return where a chunk starting at this byte is to go, through this hash."""
        return Sink(None if self._discard else self._path(post), first, running)

    async def start(self, post: Post) -> "_Hash | None":
        """Return a copy to go on with; None when a restart lost bytes that were not kept."""
        running = self._running.get(post.publish_id)
        if running is None and post.stored == 0:
            running = hashlib.sha256()
        if running is None and not self._discard:
            running = await asyncio.to_thread(_hash_prefix, self._path(post), post.stored)
        return None if running is None else running.copy()

    def keep(self, post: Post, running: "_Hash | None") -> None:
        """Take over the hash of a chunk that was stored; a finished upload needs none."""
        if post.stored < post.size and running is not None:
            self._running[post.publish_id] = running
        else:
            self._running.pop(post.publish_id, None)

    def _path(self, post: Post) -> Path:
        return self._directory / f"{post.upload_id}.bin"


class Sink:
    """One chunk's place in the file."""

    def __init__(self, path: Path | None, first: int, running: "_Hash | None") -> None:
        self._path = path
        self._offset = first
        self._running = running
        self._file = -1

    def __enter__(self) -> Self:
        if self._path is not None:
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file >= 0:
            os.close(self._file)

    def take(self, block: bytes) -> None:
        """Hash, and write at this chunk's own offset, so an aborted chunk is simply overwritten."""
        if self._running is not None:
            self._running.update(block)
        rest = memoryview(block)
        while self._file >= 0 and rest:
            written = os.pwrite(self._file, rest, self._offset)
            self._offset += written
            rest = rest[written:]


def _hash_prefix(path: Path, length: int) -> "_Hash":
    running = hashlib.sha256()
    with path.open("rb") as file:
        while length > 0 and (block := file.read(min(length, _READ_SIZE))):
            running.update(block)
            length -= len(block)
    return running
