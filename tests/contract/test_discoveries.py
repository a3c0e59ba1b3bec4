"""What ports.Unit promises of the ledger of discovery and of an account's queue, on SQLite and on PostgreSQL."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from adapters.storage.store import SqlStore
from daemon.domain.ids import AccountName, PostId
from daemon.domain.introduction import Told
from daemon.domain.post import State
from tests.fakes.values import NOW, a_post

TOPIC = "homeassistant/device/x/config"
TOLD = Told({"a": "sensor", "b": "button"}, "0123")


def test_what_was_told_is_read_as_it_was_stored(store: SqlStore) -> None:
    with store.transaction() as unit:
        unit.save_discovery(TOPIC, Told({}, "old"))
        unit.save_discovery(TOPIC, TOLD)

    with store.transaction() as unit:
        assert unit.discoveries() == {TOPIC: TOLD}


def test_what_was_taken_back_is_forgotten(store: SqlStore) -> None:
    with store.transaction() as unit:
        unit.save_discovery(TOPIC, TOLD)
        unit.save_discovery(TOPIC, None)

        assert unit.discoveries() == {}


def test_each_node_has_a_ledger_of_its_own(open_store: Callable[..., SqlStore]) -> None:
    with open_store("main").transaction() as unit:
        unit.save_discovery(TOPIC, TOLD)

    with open_store("other").transaction() as unit:
        assert unit.discoveries() == {}


def test_no_discovery_message_replaces_another(store: SqlStore) -> None:
    with store.transaction() as unit:  # the first of two steps must arrive, too
        for payload in ("one", "two"):
            unit.add_discovery(TOPIC, payload, NOW)

        found = [(row.kind, row.transport, row.address, row.payload) for row in unit.unsent(0, 10)]

    assert found == [("discovery", "mqtt", TOPIC, "one"), ("discovery", "mqtt", TOPIC, "two")]


def test_the_queue_of_an_account_counts_what_waits_and_knows_the_next(store: SqlStore) -> None:
    hour = timedelta(hours=1)
    states = [State.SCHEDULED, State.HELD, State.RETRY_WAIT, State.PUBLISHED, State.DRAFT, State.UPLOADING]
    with store.transaction() as unit:
        for number, state in enumerate(states):
            unit.add_post(
                replace(a_post(), id=PostId(f"p_{number}"), state=state, due_at=NOW + (9 - number) * hour)
            )
        account = a_post().account

        assert unit.queue_of(account) == (3, NOW + 7 * hour)
        assert unit.queue_of(AccountName("nobody")) == (0, None)
