"""Decisions, row by row: retry by error class, status words, status reads that fail, and the crash table."""

from datetime import datetime, timedelta
from itertools import product

import pytest

from daemon.domain.errors import Fault, PlatformError
from daemon.domain.platform import StatusAnswer, Verdict
from daemon.domain.policy import Policy
from daemon.domain.post import IN_HAND, MOVES, Kind, LateRule, Post, State, Trigger
from daemon.domain.verdicts import (
    Decision,
    decide_failure,
    decide_status,
    decide_unread,
    next_look,
    recover,
)
from daemon.handlers.status_read import READABLE
from tests.fakes.platform import INBOX, PENDING, PUBLISHED, failed
from tests.fakes.values import NOW, a_post, an_address_post, an_attempt

POLICY = Policy()
SECOND = timedelta(seconds=1)


def error(fault: Fault, code: str = "some_code", **more: float | str) -> PlatformError:
    return PlatformError(fault, code, "it said no", **more)  # type: ignore[arg-type]


def decide(
    post: Post, fault: Fault, *, jitter: float = 1.0, policy: Policy = POLICY, **more: float
) -> Decision:
    attempt = an_attempt(init_sent_at=NOW)
    return decide_failure(post, attempt, error(fault, **more), NOW, policy, jitter)


# -- an attempt that failed ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "trigger", "code"),
    [
        (Fault.TRANSIENT, Trigger.RETRY, "some_code"),
        (Fault.UNKNOWN_OUTCOME, Trigger.RETRY, "some_code"),
        (Fault.RATE, Trigger.RETRY, "some_code"),
        (Fault.AUTH, Trigger.HOLD, "account_needs_login"),
        (Fault.SCOPE, Trigger.HOLD, "scope_missing"),
        (Fault.CAP, Trigger.HOLD, "cap_reached"),
        (Fault.BANNED, Trigger.FAIL, "some_code"),
        (Fault.AUDIT, Trigger.FAIL, "some_code"),
        (Fault.CONTENT, Trigger.FAIL, "some_code"),
        (Fault.REMOTE_INTERNAL, Trigger.FAIL, "some_code"),
        (Fault.REMOTE_PULL, Trigger.FAIL, "some_code"),
        (Fault.UNKNOWN_CODE, Trigger.FAIL, "some_code"),
        (Fault.CANCELLED, Trigger.FAIL, "some_code"),
        (Fault.UNREADABLE, Trigger.HOLD, "account_unreadable"),
    ],
)
def test_before_the_point_of_no_return_each_class_has_its_policy(
    fault: Fault, trigger: Trigger, code: str
) -> None:
    for state in IN_HAND - {State.COMMITTING}:
        decision = decide(a_post(state=state, publish_id="v"), fault)

        assert (decision.trigger, decision.code) == (trigger, code)


def test_every_class_of_error_has_a_row_above() -> None:
    rows = test_before_the_point_of_no_return_each_class_has_its_policy.pytestmark[0].args[1]  # type: ignore[attr-defined]

    assert {row[0] for row in rows} == set(Fault)


@pytest.mark.parametrize("fault", list(Fault))
def test_past_the_point_of_no_return_every_error_is_doubt(fault: Fault) -> None:
    decision = decide(a_post(state=State.COMMITTING, publish_id="v"), fault)

    assert (decision.trigger, decision.code) == (Trigger.DOUBT, "outcome_unknown")
    assert decision.wake_at == NOW + 2 * SECOND


def test_a_lost_answer_to_an_init_that_publishes_is_doubt() -> None:
    decision = decide(an_address_post(state=State.INITIALISED), Fault.UNKNOWN_OUTCOME)

    assert (decision.trigger, decision.wake_at) == (Trigger.DOUBT, None)  # there is no id to ask about


@pytest.mark.parametrize("fault", [Fault.TRANSIENT, Fault.RATE])
def test_an_init_that_publishes_and_provably_never_left_is_tried_again(fault: Fault) -> None:
    assert decide(an_address_post(state=State.INITIALISED), fault).trigger is Trigger.RETRY


def test_a_creator_read_that_is_lost_for_an_address_post_is_tried_again() -> None:
    assert decide(an_address_post(state=State.VALIDATING), Fault.UNKNOWN_OUTCOME).trigger is Trigger.RETRY


