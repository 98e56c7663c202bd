"""Of which users a second factor is demanded, and which roles demand one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

OLD = "roles made at run time; those declared in code live there only"
NEW = "roles made at run time, and what assurance each demands; those declared in code live there only"


def upgrade() -> None:
    """Add the assurance level that is demanded: 1 for all that is there."""
    for table in ("gatehouse_user", "gatehouse_role"):
        op.add_column(table, sa.Column("aal", sa.Integer(), nullable=False, server_default="1"))
    if op.get_context().dialect.name != "sqlite":  # which keeps no comments
        op.create_table_comment("gatehouse_role", NEW, existing_comment=OLD)
