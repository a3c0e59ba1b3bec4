"""The TikTok client against a scripted server: how far a request got decides what a failure means."""

import io
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from adapters.tiktok.settings import TikTokSettings
from adapters.tiktok.uploader import TikTokUploader
from daemon.domain.errors import Fault, PlatformError, UploadUrlDead
from daemon.domain.platform import InitRequest, Plan, Verdict

TOKEN = "act.canary-access-token"
SECRET = "canary-client-secret"
REFRESH = "rft.canary-refresh-token"
UPLOAD_PATH = "/upload/?upload_id=1&upload_token=canary-upload-token"
NOW = datetime(2026, 11, 5, 12, 0, tzinfo=UTC)
INIT = InitRequest(
    endpoint="/v2/post/publish/video/init/", body='{"a":"ü"}', body_hash="", plan=Plan(3, 3, 1)
)
OK = {"code": "ok", "message": "", "log_id": "log-1"}


class FrozenClock:
    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return 0.0


@dataclass
class Request:
    line: str
    headers: dict[str, str]
    body: bytes


class Peer:
    """One accepted connection."""

    def __init__(self, connection: socket.socket, server: "Server") -> None:
        self.connection = connection
        self.server = server
        self.file = connection.makefile("rb")

    def head(self) -> dict[str, str]:
        self.line = self.file.readline().decode().strip()
        if not self.line:
            raise ConnectionError
        headers = {}
        while line := self.file.readline().decode().strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return headers

    def request(self) -> Request:
        headers = self.head()
        request = Request(self.line, headers, self.file.read(int(headers.get("content-length", 0))))
        self.server.requests.append(request)
        return request

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def answer(self, status: int, content: object = b"", **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send(response(status, body, **headers))

    def reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.file.close()
        self.connection.close()


def response(status: int, body: bytes, **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Server:
    """Runs `script(peer)` in a thread for each connection."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.script: Callable[[Peer], None] = lambda _: None
        self.requests: list[Request] = []
        self.connections = 0
        self.over = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            self.script(Peer(connection, self))
        except (OSError, ValueError):
            pass
        finally:
            connection.close()

    def close(self) -> None:
        self.over.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def uploader_for(
    address: str, connect_timeout_s: float = 2.0, read_timeout_s: float = 5.0, call_deadline_s: float = 5.0
) -> TikTokUploader:
    settings = TikTokSettings(
        api_base=address,
        client_key="key",
        client_secret=SECRET,
        connect_timeout_s=connect_timeout_s,
        read_timeout_s=read_timeout_s,
        call_deadline_s=call_deadline_s,
    )
    return TikTokUploader(settings, FrozenClock())


@pytest.fixture
def uploader(server: Server) -> TikTokUploader:
    return uploader_for(server.address)


def replying(status: int, content: object, **headers: str) -> Callable[[Peer], None]:
    def script(peer: Peer) -> None:
        while True:
            peer.request()
            peer.answer(status, content, **headers)

    return script


def ok(server: Server) -> dict[str, object]:
    return {
        "data": {"publish_id": "v_pub_file~v2-1.1", "upload_url": server.address + UPLOAD_PATH},
        "error": OK,
    }


def failure_of(call: Callable[[], object]) -> PlatformError:
    with pytest.raises(PlatformError) as caught:
        call()
    error = caught.value
    seen: list[BaseException] = []
    link: BaseException | None = error
    while link is not None:
        seen.append(link)
        link = link.__cause__ or link.__context__
    shown = " ".join(f"{item!r} {item} {vars(item)}" for item in seen)
    assert "canary" not in shown
    assert "upload_token" not in shown
    assert all(isinstance(item, PlatformError) for item in seen)
    return error


# --- init: sent once, and the truth about its outcome ---------------------------------------------


def test_init_sends_exactly_the_prepared_body_and_returns_the_upload_address(
    server: Server, uploader: TikTokUploader
) -> None:
    server.script = replying(200, ok(server))

    answer = uploader.init(TOKEN, INIT)

    (request,) = server.requests
    assert request.line == "POST /v2/post/publish/video/init/ HTTP/1.1"
    assert request.body == INIT.body.encode()
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["content-type"] == "application/json; charset=UTF-8"
    assert (answer.publish_id, answer.upload_url_seconds) == ("v_pub_file~v2-1.1", 3600)
    assert answer.upload_url == server.address + UPLOAD_PATH


def test_a_refused_connection_proves_that_nothing_was_accepted(server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as spare:
        port = spare.getsockname()[1]

    error = failure_of(lambda: uploader_for(f"http://127.0.0.1:{port}").init(TOKEN, INIT))

    assert (error.fault, error.code) == (Fault.TRANSIENT, "connect_failed")
    assert "ConnectionRefusedError" in error.message


def test_where_no_thread_can_be_had_to_watch_a_call_nothing_is_sent(server: Server) -> None:
    uploader = uploader_for(server.address)
    before = threading.stack_size(1 << 46)  # no thread gets so much
    try:
        error = failure_of(lambda: uploader.init(TOKEN, INIT))
    finally:
        threading.stack_size(before)

    assert (error.fault, error.code) == (Fault.TRANSIENT, "out_of_resources")
    assert server.connections == 0


def test_an_unknown_host_name_proves_that_nothing_was_accepted() -> None:
    error = failure_of(lambda: uploader_for("https://tokd-test.invalid").init(TOKEN, INIT))

    assert (error.fault, error.code) == (Fault.TRANSIENT, "connect_failed")


def test_a_failed_tls_handshake_proves_that_nothing_was_accepted(server: Server) -> None:
    server.script = lambda peer: peer.send(b"HTTP/1.1 400 this is no TLS\r\n\r\n")

    error = failure_of(lambda: uploader_for(server.address.replace("http", "https")).init(TOKEN, INIT))

    assert (error.fault, error.code) == (Fault.TRANSIENT, "connect_failed")


def test_a_handshake_that_never_ends_is_given_up_and_proves_that_nothing_was_accepted(server: Server) -> None:
    def script(peer: Peer) -> None:
        peer.connection.recv(1)
        server.over.wait(10)

    server.script = script
    address = server.address.replace("http", "https")

    error = failure_of(lambda: uploader_for(address, connect_timeout_s=0.2).init(TOKEN, INIT))

    assert (error.fault, error.code) == (Fault.TRANSIENT, "connect_failed")


@pytest.mark.parametrize("taken", ["nothing", "head", "all"])
@pytest.mark.parametrize("how", ["reset", "close"])
def test_an_init_that_began_to_leave_has_an_unknown_outcome_when_the_connection_breaks(
    server: Server, uploader: TikTokUploader, taken: str, how: str
) -> None:
    def script(peer: Peer) -> None:
        if taken == "nothing":
            peer.connection.recv(1, socket.MSG_PEEK)
        elif taken == "head":
            peer.head()
        else:
            peer.request()
        if how == "reset":
            peer.reset()

    server.script = script

    error = failure_of(lambda: uploader.init(TOKEN, INIT))

    assert (error.fault, error.code) == (Fault.UNKNOWN_OUTCOME, "no_answer")
    assert server.connections == 1


def test_an_answer_cut_at_any_byte_leaves_the_outcome_of_an_init_unknown(
    server: Server, uploader: TikTokUploader
) -> None:
    whole = response(200, json.dumps(ok(server)).encode())
    cuts = [*range(0, len(whole), 7), len(whole) - 1]
    positions = iter(cuts)

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(whole[: next(positions)])

    server.script = script

    faults = {failure_of(lambda: uploader.init(TOKEN, INIT)).fault for _ in cuts}

    assert faults == {Fault.UNKNOWN_OUTCOME}
    assert len(server.requests) == len(cuts)


@pytest.mark.parametrize(
    ("status", "content", "headers"),
    [
        pytest.param(200, b"<html>captive portal</html>", {}, id="html"),
        pytest.param(200, b"", {}, id="empty"),
        pytest.param(200, b"[" * 200_000, {}, id="deeply nested"),
        pytest.param(200, b"\xff\xfe\x00", {}, id="no text"),
        pytest.param(200, {"data": {}, "error": OK}, {}, id="ok without a publish_id"),
        pytest.param(200, {"error": OK}, {}, id="ok without data"),
        pytest.param(200, {"data": {"publish_id": "p"}, "error": OK}, {}, id="ok without an upload_url"),
        pytest.param(200, b"x" * (1024 * 1024 + 1), {}, id="longer than 1 MiB"),
        pytest.param(302, b"", {"Location": "https://evil.example/"}, id="redirect"),
        pytest.param(500, {"error": {"code": "internal_error"}}, {}, id="internal error"),
        pytest.param(503, b"upstream", {}, id="gateway"),
        pytest.param(404, b"Unsupported path(Janus)", {}, id="wrong path"),
        pytest.param(500, {"error": OK}, {}, id="ok with a server error"),
    ],
)
def test_an_answer_that_proves_nothing_leaves_the_outcome_of_an_init_unknown(
    server: Server, uploader: TikTokUploader, status: int, content: object, headers: dict[str, str]
) -> None:
    server.script = replying(status, content, **headers)

    error = failure_of(lambda: uploader.init(TOKEN, INIT))

    assert error.fault is Fault.UNKNOWN_OUTCOME
    assert len(server.requests) == 1


def test_no_redirect_is_followed(server: Server, uploader: TikTokUploader) -> None:
    server.script = replying(307, b"", Location=server.address + "/elsewhere")

    error = failure_of(lambda: uploader.init(TOKEN, INIT))

    assert error.code == "redirect_refused"
    assert [request.line.split()[1] for request in server.requests] == [INIT.endpoint]


def test_a_failure_code_counts_even_with_http_200(server: Server, uploader: TikTokUploader) -> None:
    message = f"too many for {TOKEN}, see https://t.example/?upload_token=canary\nnow"
    error = {"code": "spam_risk_too_many_posts", "message": message, "logid": "log-2"}
    server.script = replying(200, {"error": error})

    found = failure_of(lambda: uploader.creator(TOKEN))

    assert (found.fault, found.code, found.status, found.log_id) == (
        Fault.CAP, "spam_risk_too_many_posts", 200, "log-2",
    )  # fmt: skip
    assert "too many for [secret], see https://t.example/" in found.message
    assert found.advice


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("17", 17.0), ("86400", 900.0), ("soon", None), ("", None), ("Thu, 05 Nov 2026 12:00:30 GMT", 30.0)],
)
def test_a_rate_limit_tells_how_long_to_wait_within_reason(
    server: Server, uploader: TikTokUploader, header: str, seconds: float | None
) -> None:
    server.script = replying(429, b"slow down", Retry_After=header)

    error = failure_of(lambda: uploader.init(TOKEN, INIT))

    assert (error.fault, error.retry_after_s) == (Fault.RATE, seconds)


def test_a_token_with_a_line_break_is_refused_before_anything_is_sent(
    server: Server, uploader: TikTokUploader
) -> None:
    error = failure_of(lambda: uploader.creator(TOKEN + "\nX: y"))

    assert error.fault is Fault.AUTH
    assert server.connections == 0


def test_an_upload_address_on_another_host_is_refused(server: Server, uploader: TikTokUploader) -> None:
    data = {"publish_id": "p", "upload_url": "https://upload.us.tiktokapis.com.evil.example/canary"}
    server.script = replying(200, {"data": data, "error": OK})

    error = failure_of(lambda: uploader.init(TOKEN, INIT))

    assert (error.fault, error.code) == (Fault.CONTENT, "upload_host_refused")


# --- deadlines, connections and reads -------------------------------------------------------------


@pytest.mark.parametrize("where", ["head", "body"])
def test_a_dripping_answer_is_cut_at_the_deadline(server: Server, where: str) -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 X\r\n" + (b"" if where == "head" else b"\r\n"))
        while not server.over.wait(0.02):
            peer.send(b"x")

    server.script = script
    uploader = uploader_for(server.address, call_deadline_s=0.3)

    error = failure_of(lambda: uploader.init(TOKEN, INIT))

    assert error.fault is Fault.UNKNOWN_OUTCOME
    assert "deadline" in error.message


def test_the_answer_to_an_upload_has_the_deadline_of_a_call(server: Server) -> None:
    def script(peer: Peer) -> None:
        peer.request()
        while not server.over.wait(0.02):
            peer.send(b"x")

    server.script = script
    uploader = uploader_for(server.address, call_deadline_s=0.3, read_timeout_s=600.0)

    error = failure_of(put(server, uploader, 0, Plan(8 * 1024 * 1024, 8 * 1024 * 1024, 1)))

    assert error.fault is Fault.UNKNOWN_OUTCOME
    assert "deadline" in error.message


def test_an_init_never_uses_a_connection_that_the_server_may_have_closed(
    server: Server, uploader: TikTokUploader
) -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.answer(200, ok(server))
        peer.connection.recv(1)  # a second request on this connection would be reset
        peer.reset()

    server.script = script

    uploader.status(TOKEN, "p")
    uploader.init(TOKEN, INIT)
    uploader.init(TOKEN, INIT)

    assert server.connections == 3


@pytest.mark.parametrize("content", [b"garbage", {"error": {"code": "internal_error"}}])
@pytest.mark.parametrize("status", [200, 500])
def test_a_read_that_fails_is_transient_whatever_came_back(
    server: Server, uploader: TikTokUploader, status: int, content: object
) -> None:
    server.script = replying(status, content)

    assert failure_of(lambda: uploader.status(TOKEN, "p")).fault is Fault.TRANSIENT
    assert failure_of(lambda: uploader.creator(TOKEN)).fault is Fault.TRANSIENT


def test_a_reset_while_reading_the_status_is_transient(server: Server, uploader: TikTokUploader) -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.reset()

    server.script = script

    assert failure_of(lambda: uploader.status(TOKEN, "p")).fault is Fault.TRANSIENT


def test_an_id_that_tiktok_does_not_know_leaves_the_post_in_doubt(
    server: Server, uploader: TikTokUploader
) -> None:
    server.script = replying(400, {"error": {"code": "invalid_publish_id", "message": ""}})

    assert failure_of(lambda: uploader.status(TOKEN, "p")).fault is Fault.UNKNOWN_OUTCOME


@pytest.mark.parametrize(
    ("data", "verdict", "ids", "fault"),
    [
        ({"status": "PROCESSING_UPLOAD", "uploaded_bytes": 7}, Verdict.PENDING, (), None),
        ({"status": "BRAND_NEW"}, Verdict.PENDING, (), None),
        ({}, Verdict.PENDING, (), None),
        ({"status": "SEND_TO_USER_INBOX"}, Verdict.SENT_TO_INBOX, (), None),
        (
            {"status": "PUBLISH_COMPLETE", "publicaly_available_post_id": [7678907398077074696]},
            Verdict.PUBLISHED, ("7678907398077074696",), None,
        ),
        ({"status": "FAILED", "fail_reason": "internal"}, Verdict.FAILED, (), Fault.REMOTE_INTERNAL),
        ({"status": "FAILED", "fail_reason": "new_one"}, Verdict.FAILED, (), Fault.UNKNOWN_CODE),
        ({"status": "FAILED"}, Verdict.FAILED, (), Fault.UNKNOWN_CODE),
    ],
)  # fmt: skip
def test_a_status_is_reduced_to_what_we_decide_by(
    server: Server,
    uploader: TikTokUploader,
    data: dict[str, object],
    verdict: Verdict,
    ids: tuple[str, ...],
    fault: Fault | None,
) -> None:
    server.script = replying(200, {"data": data, "error": OK})

    answer = uploader.status(TOKEN, "p~1")

    assert (answer.verdict, answer.public_ids, answer.fail_fault) == (verdict, ids, fault)
    assert answer.stored_bytes == data.get("uploaded_bytes")
    assert json.loads(server.requests[0].body) == {"publish_id": "p~1"}


def test_cancel_succeeds_without_data(server: Server, uploader: TikTokUploader) -> None:
    server.script = replying(200, {"error": OK})

    uploader.cancel(TOKEN, "p")

    assert server.requests[0].line.startswith("POST /v2/post/publish/cancel/ ")


def test_a_creator_is_read_in_full(server: Server, uploader: TikTokUploader) -> None:
    data = {
        "creator_username": "ann",
        "creator_nickname": "Ann ü",
        "privacy_level_options": ["SELF_ONLY", "BRAND_NEW"],
        "comment_disabled": False,
        "duet_disabled": True,
        "stitch_disabled": True,
        "max_video_post_duration_sec": 300,
    }
    server.script = replying(200, {"data": data, "error": OK})

    creator = uploader.creator(TOKEN)

    assert (creator.username, creator.privacy_options) == ("ann", ("SELF_ONLY", "BRAND_NEW"))
    assert (creator.comment_disabled, creator.duet_disabled, creator.duration_max_s) == (False, True, 300)


# --- chunks ---------------------------------------------------------------------------------------

PLAN = Plan(25, 10, 2)


def put(server: Server, uploader: TikTokUploader, index: int, plan: Plan = PLAN) -> Callable[[], object]:
    first, last = plan.span(index)
    body = io.BytesIO(bytes(last - first + 1))
    return lambda: uploader.send_chunk(server.address + UPLOAD_PATH, body, plan, index, "video/mp4")


def test_chunks_go_out_with_exact_headers_and_the_last_one_completes(
    server: Server, uploader: TikTokUploader
) -> None:
    def script(peer: Peer) -> None:
        while True:
            request = peer.request()
            is_last = "10-24" in request.headers["content-range"]
            peer.answer(201 if is_last else 206, b"", Content_Range=f"bytes 0-{24 if is_last else 9}/25")

    server.script = script

    more = uploader.send_chunk(server.address + UPLOAD_PATH, io.BytesIO(b"a" * 10), PLAN, 0, "video/mp4")
    done = uploader.send_chunk(server.address + UPLOAD_PATH, io.BytesIO(b"b" * 15), PLAN, 1, "video/mp4")

    assert (more.stored_bytes, more.is_complete) == (10, False)
    assert (done.stored_bytes, done.is_complete) == (25, True)
    first, second = server.requests
    assert first.line == f"PUT {UPLOAD_PATH} HTTP/1.1"
    assert (first.body, second.body) == (b"a" * 10, b"b" * 15)
    assert first.headers["content-range"] == "bytes 0-9/25"
    assert second.headers["content-range"] == "bytes 10-24/25"
    assert (second.headers["content-length"], second.headers["content-type"]) == ("15", "video/mp4")
    assert "authorization" not in first.headers
    assert "transfer-encoding" not in first.headers


@pytest.mark.parametrize(("index", "is_complete"), [(0, False), (1, True)])
def test_a_plain_200_means_more_or_complete_by_the_chunk(
    server: Server, uploader: TikTokUploader, index: int, is_complete: bool
) -> None:
    server.script = replying(200, b"")

    answer = uploader.send_chunk(
        server.address + UPLOAD_PATH, io.BytesIO(bytes(15)), PLAN, index, "video/mp4"
    )

    assert answer.is_complete is is_complete


@pytest.mark.parametrize(
    ("status", "kind", "fault", "code"),
    [
        (403, UploadUrlDead, Fault.TRANSIENT, "upload_url_expired"),
        (404, UploadUrlDead, Fault.TRANSIENT, "upload_task_missing"),
        (400, PlatformError, Fault.CONTENT, "bad_chunk"),
        (416, PlatformError, Fault.TRANSIENT, "range_mismatch"),
        (429, PlatformError, Fault.RATE, "rate_limit_exceeded"),
        (502, PlatformError, Fault.TRANSIENT, "upload_host_error"),
        (307, PlatformError, Fault.UNKNOWN_CODE, "redirect_refused"),
        (418, PlatformError, Fault.UNKNOWN_CODE, "http_418"),
    ],
)
def test_each_refusal_of_a_chunk_has_its_class(
    server: Server, uploader: TikTokUploader, status: int, kind: type[PlatformError], fault: Fault, code: str
) -> None:
    server.script = replying(status, b"?", Location=server.address)

    error = failure_of(put(server, uploader, 0))

    assert (type(error), error.fault, error.code, error.status) == (kind, fault, code, status)


@pytest.mark.parametrize(("index", "fault"), [(0, Fault.TRANSIENT), (1, Fault.UNKNOWN_OUTCOME)])
@pytest.mark.parametrize("how", ["reset", "close", "garbage"])
def test_a_connection_lost_in_a_chunk_is_in_doubt_only_for_the_last_one(
    server: Server, uploader: TikTokUploader, index: int, fault: Fault, how: str
) -> None:
    def script(peer: Peer) -> None:
        peer.request()
        if how == "garbage":
            peer.send(b"\x00\x01 what is this\r\n\r\n")
        elif how == "reset":
            peer.reset()

    server.script = script

    error = failure_of(put(server, uploader, index))

    assert (error.fault, error.code) == (fault, "connection_lost")


def test_a_last_chunk_that_never_left_is_not_in_doubt(uploader: TikTokUploader) -> None:
    with socket.create_server(("127.0.0.1", 0)) as spare:
        url = f"http://127.0.0.1:{spare.getsockname()[1]}{UPLOAD_PATH}"

    error = failure_of(lambda: uploader.send_chunk(url, io.BytesIO(bytes(15)), PLAN, 1, "video/mp4"))

    assert (error.fault, error.code) == (Fault.TRANSIENT, "connect_failed")


@pytest.mark.parametrize("how", ["reset", "close"])
def test_an_early_answer_is_read_though_the_body_was_not_fully_sent(
    server: Server, uploader: TikTokUploader, how: str
) -> None:
    size = 48 * 1024 * 1024

    def script(peer: Peer) -> None:
        peer.head()
        peer.answer(403, b"")
        if how == "reset":
            peer.file.read(4 * 1024 * 1024)  # the answer arrives before the connection breaks
            peer.reset()

    server.script = script

    error = failure_of(put(server, uploader, 0, Plan(size, size, 1)))

    assert error.code == "upload_url_expired"


def test_a_success_before_the_body_was_out_is_not_believed(server: Server, uploader: TikTokUploader) -> None:
    size = 48 * 1024 * 1024

    def script(peer: Peer) -> None:
        peer.head()
        peer.answer(201, b"")

    server.script = script

    error = failure_of(put(server, uploader, 0, Plan(size, size, 1)))

    assert (error.fault, error.code) == (Fault.UNKNOWN_OUTCOME, "connection_lost")


def test_a_host_that_takes_bytes_slowly_is_given_the_read_timeout_for_each_piece(server: Server) -> None:
    size = 24 * 1024 * 1024

    def script(peer: Peer) -> None:
        peer.head()
        server.over.wait(0.5)  # longer than the connect timeout, which the driver leaves on the socket
        peer.file.read(size)
        peer.answer(201, b"")

    server.script = script
    uploader = uploader_for(server.address, connect_timeout_s=0.1)

    answer = put(server, uploader, 0, Plan(size, size, 1))()

    assert answer.is_complete  # type: ignore[attr-defined]


def test_a_file_that_ends_early_is_told_apart_from_the_network(
    server: Server, uploader: TikTokUploader
) -> None:
    server.script = replying(201, b"")

    error = failure_of(
        lambda: uploader.send_chunk(server.address + UPLOAD_PATH, io.BytesIO(b"abc"), PLAN, 1, "video/mp4")
    )

    assert (error.fault, error.code) == (Fault.CONTENT, "media_unreadable")


def test_the_chunks_before_the_last_share_a_connection(server: Server, uploader: TikTokUploader) -> None:
    server.script = replying(206, b"")
    plan = Plan(40, 10, 4)

    for index in range(3):
        put(server, uploader, index, plan)()

    assert server.connections == 1


# --- login ----------------------------------------------------------------------------------------

TOKENS = {
    "access_token": "act.new",
    "expires_in": 86400,
    "open_id": "open-1",
    "refresh_token": "rft.new",
    "refresh_expires_in": 31536000,
    "scope": "user.info.basic,video.publish",
    "token_type": "Bearer",
}


def test_a_code_is_exchanged_as_a_form_and_the_tokens_carry_their_ends(
    server: Server, uploader: TikTokUploader
) -> None:
    server.script = replying(200, TOKENS)

    tokens = uploader.exchange("a%2Ab%21", "http://127.0.0.1:1/callback/", "verifier")

    assert (tokens.access, tokens.refresh, tokens.open_id) == ("act.new", "rft.new", "open-1")
    assert tokens.access_expires_at == NOW + timedelta(days=1)
    assert tokens.refresh_expires_at == NOW + timedelta(days=365)
    assert tokens.scopes == ("user.info.basic", "video.publish")
    assert server.requests[0].headers["content-type"] == "application/x-www-form-urlencoded"
    assert server.requests[0].body.decode() == (
        f"client_key=key&client_secret={SECRET}&grant_type=authorization_code&code=a%2Ab%21"
        "&redirect_uri=http%3A%2F%2F127.0.0.1%3A1%2Fcallback%2F&code_verifier=verifier"
    )


def test_a_refresh_without_a_new_refresh_token_keeps_the_old_one(
    server: Server, uploader: TikTokUploader
) -> None:
    server.script = replying(200, {"access_token": "act.new"})

    assert uploader.refresh(REFRESH).refresh == REFRESH


@pytest.mark.parametrize("status", [200, 400, 401])
@pytest.mark.parametrize(
    ("error", "fault"),
    [
        ("invalid_grant", Fault.AUTH),
        ("server_error", Fault.TRANSIENT),
        ("temporarily_unavailable", Fault.TRANSIENT),
        ("invalid_client", Fault.TRANSIENT),
        ("brand_new", Fault.UNKNOWN_CODE),
        ({"code": "invalid_grant"}, Fault.AUTH),
    ],
)
def test_an_oauth_error_is_a_failure_at_any_http_status(
    server: Server, uploader: TikTokUploader, status: int, error: object, fault: Fault
) -> None:
    content = {**TOKENS, "error": error, "error_description": f"{REFRESH} is bad for {SECRET}"}
    server.script = replying(status, content)

    found = failure_of(lambda: uploader.refresh(REFRESH))

    assert (found.fault, found.status) == (fault, status)


@pytest.mark.parametrize(
    ("status", "content", "fault"),
    [
        (200, b"", Fault.UNKNOWN_OUTCOME),
        (200, {"refresh_token": "rft.new"}, Fault.UNKNOWN_OUTCOME),
        (502, b"<html>", Fault.TRANSIENT),
        (429, b"", Fault.RATE),
    ],
)
def test_an_unusable_oauth_answer_has_the_class_of_what_it_proves(
    server: Server, uploader: TikTokUploader, status: int, content: object, fault: Fault
) -> None:
    server.script = replying(status, content)

    assert failure_of(lambda: uploader.refresh(REFRESH)).fault is fault


def test_a_refresh_without_the_apps_credentials_is_not_sent_and_blames_no_account(server: Server) -> None:
    uploader = TikTokUploader(TikTokSettings(api_base=server.address), FrozenClock())

    error = failure_of(lambda: uploader.refresh(REFRESH))

    assert (error.fault, error.code) == (Fault.TRANSIENT, "not_configured")
    assert server.connections == 0


def test_a_lost_answer_to_a_refresh_leaves_its_outcome_unknown(
    server: Server, uploader: TikTokUploader
) -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.reset()

    server.script = script

    assert failure_of(lambda: uploader.refresh(REFRESH)).fault is Fault.UNKNOWN_OUTCOME


def test_a_revoke_sends_the_client_secret_and_takes_an_empty_answer(
    server: Server, uploader: TikTokUploader
) -> None:
    server.script = replying(200, b"")

    uploader.revoke(TOKEN)

    assert server.requests[0].body.decode() == f"client_key=key&client_secret={SECRET}&token={TOKEN}"
