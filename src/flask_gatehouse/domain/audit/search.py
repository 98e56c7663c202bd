"""Searching the log: by user, kind, address and time, newest first, always along an index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from flask_gatehouse.kernel.schema import event

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy import ColumnElement, Connection, Select

    from flask_gatehouse.kernel.clock import Instant

SLACK = 600_000_000
"""Ten minutes in microseconds: how far the order of times may differ from that of numbers. The longest transaction, and
what the clocks of two machines differ by, stay well below it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the log."""

    id: int
    at: Instant
    kind: str
    outcome: str
    actor_id: int | None
    actor: str
    user_id: int | None
    address: str
    agent: str
    request_id: str
    session_id: str
    detail: str


_COLUMNS = tuple(column for column in event.c if column.name != "hash")


def newest(
    connection: Connection, wanted: Mapping[str, object], since: Instant | None, until: Instant | None
) -> Select[Any]:
    """Return a query for `Entry`s, newest first.

    Args:
        connection: where to look up the bounds of the span.
        wanted: columns with the values they must have; None: any.
        since: only those at this instant or later, in microseconds.
        until: only those before this instant, in microseconds.
    """
    equal = (event.c[name] == value for name, value in wanted.items() if value is not None)
    return select(*_COLUMNS).where(*equal, *_between(connection, since, until)).order_by(event.c.id.desc())


def _between(connection: Connection, since: Instant | None, until: Instant | None) -> Iterator[ColumnElement[bool]]:
    """Yield conditions for a span of time: exact ones, and bounds of numbers, which every index holds.

    The bounds let an index of users or kinds skip what is too new or too old. They are wide enough for transactions
    that ran side by side.
    """
    if since is not None:
        older = select(event.c.id).where(event.c.at < since - SLACK).order_by(event.c.at.desc(), event.c.id.desc())
        yield event.c.id > (connection.scalar(older.limit(1)) or 0)
        yield event.c.at >= since
    if until is not None:
        newer = select(event.c.id).where(event.c.at >= until + SLACK).order_by(event.c.at, event.c.id)
        if (bound := connection.scalar(newer.limit(1))) is not None:
            yield event.c.id < bound
        yield event.c.at < until
