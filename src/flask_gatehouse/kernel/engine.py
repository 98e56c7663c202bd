"""Engines of our own, and what every connection to SQLite is told."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.pool import StaticPool

from .errors import DatabaseUnavailableError
from .parsing import database_path

BUSY_MILLISECONDS = 5000


def open_engine(url: str) -> Engine:
    """Return an engine of our own for a SQLAlchemy URL.

    A SQLite file is made with mode 0600 when it is not there yet; its `-wal` and `-shm` inherit that.

    Raises:
        DatabaseUnavailableError: the SQLite file cannot be made.
    """
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": 5}, hide_parameters=True)
    if is_memory(make_url(url)):
        arguments = {"check_same_thread": False}
        return create_engine(url, poolclass=StaticPool, connect_args=arguments, hide_parameters=True)
    engine = create_engine(url, connect_args={"timeout": BUSY_MILLISECONDS / 1000}, hide_parameters=True)
    create_private_file(Path(database_path(engine.url)))
    event.listen(engine, "connect", set_pragmas)
    return engine


def create_private_file(path: Path) -> None:
    """Make an empty file of mode 0600, and its folder of mode 0700, unless they exist.

    Raises:
        DatabaseUnavailableError: the file system refuses.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        msg = f"the database file {path.name} cannot be made: {error.strerror}"
        raise DatabaseUnavailableError(msg) from error


def is_memory(url: URL) -> bool:
    """Tell whether a SQLite database is kept in memory."""
    return not url.database or ":memory:" in url.database or url.query.get("mode") == "memory"


class _Lent:
    """The one connection of an in-memory database, which a host app shares: only a unit of ours ends its own work."""

    def __init__(self, engine: Engine) -> None:
        self._fairy = engine.raw_connection()  # kept: its return to the pool would undo the host's open transaction

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fairy.dbapi_connection, name)

    def commit(self) -> None:
        """Leave it to the unit's own COMMIT."""

    rollback = close = commit


def lending(engine: Engine) -> Engine:
    """Return an engine over the one connection of an in-memory database."""
    return create_engine(engine.url, creator=lambda: _Lent(engine), poolclass=StaticPool, hide_parameters=True)


def set_pragmas(dbapi_connection: Any, _record: object = None) -> None:
    """Tell a new connection to SQLite how long to wait, and what to hold to."""
    cursor = dbapi_connection.cursor()
    for pragma in (f"busy_timeout={BUSY_MILLISECONDS}", "synchronous=NORMAL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
