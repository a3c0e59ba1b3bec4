"""Webhooks that have come, and a way from a publish id to its post.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "webhook",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("received_at", INT, nullable=False),
        sa.PrimaryKeyConstraint("key"),
        sqlite_strict=True,
    )
    op.create_index("webhook_age", "webhook", ["received_at"], unique=False)
    op.create_index(
        "post_publish",
        "post",
        ["publish_id"],
        unique=False,
        sqlite_where=sa.text("publish_id IS NOT NULL"),
        postgresql_where=sa.text("publish_id IS NOT NULL"),
    )
