"""Uploads to a real daemon over HTTP: whole, in pieces, broken off, refused; nothing unfit stays on its disk."""

import contextlib
import hashlib
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.brokers import free_port
from tests.daemons import ROOT, Daemon, Simulator, make_clip
from tests.integration.http_stage import Answer, read_all
from tests.waiting import wait_until

MEDIA = "/api/v1/media"
MOST = 5_000_000
STALL_S = 1.0


@dataclass
class Stage:
    """A daemon with HTTP, a token for it, and clips of different contents."""

    folder: Path
    daemon: Daemon
    simulator: Simulator
    token: str = ""
    clip: bytes = b""
    made: int = 0

    @property
    def port(self) -> int:
        return int(self.daemon.settings["http.port"])

    @property
    def uploads(self) -> Path:
        return self.daemon.media / "uploads"

    def content(self, size: int = 1_000_000) -> bytes:
        """Return a video that nobody has sent yet."""
        self.made += 1
        left = size - len(self.clip)
        return self.clip + left.to_bytes(4, "big") + b"free" + self.made.to_bytes(left - 8, "big")

    def send(
        self, method: str, path: str, body: bytes | None = None, kind: str | None = "video/mp4",
        token: str | None = None, **headers: str,
    ) -> Answer:  # fmt: skip
        found = {name.replace("_", "-"): value for name, value in headers.items()}
        found["Authorization"] = f"Bearer {self.token if token is None else token}"
        if kind is not None:
            found["Content-Type"] = kind
        wire = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            wire.request(method, path, body, found)
            answer = wire.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            wire.close()

    def upload(self, content: bytes, query: str = "", **more: Any) -> Answer:
        return self.send("POST", MEDIA + query, content, **more)

    def form(self, *fields: tuple[str, bytes], query: str = "", end: bytes = b"--edge--\r\n") -> Answer:
        body = b"".join(
            b'--edge\r\nContent-Disposition: form-data; name="%b"; filename="../../x.mp4"\r\n\r\n%b\r\n'
            % (name.encode(), content) for name, content in fields
        )  # fmt: skip
        return self.upload(body + end, query, kind="multipart/form-data; boundary=edge")

    def head(self, query: str, length: int, *, expect: bool = False) -> bytes:
        lines = [
            f"POST {MEDIA}{query} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {self.token}",
            "Content-Type: video/mp4", f"Content-Length: {length}", *(["Expect: 100-continue"] if expect else []), "", "",
        ]  # fmt: skip
        return "\r\n".join(lines).encode()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 30)

    def state(self, sha256: str) -> Answer:
        return self.send("GET", f"{MEDIA}/{sha256}", kind=None)

    def received(self, sha256: str) -> int:
        answer = self.state(sha256)
        return answer.body["received"] if answer.status == 200 else 0

    def parts(self) -> list[str]:
        """Return what lies about unfinished."""
        return sorted(path.name for path in (self.uploads / ".parts").glob("*.part"))


