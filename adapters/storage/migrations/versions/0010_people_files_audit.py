"""One name for a person, the files that tasks hold, an audit trail that may be cut where it says so.

Two names that are one person from before stay as they are, for their posts must not move; the younger one is marked
(`twin_of`) and told at each start.

Revision ID: 0010
Revises: 0009
"""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
LINKED = "twin_of IS NULL AND (login <> 'unlinked' OR access_token <> '')"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STORED = re.compile(r"(?:.*/)?([0-9a-f]{64})\.[0-9a-z]{2,4}")
_REFUSE = "'the audit trail is only ever added to'"


def upgrade() -> None:
    _name_each_person_once()
    _note_files_of_tasks()
    _let_the_trail_be_cut()


def _only(condition: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def _name_each_person_once() -> None:
    op.add_column("account", sa.Column("twin_of", sa.Text(), nullable=True))
    known: dict[tuple[str, str], str] = {}
    rows = op.get_bind().execute(
        sa.text(
            "SELECT name, platform, open_id FROM account WHERE login <> 'unlinked' OR access_token <> '' "
            "ORDER BY linked_at, name"
        )
    )
    for name, platform, open_id in rows.fetchall():
        first = known.setdefault((platform, open_id), name)
        if first != name:
            op.get_bind().execute(
                sa.text("UPDATE account SET twin_of = :first WHERE name = :name"),
                {"first": first, "name": name},
            )
    op.create_index("account_person", "account", ["platform", "open_id"], unique=True, **_only(LINKED))


def _note_files_of_tasks() -> None:
    op.add_column("task", sa.Column("sha256", sa.Text(), nullable=True))
    op.add_column("task", sa.Column("updated_at", INT, nullable=True))
    for key, body in op.get_bind().execute(sa.text("SELECT id, body FROM task")).fetchall():
        task = json.loads(body)
        found = _STORED.fullmatch(task["output"].get("video_path") or "")
        updated_at = datetime.fromisoformat(task["updated_at"])
        values = {
            "sha256": found[1] if found else None, "key": key,
            "updated_at": (updated_at - _EPOCH) // timedelta(microseconds=1),
        }  # fmt: skip
        op.get_bind().execute(
            sa.text("UPDATE task SET sha256 = :sha256, updated_at = :updated_at WHERE id = :key"), values
        )
    op.create_index("task_file", "task", ["sha256"], unique=False, **_only("sha256 IS NOT NULL"))
    op.create_index("post_task", "post", ["task"], unique=False, **_only("task IS NOT NULL"))


def _let_the_trail_be_cut() -> None:
    op.create_table(
        "audit_cut",
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("number", INT, nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("cut_at", INT, nullable=False),
        sa.PrimaryKeyConstraint("node"),
        sqlite_strict=True,
    )
    op.create_index("audit_actor", "audit", ["node", "actor", "number"], unique=False)
    op.create_index("audit_verb", "audit", ["node", "verb", "number"], unique=False)
    cut = "SELECT 1 FROM audit_cut WHERE audit_cut.node = OLD.node AND audit_cut.number >= OLD.number"
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER audit_no_delete")
        op.execute(
            f"CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit WHEN NOT EXISTS ({cut}) "
            f"BEGIN SELECT RAISE(ABORT, {_REFUSE}); END"
        )
        return
    op.execute("DROP TRIGGER audit_no_change ON audit")
    op.execute(
        "CREATE TRIGGER audit_no_change BEFORE UPDATE OR TRUNCATE ON audit "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()"
    )
    op.execute(
        "CREATE FUNCTION audit_refuse_uncut() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN IF NOT EXISTS ({cut}) THEN RAISE EXCEPTION {_REFUSE}; END IF; RETURN OLD; END $$"
    )
    op.execute(
        "CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit "
        "FOR EACH ROW EXECUTE FUNCTION audit_refuse_uncut()"
    )
