"""Is the ledger whole? What SQLite says of its file, and what must hold between the rows. Reads only."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine, NullPool, create_engine, event, func, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DatabaseError

from adapters.storage import rows
from adapters.storage.mark import Water, mark_of, read_mark, read_water, what_is_missing
from adapters.storage.migrate import HEAD, current_revision, refuse_newer
from adapters.storage.statements import OUTBOX
from adapters.storage.tables import IN_HAND_SQL, AuditRow
from adapters.storage.unit import SqlUnit
from daemon.domain.audit import first_break
from daemon.domain.errors import StartRefused
from daemon.domain.events import EventType
from daemon.domain.ids import NodeName

_PAGE = 1000
_SHOWN = 5
_EVERY = -1  # as a limit of SQLite's
_JUMP = f"dev.tokd.{EventType.DAEMON_RESTORED.value}"


@dataclass(frozen=True, slots=True)
class Look:
    """One thing that was looked at: its name, whether it is as it must be, and what was seen."""

    name: str
    is_ok: bool
    text: str


def check_ledger(url: str) -> Iterator[Look]:
    """Yield every look at the ledger, the daemon running or not; nothing is changed.

    A file that is damaged ends the list: what its rows say is worth nothing then.
    """
    path = make_url(url).database
    # Read first: a daemon at work moves it on while the ledger is looked at as of one moment.
    marked = read_mark(mark_of(Path(path))) if path else None
    engine = reading_engine(url)
    try:
        with engine.connect() as connection:
            yield from _check(connection)
            if connection.dialect.name == "sqlite" and marked is not None:
                yield _as_marked(connection, marked)
    except (DatabaseError, sqlite3.DatabaseError) as error:
        cause = error.orig if isinstance(error, DatabaseError) else error
        yield Look("file", is_ok=False, text=f"it cannot be read: {cause}")
    finally:
        engine.dispose()


def reading_engine(url: str) -> Engine:
    """Return an engine that reads only: on SQLite it never checkpoints, and one transaction sees one moment."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        return create_engine(parsed, hide_parameters=True)
    path = Path(parsed.database)
    engine = create_engine("sqlite://", creator=lambda: open_readonly(path), poolclass=NullPool)
    event.listen(engine, "begin", _begin)
    return engine


def open_readonly(path: Path) -> sqlite3.Connection:
    """Open a SQLite file for reading only. Raises sqlite3.Error."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10, isolation_level=None)


def quick_faults(raw: sqlite3.Connection) -> list[str]:
    """Return what SQLite's quick check finds wrong: all but indexes that contradict their tables."""
    found = [str(row[0]) for row in raw.execute("PRAGMA quick_check(1)")]
    return [] if found == ["ok"] else found


def file_faults(raw: sqlite3.Connection) -> list[str]:
    """Return what the full integrity check and the check of the references find wrong."""
    found = [str(row[0]) for row in raw.execute("PRAGMA integrity_check(20)")]
    faults = [] if found == ["ok"] else found
    dangling = raw.execute("PRAGMA foreign_key_check").fetchmany(20)
    return faults + [
        f"row {row[1]} of {row[0]} points at a row of {row[2]} that is not there" for row in dangling
    ]


def unreadable_rows(raw: sqlite3.Connection, most: int) -> list[str]:
    """Return the rows with which work would begin and that hold what no tokd has written: a bit that turned, say.

    SQLite has no checksums, so it finds nothing wrong with them. The schema must be this program's. `most` bounds the
    posts, which take 0.1 ms each. Raises sqlite3.Error for text that is none.
    """
    cursor = raw.cursor()
    cursor.row_factory = sqlite3.Row
    faults = []
    for table, read, rest in (
        ("account", rows.account_of, ""),
        ("post", rows.post_of, "WHERE wake_at IS NOT NULL ORDER BY wake_at"),
        ("attempt", rows.attempt_of, "WHERE ended_at IS NULL"),
        ("command", rows.command_of, "WHERE finished_at IS NULL"),
    ):
        for row in cursor.execute(f"SELECT * FROM {table} {rest} LIMIT ?", (most,)):  # noqa: S608
            try:
                read(dict(row))
            except rows.DAMAGED as error:
                faults.append(f"{table} {row[0]} holds what cannot be ({type(error).__name__})")
    return faults


