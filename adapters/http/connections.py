"""One connection: a caller that does not finish its request's head in time is cut off, and holds up nobody."""

import asyncio
import json
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_MAX = 16 * 1024


class Connection(H11Protocol):
    """uvicorn's protocol with a deadline for heads, JSON for what is no HTTP, and the transport in the scope."""

    head_timeout_s = 10.0
    most = 700

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Begin to count; one connection too many is closed at once."""
        self._deadline: asyncio.TimerHandle | None = None
        self.app_state = {**self.app_state, "transport": transport}
        super().connection_made(transport)
        if len(self.connections) > self.most:
            transport.abort()
            return
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop counting."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what has come; count while the head of a request is not complete."""
        if self._is_idle and self._deadline is None:
            self._arm()
        super().data_received(data)
        if not self._is_idle:
            self._disarm()

    def on_response_complete(self) -> None:
        """Go on; what is left of a body that nobody has read must come in time."""
        super().on_response_complete()
        if not self.transport.is_closing() and self.conn.their_state is h11.SEND_BODY and self._is_idle:
            self._arm()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, in JSON; an answer that is under way already is cut off."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # whatever the route still has to say: it would come behind this
            self.cycle.message_event.set()
        if self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            self.transport.abort()
            return
        is_long = len(self.conn.trailing_data[0]) > HEAD_MAX
        code, status = ("too_large", 431) if is_long else ("bad_json", 400)
        self._say(status, code, f"a request's head may have {HEAD_MAX} bytes" if is_long else msg)

    @property
    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _arm(self) -> None:
        self._disarm()
        self._deadline = self.loop.call_later(self.head_timeout_s, self._give_up)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        if self.transport.is_closing():
            return
        if self.conn.their_state is h11.IDLE and self.conn.our_state is h11.IDLE:
            self._say(408, "expired", "the request did not come in time")
        self.transport.abort() if self.transport.get_write_buffer_size() else self.transport.close()

    def _say(self, status: int, code: str, message: str) -> None:
        body = json.dumps({"error": {"code": code, "message": message, "retryable": False}}).encode()
        headers = [
            ("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close"),
            ("cache-control", "no-store"), ("x-content-type-options", "nosniff"),
        ]  # fmt: skip
        for event in (
            h11.Response(status_code=status, headers=headers),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def connection_class(head_timeout_s: float, most: int) -> type[asyncio.Protocol]:
    """Return the protocol with these limits."""
    limits: dict[str, Any] = {"head_timeout_s": head_timeout_s, "most": most}
    return cast("type[asyncio.Protocol]", type("LimitedConnection", (Connection,), limits))
