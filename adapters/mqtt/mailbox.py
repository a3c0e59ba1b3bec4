"""How other threads reach the network thread: a line to append to, and one byte that wakes it."""

import contextlib
import select
import socket
from collections import deque
from collections.abc import Callable, Sequence

from adapters.mqtt.letters import Ack
from daemon.ports import Outgoing

MOST_WAITING = 5000
LAST_WORD_S = 1.0

Item = Sequence[Outgoing] | Ack


class Mailbox:
    """`put`, `offer` and `ask_to_stop` may be called from any thread; the rest by the network thread."""

    def __init__(self) -> None:
        self.reader, self._writer = socket.socketpair()
        self.reader.setblocking(False)
        self._writer.setblocking(False)
        self._items: deque[Item] = deque()
        self._is_closed = False
        self.has_overflowed = False
        self.stop_by: float | None = None
        self.last_word_at = 0.0

    def put(self, ack: Ack) -> None:
        """Append an ack. Never blocks, never raises."""
        self._append(ack)

    def offer(self, messages: Sequence[Outgoing]) -> None:
        """Append messages, or only note that there were some where the reader is far behind."""
        if len(self._items) < MOST_WAITING:
            self._append(tuple(messages))
        else:
            self.has_overflowed = True

    def ask_to_stop(self, now: float, within_s: float) -> None:
        """Ask the reader to end in time, and to keep a part of it for `offline`."""
        self.last_word_at = now + within_s - min(LAST_WORD_S, within_s / 2)
        self.stop_by = now + within_s
        self._wake()

    def must_stop(self) -> bool:
        """Tell whether somebody asked for the end."""
        return self.stop_by is not None

    def take_all(self, handle: Callable[[Item], None]) -> None:
        """Handle what waits now, in order."""
        for _ in range(len(self._items)):
            handle(self._items.popleft())

    def wait(self, sock: socket.socket | None, events: int, timeout_s: float) -> int:
        """Return what is ready at the socket, 0 for none; returns in time, or when mail comes."""
        poll = select.poll()
        poll.register(self.reader, select.POLLIN)
        if sock is not None and sock.fileno() >= 0:
            poll.register(sock, events)
        found = 0
        for fd, ready in poll.poll(max(0.0, timeout_s) * 1000):
            if fd == self.reader.fileno():
                with contextlib.suppress(BlockingIOError):
                    self.reader.recv(65536)
            else:
                found = ready
        return found

    def close(self) -> None:
        """Take nothing any more."""
        self._is_closed = True
        self._items.clear()
        self._writer.close()
        self.reader.close()

    def _append(self, item: Item) -> None:
        if not self._is_closed:
            self._items.append(item)
            self._wake()

    def _wake(self) -> None:
        # full: it will wake anyway; closed meanwhile: nobody reads any more
        with contextlib.suppress(OSError):
            self._writer.send(b"\0")
