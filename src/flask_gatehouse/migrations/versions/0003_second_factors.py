"""TOTP, recovery codes and what a session was asked."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add three tables."""
    op.create_table(
        "gatehouse_totp",
        sa.Column("user_id", ID, autoincrement=False, nullable=False),
        sa.Column("key_id", sa.String(length=16), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("last_step", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger()),
        _owned_by_user("totp"),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_gatehouse_totp")),
        comment="TOTP: the sealed seed, and the newest time step that was used",
    )
    op.create_index("ix_gatehouse_totp_key_id", "gatehouse_totp", ["key_id"], unique=False)
    op.create_table(
        "gatehouse_recovery_code",
        sa.Column("user_id", ID, autoincrement=False, nullable=False),
        sa.Column("slot", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger()),
        _owned_by_user("recovery_code"),
        sa.PrimaryKeyConstraint("user_id", "slot", name=op.f("pk_gatehouse_recovery_code")),
        sqlite_with_rowid=False,
        comment="recovery codes: only digests; one that was used stays, so that it is known to have been",
    )
    op.create_table(
        "gatehouse_challenge",
        sa.Column("session_id", sa.String(length=32), nullable=False),
        sa.Column("purpose", sa.String(length=32), nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("key_id", sa.String(length=16), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("wrong", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        _owned_by_user("challenge"),
        sa.PrimaryKeyConstraint("session_id", "purpose", name=op.f("pk_gatehouse_challenge")),
        comment="what a session was asked and has not answered yet, for one purpose each",
    )
    for column in ("user_id", "expires_at"):
        op.create_index(f"ix_gatehouse_challenge_{column}", "gatehouse_challenge", [column], unique=False)


def _owned_by_user(table: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_gatehouse_{table}_user_id_gatehouse_user")
    return sa.ForeignKeyConstraint(["user_id"], ["gatehouse_user.id"], name=name, ondelete="CASCADE")