@pytest.mark.parametrize(("tries", "seconds"), [(0, 5), (1, 20), (2, 60), (3, 300), (4, 900)])
def test_retries_wait_longer_and_longer(tries: int, seconds: float) -> None:
    decision = decide(a_post(state=State.VALIDATING, tries=tries), Fault.TRANSIENT)

    assert (decision.wake_at, decision.costs_try) == (NOW + seconds * SECOND, True)


@pytest.mark.parametrize(("jitter", "seconds"), [(0.0, 0.5), (0.05, 0.5), (0.5, 2.5), (1.0, 5)])
def test_retries_are_jittered_but_never_at_once(jitter: float, seconds: float) -> None:
    decision = decide(a_post(state=State.VALIDATING), Fault.TRANSIENT, jitter=jitter)

    assert decision.wake_at == NOW + seconds * SECOND


def test_when_the_tries_are_spent_the_post_fails() -> None:
    decision = decide(a_post(state=State.VALIDATING, tries=5), Fault.TRANSIENT)

    assert (decision.trigger, decision.code) == (Trigger.FAIL, "retries_spent")
    assert "gave up after 6 attempts" in (decision.detail or "")


@pytest.mark.parametrize("rule", [LateRule.HOLD, LateRule.FAIL])
def test_no_retry_goes_beyond_the_lateness_that_is_allowed(rule: LateRule) -> None:
    post = a_post(state=State.VALIDATING, late_rule=rule, late_after_s=4)

    assert decide(post, Fault.TRANSIENT).code == "too_late"


def test_a_post_that_may_be_late_is_retried_beyond_it() -> None:
    post = a_post(state=State.VALIDATING, late_rule=LateRule.POST, late_after_s=0)

    assert decide(post, Fault.TRANSIENT).trigger is Trigger.RETRY


@pytest.mark.parametrize(("told", "seconds"), [(None, 60), (7, 7), (900, 900), (86400, 900)])
def test_a_rate_limit_waits_as_long_as_the_header_says_within_bounds(
    told: float | None, seconds: float
) -> None:
    decision = decide(
        a_post(state=State.VALIDATING, tries=5), Fault.RATE, **({"retry_after_s": told} if told else {})
    )

    assert (decision.trigger, decision.wake_at) == (Trigger.RETRY, NOW + seconds * SECOND)
    assert not decision.costs_try


def test_a_spent_cap_holds_for_a_day() -> None:
    assert decide(a_post(state=State.VALIDATING), Fault.CAP).wake_at == NOW + timedelta(days=1)


@pytest.mark.parametrize(
    ("fault", "needs_login", "disables"),
    [
        (Fault.AUTH, True, False),
        (Fault.BANNED, False, True),
        (Fault.SCOPE, False, False),
        (Fault.CAP, False, False),
    ],
)
def test_only_a_dead_login_and_a_ban_touch_the_account(
    fault: Fault, needs_login: bool, disables: bool
) -> None:
    decision = decide(a_post(state=State.VALIDATING), fault)

    assert (decision.needs_login, decision.disables_account) == (needs_login, disables)


def test_the_advice_of_the_error_reaches_the_person() -> None:
    fault = PlatformError(
        Fault.AUDIT, "unaudited", "the app is not audited", advice="make the account private"
    )

    decision = decide_failure(a_post(state=State.INITIALISED), None, fault, NOW, POLICY, 1)

    assert decision.detail == "the app is not audited. make the account private."


@pytest.mark.parametrize(("state", "fault"), list(product(sorted(IN_HAND), Fault)))
def test_every_decision_about_a_failure_is_a_move_of_the_table(state: State, fault: Fault) -> None:
    for post in (a_post(state=state, publish_id="v"), an_address_post(state=state)):
        for tries in (0, 5):
            decision = decide(Post(**{**_fields(post), "tries": tries}), fault)

            assert (state, decision.trigger) in MOVES


def _fields(post: Post) -> dict[str, object]:
    return {name: getattr(post, name) for name in Post.__dataclass_fields__}


# -- a status read -------------------------------------------------------------------------------------------


def status(post: Post, answer: StatusAnswer, now: datetime = NOW) -> Decision:
    return decide_status(post, an_attempt(size=30), answer, now, POLICY)


def processing(**changes: object) -> Post:
    return a_post(state=State.PROCESSING, state_since=NOW, publish_id="v", **changes)


