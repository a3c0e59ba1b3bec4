"""Starts that end badly lead to safe mode, in which nothing is done until a person has looked."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.storage.starts import NAME, StartLog, leave_safe_mode, read_starts
from adapters.storage.store import SqlStore
from daemon.domain.ids import NodeName
from tests.brokers import free_port
from tests.daemons import Daemon, make_clip
from tests.fakes.values import NOW
from tests.integration.test_backup import tokd
from tests.waiting import wait_until


@dataclass
class Safe:
    """A daemon in safe mode, and what it answered."""

    daemon: Daemon
    port: int
    post: str
    token: str

    def get(
        self, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body, headers or {})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()


@pytest.fixture(scope="module")
def safe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Safe]:
    port = free_port()
    folder = tmp_path_factory.mktemp("safe")
    daemon = Daemon(
        folder,
        {
            "tiktok.api_base": "http://127.0.0.1:9",
            "tiktok.client_key": "k",
            "tiktok.client_secret": "s" * 20,
            "daemon.safe_mode_starts": "2",
            "http.port": str(port),
            "http.metrics_need_token": "false",
        },
    )
    try:
        make_clip(daemon.media / "clip.mp4")
        daemon.start()
        daemon.call(
            "account/import", {"account": "demo", "access_token": "a", "refresh_token": "r", "open_id": "o"}
        )
        token = daemon.call("token/issue", {"user": "ann"})["result"]["text"]
        later = datetime.now(UTC) + timedelta(hours=1)
        post = daemon.schedule(at=later.isoformat())["result"]["post"]
        daemon.kill()
        daemon.start()
        daemon.kill()
        daemon.write(f"UPDATE post SET due_at = due_at - {3660 * 10**6}, wake_at = wake_at - {3660 * 10**6}")
        daemon.start()
        yield Safe(daemon, port, post, token)
    finally:
        daemon.stop()


def test_so_many_unclean_starts_make_the_next_one_safe(safe: Safe) -> None:
    health = safe.daemon.call("system/health")["result"]

    assert health["phase"] == "safe_mode"
    assert "2 starts in a row" in health["safe_mode"]


def test_every_order_is_refused_and_says_what_to_do(safe: Safe) -> None:
    for verb, args in (
        ("system/resume", {}),
        ("session/open", {}),
        ("post/publish_now", {"account": "demo"}),
    ):
        error = safe.daemon.call(verb, args, id=f"try-{verb.replace('/', '-')}")["error"]

        assert error["code"] == "safe_mode"
        assert "tokd safe-mode leave" in error["message"]


def test_what_is_known_can_be_read(safe: Safe) -> None:
    assert [post["post"] for post in safe.daemon.call("post/list")["result"]["posts"]] == [safe.post]
    assert "dev.tokd.daemon.safe_mode" in [event["type"] for event in safe.daemon.events()]


def test_http_says_that_it_lives_and_is_not_ready(safe: Safe) -> None:
    status, body = safe.get("/readyz")

    assert (status, json.loads(body)["phase"]) == (503, "safe_mode")
    assert safe.get("/livez")[0] == 200
    assert b"tokd_safe_mode 1.0" in safe.get("/metrics")[1]


def test_an_upload_is_refused_like_every_order_and_nothing_is_written(safe: Safe) -> None:
    clip = (safe.daemon.media / "clip.mp4").read_bytes()
    before = sorted(safe.daemon.media.rglob("*"))
    headers = {"Authorization": f"Bearer {safe.token}", "Content-Type": "video/mp4"}

    status, body = safe.get("/api/v1/media", clip, headers)

    error = json.loads(body)["error"]
    assert (status, error["code"]) == (503, "safe_mode")
    assert "tokd safe-mode leave" in error["message"]
    assert sorted(safe.daemon.media.rglob("*")) == before


def test_a_post_that_is_due_is_left_alone(safe: Safe) -> None:
    assert safe.get("/readyz")[0] == 503  # the bus has turned since the start

    assert safe.daemon.rows("SELECT state, claims, version FROM post") == [("scheduled", 0, 1)]


def test_a_person_leaves_it_and_the_next_start_works(safe: Safe) -> None:
    left = tokd(safe.daemon, "safe-mode", "leave")
    safe.daemon.stop()
    safe.daemon.start()

    assert left.returncode == 0, left.stderr
    assert safe.daemon.call("system/health")["result"]["phase"] != "safe_mode"
    wait_until(lambda: safe.daemon.post(safe.post)["state"] != "scheduled", what="the post taken up")


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "state" / "tokd.db"
    store = SqlStore(f"sqlite:///{path}", NodeName("main"))
    store.open()
    store.close()
    return path


def starts(ledger: Path) -> StartLog:
    return StartLog(ledger.parent, ledger, 3, 600)


def test_clean_starts_never_count(ledger: Path) -> None:
    for _ in range(5):
        assert starts(ledger).begin(NOW) is None
        starts(ledger).end()


def test_starts_far_apart_do_not_count(ledger: Path) -> None:
    found = [starts(ledger).begin(NOW + timedelta(minutes=6 * place)) for place in range(6)]

    assert found == [None] * 6


def test_one_clean_end_begins_the_row_anew(ledger: Path) -> None:
    for _ in range(2):
        starts(ledger).begin(NOW)
        starts(ledger).begin(NOW)
        starts(ledger).end()

    assert starts(ledger).begin(NOW) is None


def test_safe_mode_stays_until_somebody_leaves_it(ledger: Path) -> None:
    for _ in range(3):
        starts(ledger).begin(NOW)
    assert starts(ledger).begin(NOW) is not None
    starts(ledger).end()
    assert starts(ledger).begin(NOW + timedelta(days=9)) is not None
    starts(ledger).end()

    assert leave_safe_mode(ledger.parent) is not None
    assert starts(ledger).begin(NOW + timedelta(days=9)) is None


def test_a_note_that_cannot_be_read_says_nothing(ledger: Path) -> None:
    (ledger.parent / NAME).write_text('{"running": ')

    assert starts(ledger).begin(NOW) is None
    assert read_starts(ledger.parent / NAME).running is not None
