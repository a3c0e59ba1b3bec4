"""Closing the browser's debugging port from outside: it has no switch for that, and any local user may enter there."""

import contextlib
import ctypes
import os
import socket
from pathlib import Path

_PIDFD_GETFD = 438
_LISTENS = "0A"
_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")


class DebugPort:
    """Copies of the sockets on which a browser listens at a port, to be shut later."""

    def __init__(self, pid: int, pidfd: int, port: int) -> None:
        self._copies: list[int] = []
        inodes = _listeners(port)
        self.is_owned = False  # by this very browser: another one's port would show another one's pages
        self.can_be_shut = True
        for fd in _sockets(pid, inodes):
            self.is_owned = True
            copy = _copy(pidfd, fd)
            if copy is None:
                self.can_be_shut = False
            else:
                self._copies.append(copy)

    def shut(self) -> None:
        """Let the port refuse connections from now on; those that are open go on. Safe twice."""
        for copy in self._copies:
            with contextlib.suppress(OSError), socket.socket(fileno=copy) as sock:
                sock.shutdown(socket.SHUT_RDWR)
        self._copies.clear()


def _listeners(port: int) -> set[str]:
    found = set()
    for table in _TABLES:
        with contextlib.suppress(OSError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENS and int(fields[1].rsplit(":", 1)[1], 16) == port:
                    found.add(f"socket:[{fields[9]}]")
    return found


def _sockets(pid: int, names: set[str]) -> list[int]:
    found = []
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if str(entry.readlink()) in names:
                    found.append(int(entry.name))
    return found


def _copy(pidfd: int, fd: int) -> int | None:
    libc = ctypes.CDLL(None, use_errno=True)
    copy = int(libc.syscall(_PIDFD_GETFD, pidfd, fd, 0))
    if copy < 0:
        return None
    os.set_inheritable(copy, False)
    return copy
