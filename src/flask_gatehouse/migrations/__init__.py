"""The one linear Alembic history of all tables, and when it runs: SQLite at start, PostgreSQL by command."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sqlalchemy import inspect, text

from flask_gatehouse.kernel.errors import SchemaOutdatedError
from flask_gatehouse.kernel.schema import REVISION, VERSION_TABLE

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from flask_gatehouse.kernel.database import Database

log = logging.getLogger("flask_gatehouse.database")


def current(database: Database) -> str | None:
    """Return the revision the database is at, or None where there are no tables yet.

    Raises:
        DatabaseUnavailableError: the database does not answer.
    """
    with database.reading() as connection:
        return _current(connection)


def _current(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found: str | None = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar_one_or_none()  # noqa: S608 - a constant
    return found


def upgrade(database: Database) -> None:
    """Bring the database to this release's revision; one process at a time, the others find it done.

    Raises:
        DatabaseUnavailableError: the database does not answer.
    """
    from flask_gatehouse.migrations import history

    if database.is_sqlite:
        database.use_wal()
    with database.unit() as connection:
        if not database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(7304001)"))
        if _current(connection) == REVISION:
            return
        history.run(connection)
    log.info("the database is at revision %s", REVISION)


def prepare(database: Database) -> None:
    """Make sure the schema fits: SQLite upgrades itself.

    Raises:
        SchemaOutdatedError: the schema is older or newer than this release.
        DatabaseUnavailableError: the database does not answer.
    """
    found = current(database)
    if found == REVISION:
        return
    if database.is_sqlite and (found is None or found < REVISION):
        upgrade(database)
        return
    if found is not None and found > REVISION:
        msg = f"the database is at revision {found}, newer than this release ({REVISION}): install the newer release"
        raise SchemaOutdatedError(msg)
    msg = f"the database is at revision {found or 'none'}, this release needs {REVISION}: run `gatehouse db upgrade`"
    raise SchemaOutdatedError(msg)
