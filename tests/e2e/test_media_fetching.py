"""A video at an address of an allowed host: fetched, checked, posted once, whatever happens meanwhile."""

import hashlib
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.daemons import make_clip
from tests.e2e.stage import Stage, staged
from tests.tls_host import TlsHost
from tests.waiting import wait_until

SECRET = "sig=geheim"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsHost]:
    found = TlsHost(tmp_path_factory.mktemp("tls"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def stage(host: TlsHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    settings = {
        "media.private_hosts": json.dumps([f"localhost:{host.port}"]),
        "media.ca_file": str(host.ca_file),
    }
    with staged(tmp_path_factory.mktemp("fetching"), settings, flags=()) as found:
        yield found


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", pad_to=2_000_000).read_bytes()


def address(host: TlsHost, path: str) -> str:
    return f"https://localhost:{host.port}{path}?{SECRET}"


def submitted(stage: Stage, url: str) -> str:
    args = {"instance_id": "gen-1", "status": "completed", "output_data": {"video_url": url}}
    task: str = stage.daemon.call("task/submit", args, id=f"s-{uuid.uuid4().hex}")["result"]["task"]
    return task


def order(stage: Stage, task: str, account: str, key: str) -> dict[str, Any]:
    args = {"task": task, "account": account, "privacy_level": "SELF_ONLY"}
    return stage.daemon.call("task/post", args, id=key)


def post_status(stage: Stage, task: str) -> dict[str, Any]:
    found: dict[str, Any] = stage.daemon.call("task/status", {"task": task})["result"]["post_status"] or {}
    return found


def media_events(stage: Stage, key: str) -> list[dict[str, Any]]:
    rows = stage.daemon.rows(
        "SELECT payload FROM outbox WHERE kind = 'event' "
        f"AND json_extract(payload, '$.subject') = 'command/{key}' ORDER BY sequence"
    )
    return [json.loads(payload) for (payload,) in rows]


def test_a_tasks_video_is_fetched_and_posted_as_a_file(stage: Stage, host: TlsHost, clip: bytes) -> None:
    account = stage.account()
    host.put("/a/clip.mp4", clip)
    task = submitted(stage, address(host, "/a/clip.mp4"))

    reply = order(stage, task, account, "fetch-1")

    assert reply["status"] == "done", reply
    post = stage.assert_published_once(reply["result"]["post"], account)
    digest = hashlib.sha256(clip).hexdigest()
    assert post["media"] == [f"uploads/{digest}.mp4"]
    assert stage.seen("files", account)[0]["sha256"] == digest
    assert post_status(stage, task)["downloaded_bytes"] == len(clip)
    events = media_events(stage, "fetch-1")
    assert [event["type"].removeprefix("dev.tokd.") for event in events] == [
        "media.fetching",
        "media.fetched",
    ]
    assert events[1]["data"] == {
        "host": "localhost", "received": len(clip), "total": len(clip), "command_id": "fetch-1",
    }  # fmt: skip


def test_a_post_without_a_task_may_name_an_address_too(stage: Stage, host: TlsHost, clip: bytes) -> None:
    account = stage.account()
    host.put("/b/clip.mp4", clip)

    post = stage.schedule(account, media=None, url=address(host, "/b/clip.mp4"))

    stage.assert_published_once(post, account)
    assert len(stage.seen("files", account)) == 1


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_a_fetch_that_the_daemons_end_cuts_off_goes_on_and_is_posted_once(
    stage: Stage, host: TlsHost, clip: bytes, end: str
) -> None:
    account, path, key = stage.account(), f"/{end}/clip.mp4", f"fetch-{end}"
    course = host.put(path, clip, hold_after=1_000_000)
    task = submitted(stage, address(host, path))
    args = {"task": task, "account": account, "privacy_level": "SELF_ONLY"}
    wait_for_nothing(stage, args, key)
    wait_until(lambda: _received(stage) == 1_000_000, 10, what="half of it is on disk")
    assert post_status(stage, task)["state"] == "fetching"

    if end == "kill":
        stage.daemon.kill()
    else:
        assert stage.daemon.stop(5) == 0
    course.gate.set()
    stage.daemon.start()

    wait_until(lambda: post_status(stage, task).get("state") == "published", 30, what="published")
    assert len(stage.seen("inits", account)) == len(stage.seen("publishes", account)) == 1
    assert [seen.first for seen in host.seen if seen.path.startswith(path)] == [None, "bytes=1000000-"]
    assert order(stage, task, account, key)["replayed"]


def wait_for_nothing(stage: Stage, args: dict[str, Any], key: str) -> None:
    """Send an order and leave after its first answer."""
    from adapters.control.client import ControlClient

    client = ControlClient(stage.daemon.state_dir / "control.sock")
    replies = client.call("task/post", {"args": args, "id": key}, timeout_s=30)
    assert next(iter(replies))["status"] == "accepted"


def _received(stage: Stage) -> int:
    parts = list((stage.daemon.media / "uploads" / ".parts").glob("fetch-*.part"))
    return max((part.stat().st_size for part in parts), default=0)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        pytest.param("/none.mp4", "fetch_status", id="a missing file"),
        pytest.param("https://evil.example/a.mp4", "url_host", id="a foreign host"),
        pytest.param("https://127.0.0.1/a.mp4", "url_host", id="a number"),
        pytest.param("https://localhost/a.mp4", "url_host", id="another port"),
    ],
)
def test_what_cannot_be_fetched_is_refused_in_the_tasks_words(
    stage: Stage, host: TlsHost, url: str, problem: str
) -> None:
    task = submitted(stage, address(host, url) if url.startswith("/") else url)

    reply = order(stage, task, stage.account(), f"bad-{task}")

    assert (reply["status"], reply["error"]["code"], reply["error"]["field"]) == (
        "rejected", "media_rejected", "args.task",
    )  # fmt: skip
    assert reply["error"]["problems"][0]["code"] == problem


def test_the_queries_of_addresses_are_in_no_event_and_no_log(stage: Stage) -> None:
    rows = stage.daemon.rows("SELECT payload FROM outbox")

    assert any("media.fetched" in payload for (payload,) in rows)
    assert not [payload for (payload,) in rows if SECRET in payload]
    assert SECRET not in stage.daemon.log.read_text()
