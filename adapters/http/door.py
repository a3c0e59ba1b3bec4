"""From a request to a command and back: the bus answers in its own thread, and no thread waits for it here."""

import asyncio
import contextlib
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from daemon.domain.errors import Code, Rejected, StaleAttempt, StorageFull
from daemon.domain.events import as_json
from daemon.domain.ids import Actor
from daemon.domain.wire import read_request
from daemon.ports import Bus, Clock

TRANSPORT = "http"


class Door:
    """Used in the server's event loop only."""

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._waiting: set[asyncio.Future[Any]] = set()
        self._is_shut = False

    async def send(
        self, actor: Actor, verb: str, args: Mapping[str, Any], *, within_s: float, command_id: str | None = None,
        is_local: bool = False,
    ) -> dict[str, Any]:  # fmt: skip
        """Give a command to the bus; return its final reply, or the first one where that takes longer than `within_s`.

        `is_local` is for a command that carries a secret and that no caller can name here: a route's own.

        Raises Rejected: busy where there is none at all by then, shutting_down where the adapter stops meanwhile.
        """
        if self._is_shut:
            raise _stopping()
        loop = asyncio.get_running_loop()
        final: asyncio.Future[dict[str, Any]] = loop.create_future()
        replies: list[dict[str, Any]] = []

        def take(reply: dict[str, Any]) -> None:
            replies.append(reply)
            if reply["final"] and not final.done():
                final.set_result(reply)

        def answer(reply: dict[str, Any]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and so has the caller's connection
                loop.call_soon_threadsafe(take, reply)

        envelope = {"args": args} | ({"id": command_id} if command_id is not None else {})
        request, _ = read_request(
            actor=actor, verb=verb, raw=as_json(envelope).encode(), transport=TRANSPORT,
            received_at=self._clock.now(), is_local=is_local, answer=answer,
        )  # fmt: skip
        self._waiting.add(final)
        self._bus.submit(request)
        try:
            async with asyncio.timeout(within_s):
                return await final
        except TimeoutError:
            if replies:
                return replies[-1]
            raise Rejected(
                Code.BUSY, f"no answer within {within_s:g} s; ask again with the same key", retryable=True
            ) from None
        finally:
            self._waiting.discard(final)

    async def result(
        self, actor: Actor, verb: str, args: Mapping[str, Any], *, within_s: float = 30
    ) -> dict[str, Any]:
        """Return the result of a question. Raises CommandRefused."""
        return done(await self.send(actor, verb, args, within_s=within_s))

    async def tell(self, report: object, *, within_s: float = 10) -> Any:
        """Give a report to the bus; return its handler's answer once that is committed.

        Raises Rejected: busy where there is none by then or nothing could be stored, shutting_down.
        """
        if self._is_shut:
            raise _stopping()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()

        def take(told: Future[Any]) -> None:
            if answer.done():
                return
            error = told.exception()
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(told.result())

        def hand_over(told: Future[Any]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and so has the caller's connection
                loop.call_soon_threadsafe(take, told)

        self._waiting.add(answer)
        self._bus.promise(report).add_done_callback(hand_over)
        try:
            async with asyncio.timeout(within_s):
                return await answer
        except (TimeoutError, StaleAttempt, StorageFull):
            raise Rejected(Code.BUSY, "no answer just now; send it again", retryable=True) from None
        finally:
            self._waiting.discard(answer)

    def close(self) -> None:
        """Answer all who wait: tokd is stopping."""
        self._is_shut = True
        for future in self._waiting:
            if not future.done():
                future.set_exception(_stopping())


class CommandRefused(Exception):
    """The final reply is an error; its shape is the endpoint's matter."""

    def __init__(self, error: Mapping[str, Any]) -> None:
        super().__init__(str(error.get("message")))
        self.error = error


def done(reply: Mapping[str, Any]) -> dict[str, Any]:
    """Return a final reply's result. Raises CommandRefused where it is an error."""
    if reply["status"] != "done":
        raise CommandRefused(reply["error"])
    result: dict[str, Any] = reply.get("result") or {}
    return result


def _stopping() -> Rejected:
    return Rejected(Code.SHUTTING_DOWN, "tokd is stopping; send it again with the same key", retryable=True)
