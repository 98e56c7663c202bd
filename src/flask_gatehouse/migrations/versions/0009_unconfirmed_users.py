"""Users who have not confirmed their address are found without a walk through all."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add an index of the few rows that wait."""
    op.create_index(
        "ix_gatehouse_user_unconfirmed",
        "gatehouse_user",
        ["created_at"],
        unique=False,
        sqlite_where=sa.text("must_verify = 1"),
        postgresql_where=sa.text("must_verify"),
    )
