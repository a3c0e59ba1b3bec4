"""One transaction as the bus sees it: inbox, accounts, budgets, flags, outbox (the mixins have the rest)."""

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from adapters.storage import rows
from adapters.storage.audit import AuditMixin
from adapters.storage.discoveries import DiscoveriesMixin
from adapters.storage.dropping import drop_some
from adapters.storage.hints import HintsMixin
from adapters.storage.links import LinksMixin
from adapters.storage.mark import WATER_FLAGS
from adapters.storage.posts import PostsMixin
from adapters.storage.sessions import SessionsMixin
from adapters.storage.statements import (
    ACCOUNT,
    ACCOUNT_BY_NAME,
    ADD_CALL,
    ADD_COMMAND,
    ADD_OUTBOX,
    CALL,
    CALLS_SINCE,
    COMMAND,
    DROP_UNSENT_STATE,
    FIND_COMMAND,
    FINISH_COMMAND,
    FLAG,
    FLAG_BY_NAME,
    LAST_SEQUENCE,
    OUTBOX,
)  # fmt: skip
from adapters.storage.tasks import TasksMixin
from adapters.storage.tokens import TokensMixin
from daemon.domain.account import Account
from daemon.domain.addresses import quiet_json
from daemon.domain.audit import Tail
from daemon.domain.errors import AccountUnreadable, Code, Rejected, StaleAttempt, TokdError
from daemon.domain.events import Event, as_cloudevent, as_json
from daemon.domain.ids import AccountName, Actor, NodeName, PostId
from daemon.domain.platform import Endpoint
from daemon.domain.wire import Request
from daemon.ports import Outgoing, StoredCommand


