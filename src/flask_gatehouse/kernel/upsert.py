"""INSERT that knows ON CONFLICT, in the words of either database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.dialects import postgresql, sqlite

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table


def insert_into(connection: Connection, table: Table) -> Any:
    """Return the dialect's own INSERT, which knows ON CONFLICT (SQLite and PostgreSQL spell it alike)."""
    return insert_for(connection.dialect.name, table)


def insert_for(dialect: str, table: Table) -> Any:
    """Return an INSERT that knows ON CONFLICT, for statements that are built once and kept.

    Args:
        dialect: `sqlite` or `postgresql`.
        table: the table.
    """
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
