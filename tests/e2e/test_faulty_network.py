"""A network and a TikTok that lose, cut, delay and garble: exactly once where it can be known, UNCERTAIN where not.

The posts of the batch run at the same time in one daemon, each of a user of its own.
"""

import hashlib
import shutil
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest

from tests.daemons import make_clip
from tests.e2e.stage import SMALL_CHUNKS, Stage, staged
from tests.waiting import wait_until

# Through the status line, the headers and the body of an init's answer, which has some 400 bytes.
CUTS = (0, 1, 9, 13, 25, 60, 110, 140, 180, 230, 280, 330)
CUTS_OF_PULL = (0, 1, 9, 13, 25, 40, 60, 80, 110, 140, 180, 220)  # which is shorter: it has no upload_url
CUTS_OF_UPLOAD = (0, 1, 9, 13, 20, 30, 45, 60)  # its answer has no body
MEGABYTE = 1_000_000


@dataclass
class Case:
    """One post that meets one script of faults."""

    name: str
    faults: tuple[dict[str, Any], ...]
    how: str = "file"
    args: dict[str, Any] = field(default_factory=dict)
    post: str = ""


def _one(endpoint: str, action: str, **more: Any) -> tuple[dict[str, Any], ...]:
    return ({"endpoint": endpoint, "action": action, **more},)


# How the answer of an init is lost, and how often the simulator has carried it out then.
LOST_INITS = {
    "lost": (_one("init", "lose_answer"), 1),
    "dropped": (_one("init", "drop"), 0),
    "garbage": (_one("init", "garbage"), 0),
    "garbage-after": (_one("init", "garbage_after"), 1),
    "503": (_one("init", "status", status=503), 0),
    "slow": (_one("init", "slow", seconds=3.5), 0),  # whoever has hung up is not served
    "200-empty": (_one("init", "status", status=200, body={"error": {"code": "ok"}}), 0),
    "404-page": (_one("init", "status", status=404, body="Unsupported path(Janus)"), 0),
    "deep-json": (_one("init", "status", status=200, body="[" * 100_000), 0),
}


def _lost_inits(cuts: tuple[int, ...]) -> dict[str, tuple[tuple[dict[str, Any], ...], int]]:
    """Return the ways above, and an answer that is cut off at each of these places."""
    return LOST_INITS | {f"cut-{place}": (_one("init", "cut_answer", bytes=place), 1) for place in cuts}


LOST_FILE_INITS, LOST_PULL_INITS = _lost_inits(CUTS), _lost_inits(CUTS_OF_PULL)
TWO = {"media": "two.mp4"}
UPLOADS = {
    "first-answer-lost": _one("upload", "lose_answer"),
    "last-answer-lost": _one("upload", "lose_answer", after=1),
    "both-answers-lost": _one("upload", "lose_answer", times=2),
    "first-dropped": _one("upload", "drop"),
    "last-dropped": _one("upload", "drop", after=1),
    "first-taken-and-lost": _one("upload", "status", status=206),
    "last-twice-503": _one("upload", "status", status=503, after=1, times=2),
    "first-slow": _one("upload", "slow", seconds=3.5),
    "last-slow": _one("upload", "slow", seconds=3.5, after=1),
    "all-a-bit-slow": _one("upload", "slow", seconds=0.3, times=None),
    "first-garbage-500": _one("upload", "status", status=500, body="<html>502 Bad Gateway</html>"),
    **{f"first-body-cut-{size}": _one("upload", "cut_body", bytes=size) for size in (1, 65_536, 4_999_999)},
    **{f"last-body-cut-{size}": _one("upload", "cut_body", bytes=size, after=1) for size in (1, 3_000_000, 6_999_999)},
    **{f"first-answer-cut-{place}": _one("upload", "cut_answer", bytes=place) for place in CUTS_OF_UPLOAD},
    **{f"last-answer-cut-{place}": _one("upload", "cut_answer", bytes=place, after=1) for place in CUTS_OF_UPLOAD},
}  # fmt: skip
READS = {
    "lost": ("lose_answer", {}),
    "dropped": ("drop", {}),
    "garbage": ("garbage", {}),
    "502": ("status", {"status": 502}),
    "unknown-word": ("status", {"status": 200, "body": {"data": {"status": "EXPIRED"}, "error": {"code": "ok"}}}),
    "slow": ("slow", {"seconds": 3.5}),
    **{f"cut-{place}": ("cut_answer", {"bytes": place}) for place in CUTS[:9]},
}  # fmt: skip


