"""The engine, the one write transaction of a flow, and statements compiled once for the hot path.

SQLite and PostgreSQL from the first day. On SQLite a lock between processes stands in front of BEGIN IMMEDIATE:
SQLite's own busy wait starves single writers for seconds when several processes write (measured).
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from sqlalchemy import URL, Connection, Engine, create_engine, event, exc, make_url
from sqlalchemy.pool import StaticPool

from .errors import DatabaseUnavailableError, SetupError
from .parsing import database_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy.sql import Executable

LOCK_WAIT_SECONDS = 5.0
LOCK_POLL_SECONDS = 0.002
BUSY_MILLISECONDS = 5000
_FAULTS = (exc.OperationalError, exc.InterfaceError, exc.TimeoutError, exc.InternalError)

log = logging.getLogger("flask_gatehouse.database")


def open_engine(url: str) -> Engine:
    """Return an engine of our own for a SQLAlchemy URL.

    A SQLite file is made with mode 0600 when it is not there yet; its `-wal` and `-shm` inherit that.

    Raises:
        DatabaseUnavailableError: the SQLite file cannot be made.
    """
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": 5}, hide_parameters=True)
    if _is_memory(make_url(url)):
        arguments = {"check_same_thread": False}
        return create_engine(url, poolclass=StaticPool, connect_args=arguments, hide_parameters=True)
    engine = create_engine(url, connect_args={"timeout": BUSY_MILLISECONDS / 1000}, hide_parameters=True)
    create_private_file(Path(database_path(engine.url)))
    event.listen(engine, "connect", _set_pragmas)
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


def _is_memory(url: URL) -> bool:
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


def _lending(engine: Engine) -> Engine:
    return create_engine(engine.url, creator=lambda: _Lent(engine), poolclass=StaticPool, hide_parameters=True)


def _set_pragmas(dbapi_connection: Any, _record: object = None) -> None:
    cursor = dbapi_connection.cursor()
    for pragma in (f"busy_timeout={BUSY_MILLISECONDS}", "synchronous=NORMAL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


class Database:
    """One database of one app.

    Args:
        engine: SQLAlchemy engine over SQLite or PostgreSQL (psycopg 3); possibly the host app's.

    Raises:
        SetupError: the engine is for another database.
    """

    def __init__(self, engine: Engine) -> None:
        if engine.dialect.name not in {"sqlite", "postgresql"}:
            msg = f"{engine.dialect.name} is not supported: use SQLite or PostgreSQL"
            raise SetupError(msg)
        self.is_sqlite = engine.dialect.name == "sqlite"
        self._is_memory = self.is_sqlite and _is_memory(engine.url)
        self.engine = _lending(engine) if self._is_memory else engine
        self._given = engine
        self._forget_connections()
        _databases.add(self)

    def _forget_connections(self) -> None:
        """Start with no connection and open locks: at birth, and in a child after a fork."""
        self._kept = threading.local()
        self._memory_lock = threading.RLock()
        self._writers = threading.Lock()
        self._file_lock: FileLock | None = None
        if self.is_sqlite and not self._is_memory:
            self._file_lock = FileLock(f"{database_path(self.engine.url)}.lock", mode=0o600)

    def after_fork(self) -> None:
        """Drop what the parent process holds, without closing it: the socket and the file locks are the parent's."""
        _inherited.append(self._kept)
        self.engine.dispose(close=False)
        self._forget_connections()

    @contextmanager
    def unit(self) -> Iterator[Connection]:
        """Open the one write transaction of a flow: leaving commits, raising rolls back.

        Raises:
            DatabaseUnavailableError: the database does not answer or stayed locked.
        """
        with self._translated(), self._writer(), self.engine.connect() as connection, self._begun(connection):
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a connection for reads outside a transaction.

        Raises:
            DatabaseUnavailableError: the database does not answer.
        """
        with self._translated(), self._exclusive_memory(), self.engine.connect() as connection:
            yield connection if self.is_sqlite else connection.execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """Open a connection whose reads all see the same moment, while others write.

        Raises:
            DatabaseUnavailableError: the database does not answer.
        """
        with self._translated(), self._exclusive_memory(), self.engine.connect() as connection:
            if self.is_sqlite and not self._is_memory:
                connection.begin()
                if not _is_in_transaction(connection):
                    connection.exec_driver_sql("BEGIN")
            elif not self.is_sqlite:
                connection = connection.execution_options(isolation_level="REPEATABLE READ")  # noqa: PLW2901 - the same connection
            yield connection

    @contextmanager
    def _begun(self, connection: Connection) -> Iterator[None]:
        if not self.is_sqlite:
            connection.execution_options(isolation_level="READ COMMITTED")  # whatever a host's engine is set to
            with connection.begin():
                connection.exec_driver_sql("SET LOCAL lock_timeout = '5s'")
                yield
            return
        is_hosts = _is_in_transaction(connection)
        begin, commit, rollback = _sqlite_words(in_transaction=is_hosts)
        with connection.begin():
            if not is_hosts and _is_in_transaction(connection):  # a host's listener sent BEGIN, which takes no lock yet
                connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql(begin)
            try:
                yield
            except BaseException:
                with suppress(exc.DBAPIError):
                    connection.exec_driver_sql(rollback)
                raise
            connection.exec_driver_sql(commit)

    @contextmanager
    def _writer(self) -> Iterator[None]:
        """Let one writer of this machine through at a time (SQLite only)."""
        if self._file_lock is None:
            with self._exclusive_memory():
                yield
            return
        if not self._writers.acquire(timeout=LOCK_WAIT_SECONDS):
            msg = "the database stayed locked by this process"
            raise DatabaseUnavailableError(msg)
        try:
            with self._file_lock.acquire(timeout=LOCK_WAIT_SECONDS, poll_interval=LOCK_POLL_SECONDS):
                yield
        finally:
            self._writers.release()

    @contextmanager
    def _exclusive_memory(self) -> Iterator[None]:
        """An in-memory database is one connection for all threads."""
        with self._memory_lock if self._is_memory else nullcontext():
            yield

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except _FAULTS as error:
            log.error("database fault: %s", _first_line(error))
            msg = "the database does not answer"
            raise DatabaseUnavailableError(msg) from error
        except (Timeout, OSError) as error:
            log.error("database lock: %s", type(error).__name__)
            msg = "the database stayed locked by another process"
            raise DatabaseUnavailableError(msg) from error

    def use_wal(self) -> None:
        """Let readers and the writer of a SQLite file work side by side; stays with the file."""
        if self.is_sqlite and not self._is_memory:
            with self._translated(), self._writer():
                self.kept().execute("PRAGMA journal_mode=WAL")

    def prepare(self, statement: Executable) -> HotStatement:
        """Compile a statement once, to be run on the connection that each thread keeps."""
        compiled = statement.compile(dialect=self.engine.dialect)  # type: ignore[attr-defined]
        order = tuple(compiled.positiontup) if getattr(compiled, "positiontup", None) else None
        return HotStatement(self, str(compiled), order)

    def kept(self) -> Any:
        """Return this thread's own DBAPI connection, in autocommit.

        It is taken out of the pool, so that many threads do not empty a host app's pool.

        Raises:
            DatabaseUnavailableError: no connection can be made.
        """
        found = getattr(self._kept, "holder", None)
        if found is not None:
            return found.connection
        try:
            fairy = self.engine.raw_connection()
        except (*_FAULTS, self.engine.dialect.loaded_dbapi.Error) as error:
            log.error("database fault: %s", _first_line(error))
            msg = "the database does not answer"
            raise DatabaseUnavailableError(msg) from error
        connection = fairy.dbapi_connection
        if self._is_memory:
            return connection
        fairy.detach()
        if self.is_sqlite:
            connection.isolation_level = None  # type: ignore[union-attr]
            _set_pragmas(connection)
        else:
            connection.autocommit = True  # type: ignore[union-attr]
            connection.prepare_threshold = 0  # type: ignore[union-attr]
        self._kept.holder = _Holder(connection)
        return connection

    def discard_kept(self) -> None:
        """Close this thread's kept connection; the next use opens another."""
        holder = getattr(self._kept, "holder", None)
        self._kept.holder = None
        if holder is not None:
            holder.close()

    def run_hot(self, sql: str, parameters: Any, *, is_write: bool) -> Any:
        """Run one statement on the kept connection and return its cursor.

        A connection that the server dropped is replaced once; a statement that fails again is a fault.

        Raises:
            DatabaseUnavailableError: the database does not answer.
        """
        if is_write and self._file_lock is not None:
            with self._translated(), self._writer():
                return self._attempt(sql, parameters)
        if self._is_memory:
            with self._memory_lock:
                return self._attempt_in_memory(sql, parameters)
        return self._attempt(sql, parameters)

    def _attempt_in_memory(self, sql: str, parameters: Any) -> Any:
        is_hosts = self.kept().in_transaction
        cursor = self._attempt(sql, parameters)
        if not is_hosts and self.kept().in_transaction:
            self.kept().execute("COMMIT")
        return cursor

    def _attempt(self, sql: str, parameters: Any) -> Any:
        try:
            return self.kept().execute(sql, parameters)
        except self.engine.dialect.loaded_dbapi.Error:
            self.discard_kept()
        try:
            return self.kept().execute(sql, parameters)
        except self.engine.dialect.loaded_dbapi.Error as error:
            self.discard_kept()
            log.error("database fault: %s", _first_line(error))
            msg = "the database does not answer"
            raise DatabaseUnavailableError(msg) from error

    def close(self) -> None:
        """Close this thread's kept connection and the pool."""
        self.discard_kept()
        self.engine.dispose()
        self._given.dispose()


