"""The stream of events (server-sent events): what was missed first, then what comes, none twice and none left out."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from adapters.http.hub import Reader
from adapters.http.parts import Parts
from daemon.domain.access import Claims, http_actor
from daemon.domain.events import as_json
from daemon.domain.task import owner_of

PAGE = 200
KERNEL_BYTES = 64 * 1024
FROM_NOW_ON = 2**53 - 1
TASKS = "dev.tokd.task."
HELLO = b"retry: 2000\n\n"
HEARTBEAT = b": still here\n\n"


class EventStream(StreamingResponse):
    """An answer that goes on until the caller leaves, its token ends, it reads too slowly, or tokd stops."""

    def __init__(
        self, parts: Parts, caller: Claims, reader: Reader, page: dict[str, Any], after: int
    ) -> None:
        self._parts = parts
        self._caller = caller
        self._reader = reader
        self._position = min(after, page["latest"])
        super().__init__(self._flow(page), media_type="text/event-stream")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream. However it ends, the listener is forgotten."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._parts.hub.leave(self._reader)

    async def _flow(self, page: dict[str, Any]) -> AsyncIterator[bytes]:
        yield HELLO
        async for part in self._past(page):
            yield part
        while not self._is_over:
            while self._reader.news and not self._is_over:
                sequence, payload = self._reader.news.popleft()
                if sequence > self._position:
                    self._position = sequence
                    if TASKS not in payload or self._may_hear(json.loads(payload)):
                        yield _part(sequence, payload)
            self._reader.woken.clear()
            if self._reader.news or self._is_over:
                continue
            try:
                async with asyncio.timeout(self._parts.settings.heartbeat_s):
                    await self._reader.woken.wait()
            except TimeoutError:
                yield HEARTBEAT

    async def _past(self, page: dict[str, Any]) -> AsyncIterator[bytes]:
        """Yield what the caller has missed."""
        while True:
            for event in page["events"]:
                self._position = int(event["sequence"])
                if self._may_hear(event):
                    yield _part(self._position, as_json(event))
            if not page["more"] or self._reader.is_over:
                return
            page = await _page(self._parts, self._caller, self._position)

    def _may_hear(self, event: dict[str, Any]) -> bool:
        """Tell whether the caller may know of what has happened: another user's task is not to be found."""
        if not event["type"].startswith(TASKS):
            return True
        return bool(event["data"].get("user") == owner_of(http_actor(self._caller.user)))

    @property
    def _is_over(self) -> bool:
        return self._reader.is_over or not self._parts.guard.holds(self._caller)


async def open_stream(
    parts: Parts, caller: Claims, after: int | None, transport: asyncio.Transport
) -> EventStream:
    """Return the stream; its first page is there. Raises what asking for it raises.

    The listener joins before anything is read: what comes in between comes twice, and its number tells.
    """
    reader = parts.hub.join(transport)
    # The system would keep megabytes for a caller that does not read; such a one must be noticed.
    if (sock := transport.get_extra_info("socket")) is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BYTES)
    start = FROM_NOW_ON if after is None else min(after, FROM_NOW_ON)
    try:
        page = await _page(parts, caller, start)
    except BaseException:
        parts.hub.leave(reader)
        raise
    return EventStream(parts, caller, reader, page, start)


async def _page(parts: Parts, caller: Claims, after: int) -> dict[str, Any]:
    actor = http_actor(caller.user)
    return await parts.door.result(actor, "events/replay", {"after": after, "limit": PAGE})


def _part(sequence: int, payload: str) -> bytes:
    return f"id: {sequence}\ndata: {payload}\n\n".encode()
