"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NAME = sa.String(length=80).with_variant(sa.String(length=80, collation="C"), "postgresql")


def upgrade() -> None:
    """Make all tables, the row that guards the last administrator, and the head of the empty audit chain."""
    op.create_table(
        "gatehouse_chain_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("mac", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gatehouse_chain_head")),
        comment="the last link of the audit chain, with a MAC by the key ring",
    )
    op.create_table(
        "gatehouse_counter",
        sa.Column("key", sa.String(length=120), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("ends_at", sa.BigInteger(), nullable=False),
        sa.Column("blocked_until", sa.BigInteger(), nullable=False),
        sa.Column("refunded_until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_gatehouse_counter")),
        comment="the throttle's counters",
    )
    op.create_index("ix_gatehouse_counter_ends_at", "gatehouse_counter", ["ends_at"], unique=False)
    op.create_table(
        "gatehouse_event",
        sa.Column("id", ID, autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("actor_id", ID, nullable=True),
        sa.Column("actor", sa.String(length=80), nullable=False),
        sa.Column("user_id", ID, nullable=True),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("agent", sa.String(length=256), nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("session_id", sa.String(length=32), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gatehouse_event")),
        comment="the audit log: only ever inserted into and read",
    )
    op.create_index("ix_gatehouse_event_kind_id", "gatehouse_event", ["kind", "id"], unique=False)
    op.create_index("ix_gatehouse_event_user_id_id", "gatehouse_event", ["user_id", "id"], unique=False)
    op.create_table(
        "gatehouse_guard",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("user_id", ID, nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_gatehouse_guard")),
        comment="rows that are locked or claimed once: last administrator, first administrator",
    )
    op.create_table(
        "gatehouse_role",
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_gatehouse_role")),
        comment="roles made at run time; those declared in code live there only",
    )
    op.create_table(
        "gatehouse_user",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("username", sa.String(length=80), nullable=False),
        sa.Column("username_key", NAME, nullable=False),
        sa.Column("email", sa.String(length=254), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state IN ('active', 'suspended', 'closed')", name=op.f("ck_gatehouse_user_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gatehouse_user")),
        sa.UniqueConstraint("username_key", name=op.f("uq_gatehouse_user_username_key")),
        comment="users; the id is never reused",
        sqlite_autoincrement=True,
    )
    op.create_table(
        "gatehouse_user_count",
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("state", name=op.f("pk_gatehouse_user_count")),
        comment="how many users are in each state, kept with every change",
    )
    op.create_table(
        "gatehouse_grant",
        sa.Column("user_id", ID, nullable=False),
        sa.Column("role", sa.String(length=80), nullable=False),
        sa.Column("until_at", sa.BigInteger(), nullable=True),
        sa.Column("granted_by", ID, nullable=True),
        sa.Column("granted_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["gatehouse_user.id"], name=op.f("fk_gatehouse_grant_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "role", name=op.f("pk_gatehouse_grant")),
        comment="user holds role, by whom, until when; role names are case-folded",
        sqlite_with_rowid=False,
    )
    op.create_index("ix_gatehouse_grant_role", "gatehouse_grant", ["role"], unique=False)
    op.create_table(
        "gatehouse_link",
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("purpose", sa.String(length=32), nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["gatehouse_user.id"], name=op.f("fk_gatehouse_link_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_gatehouse_link")),
        comment="one-time links; only the digest of the secret is stored",
    )
    op.create_index("ix_gatehouse_link_user_id", "gatehouse_link", ["user_id"], unique=False)
    op.create_table(
        "gatehouse_password",
        sa.Column("user_id", ID, nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("temporary_until", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["gatehouse_user.id"], name=op.f("fk_gatehouse_password_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_gatehouse_password")),
        comment="password digests, apart from the users so that no join of a host app meets them",
    )
    op.create_table(
        "gatehouse_role_permission",
        sa.Column("role", sa.String(length=80), nullable=False),
        sa.Column("permission", sa.String(length=120), nullable=False),
        sa.ForeignKeyConstraint(
            ["role"], ["gatehouse_role.name"], name=op.f("fk_gatehouse_role_permission_role"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("role", "permission", name=op.f("pk_gatehouse_role_permission")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "gatehouse_session",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("public_id", sa.String(length=32), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("is_pending", sa.Boolean(), nullable=False),
        sa.Column("is_remembered", sa.Boolean(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("proofs", sa.Text(), nullable=False),
        sa.Column("agent", sa.String(length=256), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["gatehouse_user.id"], name=op.f("fk_gatehouse_session_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gatehouse_session")),
        sa.UniqueConstraint("digest", name=op.f("uq_gatehouse_session_digest")),
        sa.UniqueConstraint("public_id", name=op.f("uq_gatehouse_session_public_id")),
        comment="live sessions; a revoked one is deleted",
        sqlite_autoincrement=True,
    )
    op.create_index("ix_gatehouse_session_expires_at", "gatehouse_session", ["expires_at"], unique=False)
    op.create_index(
        "ix_gatehouse_session_user_id_created_at", "gatehouse_session", ["user_id", "created_at"], unique=False
    )

    op.execute("INSERT INTO gatehouse_guard (name) VALUES ('last-admin')")
    counts = sa.table("gatehouse_user_count", sa.column("state"), sa.column("count"))
    op.bulk_insert(counts, [{"state": state, "count": 0} for state in ("active", "closed", "suspended")])
    head = sa.table("gatehouse_chain_head", sa.column("id"), sa.column("event_id"), sa.column("hash"), sa.column("mac"))
    op.bulk_insert(head, [{"id": 1, "event_id": 0, "hash": bytes(32), "mac": bytes(32)}])
