"""How rows are read for the chain: all of a stretch, in batches, by their numbers."""

from __future__ import annotations

from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, Any

from sqlalchemy import Integer, LargeBinary, bindparam, cast, exc, func, or_, select

from flask_gatehouse.kernel.schema import event
from flask_gatehouse.kernel.statements import Statement

from .chain import NOTED, Batch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import ColumnElement, Connection

BATCH = 2000
"""How many rows one statement reads, where no number is missing."""
CHUNK = 100
"""How many PostgreSQL hands over at a time: few enough to stay in the processor's cache until they are lines."""
BIGGEST = 2**63 - 1
"""No row has a greater number."""
SLACK = 600_000_000
"""Ten minutes in microseconds: how far the order of times may differ from that of numbers. The longest transaction, and
what the clocks of two machines differ by, stay well below it."""


def batches(connection: Connection, after: int | None = None, last: int | None = None) -> Iterator[Batch]:
    """Yield rows in the order of their numbers.

    Args:
        connection: where to read; a snapshot, when others write meanwhile.
        after: begin behind this number; None: with the least there is, even if that cannot be.
        last: end with this number; None: with the newest.
    """
    read = _streamed if connection.dialect.name == "postgresql" else _written
    first = first_id(connection) if after is None else after + 1
    while first is not None and (last is None or first <= last):
        end = min(first + BATCH - 1, BIGGEST)
        batch = read(connection, {"first": first, "last": end if last is None else min(end, last)})
        yield batch
        first = end + 1 if len(batch.ids) == BATCH and end < BIGGEST else first_id(connection, event.c.id > end)


def _span(*columns: ColumnElement[Any]) -> Statement:
    """Return a statement that reads rows from the number `first` to `last`.

    Both ends are named: without statistics of the table PostgreSQL would sort all that comes behind the first.
    """
    within = event.c.id.between(bindparam("first"), bindparam("last"))
    return Statement(select(*columns).where(within).order_by(event.c.id))


_STORED = _span(*event.c)
_WRITTEN = _span(
    event.c.id,
    cast(func.json_object(*(part for c in event.c if c.name != "hash" for part in (c.name, c))), LargeBinary),
    event.c.hash,
    or_(*(event.c.kind == kind for kind in sorted(NOTED))),
)
"""What SQLite writes by itself: the same lines as `chain.line_of` in half the time, held together by a test."""
_IDS = _span(event.c.id)
_NUMBERS = tuple(place for place, column in enumerate(event.c) if isinstance(column.type, Integer))


def _streamed(connection: Connection, span: dict[str, int]) -> Batch:
    """Make lines of PostgreSQL's rows while it goes on with the next; nothing is left open when this returns."""
    asked = _STORED.compiled(connection.dialect)
    driver: Any = connection.connection.dbapi_connection
    library: Any = connection.dialect.loaded_dbapi
    size = CHUNK if library.capabilities.has_stream_chunked() else 1  # before libpq 17: one row at a time
    columns: tuple[list[Any], ...] = ([], [], [], [])
    # The driver's plain cursor: a host's own kind may know no stream of binary rows.
    with (
        library.Cursor(driver) as cursor,
        closing(cursor.stream(asked.sql, asked.bound(span), binary=True, size=size)) as rows,
    ):
        while some := list(islice(rows, CHUNK)):
            more: tuple[list[Any], ...] = Batch.of(some)
            for column, values in zip(columns, more, strict=True):
                column.extend(values)
    return Batch(*columns)


def _written(connection: Connection, span: dict[str, int]) -> Batch:
    """Take the lines that SQLite writes."""
    try:
        found = _WRITTEN.rows(connection, span)
    except (exc.DBAPIError, connection.dialect.loaded_dbapi.Error):
        return _one_by_one(connection, span)
    ids, lines, hashes, marks = map(list, zip(*found, strict=True)) if found else ([], [], [], [])
    return Batch(ids, lines, hashes, [line for line, mark in zip(lines, marks, strict=True) if mark])


def _one_by_one(connection: Connection, span: dict[str, int]) -> Batch:
    """Read rows that SQLite cannot write as JSON: one of them holds bytes where a text belongs, or no UTF-8."""
    return Batch.of([_readable(connection, number) for (number,) in _IDS.rows(connection, span)])


def _readable(connection: Connection, number: int) -> tuple[Any, ...]:
    """Return a row, or one that agrees with nothing: it cannot be read, or holds no number where one belongs."""
    try:
        row = connection.execute(select(*event.c).where(event.c.id == number)).first()
    except exc.OperationalError:
        row = None
    if row is None or any(not isinstance(row[place], int | None) for place in _NUMBERS):
        return (number, *(None for column in event.c if column is not event.c.id))
    return tuple(row)


def first_id(connection: Connection, condition: ColumnElement[bool] | None = None) -> int | None:
    """Return the least number of a row that meets a condition; None: no row does, or what it has is no number."""
    query = select(func.min(event.c.id))
    found = connection.scalar(query if condition is None else query.where(condition))
    return found if isinstance(found, int) else None
