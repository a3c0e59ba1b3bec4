"""What ports.Unit promises of links that were begun, on SQLite and on PostgreSQL."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from adapters.storage.store import SqlStore
from daemon.domain.ids import AccountName, Actor
from daemon.domain.linking import PendingLink
from daemon.domain.post import State
from tests.fakes.values import NODE, NOW, a_post, an_account

ADA = AccountName("ada")
LINK = PendingLink(
    account=ADA, state_hash="a" * 64, node=NODE, actor=Actor("http:ann"), platform="tiktok", client_key="key",
    redirect_uri="https://tokd.example.com/c", scopes=("video.publish", "video.upload"), verifier="sealed",
    created_at=NOW, expires_at=NOW + timedelta(minutes=10),
)  # fmt: skip


def save(store: SqlStore, *links: PendingLink) -> None:
    with store.transaction() as unit:
        for link in links:
            unit.save_link(link)


@pytest.mark.parametrize("verifier", ["sealed", None])
def test_a_link_comes_back_as_it_was_saved(store: SqlStore, verifier: str | None) -> None:
    link = replace(LINK, verifier=verifier)
    save(store, link)

    with store.transaction() as unit:
        assert unit.link(ADA) == unit.link_of(LINK.state_hash) == link


def test_an_account_has_one_link(store: SqlStore) -> None:
    save(store, LINK, replace(LINK, state_hash="b" * 64))

    with store.transaction() as unit:
        assert unit.link_of(LINK.state_hash) is None
        assert unit.link(ADA) is not None


def test_a_link_is_used_once_on_whichever_node(open_store: Callable[..., SqlStore]) -> None:
    # One after the other: on SQLite a file has one writer.
    first = open_store()
    save(first, LINK)

    with first.transaction() as unit:
        assert unit.use_link(LINK.state_hash, NOW) is True
    with first.transaction() as unit:
        assert unit.use_link(LINK.state_hash, NOW + timedelta(seconds=1)) is False
        assert unit.link(ADA) == replace(LINK, used_at=NOW)


def test_a_link_that_is_not_there_cannot_be_used(store: SqlStore) -> None:
    with store.transaction() as unit:
        assert unit.use_link("c" * 64, NOW) is False


def test_links_are_dropped_by_account_and_by_age(store: SqlStore) -> None:
    bob, eve = AccountName("bob"), AccountName("eve")
    late = replace(LINK, account=eve, state_hash="c" * 64, expires_at=NOW + timedelta(days=1))
    save(store, LINK, replace(LINK, account=bob, state_hash="b" * 64), late)

    with store.transaction() as unit:
        unit.drop_link(bob)
        assert unit.link(bob) is None
        assert unit.link(ADA) is not None
        unit.drop_links(NOW + timedelta(hours=1), 100)
        assert [unit.link(ADA), unit.link(eve)] == [None, late]


@pytest.mark.parametrize(
    ("state", "is_busy"),
    [
        (State.SCHEDULED, False), (State.HELD, False), (State.UPLOADING, True), (State.PROCESSING, True),
        (State.PUBLISHED, False), (State.UNCERTAIN, False),
    ],
)  # fmt: skip
def test_an_account_is_busy_with_what_is_under_way(store: SqlStore, state: State, *, is_busy: bool) -> None:
    with store.transaction() as unit:
        unit.save_account(an_account())
        unit.add_post(a_post(state=state))
        unit.add_post(a_post("p_2", account=AccountName("bob"), state=State.UPLOADING))

    with store.transaction() as unit:
        assert unit.busy_with(ADA) == (["p_1"] if is_busy else [])
