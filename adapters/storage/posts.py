"""The posts of one transaction: reading, saving under a version, claiming."""

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    Select,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)

from adapters.storage import rows
from adapters.storage.pages import open_mark, page_mark
from adapters.storage.statements import (
    ACCOUNT,
    ADD_POST,
    ALL_DUE,
    ATTEMPT,
    ATTEMPT_BY_NUMBER,
    BARRED,
    CLAIMABLE,
    DUE,
    DUPLICATES,
    FOLLOWABLE,
    HAND,
    HELD,
    LEASE_OVER,
    MY_IN_HAND,
    NEXT_WAKE,
    OLDEST_DUE,
    POST,
    POST_BY_ID,
    POSTS_SENT_AS,
    QUEUE_OF,
    SAVE_POST,
    STATES_DUE,
    WAITING,
)  # fmt: skip
from daemon.domain.errors import StaleAttempt
from daemon.domain.ids import AccountName, NodeName, PostId
from daemon.domain.post import FINAL, Attempt, Post, State

LOG = logging.getLogger("tokd.storage")
ENDED = sorted(FINAL)
_EVER = 2**63 - 1  # in microseconds: no time is later


class PostsMixin:
    """Posts and attempts of a Unit."""

    _db: Connection
    _node: NodeName
    _states: dict[PostId, str]  # of the posts that this transaction has seen
    _damaged: set[str]  # posts that cannot be read; told already
    moves: list[tuple[str, str]]  # what it has changed: state before, state after

    def post(self, post_id: PostId) -> Post | None:
        """Return one post."""
        return next(iter(self._posts(POST_BY_ID, key=post_id)), None)

    def posts_named(self, post_ids: Sequence[PostId]) -> dict[PostId, Post]:
        """Return those of these posts that exist."""
        found = self._posts(select(POST).where(POST.c.id.in_(post_ids))) if post_ids else []
        return {post.id: post for post in found}

    def posts_sent_as(self, publish_id: str) -> list[Post]:
        """Return the posts whose latest attempt the platform knows by this id."""
        return self._posts(POSTS_SENT_AS, publish_id=publish_id)

    def posts(
        self, state: State | None, account: AccountName | None, cursor: str | None, limit: int
    ) -> tuple[list[Post], str | None]:
        """Return posts, newest first, and the cursor of the next page."""
        query = select(POST).order_by(POST.c.created_at.desc(), POST.c.id.desc()).limit(limit + 1)
        if state is not None:
            query = query.where(POST.c.state == state.value)
        if account is not None:
            query = query.where(POST.c.account == account)
        if cursor is not None:
            query = query.where(tuple_(POST.c.created_at, POST.c.id) < open_mark(cursor, "post/list"))
        found = self._posts(query)
        if len(found) <= limit:
            return found, None
        last = found[limit - 1]
        return found[:limit], page_mark(last.created_at, last.id)

    def add_post(self, post: Post) -> None:
        """Store a new post."""
        self._db.execute(ADD_POST, rows.post_values(post))
        self._states[post.id] = post.state.value

    def save_post(self, post: Post) -> None:
        """Store a changed post, unless somebody has changed it since it was read."""
        marks = {"key": post.id, "newer": post.version, "fenced": post.fence}
        done = self._db.execute(SAVE_POST, rows.moving_values(post) | marks)
        if done.rowcount != 1:
            raise StaleAttempt(f"post {post.id}: version {post.version} is not the next one")
        self._note_move(post.id, post.state.value)

    def next_post(self, account: AccountName | None) -> Post | None:
        """Return the waiting post with the earliest time."""
        query = select(POST).where(POST.c.state.in_(WAITING)).order_by(POST.c.due_at, POST.c.id).limit(1)
        if account is not None:
            query = query.where(POST.c.account == account)
        return next(iter(self._posts(query)), None)

    def queue_of(self, account: AccountName) -> tuple[int, datetime | None]:
        """Return how many posts of an account wait, and when the next of them is due."""
        count, due_at = self._db.execute(QUEUE_OF, {"who": account}).one()
        return int(count), rows.instant(due_at)

    def claim_due(self, now: datetime, lease_until: datetime, limit: int) -> list[tuple[PostId, int]]:
        """Claim due posts in one statement, earliest first, and return their new fences."""
        moment = rows.micros(now) or 0
        found = {"now": moment, "node": self._node, "limit": limit}
        waiting = {key: state for key, state in self._db.execute(CLAIMABLE, found)}  # noqa: C416 - rows are no pairs
        ids: Sequence[str] = list(waiting)
        if ids and self._db.dialect.name == "postgresql":
            ids = self._locked(ids, moment)
        if not ids:
            return []
        done = self._db.execute(
            update(POST)
            .where(POST.c.id.in_(ids))
            .values(
                state=State.CLAIMED.value,
                state_since=moment,
                fence=POST.c.fence + 1,
                version=POST.c.version + 1,
                claims=POST.c.claims + 1,
                checks=0,
                claimed_by=self._node,
                reason=None,
                detail=None,
                wake_at=rows.micros(lease_until),
            )
            .returning(POST.c.id, POST.c.fence)
        )
        fences = {PostId(key): fence for key, fence in done}
        self._states.update((key, waiting[key]) for key in fences)
        for key in fences:
            self._note_move(key, State.CLAIMED.value)
        return [(PostId(key), fences[PostId(key)]) for key in ids]

    def _locked(self, ids: Sequence[str], moment: int) -> list[str]:
        """Return, in their order, those of the posts that no other node can be claiming now.

        The account's row is the lock: whoever has it sees every claim that another node has committed.
        """
        names = select(POST.c.account).where(POST.c.id.in_(ids))
        locked = _skip_locked(select(ACCOUNT.c.name).where(ACCOUNT.c.name.in_(names)))
        mine = self._db.execute(locked).scalars().all()
        other = POST.alias()
        in_hand = select(other.c.account).where(other.c.state.in_(HAND), other.c.account.in_(mine))
        still = select(POST.c.id).where(
            POST.c.id.in_(ids), POST.c.account.in_(mine), POST.c.account.not_in(in_hand),
            POST.c.state.in_(DUE), POST.c.wake_at <= moment,
        )  # fmt: skip
        found = set(self._db.execute(_skip_locked(still)).scalars())
        return [key for key in ids if key in found]

    def states_due(self, now: datetime) -> dict[State, int]:
        """Return how many posts in each state want to be looked at."""
        found = self._db.execute(STATES_DUE, {"now": rows.micros(now)})
        return {State(state): count for state, count in found}

    def due_but_barred(self, now: datetime, limit: int, *, all_of_them: bool = False) -> list[Post]:
        """Return due posts that may not be claimed: too late, or their account cannot post; or simply all."""
        query = ALL_DUE if all_of_them else BARRED
        return self._readable(query, now=rows.micros(now), node=self._node, limit=limit)

    def renew(self, posts: Sequence[PostId], now: datetime, lease_until: datetime) -> None:
        """Extend the lease of posts that this node is driving, once half of it is over."""
        if posts:
            half_way = now + (lease_until - now) / 2
            self._db.execute(
                update(POST)
                .where(
                    POST.c.id.in_(posts), POST.c.state.in_(HAND), POST.c.claimed_by == self._node,
                    POST.c.wake_at < rows.micros(half_way),
                )
                .values(wake_at=rows.micros(lease_until))
            )  # fmt: skip

    def followable(self, now: datetime, limit: int) -> list[Post]:
        """Return posts whose status must be read now."""
        query = _skip_locked(FOLLOWABLE) if self._db.dialect.name == "postgresql" else FOLLOWABLE
        return self._readable(query, now=rows.micros(now), limit=limit)

    def in_hand(self, now: datetime | None) -> list[Post]:
        """Return posts in hand whose lease ended before `now` (None: all that this node has claimed)."""
        if now is None:
            return self._readable(MY_IN_HAND, node=self._node)
        # What another node is changing right now is not over; nor must one that was stopped in the middle stop this one.
        query = _skip_locked(LEASE_OVER) if self._db.dialect.name == "postgresql" else LEASE_OVER
        return self._readable(query, now=rows.micros(now), node=self._node)

    def busy_with(self, account: AccountName) -> list[PostId]:
        """Return the account's posts that are being sent, on whichever node, or that the platform still works on."""
        states = [*HAND, State.PROCESSING.value]
        query = select(POST.c.id).where(POST.c.account == account, POST.c.state.in_(states))
        return [PostId(key) for key in self._db.execute(query.order_by(POST.c.id)).scalars()]

    def held(self, now: datetime | None, reasons: tuple[str, ...], account: AccountName | None) -> list[Post]:
        """Return held posts with one of these reasons whose hold time (if any) is over; None: whatever their time."""
        query = HELD if account is None else HELD.where(POST.c.account == account)
        moment = _EVER if now is None else rows.micros(now)
        return self._readable(query.order_by(POST.c.due_at), now=moment, reasons=list(reasons))

    def finished_retained(self, before: datetime, limit: int) -> list[Post]:
        """Return posts that ended before `before` and whose state still stands on the broker."""
        query = select(POST).where(POST.c.retained == 1, POST.c.finished_at < rows.micros(before))
        return self._readable(query.limit(limit))

    def open_posts(self, after: PostId | None, limit: int) -> list[Post]:
        """Return posts whose state should stand on the broker, ordered by id."""
        query = select(POST).where(or_(POST.c.finished_at.is_(None), POST.c.retained == 1))
        if after is not None:
            query = query.where(POST.c.id > after)
        return self._posts(query.order_by(POST.c.id).limit(limit))

    def next_wake(self, after: datetime) -> datetime | None:
        """Return the earliest time after `after` at which a post wants to be looked at."""
        return rows.instant(self._db.execute(NEXT_WAKE, {"now": rows.micros(after)}).scalar())

    def count_posts(self) -> dict[str, int]:
        """Return how many posts stand in each state."""
        query = select(POST.c.state, func.count()).group_by(POST.c.state)
        return {str(state): int(count) for state, count in self._db.execute(query)}

    def oldest_due(self, now: datetime) -> datetime | None:
        """Return since when the oldest post has waited that is due and has not begun."""
        return rows.instant(self._db.execute(OLDEST_DUE, {"now": rows.micros(now)}).scalar())

    def last_successes(self) -> dict[AccountName, datetime]:
        """Return when each account has last got a post out. Reads every post that did."""
        out = POST.c.state.in_([State.PUBLISHED.value, State.SENT_TO_INBOX.value])
        query = select(POST.c.account, func.max(POST.c.finished_at)).where(out).group_by(POST.c.account)
        found = ((name, rows.instant(at)) for name, at in self._db.execute(query))
        return {AccountName(name): at for name, at in found if at is not None}

    def duplicates(self, account: AccountName, sha256: str, since: datetime) -> list[PostId]:
        """Return posts of this account with the same file that are open or have been published since."""
        found = {"account": account, "sha256": sha256, "since": rows.micros(since)}
        return [PostId(key) for key in self._db.execute(DUPLICATES, found).scalars()]

    def files_used(self, sha256s: Sequence[str], since: datetime) -> set[str]:
        """Return those of these contents that a post names which is open or has ended since."""
        query = select(POST.c.sha256).where(
            POST.c.sha256.in_(sha256s),
            or_(POST.c.finished_at.is_(None), POST.c.finished_at >= rows.micros(since)),
        )
        return set(self._db.execute(query.distinct()).scalars())

    def attempt(self, post_id: PostId, number: int) -> Attempt | None:
        """Return one attempt."""
        found = {"key": post_id, "place": number}
        row = self._db.execute(ATTEMPT_BY_NUMBER, found).mappings().first()
        return rows.attempt_of(row) if row else None  # type: ignore[arg-type]

    def attempts(self, post_id: PostId) -> list[Attempt]:
        """Return all attempts of a post in order."""
        query = select(ATTEMPT).where(ATTEMPT.c.post == post_id).order_by(ATTEMPT.c.number)
        return [rows.attempt_of(row) for row in self._db.execute(query).mappings()]  # type: ignore[arg-type]

    def save_attempt(self, attempt: Attempt) -> None:
        """Store a new or changed attempt."""
        values = rows.attempt_values(attempt)
        same = and_(ATTEMPT.c.post == attempt.post, ATTEMPT.c.number == attempt.number)
        if self._db.execute(update(ATTEMPT).where(same).values(values)).rowcount == 0:
            self._db.execute(insert(ATTEMPT).values(values))

    def sealed_attempts(self, after: tuple[PostId, int] | None, limit: int) -> list[Attempt]:
        """Return attempts that hold a sealed upload address, in order."""
        query = select(ATTEMPT).where(ATTEMPT.c.upload_url.is_not(None))
        if after is not None:
            query = query.where(tuple_(ATTEMPT.c.post, ATTEMPT.c.number) > after)
        found = self._db.execute(query.order_by(ATTEMPT.c.post, ATTEMPT.c.number).limit(limit)).mappings()
        return [rows.attempt_of(row) for row in found]  # type: ignore[arg-type]

    def drop_posts(self, before: datetime, limit: int) -> int:
        """Forget posts that ended before `before`, with their attempts; return how many."""
        query = select(POST.c.id).where(
            POST.c.finished_at < rows.micros(before), POST.c.state.in_(ENDED), POST.c.retained == 0,
            POST.c.task.is_(None), POST.c.wake_at.is_(None),
        )  # fmt: skip
        if self._db.dialect.name == "postgresql":
            query = _skip_locked(query)
        return drop_these(self._db, self._db.execute(query.limit(limit)).scalars().all())

    def _posts(self, query: Select[Any], **parameters: Any) -> list[Post]:
        return [self._seen(row) for row in self._db.execute(query, parameters).mappings()]  # type: ignore[arg-type]

    def _readable(self, query: Select[Any], **parameters: Any) -> list[Post]:
        """Return the posts that can be read: one damaged row must not stop the clock for all others."""
        found = []
        for row in self._db.execute(query, parameters).mappings():
            try:
                found.append(self._seen(row))  # type: ignore[arg-type]
            except rows.DAMAGED as error:
                self._complain(row["id"], type(error).__name__)
        return found

    def _complain(self, post_id: str, why: str) -> None:
        if post_id not in self._damaged:
            self._damaged.add(post_id)
            LOG.error("post %s cannot be read (%s) and is left alone; see `tokd db check`", post_id, why)

    def _seen(self, row: rows.Row) -> Post:
        post = rows.post_of(row)
        self._states.setdefault(post.id, post.state.value)
        return post

    def _note_move(self, post_id: PostId, state: str) -> None:
        before = self._states.get(post_id)
        if before is not None and before != state:
            self.moves.append((before, state))
        self._states[post_id] = state


def drop_these(db: Connection, ids: Sequence[str]) -> int:
    """Remove these posts and their attempts; return how many."""
    if not ids:
        return 0
    db.execute(delete(ATTEMPT).where(ATTEMPT.c.post.in_(ids)))
    return db.execute(delete(POST).where(POST.c.id.in_(ids))).rowcount


def _skip_locked(query: Select[Any]) -> Select[Any]:
    return query.with_for_update(skip_locked=True)
