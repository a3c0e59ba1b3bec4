"""Tokens of HTTP: who may call, until when, and what was taken back.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "token",
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_name", sa.Text(), nullable=False),
        sa.Column("issued_at", INT, nullable=False),
        sa.Column("expires_at", INT, nullable=False),
        sa.Column("revoked_at", INT, nullable=True),
        sa.PrimaryKeyConstraint("node", "id"),
        sqlite_strict=True,
    )