def named(content: bytes, **more: int) -> str:
    found = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)} | more
    return "?" + "&".join(f"{name}={value}" for name, value in found.items())


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("uploads")
    with contextlib.ExitStack() as stack:
        simulator = Simulator(folder / "simulator")
        stack.callback(simulator.stop)
        settings = {
            "http.port": str(free_port()), "tiktok.file_size_max": str(MOST), "media.upload_stall_s": str(STALL_S),
            "media.uploads_max": "3", "http.header_timeout_s": "2",
        }  # fmt: skip
        daemon = Daemon(folder / "daemon", settings).use_simulator(simulator).start()
        stack.callback(daemon.stop)
        daemon.link(simulator)
        environ = {name: value for name, value in os.environ.items() if not name.startswith("TOKD_")}
        issued = subprocess.run(
            [sys.executable, "-m", "daemon", "--set", f"daemon.state_dir={daemon.state_dir}", "token", "issue",
             "--user", "ann"],
            cwd=daemon.folder, env=environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        clip = make_clip(folder / "clip.mp4").read_bytes()
        yield Stage(folder, daemon, simulator, issued.stdout.strip(), clip)


@pytest.fixture(autouse=True)
def _nothing_lies_about(stage: Stage) -> Iterator[None]:
    yield
    for part in stage.parts():
        (stage.uploads / ".parts" / part).unlink()


# -- whole ---------------------------------------------------------------------------------------------------


def test_an_uploaded_video_is_named_by_its_content_and_can_be_posted(stage: Stage) -> None:
    content = stage.content()

    answer = stage.form(("file", content))

    assert answer.status == 201, answer.raw
    assert answer.headers["location"] == f"{MEDIA}/{digest(content)}"
    assert answer.body == {
        "media": f"uploads/{digest(content)}.mp4", "sha256": digest(content), "size": len(content),
        "container": "mp4", "mime_type": "video/mp4", "duration_s": 1.0, "width": 540, "height": 960, "fps": 30.0,
        "video_codec": "h264", "audio_codec": None,
    }  # fmt: skip
    post = stage.daemon.schedule(answer.body["media"])["result"]["post"]
    stage.daemon.wait_state(post, "published")
    assert stage.simulator.ledger()["files"][-1]["sha256"] == digest(content)


def test_the_store_is_for_its_user_alone(stage: Stage) -> None:
    content = stage.content()
    name = stage.upload(content).body["media"]

    modes = [
        oct(path.stat().st_mode & 0o777)
        for path in (stage.uploads, stage.uploads / ".parts", stage.daemon.media / name)
    ]

    assert modes == ["0o700", "0o700", "0o600"]


def test_the_same_content_again_is_here_already(stage: Stage) -> None:
    content = stage.content()

    first, again, known = (
        stage.upload(content),
        stage.form(("file", content)),
        stage.upload(content, named(content)),
    )

    assert (first.status, again.status, known.status) == (201, 200, 200)
    assert first.body == again.body == known.body
    assert stage.parts() == []


def test_a_known_content_is_not_sent_at_all(stage: Stage) -> None:
    content = stage.content()
    stage.upload(content)
    with stage.connect() as wire:
        wire.sendall(stage.head(named(content), len(content), expect=True))

        assert wire.recv(4096).startswith(b"HTTP/1.1 200 ")


# -- in pieces -----------------------------------------------------------------------------------------------


def test_a_broken_upload_goes_on_where_it_ended(stage: Stage) -> None:
    content = stage.content()
    with stage.connect() as wire:
        wire.sendall(stage.head(named(content), len(content)) + content[:600_000])
        wait_until(lambda: stage.parts())
    wait_until(lambda: stage.received(digest(content)) == 600_000, what="what has come is kept")
    told = {"received": 600_000, "size": len(content), "complete": False}
    assert stage.state(digest(content)).body == told

    answer = stage.upload(content[600_000:], named(content, offset=600_000))

    assert (answer.status, answer.body["sha256"]) == (201, digest(content))
    assert stage.state(digest(content)).body == {
        "received": len(content), "size": len(content), "complete": True, "media": answer.body["media"],
    }  # fmt: skip
    assert stage.parts() == []


def test_a_piece_that_ends_early_is_taken_and_says_what_is_there(stage: Stage) -> None:
    content = stage.content()

    answer = stage.upload(content[:1000], named(content))

    assert (answer.status, answer.body) == (202, {"received": 1000, "size": len(content), "complete": False})
    assert stage.upload(content[1000:], named(content, offset=1000)).status == 201


def test_a_piece_at_another_place_is_refused_with_the_right_one(stage: Stage) -> None:
    content = stage.content()
    stage.upload(content[:1000], named(content))

    answer = stage.upload(content[2000:], named(content, offset=2000))

    assert (answer.status, answer.code, answer.body["error"]["received"]) == (409, "upload_conflict", 1000)
    assert stage.received(digest(content)) == 1000


def test_without_an_offset_an_upload_begins_anew(stage: Stage) -> None:
    content = stage.content()
    stage.upload(b"nonsense", named(content))

    assert stage.upload(content, named(content)).status == 201


def test_two_uploads_of_one_content_at_once_are_one_too_many(stage: Stage) -> None:
    content = stage.content()
    with stage.connect() as wire:
        wire.sendall(stage.head(named(content), len(content)) + content[:10])
        wait_until(lambda: stage.parts())

        answer = stage.upload(content, named(content))

        assert (answer.status, answer.code) == (409, "upload_conflict")
        wire.sendall(content[10:])
        assert wire.recv(4096).startswith(b"HTTP/1.1 201 ")


def test_a_form_goes_on_like_any_other_body(stage: Stage) -> None:
    content = stage.content()

    begun = stage.form(("file", content[:700_000]), query=named(content))
    ended = stage.form(("file", content[700_000:]), query=named(content, offset=700_000))

    assert (begun.status, begun.body["received"], ended.status) == (202, 700_000, 201)


def test_another_content_than_announced_is_dropped(stage: Stage) -> None:
    content, other = stage.content(), stage.content()

    answer = stage.upload(other, named(content))

    assert (answer.status, answer.body["error"]["field"]) == (422, "sha256")
    assert stage.parts() == []
    assert stage.state(digest(content)).status == stage.state(digest(other)).status == 404


# -- refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(b"no video" * 1000, "container", id="text"),
        pytest.param(b"#EXTM3U\nfile:///etc/passwd\n", "container", id="a playlist"),
        pytest.param(
            b"\0\0\0\x18ftypmp42" + bytes(12) + b"\0\0\0\x10moov" + bytes(8), "incomplete", id="half a film"
        ),
    ],
)
def test_what_is_no_video_is_refused_and_does_not_stay(stage: Stage, content: bytes, problem: str) -> None:
    before = sorted(stage.uploads.iterdir()) if stage.uploads.exists() else []

    answers = stage.upload(content), stage.form(("file", content)), stage.upload(content, named(content))

    assert [(answer.status, answer.code) for answer in answers] == [(422, "media_rejected")] * 3
    assert answers[0].body["error"]["problems"][0]["code"] == problem
    assert ".parts" not in answers[0].raw.decode()
    assert stage.parts() == []
    assert {path.suffix for path in stage.uploads.iterdir() if path not in before} <= {""}


