"""What ports.Unit promises about webhooks and numbers, on SQLite and on PostgreSQL."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from alembic import command
from sqlalchemy import insert

from adapters.storage import rows
from adapters.storage.migrate import _config
from adapters.storage.statements import POST
from adapters.storage.store import SqlStore, make_engine
from daemon.domain.events import Event, EventType
from daemon.domain.figures import Figures, Look, Tally, Timing
from daemon.domain.post import State, Trigger, advance
from tests.fakes.values import NODE, NOW, a_post, a_request, an_account

SECOND = timedelta(seconds=1)
KEY = "0" * 64


def test_a_hint_is_new_once(store: SqlStore) -> None:
    with store.transaction() as unit:
        found = [unit.add_hint(KEY, NOW), unit.add_hint(KEY, NOW), unit.add_hint("1" * 64, NOW)]

    assert found == [True, False, True]


def test_a_hint_that_another_node_has_had_is_not_new(open_store: Callable[..., SqlStore]) -> None:
    with open_store("main").transaction() as unit:
        unit.add_hint(KEY, NOW)

    with open_store("second").transaction() as unit:
        assert not unit.add_hint(KEY, NOW)


def test_only_old_hints_are_forgotten(store: SqlStore) -> None:
    with store.transaction() as unit:
        unit.add_hint(KEY, NOW)
        unit.add_hint("1" * 64, NOW + 2 * SECOND)
        unit.drop_hints(NOW + SECOND, 100)

        assert [unit.add_hint(key, NOW) for key in (KEY, "1" * 64)] == [True, False]


def test_a_post_is_found_by_the_platforms_name_for_it(store: SqlStore) -> None:
    posts = [a_post("p_1", publish_id="v_1"), a_post("p_2", publish_id="v_2"), a_post("p_3")]
    with store.transaction() as unit:
        for post in posts:
            unit.add_post(post)

        assert [post.id for post in unit.posts_sent_as("v_2")] == ["p_2"]
        assert unit.posts_sent_as("v_3") == []


def test_a_post_is_found_by_the_platforms_name_without_reading_all(migrated_file: object) -> None:
    engine = make_engine(f"sqlite:///{migrated_file}")
    with engine.begin() as connection:
        plan = connection.exec_driver_sql(
            "EXPLAIN QUERY PLAN SELECT * FROM post WHERE publish_id IS NOT NULL AND publish_id = 'v'"
        ).all()
    engine.dispose()

    assert "post_publish" in str(plan)


def test_posts_from_before_there_were_webhooks_are_kept(empty_url: str) -> None:
    engine, config = make_engine(empty_url), _config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0004")
        connection.execute(insert(POST).values(rows.post_values(a_post(publish_id="v_1"))))
    engine.dispose()
    store = SqlStore(empty_url, NODE)

    store.open()

    with store.transaction() as unit:
        assert unit.posts_sent_as("v_1") == [a_post(publish_id="v_1")]
    store.close()


# -- numbers -------------------------------------------------------------------------------------------------


@pytest.fixture
def figures() -> Figures:
    return Figures()


@pytest.fixture
def counted(url: str, figures: Figures) -> SqlStore:
    store = SqlStore(url, NODE, figures=figures)
    store.open()
    return store


def test_the_oldest_post_that_is_due_is_told(store: SqlStore) -> None:
    with store.transaction() as unit:
        unit.add_post(a_post("p_1", due_at=NOW - 5 * SECOND))
        unit.add_post(a_post("p_2", due_at=NOW - 9 * SECOND, state=State.PROCESSING))
        unit.add_post(a_post("p_3", due_at=NOW + 9 * SECOND))

        assert unit.oldest_due(NOW) == NOW - 5 * SECOND
        assert unit.oldest_due(NOW - 6 * SECOND) is None


def test_an_accounts_last_success_is_told(store: SqlStore) -> None:
    ends = {"p_1": (State.PUBLISHED, 1), "p_2": (State.SENT_TO_INBOX, 2), "p_3": (State.FAILED, 3)}
    with store.transaction() as unit:
        for key, (state, after) in ends.items():
            unit.add_post(a_post(key, state=state, finished_at=NOW + after * SECOND))

        assert unit.last_successes() == {"ada": NOW + 2 * SECOND}


def test_open_commands_and_unsent_messages_are_counted(store: SqlStore) -> None:
    with store.transaction() as unit:
        assert (unit.count_open_commands(), unit.oldest_unsent()) == (0, None)
        unit.add_command(a_request(), "c-1")
        unit.add_command(a_request(), "c-2", {"final": True})
        for after in (0, 1):
            unit.add_event(Event(EventType.POST_STARTED, "post/p_1", NOW + after * SECOND, {}))

        assert (unit.count_open_commands(), unit.oldest_unsent()) == (1, NOW)


def test_a_change_of_a_state_is_counted_when_it_is_committed(counted: SqlStore, figures: Figures) -> None:
    with counted.transaction() as unit:
        unit.add_post(a_post(state=State.VALIDATING))
    with counted.transaction() as unit:
        post = unit.post(a_post().id)
        assert post is not None
        unit.save_post(advance(post, Trigger.INTEND, NOW))
        assert figures.counts(Tally.POST_MOVES) == {}

    assert figures.counts(Tally.POST_MOVES) == {("validating", "initialised"): 1}
    counted.close()


def test_a_change_that_is_rolled_back_or_keeps_the_state_is_not_counted(
    counted: SqlStore, figures: Figures
) -> None:
    with counted.transaction() as unit:
        unit.add_post(a_post())
        unit.save_post(replace(a_post(), version=2))
    with pytest.raises(ZeroDivisionError), counted.transaction() as unit:  # noqa: PT012 - it ends the transaction
        post = unit.post(a_post().id)
        assert post is not None
        unit.save_post(advance(post, Trigger.CANCEL, NOW))
        raise ZeroDivisionError

    assert figures.counts(Tally.POST_MOVES) == {}
    counted.close()


def test_a_claim_is_counted_with_the_state_before_it(counted: SqlStore, figures: Figures) -> None:
    with counted.transaction() as unit:
        unit.save_account(an_account())
        unit.add_post(a_post(state=State.RETRY_WAIT))
    with counted.transaction() as unit:
        unit.claim_due(NOW, NOW + SECOND, 10)

    assert figures.counts(Tally.POST_MOVES) == {("retry_wait", "claimed"): 1}
    counted.close()


def test_commits_are_timed(counted: SqlStore, figures: Figures) -> None:
    before = figures.series(Timing.COMMIT)
    with counted.transaction() as unit:
        unit.add_hint(KEY, NOW)
    after = figures.series(Timing.COMMIT)

    assert after.total == before.total + 1
    assert after.seconds > before.seconds
    counted.close()


def test_on_sqlite_what_only_reads_is_no_commit(migrated_file: object, figures: Figures) -> None:
    store = SqlStore(f"sqlite:///{migrated_file}", NODE, figures=figures)
    store.open()
    with store.transaction() as unit:
        unit.count_posts()
    store.close()

    assert figures.series(Timing.COMMIT).total == 0


def test_the_size_of_the_log_is_told_on_sqlite_only(counted: SqlStore, url: str, figures: Figures) -> None:
    figures.watch(Look.WAL_BYTES, counted.wal_bytes)
    with counted.transaction() as unit:
        unit.add_hint(KEY, NOW)

    found = figures.look(Look.WAL_BYTES)

    assert (found or 0) > 4096 if url.startswith("sqlite") else found is None
    counted.close()
