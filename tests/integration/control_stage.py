"""A control server on a real socket, a bus that answers as told, and a plain client that speaks raw lines."""

import contextlib
import json
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from adapters.control import ControlServer
from adapters.scheduler.clock import SystemClock
from daemon.domain import replies
from daemon.domain.events import Event, EventType, as_cloudevent, as_json
from daemon.domain.wire import Request
from daemon.ports import Outgoing
from tests.fakes.bus import FakeBus

DEADLINE_S = 10.0


class Supervisor:
    """Remembers who died."""

    def __init__(self) -> None:
        self.deaths: list[tuple[str, BaseException]] = []

    def died(self, part: str, error: BaseException) -> None:
        self.deaths.append((part, error))


class History:
    """The part of a Unit that the control server reads."""

    def __init__(self, events: list[dict[str, Any]]) -> None:
        self._events = events

    def events_after(self, sequence: int, limit: int) -> list[dict[str, Any]]:
        return self._events[sequence : sequence + limit]

    def last_sequence(self) -> int:
        return len(self._events)


class ControlBus(FakeBus):
    """Answers every command by `reply_with`, and keeps the events it was told to emit."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[dict[str, Any]] = []
        self.reply_with: Callable[[Request], list[dict[str, Any]]] = lambda request: [
            {"status": "done", "result": {}}
        ]
        self.before_read: Callable[[], None] | None = None
        self.on_submit = self._answer

    def read(self, query: Callable[[Any], Any]) -> Any:
        if self.before_read is not None:
            self.before_read()
        with self._changed:
            return query(History(self.events))

    def emit(self, kind: EventType = EventType.POST_STARTED, subject: str = "post/p_1", **data: Any) -> int:
        """Commit an event and offer it, as the bus does; return its number."""
        with self._changed:
            number = len(self.events) + 1
            event = as_cloudevent(Event(kind, subject, SystemClock().now(), data), self.node, number)
            self.events.append(event)
            message = Outgoing(row=number, transport="", kind="event", address="post", payload=as_json(event))
        for publisher in self.publishers:
            publisher.offer([message])
        return number

    def _answer(self, request: Request) -> None:
        if request.error is not None:
            bodies = [{"status": "rejected", "error": request.error.as_dict()}]
        else:
            bodies = self.reply_with(request)
        for body in bodies:
            self.answer(request, body)

    def answer(self, request: Request, body: dict[str, Any]) -> None:
        """Hand one reply over."""
        assert request.answer is not None
        request.answer(
            replies.build(
                request.id, request.verb, body, node=self.node, boot="boot", now=SystemClock().now()
            )
        )


class Wire:
    """A client that sends what it is told and returns what comes, line by line."""

    def __init__(self, path: Path) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(DEADLINE_S)
        self.sock.connect(str(path))
        self._stream = self.sock.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self.sock.close()

    def send(self, value: object) -> None:
        self.sock.sendall(value if isinstance(value, bytes) else json.dumps(value).encode() + b"\n")

    def receive(self) -> dict[str, Any]:
        line = self._stream.readline()
        assert line, "the server closed the connection"
        found = json.loads(line)
        assert isinstance(found, dict)
        return found

    def ask(self, value: object) -> dict[str, Any]:
        self.send(value)
        return self.receive()

    def is_closed(self) -> bool:
        """Read to the end; True where there is one."""
        try:
            while self._stream.readline():
                pass
        except ConnectionError:
            pass
        return True


class Stage:
    """Everything a test needs, started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "control.sock"
        self.bus = ControlBus()
        self.supervisor = Supervisor()
        self.server = self.make()

    def make(self, path: Path | None = None) -> ControlServer:
        server = ControlServer(path or self.path, self.bus, SystemClock(), self.supervisor)
        self.bus.publishers.append(server)
        return server

    def connect(self) -> Wire:
        return Wire(self.path)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: pytest's own are too deep for the 107 bytes of a Unix socket."""
    found = Path(tempfile.mkdtemp(prefix="tokd-", dir="/tmp"))
    yield found
    shutil.rmtree(found)


@pytest.fixture
def stage(folder: Path) -> Iterator[Stage]:
    found = Stage(folder)
    found.server.start()
    with contextlib.ExitStack() as stack:
        stack.callback(found.server.stop)
        yield found
    assert found.supervisor.deaths == []