class SqlUnit(
    PostsMixin, TasksMixin, SessionsMixin, TokensMixin, LinksMixin, HintsMixin, DiscoveriesMixin, AuditMixin
):
    """A Unit over one SQLAlchemy connection with an open transaction."""

    def __init__(
        self, connection: Connection, node: NodeName, last_sequence: int | None = None, *, has_reader: bool = True,
        redact: Callable[[str], str] = str, trail: Tail | None = None, damaged: set[str] | None = None,
    ) -> None:  # fmt: skip
        self.sequence = last_sequence  # this node's latest event; None: not known yet
        self.trail = trail
        self._flags: dict[str, str | None] = {}
        self._db = connection
        self._node = node
        self._redact = redact
        self._has_reader = has_reader  # a broker will acknowledge the outbox; else its rows count as sent
        self._accounts: dict[AccountName, Account | None] = {}
        self._changes = self._total_changes()
        self._states: dict[PostId, str] = {}
        self._damaged = set() if damaged is None else damaged
        self.moves: list[tuple[str, str]] = []

    def changes_made(self) -> bool:
        """Tell whether this transaction has written anything."""
        return self._changes is None or self._total_changes() != self._changes

    def _total_changes(self) -> int | None:
        """Return SQLite's count of rows written so far; None for another database."""
        raw = self._db.connection.dbapi_connection
        return getattr(raw, "total_changes", None)

    def find_command(self, actor: Actor, command_id: str) -> StoredCommand | None:
        """Return the command this actor sent under this id."""
        found = {"node": self._node, "who": actor, "key": command_id}
        row = self._db.execute(FIND_COMMAND, found).mappings().first()
        return rows.command_of(row) if row else None  # type: ignore[arg-type]

    def command(self, row: int) -> StoredCommand:
        """Return the command in this row."""
        found = self._db.execute(select(COMMAND).where(COMMAND.c.row == row)).mappings().first()
        if found is None:
            raise TokdError(f"there is no command in row {row}")
        return rows.command_of(found)  # type: ignore[arg-type]

    def add_command(self, request: Request, command_id: str, reply: dict[str, Any] | None = None) -> int:
        """Store a command, with its final reply if there is one already, and return its row."""
        done = self._db.execute(
            ADD_COMMAND,
            {
                "node": self._node, "actor": request.actor, "command_id": command_id, "verb": request.verb,
                "body": quiet_json(request.body) if reply else request.body,
                "body_hash": request.body_hash, "transport": request.transport,
                "reply_to": request.reply_to, "correlation": request.correlation,
                "received_at": rows.micros(request.received_at),
                "reply": as_json(reply) if reply else None,
                "finished_at": rows.micros(request.received_at) if reply else None,
            },
        )  # fmt: skip
        return int(done.scalar_one())

    def finish_command(self, row: int, reply: dict[str, Any], now: datetime) -> None:
        """Store the final reply. Addresses lose their queries, which may be passwords: nothing runs again."""
        body = self._db.execute(select(COMMAND.c.body).where(COMMAND.c.row == row)).scalar_one()
        self._db.execute(
            FINISH_COMMAND,
            {
                "key": row,
                "reply": as_json(reply),
                "finished_at": rows.micros(now),
                "body": quiet_json(body),
            },
        )

    def open_commands(self) -> list[StoredCommand]:
        """Return the commands of this node that have no final reply."""
        query = select(COMMAND).where(COMMAND.c.node == self._node, COMMAND.c.finished_at.is_(None))
        found = self._db.execute(query.order_by(COMMAND.c.row)).mappings()
        return [rows.command_of(row) for row in found]  # type: ignore[arg-type]

    def count_open_commands(self) -> int:
        """Return how many commands of this node have no final reply."""
        query = select(func.count()).where(COMMAND.c.node == self._node, COMMAND.c.finished_at.is_(None))
        return self._db.execute(query).scalar_one()

    def drop_commands(self, before: datetime, limit: int) -> int:
        """Forget finished commands received before `before`; return how many."""
        is_old, is_over = COMMAND.c.received_at < rows.micros(before), COMMAND.c.finished_at.is_not(None)
        return drop_some(self._db, COMMAND, limit, is_old, is_over)

    def account(self, name: AccountName, *, lock: bool = False) -> Account | None:
        """Return one account; `lock` keeps other nodes from changing it until this transaction ends."""
        lock = lock and self._db.dialect.name == "postgresql"
        if lock or name not in self._accounts:
            query = ACCOUNT_BY_NAME.with_for_update() if lock else ACCOUNT_BY_NAME
            row = self._db.execute(query, {"key": name}).mappings().first()
            self._accounts[name] = rows.readable_account(row) if row else None  # type: ignore[arg-type]
        return self._accounts[name]

    def accounts(self) -> list[Account]:
        """Return all accounts by name, but those whose row cannot be read: one of them must not stop the others."""
        found: list[Account] = []
        for row in self._db.execute(select(ACCOUNT).order_by(ACCOUNT.c.name)).mappings():
            with suppress(AccountUnreadable):
                found.append(rows.readable_account(row))  # type: ignore[arg-type]
        return found

    def account_names(self, after: AccountName | None = None, limit: int | None = None) -> list[AccountName]:
        """Return the names of all accounts, readable or not, in order."""
        query = select(ACCOUNT.c.name).order_by(ACCOUNT.c.name).limit(limit)
        if after is not None:
            query = query.where(ACCOUNT.c.name > after)
        return [AccountName(name) for name in self._db.execute(query).scalars()]

    def save_account(self, account: Account) -> None:
        """Store a new or changed account.

        Raises StaleAttempt where its tokens are newer than these, Rejected(forbidden) where the person is linked under
        another name, which an index sees also where another node has done so just now.
        """
        values = rows.account_values(account) | ({} if account.has_tokens else {"twin_of": None})
        same = ACCOUNT.c.name == account.name
        newest = ACCOUNT.c.token_version <= account.token_version
        try:
            with self._undoable():
                if self._db.execute(update(ACCOUNT).where(same, newest).values(values)).rowcount == 0:
                    if self._db.execute(select(ACCOUNT.c.name).where(same)).first() is not None:
                        raise StaleAttempt(f"account {account.name} has newer tokens by now")
                    self._db.execute(insert(ACCOUNT).values(values))
        except IntegrityError:
            raise Rejected(
                Code.FORBIDDEN,
                f"the person of account {account.name} is linked under another name already; see account/list",
                field="args.account",
            ) from None
        self._accounts[account.name] = account

    def _undoable(self) -> AbstractContextManager[Any]:
        """Let a statement fail without the transaction: PostgreSQL refuses all that comes after it otherwise."""
        return self._db.begin_nested() if self._db.dialect.name == "postgresql" else nullcontext()

    def calls_since(self, account: AccountName, endpoint: Endpoint, since: datetime) -> list[datetime]:
        """Return the recorded calls, oldest first."""
        window = {"who": account, "call": endpoint.value, "since": rows.micros(since)}
        found = (rows.instant(at) for at in self._db.execute(CALLS_SINCE, window).scalars())
        return [at for at in found if at is not None]

    def record_call(self, account: AccountName, endpoint: Endpoint, at: datetime) -> None:
        """Remember a call for the local budget."""
        self._db.execute(ADD_CALL, {"account": account, "endpoint": endpoint.value, "at": rows.micros(at)})

    def drop_calls(self, before: datetime, limit: int) -> int:
        """Forget calls that no window can reach any more; return how many."""
        return drop_some(self._db, CALL, limit, CALL.c.at < rows.micros(before))

    def flag(self, name: str) -> str | None:
        """Return a flag of this node."""
        if name not in self._flags:
            found = {"node": self._node, "key": name}
            self._flags[name] = self._db.execute(FLAG_BY_NAME, found).scalar()
        return self._flags[name]

    def set_flag(self, name: str, value: str | None) -> None:
        """Set or clear a flag of this node."""
        self._flags[name] = value
        self._db.execute(delete(FLAG).where(FLAG.c.node == self._node, FLAG.c.name == name))
        if value is not None:
            self._db.execute(insert(FLAG).values(node=self._node, name=name, value=value))

    def forget_water(self) -> None:
        """Let the ledger be another one from its next start on: no mark that was made of it holds any more."""
        self._db.execute(delete(FLAG).where(FLAG.c.node == "", FLAG.c.name.in_(WATER_FLAGS)))

    def add_event(self, event: Event) -> Outgoing:
        """Give the event the next sequence number of this node and store it in the outbox."""
        sequence = self._next_sequence()
        payload = as_json(as_cloudevent(event, self._node, sequence))
        return self._add_outbox("event", "", event.channel, payload, event.time, sequence=sequence)

    def add_reply(
        self, transport: str, address: str, payload: str, correlation: bytes | None,
        expires_at: datetime | None, now: datetime,
    ) -> Outgoing:  # fmt: skip
        """Store a reply in the outbox."""
        return self._add_outbox(
            "reply", transport, address, payload, now, correlation=correlation, expires_at=expires_at
        )

    def add_state(self, path: str, payload: str, now: datetime, *, is_first: bool = False) -> Outgoing:
        """Store a retained state in the outbox, in place of an unsent older one of the same path."""
        if not is_first:
            self._db.execute(DROP_UNSENT_STATE, {"node": self._node, "path": path})
        return self._add_outbox("state", "", path, payload, now)

    def add_discovery(self, topic: str, payload: str, now: datetime) -> Outgoing:
        """Store a retained message to another system in the outbox. Each is sent, also where a newer one follows."""
        return self._add_outbox("discovery", "mqtt", topic, payload, now)

    def unsent(self, after: int, limit: int) -> list[Outgoing]:
        """Return outbox rows after this one that have not been acknowledged, in order."""
        query = (
            select(OUTBOX)
            .where(OUTBOX.c.node == self._node, OUTBOX.c.sent_at.is_(None), OUTBOX.c.row > after)
            .order_by(OUTBOX.c.row)
            .limit(limit)
        )
        return [rows.outgoing_of(row) for row in self._db.execute(query).mappings()]  # type: ignore[arg-type]

    def mark_sent(self, rows_sent: Sequence[int], now: datetime) -> None:
        """Note that the broker has these rows."""
        if rows_sent:
            self._db.execute(
                update(OUTBOX).where(OUTBOX.c.row.in_(list(rows_sent))).values(sent_at=rows.micros(now))
            )

    def count_unsent(self) -> int:
        """Return how many rows wait."""
        query = select(func.count()).where(OUTBOX.c.node == self._node, OUTBOX.c.sent_at.is_(None))
        return self._db.execute(query).scalar_one()

    def oldest_unsent(self) -> datetime | None:
        """Return when the first of the waiting rows was written."""
        query = select(OUTBOX.c.created_at).where(OUTBOX.c.node == self._node, OUTBOX.c.sent_at.is_(None))
        return rows.instant(self._db.execute(query.order_by(OUTBOX.c.row).limit(1)).scalar())

    def events_after(self, sequence: int, limit: int) -> list[dict[str, Any]]:
        """Return this node's events after the number, as CloudEvents."""
        query = (
            select(OUTBOX.c.payload)
            .where(OUTBOX.c.node == self._node, OUTBOX.c.sequence.is_not(None), OUTBOX.c.sequence > sequence)
            .order_by(OUTBOX.c.sequence)
            .limit(limit)
        )
        return [json.loads(payload) for payload in self._db.execute(query).scalars()]

    def last_sequence(self) -> int:
        """Return the number of this node's latest event, 0 where there is none."""
        if self.sequence is None:
            self.sequence = self._db.execute(LAST_SEQUENCE, {"node": self._node}).scalar() or 0
        return self.sequence

    def drop_outbox(self, before: datetime, limit: int) -> int:
        """Forget sent rows from before; return how many. The latest event stays: it carries the sequence."""
        return drop_some(
            self._db, OUTBOX, limit,
            OUTBOX.c.node == self._node,
            OUTBOX.c.created_at < rows.micros(before),
            OUTBOX.c.sent_at.is_not(None),
            or_(OUTBOX.c.sequence.is_(None), OUTBOX.c.sequence != self.last_sequence()),
        )  # fmt: skip

    def _next_sequence(self) -> int:
        # Counted on within the transaction: a rollback gives the number back, no holes.
        self.sequence = self.last_sequence() + 1
        return self.sequence

    def _add_outbox(
        self, kind: str, transport: str, address: str, payload: str, now: datetime, *,
        sequence: int | None = None, correlation: bytes | None = None, expires_at: datetime | None = None,
    ) -> Outgoing:  # fmt: skip
        payload = self._redact(payload)
        done = self._db.execute(
            ADD_OUTBOX,
            {
                "node": self._node, "kind": kind, "sequence": sequence, "transport": transport, "address": address,
                "payload": payload, "correlation": correlation, "expires_at": rows.micros(expires_at),
                "created_at": rows.micros(now), "sent_at": None if self._has_reader else rows.micros(now),
            },
        )  # fmt: skip
        return Outgoing(
            row=int(done.scalar_one()), transport=transport, kind=kind, address=address, payload=payload,
            correlation=correlation, expires_at=expires_at,
        )  # fmt: skip