def _make_cases() -> Iterator[Case]:
    for name, (faults, _) in LOST_FILE_INITS.items():
        yield Case(f"file.{name}", faults)
    for name, (faults, _) in LOST_PULL_INITS.items():
        yield Case(f"pull.{name}", faults, "pull")
        yield Case(f"photo.{name}", faults, "photo")
    for name, faults in UPLOADS.items():
        yield Case(f"upload.{name}", faults, args=TWO)
    for name, (action, more) in READS.items():
        yield Case(f"status.{name}", _one("status", action, **more))
        yield Case(f"creator.{name}", _one("creator_info", action, **more))
    stuck = _one("init", "stuck")
    for outcome in ("published", "not_published", "post_again", "verdict"):
        yield Case(f"stuck.{outcome}", stuck)
    yield Case("stuck.taken-for-complete", _one("upload", "status", status=200))


CASES = {case.name: case for case in _make_cases()}


@pytest.fixture(scope="module")
def sink() -> Iterator["Sink"]:
    with Sink() as found:
        yield found


class Sink:
    """Where a redirect would lead: takes note of every connection."""

    def __init__(self) -> None:
        self.visits = visits = []

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                visits.append(self.request.recv(65536))

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/elsewhere"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


SETTINGS = SMALL_CHUNKS | {
    "daemon.workers": "32",  # some wait in vain for seconds
    "tiktok.read_timeout_s": "2.5",
    "tiktok.call_deadline_s": "5",
    "posts.uncertain_after_s": "5",
    "posts.uncertain_steps": "[[600, 0.5]]",
}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("network"), SETTINGS) as found:
        make_clip(found.daemon.media / "clip.mp4")
        make_clip(found.daemon.media / "two.mp4", pad_to=12 * MEGABYTE)
        _run_all(found)
        yield found


def _run_all(stage: Stage) -> None:
    stage.link_all(CASES)
    stage.simulator.faults(*({"user": case.name} | fault for case in CASES.values() for fault in case.faults))
    ways = {"file": stage.schedule, "pull": stage.schedule_pull, "photo": stage.schedule_photos}
    for case in CASES.values():
        case.post = ways[case.how](case.name, **case.args)


