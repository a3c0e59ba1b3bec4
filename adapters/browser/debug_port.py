"""Closing the browser's debugging port from outside: it has no switch for that, and any local user may enter there."""

import contextlib
import ctypes
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from adapters.browser.devtools import HOST

_PIDFD_GETFD = 438
_LISTENS = "0A"
_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
_INTERNET = (socket.AF_INET, socket.AF_INET6)
_HERE = (HOST, f"::ffff:{HOST}")  # from 127.0.0.2 on, another may use the same port as we


class DebugPort:
    """Copies of the sockets on which a browser listens at a port, to be shut later, and what came in by them."""

    def __init__(self, pid: int, pidfd: int, port: int) -> None:
        self._pid, self._pidfd, self._port = pid, pidfd, port
        self._copies = self._copies_of(_listens)
        self.can_be_shut = bool(self._copies)
        # Of this very browser: another one's port would show another one's pages.
        self.is_owned = self.can_be_shut or _is_listed(pid, port)

    def shut(self, own: int | None = None) -> None:
        """Refuse connections from now on, and cut those that are open, except ours from port `own`. Safe twice."""
        _cut(self._copies)
        if self.is_owned and own is not None:
            _cut(self._copies_of(lambda sock: not _listens(sock) and not _comes_from(sock, own)))

    def _copies_of(self, is_meant: Callable[[socket.socket], bool]) -> list[socket.socket]:
        """Return copies of those of the browser's sockets that have the port; none where the system forbids it.

        The sockets themselves are asked: reading the kernel's table of all connections takes ten times as long.
        """
        found = []
        for fd, _ in _sockets(self._pid):
            if (copy := _copy(self._pidfd, fd)) is None:
                continue
            with contextlib.suppress(OSError):  # it is no connection any more
                if _is_tcp(copy) and copy.getsockname()[1] == self._port and is_meant(copy):
                    found.append(copy)
                    continue
            copy.close()
        return found


def _is_tcp(sock: socket.socket) -> bool:
    return sock.family in _INTERNET and sock.type is socket.SOCK_STREAM


def _listens(sock: socket.socket) -> bool:
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1


def _comes_from(sock: socket.socket, own: int) -> bool:
    address, port = sock.getpeername()[:2]
    return port == own and address in _HERE


def _cut(copies: list[socket.socket]) -> None:
    for copy in copies:
        with contextlib.suppress(OSError), copy:
            copy.shutdown(socket.SHUT_RDWR)
    copies.clear()


def _sockets(pid: int) -> Iterator[tuple[int, str]]:
    """Yield the number and the kernel's name of each socket of a process."""
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                name = str(entry.readlink())
                if name.startswith("socket:"):
                    yield int(entry.name), name


def _copy(pidfd: int, fd: int) -> socket.socket | None:
    libc = ctypes.CDLL(None, use_errno=True)
    copy = int(libc.syscall(_PIDFD_GETFD, pidfd, fd, 0))
    if copy < 0:
        return None
    os.set_inheritable(copy, False)
    try:
        return socket.socket(fileno=copy)
    except OSError:  # by now the browser has something else under this number
        os.close(copy)
        return None


def _is_listed(pid: int, port: int) -> bool:
    """Tell by the kernel's table, for who may not copy a socket, whether the process listens at this port."""
    listening = set()
    for table in _TABLES:
        with contextlib.suppress(OSError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENS and int(fields[1].rsplit(":", 1)[1], 16) == port:
                    listening.add(f"socket:[{fields[9]}]")
    return any(name in listening for _, name in _sockets(pid))
