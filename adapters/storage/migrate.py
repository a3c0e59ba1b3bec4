"""Bring a database to this program's schema, forward only, or refuse to touch it."""

import logging
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from daemon.domain.errors import StartRefused

LOG = logging.getLogger("tokd.storage")
HEAD = "0001"
_SCRIPTS = Path(__file__).parent / "migrations"


def migrate(engine: Engine) -> None:
    """Run the missing migrations, each in one transaction.

    Raises StartRefused for a database that a newer program has written, and leaves its bytes alone.
    """
    with engine.connect() as connection:
        found = current_revision(connection)
        connection.rollback()
    if found == HEAD:
        return
    # Alembic costs a tenth of a second to import: only where there is something to do.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise StartRefused(
            f"the database has schema {found}, this program knows up to {HEAD}: it was written by a newer "
            "tokd. Start that version, or restore a backup made before the upgrade"
        )
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, HEAD)
        connection.commit()
    LOG.info("the database is at schema %s (was %s)", HEAD, found or "empty")


def current_revision(connection: Connection) -> str | None:
    """Return the schema revision of the database, None for an empty one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    value = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return str(value) if value is not None else None
