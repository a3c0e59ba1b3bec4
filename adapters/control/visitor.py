"""One connection of the control socket: what it has sent, what waits to go out, what it watches."""

import select
import socket
from collections import deque

from adapters.control.lines import LineBuffer

READ_BYTES = 64 * 1024
SEND_BYTES = 256 * 1024
MAX_EVENTS = 1000  # a watcher that lets more of them wait is dropped


class Visitor:
    """Used by the server's thread only."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.number = number  # file descriptors are used again, numbers are not
        self.lines = LineBuffer()
        self.is_calling = False  # a command is at the bus: the next line waits for its final reply
        self.position: int | None = None  # the number of the last event it was sent; None: no watcher
        self.is_catching_up = False
        self.has_ended = False  # it will send nothing more
        self._out: deque[bytes] = deque()

    @property
    def waiting(self) -> int:
        """Return how many lines wait to go out."""
        return len(self._out)

    @property
    def is_slow(self) -> bool:
        """Tell whether it reads so slowly that it must go."""
        return self.position is not None and len(self._out) > MAX_EVENTS

    @property
    def is_done(self) -> bool:
        """Tell whether nothing more can happen here."""
        return self.has_ended and not self._out and not self.is_calling and self.position is None

    def events(self) -> int:
        """Return the poll mask. A caller in the middle of a command is not read: that holds back its next one."""
        reads = not self.has_ended and not self.is_calling
        return (select.POLLIN if reads else 0) | (select.POLLOUT if self._out else 0)

    def add(self, line: bytes) -> None:
        """Queue a line."""
        self._out.append(line)

    def read(self) -> None:
        """Take in what has arrived. Raises OSError where the connection is broken."""
        try:
            chunk = self.sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        if chunk:
            self.lines.add(chunk)
        else:
            self.has_ended = True

    def write(self) -> None:
        """Send what goes out without waiting. Raises OSError where the connection is broken."""
        while self._out:
            block = self._next_block()
            try:
                sent = self.sock.send(block)
            except BlockingIOError:
                sent = 0
            if sent < len(block):
                self._out.appendleft(block[sent:])
                return

    def _next_block(self) -> bytes:
        parts = [self._out.popleft()]
        size = len(parts[0])
        while self._out and size + len(self._out[0]) <= SEND_BYTES:
            parts.append(self._out.popleft())
            size += len(parts[-1])
        return b"".join(parts)
