"""A node on PostgreSQL that was stopped in the middle of a transaction: the others are not held up by its locks."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy.engine import make_url

from adapters.storage.migrate import HEAD
from adapters.storage.store import SqlStore
from daemon.domain.errors import StorageFailed, StorageFull
from daemon.domain.ids import AccountName, NodeName, PostId
from daemon.domain.post import State
from tests.fakes.values import NOW, an_account, an_address_post
from tests.postgres import PostgresServer
from tests.waiting import wait_until

ADA = AccountName("ada")
LATER = NOW + timedelta(minutes=10)
OVER = LATER + timedelta(seconds=1)  # when the lease of a claim made now has ended
Opener = Callable[..., SqlStore]


@pytest.fixture
def database(postgres: PostgresServer, migrated_database: str) -> str:
    postgres.empty(migrated_database, HEAD)
    return migrated_database


@pytest.fixture
def opened(database: str) -> Iterator[Opener]:
    """Opens the store of a node; keyword arguments are settings of PostgreSQL for its connection."""
    with ExitStack() as stack:

        def open_one(node: str, **options: str) -> SqlStore:
            given = " ".join(f"-c {name}={value}" for name, value in options.items())
            url = make_url(database).update_query_dict({"options": given} if given else {})
            store = SqlStore(url.render_as_string(hide_password=False), NodeName(node))
            store.open()
            stack.callback(store.close)
            return store

        yield open_one


def claim(store: SqlStore) -> None:
    with store.transaction() as unit:
        unit.save_account(an_account(str(ADA)))
        unit.add_post(an_address_post(account=ADA))
    with store.transaction() as unit:
        assert len(unit.claim_due(NOW, LATER, 1)) == 1


def in_the_middle(stack: ExitStack, store: SqlStore) -> Any:
    """Begin to change the post that the node has in hand, and stop there; return the open transaction."""
    unit = stack.enter_context(store.transaction())
    unit.renew([PostId("p_1")], OVER, OVER + timedelta(minutes=10))
    return unit


def go_on(stopped: SqlStore, other: SqlStore) -> None:
    """Go on with a transaction after another node was able to take the post."""
    with ExitStack() as stack:
        unit = in_the_middle(stack, stopped)
        wait_until(lambda: taken(other) == ["p_1"], what="its locks gone")
        unit.post(PostId("p_1"))


def commit(stopped: SqlStore, other: SqlStore) -> None:
    """Commit what another node was able to take meanwhile."""
    with ExitStack() as stack:
        in_the_middle(stack, stopped)
        wait_until(lambda: taken(other) == ["p_1"], what="its locks gone")


def lock_account(store: SqlStore) -> None:
    with store.transaction() as unit:
        unit.account(ADA, lock=True)


def taken(store: SqlStore) -> list[str]:
    with store.transaction() as unit:
        return [str(post.id) for post in unit.in_hand(OVER)]


def test_the_clock_of_another_node_passes_over_what_a_stopped_node_has_locked(opened: Opener) -> None:
    stopped, other = opened("main"), opened("other", lock_timeout="5s")
    claim(stopped)

    with ExitStack() as stack:
        in_the_middle(stack, stopped)
        assert taken(other) == []


def test_a_post_that_a_stopped_node_was_just_changing_is_taken_by_another_one(opened: Opener) -> None:
    stopped, other = opened("main", idle_in_transaction_session_timeout="300ms"), opened("other")
    claim(stopped)

    with pytest.raises(StorageFailed):
        go_on(stopped, other)


def test_a_stopped_node_that_goes_on_has_changed_nothing(opened: Opener) -> None:
    stopped, other = opened("main", idle_in_transaction_session_timeout="300ms"), opened("other")
    claim(stopped)

    with pytest.raises(StorageFailed):
        commit(stopped, other)

    with other.transaction() as unit:
        found = unit.post(PostId("p_1"))
    assert found is not None
    assert (found.state, found.wake_at) == (State.CLAIMED, LATER)


def test_an_order_that_needs_what_a_stopped_node_has_locked_is_told_to_come_again(opened: Opener) -> None:
    stopped, other = opened("main"), opened("other", lock_timeout="200ms")
    claim(stopped)

    with stopped.transaction() as unit:
        unit.account(ADA, lock=True)
        with pytest.raises(StorageFull):
            lock_account(other)


@pytest.mark.parametrize(
    ("name", "limit"), [("idle_in_transaction_session_timeout", "10s"), ("lock_timeout", "20s")]
)
def test_no_node_keeps_or_waits_for_a_lock_without_an_end(opened: Opener, name: str, limit: str) -> None:
    assert _shown(opened("main"), name) == limit


def test_a_limit_that_the_address_names_is_kept(opened: Opener) -> None:
    assert _shown(opened("main", lock_timeout="3s"), "lock_timeout") == "3s"


def _shown(store: SqlStore, name: str) -> str:
    assert store._engine is not None
    with store._engine.connect() as connection:
        raw: psycopg.Connection[tuple[str]] = connection.connection.dbapi_connection  # type: ignore[assignment]
        row = raw.execute(f"SHOW {name}").fetchone()
    assert row is not None
    return row[0]
