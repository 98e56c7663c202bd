"""How a database answers: the plan of each statement that some work sends, and rows enough to make plans matter."""

from __future__ import annotations

from collections.abc import Callable

from flask_gatehouse.kernel.clock import Instant
from flask_gatehouse.kernel.database import Database
from tests.support.statements import sent_to


def plans_of(database: Database, act: Callable[[], object]) -> list[str]:
    """Return the plan of every statement that `act` sends, each as one text."""
    with sent_to(database) as sent:
        act()
    word = "EXPLAIN QUERY PLAN " if database.is_sqlite else "EXPLAIN "
    with database.reading() as connection:
        asked = [(word + text, values if isinstance(values, dict) else tuple(values)) for text, values in sent]
        return ["\n".join(str(row[-1]) for row in connection.exec_driver_sql(text, values)) for text, values in asked]


def fill_log(database: Database, count: int, first_at: Instant, step: int, **columns: str) -> None:
    """Insert events past all floors: their hashes are no chain.

    Args:
        database: where.
        count: how many, numbered from 1.
        first_at: instant of number 0.
        step: microseconds from one to the next.
        columns: what stands in a column, as SQL over the number `n`.
    """
    values = {"kind": "'logout'", "outcome": "'ok'", "actor": "'app'", "address": "''", "agent": "''"}
    values |= {"request_id": "''", "session_id": "''", "detail": "''", "hash": "''", **columns}
    if database.is_sqlite:
        more = f"SELECT n + 1 FROM numbers WHERE n < {count}"  # noqa: S608 - the test's own SQL
        numbers = f"WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL {more})"
        source = "numbers"
    else:
        numbers, source = "", f"generate_series(1, {count}) AS numbers(n)"
    names = ", ".join(("id", "at", *values))
    shown = ", ".join(("n", f"{first_at} + n * CAST({step} AS BIGINT)", *values.values()))
    with database.unit() as connection:
        into = f"{numbers} INSERT INTO gatehouse_event ({names})"
        text = f"{into} SELECT {shown} FROM {source}"  # noqa: S608 - the same
        connection.exec_driver_sql(text if database.is_sqlite else text.replace("%", "%%"))
        if not database.is_sqlite:
            connection.exec_driver_sql("ANALYZE gatehouse_event")
