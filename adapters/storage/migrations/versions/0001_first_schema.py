"""The first schema.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    # Long on purpose: a migration is a record of what was done, read from top to bottom and never changed.
    op.create_table(
        "account",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("open_id", sa.Text(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("access_token", sa.Text(), nullable=False),
        sa.Column("refresh_token", sa.Text(), nullable=False),
        sa.Column("access_expires_at", INT, nullable=False),
        sa.Column("refresh_expires_at", INT, nullable=False),
        sa.Column("login", sa.Text(), nullable=False),
        sa.Column("linked_at", INT, nullable=False),
        sa.Column("enabled", INT, nullable=False),
        sa.Column("token_version", INT, nullable=False),
        sa.Column("refresh_node", sa.Text(), nullable=True),
        sa.Column("refresh_until", INT, nullable=True),
        sa.Column("creator", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("name"),
        sqlite_strict=True,
    )
    op.create_table(
        "call",
        sa.Column("row", INT, nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("at", INT, nullable=False),
        sa.PrimaryKeyConstraint("row"),
        sqlite_strict=True,
    )
    op.create_index("call_window", "call", ["account", "endpoint", "at"], unique=False)
    op.create_table(
        "command",
        sa.Column("row", INT, nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("command_id", sa.Text(), nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("body_hash", sa.Text(), nullable=False),
        sa.Column("transport", sa.Text(), nullable=False),
        sa.Column("reply_to", sa.Text(), nullable=False),
        sa.Column("correlation", sa.LargeBinary(), nullable=True),
        sa.Column("received_at", INT, nullable=False),
        sa.Column("reply", sa.Text(), nullable=True),
        sa.Column("finished_at", INT, nullable=True),
        sa.PrimaryKeyConstraint("row"),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    op.create_index("command_age", "command", ["received_at"], unique=False)
    op.create_index("command_once", "command", ["node", "actor", "command_id"], unique=True)
    op.create_index(
        "command_open",
        "command",
        ["node"],
        unique=False,
        sqlite_where=sa.text("finished_at IS NULL"),
        postgresql_where=sa.text("finished_at IS NULL"),
    )
    op.create_table(
        "flag",
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("node", "name"),
        sqlite_strict=True,
    )
    op.create_table(
        "outbox",
        sa.Column("row", INT, nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("sequence", INT, nullable=True),
        sa.Column("transport", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("correlation", sa.LargeBinary(), nullable=True),
        sa.Column("expires_at", INT, nullable=True),
        sa.Column("created_at", INT, nullable=False),
        sa.Column("sent_at", INT, nullable=True),
        sa.PrimaryKeyConstraint("row"),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    op.create_index("outbox_age", "outbox", ["created_at"], unique=False)
    op.create_index(
        "outbox_sequence",
        "outbox",
        ["node", "sequence"],
        unique=True,
        sqlite_where=sa.text("sequence IS NOT NULL"),
        postgresql_where=sa.text("sequence IS NOT NULL"),
    )
    op.create_index(
        "outbox_unsent_state",
        "outbox",
        ["node", "address"],
        unique=False,
        sqlite_where=sa.text("sent_at IS NULL AND kind = 'state'"),
        postgresql_where=sa.text("sent_at IS NULL AND kind = 'state'"),
    )
    op.create_index(
        "outbox_unsent",
        "outbox",
        ["node", "row"],
        unique=False,
        sqlite_where=sa.text("sent_at IS NULL"),
        postgresql_where=sa.text("sent_at IS NULL"),
    )
    op.create_table(
        "post",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("media", sa.Text(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=True),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("consent", sa.Text(), nullable=False),
        sa.Column("due_at", INT, nullable=True),
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("late_rule", sa.Text(), nullable=False),
        sa.Column("late_after_s", INT, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("state_since", INT, nullable=False),
        sa.Column("created_at", INT, nullable=False),
        sa.Column("command_id", sa.Text(), nullable=False),
        sa.Column("wake_at", INT, nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("version", INT, nullable=False),
        sa.Column("fence", INT, nullable=False),
        sa.Column("claimed_by", sa.Text(), nullable=True),
        sa.Column("attempt", INT, nullable=False),
        sa.Column("tries", INT, nullable=False),
        sa.Column("remote_tries", INT, nullable=False),
        sa.Column("claims", INT, nullable=False),
        sa.Column("checks", INT, nullable=False),
        sa.Column("publish_id", sa.Text(), nullable=True),
        sa.Column("public_ids", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("sent_bytes", INT, nullable=False),
        sa.Column("finished_at", INT, nullable=True),
        sa.Column("retained", INT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
    )
    op.create_index("post_account", "post", ["account", "created_at", "id"], unique=False)
    op.create_index("post_file", "post", ["account", "sha256"], unique=False)
    op.create_index("post_newest", "post", ["created_at", "id"], unique=False)
    op.create_index(
        "post_one_in_hand",
        "post",
        ["account"],
        unique=True,
        sqlite_where=sa.text("state IN ('claimed', 'committing', 'initialised', 'uploading', 'validating')"),
        postgresql_where=sa.text(
            "state IN ('claimed', 'committing', 'initialised', 'uploading', 'validating')"
        ),
    )
    op.create_index(
        "post_retained",
        "post",
        ["finished_at"],
        unique=False,
        sqlite_where=sa.text("retained = 1 AND finished_at IS NOT NULL"),
        postgresql_where=sa.text("retained = 1 AND finished_at IS NOT NULL"),
    )
    op.create_index("post_state", "post", ["state", "created_at", "id"], unique=False)
    op.create_index(
        "post_wake",
        "post",
        ["wake_at"],
        unique=False,
        sqlite_where=sa.text("wake_at IS NOT NULL"),
        postgresql_where=sa.text("wake_at IS NOT NULL"),
    )
    op.create_table(
        "attempt",
        sa.Column("post", sa.Text(), nullable=False),
        sa.Column("number", INT, autoincrement=False, nullable=False),
        sa.Column("fence", INT, nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("started_at", INT, nullable=False),
        sa.Column("init_sent_at", INT, nullable=True),
        sa.Column("init_hash", sa.Text(), nullable=True),
        sa.Column("publish_id", sa.Text(), nullable=True),
        sa.Column("upload_url", sa.Text(), nullable=True),
        sa.Column("url_expires_at", INT, nullable=True),
        sa.Column("size", INT, nullable=False),
        sa.Column("chunk_size", INT, nullable=False),
        sa.Column("chunk_count", INT, nullable=False),
        sa.Column("stored_bytes", INT, nullable=False),
        sa.Column("commit_sent_at", INT, nullable=True),
        sa.Column("ended_at", INT, nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["post"],
            ["post.id"],
        ),
        sa.PrimaryKeyConstraint("post", "number"),
        sqlite_strict=True,
    )
