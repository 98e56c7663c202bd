"""The number of a session's row is the beginning of its digest, so that SQLite looks for none in an index first."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from flask_gatehouse.kernel.errors import SchemaOutdatedError

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

COMMENT = "live sessions, each at the first bits of its digest; a revoked one is deleted"


def upgrade() -> None:
    """Give each session its new number; all of them go on."""
    if op.get_bind().dialect.name == "sqlite":
        _rebuild()
    else:
        _alter()
    columns = ["created_at", "public_id"]
    op.create_index("ix_gatehouse_session_created_at_public_id", "gatehouse_session", columns, unique=False)


def _alter() -> None:
    op.execute("ALTER TABLE gatehouse_session DROP CONSTRAINT IF EXISTS uq_gatehouse_session_digest")
    op.execute("ALTER TABLE gatehouse_session ALTER COLUMN id DROP IDENTITY IF EXISTS")
    op.execute("ALTER TABLE gatehouse_session ALTER COLUMN id DROP DEFAULT")
    op.execute("DROP SEQUENCE IF EXISTS gatehouse_session_id_seq")
    op.execute(
        "UPDATE gatehouse_session SET id ="
        " ('x' || encode(substring(digest FROM 1 FOR 8), 'hex'))::bit(64)::bigint & 9223372036854775807"
    )
    op.create_table_comment("gatehouse_session", COMMENT)


def _rebuild() -> None:
    """Write the rows into a new table, in the order of their numbers.

    SQLite takes neither AUTOINCREMENT nor a unique constraint off one that is there. The rows wait in another table:
    renaming ours would reach into the views and triggers of a host. Sessions of nobody, which only somebody without
    foreign keys can have left, stay behind.
    """
    _require_no_reference()
    driver: Any = op.get_bind().connection.dbapi_connection
    driver.create_function("gatehouse_row_number", 1, _row_number, deterministic=True)
    op.execute(
        "CREATE TEMPORARY TABLE gatehouse_session_before AS SELECT * FROM gatehouse_session"
        " WHERE user_id IN (SELECT id FROM gatehouse_user)"
    )
    op.execute("DROP TABLE gatehouse_session")
    op.create_table(
        "gatehouse_session",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("public_id", sa.String(length=32), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
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
        sa.UniqueConstraint("public_id", name=op.f("uq_gatehouse_session_public_id")),
    )
    op.execute(
        "INSERT INTO gatehouse_session"
        " SELECT gatehouse_row_number(digest), public_id, digest, user_id, is_pending, is_remembered, epoch,"
        " created_at, seen_at, expires_at, proofs, agent, address, data"
        " FROM temp.gatehouse_session_before ORDER BY 1"
    )
    op.execute("DROP TABLE temp.gatehouse_session_before")
    op.create_index("ix_gatehouse_session_expires_at", "gatehouse_session", ["expires_at"], unique=False)
    op.create_index(
        "ix_gatehouse_session_user_id_created_at", "gatehouse_session", ["user_id", "created_at"], unique=False
    )


def _require_no_reference() -> None:
    """Refuse what a DROP would reach: rows of a host that refer to sessions would be deleted with them."""
    query = (
        "SELECT m.name FROM sqlite_master AS m, pragma_foreign_key_list(m.name) AS f"
        " WHERE m.type = 'table' AND lower(f.\"table\") = 'gatehouse_session'"
    )
    found = op.get_bind().execute(sa.text(query)).scalars().first()
    if found is not None:
        msg = f"the table {found} refers to gatehouse_session, whose rows come and go: let it refer to gatehouse_user"
        raise SchemaOutdatedError(msg)


def _row_number(digest: bytes) -> int:
    """As `domain.sessions.row_number`; a migration does not change when the code does."""
    return int.from_bytes(digest[:8], "big") & (2**63 - 1)
