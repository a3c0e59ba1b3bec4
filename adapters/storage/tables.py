"""The tables. Times are integers, microseconds since 1970 in UTC; flags are 0 and 1; JSON is text.

Only INTEGER, TEXT and BLOB, so that SQLite can hold them STRICT. SQLModel tables do not validate, so nothing
but the row mappers of this package writes them.
"""

from typing import Any, ClassVar

from sqlalchemy import BigInteger, Index, Integer, LargeBinary, MetaData, Text, text
from sqlmodel import Field, SQLModel

from daemon.domain.post import IN_HAND, State

Int = BigInteger().with_variant(Integer(), "sqlite")
IN_HAND_SQL = "state IN (" + ", ".join(f"'{state}'" for state in sorted(IN_HAND)) + ")"
WAITING = (State.DRAFT, State.SCHEDULED, State.RETRY_WAIT, State.HELD)


def _index(name: str, *columns: str, where: str | None = None, unique: bool = False) -> Index:
    options: dict[str, Any] = {}
    if where:
        options = {"sqlite_where": text(where), "postgresql_where": text(where)}
    return Index(name, *columns, unique=unique, **options)


# Written out in queries too: SQLite uses a partial index only where it can see the same words.
UNSENT_STATE = "sent_at IS NULL AND kind = 'state'"
QUEUED = "state IN ('scheduled', 'retry_wait', 'held')"
# A person's tokens are here. Two names of one person from before this was refused do not count: see 0010.
LINKED = "twin_of IS NULL AND (login <> 'unlinked' OR access_token <> '')"


class Row(SQLModel):
    """The parent of all tables."""

    metadata: ClassVar[MetaData] = MetaData()


def _key(**options: Any) -> Any:
    return Field(primary_key=True, sa_type=Text, **options)


def _text(*, nullable: bool = False) -> Any:
    return Field(sa_type=Text, nullable=nullable, default=None if nullable else ...)


def _int(*, nullable: bool = False) -> Any:
    return Field(sa_type=Int, nullable=nullable, default=None if nullable else ...)


class CommandRow(Row, table=True):
    """The inbox: a command counts from the commit of its row. Unique for each caller and id."""

    __tablename__ = "command"
    __table_args__ = (
        _index("command_once", "node", "actor", "command_id", unique=True),
        _index("command_open", "node", where="finished_at IS NULL"),
        _index("command_age", "received_at"),
        {"sqlite_strict": True, "sqlite_autoincrement": True},
    )

    row: int | None = Field(default=None, primary_key=True, sa_type=Int)
    node: str = _text()
    actor: str = _text()
    command_id: str = _text()
    verb: str = _text()
    body: str = _text()
    body_hash: str = _text()
    transport: str = _text()
    reply_to: str = _text()
    correlation: bytes | None = Field(default=None, sa_type=LargeBinary, nullable=True)
    received_at: int = _int()
    reply: str | None = _text(nullable=True)
    finished_at: int | None = _int(nullable=True)


class PostRow(Row, table=True):
    """Posts: the truth about what is scheduled and how far it is."""

    __tablename__ = "post"
    __table_args__ = (
        # Two workers, or two nodes, can never drive one account at a time: the database refuses it.
        _index("post_one_in_hand", "account", where=IN_HAND_SQL, unique=True),
        _index("post_wake", "wake_at", where="wake_at IS NOT NULL"),
        _index("post_newest", "created_at", "id"),
        _index("post_state", "state", "created_at", "id"),
        _index("post_account", "account", "created_at", "id"),
        _index("post_file", "account", "sha256"),
        _index("post_publish", "publish_id", where="publish_id IS NOT NULL"),
        _index("post_queue", "account", "due_at", "state", where=QUEUED),
        _index("post_task", "task", where="task IS NOT NULL"),
        _index("post_retained", "finished_at", where="retained = 1 AND finished_at IS NOT NULL"),
        {"sqlite_strict": True},
    )

    id: str = _key()
    node: str = _text()
    account: str = _text()
    platform: str = _text()
    mode: str = _text()
    kind: str = _text()
    source: str = _text()
    media: str = _text()
    facts: str | None = _text(nullable=True)
    sha256: str | None = _text(nullable=True)
    description: str = _text()
    consent: str = _text()
    due_at: int | None = _int(nullable=True)
    zone: str = _text()
    late_rule: str = _text()
    late_after_s: int = _int()
    state: str = _text()
    state_since: int = _int()
    created_at: int = _int()
    command_id: str = _text()
    wake_at: int | None = _int(nullable=True)
    reason: str | None = _text(nullable=True)
    detail: str | None = _text(nullable=True)
    version: int = _int()
    fence: int = _int()
    claimed_by: str | None = _text(nullable=True)
    attempt: int = _int()
    tries: int = _int()
    remote_tries: int = _int()
    claims: int = _int()
    checks: int = _int()
    publish_id: str | None = _text(nullable=True)
    public_ids: str = _text()
    url: str | None = _text(nullable=True)
    sent_bytes: int = _int()
    finished_at: int | None = _int(nullable=True)
    retained: int = _int()
    task: str | None = _text(nullable=True)


