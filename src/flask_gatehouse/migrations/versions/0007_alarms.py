"""Who has said "this wasn't me", and which address was verified before the present one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add three columns: nobody has raised an alarm, and every address is an old one."""
    op.add_column("gatehouse_user", sa.Column("alarm_at", sa.BigInteger()))
    where = sa.text("alarm_at IS NOT NULL")
    index = ("ix_gatehouse_user_alarm_at", "gatehouse_user", ["alarm_at"])
    op.create_index(*index, unique=False, sqlite_where=where, postgresql_where=where)
    op.add_column("gatehouse_user", sa.Column("email_at", sa.BigInteger()))
    op.add_column("gatehouse_user", sa.Column("email_before", sa.String(length=254)))
