"""The statements of every turn of the clock, built once: building them costs ten times what SQLite needs to run them."""

from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Select,
    and_,
    bindparam,
    delete,
    func,
    insert,
    not_,
    or_,
    select,
    text,
    update,
)  # fmt: skip

from adapters.storage.tables import QUEUED, UNSENT_STATE, Row
from daemon.domain.account import Login
from daemon.domain.post import IN_HAND, LateRule, Source, State

POST = Row.metadata.tables["post"]
ATTEMPT = Row.metadata.tables["attempt"]
ACCOUNT = Row.metadata.tables["account"]
COMMAND = Row.metadata.tables["command"]
OUTBOX = Row.metadata.tables["outbox"]
CALL = Row.metadata.tables["call"]
FLAG = Row.metadata.tables["flag"]
SESSION = Row.metadata.tables["session"]
TASK = Row.metadata.tables["task"]
LINK = Row.metadata.tables["link"]
TOKEN = Row.metadata.tables["token"]
DISCOVERY = Row.metadata.tables["discovery"]
SIGHTING = Row.metadata.tables["sighting"]
WEBHOOK = Row.metadata.tables["webhook"]
AUDIT = Row.metadata.tables["audit"]
AUDIT_CUT = Row.metadata.tables["audit_cut"]

HAND = sorted(state.value for state in IN_HAND)
FOLLOWED = [
    state.value for state in (State.PROCESSING, State.UNCERTAIN, State.SENT_TO_INBOX, State.PUBLISHED)
]
DUE = [State.SCHEDULED.value, State.RETRY_WAIT.value]
WAITING = [State.SCHEDULED.value, State.RETRY_WAIT.value, State.HELD.value]
_SECOND = 1_000_000

# Parameters: the moment in microseconds, this node, how many rows.
NOW: BindParameter[int] = bindparam("now")
NODE: BindParameter[str] = bindparam("node")
LIMIT: BindParameter[int] = bindparam("limit")

# A state that no index can answer: without it SQLite reads all waiting posts by their state instead of the few
# due ones by their time (51 ms instead of 1 ms with 100,000 waiting).
_STATE = POST.c.state + ""


def _is_here() -> ColumnElement[bool]:
    # A file lies on the node that took the command; an address can be driven from anywhere.
    return or_(POST.c.node == NODE, POST.c.source == Source.URL.value)


def _is_due() -> ColumnElement[bool]:
    return and_(POST.c.wake_at <= NOW, _STATE.in_(DUE))


def _may_go() -> ColumnElement[bool]:
    in_time = or_(
        POST.c.late_rule == LateRule.POST.value,
        POST.c.due_at.is_(None),
        # Late in whole seconds: an allowance of 0 still takes a post that the clock has met.
        POST.c.due_at > NOW - (POST.c.late_after_s + 1) * _SECOND,
    )
    return and_(ACCOUNT.c.enabled == 1, ACCOUNT.c.login == Login.OK.value, in_time)


def _claimable() -> Select[Any]:
    place = func.row_number().over(partition_by=POST.c.account, order_by=(POST.c.wake_at, POST.c.id))
    in_hand = select(POST.c.account).where(POST.c.state.in_(HAND))
    due = (
        select(POST.c.id, POST.c.state, POST.c.wake_at, place.label("place"))
        .join(ACCOUNT, ACCOUNT.c.name == POST.c.account)
        .where(_is_due(), _may_go(), _is_here(), POST.c.account.not_in(in_hand))
        .subquery()
    )
    return select(due.c.id, due.c.state).where(due.c.place == 1).order_by(due.c.wake_at).limit(LIMIT)


def _due() -> Select[Any]:
    return select(POST).outerjoin(ACCOUNT, ACCOUNT.c.name == POST.c.account).where(_is_due(), _is_here())