class AttemptRow(Row, table=True):
    """Every run at a platform, with the marks that the crash table reads."""

    __tablename__ = "attempt"
    __table_args__ = ({"sqlite_strict": True},)

    post: str = _key(foreign_key="post.id")
    number: int = Field(primary_key=True, sa_type=Int, sa_column_kwargs={"autoincrement": False})
    fence: int = _int()
    node: str = _text()
    started_at: int = _int()
    init_sent_at: int | None = _int(nullable=True)
    init_hash: str | None = _text(nullable=True)
    publish_id: str | None = _text(nullable=True)
    upload_url: str | None = _text(nullable=True)
    url_expires_at: int | None = _int(nullable=True)
    size: int = _int()
    chunk_size: int = _int()
    chunk_count: int = _int()
    stored_bytes: int = _int()
    commit_sent_at: int | None = _int(nullable=True)
    ended_at: int | None = _int(nullable=True)
    outcome: str | None = _text(nullable=True)
    error: str | None = _text(nullable=True)


class AccountRow(Row, table=True):
    """Linked accounts; the tokens are sealed."""

    __tablename__ = "account"
    __table_args__ = (
        _index("account_person", "platform", "open_id", where=LINKED, unique=True),
        {"sqlite_strict": True},
    )

    name: str = _key()
    platform: str = _text()
    open_id: str = _text()
    scopes: str = _text()
    access_token: str = _text()
    refresh_token: str = _text()
    access_expires_at: int = _int()
    refresh_expires_at: int = _int()
    login: str = _text()
    linked_at: int = _int()
    enabled: int = _int()
    token_version: int = _int()
    refresh_node: str | None = _text(nullable=True)
    refresh_until: int | None = _int(nullable=True)
    creator: str | None = _text(nullable=True)
    detail: str | None = _text(nullable=True)
    twin_of: str | None = _text(nullable=True)


class CallRow(Row, table=True):
    """Calls made, for the local budgets: they survive a restart."""

    __tablename__ = "call"
    __table_args__ = (_index("call_window", "account", "endpoint", "at"), {"sqlite_strict": True})

    row: int | None = Field(default=None, primary_key=True, sa_type=Int)
    account: str = _text()
    endpoint: str = _text()
    at: int = _int()


class FlagRow(Row, table=True):
    """Small facts of one node: paused, the last clean stop."""

    __tablename__ = "flag"
    __table_args__ = ({"sqlite_strict": True},)

    node: str = _key()
    name: str = _key()
    value: str = _text()


class OutboxRow(Row, table=True):
    """What must reach the world: written with the change it tells, published afterwards."""

    __tablename__ = "outbox"
    __table_args__ = (
        _index("outbox_unsent", "node", "row", where="sent_at IS NULL"),
        _index("outbox_sequence", "node", "sequence", unique=True, where="sequence IS NOT NULL"),
        _index("outbox_unsent_state", "node", "address", where=UNSENT_STATE),
        _index("outbox_age", "created_at"),
        # A row number is never given twice: a late acknowledgement must not mark another message as sent.
        {"sqlite_strict": True, "sqlite_autoincrement": True},
    )

    row: int | None = Field(default=None, primary_key=True, sa_type=Int)
    node: str = _text()
    kind: str = _text()
    sequence: int | None = _int(nullable=True)
    transport: str = _text()
    address: str = _text()
    payload: str = _text()
    correlation: bytes | None = Field(default=None, sa_type=LargeBinary, nullable=True)
    expires_at: int | None = _int(nullable=True)
    created_at: int = _int()
    sent_at: int | None = _int(nullable=True)


