"""The state table, written down a second time: every pair of state and trigger does what stands here."""

from dataclasses import replace
from datetime import timedelta

import pytest

from daemon.domain.errors import IllegalMove
from daemon.domain.ids import NodeName
from daemon.domain.post import FINAL, IN_HAND, MOVES, State, Trigger, advance, readopt
from tests.fakes.values import NOW, a_post

# posts-and-schedulers.md section 4.4, in its order. Lines marked (+) say more than that table:
# a dead login or a spent cap during an upload (section 4.5), and a platform that has spoken already.
TABLE = """
draft          schedule  scheduled
scheduled      schedule  scheduled
held           schedule  scheduled
retry_wait     schedule  scheduled
draft          cancel    cancelled
scheduled      cancel    cancelled
held           cancel    cancelled
retry_wait     cancel    cancelled
claimed        cancel    cancelled
validating     cancel    cancelled
initialised    cancel    cancelled
uploading      cancel    cancelled
processing     cancel    cancelled
uncertain      cancel    cancelled
scheduled      claim     claimed
retry_wait     claim     claimed
scheduled      hold      held
retry_wait     hold      held
claimed        hold      held
validating     hold      held
initialised    hold      held
uploading      hold      held          (+)
processing     hold      held
held           release   scheduled
claimed        requeue   scheduled
validating     requeue   scheduled
claimed        start     validating
validating     intend    initialised
initialised    answered  initialised
initialised    upload    uploading
uploading      upload    uploading
initialised    commit    committing
uploading      commit    committing
committing     commit    committing
initialised    accepted  processing
uploading      accepted  processing
committing     accepted  processing
uncertain      accepted  processing
claimed        retry     retry_wait
validating     retry     retry_wait
initialised    retry     retry_wait
uploading      retry     retry_wait
committing     retry     retry_wait    (+)
processing     retry     retry_wait
uncertain      retry     retry_wait
draft          restore   uncertain     (+) the ledger came back from a backup
scheduled      restore   uncertain     (+)
held           restore   uncertain     (+)
retry_wait     restore   uncertain     (+)
claimed        restore   uncertain     (+)
validating     restore   uncertain     (+)
initialised    restore   uncertain     (+)
uploading      restore   uncertain     (+)
committing     restore   uncertain     (+)
processing     restore   uncertain     (+)
uncertain      restore   uncertain     (+)
initialised    doubt     uncertain
committing     doubt     uncertain
processing     doubt     uncertain
initialised    publish   published     (+)
uploading      publish   published     (+)
committing     publish   published
processing     publish   published
uncertain      publish   published
sent_to_inbox  publish   published
initialised    inbox     sent_to_inbox (+)
uploading      inbox     sent_to_inbox (+)
committing     inbox     sent_to_inbox
processing     inbox     sent_to_inbox
uncertain      inbox     sent_to_inbox
scheduled      fail      failed
retry_wait     fail      failed
claimed        fail      failed
validating     fail      failed
initialised    fail      failed
uploading      fail      failed
committing     fail      failed
processing     fail      failed
uncertain      fail      failed
uncertain      again     scheduled
"""
EXPECTED = {
    (State(words[0]), Trigger(words[1])): State(words[2])
    for words in (line.split() for line in TABLE.strip().splitlines())
}
PRODUCT = [(state, trigger) for state in State for trigger in Trigger]


@pytest.mark.parametrize(("state", "trigger"), PRODUCT)
def test_every_state_and_trigger_does_what_the_table_says(state: State, trigger: Trigger) -> None:
    post = a_post(state=state)
    target = EXPECTED.get((state, trigger))

    if target is None:
        with pytest.raises(IllegalMove, match="p_1"):
            advance(post, trigger, NOW)
    else:
        assert advance(post, trigger, NOW).state is target


def test_the_table_has_no_move_beyond_the_product() -> None:
    assert MOVES == EXPECTED


def test_the_only_way_out_of_a_final_state_is_from_the_inbox_to_published() -> None:
    ways = {(state, trigger) for state, trigger in MOVES if state in FINAL}

    assert ways == {(State.SENT_TO_INBOX, Trigger.PUBLISH)}


@pytest.mark.parametrize("state", [State.COMMITTING, State.PUBLISHED, State.SENT_TO_INBOX])
def test_past_the_point_of_no_return_nothing_can_be_cancelled(state: State) -> None:
    with pytest.raises(IllegalMove):
        advance(a_post(state=state), Trigger.CANCEL, NOW)


@pytest.mark.parametrize("state", [state for state in State if state not in FINAL])
def test_every_open_state_can_come_to_an_end(state: State) -> None:
    seen = {state}
    while more := {target for (source, _), target in MOVES.items() if source in seen} - seen:
        seen |= more

    assert seen & FINAL


def test_a_move_begins_a_new_state_with_no_status_read_yet() -> None:
    post = a_post(state=State.PROCESSING, checks=7)

    moved = advance(post, Trigger.DOUBT, NOW + timedelta(hours=1))

    assert (moved.state_since, moved.checks) == (NOW + timedelta(hours=1), 0)


def test_a_move_within_a_state_keeps_since_when_it_stands() -> None:
    post = a_post(state=State.UPLOADING, checks=7)

    moved = advance(post, Trigger.UPLOAD, NOW + timedelta(hours=1), sent_bytes=5)

    assert (moved.state_since, moved.checks, moved.sent_bytes) == (post.state_since, 7, 5)


@pytest.mark.parametrize(("state", "trigger"), sorted(EXPECTED))
def test_every_move_makes_the_next_version(state: State, trigger: Trigger) -> None:
    assert advance(a_post(state=state, version=4), trigger, NOW).version == 5


@pytest.mark.parametrize(("state", "trigger"), sorted(EXPECTED))
def test_a_post_has_an_end_time_when_and_only_when_it_is_final(state: State, trigger: Trigger) -> None:
    moved = advance(a_post(state=state), trigger, NOW)

    assert (moved.finished_at is not None) == moved.is_final


@pytest.mark.parametrize(("state", "trigger"), sorted(EXPECTED))
def test_a_post_that_leaves_the_hands_of_a_worker_belongs_to_no_node(state: State, trigger: Trigger) -> None:
    moved = advance(a_post(state=state, claimed_by=NodeName("main")), trigger, NOW)

    if moved.state is not state and moved.state not in IN_HAND:
        assert moved.claimed_by is None
    else:
        assert moved.claimed_by == "main"


def test_a_change_that_is_passed_in_counts_more_than_the_default() -> None:
    moved = advance(a_post(), Trigger.CANCEL, NOW, finished_at=NOW + timedelta(days=1), reason="r")

    assert (moved.finished_at, moved.reason) == (NOW + timedelta(days=1), "r")


def test_readopting_keeps_the_state_and_locks_the_old_worker_out() -> None:
    post = a_post(state=State.UPLOADING, fence=3, version=8, claims=1, claimed_by=NodeName("old"))

    taken = readopt(post, NodeName("new"), NOW)

    assert taken == replace(post, fence=4, version=9, claims=2, claimed_by=NodeName("new"), wake_at=NOW)
