"""Mail that waits to be sent, verified addresses, links bound to an address."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add a table and three columns; no address counts as verified yet."""
    op.add_column("gatehouse_user", sa.Column("email_key", sa.String(length=254)))
    op.add_column("gatehouse_user", sa.Column("must_verify", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_index("ix_gatehouse_user_email_key", "gatehouse_user", ["email_key"], unique=True)
    op.add_column(
        "gatehouse_link", sa.Column("address", sa.String(length=254), server_default=sa.text("''"), nullable=False)
    )
    op.create_table(
        "gatehouse_mail",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("template", sa.String(length=32), nullable=False),
        sa.Column("user_id", ID),
        sa.Column("address", sa.String(length=254), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("sending_until", sa.BigInteger(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["gatehouse_user.id"],
            name=op.f("fk_gatehouse_mail_user_id_gatehouse_user"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gatehouse_mail")),
        sqlite_autoincrement=True,
        comment="mail that waits to be sent; no secret is in it: a link is made when its mail is sent",
    )
    for column in ("user_id", "due_at"):
        op.create_index(f"ix_gatehouse_mail_{column}", "gatehouse_mail", [column], unique=False)