class SessionRow(Row, table=True):
    """Browser sessions of a node. The body is the whole session; the columns are what is searched for."""

    __tablename__ = "session"
    __table_args__ = (_index("session_newest", "node", "is_over", "created_at"), {"sqlite_strict": True})

    node: str = _key()
    id: str = _key()
    is_over: int = _int()
    created_at: int = _int()
    ended_at: int | None = _int(nullable=True)
    body: str = _text()


class TaskRow(Row, table=True):
    """Tasks of other services. The body is the whole task; the columns are what is searched for."""

    __tablename__ = "task"
    __table_args__ = (
        _index("task_newest", "created_at", "id"),
        _index("task_owner", "owner", "created_at", "id"),
        _index("task_file", "sha256", where="sha256 IS NOT NULL"),
        {"sqlite_strict": True},
    )

    id: str = _key()
    owner: str = _text()
    instance: str = _text()
    status: str = _text()
    created_at: int = _int()
    version: int = _int()
    body: str = _text()
    sha256: str | None = _text(nullable=True)
    updated_at: int | None = _int(nullable=True)


class TokenRow(Row, table=True):
    """Tokens of HTTP that this node has issued: who may come, until when. Never their text."""

    __tablename__ = "token"
    __table_args__ = ({"sqlite_strict": True},)

    node: str = _key()
    id: str = _key()
    user_name: str = _text()
    issued_at: int = _int()
    expires_at: int = _int()
    revoked_at: int | None = _int(nullable=True)


class HintRow(Row, table=True):
    """Webhooks that have come: a repeat of one does nothing, whichever node it comes to."""

    __tablename__ = "webhook"
    __table_args__ = (_index("webhook_age", "received_at"), {"sqlite_strict": True})

    key: str = _key()
    received_at: int = _int()


class LinkRow(Row, table=True):
    """Links of accounts that were begun: the state's hash, never the state; the PKCE verifier is sealed."""

    __tablename__ = "link"
    __table_args__ = (_index("link_state", "state_hash", unique=True), {"sqlite_strict": True})

    account: str = _key()
    state_hash: str = _text()
    node: str = _text()
    actor: str = _text()
    platform: str = _text()
    client_key: str = _text()
    redirect_uri: str = _text()
    scopes: str = _text()
    verifier: str | None = _text(nullable=True)
    created_at: int = _int()
    expires_at: int = _int()
    used_at: int | None = _int(nullable=True)


class DiscoveryRow(Row, table=True):
    """What other systems on the broker have been told, by topic: only so can it be taken back some day."""

    __tablename__ = "discovery"
    __table_args__ = ({"sqlite_strict": True},)

    node: str = _key()
    topic: str = _key()
    components: str = _text()
    digest: str = _text()


class SightingRow(Row, table=True):
    """The login state of each profile when it was last read."""

    __tablename__ = "sighting"
    __table_args__ = ({"sqlite_strict": True},)

    node: str = _key()
    profile: str = _key()
    body: str = _text()


class AuditRow(Row, table=True):
    """What was ordered on a node, by whom, and what came of it. Triggers refuse to change a row or to remove one.

    Those up to a noted cut may be removed.
    """

    __tablename__ = "audit"
    __table_args__ = (
        _index("audit_actor", "node", "actor", "number"),
        _index("audit_verb", "node", "verb", "number"),
        {"sqlite_strict": True},
    )

    node: str = _key()
    number: int = Field(primary_key=True, sa_type=Int)
    at: int = _int()
    transport: str = _text()
    actor: str = _text()
    verb: str = _text()
    command_id: str | None = _text(nullable=True)
    body_hash: str = _text()
    status: str = _text()
    code: str | None = _text(nullable=True)
    digest: str = _text()


class AuditCutRow(Row, table=True):
    """Where a node's audit trail begins: the number and digest of the last entry that was removed for its age."""

    __tablename__ = "audit_cut"
    __table_args__ = ({"sqlite_strict": True},)

    node: str = _key()
    number: int = _int()
    digest: str = _text()
    cut_at: int = _int()
