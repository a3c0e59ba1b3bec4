"""Reaching under HTTP: the socket in the request's scope, and answers that break off."""

import asyncio
from http import HTTPStatus
from typing import Any, cast

from fastapi import Request, Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

MARK = ("X-Tokd-Simulator", "simulated")


class _TransportInScope:
    """Puts the connection's transport where a request can find it: `scope["state"]`."""

    app_state: dict[str, Any]

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.app_state = {**self.app_state, "transport": transport}
        super().connection_made(transport)  # type: ignore[misc]  # the protocol mixed in below has it


def protocol_class() -> type[asyncio.Protocol]:
    """Return uvicorn's own choice of protocol (httptools when installed, else h11), with the transport."""
    return cast(
        "type[asyncio.Protocol]", type("SimulatorProtocol", (_TransportInScope, AutoHTTPProtocol), {})
    )


async def _wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class DroppedConnection(Response):
    """No answer at all: the TCP connection dies."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Abort the connection, then wait until uvicorn knows."""
        scope["state"]["transport"].abort()
        await _wait_until_gone(receive)


class CutAnswer(Response):
    """The first bytes of an answer, then the end of the connection."""

    def __init__(self, whole: Response, length: int) -> None:
        super().__init__()
        self._raw = _raw_answer(whole)[:length]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Write the bytes past HTTP, close, then wait until uvicorn knows."""
        transport: asyncio.Transport = scope["state"]["transport"]
        transport.write(self._raw)
        transport.close()
        await _wait_until_gone(receive)


def _raw_answer(answer: Response) -> bytes:
    phrase = HTTPStatus(answer.status_code).phrase
    mark = (MARK[0].lower().encode(), MARK[1].encode())
    lines = [name + b": " + value for name, value in [*answer.raw_headers, mark]]
    start = f"HTTP/1.1 {answer.status_code} {phrase}".encode()
    return b"\r\n".join([start, *lines, b"", bytes(answer.body)])


def bearer_of(request: Request) -> str:
    """Return the bearer token, or an empty string."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
