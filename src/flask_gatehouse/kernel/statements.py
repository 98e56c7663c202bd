"""Statements that are built once and run by the driver itself.

SQLAlchemy builds them, so that both databases are spoken to in their own words; what it does at each execution costs
several times what the driver does, and a login runs a dozen statements (measured).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from sqlalchemy import exc

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import Connection, Dialect
    from sqlalchemy.sql import Executable


class Compiled(NamedTuple):
    """A statement in the words of one driver.

    Attributes:
        sql: the text.
        order: names of the parameters by position; None: the driver takes them by name.
        constants: parameters that the statement brings along.
    """

    sql: str
    order: tuple[str, ...] | None
    constants: dict[str, Any]

    def bound(self, parameters: Mapping[str, object]) -> Any:
        """Return parameters as the driver wants them."""
        named = {**self.constants, **parameters} if self.constants else parameters
        return named if self.order is None else [named[name] for name in self.order]


def compiled_for(dialect: Dialect, statement: Executable) -> Compiled:
    """Return a statement in the words of a dialect; what it binds by name is given when it runs."""
    found: Any = statement.compile(dialect=dialect)  # type: ignore[attr-defined]
    if getattr(found, "insert_prefetch", None) or getattr(found, "update_prefetch", None):
        msg = f"a column's default is SQLAlchemy's business, so give it: {found}"
        raise LookupError(msg)
    order = tuple(found.positiontup) if getattr(found, "positiontup", None) else None
    required = {bind.key for bind in found.binds.values() if bind.required}
    return Compiled(str(found), order, {key: value for key, value in found.params.items() if key not in required})


class Glance(NamedTuple):
    """Reads outside a transaction, on the connection that a thread keeps. Made by `Database.glance`."""

    dialect: Dialect
    run: Callable[[str, Any], Any]


class Statement:
    """A statement of a flow, compiled once for each dialect. Values come back as the driver gives them.

    Args:
        build: the statement, or what makes it for the dialect of a name, where the two spell it differently.
    """

    __slots__ = ("_build", "_compiled")

    def __init__(self, build: Executable | Callable[[str], Executable]) -> None:
        self._build = build
        self._compiled: dict[tuple[str, str], Compiled] = {}

    def rows(self, connection: Connection | Glance, parameters: Mapping[str, object]) -> list[Any]:
        """Run the statement and fetch every row: a cursor left open would pin SQLite's snapshot (rule 12)."""
        cursor = self._run(connection, parameters)
        found: list[Any] = cursor.fetchall()
        cursor.close()
        return found

    def row(self, connection: Connection | Glance, parameters: Mapping[str, object]) -> Any | None:
        """Run a statement that gives at most one row, and return it."""
        found = self.rows(connection, parameters)
        return found[0] if found else None

    def write(self, connection: Connection, parameters: Mapping[str, object]) -> int:
        """Run a statement that gives no rows, and return how many it changed; -1 for a PostgreSQL INSERT."""
        cursor = self._run(connection, parameters)
        changed: int = cursor.rowcount
        cursor.close()
        return changed

    def _run(self, connection: Connection | Glance, parameters: Mapping[str, object]) -> Any:
        dialect = connection.dialect
        compiled = self.compiled(dialect)
        if isinstance(connection, Glance):
            return connection.run(compiled.sql, compiled.bound(parameters))
        driver: Any = connection.connection.dbapi_connection
        try:
            return driver.execute(compiled.sql, compiled.bound(parameters))
        except dialect.loaded_dbapi.Error as error:
            raise _told(compiled, error, dialect) from error

    def compiled(self, dialect: Dialect) -> Compiled:
        """Return the statement in the words of a dialect."""
        key = (dialect.name, dialect.paramstyle)
        found = self._compiled.get(key)
        if found is None:
            found = self._compiled[key] = compiled_for(dialect, self._built_for(dialect.name))
        return found

    def _built_for(self, dialect: str) -> Executable:
        return self._build(dialect) if callable(self._build) else self._build


def _told(compiled: Compiled, error: Exception, dialect: Dialect) -> Exception:
    """Return a driver's error as SQLAlchemy tells it, without the parameters: a flow hears one kind of error."""
    base = dialect.loaded_dbapi.Error
    return exc.DBAPIError.instance(compiled.sql, None, error, base, hide_parameters=True, dialect=dialect)


class RunsHot(Protocol):
    """What runs statements on the connection that a thread keeps: the database."""

    def run_hot(self, sql: str, parameters: Any, *, is_write: bool) -> Any:
        """Run one statement and return its cursor."""


class HotStatement:
    """A statement compiled once. Made by `Database.prepare`."""

    __slots__ = ("_compiled", "_database")

    def __init__(self, database: RunsHot, compiled: Compiled) -> None:
        self._database = database
        self._compiled = compiled

    def rows(self, parameters: Mapping[str, object]) -> Sequence[Any]:
        """Run the statement and fetch every row.

        All of them, at once: a cursor left open pins SQLite's snapshot and keeps a revoked session alive.
        """
        cursor = self._database.run_hot(self._compiled.sql, self._compiled.bound(parameters), is_write=False)
        found: Sequence[Any] = cursor.fetchall()
        cursor.close()
        return found

    def write(self, parameters: Mapping[str, object]) -> int:
        """Run the statement in a transaction of its own and return how many rows it changed."""
        cursor = self._database.run_hot(self._compiled.sql, self._compiled.bound(parameters), is_write=True)
        changed: int = cursor.rowcount
        cursor.close()
        return changed
