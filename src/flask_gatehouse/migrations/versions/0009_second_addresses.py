"""A second e-mail address; users who have not confirmed theirs are found without a walk through all."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add two columns, and an index of the few rows that wait."""
    op.add_column("gatehouse_user", sa.Column("second_email", sa.String(length=254)))
    op.add_column("gatehouse_user", sa.Column("second_email_at", sa.BigInteger()))
    op.create_index(
        "ix_gatehouse_user_unconfirmed",
        "gatehouse_user",
        ["created_at"],
        unique=False,
        sqlite_where=sa.text("must_verify = 1"),
        postgresql_where=sa.text("must_verify"),
    )
