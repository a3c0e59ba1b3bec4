"""A real daemon under bytes that no decent client sends: broken, endless, ambiguous, slow. It answers, and forgets them."""

import contextlib
import json
import random
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest

from tests.brokers import free_port
from tests.daemons import Daemon
from tests.e2e.test_http_fuzz import has_not_grown
from tests.waiting import wait_until

SEED = 20240611
MUTANTS = 300
TASKS = "/api/v1/tasks"
LIVE = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
TASK = b'{"instance_id":"i"}'
REFUSED = {400, 403, 404, 405, 408, 411, 413, 415, 421, 422, 431, 501}

# The first line of a request: none of these is one that leads anywhere.
LINES = [
    b"", b" ", b"GET", b"GET /livez", b"GET  /livez HTTP/1.1", b"GET /livez HTTP/9.9", b"GET /livez HTTP/1.1 x",
    b"GET /livez\tHTTP/1.1", b"G\x00T /livez HTTP/1.1", b"GET /li\x00vez HTTP/1.1", b"GET /livez%00 HTTP/1.1",
    b"get /livez HTTP/1.1", b"GET /livez/ HTTP/1.1", b"GET //localhost/livez HTTP/1.1", b"GET /../livez HTTP/1.1",
    b"GET /%2e%2e/livez HTTP/1.1", b"GET http://evil.example/livez HTTP/1.1", b"CONNECT evil.example:443 HTTP/1.1",
    b"OPTIONS * HTTP/1.1", b"GET livez HTTP/1.1", b"GET \xff\xfe HTTP/1.1", b"PRI * HTTP/2.0",
    b"GET /" + b"a" * 20_000 + b" HTTP/1.1", b"A" * 200_000, b"GET /livez?" + b"a=1&" * 3_000 + b" HTTP/1.1",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x80\x80\x01\x03\x01", b"GET /livez HTTP/1.1\x00",
]  # fmt: skip
# What stands in a head besides: none of them is let through.
HEADERS = [
    b"no colon", b": no name", b"X : space before the colon", b"X\x00: y", b"X: \x00", b"X: a\rb", b"\xff\xfe: x",
    b"Host: localhost", b"Host : localhost", b"X: " + b"x" * 17_000, b"X: " + b"x" * 1_000_000,
    b"\r\n".join(b"X%d: y" % number for number in range(5_000)), b"Content-Length: -1", b"Content-Length: +5",
    b"Content-Length: 0x5", b"Content-Length: 5, 6", b"Content-Length: 5\r\nContent-Length: 6", b"Content-Length: ",
    b"Content-Length: " + b"9" * 30, b"Content-Length: 70000", b"Transfer-Encoding: gzip", b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
]  # fmt: skip
# A body in pieces, as its bytes.
PIECES = [
    b"zz\r\n{}\r\n0\r\n\r\n", b"-2\r\n{}\r\n0\r\n\r\n", b"+2\r\n{}\r\n0\r\n\r\n", b"0x2\r\n{}\r\n0\r\n\r\n",
    b"FFFFFFFFFFFFFFFFF\r\n{}\r\n0\r\n\r\n", b"2\r\n{}xx0\r\n\r\n", b"\r\n{}\r\n0\r\n\r\n", b"2 \x00\r\n{}\r\n0\r\n\r\n",
    b"2;" + b"x" * 100_000 + b"\r\n{}\r\n0\r\n\r\n", b"2\r\n{}\r\n0\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
    b"13\r\n" + TASK + b"\r\n", b"13\r\n" + TASK[:5], b"1\r\n{\r\n" * 40_000,
]  # fmt: skip


