"""The HTTP adapter on a real socket, over the core in this process (real bus, ledger, handlers; browser in memory)."""

import http.client
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from adapters.http import HttpServer, HttpSettings
from daemon.domain.policy import Policy
from daemon.ports import HintReader
from tests.core import POLICY, Core

DEADLINE_S = 15.0


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw)

    @property
    def code(self) -> str:
        """Return the error's code in either family."""
        body = self.body
        return body["error_details"]["code"] if "error_details" in body else body["error"]["code"]


@dataclass
class Stage:
    """A server that runs, and callers for it."""

    core: Core
    server: HttpServer
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def port(self) -> int:
        found = urlsplit(self.server.url).port
        assert found is not None
        return found

    def token(self, user: str = "ann") -> str:
        """Return a token of this user; one each."""
        if user not in self.tokens:
            self.tokens[user] = self.core.do("token/issue", {"user": user}, is_local=True, id="")["text"]
        return self.tokens[user]

    def call(
        self, method: str, path: str, body: object = None, *, user: str | None = "ann", raw: bytes | None = None,
        **headers: str,
    ) -> Answer:  # fmt: skip
        """Send a request and return the answer. Underscores in header names are hyphens."""
        found = {name.replace("_", "-"): value for name, value in headers.items()}
        if user is not None:
            found.setdefault("Authorization", f"Bearer {self.token(user)}")
        if body is not None:
            raw = json.dumps(body).encode()
        if raw is not None:
            found.setdefault("Content-Type", "application/json")
        wire = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        try:
            wire.request(method, path, raw, found)
            answer = wire.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            wire.close()

    def get(self, path: str, **more: Any) -> Answer:
        return self.call("GET", path, **more)

    def post(self, path: str, body: object = None, **more: Any) -> Answer:
        return self.call("POST", path, body, **more)

    def connect(self) -> socket.socket:
        """Return a bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_S)

    def say(self, text: bytes) -> bytes:
        """Send bytes as they are and return all that comes until the connection is closed."""
        with self.connect() as wire:
            wire.sendall(text)
            return read_all(wire)


def read_all(wire: socket.socket) -> bytes:
    found = b""
    while True:
        try:
            chunk = wire.recv(65536)
        except ConnectionResetError:
            return found
        if not chunk:
            return found
        found += chunk


@contextmanager
def staged(
    folder: Path,
    *,
    policy: Policy = POLICY,
    loops: Callable[[], Mapping[str, float]] | None = None,
    hints: Callable[[Core], HintReader] | None = None,
    is_stopping: Callable[[], bool] = bool,
    **settings: Any,
) -> Iterator[Stage]:
    """Run a core and a server for it."""
    with Core(folder, policy=policy) as core:
        server = HttpServer(
            HttpSettings(port=0, version="0.0.0", **settings), core.bus, core.clock, core.gate, core.deaths,
            loops=loops or (lambda: {"bus": core.clock.monotonic() - core.bus.last_beat}),
            is_stopping=is_stopping, hints=hints(core) if hints else None, figures=core.figures,
        )  # fmt: skip
        core.bus.add_publisher(server)
        server.start()
        try:
            yield Stage(core, server)
        finally:
            assert server.stop()
            assert core.deaths.found == []
