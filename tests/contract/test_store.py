"""What ports.Unit and ports.Store promise, on SQLite and on PostgreSQL: reading, saving, claiming, telling."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError, IntegrityError

from adapters.storage.store import SqlStore
from daemon.domain.access import Token
from daemon.domain.account import Login
from daemon.domain.errors import Code, Rejected, StaleAttempt, StorageFailed, TokdError
from daemon.domain.events import Event, EventType
from daemon.domain.ids import AccountName, Actor, PostId
from daemon.domain.platform import Endpoint
from daemon.domain.post import LateRule, Post, State, Trigger, advance
from tests.fakes.platform import CREATOR
from tests.fakes.values import NODE, NOW, a_post, a_request, an_account, an_address_post, an_attempt

SECOND = timedelta(seconds=1)
LEASE = NOW + timedelta(minutes=10)
ADA = AccountName("ada")
Opener = Callable[..., SqlStore]


class Broken(Exception):
    pass


def put(store: SqlStore, *things: Any) -> None:
    with store.transaction() as unit:
        for thing in things:
            if isinstance(thing, Post):
                unit.add_post(thing)
            else:
                unit.save_account(thing)


def look(store: SqlStore, key: str = "p_1") -> Post:
    with store.transaction() as unit:
        post = unit.post(PostId(key))
    assert post is not None
    return post


def claim(store: SqlStore, *, limit: int = 100, now: Any = NOW) -> list[tuple[str, int]]:
    with store.transaction() as unit:
        return [(str(key), fence) for key, fence in unit.claim_due(now, LEASE, limit)]


def fail_in(store: SqlStore, act: Callable[[Any], object]) -> None:
    """Run `act` in a transaction that then ends by an exception."""
    with store.transaction() as unit:
        act(unit)
        raise Broken


def event(number: int = 1) -> Event:
    return Event(EventType.POST_STARTED, f"post/p_{number}", NOW, {"number": number})


# -- transactions --------------------------------------------------------------------------------------------


def test_an_exception_rolls_the_transaction_back(store: SqlStore) -> None:
    with pytest.raises(Broken):
        fail_in(store, lambda unit: unit.add_post(a_post()))

    with store.transaction() as unit:
        assert unit.post(PostId("p_1")) is None


def test_a_store_works_on_after_a_rollback(store: SqlStore) -> None:
    with pytest.raises(Broken):
        fail_in(store, lambda unit: unit.add_post(a_post()))

    put(store, a_post())

    assert look(store).id == "p_1"


def test_a_commit_is_seen_by_another_connection(open_store: Opener) -> None:
    first, second = open_store(), open_store()

    put(first, a_post())

    assert look(second).id == "p_1"


def test_a_closed_store_refuses_transactions(store: SqlStore) -> None:
    store.close()

    with pytest.raises(StorageFailed), store.transaction():
        pass


def test_close_twice_is_safe(store: SqlStore) -> None:
    put(store, a_post("p_1"))
    store.close()

    store.close()

    store.open()
    assert look(store, "p_1").id == "p_1"


def test_a_store_can_be_opened_again_after_close(store: SqlStore) -> None:
    put(store, a_post())
    store.close()

    store.open()

    assert look(store).id == "p_1"


# -- commands ------------------------------------------------------------------------------------------------


def test_a_command_comes_back_as_it_was_stored(store: SqlStore) -> None:
    with store.transaction() as unit:
        row = unit.add_command(a_request(), "c-1")

    with store.transaction() as unit:
        found = unit.command(row)
    assert (found.row, found.actor, found.id, found.verb, found.body, found.body_hash) == (
        row, "me", "c-1", "post/cancel", '{"args":{}}', "abc",
    )  # fmt: skip
    assert (found.transport, found.reply_to, found.correlation) == ("mqtt", "tokd/reply", b"\x00\xff")
    assert (found.received_at, found.reply) == (NOW, None)


def test_a_command_is_found_by_its_actor_and_id_alone(store: SqlStore) -> None:
    with store.transaction() as unit:
        unit.add_command(a_request(), "c-1")

        assert unit.find_command(Actor("me"), "c-1") is not None
        assert unit.find_command(Actor("you"), "c-1") is None
        assert unit.find_command(Actor("me"), "c-2") is None


def test_the_same_id_of_one_actor_is_stored_once(store: SqlStore) -> None:
    with store.transaction() as unit:
        unit.add_command(a_request(), "c-1")

    with pytest.raises(IntegrityError), store.transaction() as unit:
        unit.add_command(a_request(), "c-1")


def test_the_same_id_of_two_actors_is_two_commands(store: SqlStore) -> None:
    with store.transaction() as unit:
        first = unit.add_command(a_request(), "c-1")
        second = unit.add_command(a_request(actor=Actor("you")), "c-1")

    assert first != second


def test_the_same_id_on_two_nodes_is_two_commands(open_store: Opener) -> None:
    for node in ("main", "other"):
        with open_store(node).transaction() as unit:
            assert unit.find_command(Actor("me"), "c-1") is None
            unit.add_command(a_request(), "c-1")


def test_a_finished_command_keeps_its_reply(store: SqlStore) -> None:
    with store.transaction() as unit:
        row = unit.add_command(a_request(), "c-1")
        unit.finish_command(row, {"status": "done", "result": {"text": "größer"}}, NOW)

    with store.transaction() as unit:
        assert unit.command(row).reply == {"status": "done", "result": {"text": "größer"}}


def test_open_commands_are_those_without_a_final_reply_in_order(store: SqlStore) -> None:
    with store.transaction() as unit:
        rows = [unit.add_command(a_request(), f"c-{number}") for number in range(4)]
        unit.finish_command(rows[1], {"status": "done"}, NOW)

        assert [found.row for found in unit.open_commands()] == [rows[0], rows[2], rows[3]]


def test_open_commands_of_another_node_are_not_ours(open_store: Opener) -> None:
    with open_store("other").transaction() as unit:
        unit.add_command(a_request(), "c-1")

    with open_store("main").transaction() as unit:
        assert unit.open_commands() == []


def test_an_unknown_command_row_is_an_error(store: SqlStore) -> None:
    with pytest.raises(TokdError), store.transaction() as unit:
        unit.command(99)


def test_drop_commands_forgets_old_finished_ones_only(store: SqlStore) -> None:
    old = NOW - timedelta(days=31)
    with store.transaction() as unit:
        done_old = unit.add_command(a_request(received_at=old), "c-1")
        unit.add_command(a_request(received_at=old), "c-2")
        done_new = unit.add_command(a_request(), "c-3")
        unit.finish_command(done_old, {"status": "done"}, old)
        unit.finish_command(done_new, {"status": "done"}, NOW)

        assert unit.drop_commands(NOW - timedelta(days=30), 100) == 1
        assert unit.find_command(Actor("me"), "c-1") is None
        assert unit.find_command(Actor("me"), "c-2") is not None
        assert unit.find_command(Actor("me"), "c-3") is not None


# -- posts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "post",
    [
        pytest.param(a_post(), id="file"),
        pytest.param(an_address_post(), id="address"),
        pytest.param(a_post(due_at=None, wake_at=None, state=State.DRAFT), id="draft"),
        pytest.param(
            a_post(
                due_at=NOW + timedelta(microseconds=1), zone="Europe/Berlin", late_rule=LateRule.FAIL, late_after_s=7,
                state=State.PUBLISHED, reason="r", detail="größer 🎬", version=9, fence=4, claimed_by=NODE, attempt=2,
                tries=3, remote_tries=1, claims=5, checks=6, publish_id="v_pub", public_ids=("1", "2"), url="https://x",
                sent_bytes=30, finished_at=NOW, retained=True,
            ),
            id="everything",
        ),
    ],
)  # fmt: skip
def test_a_post_comes_back_as_it_was_stored(store: SqlStore, post: Post) -> None:
    put(store, post)

    assert look(store) == post


def test_an_unknown_post_is_none(store: SqlStore) -> None:
    with store.transaction() as unit:
        assert unit.post(PostId("p_none")) is None


def test_every_moving_field_of_a_post_is_saved(store: SqlStore) -> None:
    put(store, a_post())
    changed = a_post(
        due_at=NOW + SECOND, zone="Asia/Tokyo", late_rule=LateRule.POST, late_after_s=1, state=State.UNCERTAIN,
        state_since=NOW, wake_at=NOW + SECOND, reason="r", detail="d", version=2, fence=1, claimed_by=NODE, attempt=1,
        tries=1, remote_tries=1, claims=1, checks=1, publish_id="v", public_ids=("1",), url="https://x",
        sent_bytes=5, finished_at=NOW, retained=True,
    )  # fmt: skip

    with store.transaction() as unit:
        unit.save_post(changed)

    assert look(store) == changed


@pytest.mark.parametrize(
    ("version", "fence"),
    [
        pytest.param(3, 2, id="the same version"),
        pytest.param(2, 2, id="an older version"),
        pytest.param(4, 1, id="an older fence"),
    ],
)
def test_a_stale_save_changes_nothing(store: SqlStore, version: int, fence: int) -> None:
    put(store, a_post(version=3, fence=2))

    with pytest.raises(StaleAttempt), store.transaction() as unit:
        unit.save_post(a_post(version=version, fence=fence, state=State.CANCELLED))

    assert look(store).state is State.SCHEDULED


def test_saving_a_post_that_does_not_exist_is_stale(store: SqlStore) -> None:
    with pytest.raises(StaleAttempt), store.transaction() as unit:
        unit.save_post(a_post(version=2))


def test_only_one_of_two_changes_of_the_same_version_is_saved(open_store: Opener) -> None:
    first, second = open_store(), open_store()
    put(first, a_post())
    one, other = look(first), look(second)

    with first.transaction() as unit:
        unit.save_post(advance(one, Trigger.CANCEL, NOW))
    with pytest.raises(StaleAttempt), second.transaction() as unit:
        unit.save_post(advance(other, Trigger.HOLD, NOW))

    assert look(first).state is State.CANCELLED


@pytest.mark.parametrize("state", ["claimed", "validating", "initialised", "uploading", "committing"])
def test_the_database_refuses_two_posts_of_an_account_in_hand(store: SqlStore, state: str) -> None:
    put(store, a_post("p_1", state=State.CLAIMED))

    with pytest.raises(IntegrityError):
        put(store, a_post("p_2", state=State(state)))


def test_two_accounts_may_have_a_post_in_hand_each(store: SqlStore) -> None:
    put(
        store,
        a_post("p_1", state=State.CLAIMED),
        a_post("p_2", account=AccountName("bob"), state=State.CLAIMED),
    )

    with store.transaction() as unit:
        assert unit.count_posts() == {"claimed": 2}


# -- lists ---------------------------------------------------------------------------------------------------


def test_paging_meets_every_post_once_newest_first(store: SqlStore) -> None:
    # Many of them were made in the same microsecond: the id decides there.
    put(store, *(a_post(f"p_{number:03d}", created_at=NOW + SECOND * (number // 7)) for number in range(100)))
    seen: list[str] = []
    cursor = None
    with store.transaction() as unit:
        while True:
            posts, cursor = unit.posts(None, None, cursor, 9)
            seen += [post.id for post in posts]
            if cursor is None:
                break

    assert seen == [f"p_{number:03d}" for number in reversed(range(100))]


def test_a_page_is_stable_while_newer_posts_arrive(store: SqlStore) -> None:
    put(store, *(a_post(f"p_{number}", created_at=NOW + SECOND * number) for number in range(6)))
    with store.transaction() as unit:
        first, cursor = unit.posts(None, None, None, 3)
    put(store, a_post("p_9", created_at=NOW + SECOND * 9))

    with store.transaction() as unit:
        second, end = unit.posts(None, None, cursor, 3)

    assert [post.id for post in first + second] == ["p_5", "p_4", "p_3", "p_2", "p_1", "p_0"]
    assert end is None


def test_a_list_can_be_narrowed_to_a_state_and_an_account(store: SqlStore) -> None:
    put(
        store,
        a_post("p_1"),
        a_post("p_2", state=State.FAILED),
        a_post("p_3", account=AccountName("bob")),
    )

    with store.transaction() as unit:
        assert [post.id for post in unit.posts(State.FAILED, None, None, 9)[0]] == ["p_2"]
        assert [post.id for post in unit.posts(None, AccountName("bob"), None, 9)[0]] == ["p_3"]
        assert unit.posts(State.FAILED, AccountName("bob"), None, 9) == ([], None)


@pytest.mark.parametrize(
    "cursor",
    [
        pytest.param("x", id="no base64"),
        pytest.param("", id="empty"),
        pytest.param("bm90IGpzb24=", id="no JSON"),
        pytest.param("NQ==", id="a number"),
        pytest.param("WzEsMiwzXQ==", id="three values"),
        pytest.param("W251bGwsInBfMSJd", id="null"),
        pytest.param("W0luZmluaXR5LCJwXzEiXQ==", id="infinity"),
        pytest.param("Wzk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5LCJwXzEiXQ==", id="a number of 24 digits"),
        pytest.param("WzEsIlx1MDAwMCJd", id="a NUL character"),
        pytest.param("WzEsIlx1ZDgwMCJd", id="half a surrogate pair"),
        pytest.param("ü", id="no ASCII"),
    ],
)
def test_a_bad_cursor_is_refused_by_name(store: SqlStore, cursor: str) -> None:
    with pytest.raises(Rejected) as refusal, store.transaction() as unit:
        unit.posts(None, None, cursor, 9)

    assert (refusal.value.code, refusal.value.field) == (Code.BAD_FIELD, "args.cursor")


def test_next_post_is_the_waiting_one_with_the_earliest_time(store: SqlStore) -> None:
    put(
        store,
        a_post("p_1", due_at=NOW + 3 * SECOND),
        a_post("p_2", due_at=NOW + 2 * SECOND, state=State.HELD),
        a_post("p_3", due_at=NOW + SECOND, state=State.PUBLISHED),
        a_post("p_4", due_at=NOW, account=AccountName("bob")),
    )

    with store.transaction() as unit:
        found = [unit.next_post(ADA), unit.next_post(None), unit.next_post(AccountName("eve"))]
    assert [post and post.id for post in found] == ["p_2", "p_4", None]


def test_count_posts_counts_each_state(store: SqlStore) -> None:
    put(store, a_post("p_1"), a_post("p_2"), a_post("p_3", state=State.FAILED))

    with store.transaction() as unit:
        assert unit.count_posts() == {"scheduled": 2, "failed": 1}


def test_open_posts_come_in_pages_ordered_by_id(store: SqlStore) -> None:
    put(
        store,
        a_post("p_1"),
        a_post("p_2", state=State.FAILED, finished_at=NOW),
        a_post("p_3", state=State.FAILED, finished_at=NOW, retained=True),
        a_post("p_4", state=State.DRAFT),
    )

    with store.transaction() as unit:
        first = unit.open_posts(None, 2)
        rest = unit.open_posts(first[-1].id, 2)
    assert [post.id for post in first + rest] == ["p_1", "p_3", "p_4"]


def test_finished_retained_posts_are_those_that_ended_before(store: SqlStore) -> None:
    put(
        store,
        a_post("p_1", finished_at=NOW - SECOND, retained=True),
        a_post("p_2", finished_at=NOW, retained=True),
        a_post("p_3", finished_at=NOW - SECOND),
        a_post("p_4", retained=True),
    )

    with store.transaction() as unit:
        assert [post.id for post in unit.finished_retained(NOW, 9)] == ["p_1"]


def test_duplicates_are_open_or_recently_published_posts_with_the_same_file(store: SqlStore) -> None:
    sha256 = a_post().facts.sha256  # type: ignore[union-attr]
    put(
        store,
        a_post("p_1"),
        a_post("p_2", state=State.PUBLISHED, finished_at=NOW),
        a_post("p_3", state=State.PUBLISHED, finished_at=NOW - timedelta(days=2)),
        a_post("p_4", state=State.CANCELLED, finished_at=NOW),
        a_post("p_5", state=State.FAILED, finished_at=NOW),
        a_post("p_6", account=AccountName("bob")),
        an_address_post("p_7"),
    )

    with store.transaction() as unit:
        assert sorted(unit.duplicates(ADA, sha256, NOW - timedelta(days=1))) == ["p_1", "p_2"]
        assert unit.duplicates(ADA, "other", NOW - timedelta(days=1)) == []


def test_a_file_is_used_by_posts_that_are_open_or_have_ended_since(store: SqlStore) -> None:
    facts = a_post().facts
    assert facts is not None

    def with_file(name: str, sha256: str, **more: Any) -> Post:
        return a_post(name, facts=replace(facts, sha256=sha256), **more)

    put(
        store,
        with_file("p_1", "open"),
        with_file("p_2", "young", state=State.FAILED, finished_at=NOW),
        with_file("p_3", "old", state=State.PUBLISHED, finished_at=NOW - timedelta(days=2)),
        with_file("p_4", "both", state=State.PUBLISHED, finished_at=NOW - timedelta(days=2)),
        with_file("p_5", "both"),
        an_address_post("p_6"),
    )

    with store.transaction() as unit:
        asked = ["open", "young", "old", "both", "unknown"]
        assert unit.files_used(asked, NOW - timedelta(days=1)) == {"open", "young", "both"}
        assert unit.files_used([], NOW) == set()


# -- claiming ------------------------------------------------------------------------------------------------


def test_a_claim_is_what_the_state_table_says(store: SqlStore) -> None:
    before = a_post(version=5, fence=2, checks=3, reason="r", detail="d", claims=1)
    put(store, an_account(), before)

    assert claim(store) == [("p_1", 3)]

    assert look(store) == advance(
        before,
        Trigger.CLAIM,
        NOW,
        fence=3,
        claims=2,
        claimed_by=NODE,
        reason=None,
        detail=None,
        wake_at=LEASE,
    )


def test_due_posts_are_claimed_earliest_first(store: SqlStore) -> None:
    names = ["ada", "bob", "cid", "dan"]
    offsets = [3, 1, 4, 2]
    for name, offset in zip(names, offsets, strict=True):
        due = a_post(f"p_{name}", account=AccountName(name), due_at=NOW - SECOND * offset)
        put(store, an_account(name), due)

    assert [key for key, _ in claim(store)] == ["p_cid", "p_ada", "p_dan", "p_bob"]


def test_a_limit_takes_the_earliest(store: SqlStore) -> None:
    for name, offset in (("ada", 1), ("bob", 3), ("cid", 2)):
        due = a_post(f"p_{name}", account=AccountName(name), due_at=NOW - SECOND * offset)
        put(store, an_account(name), due)

    assert [key for key, _ in claim(store, limit=2)] == ["p_bob", "p_cid"]


def test_one_post_of_an_account_is_claimed_at_a_time(store: SqlStore) -> None:
    put(store, an_account(), a_post("p_1", due_at=NOW), a_post("p_2", due_at=NOW - SECOND))

    assert [key for key, _ in claim(store)] == ["p_2"]
    assert claim(store) == []


@pytest.mark.parametrize("state", ["claimed", "validating", "initialised", "uploading", "committing"])
def test_nothing_is_claimed_while_a_post_of_the_account_is_in_hand(store: SqlStore, state: str) -> None:
    put(store, an_account(), a_post("p_1", state=State(state), wake_at=LEASE), a_post("p_2"))

    assert claim(store) == []


def test_a_post_in_processing_does_not_bar_the_next_one(store: SqlStore) -> None:
    put(store, an_account(), a_post("p_1", state=State.PROCESSING, wake_at=LEASE), a_post("p_2"))

    assert claim(store) == [("p_2", 1)]


def test_a_retry_is_claimed_when_its_wait_is_over(store: SqlStore) -> None:
    put(store, an_account(), a_post(state=State.RETRY_WAIT, due_at=NOW - SECOND, wake_at=NOW + SECOND))

    assert claim(store) == []
    assert claim(store, now=NOW + SECOND) == [("p_1", 1)]


@pytest.mark.parametrize(
    "post",
    [
        pytest.param(a_post(due_at=NOW + timedelta(microseconds=1)), id="not yet due"),
        pytest.param(a_post(due_at=None, wake_at=None, state=State.DRAFT), id="a draft"),
        pytest.param(a_post(state=State.HELD), id="held"),
        pytest.param(a_post(state=State.CANCELLED), id="cancelled"),
        pytest.param(a_post(state=State.PUBLISHED), id="published"),
        pytest.param(a_post(state=State.UNCERTAIN), id="uncertain"),
        pytest.param(a_post(account=AccountName("nobody")), id="of no account"),
        pytest.param(a_post(due_at=NOW - timedelta(hours=2)), id="too late, hold"),
        pytest.param(a_post(due_at=NOW - timedelta(hours=2), late_rule=LateRule.FAIL), id="too late, fail"),
        pytest.param(
            a_post(due_at=NOW - timedelta(hours=2), wake_at=NOW, state=State.RETRY_WAIT), id="a late retry"
        ),
    ],
)
def test_what_may_not_go_out_is_not_claimed(store: SqlStore, post: Post) -> None:
    put(store, an_account(), post)

    assert claim(store) == []


@pytest.mark.parametrize(
    "account",
    [
        pytest.param(an_account(login=Login.NEEDS_LOGIN), id="needs a login"),
        pytest.param(an_account(enabled=False), id="disabled"),
    ],
)
def test_posts_of_a_barred_account_are_not_claimed(store: SqlStore, account: Any) -> None:
    put(store, account, a_post())

    assert claim(store) == []


def test_a_late_post_goes_out_where_its_rule_says_so(store: SqlStore) -> None:
    put(store, an_account(), a_post(due_at=NOW - timedelta(days=9), late_rule=LateRule.POST))

    assert claim(store) == [("p_1", 1)]


def test_a_draft_that_is_published_now_is_not_late(store: SqlStore) -> None:
    put(store, an_account(), a_post(due_at=None, wake_at=NOW))

    assert claim(store) == [("p_1", 1)]


@pytest.mark.parametrize("late_by_ms", [0, 1, 999, 1000, 1001, 3_599_999, 3_600_000, 3_600_500, 3_601_000])
@pytest.mark.parametrize("after_s", [0, 3600])
def test_every_due_post_is_either_claimed_or_barred(store: SqlStore, late_by_ms: int, after_s: int) -> None:
    put(store, an_account(), a_post(due_at=NOW - timedelta(milliseconds=late_by_ms), late_after_s=after_s))

    with store.transaction() as unit:
        barred = len(unit.due_but_barred(NOW, 9))
        assert barred + len(unit.claim_due(NOW, LEASE, 9)) == 1


def test_an_allowance_of_nothing_still_takes_a_post_that_is_on_time(store: SqlStore) -> None:
    put(store, an_account(), a_post(due_at=NOW - timedelta(milliseconds=200), late_after_s=0))

    assert claim(store) == [("p_1", 1)]


def test_a_file_of_another_node_is_not_claimed(open_store: Opener) -> None:
    put(open_store("main"), an_account(), a_post())

    assert claim(open_store("other")) == []


def test_an_address_post_of_another_node_is_claimed(open_store: Opener) -> None:
    put(open_store("main"), an_account(), an_address_post())

    other = open_store("other")
    assert claim(other) == [("p_1", 1)]
    assert look(other).claimed_by == "other"


def test_a_thousand_due_posts_are_claimed_in_one_go(store: SqlStore) -> None:
    with store.transaction() as unit:
        for number in range(1000):
            unit.save_account(an_account(f"a{number}"))
            unit.add_post(a_post(f"p_{number:04d}", account=AccountName(f"a{number}")))

    found = claim(store, limit=1024)

    assert len({key for key, _ in found}) == 1000
    with store.transaction() as unit:
        assert unit.count_posts() == {"claimed": 1000}


def test_barred_posts_are_the_late_ones_and_those_of_barred_accounts(store: SqlStore) -> None:
    put(
        store,
        an_account(),
        an_account("bob", login=Login.NEEDS_LOGIN),
        an_account("cid", enabled=False),
        a_post("p_fine"),
        a_post("p_late", due_at=NOW - timedelta(hours=2)),
        a_post("p_bob", account=AccountName("bob")),
        a_post("p_cid", account=AccountName("cid")),
        a_post("p_gone", account=AccountName("gone")),
        a_post("p_future", due_at=NOW + SECOND, account=AccountName("bob")),
    )

    with store.transaction() as unit:
        barred = {post.id for post in unit.due_but_barred(NOW, 9)}
        everything = {post.id for post in unit.due_but_barred(NOW, 9, all_of_them=True)}
    assert barred == {"p_late", "p_bob", "p_cid", "p_gone"}
    assert everything == barred | {"p_fine"}


def test_barred_files_of_another_node_are_its_own_business(open_store: Opener) -> None:
    put(open_store("main"), a_post())

    with open_store("other").transaction() as unit:
        assert unit.due_but_barred(NOW, 9) == []


# -- in hand, held, followed ---------------------------------------------------------------------------------


def test_renew_extends_the_leases_of_this_node_only(open_store: Opener) -> None:
    store = open_store()
    put(
        store,
        a_post("p_1", state=State.CLAIMED, claimed_by=NODE),
        a_post("p_2", state=State.CLAIMED, claimed_by="other", account=AccountName("bob")),
        a_post("p_3", state=State.PROCESSING, claimed_by=NODE),
    )

    with store.transaction() as unit:
        unit.renew([PostId("p_1"), PostId("p_2"), PostId("p_3")], NOW, LEASE)
        unit.renew([], NOW, LEASE)

    assert [look(store, key).wake_at for key in ("p_1", "p_2", "p_3")] == [LEASE, NOW, NOW]


def test_in_hand_without_a_time_is_all_that_this_node_has_claimed(store: SqlStore) -> None:
    put(
        store,
        a_post("p_1", state=State.UPLOADING, claimed_by=NODE, wake_at=LEASE),
        a_post("p_2", state=State.UPLOADING, claimed_by="other", account=AccountName("bob")),
        a_post("p_3", state=State.PROCESSING, claimed_by=None),
    )

    with store.transaction() as unit:
        assert [post.id for post in unit.in_hand(None)] == ["p_1"]


def test_in_hand_with_a_time_is_what_lies_past_its_lease_and_can_be_driven_here(store: SqlStore) -> None:
    other = {"node": "other", "claimed_by": "other", "state": State.UPLOADING}
    put(
        store,
        a_post("p_1", state=State.UPLOADING, claimed_by=NODE, wake_at=NOW),
        a_post("p_2", state=State.UPLOADING, claimed_by=NODE, wake_at=LEASE, account=AccountName("bob")),
        a_post("p_3", account=AccountName("cid"), **other),
        an_address_post("p_4", account=AccountName("dan"), **other),
    )

    with store.transaction() as unit:
        assert [post.id for post in unit.in_hand(NOW)] == ["p_1", "p_4"]


def test_held_posts_are_found_by_reason_account_and_end_of_their_time(store: SqlStore) -> None:
    put(
        store,
        a_post("p_1", state=State.HELD, reason="a", wake_at=None),
        a_post("p_2", state=State.HELD, reason="a", wake_at=NOW),
        a_post("p_3", state=State.HELD, reason="a", wake_at=NOW + SECOND),
        a_post("p_4", state=State.HELD, reason="b", wake_at=None),
        a_post("p_5", state=State.HELD, reason="a", wake_at=None, account=AccountName("bob")),
        a_post("p_6", state=State.FAILED, reason="a", wake_at=None),
    )

    with store.transaction() as unit:
        assert {post.id for post in unit.held(NOW, ("a",), None)} == {"p_1", "p_2", "p_5"}
        assert {post.id for post in unit.held(NOW, ("a", "b"), ADA)} == {"p_1", "p_2", "p_4"}


def test_followable_posts_are_those_whose_status_is_due(store: SqlStore) -> None:
    put(
        store,
        a_post("p_1", state=State.PROCESSING, wake_at=NOW),
        a_post("p_2", state=State.UNCERTAIN, wake_at=NOW - SECOND),
        a_post("p_3", state=State.SENT_TO_INBOX, wake_at=NOW + SECOND),
        a_post("p_4", state=State.PUBLISHED, wake_at=None),
        a_post("p_5", state=State.SCHEDULED, wake_at=NOW),
    )

    with store.transaction() as unit:
        assert [post.id for post in unit.followable(NOW, 9)] == ["p_2", "p_1"]
        assert [post.id for post in unit.followable(NOW, 1)] == ["p_2"]


def test_next_wake_is_the_earliest_time_after_the_given_one(store: SqlStore) -> None:
    put(store, a_post("p_1", wake_at=NOW), a_post("p_2", wake_at=NOW + SECOND), a_post("p_3", wake_at=None))

    with store.transaction() as unit:
        found = [unit.next_wake(at) for at in (NOW - SECOND, NOW, NOW + SECOND)]
    assert found == [NOW, NOW + SECOND, None]


# -- attempts, accounts, calls, flags ------------------------------------------------------------------------


def test_an_attempt_comes_back_as_it_was_saved_last(store: SqlStore) -> None:
    put(store, a_post())
    changed = an_attempt(
        fence=3, init_sent_at=NOW, init_hash="h", publish_id="v", upload_url="sealed", url_expires_at=LEASE, size=30,
        chunk_size=10, chunk_count=3, stored_bytes=20, commit_sent_at=NOW, ended_at=NOW, outcome="publish", error="e",
    )  # fmt: skip

    with store.transaction() as unit:
        unit.save_attempt(an_attempt())
        unit.save_attempt(changed)

    with store.transaction() as unit:
        assert unit.attempt(PostId("p_1"), 1) == changed
        assert unit.attempt(PostId("p_1"), 2) is None


def test_attempts_come_in_order(store: SqlStore) -> None:
    put(store, a_post("p_1"), a_post("p_2"))
    with store.transaction() as unit:
        for post, number in (("p_1", 2), ("p_2", 1), ("p_1", 1), ("p_1", 10)):
            unit.save_attempt(an_attempt(post, number))

        assert [attempt.number for attempt in unit.attempts(PostId("p_1"))] == [1, 2, 10]


def test_an_attempt_of_no_post_is_refused(store: SqlStore) -> None:
    with pytest.raises(IntegrityError), store.transaction() as unit:
        unit.save_attempt(an_attempt("p_none"))


def test_an_account_comes_back_as_it_was_saved_last(store: SqlStore) -> None:
    changed = an_account(
        login=Login.NEEDS_LOGIN, enabled=False, token_version=7, refresh_node="other", refresh_until=LEASE,
        creator=CREATOR, detail="d", scopes=(),
    )  # fmt: skip

    put(store, an_account(), changed)

    with store.transaction() as unit:
        assert unit.account(ADA) == changed
        assert unit.account(AccountName("eve")) is None


def test_accounts_come_by_name(store: SqlStore) -> None:
    put(store, an_account("bob"), an_account("ada"))

    with store.transaction() as unit:
        assert [account.name for account in unit.accounts()] == ["ada", "bob"]


def test_calls_are_counted_within_their_window(store: SqlStore) -> None:
    with store.transaction() as unit:
        for offset in (2, 0, 1):
            unit.record_call(ADA, Endpoint.INIT, NOW + SECOND * offset)
        unit.record_call(ADA, Endpoint.STATUS, NOW)
        unit.record_call(AccountName("bob"), Endpoint.INIT, NOW)

        found = unit.calls_since(ADA, Endpoint.INIT, NOW)
    assert found == [NOW + SECOND, NOW + 2 * SECOND]  # a call right at the border has left the window


def test_dropped_calls_are_forgotten(store: SqlStore) -> None:
    with store.transaction() as unit:
        unit.record_call(ADA, Endpoint.INIT, NOW)
        unit.record_call(ADA, Endpoint.INIT, NOW + SECOND)

        unit.drop_calls(NOW + SECOND, 100)

        assert unit.calls_since(ADA, Endpoint.INIT, NOW - SECOND) == [NOW + SECOND]


def test_a_flag_can_be_set_changed_and_cleared(store: SqlStore) -> None:
    with store.transaction() as unit:
        found = [unit.flag("paused")]
        for value in ("a", "b", None):
            unit.set_flag("paused", value)
            found.append(unit.flag("paused"))

    assert found == [None, "a", "b", None]


def test_flags_belong_to_one_node(open_store: Opener) -> None:
    with open_store("main").transaction() as unit:
        unit.set_flag("paused", "yes")

    with open_store("other").transaction() as unit:
        assert unit.flag("paused") is None


# -- the outbox ----------------------------------------------------------------------------------------------


def test_events_are_numbered_from_one_without_holes(store: SqlStore) -> None:
    with store.transaction() as unit:
        for number in (1, 2):
            unit.add_event(event(number))
    with store.transaction() as unit:
        unit.add_event(event(3))

        assert [found["sequence"] for found in unit.events_after(0, 9)] == [
            "00000001",
            "00000002",
            "00000003",
        ]
        assert unit.last_sequence() == 3


def test_a_rollback_gives_its_numbers_back(store: SqlStore) -> None:
    with pytest.raises(Broken):
        fail_in(store, lambda unit: [unit.add_event(event(number)) for number in (1, 2)])

    with store.transaction() as unit:
        unit.add_event(event(3))
        assert [(found["sequence"], found["subject"]) for found in unit.events_after(0, 9)] == [
            ("00000001", "post/p_3")
        ]


def test_each_node_counts_its_own_events(open_store: Opener) -> None:
    for node in ("main", "other"):
        with open_store(node).transaction() as unit:
            unit.add_event(event())

            assert [found["id"] for found in unit.events_after(0, 9)] == [f"{node}-00000001"]


def test_there_is_no_sequence_before_the_first_event(store: SqlStore) -> None:
    with store.transaction() as unit:
        unit.add_reply("mqtt", "a", "{}", None, None, NOW)

        assert unit.last_sequence() == 0


def test_events_after_a_number_come_in_order_up_to_the_limit(store: SqlStore) -> None:
    with store.transaction() as unit:
        for number in range(1, 8):
            unit.add_event(event(number))
            unit.add_reply("mqtt", "a", "{}", None, None, NOW)

        assert [found["data"]["number"] for found in unit.events_after(2, 3)] == [3, 4, 5]
        assert unit.events_after(7, 3) == []


def test_an_event_is_a_cloudevent(store: SqlStore) -> None:
    with store.transaction() as unit:
        outgoing = unit.add_event(event())
        (found,) = unit.events_after(0, 9)

    assert (outgoing.kind, outgoing.address, outgoing.transport) == ("event", "post", "")
    assert found["type"] == "dev.tokd.post.started"
    assert found["source"] == "tokd/main"


def test_the_outbox_keeps_the_order_of_everything(store: SqlStore) -> None:
    with store.transaction() as unit:
        written = [
            unit.add_event(event()),
            unit.add_reply("mqtt", "reply/me", "{}", b"\x00", LEASE, NOW),
            unit.add_state("post/p_1", "{}", NOW),
            unit.add_event(event(2)),
        ]

    with store.transaction() as unit:
        assert unit.unsent(0, 9) == written


def test_unsent_rows_are_read_page_by_page(store: SqlStore) -> None:
    with store.transaction() as unit:
        written = [unit.add_event(event(number)).row for number in range(5)]
        unit.mark_sent([written[1]], NOW)

        first = unit.unsent(0, 2)
        assert [found.row for found in first] == [written[0], written[2]]
        assert [found.row for found in unit.unsent(first[-1].row, 9)] == written[3:]
        assert unit.count_unsent() == 4


def test_marking_nothing_changes_nothing(store: SqlStore) -> None:
    with store.transaction() as unit:
        unit.add_event(event())
        unit.mark_sent([], NOW)

        assert unit.count_unsent() == 1


def test_unsent_rows_of_another_node_are_not_ours(open_store: Opener) -> None:
    with open_store("other").transaction() as unit:
        unit.add_event(event())

    with open_store("main").transaction() as unit:
        assert unit.unsent(0, 9) == []
        assert unit.count_unsent() == 0


def test_a_state_takes_the_place_of_an_unsent_older_one(store: SqlStore) -> None:
    with store.transaction() as unit:
        unit.add_state("post/p_1", "old", NOW)
        unit.add_state("post/p_2", "other", NOW)
        unit.add_state("post/p_1", "new", NOW)

        assert [(found.address, found.payload) for found in unit.unsent(0, 9)] == [
            ("post/p_2", "other"),
            ("post/p_1", "new"),
        ]


def test_a_state_leaves_a_sent_older_one_alone(store: SqlStore) -> None:
    with store.transaction() as unit:
        old = unit.add_state("post/p_1", "old", NOW)
        unit.mark_sent([old.row], NOW)

        new = unit.add_state("post/p_1", "new", NOW)

        assert [found.row for found in unit.unsent(0, 9)] == [new.row]


def test_an_acknowledgement_of_a_replaced_state_does_not_hit_the_new_one(store: SqlStore) -> None:
    # The old one was on its way to the broker when it was replaced; SQLite would give its row number away again.
    with store.transaction() as unit:
        old = unit.add_state("post/p_1", "old", NOW)
    with store.transaction() as unit:
        unit.add_state("post/p_1", "new", NOW)
    with store.transaction() as unit:
        unit.mark_sent([old.row], NOW)

        assert [found.payload for found in unit.unsent(0, 9)] == ["new"]


def test_without_a_broker_the_outbox_counts_as_sent(open_store: Opener) -> None:
    with open_store(has_broker=False).transaction() as unit:
        unit.add_event(event())

        assert unit.count_unsent() == 0
        assert unit.last_sequence() == 1


def test_drop_outbox_forgets_old_sent_rows(store: SqlStore) -> None:
    with store.transaction() as unit:
        rows = [unit.add_event(event(number)).row for number in (1, 2, 3)]
        unit.mark_sent([rows[0]], NOW)

        assert unit.drop_outbox(NOW, 100) == 0
        assert unit.drop_outbox(NOW + SECOND, 100) == 1
        assert [found["data"]["number"] for found in unit.events_after(0, 9)] == [2, 3]


def test_drop_outbox_keeps_the_last_number(store: SqlStore) -> None:
    with store.transaction() as unit:
        unit.mark_sent([unit.add_event(event(number)).row for number in (1, 2, 3)], NOW)

        unit.drop_outbox(NOW + SECOND, 100)
        unit.add_event(event(4))

    with store.transaction() as unit:
        assert [found["sequence"] for found in unit.events_after(0, 9)] == ["00000003", "00000004"]


def test_drop_outbox_forgets_replies_even_before_the_first_event(store: SqlStore) -> None:
    with store.transaction() as unit:
        unit.mark_sent([unit.add_reply("mqtt", "a", "{}", None, None, NOW).row], NOW)

        assert unit.drop_outbox(NOW + SECOND, 100) == 1


def test_drop_outbox_leaves_other_nodes_alone(open_store: Opener) -> None:
    with open_store("other").transaction() as unit:
        unit.mark_sent([unit.add_event(event(number)).row for number in (1, 2)], NOW)

    with open_store("main").transaction() as unit:
        assert unit.drop_outbox(NOW + SECOND, 100) == 0


# -- the hard promises ---------------------------------------------------------------------------------------


def test_sqlite_commits_are_synchronous_and_foreign_keys_hold(open_store: Opener, url: str) -> None:
    store = open_store()
    if not url.startswith("sqlite"):
        return

    with store.transaction() as unit:
        pragma = unit._db.exec_driver_sql
        found = {
            name: pragma(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_a_value_of_the_wrong_type_is_refused_by_the_database(store: SqlStore) -> None:
    with pytest.raises(DBAPIError), store.transaction() as unit:
        unit.add_post(replace(a_post(), tries="many"))  # type: ignore[arg-type]


# -- tokens --------------------------------------------------------------------------------------------------


def a_token(name: str, **changes: Any) -> Token:
    found = {"id": name, "user": "ann", "issued_at": NOW, "expires_at": NOW + SECOND} | changes
    return Token(**found)


def test_a_token_comes_back_as_it_was_stored(open_store: Opener) -> None:
    store = open_store()
    with store.transaction() as unit:
        unit.add_token(a_token("k_1"))
        unit.add_token(a_token("k_2", issued_at=NOW + SECOND))

    with store.transaction() as unit:
        assert unit.token("k_1") == a_token("k_1")
        assert [token.id for token in unit.tokens()] == ["k_2", "k_1"]
        assert unit.token("k_3") is None


def test_a_token_that_was_taken_back_says_when(open_store: Opener) -> None:
    store = open_store()
    with store.transaction() as unit:
        unit.add_token(a_token("k_1"))
        unit.revoke_token("k_1", NOW)

    with store.transaction() as unit:
        assert unit.token("k_1") == a_token("k_1", revoked_at=NOW)


def test_only_tokens_that_have_expired_are_forgotten(open_store: Opener) -> None:
    store = open_store()
    with store.transaction() as unit:
        unit.add_token(a_token("k_1"))
        unit.add_token(a_token("k_2", expires_at=NOW + 5 * SECOND))
        unit.drop_tokens(NOW + 2 * SECOND, 100)

        assert [token.id for token in unit.tokens()] == ["k_2"]


def test_a_token_belongs_to_the_node_that_issued_it(open_store: Opener) -> None:
    with open_store("main").transaction() as unit:
        unit.add_token(a_token("k_1"))

    with open_store("other").transaction() as unit:
        assert unit.tokens() == []