class Stage:
    """A daemon with short deadlines, and bare connections to it."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.port = int(daemon.settings["http.port"])
        issued = daemon.call("token/issue", {"user": "ann"})
        assert issued["status"] == "done", issued
        self.token = issued["result"]["text"]

    def head(self, *lines: str, method: str = "POST", path: str = TASKS) -> bytes:
        found = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {self.token}",
                 "Content-Type: application/json", "Connection: close", *lines]  # fmt: skip
        return "\r\n".join([*found, "", ""]).encode()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=15)

    def say(self, *parts: bytes, within_s: float = 15, more_within_s: float | None = None) -> bytes:
        """Send and return what comes until the end of the connection, or until nothing more has come for a while."""
        found = b""
        with self.connect() as wire:
            with contextlib.suppress(OSError):  # it has hung up while we were talking
                for part in parts:
                    wire.sendall(part)
            wire.settimeout(within_s)
            with contextlib.suppress(ConnectionError):
                try:
                    while chunk := wire.recv(65536):
                        found += chunk
                        wire.settimeout(more_within_s or within_s)
                except TimeoutError:
                    assert found, "neither an answer nor an end"
        return found

    def live_within(self) -> float:
        """Return how long an honest caller waits for its answer."""
        began = time.monotonic()
        with self.connect() as wire:
            wire.sendall(LIVE)
            assert wire.recv(4096).startswith(b"HTTP/1.1 200 ")
        return time.monotonic() - began

    def tasks(self) -> int:
        return int(self.daemon.rows("SELECT count(*) FROM task")[0][0])

    def size(self) -> tuple[int, int]:
        assert self.daemon.process is not None
        process = psutil.Process(self.daemon.process.pid)
        return process.num_threads(), process.num_fds()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """After all of it the daemon must be as it was: the same process, its threads, its files, and a quiet log."""
    settings = {"http.port": str(free_port()), "http.header_timeout_s": "1"}
    daemon = Daemon(tmp_path_factory.mktemp("hostile"), settings).start()
    try:
        found = Stage(daemon)
        daemon.wait_settled()
        found.live_within()
        before = found.size()
        yield found
        wait_until(
            lambda: has_not_grown(before, found.size()),
            40,
            what=lambda: f"{found.size()}: {before}",
        )
        assert found.live_within() < 5
        assert daemon.stop() == 0
        log = daemon.log.read_text()
        assert "Traceback" not in log
        assert "Fatal error" not in log
    finally:
        daemon.kill()


def statuses(said: bytes) -> list[int]:
    return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3}) ", said)]


def is_refused(said: bytes) -> bool:
    """Tell whether nothing came, or one refusal with a body of ours."""
    if not said:
        return True
    (status,) = statuses(said)
    body = said.partition(b"\r\n\r\n")[2]
    return status in REFUSED and (not body or bool(json.loads(body)["error"]["code"]))


def test_an_honest_request_is_carried_out(stage: Stage) -> None:
    before = stage.tasks()

    said = stage.say(stage.head(f"Content-Length: {len(TASK)}"), TASK)
    pieces = stage.say(stage.head("Transfer-Encoding: chunked"), b"%x\r\n%b\r\n0\r\n\r\n" % (len(TASK), TASK))

    assert (statuses(said), statuses(pieces), stage.tasks() - before) == ([201], [201], 2)


@pytest.mark.parametrize("line", LINES, ids=range(len(LINES)))
def test_a_first_line_that_is_none_is_refused(stage: Stage, line: bytes) -> None:
    said = stage.say(line + b"\r\nHost: localhost\r\nConnection: close\r\n\r\n")

    assert is_refused(said), said[:300]


@pytest.mark.parametrize("header", HEADERS, ids=range(len(HEADERS)))
def test_a_head_with_a_trick_in_it_is_refused(stage: Stage, header: bytes) -> None:
    before = stage.tasks()
    head = stage.head()[:-2] + header + b"\r\n\r\n"

    said = stage.say(head, TASK)

    assert is_refused(said), said[:300]
    assert stage.tasks() == before


@pytest.mark.parametrize("pieces", PIECES, ids=range(len(PIECES)))
def test_a_body_in_broken_pieces_is_refused(stage: Stage, pieces: bytes) -> None:
    before = stage.tasks()

    said = stage.say(stage.head("Transfer-Encoding: chunked"), pieces)

    assert is_refused(said), said[:300]
    assert stage.tasks() == before


@pytest.mark.parametrize("is_first", [True, False], ids=["length first", "length last"])
def test_two_lengths_of_one_body_do_not_hide_a_second_request(stage: Stage, is_first: bool) -> None:
    before = stage.tasks()
    hidden = stage.head(f"Content-Length: {len(TASK)}") + TASK
    lines = [f"Content-Length: {len(hidden) + 5}", "Transfer-Encoding: chunked"]

    said = stage.say(stage.head(*(lines if is_first else lines[::-1])), b"0\r\n\r\n", hidden)

    assert statuses(said) in ([], [400]), said[:600]
    assert stage.tasks() == before


def test_many_requests_at_once_are_answered_in_their_order(stage: Stage) -> None:
    said = stage.say((LIVE + b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n") * 100 + LAST)

    assert statuses(said) == [*[200, 404] * 100, 200]


def test_rubbish_behind_a_request_takes_nothing_from_its_answer(stage: Stage) -> None:
    said = stage.say(LIVE + b"\x00\xff rubbish\r\n\r\n")

    assert statuses(said) == [200, 400]


def test_rubbish_behind_the_head_of_a_stream_ends_the_stream(stage: Stage) -> None:
    head = stage.head("Transfer-Encoding: chunked", method="GET", path="/api/v1/events")
    with stage.connect() as wire:
        wire.sendall(head)
        assert wire.recv(4096).startswith(b"HTTP/1.1 200 ")

        wire.sendall(b"zz\r\n rubbish\r\n\r\n")

        while wire.recv(65536):
            pass


@pytest.mark.parametrize(
    "value",
    ["-1", "1e3", "0x1", "٣", "9" * 16, "9" * 5_000, "1,2", "1 2", " ", "null", "\x01", "\xb2", "1\t"],
)
def test_a_stream_begins_nowhere_else_than_at_a_number(stage: Stage, value: str) -> None:
    head = stage.head(method="GET", path="/api/v1/events")[:-2]

    with stage.connect() as wire:
        wire.sendall(head + b"Last-Event-ID: " + value.encode() + b"\r\n\r\n")
        said = wire.recv(4096)

    assert statuses(said) in ([400], [422]) or value.strip() == "1", said


@pytest.mark.parametrize("protocol", ["websocket", "h2c", "TLS/1.0, HTTP/2.0", "\x7f"])
def test_no_other_protocol_is_spoken(stage: Stage, protocol: str) -> None:
    head = stage.head(
        "Connection: Upgrade, HTTP2-Settings", f"Upgrade: {protocol}", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA", method="GET",
        path="/api/v1/events",
    )  # fmt: skip
    with stage.connect() as wire:
        wire.sendall(head)

        assert b" 101 " not in wire.recv(4096)


def test_a_caller_that_waits_for_a_word_before_its_body_gets_it(stage: Stage) -> None:
    with stage.connect() as wire:
        wire.sendall(stage.head(f"Content-Length: {len(TASK)}", "Expect: 100-continue"))
        assert wire.recv(4096).startswith(b"HTTP/1.1 100 ")
        wire.sendall(TASK)

        assert wire.recv(4096).startswith(b"HTTP/1.1 201 ")


def test_a_body_that_drips_is_given_up(stage: Stage) -> None:
    before = stage.tasks()
    with stage.connect() as wire:
        wire.sendall(stage.head("Content-Length: 60000"))
        wire.settimeout(0.05)
        said, end = b"", time.monotonic() + 10
        while not said and time.monotonic() < end:
            wire.sendall(b" ")
            try:
                said = wire.recv(4096)
            except TimeoutError:
                continue

    assert statuses(said) == [408]
    assert stage.tasks() == before


def test_three_hundred_callers_that_stop_half_way_hold_up_nobody(stage: Stage) -> None:
    """One third each: half a head, a head without its body, half a body in pieces."""
    halves = (
        LIVE[:-4], stage.head("Content-Length: 60000") + b"{", stage.head("Transfer-Encoding: chunked") + b"5\r\n{",
    )  # fmt: skip
    wires = [stage.connect() for _ in range(300)]
    try:
        for number, wire in enumerate(wires):
            wire.sendall(halves[number % 3])

        assert min(stage.live_within() for _ in range(3)) < 1
    finally:
        for wire in wires:
            wire.close()


def test_callers_that_hang_up_at_once_leave_nothing(stage: Stage) -> None:
    for number in range(200):
        with stage.connect() as wire:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")  # reset, not an end
            wire.sendall(stage.head("Content-Length: 50")[: number * 3])

    assert min(stage.live_within() for _ in range(3)) < 1


def mutants(whole: bytes) -> Iterator[bytes]:
    """Yield the request with bytes changed, cut out, doubled or put in; always the same ones."""
    dice = random.Random(SEED)
    poison = (
        b"\x00",
        b"\r",
        b"\n",
        b"\r\n",
        b"\r\n\r\n",
        b":",
        b" ",
        b"\xff",
        b"%",
        b"chunked",
        b"0\r\n\r\n",
        b"\t",
    )
    for _ in range(MUTANTS):
        found = bytearray(whole)
        for _ in range(dice.randint(1, 4)):
            at = dice.randrange(len(found))
            end = at + dice.randrange(12)
            match dice.randrange(4):
                case 0:
                    found[at] = dice.randrange(256)
                case 1:
                    del found[at:end]
                case 2:
                    found[at:at] = found[at:end]
                case _:
                    found[at:at] = dice.choice(poison)
        yield bytes(found)


def test_requests_with_a_few_wrong_bytes_are_answered_or_refused_and_never_a_fault(stage: Stage) -> None:
    whole = (
        stage.head(f"Content-Length: {len(TASK)}", "Idempotency-Key: k1", "Origin: http://localhost") + TASK
    )
    cases = list(mutants(whole))

    # For most of them the daemon waits a second for what is missing; a few are answered, and their connection is kept.
    with ThreadPoolExecutor(64) as pool:
        said = list(pool.map(lambda mutant: stage.say(mutant, within_s=10, more_within_s=3), cases))

    for number, (mutant, answer) in enumerate(zip(cases, said, strict=True)):
        assert all(code < 500 for code in statuses(answer)), (SEED, number, mutant, answer[:500])
    found = {code for answer in said for code in statuses(answer)}
    assert {400, 401, 408, 422} <= found, found


def test_every_refusal_of_what_is_no_http_is_json(stage: Stage) -> None:
    said = stage.say(b"rubbish\r\n\r\n")
    body: Any = json.loads(said.partition(b"\r\n\r\n")[2])

    assert (statuses(said), body["error"]["code"]) == ([400], "bad_json")
