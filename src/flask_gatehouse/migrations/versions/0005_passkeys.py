"""Passkeys, and the challenges of theirs that were answered."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add two tables."""
    op.create_table(
        "gatehouse_passkey",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("credential_id", sa.LargeBinary(length=1023), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("sign_count", sa.BigInteger(), nullable=False),
        sa.Column("aaguid", sa.String(length=36), nullable=False),
        sa.Column("transports", sa.String(length=120), nullable=False),
        sa.Column("handle", sa.LargeBinary(length=64), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("can_be_backed_up", sa.Boolean(), nullable=False),
        sa.Column("is_backed_up", sa.Boolean(), nullable=False),
        sa.Column("mac", sa.LargeBinary(length=32), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger()),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["gatehouse_user.id"],
            name=op.f("fk_gatehouse_passkey_user_id_gatehouse_user"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gatehouse_passkey")),
        sa.UniqueConstraint("digest", name=op.f("uq_gatehouse_passkey_digest")),
        sqlite_autoincrement=True,
        comment="passkeys: public keys of authenticators; nothing in it logs anybody in",
    )
    op.create_index("ix_gatehouse_passkey_user_id", "gatehouse_passkey", ["user_id"], unique=False)
    op.create_table(
        "gatehouse_passkey_answer",
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_gatehouse_passkey_answer")),
        sqlite_with_rowid=False,
        comment="challenges that a passkey has answered, until they would have run out",
    )
    op.create_index("ix_gatehouse_passkey_answer_expires_at", "gatehouse_passkey_answer", ["expires_at"], unique=False)
