"""The table of a session's moves, written out a second time: what is not in it cannot happen."""

from datetime import timedelta

import pytest

from daemon.domain.errors import IllegalMove
from daemon.domain.session import MOVES, SessionState, move
from tests.contract.test_sessions import a_session
from tests.fakes.values import NOW

S = SessionState
ALLOWED = {
    (S.REQUESTED, S.CLONING), (S.REQUESTED, S.STARTING), (S.REQUESTED, S.CLOSING),
    (S.CLONING, S.STARTING), (S.CLONING, S.CLOSING),
    (S.STARTING, S.DETECTING), (S.STARTING, S.OPEN), (S.STARTING, S.CLOSING),
    (S.DETECTING, S.OPEN), (S.DETECTING, S.CLOSING),
    (S.OPEN, S.CLOSING),
    *((state, S.ENDED) for state in S if state is not S.ENDED),
}  # fmt: skip


@pytest.mark.parametrize("before", S)
@pytest.mark.parametrize("after", S)
def test_a_session_moves_as_the_table_says(before: SessionState, after: SessionState) -> None:
    session = a_session(state=before, version=3)
    later = NOW + timedelta(seconds=9)

    if (before, after) in ALLOWED:
        moved = move(session, after, later)
        assert (moved.state, moved.state_since, moved.version) == (after, later, 4)
    else:
        with pytest.raises(IllegalMove, match=session.id):
            move(session, after, later)


def test_every_state_has_a_row() -> None:
    assert set(MOVES) == set(S)


def test_every_state_but_the_last_leads_to_the_end() -> None:
    assert all((state, S.ENDED) in ALLOWED for state in S if state is not S.ENDED)