@pytest.mark.parametrize("state", [State.COMMITTING, State.PROCESSING, State.UNCERTAIN, State.SENT_TO_INBOX])
def test_a_published_word_is_final(state: State) -> None:
    assert status(a_post(state=state), PUBLISHED).trigger is Trigger.PUBLISH


@pytest.mark.parametrize("state", [State.COMMITTING, State.PROCESSING, State.UNCERTAIN])
def test_a_draft_in_the_inbox_is_told(state: State) -> None:
    decision = status(a_post(state=state), INBOX)

    assert (decision.trigger, decision.wake_at) == (Trigger.INBOX, NOW + 60 * SECOND)


def test_a_draft_that_still_lies_in_the_inbox_changes_nothing() -> None:
    assert status(a_post(state=State.SENT_TO_INBOX, state_since=NOW), INBOX).trigger is None


def test_a_published_post_is_never_taken_back() -> None:
    post = a_post(state=State.PUBLISHED, state_since=NOW)

    for answer in (INBOX, PENDING, failed("removed", Fault.CONTENT)):
        assert status(post, answer).trigger is None


def test_a_private_post_is_not_asked_for_a_public_id() -> None:
    answer = StatusAnswer(verdict=Verdict.PUBLISHED, raw="PUBLISH_COMPLETE")

    assert status(processing(), answer).wake_at is None


def test_a_public_post_is_asked_for_its_id_until_it_comes() -> None:
    public = processing(description=a_post().description.__class__(privacy="PUBLIC_TO_EVERYONE"))
    answer = StatusAnswer(verdict=Verdict.PUBLISHED, raw="PUBLISH_COMPLETE")

    assert status(public, answer).wake_at == NOW + 60 * SECOND
    assert status(public, PUBLISHED).wake_at is None


@pytest.mark.parametrize(("tries", "seconds"), [(0, 600), (1, 3600)])
def test_a_platform_that_failed_inside_gets_a_new_attempt(tries: int, seconds: float) -> None:
    decision = status(processing(remote_tries=tries), failed("internal", Fault.REMOTE_INTERNAL))

    assert (decision.trigger, decision.wake_at) == (Trigger.RETRY, NOW + seconds * SECOND)
    assert (decision.costs_remote_try, decision.costs_try) == (True, False)


def test_a_platform_that_failed_inside_three_times_is_believed() -> None:
    assert (
        status(processing(remote_tries=2), failed("internal", Fault.REMOTE_INTERNAL)).trigger is Trigger.FAIL
    )


def test_a_doubted_post_is_never_posted_again_by_itself() -> None:
    post = a_post(state=State.UNCERTAIN, publish_id="v")

    assert status(post, failed("internal", Fault.REMOTE_INTERNAL)).trigger is Trigger.FAIL


@pytest.mark.parametrize(("kind", "trigger"), [(Kind.PHOTO, Trigger.RETRY), (Kind.VIDEO, Trigger.FAIL)])
def test_a_fetch_that_failed_is_repeated_for_photos(kind: Kind, trigger: Trigger) -> None:
    assert status(processing(kind=kind), failed("photo_pull_failed", Fault.REMOTE_PULL)).trigger is trigger


@pytest.mark.parametrize(
    ("fault", "trigger", "code"),
    [
        (Fault.CONTENT, Trigger.FAIL, "code"),
        (Fault.AUDIT, Trigger.FAIL, "code"),
        (Fault.UNKNOWN_CODE, Trigger.FAIL, "code"),
        (Fault.BANNED, Trigger.FAIL, "code"),
        (Fault.AUTH, Trigger.FAIL, "code"),
        (Fault.CAP, Trigger.HOLD, "cap_reached"),
        (Fault.CANCELLED, Trigger.CANCEL, "code"),
        (None, Trigger.FAIL, "code"),
    ],
)
def test_a_refused_post_ends_as_its_class_says(fault: Fault | None, trigger: Trigger, code: str) -> None:
    answer = StatusAnswer(verdict=Verdict.FAILED, raw="FAILED", fail_code="code", fail_fault=fault)

    decision = status(processing(), answer)

    assert (decision.trigger, decision.code) == (trigger, code)