def test_a_form_with_another_field_is_refused(stage: Stage) -> None:
    answers = [
        stage.form(("video", stage.content())),
        stage.form(("file", stage.content()), ("title", b"x")),
        stage.form(("file", stage.content()), ("file", stage.content())),
        stage.form(),
        stage.form(("file", stage.content()), end=b""),
        stage.upload(b"--edge\r\nno: form", kind="multipart/form-data; boundary=edge"),
        stage.upload(b"", kind="multipart/form-data"),
        stage.upload(b""),
    ]

    assert [answer.status for answer in answers] == [422] * 8
    assert [answer.code for answer in answers[:3]] == ["unknown_field", "unknown_field", "bad_field"]
    assert stage.parts() == []


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("?sha256=" + "a" * 64, 422), ("?size=5", 422), ("?offset=5", 422), ("?sha256=x&size=5", 422), ("?name=a.mp4", 422),
        (f"?sha256={'a' * 64}&size={MOST + 1}", 413), (f"?sha256={'a' * 64}&size=5", 422),
    ],
)  # fmt: skip
def test_a_query_that_makes_no_sense_is_refused(stage: Stage, query: str, status: int) -> None:
    assert stage.upload(b"0123456789", query).status == status
    assert stage.parts() == []


def test_a_body_that_is_no_upload_is_refused(stage: Stage) -> None:
    assert stage.upload(b"{}", kind="application/json").status == 415
    assert stage.upload(b"x", Content_Encoding="gzip").status == 415


def test_without_a_token_nothing_is_taken(stage: Stage) -> None:
    content = stage.content()
    with stage.connect() as wire:
        head = stage.head("", len(content), expect=True).replace(stage.token.encode(), b"none")
        wire.sendall(head)

        assert wire.recv(4096).startswith(b"HTTP/1.1 401 ")  # and no 100 before it
    assert stage.send("GET", f"{MEDIA}/{digest(content)}", token="none").status == 401


