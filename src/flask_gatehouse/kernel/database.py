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
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, exc

from .engine import is_memory, lending, open_engine, set_pragmas
from .errors import DatabaseUnavailableError, SetupError
from .parsing import database_path
from .process_lock import ProcessLock
from .statements import Glance, HotStatement, compiled_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.sql import Executable

__all__ = ["Database", "HotStatement", "open_engine"]

LOCK_WAIT_SECONDS = 5.0
_FAULTS = (exc.OperationalError, exc.InterfaceError, exc.TimeoutError, exc.InternalError)

_BEGIN_ON_POSTGRESQL = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '5s'"
"""Whatever a host's engine is set to; one trip to the server."""

log = logging.getLogger("flask_gatehouse.database")


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
        self._is_memory = self.is_sqlite and is_memory(engine.url)
        self.engine = lending(engine) if self._is_memory else engine
        self._given = engine
        driver = engine.dialect.loaded_dbapi
        self._faults = (*_FAULTS, driver.OperationalError, driver.InterfaceError, driver.InternalError)
        self._forget_connections()
        _databases.add(self)

    def _forget_connections(self) -> None:
        """Start with no connection and open locks: at birth, and in a child after a fork."""
        self._kept = threading.local()
        self._memory_lock = threading.RLock()
        self._writers = threading.Lock()
        self._file_lock: ProcessLock | None = None
        if self.is_sqlite and not self._is_memory:
            self._file_lock = ProcessLock(f"{database_path(self.engine.url)}.lock")

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
        with self._translated(), self._writer(), self._in_memory() if self._is_memory else self._kept_unit() as opened:
            yield opened

    @contextmanager
    def _kept_unit(self) -> Iterator[Connection]:
        """Open a transaction on the connection that each thread keeps for it: the pool costs more than the COMMIT.

        It is another than the one of the hot reads, which no result left open in a flow may pin to an old snapshot.
        """
        connection = self._begun()
        try:
            yield connection
            connection.connection.dbapi_connection.execute("COMMIT")  # type: ignore[union-attr]
            connection.commit()  # nothing is left of it but SQLAlchemy's own record
        except BaseException:
            self._roll_back(connection)
            raise

    def _begun(self) -> Connection:
        if getattr(self._kept, "unit", None) is not None and not self.is_sqlite:
            with suppress(*self._faults):
                return self._begin()
        return self._begin()  # the server had dropped the connection: once more with another

    def _begin(self) -> Connection:
        holder = getattr(self._kept, "unit", None)
        if holder is None:
            holder = self._kept.unit = _Holder(self._detached())
        connection: Connection = holder.connection
        try:
            connection.begin()  # tells a host's listeners
            driver: Any = connection.connection.dbapi_connection
            if not self.is_sqlite:
                driver.execute(_BEGIN_ON_POSTGRESQL, prepare=False)
                return connection
            if driver.in_transaction:  # a host's listener sent BEGIN, which takes no lock yet
                driver.execute("COMMIT")
            driver.execute("BEGIN IMMEDIATE")
        except BaseException:
            self._drop_unit()
            raise
        return connection

    def _detached(self) -> Connection:
        """Return a connection taken out of the pool, so that many threads do not empty a host app's pool."""
        connection = self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")  # BEGIN is our own word
        connection.detach()
        if self.is_sqlite:
            set_pragmas(connection.connection.dbapi_connection)
        return connection

    def _roll_back(self, connection: Connection) -> None:
        with suppress(*self._faults, exc.DBAPIError, self.engine.dialect.loaded_dbapi.Error):
            if not connection.invalidated:
                connection.connection.dbapi_connection.execute("ROLLBACK")  # type: ignore[union-attr]
                connection.rollback()
                return
        self._drop_unit()  # closing it rolls back as well

    def _drop_unit(self) -> None:
        holder, self._kept.unit = getattr(self._kept, "unit", None), None
        if holder is not None:
            holder.close()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a connection for reads outside a transaction.

        Raises:
            DatabaseUnavailableError: the database does not answer.
        """
        with self._translated(), self._exclusive_memory(), self.engine.connect() as connection:
            yield connection if self.is_sqlite else connection.execution_options(isolation_level="AUTOCOMMIT")

    def glance(self) -> Glance:
        """Return where a `Statement` reads for itself, each at the moment it runs: no connection is handed over."""
        return Glance(self.engine.dialect, partial(self.run_hot, is_write=False))

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
    def _in_memory(self) -> Iterator[Connection]:
        """Open a transaction on the one connection; a savepoint where the host holds one open."""
        with self.engine.connect() as connection:
            is_hosts = _is_in_transaction(connection)
            begin, commit, rollback = _sqlite_words(in_transaction=is_hosts)
            with connection.begin():
                if not is_hosts and _is_in_transaction(connection):  # as in `_begin`
                    connection.exec_driver_sql("COMMIT")
                connection.exec_driver_sql(begin)
                try:
                    yield connection
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
            if not self._file_lock.acquire(LOCK_WAIT_SECONDS):
                msg = "the database stayed locked by another process"
                raise DatabaseUnavailableError(msg)
            try:
                yield
            finally:
                self._file_lock.release()
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
        except self._faults as error:
            log.error("database fault: %s", _first_line(error))
            msg = "the database does not answer"
            raise DatabaseUnavailableError(msg) from error
        except OSError as error:
            log.error("database lock: %s", type(error).__name__)
            msg = "the lock in front of the database cannot be taken"
            raise DatabaseUnavailableError(msg) from error

    def use_wal(self) -> None:
        """Let readers and the writer of a SQLite file work side by side; stays with the file."""
        if self.is_sqlite and not self._is_memory:
            with self._translated(), self._writer():
                self.kept().execute("PRAGMA journal_mode=WAL")

    def prepare(self, statement: Executable) -> HotStatement:
        """Compile a statement once, to be run on the connection that each thread keeps."""
        return HotStatement(self, compiled_for(self.engine.dialect, statement))

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
            set_pragmas(connection)
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
        """Close this thread's kept connections and the pool."""
        self.discard_kept()
        self._drop_unit()
        self.engine.dispose()
        self._given.dispose()


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
