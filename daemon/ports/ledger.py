"""What the core needs to remember and to tell: the ledger, and the publishers of its outbox."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from daemon.domain.access import Token
from daemon.domain.account import Account
from daemon.domain.audit import Entry, Tail
from daemon.domain.events import Event
from daemon.domain.ids import AccountName, Actor, PostId, ProfileName, SessionId, TaskId
from daemon.domain.introduction import Told
from daemon.domain.linking import PendingLink
from daemon.domain.platform import (
    Endpoint,
)  # fmt: skip
from daemon.domain.post import Attempt, Post, State
from daemon.domain.session import (
    Session,
    Sighting,
)  # fmt: skip
from daemon.domain.task import Task, TaskStatus
from daemon.domain.wire import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One message to the world. `row` is its outbox row, 0 where it is not stored."""

    row: int
    transport: str  # which publisher; "" is all of them (events and states)
    kind: str  # event, reply, state, discovery, screenshot
    # events: post, account, daemon; replies: where the caller waits; states: path under state/; discovery: the whole
    # topic, which is another system's; screenshots: the account
    address: str
    payload: str  # empty clears a state
    correlation: bytes | None = None
    expires_at: datetime | None = None


class Publisher(Protocol):
    """Takes what a commit has made true to its readers."""

    transport: str
    keeps_outbox: bool  # acknowledges rows by MessagesSent; otherwise they count as sent when offered

    def offer(self, messages: Sequence[Outgoing]) -> None:
        """Take the messages in order. Never blocks, never raises.

        What cannot be sent now may be dropped: a publisher that keeps the outbox reads the unsent rows again.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCommand:
    """A row of the inbox."""

    row: int
    actor: Actor
    id: str
    verb: str
    body: str
    body_hash: str
    transport: str
    reply_to: str
    correlation: bytes | None
    received_at: datetime
    reply: dict[str, Any] | None = field(default=None)  # the final one


class Unit(Protocol):
    """One transaction of the bus thread. Nothing in it is true before it commits."""

    def find_command(self, actor: Actor, command_id: str) -> StoredCommand | None:
        """Return the command this actor sent under this id."""

    def command(self, row: int) -> StoredCommand:
        """Return the command in this row."""

    def add_command(self, request: Request, command_id: str, reply: dict[str, Any] | None = None) -> int:
        """Store a command, with its final reply if there is one already, and return its row."""

    def finish_command(self, row: int, reply: dict[str, Any], now: datetime) -> None:
        """Store the final reply."""

    def open_commands(self) -> list[StoredCommand]:
        """Return the commands of this node that have no final reply."""

    def count_open_commands(self) -> int:
        """Return how many commands of this node have no final reply."""

    def drop_commands(self, before: datetime, limit: int) -> int:
        """Forget finished commands received before `before`; return how many."""

    def add_audit(self, entry: Entry) -> None:
        """Add an entry to this node's audit trail; its number and digest follow from the one before it."""

    def audit(self, after: int, limit: int, actor: str | None, verb: str | None) -> list[Entry]:
        """Return entries of this node after a number, oldest first."""

    def audit_last(self, limit: int, actor: str | None, verb: str | None) -> list[Entry]:
        """Return the newest entries of this node, oldest first."""

    def cut_audit(self, before: datetime, limit: int) -> int:
        """Remove this node's oldest audit entries, as far as all are from before; return how many.

        The first that is left carries the digest of the last that went.
        """

    def audit_tail(self) -> Tail:
        """Return the number and digest of this node's newest entry."""

    def post(self, post_id: PostId) -> Post | None:
        """Return one post."""

    def posts_named(self, post_ids: Sequence[PostId]) -> dict[PostId, Post]:
        """Return those of these posts that exist."""

    def posts_sent_as(self, publish_id: str) -> list[Post]:
        """Return the posts whose latest attempt the platform knows by this id."""

    def posts(
        self, state: State | None, account: AccountName | None, cursor: str | None, limit: int
    ) -> tuple[list[Post], str | None]:
        """Return posts, newest first, and the next page's cursor. Raises Rejected(bad_field) for a bad one."""

    def add_post(self, post: Post) -> None:
        """Store a new post."""

    def save_post(self, post: Post) -> None:
        """Store a changed post. Raises StaleAttempt where somebody has stored a version or a fence as new."""

    def next_post(self, account: AccountName | None) -> Post | None:
        """Return the waiting post with the earliest time."""

    def queue_of(self, account: AccountName) -> tuple[int, datetime | None]:
        """Return how many posts of an account wait, and when the next of them is due."""

    def claim_due(self, now: datetime, lease_until: datetime, limit: int) -> list[tuple[PostId, int]]:
        """Claim due posts in one statement, earliest first, and return their new fences.

        Only posts that may go out: not too late, of a working account, one for an account at a time, whose
        file is on this node. On a shared database other nodes skip the rows this one has taken.
        """

    def due_but_barred(self, now: datetime, limit: int, *, all_of_them: bool = False) -> list[Post]:
        """Return due posts that may not be claimed: too late, or their account cannot post; or simply all."""

    def states_due(self, now: datetime) -> dict[State, int]:
        """Return how many posts in each state want to be looked at."""

    def renew(self, posts: Sequence[PostId], now: datetime, lease_until: datetime) -> None:
        """Extend the lease of posts that this node is driving, once half of it is over."""

    def followable(self, now: datetime, limit: int) -> list[Post]:
        """Return posts whose status must be read now; on a shared database, those no other node is at."""

    def in_hand(self, now: datetime | None) -> list[Post]:
        """Return posts in hand whose lease ended before `now` (None: all that this node has claimed)."""

    def busy_with(self, account: AccountName) -> list[PostId]:
        """Return the account's posts that are being sent, on whichever node, or that the platform still works on."""

    def held(self, now: datetime | None, reasons: tuple[str, ...], account: AccountName | None) -> list[Post]:
        """Return held posts with one of these reasons whose hold time (if any) is over; None: whatever their time."""

    def finished_retained(self, before: datetime, limit: int) -> list[Post]:
        """Return posts that ended before `before` and whose state still stands on the broker."""

    def open_posts(self, after: PostId | None, limit: int) -> list[Post]:
        """Return posts whose state should stand on the broker, ordered by id."""

    def next_wake(self, after: datetime) -> datetime | None:
        """Return the earliest time after `after` at which a post wants to be looked at."""

    def count_posts(self) -> dict[str, int]:
        """Return how many posts stand in each state."""

    def oldest_due(self, now: datetime) -> datetime | None:
        """Return since when the oldest post has waited that is due and has not begun."""

    def last_successes(self) -> dict[AccountName, datetime]:
        """Return when each account has last got a post out. Reads every post that did."""

    def duplicates(self, account: AccountName, sha256: str, since: datetime) -> list[PostId]:
        """Return posts of this account with the same file that are open or have been published since."""

    def files_used(self, sha256s: Sequence[str], since: datetime) -> set[str]:
        """Return those of these contents that a post names which is open or has ended since."""

    def attempt(self, post_id: PostId, number: int) -> Attempt | None:
        """Return one attempt."""

    def attempts(self, post_id: PostId) -> list[Attempt]:
        """Return all attempts of a post in order."""

    def save_attempt(self, attempt: Attempt) -> None:
        """Store a new or changed attempt."""

    def sealed_attempts(self, after: tuple[PostId, int] | None, limit: int) -> list[Attempt]:
        """Return attempts that hold a sealed upload address, in order."""

    def drop_posts(self, before: datetime, limit: int) -> int:
        """Forget posts that ended before `before`, with their attempts; return how many.

        Those that may still be asked after stay: with a state retained on the broker, and those of a task, which
        go with it.
        """

    def account(self, name: AccountName, *, lock: bool = False) -> Account | None:
        """Return one account; `lock` keeps other nodes from changing it until this transaction ends.

        Raises AccountUnreadable where its row makes no sense.
        """

    def accounts(self) -> list[Account]:
        """Return all accounts by name, but those whose row cannot be read: one of them must not stop the others."""

    def account_names(self, after: AccountName | None = None, limit: int | None = None) -> list[AccountName]:
        """Return the names of all accounts, readable or not, in order."""

    def save_account(self, account: Account) -> None:
        """Store a new or changed account.

        Raises StaleAttempt where its tokens are newer than these, Rejected(forbidden) where its person is linked under
        another name.
        """

    def link(self, account: AccountName) -> PendingLink | None:
        """Return the latest link of an account, used or not."""

    def link_of(self, state_hash: str) -> PendingLink | None:
        """Return the link with this hash of its state."""

    def links(self) -> list[PendingLink]:
        """Return all links that are kept, used or not."""

    def save_link(self, link: PendingLink) -> None:
        """Store a link in place of the account's one before."""

    def use_link(self, state_hash: str, now: datetime) -> bool:
        """Mark a link as used; return False where it is used or gone already, on whichever node."""

    def drop_link(self, account: AccountName) -> None:
        """Forget an account's link."""

    def drop_links(self, before: datetime, limit: int) -> int:
        """Forget links that had expired before `before`; return how many."""

    def task(self, task_id: TaskId, *, lock: bool = False) -> Task | None:
        """Return one task; `lock` keeps other nodes from changing it until this transaction ends."""

    def tasks(
        self,
        owner: str | None,
        instance: str | None,
        status: TaskStatus | None,
        cursor: str | None,
        limit: int,
    ) -> tuple[list[Task], str | None]:
        """Return tasks, newest first, and the next page's cursor. Raises Rejected(bad_field) for a bad one."""

    def add_task(self, task: Task) -> None:
        """Store a new task."""

    def drop_tasks(self, before: datetime, limit: int) -> int:
        """Forget final tasks that nobody has changed since `before`, with all their posts, if those had all ended.

        Return how many.
        """

    def files_of_tasks(self, sha256s: Sequence[str]) -> set[str]:
        """Return those of these contents that a task names which can be posted yet, or may come to be."""

    def save_task(self, task: Task) -> None:
        """Store a changed task. Raises StaleAttempt where its version is not the next one."""

    def session(self, session_id: SessionId) -> Session | None:
        """Return one session of this node."""

    def sessions(self, *, is_over: bool, limit: int) -> list[Session]:
        """Return this node's sessions, newest first: those that are over, or the others."""

    def add_session(self, session: Session) -> None:
        """Store a new session."""

    def save_session(self, session: Session) -> None:
        """Store a changed session."""

    def drop_sessions(self, before: datetime, limit: int) -> int:
        """Forget sessions that ended before `before`; return how many."""

    def sightings(self) -> dict[ProfileName, Sighting]:
        """Return when each profile was last seen logged in or out on this node."""

    def save_sighting(self, profile: ProfileName, sighting: Sighting) -> None:
        """Remember it."""

    def token(self, token_id: str) -> Token | None:
        """Return one token that this node has issued."""

    def tokens(self) -> list[Token]:
        """Return this node's tokens, newest first."""

    def add_token(self, token: Token) -> None:
        """Store a new token."""

    def revoke_token(self, token_id: str, now: datetime) -> None:
        """Note that a token was taken back."""

    def drop_tokens(self, before: datetime, limit: int) -> int:
        """Forget tokens that had expired before `before`; return how many."""

    def calls_since(self, account: AccountName, endpoint: Endpoint, since: datetime) -> list[datetime]:
        """Return the recorded calls, oldest first."""

    def record_call(self, account: AccountName, endpoint: Endpoint, at: datetime) -> None:
        """Remember a call for the local budget."""

    def drop_calls(self, before: datetime, limit: int) -> int:
        """Forget calls that no window can reach any more; return how many."""

    def add_hint(self, key: str, now: datetime) -> bool:
        """Remember a hint; return False where any node has had it before."""

    def drop_hints(self, before: datetime, limit: int) -> int:
        """Forget hints that came before `before`; return how many."""

    def flag(self, name: str) -> str | None:
        """Return a flag of this node."""

    def set_flag(self, name: str, value: str | None) -> None:
        """Set or clear a flag of this node."""

    def add_event(self, event: Event) -> Outgoing:
        """Give the event the next sequence number of this node and store it in the outbox."""

    def add_reply(self, transport: str, address: str, payload: str, correlation: bytes | None,
                  expires_at: datetime | None, now: datetime) -> Outgoing:  # fmt: skip
        """Store a reply in the outbox."""

    def add_state(self, path: str, payload: str, now: datetime, *, is_first: bool = False) -> Outgoing:
        """Store a retained state in the outbox, in place of an unsent older one of the same path."""

    def add_discovery(self, topic: str, payload: str, now: datetime) -> Outgoing:
        """Store a retained message to another system in the outbox. Each is sent, also where a newer one follows."""

    def discoveries(self) -> Mapping[str, Told]:
        """Return by topic what this node has told other systems and not taken back."""

    def save_discovery(self, topic: str, told: Told | None) -> None:
        """Note what is told under a topic now; None: nothing any more."""

    def unsent(self, after: int, limit: int) -> list[Outgoing]:
        """Return outbox rows after this one that have not been acknowledged, in order."""

    def mark_sent(self, rows_sent: Sequence[int], now: datetime) -> None:
        """Note that the broker has these rows."""

    def count_unsent(self) -> int:
        """Return how many rows wait."""

    def oldest_unsent(self) -> datetime | None:
        """Return when the first of the waiting rows was written."""

    def events_after(self, sequence: int, limit: int) -> list[dict[str, Any]]:
        """Return this node's events after the number, as CloudEvents."""

    def last_sequence(self) -> int:
        """Return the number of this node's latest event, 0 where there is none."""

    def drop_outbox(self, before: datetime, limit: int) -> int:
        """Forget sent rows from before; return how many."""


class Store(Protocol):
    """The ledger. Opened once, used by the bus thread only."""

    def open(self) -> None:
        """Migrate, check and open. Raises StartRefused for a newer or damaged database."""

    def transaction(self) -> AbstractContextManager[Unit]:
        """Begin a write transaction; commit durably at the end, roll back on any exception.

        Raises StorageFailed where a commit's outcome is unknown.
        """

    def close(self) -> None:
        """Checkpoint and close. Safe twice."""
