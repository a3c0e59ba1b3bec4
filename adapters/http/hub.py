"""Live events for those who listen over HTTP, and for those who wait until a session is over."""

import asyncio
import json
from collections import deque
from collections.abc import Sequence

from daemon.domain.errors import Code, Rejected
from daemon.domain.events import EventType
from daemon.domain.ids import SessionId

_ENDED = f"dev.tokd.{EventType.SESSION_ENDED.value}"


class Reader:
    """One listener: what waits for it, and how it is woken or cut off."""

    def __init__(self, transport: asyncio.Transport, most: int) -> None:
        self.news: deque[tuple[int, str]] = deque()
        self.is_over = False
        self.woken = asyncio.Event()
        self._transport = transport
        self._most = most

    def add(self, sequence: int, payload: str) -> None:
        """Queue an event. Whoever does not read is cut off; it can come back and go on where it was."""
        if len(self.news) >= self._most:
            self.end()
            # Its connection may be full for ever: an end that waits for it would wait as long.
            self._transport.abort()
        elif not self.is_over:
            self.news.append((sequence, payload))
            self.woken.set()

    def end(self) -> None:
        """Let the stream end."""
        self.is_over = True
        self.woken.set()


class Hub:
    """Used in the server's event loop only; `is_wanted` may be read anywhere."""

    def __init__(self, readers_max: int, buffer_max: int) -> None:
        self._readers_max = readers_max
        self._buffer_max = buffer_max
        self._readers: set[Reader] = set()
        self._waiting: dict[SessionId, set[asyncio.Future[None]]] = {}
        self._is_shut = False
        self.is_wanted = False

    def take(self, payloads: Sequence[str]) -> None:
        """Hand events out."""
        for payload in payloads:
            event = json.loads(payload)
            for reader in tuple(self._readers):
                reader.add(int(event["sequence"]), payload)
            if event["type"] == _ENDED:
                for future in self._waiting.pop(SessionId(event["data"]["session"]), ()):
                    if not future.done():
                        future.set_result(None)

    def join(self, transport: asyncio.Transport) -> Reader:
        """Return a new listener. Raises Rejected(busy) where there are too many."""
        if self._is_shut or len(self._readers) >= self._readers_max:
            raise Rejected(
                Code.BUSY,
                f"{len(self._readers)} callers listen to events already",
                retryable=True,
                retry_after_s=5,
            )
        reader = Reader(transport, self._buffer_max)
        self._readers.add(reader)
        self.is_wanted = True
        return reader

    def leave(self, reader: Reader) -> None:
        """Forget a listener."""
        self._readers.discard(reader)

    def end_of(self, session: SessionId) -> "asyncio.Future[None]":
        """Return what is done when the session is over. Ask for its state afterwards: it may be over already."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(session, set()).add(future)
        self.is_wanted = True
        return future

    def close(self) -> None:
        """End all streams, and all waiting."""
        self._is_shut = True
        for reader in self._readers:
            reader.end()
        for futures in self._waiting.values():
            for future in futures:
                if not future.done():
                    future.set_exception(Rejected(Code.SHUTTING_DOWN, "tokd is stopping", retryable=True))
        self._waiting.clear()
