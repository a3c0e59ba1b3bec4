"""What other systems on the broker have been told, and an index to count what waits for an account.

Revision ID: 0008
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0006"

QUEUED = sa.text("state IN ('scheduled', 'retry_wait', 'held')")


def upgrade() -> None:
    op.create_table(
        "discovery",
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("components", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("node", "topic"),
        sqlite_strict=True,
    )
    op.create_index(
        "post_queue",
        "post",
        ["account", "due_at", "state"],
        unique=False,
        sqlite_where=QUEUED,
        postgresql_where=QUEUED,
    )
