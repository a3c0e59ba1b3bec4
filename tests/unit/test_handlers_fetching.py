"""Videos at addresses that tokd fetches itself: the order waits for the fetch and then is one for a file."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from adapters.media import FileStore, MediaLibrary, StoreSettings
from adapters.scheduler import SystemClock
from daemon.domain.errors import Code, Rejected
from daemon.domain.ids import PostId
from daemon.domain.post import Source
from daemon.jobs.fetch import FetchJobs
from daemon.jobs.tools import Tools
from tests.core import Core
from tests.fakes.fetcher import FakeFetcher
from tests.fakes.media import FETCHED, FakeMedia
from tests.waiting import wait_until

URL = f"{FETCHED}cat.mp4?sig=geheim"
ORDER = {"account": "ada", "url": URL, "privacy": "SELF_ONLY", "at": "2026-12-01T12:00:00Z"}
DAY_S = 86400


class Stage:
    """A core that can fetch; its store's files are real, so that they can be swept."""

    def __init__(self, folder: Path) -> None:
        self.media = FakeMedia()
        self.fetcher = FakeFetcher(self.media)
        self.uploads = folder / "uploads"
        self.ahead_s = 0.0
        library = MediaLibrary((folder,), (), clock=SystemClock(), stopping=threading.Event())
        place = StoreSettings(folder=self.uploads, prefix="uploads", size_max=10**9, floor=0, settle_s=0)
        store = FileStore(
            place, library, threading.Event(), now=lambda: self.uploads.stat().st_ctime + self.ahead_s
        )

        self.store = store

        def jobs(tools: Tools) -> FetchJobs:
            self.fetcher.stopping = tools.stopping
            return FetchJobs(tools=tools, fetcher=self.fetcher, store=store, keep_days=30)

        self.core = Core(folder, media=self.media, fetches=jobs)

    def submitted(self, **output: Any) -> str:
        body = {"instance_id": "gen-1", "status": "completed", "output_data": {"video_url": URL} | output}
        task: str = self.core.do("task/submit", body)["task"]
        return task

    def order(self, task: str) -> dict[str, str]:
        return {"task": task, "privacy_level": "SELF_ONLY", "schedule_time": "2026-12-01T12:00:00Z"}

    def post_status(self, task: str) -> dict[str, Any]:
        found: dict[str, Any] = self.core.do("task/status", {"task": task})["post_status"] or {}
        return found


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    found = Stage(tmp_path)
    with found.core:
        yield found
        assert found.core.deaths.found == []


def test_an_address_that_tokd_fetches_becomes_a_file(stage: Stage) -> None:
    post = stage.core.post(stage.core.do("post/schedule", ORDER)["post"])

    assert (post.source, post.media) == (Source.FILE, ("uploads/fetched.mp4",))


def test_a_fetch_is_told_once_a_second_and_at_its_end(stage: Stage) -> None:
    stage.core.do("post/schedule", ORDER, id="one")

    told = [event for event in stage.core.events() if event["subject"] == "command/one"]
    assert [(event["type"], event["data"]["received"]) for event in told] == [
        ("dev.tokd.media.fetching", 10), ("dev.tokd.media.fetched", 30),
    ]  # fmt: skip
    assert told[0]["data"] == {"host": "fetched.example", "received": 10, "total": 30, "command_id": "one"}


def test_a_tasks_fetch_shows_in_its_post_status(stage: Stage) -> None:
    stage.fetcher.gate = threading.Event()
    task = stage.submitted()
    call = stage.core.submit("task/post", stage.order(task))
    wait_until(lambda: stage.post_status(task), what="the fetch is told")

    status = stage.post_status(task)

    assert (status["status"], status["state"], status["downloaded_bytes"]) == ("PROCESSING", "fetching", 10)
    stage.fetcher.gate.set()
    stage.core.settle()
    assert call.final()["status"] == "done"
    assert (stage.post_status(task)["state"], stage.post_status(task)["downloaded_bytes"]) == (
        "scheduled",
        30,
    )


def test_a_refused_fetch_refuses_the_order_in_its_own_words(stage: Stage) -> None:
    stage.fetcher.refusal = Rejected(Code.MEDIA_REJECTED, "gone", field="args.url", retryable=True)
    task = stage.submitted()

    post = stage.core.send("post/schedule", ORDER)
    posted = stage.core.send("task/post", stage.order(task))

    assert [reply["error"]["field"] for reply in (post, posted)] == ["args.url", "args.task"]
    assert stage.post_status(task) == {}
    (told, _) = stage.core.events("media.refused")
    assert (told["data"]["code"], told["data"]["detail"]) == ("media_rejected", "gone")