def test_thirty_minutes_without_a_word_are_doubt() -> None:
    post = processing()

    assert status(post, PENDING, NOW + timedelta(minutes=29, seconds=59)).trigger is None
    decision = status(post, PENDING, NOW + timedelta(minutes=30))
    assert (decision.trigger, decision.code) == (Trigger.DOUBT, "no_verdict")


def test_a_doubted_post_that_the_platform_has_in_full_is_in_processing_again() -> None:
    post = a_post(state=State.UNCERTAIN, publish_id="v", reason="outcome_unknown")
    answer = StatusAnswer(verdict=Verdict.PENDING, raw="PROCESSING_UPLOAD", stored_bytes=30)

    assert status(post, answer).trigger is Trigger.ACCEPTED


def test_a_doubted_post_that_lacks_bytes_stays_doubted() -> None:
    post = a_post(state=State.UNCERTAIN, state_since=NOW, publish_id="v", reason="outcome_unknown")
    answer = StatusAnswer(verdict=Verdict.PENDING, raw="PROCESSING_UPLOAD", stored_bytes=20)

    assert status(post, answer).trigger is None


def test_a_committed_post_that_the_platform_works_on_is_in_processing() -> None:
    assert status(a_post(state=State.COMMITTING, publish_id="v"), PENDING).trigger is Trigger.ACCEPTED


ANSWERS = [
    PENDING, INBOX, PUBLISHED, StatusAnswer(verdict=Verdict.PENDING, raw="?", stored_bytes=3),
    *(failed("code", fault) for fault in Fault),
]  # fmt: skip


@pytest.mark.parametrize(("state", "answer"), list(product(sorted(READABLE), ANSWERS)))
def test_every_decision_about_a_status_is_a_move_of_the_table(state: State, answer: StatusAnswer) -> None:
    for age in (timedelta(), timedelta(days=1)):
        decision = status(a_post(state=state, state_since=NOW - age, publish_id="v"), answer)

        assert decision.trigger is None or (state, decision.trigger) in MOVES


# -- a status read that did not come back ---------------------------------------------------------------------


def unread(post: Post, fault: Fault, now: datetime = NOW, **more: float) -> Decision:
    return decide_unread(post, error(fault, **more), now, POLICY)


@pytest.mark.parametrize("fault", [Fault.TRANSIENT, Fault.RATE, Fault.AUTH])
def test_a_passing_fault_only_moves_the_next_look(fault: Fault) -> None:
    decision = unread(processing(), fault)

    assert decision.trigger is None
    assert decision.wake_at is not None


def test_a_rate_limit_is_honoured_by_the_next_look() -> None:
    assert unread(processing(), Fault.RATE, retry_after_s=50).wake_at == NOW + 50 * SECOND


def test_a_dead_login_is_noted_and_the_post_left_alone() -> None:
    decision = unread(processing(), Fault.AUTH)

    assert (decision.trigger, decision.needs_login) == (None, True)


@pytest.mark.parametrize("fault", [Fault.CONTENT, Fault.UNKNOWN_CODE, Fault.UNKNOWN_OUTCOME])
def test_an_answer_that_nobody_understands_is_doubt(fault: Fault) -> None:
    decision = unread(processing(), fault)

    assert (decision.trigger, decision.code) == (Trigger.DOUBT, "status_unknown")


def test_thirty_minutes_without_an_answer_are_doubt() -> None:
    decision = unread(processing(), Fault.TRANSIENT, NOW + timedelta(minutes=30))

    assert (decision.trigger, decision.code) == (Trigger.DOUBT, "no_verdict")


@pytest.mark.parametrize(("state", "fault"), list(product(sorted(READABLE), Fault)))
def test_every_decision_about_a_lost_read_is_a_move_of_the_table(state: State, fault: Fault) -> None:
    decision = unread(a_post(state=state, publish_id="v"), fault)

    assert decision.trigger is None or (state, decision.trigger) in MOVES


# -- when to look again --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("checks", "seconds"), [(0, 2), (1, 3), (2, 5), (3, 10), (4, 15), (5, 30), (99, 30)])
def test_a_post_in_processing_is_looked_at_less_and_less_often(checks: int, seconds: float) -> None:
    assert next_look(State.PROCESSING, checks, NOW, NOW, POLICY) == NOW + seconds * SECOND


