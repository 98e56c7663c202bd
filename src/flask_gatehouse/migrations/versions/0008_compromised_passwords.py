"""Since when a password is marked as compromised."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the mark: none that is there bears it."""
    op.add_column("gatehouse_password", sa.Column("compromised_at", sa.BigInteger(), nullable=True))
