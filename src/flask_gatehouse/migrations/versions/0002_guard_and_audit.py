"""Known browsers, attempts that are still judged, sealed stretches of the audit log and indexes to search it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
SEARCHED = {
    "ix_gatehouse_event_address_id": ["address", "id"],
    "ix_gatehouse_event_at": ["at"],
    "ix_gatehouse_event_kind_at": ["kind", "at"],
}
RARE = (
    ("ix_gatehouse_counter_blocked_until", "gatehouse_counter", "blocked_until", "blocked_until > 0"),
    ("ix_gatehouse_counter_total", "gatehouse_counter", "total", "total >= 100"),
    ("ix_gatehouse_grant_until_at", "gatehouse_grant", "until_at", "until_at IS NOT NULL"),
)
WINDOWS_END = """
    UPDATE gatehouse_counter SET purge_at = ends_at
    WHERE key NOT LIKE 'user:%' AND key NOT LIKE 'inside:%' AND key NOT LIKE 'factor:%'
"""


def upgrade() -> None:
    """Add two tables, three columns of counters and indexes for what is looked for."""
    for name in ("judging", "refused"):
        op.add_column("gatehouse_counter", sa.Column(name, sa.Integer(), server_default="0", nullable=False))
    op.add_column("gatehouse_counter", sa.Column("purge_at", sa.BigInteger()))
    op.execute(WINDOWS_END)
    op.drop_index("ix_gatehouse_counter_ends_at", "gatehouse_counter")
    op.create_index("ix_gatehouse_counter_purge_at", "gatehouse_counter", ["purge_at"], unique=False)
    _add_devices()
    op.create_table(
        "gatehouse_audit_segment",
        sa.Column("last_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("first_id", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("sealed_at", sa.BigInteger(), nullable=False),
        sa.Column("mac", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("last_id", name=op.f("pk_gatehouse_audit_segment")),
        comment="stretches of the audit chain that were exported and deleted; the chain goes on from the newest",
    )
    for name, columns in SEARCHED.items():
        op.create_index(name, "gatehouse_event", columns, unique=False)
    for name, table, column, condition in RARE:
        where = sa.text(condition)
        op.create_index(name, table, [column], unique=False, sqlite_where=where, postgresql_where=where)


def _add_devices() -> None:
    op.create_table(
        "gatehouse_device",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["gatehouse_user.id"],
            name=op.f("fk_gatehouse_device_user_id_gatehouse_user"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gatehouse_device")),
        sa.UniqueConstraint("digest", "user_id", name=op.f("uq_gatehouse_device_digest_user_id")),
        sqlite_autoincrement=True,
        comment="known browsers: one that a user has logged in with; only the digest of its cookie is stored",
    )
    op.create_index("ix_gatehouse_device_user_id", "gatehouse_device", ["user_id"], unique=False)
