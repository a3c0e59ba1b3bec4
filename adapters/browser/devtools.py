"""The browser's own DevTools line: one websocket for the life of a session, silent unless something is asked."""

import contextlib
import json
import select
import socket
import urllib.request
from collections import deque
from collections.abc import Callable, Sequence
from http.client import HTTPException
from typing import Any

import websocket

from adapters.browser.clocks import now

HOST = "127.0.0.1"
CALL_WITHIN_S = 2.0
_LOOK_EVERY_S = 0.1

Event = tuple[str, dict[str, Any]]
Request = tuple[str, dict[str, Any]]


class DevToolsError(Exception):
    """The browser says no to this one call."""


class DevToolsTimeout(DevToolsError):
    """The browser does not answer this call, which may be a page's dialog or a browser that hangs."""


class DevToolsGone(DevToolsError):
    """The line is cut."""


class BrowserLine:
    """The websocket. For one thread."""

    def __init__(self, port: int, is_over: Callable[[], bool]) -> None:
        self._is_over = is_over  # nobody waits for an answer any more
        self._count = 0
        self._events: dict[str | None, deque[Event]] = {}
        try:
            path = _browser_path(port)
            sock = socket.create_connection((HOST, port), CALL_WITHIN_S)  # ours, so that no proxy is asked
            self.local_port: int = sock.getsockname()[1]
            self._socket = websocket.create_connection(
                f"ws://{HOST}:{port}{path}", socket=sock, suppress_origin=True, timeout=CALL_WITHIN_S
            )
        except (OSError, websocket.WebSocketException, HTTPException, ValueError, KeyError) as error:
            raise DevToolsGone(f"no DevTools: {type(error).__name__}") from error

    def call(
        self,
        method: str,
        params: dict[str, Any] | None = None,
        *,
        session: str | None = None,
        within_s: float = CALL_WITHIN_S,
    ) -> dict[str, Any]:
        """Return the answer. Raises DevToolsError, DevToolsTimeout, DevToolsGone."""
        number, until = self._request(method, params, session), now() + within_s
        while True:
            message = self._receive(until - now())
            if message is None:
                raise DevToolsTimeout(f"{method}: no answer within {within_s:g} s")
            if message.get("id") == number:
                if "error" in message:
                    raise DevToolsError(f"{method}: {message['error'].get('message', '')}")
                result: dict[str, Any] = message.get("result", {})
                return result
            self._keep(message)

    def ask(
        self, requests: Sequence[Request], *, session: str, within_s: float
    ) -> list[dict[str, Any] | None]:
        """Send several calls at once, and return the answers: None for one that fails or is late. Raises DevToolsGone."""
        numbers, until = [self._request(*each, session) for each in requests], now() + within_s
        found: dict[int, dict[str, Any] | None] = {}
        while len(found) < len(numbers) and (message := self._receive(until - now())) is not None:
            if message.get("id") in numbers:
                found[message["id"]] = message.get("result")
            else:
                self._keep(message)
        return [found.get(number) for number in numbers]

    def tell(self, method: str, params: dict[str, Any] | None = None, *, session: str | None = None) -> None:
        """Send a call whose answer nobody waits for. Raises DevToolsGone."""
        self._request(method, params, session)

    def events(self, session: str) -> list[Event]:
        """Return what has happened in a session since the last time. Raises DevToolsGone."""
        while (message := self._receive(0)) is not None:
            self._keep(message)
        return list(self._events.pop(session, ()))

    def wait(self, seconds: float) -> None:
        """Wait until the browser has said something, at most so long. Raises DevToolsGone."""
        if (message := self._receive(seconds)) is not None:
            self._keep(message)

    def forget(self) -> None:
        """Drop what nobody will read."""
        self._events.clear()

    def close(self) -> None:
        """Hang up. Safe twice."""
        with contextlib.suppress(OSError, websocket.WebSocketException):
            self._socket.shutdown()  # type: ignore[no-untyped-call]

    def _keep(self, message: dict[str, Any]) -> None:
        session = message.get("sessionId")
        if session is not None and "method" in message:
            self._events.setdefault(session, deque(maxlen=5000)).append(
                (message["method"], message.get("params", {}))
            )

    def _request(self, method: str, params: dict[str, Any] | None, session: str | None) -> int:
        self._count += 1
        request: dict[str, Any] = {"id": self._count, "method": method, "params": params or {}}
        if session is not None:
            request["sessionId"] = session
        try:
            self._socket.settimeout(CALL_WITHIN_S)
            self._socket.send(json.dumps(request))
        except (OSError, websocket.WebSocketException) as error:
            raise DevToolsGone(type(error).__name__) from error
        return self._count

    def _receive(self, seconds: float) -> dict[str, Any] | None:
        poller, until = select.poll(), now() + seconds
        try:
            poller.register(self._socket.fileno(), select.POLLIN)  # type: ignore[no-untyped-call]
            while not poller.poll(min(_LOOK_EVERY_S, max(0.0, until - now())) * 1000):
                if now() >= until or self._is_over():
                    return None
            self._socket.settimeout(CALL_WITHIN_S)
            text = self._socket.recv()
        except (OSError, AttributeError, TypeError, ValueError, websocket.WebSocketException) as error:
            raise DevToolsGone(type(error).__name__) from error
        if not text:
            raise DevToolsGone("closed")
        message: dict[str, Any] = json.loads(text)
        return message


def _browser_path(port: int) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{HOST}:{port}/json/version", timeout=CALL_WITHIN_S) as answer:
        address = str(json.load(answer)["webSocketDebuggerUrl"])
    return "/" + address.split("/", 3)[3]
