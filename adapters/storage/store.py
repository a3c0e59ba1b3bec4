"""The Store port on SQLAlchemy: one connection, held by the bus thread; short write transactions."""

import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DatabaseError, DBAPIError

from adapters.storage.mark import Mark
from adapters.storage.migrate import migrate, refuse_newer, revision_of_file
from adapters.storage.unit import SqlUnit
from daemon.domain.audit import Tail
from daemon.domain.errors import StartRefused, StorageFailed, StorageFull
from daemon.domain.figures import Figures, Tally, Timing
from daemon.domain.ids import NodeName

LOG = logging.getLogger("tokd.storage")
# A ledger of this process alone: what a daemon without a ledger that it may trust keeps its messages in.
IN_MEMORY = "sqlite://"
PENDING = ".restore-pending"  # beside the ledger, while a restore is exchanging it
_FULL = ("database or disk is full", "no space left", "disk full")
_HELD = ("database is locked", "lock timeout")
# PostgreSQL keeps the locks of a node that was stopped in the middle of a transaction, or whose machine is gone, for
# as long as it believes in the connection: then every other node waits. A server or an address that has its own keeps it.
_PATIENCE_MS = {"idle_in_transaction_session_timeout": 10_000, "lock_timeout": 20_000}
_BROKEN = ("disk i/o error", "malformed", "not a database", "file is encrypted")


class SqlStore:
    """The ledger in SQLite or PostgreSQL. Opened and used by one thread."""

    def __init__(
        self, url: str, node: NodeName, *, has_broker: bool = True, redact: Callable[[str], str] = str,
        figures: Figures | None = None, mark: Mark | None = None,
    ) -> None:  # fmt: skip
        """`mark` is kept up with every commit; whoever writes without it leaves it behind, which does no harm."""
        self._url = url
        self._node = node
        self._has_broker = has_broker
        self._redact = redact
        self._figures = figures or Figures()
        self._mark = mark
        self._sequence: int | None = None
        self._trail: Tail | None = None
        self._damaged: set[str] = set()  # posts that cannot be read: each is told once
        self._engine: Engine | None = None
        self._connection: Connection | None = None

    def open(self) -> None:
        """Migrate, check and open. Raises StartRefused for a newer, damaged or unreachable database."""
        try:
            self._refuse_newer_file()
            self._engine = make_engine(self._url)
            migrate(self._engine)
            self._connection = self._engine.connect()
            if self._mark is not None:
                self._mark.open(_raw(self._connection))
        except (DatabaseError, sqlite3.DatabaseError) as error:
            self.close()
            cause = error.orig if isinstance(error, DatabaseError) else error
            raise StartRefused(
                f"the database cannot be opened: {cause}. Nothing was changed, and nothing is put in its place. "
                "`tokd db check` says more; `tokd restore FILE` puts a backup back"
            ) from None
        except BaseException:
            self.close()
            raise

    def _refuse_newer_file(self) -> None:
        # Before the engine opens it: the pragmas of a connection write to a file that is not in WAL mode.
        path = ledger_file(self._url)
        if path is not None:
            if path.with_name(path.name + PENDING).exists():
                raise StartRefused(f"a restore of {path} was interrupted; run `tokd restore FILE` once more")
            refuse_newer(revision_of_file(path))

    @contextmanager
    def transaction(self) -> Iterator[SqlUnit]:
        """Begin a write transaction; commit durably at the end, roll back on any exception."""
        if self._connection is None:
            raise StorageFailed("the database is not open")
        try:
            with self._connection.begin():
                unit = SqlUnit(
                    self._connection,
                    self._node,
                    self._sequence,
                    has_reader=self._has_broker,
                    redact=self._redact,
                    trail=self._trail,
                    damaged=self._damaged,
                )
                yield unit
                changes = unit.changes_made()
                # Past SQLAlchemy, which would make it six times as dear.
                commits = self._mark.count(_raw(self._connection)) if changes and self._mark else None
                begun = perf_counter()
            took = perf_counter() - begun
            if commits is not None and self._mark:
                self._mark.write(commits, unit.sequence)
            # only this node counts its events and adds to its trail
            self._sequence, self._trail = unit.sequence, unit.trail
            if changes:  # what only reads has nothing to wait for
                self._figures.observe(Timing.COMMIT, took)
            for move in unit.moves:
                self._figures.count(Tally.POST_MOVES, *move)
        except (DBAPIError, sqlite3.Error) as error:
            self._translate(error)
            raise

    def wal_bytes(self) -> float | None:
        """Return the size of SQLite's write-ahead log, None where there is no such file. From any thread."""
        parsed = make_url(self._url)
        if parsed.get_backend_name() != "sqlite" or not parsed.database:
            return None
        try:
            return float(Path(f"{parsed.database}-wal").stat().st_size)
        except OSError:
            return None

    def close(self) -> None:
        """Checkpoint and close. Safe twice."""
        connection, engine = self._connection, self._engine
        self._connection = self._engine = None
        if connection is not None:
            if connection.dialect.name == "sqlite":
                _checkpoint(connection)
            connection.close()
        if engine is not None:
            engine.dispose()
        if self._mark is not None:
            self._mark.close()

    def _translate(self, error: DBAPIError | sqlite3.Error) -> None:
        cause, is_lost = (
            (error.orig, error.connection_invalidated) if isinstance(error, DBAPIError) else (error, False)
        )
        text = str(cause).lower()
        if any(word in text for word in _HELD):
            raise StorageFull("another program holds the database; nothing was stored") from None
        if any(word in text for word in _FULL):
            raise StorageFull("the disk is full: nothing was stored; make room") from None
        if any(word in text for word in _BROKEN) or is_lost:
            # After a failed fsync the page cache may lie: only what a new process reads from disk counts.
            raise StorageFailed(f"the database failed: {cause}") from None


def ledger_file(url: str) -> Path | None:
    """Return the file of an SQLite ledger, None for another database."""
    parsed = make_url(url)
    is_file = parsed.get_backend_name() == "sqlite" and parsed.database and not parsed.query
    return Path(str(parsed.database)) if is_file else None


def make_engine(url: str) -> Engine:
    """Return an engine whose transactions are durable: WAL with FULL sync and BEGIN IMMEDIATE on SQLite."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        engine = create_engine(parsed, hide_parameters=True, pool_pre_ping=True)
        event.listen(engine, "connect", _limit_patience)
        return engine
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    engine = create_engine(
        parsed, hide_parameters=True, connect_args={"isolation_level": None, "check_same_thread": False}
    )
    event.listen(engine, "connect", _set_pragmas)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def _set_pragmas(connection: sqlite3.Connection, _record: Any) -> None:
    for pragma in (
        "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=10000", "trusted_schema=OFF",
    ):  # fmt: skip
        connection.execute(f"PRAGMA {pragma}")


def _limit_patience(connection: Any, _record: Any) -> None:
    query = "SELECT set_config(%s, %s, false) WHERE current_setting(%s) = '0'"
    with connection.cursor() as cursor:
        for name, limit in _PATIENCE_MS.items():
            cursor.execute(query, (name, f"{limit}ms", name))
    connection.commit()  # a setting goes with the transaction that made it, where that is undone


def _begin_immediate(connection: Connection) -> None:
    # A deferred BEGIN that turns into a write later fails at once, whatever busy_timeout says.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _raw(connection: Connection) -> sqlite3.Connection:
    raw = connection.connection.dbapi_connection
    assert isinstance(raw, sqlite3.Connection)
    return raw


def _checkpoint(connection: Connection) -> None:
    try:
        _raw(connection).execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        LOG.warning("the last checkpoint failed: %s", error)