POSTS_SENT_AS = select(POST).where(
    POST.c.publish_id.is_not(None), POST.c.publish_id == bindparam("publish_id")
)
POST_BY_ID = select(POST).where(POST.c.id == bindparam("key"))
CLAIMABLE = _claimable()
ALL_DUE = _due().order_by(POST.c.wake_at).limit(LIMIT)
BARRED = _due().where(or_(ACCOUNT.c.name.is_(None), not_(_may_go()))).order_by(POST.c.wake_at).limit(LIMIT)
FOLLOWABLE = (
    select(POST).where(_STATE.in_(FOLLOWED), POST.c.wake_at <= NOW).order_by(POST.c.wake_at).limit(LIMIT)
)
MY_IN_HAND = select(POST).where(POST.c.state.in_(HAND), POST.c.claimed_by == NODE).order_by(POST.c.id)
LEASE_OVER = select(POST).where(POST.c.state.in_(HAND), POST.c.wake_at <= NOW, _is_here()).order_by(POST.c.id)
NEXT_WAKE = select(func.min(POST.c.wake_at)).where(POST.c.wake_at > NOW)
OLDEST_DUE = select(POST.c.wake_at).where(_is_due()).order_by(POST.c.wake_at).limit(1)
HELD = select(POST).where(
    POST.c.state == State.HELD.value,
    POST.c.reason.in_(bindparam("reasons", expanding=True)),
    or_(POST.c.wake_at.is_(None), POST.c.wake_at <= NOW),
)
ACCOUNT_BY_NAME = select(ACCOUNT).where(ACCOUNT.c.name == bindparam("key"))

SAVE_POST = update(POST).where(
    POST.c.id == bindparam("key"), POST.c.version < bindparam("newer"), POST.c.fence <= bindparam("fenced")
)
ADD_COMMAND = insert(COMMAND).returning(COMMAND.c.row)
FINISH_COMMAND = update(COMMAND).where(COMMAND.c.row == bindparam("key"))
FIND_COMMAND = select(COMMAND).where(
    COMMAND.c.node == NODE, COMMAND.c.actor == bindparam("who"), COMMAND.c.command_id == bindparam("key")
)
ADD_OUTBOX = insert(OUTBOX).returning(OUTBOX.c.row)
DROP_UNSENT_STATE = delete(OUTBOX).where(
    OUTBOX.c.node == NODE, OUTBOX.c.address == bindparam("path"), text(UNSENT_STATE)
)
LAST_SEQUENCE = select(func.max(OUTBOX.c.sequence)).where(
    OUTBOX.c.node == NODE, OUTBOX.c.sequence.is_not(None)
)
ADD_POST = insert(POST)
DUPLICATES = (
    select(POST.c.id)
    .where(
        POST.c.account == bindparam("account"),
        POST.c.sha256 == bindparam("sha256"),
        POST.c.state.not_in([State.CANCELLED.value, State.FAILED.value]),
        or_(POST.c.finished_at.is_(None), POST.c.finished_at >= bindparam("since")),
    )
    .limit(5)
)
QUEUE_OF = select(func.count(), func.min(POST.c.due_at)).where(
    POST.c.account == bindparam("who"), text(QUEUED)
)
ATTEMPT_BY_NUMBER = select(ATTEMPT).where(
    ATTEMPT.c.post == bindparam("key"), ATTEMPT.c.number == bindparam("place")
)
FLAG_BY_NAME = select(FLAG.c.value).where(FLAG.c.node == NODE, FLAG.c.name == bindparam("key"))
CALLS_SINCE = (
    select(CALL.c.at)
    .where(
        CALL.c.account == bindparam("who"),
        CALL.c.endpoint == bindparam("call"),
        CALL.c.at > bindparam("since"),
    )
    .order_by(CALL.c.at)
)
ADD_CALL = insert(CALL)
STATES_DUE = select(_STATE.label("state"), func.count()).where(POST.c.wake_at <= NOW).group_by(_STATE)
