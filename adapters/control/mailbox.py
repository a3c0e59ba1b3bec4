"""What other threads leave for the control thread: they append and ring, and never wait."""

import contextlib
import socket
from collections import deque
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply for a visitor, who may have left."""

    visitor: int
    reply: dict[str, Any]


@dataclass(frozen=True, slots=True)
class News:
    """An event, as JSON."""

    payload: str


class Stop:
    """The wish to end."""


Item = Answer | News | Stop


class Mailbox:
    """A queue with a bell that a poll can hear."""

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._is_closed = False
        self.bell, self._rope = socket.socketpair()
        self.bell.setblocking(False)
        self._rope.setblocking(False)

    def put(self, *items: Item) -> None:
        """Leave items. From any thread; after close they are dropped."""
        if self._is_closed:
            return
        self._items.extend(items)
        with contextlib.suppress(OSError):  # full: it rings already; closed: nobody is there to hear it
            self._rope.send(b"\0")

    def take(self) -> list[Item]:
        """Return what has come, in order."""
        with contextlib.suppress(BlockingIOError):
            self.bell.recv(4096)
        return [self._items.popleft() for _ in range(len(self._items))]

    def close(self) -> None:
        """Take no more."""
        self._is_closed = True
        self._items.clear()
        self.bell.close()
        self._rope.close()
