"""Events over HTTP: live, resumed, none twice, none left out; and what ends a stream."""

import json
import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import pytest

from tests.integration.http_stage import DEADLINE_S, Stage, staged
from tests.waiting import wait_until

PATH = "/api/v1/events"


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with staged(tmp_path) as found:
        found.core.media.put("clip.mp4")
        found.token()
        yield found


class Listener:
    """A caller that reads the stream. Use as a context manager: then it listens."""

    def __init__(
        self, stage: Stage, last: int | None = None, *, user: str = "ann", small: bool = False
    ) -> None:
        self._wire = socket.socket()
        if small:
            self._wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._wire.settimeout(DEADLINE_S)
        self._wire.connect(("127.0.0.1", stage.port))
        resume = "" if last is None else f"Last-Event-ID: {last}\r\n"
        self._wire.sendall(
            f"GET {PATH} HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer {stage.token(user)}\r\n{resume}\r\n".encode()
        )
        self._file = self._wire.makefile("rb")

    def __enter__(self) -> Self:
        self.head = b""
        while not self.head.endswith(b"\r\n\r\n"):
            self.head += self._file.readline()
        assert self.head.startswith(b"HTTP/1.1 200 "), self.head
        assert self.block() == {"retry": "2000"}
        return self

    def __exit__(self, *_exc: object) -> None:
        self._file.close()
        self._wire.close()

    def block(self) -> dict[str, str]:
        """Return the next part of the stream; an empty one is its end."""
        found: dict[str, str] = {}
        while (line := self._file.readline().decode()) not in {"\n", ""}:
            name, _, value = line.rstrip("\n").partition(":")
            found[name] = value.removeprefix(" ")
        return found

    def event(self) -> dict[str, Any]:
        """Return the next event."""
        while "data" not in (found := self.block()):
            assert found, "the stream has ended"
        event: dict[str, Any] = json.loads(found["data"])
        assert int(found["id"]) == int(event["sequence"])
        return event

    def numbers(self, count: int) -> list[int]:
        return [int(self.event()["sequence"]) for _ in range(count)]

    def read_to_end(self) -> None:
        while self.block():
            pass


def latest(stage: Stage) -> int:
    return stage.core.bus.read(lambda unit: unit.last_sequence())


def happen(stage: Stage, count: int) -> None:
    """Let so many events happen."""
    for _ in range(count):
        stage.core.do("token/issue", {"user": "somebody"}, is_local=True, id="")


def test_a_listener_is_told_what_happens(stage: Stage) -> None:
    with Listener(stage) as listener:
        post = stage.core.scheduled()

        event = listener.event()

    assert (event["type"], event["subject"]) == ("dev.tokd.post.scheduled", f"post/{post}")


def test_a_stream_is_called_one(stage: Stage) -> None:
    with Listener(stage) as listener:
        assert b"content-type: text/event-stream" in listener.head


def test_a_listener_is_told_the_same_events_as_anybody(stage: Stage) -> None:
    before = latest(stage)
    with Listener(stage) as listener:
        happen(stage, 3)
        found = [listener.event() for _ in range(3)]

    assert found == stage.core.bus.read(lambda unit: unit.events_after(before, 10))


def test_a_new_listener_is_told_nothing_of_the_past(stage: Stage) -> None:
    happen(stage, 3)
    before = latest(stage)
    with Listener(stage) as listener:
        happen(stage, 1)

        assert listener.numbers(1) == [before + 1]


@pytest.mark.parametrize("missed", [0, 1, 199, 200, 201, 450])
def test_a_listener_goes_on_where_it_was(stage: Stage, missed: int) -> None:
    before = latest(stage)
    happen(stage, missed)
    with Listener(stage, before) as listener:
        found = listener.numbers(missed)
        happen(stage, 2)
        found += listener.numbers(2)

    assert found == list(range(before + 1, before + missed + 3))


def test_events_that_come_while_the_past_is_read_come_once(stage: Stage) -> None:
    before = latest(stage)
    happen(stage, 500)
    listeners = [Listener(stage, before) for _ in range(3)]
    happen(stage, 100)  # while they catch up
    found = []
    for listener in listeners:
        with listener:
            found.append(listener.numbers(600))

    assert found == [list(range(before + 1, before + 601))] * 3


def test_a_listener_that_is_ahead_of_us_begins_with_now(stage: Stage) -> None:
    before = latest(stage)
    with Listener(stage, 10**9) as listener:
        happen(stage, 1)

        assert listener.numbers(1) == [before + 1]


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "1" * 16, "²", ""])
def test_a_number_that_is_none_is_refused(stage: Stage, last: str) -> None:
    answer = stage.call("GET", PATH, Last_Event_ID=last.encode().decode("latin-1"))

    assert (answer.status, answer.code) == (422, "bad_field")


def test_a_quiet_stream_shows_that_it_lives(tmp_path: Path) -> None:
    with staged(tmp_path, heartbeat_s=0.05) as stage, Listener(stage) as listener:
        assert list(listener.block()) == [""]  # a comment: a line without a name
        happen(stage, 1)

        assert listener.event()["type"] == "dev.tokd.token.issued"


def test_a_stream_ends_when_its_token_is_taken_back(stage: Stage) -> None:
    token = stage.core.do("token/issue", {"user": "eve"}, is_local=True, id="")
    stage.tokens["eve"] = token["text"]
    with Listener(stage, user="eve") as listener:
        stage.core.do("token/revoke", {"token": token["token"]}, is_local=True)

        assert listener.block() == {}


def test_a_stream_ends_with_its_token(tmp_path: Path) -> None:
    with staged(tmp_path, heartbeat_s=0.05) as stage, Listener(stage) as listener:
        stage.core.clock.advance(timedelta(days=366))

        listener.read_to_end()


def test_streams_end_when_the_adapter_stops(stage: Stage) -> None:
    with Listener(stage) as listener:
        assert stage.server.stop(5)

        listener.read_to_end()


def test_one_listener_too_many_is_told_to_come_back(tmp_path: Path) -> None:
    with staged(tmp_path, readers_max=1) as stage:
        with Listener(stage):
            answer = stage.get(PATH)

        assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "busy", "5")
        wait_until(lambda: not stage.server._parts.hub._readers, what="the listener is forgotten")
        with Listener(stage):
            pass


def test_a_listener_that_does_not_read_is_cut_off_and_can_go_on(tmp_path: Path) -> None:
    with staged(tmp_path, buffer_max=20) as stage:
        before = latest(stage)
        listener = Listener(stage, small=True)
        with listener:
            for _ in range(4000):
                happen(stage, 2)
                if not stage.server._parts.hub._readers:
                    break
            assert not stage.server._parts.hub._readers
        assert stage.get("/livez").status == 200

        with Listener(stage, before) as again:
            assert again.numbers(50) == list(range(before + 1, before + 51))


@pytest.mark.parametrize("is_past", [True, False])
def test_a_listener_hears_nothing_of_another_users_tasks(stage: Stage, is_past: bool) -> None:
    last = latest(stage)
    if is_past:
        _submit(stage)
    with Listener(stage, last, user="ann") as listener:
        if not is_past:
            _submit(stage)
        found = []
        while (event := listener.event())["data"].get("user") != "somebody":
            found.append(event)

    tasks = [event["data"]["user"] for event in found if event["type"].startswith("dev.tokd.task.")]
    assert tasks == ["ann"]


def _submit(stage: Stage) -> None:
    for user in ("bob", "ann", "bob"):
        body = {"description": "a film", "instance_id": "gen-1", "status": "running"}
        assert stage.post("/api/v1/tasks", body, user=user).status == 201
    happen(stage, 1)
