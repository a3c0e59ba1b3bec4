"""What ports.Unit promises of sessions and sightings, on SQLite and on PostgreSQL."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from adapters.storage.store import SqlStore
from daemon.domain.errors import Problem
from daemon.domain.ids import AccountName, Actor, ProfileName, SessionId
from daemon.domain.login import Login
from daemon.domain.session import EndReason, Session, SessionKind, SessionState, Sighting
from tests.fakes.values import NODE, NOW

SECOND = timedelta(seconds=1)
MASTER = ProfileName("master")
Opener = Callable[..., SqlStore]


def a_session(number: int = 1, **changes: object) -> Session:
    found = Session(
        id=SessionId(f"{number:016x}"), node=NODE, boot="boot1", actor=Actor("me"), command_id=f"c-{number}",
        kind=SessionKind.TIKTOK, profile=MASTER, url="https://www.tiktok.com/", headless=False, require_login=True,
        timeout_s=300, state=SessionState.REQUESTED, state_since=NOW, created_at=NOW + number * SECOND,
    )  # fmt: skip
    return replace(found, **changes)  # type: ignore[arg-type]


FULL = a_session(
    state=SessionState.ENDED, opened_at=NOW, ends_at=NOW + 300 * SECOND, login=Login.LOGGED_IN,
    verdict={"state": "logged_in", "evidence": ["a", "b"]}, warnings=("no sandbox",), promote_to=ProfileName("shop"),
    ended_at=NOW, reason=EndReason.CRASHED, error=Problem("browser_failed", "it died", "look at the log"),
    exit_status=-9, version=7,
)  # fmt: skip


@pytest.mark.parametrize("session", [a_session(), FULL], ids=["new", "full"])
def test_a_session_is_read_as_it_was_stored(store: SqlStore, session: Session) -> None:
    with store.transaction() as unit:
        unit.add_session(session)

    with store.transaction() as unit:
        assert unit.session(session.id) == session


def test_a_changed_session_is_read_as_it_was_saved(store: SqlStore) -> None:
    with store.transaction() as unit:
        unit.add_session(a_session())
        unit.save_session(FULL)

    with store.transaction() as unit:
        assert unit.session(FULL.id) == FULL


def test_an_unknown_session_is_none(store: SqlStore) -> None:
    with store.transaction() as unit:
        assert unit.session(SessionId("f" * 16)) is None


def test_sessions_come_newest_first_and_those_that_are_over_apart(store: SqlStore) -> None:
    over = replace(FULL, id=SessionId("a" * 16))
    with store.transaction() as unit:
        for session in (a_session(1), a_session(2), over):
            unit.add_session(session)

        assert [found.id[-1] for found in unit.sessions(is_over=False, limit=9)] == ["2", "1"]
        assert [found.id for found in unit.sessions(is_over=True, limit=9)] == [over.id]


def test_a_list_of_sessions_is_bounded(store: SqlStore) -> None:
    with store.transaction() as unit:
        for number in range(5):
            unit.add_session(a_session(number))

        assert len(unit.sessions(is_over=False, limit=3)) == 3


def test_only_old_ended_sessions_are_forgotten(store: SqlStore) -> None:
    with store.transaction() as unit:
        unit.add_session(a_session(2))
        unit.add_session(FULL)
        unit.drop_sessions(NOW, 100)
        assert unit.session(FULL.id) is not None

        unit.drop_sessions(NOW + SECOND, 100)
        assert unit.session(FULL.id) is None
        assert unit.session(a_session(2).id) is not None


def test_sessions_belong_to_one_node(open_store: Opener) -> None:
    with open_store("main").transaction() as unit:
        unit.add_session(a_session())
        unit.save_sighting(MASTER, Sighting(login=Login.LOGGED_IN, method="info", seen_at=NOW))

    with open_store("other").transaction() as unit:
        assert unit.sessions(is_over=False, limit=9) == []
        assert unit.session(a_session().id) is None
        assert unit.sightings() == {}


def test_the_last_sighting_of_a_profile_counts(store: SqlStore) -> None:
    last = Sighting(
        login=Login.UNCERTAIN, method="challenge", seen_at=NOW + SECOND, reason="challenge", username="ada",
        account=AccountName("shop"),
    )  # fmt: skip
    with store.transaction() as unit:
        unit.save_sighting(MASTER, Sighting(login=Login.LOGGED_IN, method="info", seen_at=NOW))
        unit.save_sighting(MASTER, last)

    with store.transaction() as unit:
        assert unit.sightings() == {MASTER: last}
