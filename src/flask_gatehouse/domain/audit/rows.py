"""How rows are read for the chain: all of a stretch, in batches, by their numbers."""

from __future__ import annotations

from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, Any

from sqlalchemy import Integer, LargeBinary, cast, exc, func, select

from flask_gatehouse.kernel.schema import event

from .chain import NOTED, Batch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import ColumnElement, Connection, Select

BATCH = 5000
"""How many rows one statement reads."""
CHUNK = 100
"""How many PostgreSQL hands over at a time: few enough to stay in the processor's cache until they are lines."""
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
    if connection.dialect.name == "postgresql":
        for first in _firsts(connection, after, last):
            end = first + BATCH - 1
            yield _streamed(connection, first, end if last is None else min(end, last))
        return
    while True:
        where = [event.c.id > after] if after is not None else []
        if last is not None:
            where.append(event.c.id <= last)
        batch = _fetched(connection, where)
        yield batch
        if len(batch.ids) < BATCH:
            return
        after = batch.ids[-1]


def _firsts(connection: Connection, after: int | None, last: int | None) -> Iterator[int]:
    """Yield where each batch begins: after a gap, with the next number that there is."""
    while True:
        first = first_id(connection, None if after is None else event.c.id > after)
        if first is None or (last is not None and first > last):
            return
        yield first
        after = first + BATCH - 1


def _streamed(connection: Connection, first: int, last: int) -> Batch:
    """Make lines of PostgreSQL's rows while it goes on with the next; nothing is left open when this returns.

    Both ends are named: without statistics of the table it would look at all that comes behind the first.
    """
    # Numbers stand in the text: the driver runs it, and SQLAlchemy's parameters are not the driver's.
    query = select(*event.c).where(event.c.id.between(first, last)).order_by(event.c.id)
    sql = query.compile(connection, compile_kwargs={"literal_binds": True})
    driver: Any = connection.connection.dbapi_connection
    library: Any = connection.dialect.loaded_dbapi
    size = CHUNK if library.capabilities.has_stream_chunked() else 1  # before libpq 17: one row at a time
    columns: tuple[list[Any], ...] = ([], [], [], [])
    # The driver's plain cursor: a host's own kind may know no stream of binary rows.
    with library.Cursor(driver) as cursor, closing(cursor.stream(str(sql), binary=True, size=size)) as rows:
        while some := list(islice(rows, CHUNK)):
            more: tuple[list[Any], ...] = Batch.of(some)
            for column, values in zip(columns, more, strict=True):
                column.extend(values)
    return Batch(*columns)


def _fetched(connection: Connection, where: list[ColumnElement[bool]]) -> Batch:
    try:
        found = _drivers_rows(connection, _page(where, *_WRITTEN))
    except (exc.DBAPIError, connection.dialect.loaded_dbapi.Error):
        return _one_by_one(connection, where)
    ids, lines, hashes, marks = map(list, zip(*found, strict=True)) if found else ([], [], [], [])
    return Batch(ids, lines, hashes, [line for line, mark in zip(lines, marks, strict=True) if mark])


_WRITTEN = (
    event.c.id,
    cast(func.json_object(*(part for c in event.c if c.name != "hash" for part in (c.name, c))), LargeBinary),
    event.c.hash,
    event.c.kind.in_(NOTED),
)
"""What SQLite writes by itself: the same lines as `chain.line_of` in half the time, held together by a test."""


_NUMBERS = tuple(place for place, column in enumerate(event.c) if isinstance(column.type, Integer))


def _page(where: list[ColumnElement[bool]], *columns: ColumnElement[Any]) -> Select[Any]:
    return select(*columns).where(*where).order_by(event.c.id).limit(BATCH)


def _drivers_rows(connection: Connection, query: Select[Any]) -> list[Any]:
    """Fetch the driver's own rows, which cost half as much as SQLAlchemy's."""
    result: Any = connection.execute(query)
    rows: list[Any] = result.cursor.fetchall()
    result.close()
    return rows


def _one_by_one(connection: Connection, where: list[ColumnElement[bool]]) -> Batch:
    """Read rows that SQLite cannot write as JSON: one of them holds bytes where a text belongs, or no UTF-8."""
    numbers = connection.execute(_page(where, event.c.id)).scalars().all()
    return Batch.of([_readable(connection, number) for number in numbers])


def _readable(connection: Connection, number: int) -> tuple[Any, ...]:
    """Return a row, or one that agrees with nothing: it cannot be read, or holds no number where one belongs."""
    try:
        row = connection.execute(select(*event.c).where(event.c.id == number)).one()
    except exc.OperationalError:
        row = None
    if row is None or any(not isinstance(row[place], int | None) for place in _NUMBERS):
        return (number, *(None for column in event.c if column is not event.c.id))
    return tuple(row)


def first_id(connection: Connection, condition: ColumnElement[bool] | None = None) -> int | None:
    """Return the least number of a row that meets a condition, or None."""
    query = select(func.min(event.c.id))
    found: int | None = connection.scalar(query if condition is None else query.where(condition))
    return found
