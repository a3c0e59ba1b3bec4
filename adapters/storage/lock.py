"""One daemon for a state folder: an flock that ends with the process, however it ends."""

import fcntl
import os
from pathlib import Path

from daemon.domain.errors import StartRefused


class StateLock:
    """The lock on `<state_dir>/lock`."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "lock"
        self._descriptor: int | None = None

    def take(self) -> None:
        """Take the lock. Raises StartRefused where another daemon has it or the folder cannot be used."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StartRefused(
                f"the state folder {self._path.parent} cannot be used: {error.strerror}"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise StartRefused(
                f"another tokd (pid {holder}) uses the state folder {self._path.parent}; "
                "stop it, or give this one a daemon.state_dir of its own"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go. Safe twice, and before take."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