class HotStatement:
    """A statement compiled once. Made by `Database.prepare`."""

    __slots__ = ("_database", "_order", "_sql")

    def __init__(self, database: Database, sql: str, order: tuple[str, ...] | None) -> None:
        self._database = database
        self._sql = sql
        self._order = order

    def _bound(self, parameters: Mapping[str, object]) -> Any:
        return parameters if self._order is None else [parameters[name] for name in self._order]

    def rows(self, parameters: Mapping[str, object]) -> Sequence[Any]:
        """Run the statement and fetch every row.

        All of them, at once: a cursor left open pins SQLite's snapshot and keeps a revoked session alive.
        """
        cursor = self._database.run_hot(self._sql, self._bound(parameters), is_write=False)
        found: Sequence[Any] = cursor.fetchall()
        cursor.close()
        return found

    def write(self, parameters: Mapping[str, object]) -> int:
        """Run the statement in a transaction of its own and return how many rows it changed."""
        cursor = self._database.run_hot(self._sql, self._bound(parameters), is_write=True)
        changed: int = cursor.rowcount
        cursor.close()
        return changed


@dataclass(eq=False)
class _Holder:
    """Closes a kept connection when its thread ends."""

    connection: Any

    def close(self) -> None:
        with suppress(Exception):  # a broken connection may fail to close in any way; it is gone either way
            self.connection.close()

    def __del__(self) -> None:
        self.close()


def _is_in_transaction(connection: Connection) -> bool:
    return bool(getattr(connection.connection.dbapi_connection, "in_transaction", False))


def _sqlite_words(*, in_transaction: bool) -> tuple[str, str, str]:
    """Return BEGIN, COMMIT, ROLLBACK; savepoints where the host holds the shared in-memory connection."""
    if in_transaction:
        return "SAVEPOINT gatehouse", "RELEASE gatehouse", "ROLLBACK TO gatehouse"
    return "BEGIN IMMEDIATE", "COMMIT", "ROLLBACK"


def _first_line(error: BaseException) -> str:
    cause = getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {str(cause).splitlines()[0] if str(cause) else ''}"


_inherited: list[threading.local] = []
_databases: weakref.WeakSet[Database] = weakref.WeakSet()


def _after_fork() -> None:
    for database in list(_databases):
        database.after_fork()


os.register_at_fork(after_in_child=_after_fork)