@pytest.fixture(scope="module")
def lonely(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A second stage, for what happens to TikTok as a whole: nothing else runs there."""
    settings = SMALL_CHUNKS | {"posts.retry_delays_s": str([0.5] * 20)}
    with staged(tmp_path_factory.mktemp("lonely"), settings) as found:
        make_clip(found.daemon.media / "clip.mp4")
        make_clip(found.daemon.media / "two.mp4", pad_to=12 * MEGABYTE)
        make_clip(found.daemon.media / "three.mp4", pad_to=16 * MEGABYTE)
        yield found


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _ranges(stage: Stage, publish_id: str) -> list[dict[str, Any]]:
    return [entry for entry in stage.simulator.ledger()["ranges"] if entry["publish_id"] == publish_id]


# -- init ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOST_FILE_INITS)
def test_lost_init_of_a_file_is_made_anew_and_the_orphan_gets_no_bytes(stage: Stage, name: str) -> None:
    case, orphans = CASES[f"file.{name}"], LOST_FILE_INITS[name][1]
    post = stage.assert_published_once(case.post, case.name, inits=orphans + 1)
    assert stage.column(case.post, "tries") == 1
    inits = stage.seen("inits", case.name)
    for orphan in [init for init in inits if init["publish_id"] != post["publish_id"]]:
        assert _ranges(stage, orphan["publish_id"]) == []


@pytest.mark.parametrize("name", LOST_PULL_INITS)
@pytest.mark.parametrize("how", ["pull", "photo"])
def test_lost_init_of_a_pull_is_uncertain_and_never_made_again(stage: Stage, name: str, how: str) -> None:
    case, done = CASES[f"{how}.{name}"], LOST_PULL_INITS[name][1]
    post = stage.daemon.wait_state(case.post, "uncertain", within_s=60)
    assert post["reason"] == "outcome_unknown"
    assert (post["attempt"], stage.column(case.post, "tries")) == (1, 0)
    assert stage.events_of(case.post) == ["scheduled", "started", "uncertain"]
    wait_until(lambda: len(stage.seen("inits", case.name)) == done, 10)


@pytest.mark.parametrize("name", UPLOADS)
def test_broken_upload_goes_on_and_is_published_once(stage: Stage, name: str) -> None:
    case = CASES[f"upload.{name}"]
    stage.assert_published_once(case.post, case.name)
    [file] = stage.seen("files", case.name)
    assert file["sha256"] == _sha256(stage.daemon.media / "two.mp4")
    # "processing" is left out where the read that replaces a lost answer already says "published".
    events = [event for event in stage.events_of(case.post) if event != "processing"]
    assert events == ["scheduled", "started", "initialised", "published"]


@pytest.mark.parametrize("name", READS)
def test_unreadable_status_is_read_again(stage: Stage, name: str) -> None:
    case = CASES[f"status.{name}"]
    stage.assert_published_once(case.post, case.name)
    assert stage.events_of(case.post) == ["scheduled", "started", "initialised", "processing", "published"]


@pytest.mark.parametrize("name", [name for name in READS if name != "unknown-word"])
def test_unreadable_creator_costs_a_try_and_no_init(stage: Stage, name: str) -> None:
    case = CASES[f"creator.{name}"]
    stage.assert_published_once(case.post, case.name)
    assert stage.column(case.post, "tries") == 1


# -- no verdict ----------------------------------------------------------------------------------------------


def _uncertain(stage: Stage, name: str) -> Case:
    case = CASES[f"stuck.{name}"]
    post = stage.daemon.wait_state(case.post, "uncertain", within_s=60)
    assert post["reason"] == "no_verdict"
    assert len(stage.seen("inits", case.name)) == 1
    return case


def test_stuck_processing_becomes_uncertain_and_is_resolved_as_published(stage: Stage) -> None:
    case = _uncertain(stage, "published")
    reply = stage.daemon.call(
        "post/resolve", {"post": case.post, "outcome": "published", "by": "Ada"}, id=f"r-{case.post}"
    )
    assert reply["result"]["state"] == "published"
    assert stage.daemon.post(case.post)["detail"] == "by Ada"
    assert stage.events_of(case.post)[-2:] == ["uncertain", "resolved"]
    again = stage.daemon.call(
        "post/resolve", {"post": case.post, "outcome": "not_published"}, id=f"r-not_published-{case.post}"
    )
    assert again["error"]["code"] == "already_final"


def test_stuck_processing_is_resolved_as_not_published(stage: Stage) -> None:
    case = _uncertain(stage, "not_published")
    reply = stage.daemon.call(
        "post/resolve", {"post": case.post, "outcome": "not_published"}, id=f"r-not_published-{case.post}"
    )
    assert reply["result"]["state"] == "failed"
    assert len(stage.seen("inits", case.name)) == 1


def test_stuck_processing_is_posted_again_when_a_person_says_so(stage: Stage) -> None:
    case = _uncertain(stage, "post_again")
    reply = stage.daemon.call(
        "post/resolve", {"post": case.post, "outcome": "post_again"}, id=f"r-post_again-{case.post}"
    )
    assert reply["result"]["state"] == "scheduled"
    stage.daemon.wait_state(case.post, "published")
    assert len(stage.seen("inits", case.name)) == 2


def test_late_verdict_ends_the_doubt(stage: Stage) -> None:
    case = _uncertain(stage, "verdict")
    publish_id = stage.daemon.post(case.post)["publish_id"]
    stage.simulator.post(f"posts/{publish_id}", {"status": "PUBLISH_COMPLETE"})
    stage.assert_published_once(case.post, case.name)


def test_uncertain_post_can_neither_be_cancelled_nor_rescheduled(stage: Stage) -> None:
    case = CASES["pull.lost"]
    stage.daemon.wait_state(case.post, "uncertain")
    for verb, more in (("post/cancel", {}), ("post/reschedule", {"at": "now"}), ("post/publish_now", {})):
        reply = stage.daemon.call(verb, {"post": case.post, **more}, id=f"{verb.replace('/', '-')}-1")
        assert reply["error"]["code"] == "too_late", verb
    assert stage.daemon.post(case.post)["state"] == "uncertain"


def test_upload_taken_for_complete_by_mistake_ends_uncertain(stage: Stage) -> None:
    """The host said 200 and kept nothing: only the missing verdict tells."""
    case = _uncertain(stage, "taken-for-complete")
    assert stage.seen("publishes", case.name) == []


# -- redirects -----------------------------------------------------------------------------------------------


def test_redirected_init_takes_the_token_nowhere(stage: Stage, sink: Sink) -> None:
    name = stage.account()
    stage.fault(name, "init", "redirect", location=sink.url)
    stage.assert_published_once(stage.schedule(name), name)
    assert sink.visits == []


def test_redirected_upload_takes_the_bytes_nowhere(stage: Stage, sink: Sink) -> None:
    name = stage.account()
    stage.fault(name, "upload", "redirect", location=sink.url)
    post = stage.daemon.wait_state(stage.schedule(name, media="two.mp4"), "failed")
    assert post["reason"] == "redirect_refused"
    assert sink.visits == []


def test_redirected_refresh_takes_the_refresh_token_nowhere(stage: Stage, sink: Sink) -> None:
    name = stage.account()
    stage.simulator.post("rotate_tokens", {"user": name})
    stage.fault(name, "refresh", "redirect", location=sink.url)
    stage.assert_published_once(stage.schedule(name), name)
    assert sink.visits == []


# -- tokens --------------------------------------------------------------------------------------------------


def _begin_slowly(stage: Stage, *more: dict[str, Any], media: str = "two.mp4") -> tuple[str, str]:
    """Begin an upload whose first chunk is held up for a second; return its user and its id."""
    name = stage.account()
    stage.fault(name, "upload", "slow", seconds=1.0)
    for fault in more:
        stage.simulator.faults({"user": name} | fault)
    post = stage.schedule(name, media=media)
    wait_until(lambda: "publish_id" in stage.daemon.post(post), 10, what="an upload under way")
    return name, post


def test_tokens_rotated_in_mid_upload_cost_one_refresh_and_no_step(stage: Stage) -> None:
    name, post = _begin_slowly(stage, {"endpoint": "upload", "action": "status", "status": 500, "after": 1})
    stage.simulator.post("rotate_tokens", {"user": name})
    found = stage.assert_published_once(post, name)
    assert len(stage.seen("refreshes", name)) == 1
    assert found["attempt"] == 1


def test_two_posts_of_one_account_share_one_refresh(stage: Stage) -> None:
    name = stage.account()
    stage.simulator.post("rotate_tokens", {"user": name})
    posts = [stage.schedule(name), stage.schedule(name)]
    for post in posts:
        stage.daemon.wait_state(post, "published")
    assert len(stage.seen("refreshes", name)) == 1
    assert len(stage.seen("publishes", name)) == 2


def test_lost_answer_to_a_refresh_that_rotated_asks_for_a_new_login(stage: Stage) -> None:
    name = stage.account()
    stage.simulator.post("rotate_tokens", {"user": name})
    stage.fault(name, "refresh", "lose_answer")
    post = stage.schedule(name)
    assert stage.daemon.wait_state(post, "held")["reason"] == "account_needs_login"
    stage.daemon.link(stage.simulator, name)
    stage.assert_published_once(post, name)


def test_refresh_that_fails_for_a_moment_costs_a_try(stage: Stage) -> None:
    name = stage.account()
    stage.simulator.post("rotate_tokens", {"user": name})
    stage.fault(name, "refresh", "status", status=503)
    post = stage.schedule(name)
    stage.assert_published_once(post, name)
    assert stage.column(post, "tries") == 1
    assert stage.account_row(name)["login"] == "ok"


# -- media ---------------------------------------------------------------------------------------------------


def _copy(stage: Stage, name: str, source: str = "two.mp4") -> Path:
    path = stage.daemon.media / name
    shutil.copyfile(stage.daemon.media / source, path)
    return path


def test_media_changed_before_its_time_is_not_posted(stage: Stage) -> None:
    name, path = stage.account(), _copy(stage, "changed.mp4", "clip.mp4")
    post = stage.schedule(name, media="changed.mp4", draft=True, at=None)
    with path.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"?")
    stage.daemon.call("post/publish_now", {"post": post}, id="changed-1")
    found = stage.daemon.wait_state(post, "failed")
    assert found["reason"] == "changed"
    assert stage.seen("inits", name) == []


def test_media_deleted_before_its_time_is_not_posted(stage: Stage) -> None:
    name, path = stage.account(), _copy(stage, "deleted.mp4", "clip.mp4")
    post = stage.schedule(name, media="deleted.mp4", draft=True, at=None)
    path.unlink()
    stage.daemon.call("post/publish_now", {"post": post}, id="deleted-1")
    assert stage.daemon.wait_state(post, "failed")["reason"] == "media_missing"
    assert stage.seen("inits", name) == []


def test_media_swapped_for_another_video_before_its_time_is_not_posted(stage: Stage) -> None:
    name, path = stage.account(), _copy(stage, "swapped.mp4", "clip.mp4")
    post = stage.schedule(name, media="swapped.mp4", draft=True, at=None)
    other = make_clip(stage.daemon.media / "other.mp4", size="360x640")
    other.rename(path)
    stage.daemon.call("post/publish_now", {"post": post}, id="swapped-1")
    assert stage.daemon.wait_state(post, "failed")["reason"] == "changed"
    assert stage.seen("inits", name) == []


def test_media_written_to_during_the_upload_is_never_completed(stage: Stage) -> None:
    path = _copy(stage, "written.mp4")
    name, post = _begin_slowly(stage, media="written.mp4")
    with path.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"?")
    assert stage.daemon.wait_state(post, "failed")["reason"] == "media_changed"
    assert len(stage.seen("inits", name)) == 1
    assert stage.seen("publishes", name) == []


def test_media_cut_short_during_the_upload_is_never_completed(stage: Stage) -> None:
    path = _copy(stage, "shortened.mp4")
    name, post = _begin_slowly(stage, media="shortened.mp4")
    with path.open("r+b") as file:
        file.truncate(6 * MEGABYTE)
    assert stage.daemon.wait_state(post, "failed")["reason"] == "media_changed"
    assert stage.seen("publishes", name) == []


def test_media_deleted_during_the_upload_is_posted_as_it_was(stage: Stage) -> None:
    path = _copy(stage, "unlinked.mp4")
    name, post = _begin_slowly(stage, media="unlinked.mp4")
    path.unlink()
    stage.assert_published_once(post, name)
    assert stage.seen("files", name)[0]["sha256"] == _sha256(stage.daemon.media / "two.mp4")


# -- TikTok as a whole ---------------------------------------------------------------------------------------


def test_upload_goes_back_to_where_the_host_really_is(lonely: Stage) -> None:
    """The host said 206 and kept nothing; it refuses the next chunk with 416."""
    name = lonely.account()
    lonely.fault(name, "upload", "status", status=206, after=1)
    lonely.assert_published_once(lonely.schedule(name, media="three.mp4"), name)
    sent = [(entry["first"] // 5_000_000, entry["status"]) for entry in lonely.seen("ranges", name)]
    assert sent == [(0, 206), (1, 206), (2, 416), (1, 206), (2, 201)]
    assert lonely.seen("files", name)[0]["sha256"] == _sha256(lonely.daemon.media / "three.mp4")


def test_host_that_always_loses_what_it_takes_leads_to_doubt_and_no_second_init(lonely: Stage) -> None:
    name = lonely.account()
    for after in range(0, 12, 2):
        lonely.fault(name, "upload", "status", status=206, after=after)
    found = lonely.daemon.wait_state(
        lonely.schedule(name, media="two.mp4"), "uncertain", "published", within_s=30
    )
    assert len(lonely.seen("inits", name)) == 1
    assert found["state"] == "uncertain"


def test_expired_upload_address_leads_to_a_new_init(lonely: Stage) -> None:
    name, post = _begin_slowly(lonely, media="three.mp4")
    lonely.simulator.post("clock", {"advance_seconds": 3700})
    lonely.assert_published_once(post, name, inits=2)
    assert lonely.seen("files", name)[0]["sha256"] == _sha256(lonely.daemon.media / "three.mp4")


@pytest.mark.parametrize("how", ["file", "pull"])
def test_post_waits_for_a_tiktok_that_cannot_be_reached(lonely: Stage, how: str) -> None:
    name = lonely.account()
    lonely.simulator.stop()
    post = {"file": lonely.schedule, "pull": lonely.schedule_pull}[how](name)
    assert lonely.daemon.wait_state(post, "retry_wait")["reason"] == "connect_failed"
    lonely.simulator.child.start()
    lonely.assert_published_once(post, name)


def test_tiktok_that_restarts_in_mid_upload_gets_the_rest(lonely: Stage) -> None:
    name, post = _begin_slowly(lonely, media="three.mp4")
    lonely.simulator.stop()
    lonely.simulator.child.start()
    found = lonely.assert_published_once(post, name)
    assert found["attempt"] == 1


def test_daemon_is_unharmed_by_all_of_it(stage: Stage) -> None:
    assert stage.is_alive()
    lines = stage.daemon.log.read_text().splitlines()
    assert [line for line in lines if '"level": "error"' in line or '"level": "critical"' in line] == []