def test_a_task_that_gets_another_video_meanwhile_is_not_posted(stage: Stage) -> None:
    stage.fetcher.gate = threading.Event()
    task = stage.submitted()
    call = stage.core.submit("task/post", stage.order(task))
    stage.core.do("task/update", {"task": task, "output_data": {"video_url": f"{FETCHED}dog.mp4"}})

    stage.fetcher.gate.set()
    stage.core.settle()

    assert (call.final()["error"]["code"], call.final()["error"]["retryable"]) == ("media_rejected", True)


def told_or_kept(core: Core, word: str) -> list[str]:
    """Return where the word stands: in which tables of the stopped core, or among its events and states."""
    found = [str(event) for event in core.events() if word in str(event)]
    core.stop()
    with closing(sqlite3.connect(str(make_url(core.url).database))) as raw:
        tables = [name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return found + [
            name for name in tables if word in str(raw.execute(f"SELECT * FROM {name}").fetchall())
        ]


def test_the_query_of_an_address_is_kept_nowhere_once_the_order_is_done(stage: Stage) -> None:
    stage.core.do("post/schedule", ORDER)
    stage.core.do("post/schedule", ORDER, dry_run=True)

    assert told_or_kept(stage.core, "geheim") == []


def test_an_order_that_waits_keeps_the_query_for_it_must_run_again(stage: Stage) -> None:
    stage.fetcher.gate = threading.Event()
    stage.core.submit("post/schedule", ORDER)
    wait_until(lambda: stage.fetcher.keys)

    assert told_or_kept(stage.core, "geheim") == ["command"]


def test_a_refused_order_keeps_no_query(stage: Stage) -> None:
    stage.core.refusal("post/schedule", ORDER | {"account": "nobody"})

    assert told_or_kept(stage.core, "geheim") == []


def test_the_query_of_a_tasks_video_goes_when_its_post_is_out(stage: Stage) -> None:
    task = stage.submitted()
    stage.core.do("task/post", stage.order(task) | {"schedule_time": "now"})
    assert "geheim" in str(
        stage.core.do("task/status", {"task": task})
    )  # it is its owner's, and may be posted

    stage.core.run_for(120)

    assert stage.post_status(task)["status"] == "PUBLISHED"
    assert told_or_kept(stage.core, "geheim") == []


def test_an_order_that_waited_when_the_daemon_stopped_goes_on_under_the_same_key(stage: Stage) -> None:
    stage.fetcher.gate = threading.Event()
    task = stage.submitted()
    stage.core.submit("task/post", stage.order(task), id="one")
    wait_until(lambda: stage.fetcher.keys)

    stage.core.restart()
    stage.fetcher.gate.set()
    stage.core.settle()

    assert len(stage.fetcher.keys) == 2
    assert len(set(stage.fetcher.keys)) == 1
    assert stage.post_status(task)["state"] == "scheduled"


def test_two_orders_of_one_address_have_two_keys(stage: Stage) -> None:
    stage.core.do("post/schedule", ORDER, id="one")
    stage.core.do("post/schedule", ORDER, id="two")

    assert len(set(stage.fetcher.keys)) == 2


def test_a_dry_run_fetches_and_makes_no_post(stage: Stage) -> None:
    found = stage.core.send("post/schedule", ORDER, dry_run=True)["result"]

    assert found["dry_run"]
    assert len(stage.fetcher.keys) == 1
    assert stage.core.do("post/list", {})["posts"] == []


def test_photos_are_never_fetched(stage: Stage) -> None:
    order = {key: value for key, value in ORDER.items() if key != "url"} | {"photos": [f"{FETCHED}1.jpg"]}

    assert stage.core.send("post/schedule", order)["error"]["field"] == "args.photos.0"


def test_without_a_folder_nothing_can_be_fetched(tmp_path: Path) -> None:
    with Core(tmp_path) as core:
        assert core.send("post/schedule", ORDER)["error"]["code"] == "not_configured"


# -- housekeeping --------------------------------------------------------------------------------------------


def stored(stage: Stage, sha256: str) -> Path:
    stage.uploads.mkdir(exist_ok=True, mode=0o700)
    (stage.uploads / ".parts").mkdir(exist_ok=True, mode=0o700)
    path = stage.uploads / f"{sha256}.mp4"
    path.write_bytes(b"x")
    return path


def test_a_file_without_a_post_goes_after_its_days(stage: Stage) -> None:
    path, other = stored(stage, "a" * 64), stage.uploads / "mine.mp4"
    other.write_bytes(b"x")
    stage.ahead_s = 29 * DAY_S
    stage.core.sweep()
    assert path.exists()

    stage.ahead_s = 31 * DAY_S
    stage.core.sweep()

    assert (path.exists(), other.exists()) == (False, True)


def test_a_file_of_an_open_post_stays_however_old_it_is(stage: Stage) -> None:
    post = PostId(stage.core.do("post/schedule", ORDER | {"at": None, "draft": True})["post"])
    facts = stage.core.post(post).facts
    assert facts is not None
    path = stored(stage, facts.sha256)
    stage.ahead_s = 400 * DAY_S

    stage.core.sweep()
    assert path.exists()

    stage.core.do("post/cancel", {"post": post})
    stage.core.sweep()
    assert path.exists()  # its post has just ended

    stage.core.clock.advance(31 * DAY_S)
    stage.core.sweep()
    assert not path.exists()


def with_a_stored_video(stage: Stage, sha256: str, status: str = "completed") -> tuple[str, Path]:
    path = stored(stage, sha256)
    stage.media.put(f"uploads/{path.name}")
    output = {"video_path": f"uploads/{path.name}"}
    task = stage.core.do("task/submit", {"instance_id": "gen-1", "status": status, "output_data": output})
    return task["task"], path


@pytest.mark.parametrize(("status", "stays"), [("completed", True), ("running", True), ("failed", False)])
def test_a_file_of_a_task_that_can_be_posted_stays_however_old_it_is(
    stage: Stage, status: str, stays: bool
) -> None:
    _, path = with_a_stored_video(stage, "b" * 64, status)
    stage.ahead_s = 400 * DAY_S

    stage.core.sweep()

    assert path.exists() is stays


def test_a_tasks_file_goes_with_the_task(stage: Stage) -> None:
    _, path = with_a_stored_video(stage, "b" * 64)
    stage.ahead_s = 400 * DAY_S
    stage.core.clock.advance(31 * DAY_S)

    stage.core.sweep()  # forgets the task, whose file is looked at in the same turn or in the next
    stage.core.sweep()

    assert not path.exists()


def test_a_task_whose_post_was_cancelled_has_its_file_again(stage: Stage) -> None:
    task, path = with_a_stored_video(stage, "b" * 64)
    post = stage.core.do("task/post", stage.order(task))["post"]
    stage.core.do("post/cancel", {"post": post})
    stage.core.clock.advance(29 * DAY_S)
    stage.ahead_s = 400 * DAY_S

    stage.core.sweep()

    assert path.exists()


def test_the_log_names_what_was_swept(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    path = stored(stage, "a" * 64)
    stage.ahead_s = 31 * DAY_S

    with caplog.at_level("INFO", logger="tokd.jobs"):
        stage.core.sweep()

    assert path.name in caplog.text


def test_a_file_that_was_sent_again_while_the_sweep_looked_stays(stage: Stage) -> None:
    path = stored(stage, "a" * 64)
    stage.ahead_s = 31 * DAY_S
    found = stage.store.aged(30)
    stage.ahead_s = 0  # as old as if it had been renewed just now

    stage.store.remove(found, 30)

    assert (list(found), path.exists()) == ([path.name], True)


def test_no_file_goes_while_an_order_waits_for_one(stage: Stage) -> None:
    path = stored(stage, "a" * 64)
    stage.fetcher.gate = threading.Event()
    stage.core.submit("post/schedule", ORDER)
    stage.ahead_s = 31 * DAY_S

    stage.core.timer.sweep()
    wait_until(lambda: stage.core.bus.read(lambda _unit: True))
    assert path.exists()

    stage.fetcher.gate.set()
    stage.core.settle()
    stage.core.sweep()
    assert not path.exists()


def test_parts_go_after_a_week(stage: Stage) -> None:
    stored(stage, "a" * 64)
    part = stage.uploads / ".parts" / "new-1.part"
    part.write_bytes(b"x")
    stage.ahead_s = 6 * DAY_S
    stage.core.sweep()
    assert part.exists()

    stage.ahead_s = 8 * DAY_S
    stage.core.sweep()

    assert not part.exists()
