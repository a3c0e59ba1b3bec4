"""What a webhook makes tokd do: ask the platform once, now. Never more than that."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from daemon.domain.account import Login
from daemon.domain.errors import Fault, PlatformError
from daemon.domain.hints import Hint, HintKind, HintOutcome
from daemon.domain.platform import Endpoint, Rate, StatusAnswer, Verdict
from daemon.domain.policy import Policy
from daemon.domain.post import Post, State
from daemon.domain.reports import HintReceived
from tests.core import Core
from tests.fakes.platform import INBOX, PENDING, PUBLISHED
from tests.fakes.values import a_post
from tests.waiting import wait_until

SLOW = Policy(status_delays_s=(3600,), chunk_delays_s=(0.001,), finished_steps=((86400, 3600),))
PRIVATE = StatusAnswer(verdict=Verdict.PUBLISHED, raw="PUBLISH_COMPLETE")


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    with Core(tmp_path, policy=SLOW) as found:
        found.media.put("clip.mp4")
        yield found


def hint(**changes: Any) -> Hint:
    found = {
        "platform": "tiktok", "kind": HintKind.POST_COMPLETE, "open_id": "open-ada", "publish_id": "v_pub_1",
        "sent_at": 1_700_000_000,
    }  # fmt: skip
    return Hint(**(found | changes))


def take(core: Core, **changes: Any) -> HintOutcome:
    outcome: HintOutcome = core.bus.ask(HintReceived(hint(**changes)))
    core.settle()
    return outcome


def sent(core: Core, verdict: StatusAnswer = PENDING, **args: Any) -> Post:
    """Return a post that the platform has all of; its next status read is an hour away."""
    core.platform.verdict = verdict
    post = core.scheduled(in_s=0, **args)
    core.run_for(1)
    return core.post(post)


def put(core: Core, **changes: Any) -> Post:
    post = a_post("p_x", publish_id="v_pub_x", wake_at=None, attempt=1, fence=1, due_at=None, **changes)
    core.write(lambda unit: unit.add_post(post))
    return post


def test_a_post_in_processing_is_published_an_hour_before_its_next_read(core: Core) -> None:
    post = sent(core)
    assert post.state is State.PROCESSING
    core.platform.verdict = PUBLISHED

    outcome = take(core)

    assert outcome is HintOutcome.READ
    assert core.post(post.id).state is State.PUBLISHED


def test_a_hint_changes_nothing_that_the_platform_does_not_say_itself(core: Core) -> None:
    post = sent(core)

    take(core, kind=HintKind.POST_FAILED)

    assert core.platform.count("status") == 1
    assert core.post(post.id).state is State.PROCESSING


def test_a_hint_counts_while_an_older_read_is_under_way(core: Core) -> None:
    post = sent(core)
    gate = threading.Event()

    def answer_late() -> None:
        gate.wait(10)
        raise PlatformError(Fault.TRANSIENT, "connect_failed", "no connection")

    core.platform.next("status", answer_late)
    core.bus.ask(HintReceived(hint()))
    wait_until(lambda: core.platform.count("status") == 1)
    core.platform.verdict = PUBLISHED

    core.bus.ask(HintReceived(hint(sent_at=1_700_000_001)))

    wait_until(lambda: core.post(post.id).state is State.PUBLISHED)
    gate.set()
    core.settle()
    assert core.post(post.id).state is State.PUBLISHED


@pytest.mark.parametrize("times", [2, 5])
def test_a_repeat_is_not_asked_about_again(core: Core, times: int) -> None:
    sent(core)

    outcomes = [take(core) for _ in range(times)]

    assert outcomes == [HintOutcome.READ] + [HintOutcome.REPEAT] * (times - 1)
    assert core.platform.count("status") == 1


def test_a_repeat_is_known_after_a_restart(core: Core) -> None:
    sent(core)
    take(core)
    core.restart()
    core.settle()  # the start itself reads once
    before = core.platform.count("status")

    assert take(core) is HintOutcome.REPEAT
    assert core.platform.count("status") == before


def test_an_uncertain_post_is_settled_by_what_the_platform_says(core: Core) -> None:
    post = put(core, state=State.UNCERTAIN, reason="no_verdict")
    core.platform.next("status", PUBLISHED)

    assert take(core, publish_id="v_pub_x") is HintOutcome.READ
    assert core.post(post.id).state is State.PUBLISHED


def test_a_draft_that_the_person_has_posted_is_published(core: Core) -> None:
    post = sent(core, PENDING, mode="inbox")
    core.platform.verdict = INBOX
    take(core, kind=HintKind.POST_IN_INBOX)
    assert core.post(post.id).state is State.SENT_TO_INBOX
    core.platform.next("status", PUBLISHED)

    take(core, kind=HintKind.POST_COMPLETE)

    assert core.post(post.id).state is State.PUBLISHED


def test_a_published_post_learns_its_public_id(core: Core) -> None:
    post = put(core, state=State.PUBLISHED)
    core.platform.next("status", PUBLISHED)

    take(core, kind=HintKind.POST_PUBLIC, publish_id="v_pub_x", public_id="7001")

    assert core.post(post.id).public_ids == ("7001",)
    assert core.event_types(f"post/{post.id}") == ["post.public"]


@pytest.mark.parametrize(
    ("changes", "kind", "public_id"),
    [
        ({"state": State.PUBLISHED, "public_ids": ("7001",)}, HintKind.POST_PUBLIC, "7001"),
        ({"state": State.PUBLISHED, "public_ids": ("7001",)}, HintKind.POST_NOT_PUBLIC, "7001"),
        ({"state": State.PUBLISHED}, HintKind.POST_COMPLETE, ""),
        ({"state": State.SENT_TO_INBOX}, HintKind.POST_IN_INBOX, ""),
        ({"state": State.FAILED}, HintKind.POST_COMPLETE, ""),
        ({"state": State.CANCELLED}, HintKind.POST_COMPLETE, ""),
        ({"state": State.HELD}, HintKind.POST_COMPLETE, ""),
    ],
)
def test_what_can_say_nothing_new_is_not_asked(
    core: Core, changes: dict[str, Any], kind: HintKind, public_id: str
) -> None:
    put(core, **changes)

    assert take(core, publish_id="v_pub_x", kind=kind, public_id=public_id) is HintOutcome.SETTLED
    assert core.platform.count("status") == 0


def test_a_second_public_id_of_a_draft_is_asked_about(core: Core) -> None:
    put(core, state=State.PUBLISHED, public_ids=("7001",))
    core.platform.next("status", replace(PUBLISHED, public_ids=("7001", "7002")))

    take(core, kind=HintKind.POST_PUBLIC, publish_id="v_pub_x", public_id="7002")

    assert core.post("p_x").public_ids == ("7001", "7002")


def test_a_post_in_a_workers_hands_is_left_alone_and_its_repeat_still_counts(core: Core) -> None:
    post = put(core, state=State.UPLOADING, claimed_by=core.node)

    assert take(core, publish_id="v_pub_x") is HintOutcome.BUSY
    assert core.post(post.id) == post
    core.write(lambda unit: unit.save_post(replace(post, state=State.PROCESSING, version=post.version + 1)))
    assert take(core, publish_id="v_pub_x") is HintOutcome.READ


@pytest.mark.parametrize(
    "changes", [{"publish_id": "v_pub_9"}, {"open_id": "open-bob"}, {"platform": "other"}, {"open_id": ""}]
)
def test_a_hint_about_somebody_else_does_nothing(core: Core, changes: dict[str, Any]) -> None:
    sent(core)

    assert take(core, **changes) is HintOutcome.UNKNOWN
    assert core.platform.count("status") == 0


def test_an_event_that_says_nothing_to_us_is_passed_over(core: Core) -> None:
    sent(core)

    assert take(core, kind=HintKind.OTHER) is HintOutcome.IGNORED


def test_a_spent_budget_delays_the_read_until_it_opens(core: Core) -> None:
    core.platform.rates[Endpoint.STATUS] = Rate(1, 60)
    post = sent(core)
    take(core)
    core.platform.verdict = PUBLISHED

    assert take(core, sent_at=1_700_000_001) is HintOutcome.DELAYED
    assert core.platform.count("status") == 1
    core.run_for(60)
    assert core.post(post.id).state is State.PUBLISHED


def test_a_removed_authorisation_is_found_out_by_trying_the_tokens(core: Core) -> None:
    core.platform.live_access, core.platform.live_refresh = set(), set()

    assert take(core, kind=HintKind.ACCOUNT_REMOVED) is HintOutcome.CHECK
    assert core.account().login is Login.NEEDS_LOGIN
    assert "account.needs_login" in core.event_types()


def test_an_account_whose_tokens_work_is_kept_whatever_a_hint_says(core: Core) -> None:
    take(core, kind=HintKind.ACCOUNT_REMOVED)

    assert core.platform.count("creator") == 2  # one when it was linked
    assert core.account().login is Login.OK


def test_the_tokens_of_an_account_for_drafts_are_tried_too(core: Core) -> None:
    core.write(lambda unit: unit.save_account(replace(unit.account("ada"), scopes=("video.upload",))))
    core.platform.live_access, core.platform.live_refresh = set(), set()

    take(core, kind=HintKind.ACCOUNT_REMOVED)

    assert core.account().login is Login.NEEDS_LOGIN


def test_a_removal_is_looked_into_once(core: Core) -> None:
    outcomes = [take(core, kind=HintKind.ACCOUNT_REMOVED) for _ in range(2)]

    assert outcomes == [HintOutcome.CHECK, HintOutcome.REPEAT]


def test_the_removal_of_an_account_that_needs_a_login_is_no_news(core: Core) -> None:
    core.platform.live_access, core.platform.live_refresh = set(), set()
    take(core, kind=HintKind.ACCOUNT_REMOVED)

    assert take(core, kind=HintKind.ACCOUNT_REMOVED, sent_at=5) is HintOutcome.SETTLED


@pytest.mark.parametrize(("days", "outcome"), [(6, HintOutcome.REPEAT), (8, HintOutcome.READ)])
def test_a_hint_is_remembered_for_a_week(core: Core, days: int, outcome: HintOutcome) -> None:
    sent(core)
    take(core)
    core.clock.advance(timedelta(days=days))
    core.sweep()

    assert take(core) is outcome
