"""What is sent to a database: through SQLAlchemy, by a statement that the driver runs, and on the hot path."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from flask_gatehouse.kernel.database import Database
from flask_gatehouse.kernel.statements import Glance, Statement


@contextmanager
def sent_to(database: Database) -> Iterator[list[tuple[str, Any]]]:
    """Note every statement with its values, in order; what begins and ends a transaction aside."""
    noted: list[tuple[str, Any]] = []
    run, run_hot = Statement._run, database.run_hot

    def before(_connection: Any, _cursor: Any, statement: str, values: Any, *_rest: Any) -> None:
        noted.append((statement, values))

    def running(self: Statement, connection: Any, parameters: Any) -> Any:
        if not isinstance(connection, Glance):  # which goes on to the hot path
            compiled = self.compiled(connection.dialect)
            noted.append((compiled.sql, compiled.bound(parameters)))
        return run(self, connection, parameters)

    def running_hot(sql: str, parameters: Any, *, is_write: bool) -> Any:
        noted.append((sql, parameters))
        return run_hot(sql, parameters, is_write=is_write)

    sa.event.listen(database.engine, "before_cursor_execute", before)
    Statement._run = running  # type: ignore[method-assign]  # seen from outside, as a proxy would
    database.run_hot = running_hot  # type: ignore[method-assign]
    try:
        yield noted
    finally:
        sa.event.remove(database.engine, "before_cursor_execute", before)
        Statement._run = run  # type: ignore[method-assign]
        del database.run_hot
