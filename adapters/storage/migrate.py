"""Bring a database to this program's schema, forward only, or refuse to touch it."""

import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, text

from daemon.domain.errors import StartRefused

if TYPE_CHECKING:
    from alembic.config import Config

LOG = logging.getLogger("tokd.storage")
HEAD = "0010"
_LOCK = 0x746F6B64  # "tokd"
_SCRIPTS = Path(__file__).parent / "migrations"


def migrate(engine: Engine) -> None:
    """Run the missing migrations in one transaction.

    Raises StartRefused for a database that a newer program has written, and leaves its bytes alone.
    """
    with engine.connect() as connection:
        found = current_revision(connection)
        connection.rollback()
    if found == HEAD:
        return
    refuse_newer(found)
    # Alembic costs a tenth of a second to import: only where there is something to do.
    from alembic import command  # noqa: PLC0415

    config = _config()
    with engine.connect() as connection:
        if connection.dialect.name == "postgresql":  # several nodes may start at once
            connection.execute(text("SET LOCAL lock_timeout = 0"))  # whoever came first may take its time
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        if current_revision(connection) != HEAD:
            config.attributes["connection"] = connection
            command.upgrade(config, HEAD)
        connection.commit()
    LOG.info("the database is at schema %s (was %s)", HEAD, found or "empty")


def refuse_newer(found: str | None) -> None:
    """Raise StartRefused for a revision that this program does not know."""
    if found in {None, HEAD}:
        return
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if found not in known:
        raise StartRefused(
            f"the database has schema {found}, this program knows up to {HEAD}: it was written by a newer "
            "tokd. Start that version, or restore a backup made before the upgrade"
        )


def current_revision(connection: Connection) -> str | None:
    """Return the schema revision of the database, None for an empty one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    value = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return str(value) if value is not None else None


def revision_of_file(path: Path) -> str | None:
    """Return the schema revision of a SQLite file, read without changing one byte in its folder.

    Raises sqlite3.DatabaseError for a file that is none.
    """
    if not path.exists() or path.stat().st_size == 0:
        return None
    # Without a write-ahead log beside it the file is all there is; with one, a reader leaves both as they are.
    how = "mode=ro" if path.with_name(path.name + "-wal").exists() else "immutable=1"
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True)) as raw:
        query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'"
        if raw.execute(query).fetchone() is None:
            return None
        row = raw.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(row[0]) if row else None


def _config() -> "Config":
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    return config