@pytest.mark.parametrize(
    ("age", "every"),
    [
        (timedelta(seconds=59), 15),
        (timedelta(minutes=1), 60),
        (timedelta(minutes=29), 60),
        (timedelta(minutes=30), 300),
        (timedelta(hours=6), 1800),
        (timedelta(hours=71), 1800),
        (timedelta(hours=72), None),
    ],
)
def test_a_doubted_post_is_read_for_three_days(age: timedelta, every: float | None) -> None:
    now = NOW + age

    expected = None if every is None else now + every * SECOND
    assert next_look(State.UNCERTAIN, 1, NOW, now, POLICY) == expected


@pytest.mark.parametrize("state", [State.PUBLISHED, State.SENT_TO_INBOX])
@pytest.mark.parametrize(("hours", "every"), [(0, 60), (0.5, 300), (2, 1800), (71, 1800), (72, None)])
def test_a_finished_post_is_read_for_three_days_at_most(
    state: State, hours: float, every: float | None
) -> None:
    now = NOW + timedelta(hours=hours)

    expected = None if every is None else now + every * SECOND
    assert next_look(state, 1, NOW, now, POLICY) == expected


# -- the crash table -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [State.CLAIMED, State.VALIDATING])
def test_a_crash_before_anything_was_sent_puts_the_post_back(state: State) -> None:
    found = recover(a_post(state=state), an_attempt(), NOW, POLICY)

    assert found.decision is not None
    assert (found.decision.trigger, found.decision.wake_at) == (Trigger.REQUEUE, NOW)


def test_a_crash_during_the_init_of_a_file_begins_a_new_one() -> None:
    found = recover(a_post(state=State.INITIALISED), an_attempt(init_sent_at=NOW), NOW, POLICY)

    assert found.decision is not None
    assert (found.decision.trigger, found.decision.costs_try) == (Trigger.RETRY, False)


def test_a_crash_during_the_init_of_an_address_is_doubt() -> None:
    found = recover(an_address_post(state=State.INITIALISED), an_attempt(init_sent_at=NOW), NOW, POLICY)

    assert found.decision is not None
    assert (found.decision.trigger, found.decision.code) == (Trigger.DOUBT, "outcome_unknown")


@pytest.mark.parametrize("state", [State.INITIALISED, State.UPLOADING, State.COMMITTING])
def test_a_crash_during_an_upload_goes_on_by_what_the_platform_says(state: State) -> None:
    commit = NOW if state is State.COMMITTING else None
    attempt = an_attempt(init_sent_at=NOW, publish_id="v", commit_sent_at=commit)

    found = recover(a_post(state=state), attempt, NOW, POLICY)

    assert (found.decision, found.resume) == (None, True)


@pytest.mark.parametrize(
    ("state", "publish_id", "trigger"),
    [
        (State.CLAIMED, None, Trigger.HOLD),
        (State.VALIDATING, None, Trigger.HOLD),
        (State.INITIALISED, None, Trigger.HOLD),
        (State.INITIALISED, "v", Trigger.HOLD),
        (State.UPLOADING, "v", Trigger.HOLD),
        (State.COMMITTING, "v", Trigger.DOUBT),
    ],
)
def test_a_post_that_crashes_the_daemon_again_and_again_is_put_aside(
    state: State, publish_id: str | None, trigger: Trigger
) -> None:
    post = a_post(state=state, claims=POLICY.crashes_max, publish_id=publish_id)

    found = recover(post, an_attempt(publish_id=publish_id), NOW, POLICY)

    assert found.decision is not None
    assert found.decision.trigger is trigger
    assert (state, trigger) in MOVES


@pytest.mark.parametrize("state", sorted(IN_HAND))
def test_every_recovery_is_a_move_of_the_table(state: State) -> None:
    posts = [a_post(state=state), a_post(state=state, claims=99)]
    if state in {State.CLAIMED, State.VALIDATING, State.INITIALISED}:  # an address never gets further in hand
        posts += [an_address_post(state=state), an_address_post(state=state, claims=99)]
    for post, attempt in product(posts, (None, an_attempt(), an_attempt(publish_id="v"))):
        found = recover(post, attempt, NOW, POLICY)

        assert found.decision is None or (state, found.decision.trigger) in MOVES


def test_a_committed_post_whose_attempt_is_lost_is_never_posted_again() -> None:
    found = recover(a_post(state=State.COMMITTING), None, NOW, POLICY)

    assert found.decision is not None
    assert found.decision.trigger is Trigger.DOUBT
