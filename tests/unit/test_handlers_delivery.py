"""A delivery from claim to verdict, through every fault: each post once, each step on disk before it is taken."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from daemon.domain.account import Login
from daemon.domain.errors import Fault, PlatformError, StaleAttempt, UploadUrlDead
from daemon.domain.figures import Timing
from daemon.domain.ids import AccountName
from daemon.domain.platform import Endpoint, Plan, StatusAnswer, Verdict
from daemon.domain.post import Description, State
from daemon.domain.reports import (
    AttemptFailed,
    AttemptStarted,
    BrokerJoined,
    ChunkStored,
    CommitIntended,
    InitIntended,
    MessagesSent,
    RefreshIntended,
    StatusRead,
    TokensRefreshed,
    UploadFinished,
    UploadResumed,
    ValidationFailed,
    WorkDied,
)
from daemon.domain.verdicts import HOLD_CAP, HOLD_LOGIN, HOLD_SCOPE, HOLD_UNREADABLE
from daemon.handlers.retained_set_due import WAITING_MAX
from daemon.handlers.retention_due import PAGE
from tests.core import POLICY, Core
from tests.fakes.platform import PENDING, PUBLISHED, After, Killed, failed
from tests.fakes.values import a_post
from tests.waiting import wait_until


def fault(kind: Fault, code: str = "some_code", **more: Any) -> PlatformError:
    return PlatformError(kind, code, "it said no", **more)


TRANSIENT = fault(Fault.TRANSIENT, "connection_lost")
LOST = fault(Fault.UNKNOWN_OUTCOME, "read_timeout")
DEAD = UploadUrlDead(Fault.TRANSIENT, "upload_url_dead", "the address is gone", status=403)
URL = "https://media.example/a.mp4"
HOUR = timedelta(hours=1)


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    with Core(tmp_path) as found:
        found.media.put("clip.mp4")
        yield found


def deliver(core: Core, media: str | None = "clip.mp4", *, seconds: float = 30, **args: Any) -> str:
    """Schedule a post for now and let time pass; return its id."""
    post = core.scheduled(media, in_s=0, **args)
    core.run_for(seconds)
    return post


def kill_at(core: Core, method: str, *steps: Any, skip: int = 0) -> str:
    """Let the process end at a call of the platform; return the post that was under way."""
    core.platform.next(method, *[lambda: None] * skip, *steps)
    post = core.scheduled(in_s=0)
    wait_until(lambda: core.deaths.found, what="the worker's death")
    core.restart(clean=False)
    return post


def run_until_killed(core: Core) -> None:
    def look() -> bool:
        if not core.deaths.found:
            core.clock.advance(1)
            core.timer.ring()
        return bool(core.deaths.found)

    wait_until(look, what="the worker's death")


# -- the good way --------------------------------------------------------------------------------------------


def test_a_post_passes_every_state_and_is_posted_once(core: Core) -> None:
    post = deliver(core)

    assert core.post(post).state is State.PUBLISHED
    assert core.event_types(f"post/{post}") == [
        "post.scheduled", "post.started", "post.initialised", "post.progress", "post.processing", "post.published",
    ]  # fmt: skip
    assert len(core.platform.published()) == 1


def test_a_published_post_has_its_public_address(core: Core) -> None:
    post = core.post(deliver(core, privacy="PUBLIC_TO_EVERYONE"))

    assert (post.public_ids, post.url) == (("7001",), "https://www.tiktok.com/@ada/video/7001")


def test_an_inbox_draft_goes_to_the_inbox_and_is_published_by_the_person(core: Core) -> None:
    post = deliver(core, mode="inbox")
    assert core.post(post).state is State.SENT_TO_INBOX

    core.platform.next("status", PUBLISHED)
    core.run_for(120)

    assert core.post(post).state is State.PUBLISHED


def test_the_query_of_an_address_is_in_no_view_and_goes_with_the_posts_end(core: Core) -> None:
    post = core.scheduled(None, url=f"{URL}?sig=geheim")
    order = {"account": "ada", "url": f"{URL}?sig=geheim", "privacy": "SELF_ONLY", "at": "now"}
    dry_run = core.do("post/schedule", order, dry_run=True)
    shown = [dry_run, core.do("post/status", {"post": post}), core.do("post/list"), core.events()]
    kept = core.post(post).media

    core.run_for(120)

    assert (kept, core.post(post).media) == ((f"{URL}?sig=geheim",), (URL,))
    assert "geheim" not in str(shown)


def test_an_address_is_posted_without_a_byte_from_here(core: Core) -> None:
    post = deliver(core, None, url=URL)

    assert core.post(post).state is State.PUBLISHED
    assert core.platform.count("send_chunk") == 0


def test_posts_of_one_account_go_out_one_after_the_other(core: Core) -> None:
    busy: list[str] = []

    def look() -> None:
        busy.append(",".join(sorted(post.id for post in core.posts() if post.claimed_by)))

    core.platform.next("init", look, look, look)
    for _ in range(3):
        core.scheduled(in_s=0)
    core.run_for(60)

    assert len(core.platform.published()) == 3
    assert [names.count(",") for names in busy] == [0, 0, 0]


def test_a_late_public_id_is_told_when_moderation_is_over(core: Core) -> None:
    core.platform.next("status", StatusAnswer(verdict=Verdict.PUBLISHED, raw="PUBLISH_COMPLETE"))
    post = deliver(core, privacy="PUBLIC_TO_EVERYONE")
    assert (core.post(post).state, core.post(post).public_ids) == (State.PUBLISHED, ())

    core.run_for(120)

    assert core.post(post).public_ids == ("7001",)
    (event,) = core.events("post.public")
    assert event["data"]["post_ids"] == ["7001"]
    assert core.post(post).wake_at is None


def test_the_publish_id_is_on_disk_before_the_first_byte(core: Core) -> None:
    seen: list[Any] = []
    core.platform.next("send_chunk", lambda: seen.extend(core.attempts("p_00001")))

    deliver(core)

    assert (seen[0].publish_id, seen[0].upload_url.startswith("sealed:")) == ("v_pub_1", True)


def test_the_point_of_no_return_is_on_disk_before_the_last_chunk(core: Core) -> None:
    seen: list[State] = []
    core.platform.next("send_chunk", *[lambda: seen.append(core.post("p_00001").state)] * 3)

    deliver(core)

    assert seen == [State.INITIALISED, State.UPLOADING, State.COMMITTING]


def test_the_intent_is_on_disk_before_the_init_call(core: Core) -> None:
    seen: list[Any] = []
    core.platform.next("init", lambda: seen.extend([core.post("p_00001"), *core.attempts("p_00001")]))

    deliver(core)

    assert seen[0].state is State.INITIALISED
    assert seen[1].init_sent_at is not None


# -- refused before anything is sent -------------------------------------------------------------------------


def test_a_file_that_there_is_no_descriptor_for_is_opened_later(core: Core) -> None:
    post = core.scheduled(in_s=60)
    core.media.shortages = 2

    core.run_for(3600)

    assert core.post(post).state is State.PUBLISHED
    assert core.platform.count("init") == 1


def test_a_file_that_was_changed_is_never_sent(core: Core) -> None:
    post = core.scheduled(in_s=60)
    core.media.put("clip.mp4", b"something else")
    core.run_for(90)

    assert (core.post(post).state, core.post(post).reason) == (State.FAILED, "changed")
    assert core.platform.count("init") == 0


def test_a_file_that_changes_during_the_upload_is_never_completed(core: Core) -> None:
    core.platform.next("send_chunk", lambda: core.media.put("clip.mp4", b"something else"))

    post = deliver(core)

    assert (core.post(post).state, core.post(post).reason) == (State.FAILED, "media_changed")
    assert core.platform.published() == []


def test_a_privacy_that_is_not_offered_any_more_is_not_downgraded(core: Core) -> None:
    post = core.scheduled(in_s=60)
    core.platform.creator_answer = replace(
        core.platform.creator_answer, privacy_options=("PUBLIC_TO_EVERYONE",)
    )
    core.run_for(90)

    assert (core.post(post).state, core.post(post).reason) == (State.FAILED, "privacy_not_offered")
    assert core.platform.count("init") == 0


# -- errors, by class ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["creator", "init"])
@pytest.mark.parametrize(
    ("kind", "state", "reason"),
    [
        (Fault.TRANSIENT, State.RETRY_WAIT, "some_code"),
        (Fault.UNKNOWN_OUTCOME, State.RETRY_WAIT, "some_code"),
        (Fault.RATE, State.RETRY_WAIT, "some_code"),
        (Fault.SCOPE, State.HELD, HOLD_SCOPE),
        (Fault.CAP, State.HELD, HOLD_CAP),
        (Fault.BANNED, State.FAILED, "some_code"),
        (Fault.AUDIT, State.FAILED, "some_code"),
        (Fault.CONTENT, State.FAILED, "some_code"),
        (Fault.UNKNOWN_CODE, State.FAILED, "some_code"),
    ],
)
def test_each_class_of_error_has_its_end(
    core: Core, method: str, kind: Fault, state: State, reason: str
) -> None:
    core.platform.next(method, fault(kind))

    post = deliver(core, seconds=1)

    assert (core.post(post).state, core.post(post).reason) == (state, reason)
    assert core.platform.published() == []


def test_a_passing_fault_is_retried_and_the_post_goes_out_once(core: Core) -> None:
    core.platform.next("creator", TRANSIENT)
    core.platform.next("init", TRANSIENT, After(LOST))

    post = deliver(core, seconds=200)

    assert core.post(post).state is State.PUBLISHED
    assert len(core.platform.published()) == 1
    assert len(core.attempts(post)) == 4


def test_a_fault_that_does_not_pass_ends_the_post(core: Core) -> None:
    core.platform.next("creator", *[TRANSIENT] * 20)

    post = deliver(core, seconds=3000)

    assert (core.post(post).state, core.post(post).reason) == (State.FAILED, "retries_spent")
    assert core.platform.count("creator") == 6 + 1  # and one when the account was linked


def test_failures_that_are_reported_are_no_crashes(core: Core) -> None:
    core.platform.next("creator", *[TRANSIENT] * 4)
    post = deliver(core, seconds=60)

    assert core.post(post).claims == 0


def test_a_banned_account_posts_no_more(core: Core) -> None:
    core.platform.next("init", fault(Fault.BANNED))
    deliver(core)

    assert core.account().enabled is False
    assert core.post(deliver(core)).state is State.HELD


def test_a_chunk_that_is_lost_is_sent_again(core: Core) -> None:
    core.platform.next("send_chunk", TRANSIENT, After(LOST))

    post = deliver(core)

    assert core.post(post).state is State.PUBLISHED
    assert core.platform.count("init") == 1


def test_a_dead_upload_address_begins_a_new_upload_at_once(core: Core) -> None:
    core.platform.next("send_chunk", lambda: None, DEAD)

    post = deliver(core)

    assert core.post(post).state is State.PUBLISHED
    assert core.platform.count("init") == 2
    assert len(core.platform.published()) == 1


# -- around the point of no return ---------------------------------------------------------------------------


def last_chunk(*steps: Any) -> list[Any]:
    return [lambda: None, lambda: None, *steps]


def test_a_last_chunk_whose_answer_is_lost_is_adopted_by_its_status(core: Core) -> None:
    core.platform.next("send_chunk", *last_chunk(After(LOST)))

    post = deliver(core)

    assert core.post(post).state is State.PUBLISHED
    assert core.platform.count("init") == 1


def test_a_last_chunk_that_never_arrived_is_sent_again_to_the_same_upload(core: Core) -> None:
    core.platform.next("send_chunk", *last_chunk(TRANSIENT))

    post = deliver(core)

    assert core.post(post).state is State.PUBLISHED
    assert core.platform.count("init") == 1
    assert core.platform.count("send_chunk") == 4


def test_a_last_chunk_that_nobody_can_tell_about_is_doubt_and_never_sent_again(core: Core) -> None:
    core.platform.next("send_chunk", *last_chunk(LOST))
    core.platform.next("status", *[TRANSIENT] * 5000)

    post = deliver(core, seconds=86400 * 4)

    assert (core.post(post).state, core.post(post).reason) == (State.UNCERTAIN, "outcome_unknown")
    assert core.platform.count("init") == 1
    assert core.platform.count("send_chunk") == 3
    assert core.event_types().count("post.uncertain") == 1


def test_a_doubted_post_is_adopted_when_the_platform_speaks(core: Core) -> None:
    core.platform.next("send_chunk", *last_chunk(After(LOST)))
    core.platform.next("status", *[TRANSIENT] * 8)

    post = deliver(core, seconds=600)

    assert core.post(post).state is State.PUBLISHED
    assert "post.uncertain" in core.event_types()


def test_a_lost_init_of_an_address_is_doubt_and_never_made_again(core: Core) -> None:
    core.platform.next("init", After(LOST))

    post = deliver(core, None, url=URL, seconds=86400)

    assert core.post(post).state is State.UNCERTAIN
    assert core.platform.count("init") == 1


def test_an_address_that_provably_never_reached_the_platform_is_tried_again(core: Core) -> None:
    core.platform.next("init", TRANSIENT)

    post = deliver(core, None, url=URL)

    assert core.post(post).state is State.PUBLISHED


def test_no_verdict_in_half_an_hour_is_doubt_told_once(core: Core) -> None:
    core.platform.next("status", *[PENDING] * 5000)

    post = deliver(core, seconds=7200)

    assert (core.post(post).state, core.post(post).reason) == (State.UNCERTAIN, "no_verdict")
    assert core.event_types().count("post.uncertain") == 1


def test_a_platform_that_failed_inside_gets_a_new_attempt_later(core: Core) -> None:
    core.platform.next("status", failed("internal", Fault.REMOTE_INTERNAL))
    post = deliver(core)
    assert core.post(post).state is State.RETRY_WAIT

    core.run_for(700)

    assert core.post(post).state is State.PUBLISHED


def test_the_status_is_read_within_its_budget(core: Core) -> None:
    for number in range(3):
        core.link(f"a{number}")
    core.platform.rates[Endpoint.STATUS] = core.platform.rates[Endpoint.CREATOR].__class__(2, 60)
    core.platform.next("status", *[PENDING] * 500)
    post = deliver(core, seconds=60)

    assert core.post(post).state is State.PROCESSING
    assert core.platform.count("status") <= 4


# -- crashes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "skip", "inits"),
    [
        pytest.param("creator", 0, 1, id="before anything"),
        pytest.param("init", 0, 2, id="before the init call arrived"),
        pytest.param("send_chunk", 0, 1, id="before the first chunk"),
        pytest.param("send_chunk", 1, 1, id="before the second chunk"),
        pytest.param("send_chunk", 2, 1, id="before the last chunk"),
        pytest.param("status", 0, 1, id="before the status"),
    ],
)
@pytest.mark.parametrize("is_done", [False, True], ids=["not done", "done, answer lost"])
def test_a_kill_at_any_call_posts_exactly_once(
    core: Core, method: str, skip: int, inits: int, is_done: bool
) -> None:
    core.platform.next(method, *[lambda: None] * skip, After(Killed()) if is_done else Killed())
    post = core.scheduled(in_s=0)
    run_until_killed(core)

    core.restart(clean=False)
    core.run_for(120)

    assert core.post(post).state is State.PUBLISHED
    assert len(core.platform.published()) == 1
    calls = [argument for called, argument in core.platform.calls if called == "init"]
    assert len(calls) == inits


def test_a_kill_during_the_init_of_an_address_is_doubt(core: Core) -> None:
    core.platform.next("init", After(Killed()))
    post = core.scheduled(None, url=URL, in_s=0)
    wait_until(lambda: core.deaths.found)

    core.restart(clean=False)
    core.run_for(3600)

    assert core.post(post).state is State.UNCERTAIN
    assert core.platform.count("init") == 1


def test_an_upload_goes_on_where_the_platform_says_it_is(core: Core) -> None:
    kill_at(core, "send_chunk", Killed(), skip=1)
    core.run_for(60)

    assert [argument for called, argument in core.platform.calls if called == "send_chunk"] == [0, 1, 1, 2]


def test_an_upload_whose_login_died_meanwhile_is_held_and_not_tried_in_circles(core: Core) -> None:
    post = kill_at(core, "send_chunk", Killed(), skip=1)
    core.settle()
    core.run_for(60)
    assert core.post(post).state is State.PUBLISHED

    core.platform.next("status", *[fault(Fault.AUTH)] * 2)
    core.platform.next("refresh", fault(Fault.AUTH, "invalid_grant"))
    other = kill_at(core, "send_chunk", Killed(), skip=1)
    core.run_for(60)

    assert (core.post(other).state, core.post(other).reason) == (State.HELD, HOLD_LOGIN)
    assert core.account().login is Login.NEEDS_LOGIN


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (failed("internal", Fault.REMOTE_INTERNAL), State.RETRY_WAIT),
        (failed("spam_risk_text", Fault.CONTENT), State.FAILED),
        (failed("publish_cancelled", Fault.CANCELLED), State.FAILED),
        (PUBLISHED, State.PUBLISHED),
    ],
)
def test_a_commit_that_was_killed_adopts_what_the_platform_says(
    core: Core, answer: StatusAnswer, state: State
) -> None:
    core.platform.next("status", answer)
    post = kill_at(core, "send_chunk", After(Killed()), skip=2)
    core.settle()
    core.run_for(1)

    assert core.post(post).state is state
    assert core.platform.count("init") == 1


def test_a_post_whose_key_is_lost_is_put_aside_and_not_tried_in_circles(core: Core) -> None:
    core.platform.next("send_chunk", lambda: None, Killed())
    post = core.scheduled(in_s=0)
    wait_until(lambda: core.deaths.found)
    core.vault.lose_key()
    core.restart(clean=False)
    core.settle()

    found = core.post(post)
    assert (found.state, found.reason) == (State.HELD, HOLD_UNREADABLE)
    assert found.fence == 2


def test_a_post_that_crashes_the_daemon_again_and_again_is_put_aside(core: Core) -> None:
    post = core.scheduled(in_s=0)
    core.stop(clean=False)
    for _ in range(POLICY.crashes_max + 2):
        core.platform.next("creator", Killed())
        core.start()
        wait_until(lambda: core.deaths.found or core.post(post).state is State.HELD)
        died = bool(core.deaths.found)
        core.stop(clean=False)
        core.deaths.found.clear()
        if not died:
            break
    core.platform.script.clear()
    core.start()

    assert (core.post(post).state, core.post(post).reason) == (State.HELD, "crashes_the_daemon")
    assert core.platform.count("creator") == POLICY.crashes_max + 1  # and one when the account was linked


def test_a_clean_stop_is_told_apart_from_a_kill(core: Core) -> None:
    core.restart(clean=True)
    core.restart(clean=False)

    assert [event["data"]["after_clean_stop"] for event in core.events("daemon.started")] == [
        False,
        True,
        False,
    ]


# -- fences --------------------------------------------------------------------------------------------------

REPORTS: list[Callable[[Any, int], object]] = [
    lambda key, fence: AttemptStarted(key, fence),
    lambda key, fence: ValidationFailed(key, fence, "c", ()),
    lambda key, fence: InitIntended(key, fence, "h", Plan(30, 10, 3)),
    lambda key, fence: UploadResumed(key, fence, 10),
    lambda key, fence: ChunkStored(key, fence, 10, tell=True),
    lambda key, fence: CommitIntended(key, fence),
    lambda key, fence: UploadFinished(key, fence),
    lambda key, fence: AttemptFailed(key, fence, TRANSIENT),
]


@pytest.fixture
def taken(core: Core) -> Iterator[tuple[Core, str]]:
    """A post in the middle of its upload, held by a worker that waits at the second chunk, with fence 1."""
    gate = threading.Event()
    core.platform.next("send_chunk", lambda: None, gate.wait)
    post = core.scheduled(in_s=0)
    wait_until(lambda: core.platform.count("send_chunk") == 2)
    yield core, post
    gate.set()


@pytest.mark.parametrize("report", REPORTS)
@pytest.mark.parametrize("fence", [0, 2, 99])
def test_a_report_with_another_fence_changes_nothing(
    taken: tuple[Core, str], report: Callable[[Any, int], object], fence: int
) -> None:
    core, post = taken
    before = core.post(post)

    with pytest.raises(StaleAttempt):
        core.bus.ask(report(post, fence))

    assert core.post(post) == before


@pytest.mark.parametrize("report", REPORTS)
def test_a_report_about_a_post_that_is_over_changes_nothing(
    core: Core, report: Callable[[Any, int], object]
) -> None:
    post = deliver(core)
    before = core.post(post)

    with pytest.raises(StaleAttempt):
        core.bus.ask(report(post, before.fence))

    assert core.post(post) == before


def test_an_old_status_says_nothing_about_a_new_attempt(core: Core) -> None:
    core.platform.next("status", *[PENDING] * 9)
    post = deliver(core, seconds=5)
    before = core.post(post)

    core.bus.ask(StatusRead(post, before.fence - 1, PUBLISHED))

    assert core.post(post) == before


def test_the_death_of_an_old_worker_says_nothing_about_a_new_one(taken: tuple[Core, str]) -> None:
    core, post = taken
    before = core.post(post)

    core.bus.ask(WorkDied(post, before.fence - 1, "old"))

    assert core.post(post) == before


def test_a_late_answer_to_a_doubted_init_is_kept_and_resolves_the_doubt(core: Core) -> None:
    """The lease of a frozen worker was over, so its post was doubted; then the answer came after all."""
    gate = threading.Event()
    core.platform.next("init", gate.wait)
    post = core.scheduled(None, url=URL, in_s=0)
    wait_until(lambda: core.platform.count("init") == 1)
    core.bus.ask(WorkDied(post, core.post(post).fence, "frozen"))
    assert (core.post(post).state, core.post(post).publish_id) == (State.UNCERTAIN, None)

    gate.set()
    core.run_for(60)

    assert core.post(post).publish_id == "v_pub_1"
    assert core.post(post).state is State.PUBLISHED


# -- retention -----------------------------------------------------------------------------------------------


def test_a_sweep_forgets_all_that_is_old_a_page_at_a_time(core: Core) -> None:
    long_ago = core.clock.now()
    core.write(
        lambda unit: [unit.record_call(AccountName("ada"), Endpoint.INIT, long_ago) for _ in range(3 * PAGE)]
    )
    core.clock.advance(7200)
    before = core.figures.series(Timing.COMMIT).total

    core.sweep()

    assert (
        core.bus.read(lambda unit: unit.calls_since(AccountName("ada"), Endpoint.INIT, long_ago - HOUR)) == []
    )
    assert core.figures.series(Timing.COMMIT).total - before >= 3


# -- budgets -------------------------------------------------------------------------------------------------


def test_the_seventh_init_in_a_minute_waits(core: Core) -> None:
    posts = [core.scheduled(in_s=0) for _ in range(7)]
    core.run_for(50)
    assert core.platform.count("init") == 6

    core.run_for(60)

    assert core.platform.count("init") == 7
    assert {core.post(post).state for post in posts} == {State.PUBLISHED}
    assert all(core.post(post).tries == 0 for post in posts)


def test_the_budget_survives_a_restart(core: Core) -> None:
    for _ in range(7):
        core.scheduled(in_s=0)
    core.run_for(20)
    core.restart(clean=False)
    core.run_for(30)

    assert core.platform.count("init") == 6


def test_each_account_has_its_own_budget(core: Core) -> None:
    core.link("bob")
    for name in ("ada", "bob"):
        for _ in range(6):
            core.scheduled(in_s=0, account=name)
    core.run_for(50)

    assert core.platform.count("init") == 12


# -- tokens --------------------------------------------------------------------------------------------------


def expire(core: Core) -> None:
    core.platform.live_access = {"access-0"}
    core.platform.live_refresh = {"refresh-0"}
    core.clock.advance(timedelta(days=2))
    core.platform.live_access = set()


def test_sixteen_jobs_after_the_end_of_the_token_refresh_once(tmp_path: Path) -> None:
    with Core(tmp_path, workers=4) as core:
        expire(core)
        start = threading.Barrier(16)
        seen: list[str] = []

        def ask() -> None:
            start.wait(10)
            core.jobs.tools.tokens.call(core.platform, core.account().name, lambda token: seen.append(token))

        threads = [threading.Thread(target=ask) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)

        assert core.platform.count("refresh") == 1
        assert seen == ["access-1"] * 16


def test_a_new_token_pair_is_on_disk_before_it_is_used(core: Core) -> None:
    expire(core)
    seen: list[str] = []
    core.platform.next("creator", lambda: seen.append(core.account().access_token))
    core.media.put("clip.mp4")
    post = deliver(core)

    assert core.post(post).state is State.PUBLISHED
    assert core.vault.open("access_token", "ada", seen[0]) == "access-1"
    assert core.vault.open("refresh_token", "ada", core.account().refresh_token) == "refresh-1"


def test_a_token_that_dies_early_is_renewed_and_the_same_call_repeated(core: Core) -> None:
    core.platform.live_access = set()
    core.platform.live_refresh = {"refresh-0"}

    post = deliver(core)

    assert core.post(post).state is State.PUBLISHED
    assert core.platform.count("refresh") == 1
    assert len(core.attempts(post)) == 1


def test_a_dead_refresh_token_asks_for_a_login_and_holds_the_posts(core: Core) -> None:
    expire(core)
    core.platform.live_refresh = set()
    first = deliver(core)
    second = deliver(core)

    assert core.account().login is Login.NEEDS_LOGIN
    assert [(core.post(key).state, core.post(key).reason) for key in (first, second)] == [
        (State.HELD, HOLD_LOGIN)
    ] * 2
    assert core.platform.count("refresh") == 1
    assert core.event_types().count("account.needs_login") == 1


def test_linking_again_sends_the_held_posts(core: Core) -> None:
    expire(core)
    core.platform.live_refresh = set()
    post = deliver(core)

    core.platform.live_access, core.platform.live_refresh = {"new-access"}, {"new-refresh"}
    core.link(access_token="new-access", refresh_token="new-refresh")
    core.run_for(60)

    assert core.post(post).state is State.PUBLISHED


def test_a_refresh_that_cannot_be_done_just_now_leaves_a_good_token_in_use(core: Core) -> None:
    core.clock.advance(timedelta(hours=23, minutes=30))
    core.platform.next("refresh", *[TRANSIENT] * 20)

    post = deliver(core)

    assert core.post(post).state is State.PUBLISHED


def test_a_refresh_that_cannot_be_done_after_the_end_is_retried(core: Core) -> None:
    expire(core)
    core.platform.next("refresh", TRANSIENT)

    post = deliver(core, seconds=60)

    assert core.post(post).state is State.PUBLISHED
    assert core.account().login is Login.OK


def test_the_sweep_renews_tokens_ahead_of_time(core: Core) -> None:
    core.clock.advance(timedelta(hours=23, minutes=30))

    core.sweep()

    assert core.account().token_version == 2


def test_another_node_has_the_turn_until_its_lease_is_over(core: Core) -> None:
    name = core.account().name
    first = core.bus.ask(RefreshIntended(name, "other", 1))  # type: ignore[arg-type]
    second = core.bus.ask(RefreshIntended(name, core.node, 1))
    core.clock.advance(core.policy.refresh_lease_s + 1)
    third = core.bus.ask(RefreshIntended(name, core.node, 1))

    assert [turn.may_refresh for turn in (first, second, third)] == [True, False, True]


def test_tokens_of_an_older_version_are_not_stored(core: Core) -> None:
    core.link(access_token="newer", refresh_token="newer")

    with pytest.raises(StaleAttempt):
        core.bus.ask(TokensRefreshed(core.account().name, 1, "old", "old"))

    assert core.vault.open("access_token", "ada", core.account().access_token) == "newer"


# -- retained states and housekeeping ------------------------------------------------------------------------


def test_a_large_retained_set_is_published_in_full_once_the_outbox_has_room(tmp_path: Path) -> None:
    count = WAITING_MAX + 500
    with Core(tmp_path, has_broker=True) as core:
        core.write(
            lambda unit: [
                unit.add_post(a_post(f"p_{n:05d}", state=State.DRAFT, wake_at=None)) for n in range(count)
            ]
        )
        core.bus.ask(BrokerJoined(has_session=False))
        for _ in range(3):
            core.settle()
            rows = tuple(message.row for message in core.bus.read(lambda unit: unit.unsent(0, 10_000)))
            core.bus.ask(MessagesSent(rows))
            core.sweep()

        told = {
            message.address for message in core.publisher.offered if message.address.startswith("post/p_")
        }
        assert len(told) == count


def test_the_sweep_clears_the_states_of_posts_that_ended_long_ago(tmp_path: Path) -> None:
    with Core(tmp_path, has_broker=True) as core:
        core.media.put("clip.mp4")
        post = deliver(core)
        core.run_for(timedelta(days=8))

        core.sweep()

        assert core.post(post).retained is False
        cleared = [message for message in core.publisher.offered if message.address == f"post/{post}"][-1]
        assert cleared.payload == ""


def test_descriptions_reach_the_platform_unchanged(core: Core) -> None:
    deliver(core, title="größer 🎬")

    request = next(argument for called, argument in core.platform.calls if called == "init")
    assert "gr\\u00f6\\u00dfer" in request.body
    assert core.posts()[0].description == Description(title="größer 🎬", privacy="SELF_ONLY")


# -- what a second reader found --------------------------------------------------------------------------------


def test_calls_of_a_clock_that_was_ahead_do_not_shut_the_account_out(core: Core) -> None:
    core.clock.step(timedelta(days=30))
    for number in range(6):
        deliver(core, id=f"ahead-{number}")
    core.clock.step(-timedelta(days=30))

    post = deliver(core, id="back")

    assert core.post(post).state is State.PUBLISHED


def test_tokens_linked_anew_are_not_blamed_for_the_old_ones(core: Core) -> None:
    def link_anew() -> None:
        core.clock.advance(1)
        tokens = {"access_token": "access-9", "refresh_token": "refresh-9", "open_id": "open-ada"}
        core.submit("account/import", {"account": "ada"} | tokens, is_local=True).final()
        raise fault(Fault.AUTH, "invalid_grant")

    core.platform.next("creator", fault(Fault.AUTH))
    core.platform.next("refresh", link_anew)

    post = deliver(core, seconds=120)

    assert core.account().login is Login.OK
    assert core.post(post).state is State.PUBLISHED
