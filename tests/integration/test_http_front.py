"""What stands before the routes: names, origins, sizes, content types, slow callers; every error is JSON."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.domain.errors import StartRefused
from tests.brokers import free_port
from tests.integration.http_stage import Stage, read_all, staged

ORIGIN = "https://app.example"
POSTS = "/api/v1/posts"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(
        tmp_path_factory.mktemp("http"),
        allowed_hosts=("tokd.example",),
        cors_origins=(ORIGIN,),
        body_max=2048,
    ) as found:
        yield found


# -- the port ------------------------------------------------------------------------------------------------


def test_a_taken_port_refuses_the_start_with_its_name(stage: Stage) -> None:
    with pytest.raises(StartRefused, match=rf"127\.0\.0\.1:{stage.port}.*http\.port"):
        type(stage.server)(
            type(stage.server._settings)(port=stage.port, version="0"), stage.core.bus, stage.core.clock,
            stage.core.gate, stage.core.deaths,
        ).start()  # fmt: skip


def test_a_port_is_free_again_after_the_stop(tmp_path: Path) -> None:
    port = free_port()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        with staged(tmp_path / name) as found:
            server = type(found.server)(
                type(found.server._settings)(port=port, version="0"), found.core.bus, found.core.clock,
                found.core.gate, found.core.deaths,
            )  # fmt: skip
            server.start()
            assert server.stop()
            assert server.stop()


def test_ipv6_is_served(tmp_path: Path) -> None:
    with staged(tmp_path, host="::1") as found, socket.create_connection(("::1", found.port), 10) as wire:
        wire.sendall(f"GET /livez HTTP/1.1\r\nHost: [::1]:{found.port}\r\nConnection: close\r\n\r\n".encode())

        assert read_all(wire).startswith(b"HTTP/1.1 200 ")


# -- names ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST", "localhost.", "127.0.0.1", "127.0.0.1:80", "[::1]", "[::1]:8080",
     "[0:0:0:0:0:0:0:1]", "tokd.example", "Tokd.Example:8080"],
)  # fmt: skip
def test_a_name_that_is_ours_is_answered(stage: Stage, host: str) -> None:
    assert stage.get("/livez", Host=host).status == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "tokd.example.evil", "127.0.0.2", "0.0.0.0", "[::2]", "10.0.0.1",
     "localhost:80.evil"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/livez", POSTS, "/nothing"])
def test_a_name_that_is_not_ours_is_not_answered(stage: Stage, host: str, path: str) -> None:
    answer = stage.get(path, Host=host)

    assert answer.status in {400, 421}
    assert answer.code in {"forbidden", "bad_field"}


@pytest.mark.parametrize(
    "host", ["", "a b", "[::1", "::1", "localhost:x", "user@localhost", "localhost/x", "[x]"]
)
def test_a_name_that_is_none_is_a_mistake(stage: Stage, host: str) -> None:
    assert stage.get("/livez", Host=host).status == 400


@pytest.mark.parametrize("lines", ["", "Host: localhost\r\nHost: localhost\r\n"])
def test_a_request_names_its_host_once(stage: Stage, lines: str) -> None:
    found = stage.say(f"GET /livez HTTP/1.1\r\n{lines}Connection: close\r\n\r\n".encode())

    assert found.startswith(b"HTTP/1.1 400 ")
    assert json.loads(found.partition(b"\r\n\r\n")[2])["error"]["code"]


# -- origins -------------------------------------------------------------------------------------------------


def test_a_page_that_may_call_is_told_so(stage: Stage) -> None:
    answer = stage.get(POSTS, Origin=ORIGIN)

    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, ORIGIN)
    assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize(
    ("method", "path", "user", "status"),
    [
        ("GET", POSTS, None, 401),
        ("GET", "/nothing", "ann", 404),
        ("PUT", POSTS, "ann", 405),
        ("GET", f"{POSTS}/p_none", "ann", 404),
        ("GET", f"{POSTS}?x=1", "ann", 422),
        ("POST", "/tiktok/session?wait=x", "ann", 422),
    ],
)
def test_a_page_that_may_call_can_read_errors(
    stage: Stage, method: str, path: str, user: str | None, status: int
) -> None:
    answer = stage.call(method, path, user=user, Origin=ORIGIN)

    assert (answer.status, answer.headers["access-control-allow-origin"]) == (status, ORIGIN)
    assert answer.headers["content-type"] == "application/json"


def test_a_page_that_may_call_can_read_a_fault_of_ours(tmp_path: Path) -> None:
    def fail() -> dict[str, float]:
        raise ZeroDivisionError("what nobody has foreseen")

    with staged(tmp_path, loops=fail, cors_origins=(ORIGIN,)) as found:
        answer = found.get("/livez", Origin=ORIGIN)

    assert (answer.status, answer.code) == (500, "internal")
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert b"foreseen" not in answer.raw


def test_a_page_may_ask_beforehand(stage: Stage) -> None:
    answer = stage.call(
        "OPTIONS", POSTS, user=None, Origin=ORIGIN, Access_Control_Request_Method="PATCH",
        Access_Control_Request_Headers="authorization",
    )  # fmt: skip

    assert (answer.status, answer.headers["access-control-allow-origin"]) == (204, ORIGIN)
    assert "PATCH" in answer.headers["access-control-allow-methods"]
    assert "authorization" in answer.headers["access-control-allow-headers"]


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://app.example", f"{ORIGIN}.evil", f"{ORIGIN}:444"],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_any_other_page_is_refused(stage: Stage, origin: str, method: str) -> None:
    answer = stage.call(method, POSTS, Origin=origin, Access_Control_Request_Method="GET")

    assert (answer.status, answer.code) == (403, "forbidden")
    assert "access-control-allow-origin" not in answer.headers


def test_a_page_of_our_own_is_no_stranger(stage: Stage) -> None:
    host = f"localhost:{stage.port}"

    assert stage.get(POSTS, Origin=f"http://{host}", Host=host).status == 200


def test_what_a_foreign_page_embeds_is_refused(stage: Stage) -> None:
    assert stage.get("/livez", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors").status == 403


# -- bodies --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "json"]
)
def test_a_body_that_is_not_called_json_is_refused(stage: Stage, kind: str) -> None:
    answer = stage.post(POSTS, raw=b"{}", Content_Type=kind)

    assert (answer.status, answer.code) == (415, "bad_json")


def test_a_body_may_name_its_letters(stage: Stage) -> None:
    assert (
        stage.post("/tiktok/session", raw=b'{"a":1}', Content_Type="Application/JSON; charset=utf-8").status
        == 422
    )


@pytest.mark.parametrize(
    "raw", [b"{", b"[]", b"1", b"null", b'{"a":1,"a":2}', b'{"a":NaN}', b"\xff", b'{"a":"\\u0000"}', b"{}{}"]
)
def test_a_body_that_is_no_strict_json_is_refused(stage: Stage, raw: bytes) -> None:
    answer = stage.post(POSTS, raw=raw)

    assert (answer.status, answer.code) == (400, "bad_json")


def test_a_body_that_is_too_large_is_refused(stage: Stage) -> None:
    answer = stage.post(POSTS, raw=b" " * 2049)

    assert (answer.status, answer.code) == (413, "too_large")


def test_a_body_in_pieces_that_is_too_large_is_refused(stage: Stage) -> None:
    head = (
        f"POST {POSTS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {stage.token()}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    )
    with stage.connect() as wire:
        wire.sendall(head.encode() + b"400\r\n" + b" " * 1024 + b"\r\n" + b"800\r\n" + b" " * 2048 + b"\r\n")

        assert read_all(wire).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("size", [16 * 1024, 100 * 1024])
def test_a_head_that_is_too_large_is_refused(stage: Stage, size: int) -> None:
    found = stage.say(
        f"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX: {'x' * size}\r\n\r\n".encode()
    )

    assert found.startswith(b"HTTP/1.1 431 ")
    assert json.loads(found.partition(b"\r\n\r\n")[2])["error"]["code"] == "too_large"


@pytest.mark.parametrize(
    "text", [b"hello\r\n\r\n", b"GET / HTTP/1.1\r\n:\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\r\n\r\n"]
)
def test_what_is_no_http_is_answered_in_json(stage: Stage, text: bytes) -> None:
    found = stage.say(text)

    assert found.startswith(b"HTTP/1.1 400 ")
    assert json.loads(found.partition(b"\r\n\r\n")[2])["error"]["code"] == "bad_json"


def test_a_path_that_leads_nowhere_is_told_in_json(stage: Stage) -> None:
    assert stage.get("/nothing").code == "unknown_command"
    assert stage.get("/tiktok/session/a/b/c").code == "UNKNOWN_COMMAND"


def test_a_method_that_does_nothing_is_told_which_do(stage: Stage) -> None:
    answer = stage.call("PUT", POSTS)

    assert (answer.status, answer.headers["allow"]) == (405, "GET, POST")


# -- slow callers --------------------------------------------------------------------------------------------


def test_half_a_request_is_cut_off(tmp_path: Path) -> None:
    with staged(tmp_path, header_timeout_s=0.2) as found:
        began = time.monotonic()

        said = found.say(b"GET /livez HTTP/1.1\r\nHost: loc")

        assert time.monotonic() - began < 5
        assert said.startswith(b"HTTP/1.1 408 ")


def test_a_head_that_drips_is_cut_off(tmp_path: Path) -> None:
    with staged(tmp_path, header_timeout_s=0.3) as found, found.connect() as wire:
        wire.settimeout(0.02)
        said, end = b"", time.monotonic() + 5
        wire.sendall(b"GET /livez HTTP/1.1\r\n")
        while not said and time.monotonic() < end:
            wire.sendall(b"X: x\r\n")
            try:
                said = wire.recv(1024)
            except TimeoutError:
                continue

        assert said.startswith(b"HTTP/1.1 408 ")


def test_the_second_head_of_a_connection_has_its_deadline_too(tmp_path: Path) -> None:
    with staged(tmp_path, header_timeout_s=0.3) as found, found.connect() as wire:
        wire.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert wire.recv(4096).startswith(b"HTTP/1.1 200 ")

        wire.sendall(b"GET /li")

        assert b" 408 " in read_all(wire)


def test_a_body_that_does_not_come_is_given_up(tmp_path: Path) -> None:
    with staged(tmp_path, header_timeout_s=0.3) as found:
        head = (
            f"POST {POSTS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {found.token()}\r\n"
            "Content-Type: application/json\r\nContent-Length: 100\r\nConnection: close\r\n\r\n{"
        )

        assert found.say(head.encode()).startswith(b"HTTP/1.1 408 ")


def test_three_hundred_half_open_requests_hold_up_nobody(tmp_path: Path) -> None:
    with staged(tmp_path) as found:
        found.token()
        wires = [found.connect() for _ in range(300)]
        try:
            for wire in wires:
                wire.sendall(b"POST /tiktok/session HTTP/1.1\r\nHost: localhost\r\n")
            began = time.monotonic()

            answer = found.get(POSTS)

            assert (answer.status, time.monotonic() - began < 1) == (200, True)
        finally:
            for wire in wires:
                wire.close()


def test_one_connection_too_many_is_closed(tmp_path: Path) -> None:
    with staged(tmp_path, connections_max=2) as found, found.connect() as first, found.connect() as second:
        for wire in (first, second):
            wire.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert wire.recv(4096).startswith(b"HTTP/1.1 200 ")

        assert found.say(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n") == b""
