"""Closing the browser's debugging port from outside: it has no switch for that, and any local user may enter there."""

import contextlib
import ctypes
import os
import socket
from collections.abc import Callable
from pathlib import Path

_PIDFD_GETFD = 438
_LISTENS = "0A"
_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")


class DebugPort:
    """Copies of the sockets on which a browser listens at a port, to be shut later, and what came in by them."""

    def __init__(self, pid: int, pidfd: int, port: int) -> None:
        self._copies: list[int] = []
        self._pid, self._pidfd, self._port = pid, pidfd, port
        inodes = _inodes(lambda at, _, state: at == port and state == _LISTENS)
        self.is_owned = False  # by this very browser: another one's port would show another one's pages
        self.can_be_shut = True
        for fd in _sockets(pid, inodes):
            self.is_owned = True
            copy = _copy(pidfd, fd)
            if copy is None:
                self.can_be_shut = False
            else:
                self._copies.append(copy)

    def shut(self, own: int | None = None) -> None:
        """Refuse connections from now on, and cut those that are open, except ours from port `own`. Safe twice."""
        _cut(self._copies)
        if self.is_owned and own is not None:
            others = _inodes(lambda at, peer, state: at == self._port and peer != own and state != _LISTENS)
            found = [_copy(self._pidfd, fd) for fd in _sockets(self._pid, others)]
            _cut([copy for copy in found if copy is not None])


def _cut(copies: list[int]) -> None:
    for copy in copies:
        with contextlib.suppress(OSError), socket.socket(fileno=copy) as sock:
            sock.shutdown(socket.SHUT_RDWR)
    copies.clear()


def _inodes(is_meant: Callable[[int, int, str], bool]) -> set[str]:
    """Return the names of the sockets with such a port of their own, port of the other end, and state."""
    found = set()
    for table in _TABLES:
        with contextlib.suppress(OSError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                ports = [int(each.rsplit(":", 1)[1], 16) for each in fields[1:3]]
                if is_meant(ports[0], ports[1], fields[3]):
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