def test_what_says_that_it_is_too_large_is_refused_before_it_comes(stage: Stage) -> None:
    with stage.connect() as wire:
        wire.sendall(stage.head("", MOST * 10, expect=True))

        assert wire.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_what_becomes_too_large_is_cut(stage: Stage) -> None:
    def blocks() -> Iterator[bytes]:
        yield from [bytes(1_000_000)] * (MOST // 1_000_000)
        yield b"x"

    answer = stage.upload(blocks())  # type: ignore[arg-type]  # chunked: no length is told

    assert (answer.status, answer.code) == (413, "too_large")
    assert stage.parts() == []


def test_an_upload_that_falls_silent_is_cut_off_and_kept(stage: Stage) -> None:
    content = stage.content()
    with stage.connect() as wire:
        wire.sendall(stage.head(named(content), len(content)) + content[:5000])

        assert read_all(wire).startswith(b"HTTP/1.1 408 ")
    assert stage.received(digest(content)) == 5000


def test_an_upload_without_a_name_that_breaks_off_is_removed(stage: Stage) -> None:
    content = stage.content()
    with stage.connect() as wire:
        wire.sendall(stage.head("", len(content)) + content[:5000])
        wait_until(lambda: stage.parts())

    wait_until(lambda: not stage.parts())


def test_more_uploads_than_there_may_be_wait_their_turn(stage: Stage) -> None:
    content = stage.content()
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(stage.connect()) for _ in range(3)]
        for wire in wires:
            wire.sendall(stage.head("", len(content)) + content[:10])
        wait_until(lambda: len(stage.parts()) == 3)

        answer = stage.upload(content)

    assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "busy", "5")


def test_other_requests_are_answered_while_a_file_comes_in(stage: Stage) -> None:
    content, done = stage.content(4_900_000), threading.Event()
    # the places of uploads that were cut before are given back a moment later
    wait_until(lambda: stage.upload(stage.content()).status != 503)

    def slowly() -> Iterator[bytes]:
        for start in range(0, len(content), 100_000):
            yield content[start : start + 100_000]
            done.wait(0.005)

    answers: list[Answer] = []
    sender = threading.Thread(target=lambda: answers.append(stage.upload(slowly())))  # type: ignore[arg-type]
    sender.start()
    others = [stage.send("GET", "/livez", kind=None).status for _ in range(20)]
    sender.join(30)

    assert (answers[0].status, set(others)) == (201, {200})


def test_nothing_of_an_unknown_content_is_here(stage: Stage) -> None:
    assert stage.state("a" * 64).status == 404
    assert stage.state("..%2f..%2fetc").status == 404


def test_the_endpoint_is_described(stage: Stage) -> None:
    paths = json.loads(stage.send("GET", "/openapi.json", kind=None).raw)["paths"]

    assert set(paths[MEDIA]["post"]["requestBody"]["content"]) == {
        "multipart/form-data", "application/octet-stream", "video/*",
    }  # fmt: skip
    assert {"200", "201", "202", "409", "413", "415", "422", "503", "507"} <= set(
        paths[MEDIA]["post"]["responses"]
    )


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_an_upload_that_the_daemons_end_cuts_off_can_go_on(stage: Stage, end: str) -> None:
    content = stage.content(3_000_000)
    with stage.connect() as wire:
        wire.sendall(stage.head(named(content), len(content)) + content[:2_500_000])
        wait_until(lambda: stage.received(digest(content)) >= 2_000_000)
        if end == "stop":
            assert stage.daemon.stop(8) == 0
        else:
            stage.daemon.kill()
    stage.daemon.start()

    there = stage.received(digest(content))
    answer = stage.upload(content[there:], named(content, offset=there))

    assert there >= 2_000_000
    assert (answer.status, answer.body["sha256"]) == (201, digest(content))


def test_the_disk_keeps_its_floor(stage: Stage) -> None:
    content = stage.content()
    stage.daemon.stop()
    stage.daemon.settings["media.free_space_min_mb"] = "10000000"
    stage.daemon.start()

    answers = stage.upload(content), stage.upload(content, named(content))

    assert [(answer.status, answer.code) for answer in answers] == [(507, "disk_full")] * 2
    assert "media.free_space_min_mb" in answers[0].body["error"]["message"]
    assert stage.state(digest(content)).status == 404