@contextmanager
def _as_raw(connection: Connection) -> Iterator[sqlite3.Connection]:
    raw = connection.connection.dbapi_connection
    assert isinstance(raw, sqlite3.Connection)
    yield raw


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _check(connection: Connection) -> Iterator[Look]:
    if connection.dialect.name == "sqlite":
        with _as_raw(connection) as raw:
            faults = file_faults(raw)
        yield _look("file", faults, "integrity_check and foreign_key_check find nothing")
        if faults:
            return
    revision = current_revision(connection)
    yield _schema(revision)
    if revision != HEAD:
        return
    if connection.dialect.name == "sqlite":
        with _as_raw(connection) as raw:
            faults = unreadable_rows(raw, _EVERY)
        yield _look("rows", faults, "what stands in them can be read")
        if faults:
            return
    yield _look("posts in hand", _two_in_hand(connection), "one for an account at the most")
    yield _look(
        "attempts", _stray_attempts(connection), "each belongs to a post, and each post has its latest"
    )
    yield _look("events", _holes(connection), "their numbers have no hole")
    yield _look("audit trail", _broken_trails(connection), "every entry follows from the one before it")


def _as_marked(connection: Connection, marked: Water) -> Look:
    with _as_raw(connection) as raw:
        missing = what_is_missing(marked, read_water(raw))
    return _look("mark", [missing] if missing else [], "no commit that was acknowledged is missing")


def _look(name: str, faults: Sequence[str], fine: str) -> Look:
    if not faults:
        return Look(name, is_ok=True, text=fine)
    more = f" and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
    return Look(name, is_ok=False, text="; ".join(faults[:_SHOWN]) + more)


def _schema(revision: str | None) -> Look:
    if revision == HEAD:
        return Look("schema", is_ok=True, text=revision)
    try:
        refuse_newer(revision)
    except StartRefused as error:
        return Look("schema", is_ok=False, text=str(error))
    if revision is None:
        return Look("schema", is_ok=False, text="there is none: this is not a ledger of tokd")
    return Look("schema", is_ok=True, text=f"{revision}; the next start brings it to {HEAD}")


def _two_in_hand(connection: Connection) -> list[str]:
    query = f"SELECT account, COUNT(*) FROM post WHERE {IN_HAND_SQL} GROUP BY account HAVING COUNT(*) > 1"  # noqa: S608
    return [f"account {name} has {count}" for name, count in connection.execute(text(query))]


def _stray_attempts(connection: Connection) -> list[str]:
    orphans = "SELECT post, number FROM attempt WHERE post NOT IN (SELECT id FROM post)"
    lost = (
        "SELECT id, attempt FROM post WHERE attempt > 0 AND NOT EXISTS "
        "(SELECT 1 FROM attempt WHERE attempt.post = post.id AND attempt.number = post.attempt)"
    )
    return [
        *(f"attempt {number} of post {post}, which is not there" for post, number in connection.execute(text(orphans))),
        *(f"post {post} lacks its attempt {number}" for post, number in connection.execute(text(lost))),
    ]  # fmt: skip


def _holes(connection: Connection) -> list[str]:
    """Return where numbers are missing; after a restored backup they go on further up, which its event says."""
    faults: list[str] = []
    query = select(OUTBOX.c.node, OUTBOX.c.sequence).where(OUTBOX.c.sequence.is_not(None))
    last: dict[str, int] = {}
    for node, number in connection.execute(query.order_by(OUTBOX.c.node, OUTBOX.c.sequence)):
        before = last.get(node)
        if before is not None and number != before + 1 and not _is_jump(connection, node, number):
            faults.append(f"node {node}: {before + 1} to {number - 1} are missing")
        last[node] = number
    return faults


def _is_jump(connection: Connection, node: str, number: int) -> bool:
    query = select(OUTBOX.c.payload).where(OUTBOX.c.node == node, OUTBOX.c.sequence == number)
    return bool(json.loads(connection.execute(query).scalar() or "{}").get("type") == _JUMP)


def _broken_trails(connection: Connection) -> list[str]:
    audit = AuditRow.__table__  # type: ignore[attr-defined]
    nodes = (
        connection.execute(select(audit.c.node).group_by(audit.c.node).order_by(audit.c.node)).scalars().all()
    )
    faults = []
    for node in nodes:
        broken = first_break(_entries(connection, NodeName(node)), node)
        latest = connection.execute(select(func.max(audit.c.number)).where(audit.c.node == node)).scalar()
        if broken is not None:
            faults.append(f"node {node}: entry {broken} of {latest} does not follow from the one before it")
    return faults


def _entries(connection: Connection, node: NodeName) -> Iterator[dict[str, object]]:
    unit, after = SqlUnit(connection, node), 0
    while page := unit.audit(after, _PAGE, None, None):
        yield from (entry.as_dict() for entry in page)
        after = page[-1].number
