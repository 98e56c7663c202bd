"""Searching the log: by user, kind, address and time, newest first, always along an index."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import func, literal, select, tuple_, union_all

from flask_gatehouse.kernel.schema import event

from .rows import BIGGEST, SLACK

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Select

    from flask_gatehouse.kernel.clock import Instant

READ_AT_MOST = 10_000
"""Rows that one page looks at where several things are asked for at once: no index holds them all."""


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

    def is_anothers_deed(self, user_id: int) -> bool:
        """Tell whether another user did this to the account: where they were is not its owner's to know."""
        return self.actor_id not in {None, user_id}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for; what is left out asks for nothing.

    Attributes:
        user_id: only rows about this user.
        kind: only those of this kind.
        address: only those from this address, as `address_of` writes it.
        since: only those at this instant or later, in microseconds.
        until: only those before this instant, in microseconds.
    """

    user_id: int | None = None
    kind: str = ""
    address: str = ""
    since: Instant | None = None
    until: Instant | None = None

    @property
    def values(self) -> dict[str, object]:
        """Columns with the values that they must have."""
        asked: dict[str, object] = {"user_id": self.user_id, "kind": self.kind, "address": self.address}
        return {name: value for name, value in asked.items() if value not in {None, ""}}


class Found(NamedTuple):
    """A page of rows.

    Attributes:
        entries: newest first.
        before: the next page holds smaller numbers than this one; 0: there is none.
    """

    entries: list[Entry]
    before: int


class _Stretch(NamedTuple):
    """Numbers between two, neither of them included."""

    low: int
    high: int


class _Lead(NamedTuple):
    """The index that is walked.

    Attributes:
        column: what it holds beside the numbers; None: the numbers alone.
        stretch: from where to where.
        before: where the next page begins if the stretch was cut short; 0: it was not.
    """

    column: str | None
    stretch: _Stretch
    before: int = 0


_COLUMNS = tuple(column for column in event.c if column.name != "hash")


def address_of(text: str) -> str:
    """Return a network address, or an IPv6 network, in the form that the log has it in.

    Raises:
        ValueError: it is none.
    """
    try:
        found = ipaddress.IPv6Network(text, strict=False) if "/" in text else ipaddress.ip_address(text)
    except ValueError as error:
        msg = "write one address, such as 192.0.2.7 or 2001:db8::7"
        raise ValueError(msg) from error
    return str(getattr(found, "ipv4_mapped", None) or found)


def page(connection: Connection, wanted: Wanted, *, before: int = 0, limit: int = 50) -> Found:
    """Return rows newest first, paged by number.

    A page takes as long whatever the log holds: it may be short, even empty, and still have a next one.

    Args:
        connection: where to read.
        wanted: what is looked for.
        before: only rows with smaller numbers; 0: from the newest.
        limit: at most so many.
    """
    lead = _lead(connection, wanted, _stretch(connection, wanted, before))
    entries = [
        Entry(*row) for row in connection.execute(_query(wanted, lead, connection.dialect.name).limit(limit + 1))
    ]
    if len(entries) > limit:
        return Found(entries[:limit], entries[limit - 1].id)
    return Found(entries, lead.before)


def all_of(connection: Connection, wanted: Wanted, *, before: int = 0, limit: int = 50) -> list[Entry]:
    """Return as many rows as wanted, newest first, however far back they are: for commands.

    Args:
        connection: where to read.
        wanted: what is looked for.
        before: only rows with smaller numbers; 0: from the newest.
        limit: at most so many.
    """
    found = page(connection, wanted, before=before, limit=limit)
    entries = found.entries
    while found.before and len(entries) < limit:
        found = page(connection, wanted, before=found.before, limit=limit - len(entries))
        entries += found.entries
    return entries


def _stretch(connection: Connection, wanted: Wanted, before: int) -> _Stretch:
    """Return bounds of the numbers, which every index holds, so that what is too new or too old is skipped.

    Those of a span of time are wide enough for transactions that ran side by side.
    """
    low, high = 0, before or BIGGEST
    if wanted.since is not None:
        older = select(event.c.id).where(event.c.at < wanted.since - SLACK)
        low = connection.scalar(older.order_by(event.c.at.desc(), event.c.id.desc()).limit(1)) or 0
    if wanted.until is not None:
        newer = select(event.c.id).where(event.c.at >= wanted.until + SLACK)
        high = min(high, connection.scalar(newer.order_by(event.c.at, event.c.id).limit(1)) or BIGGEST)
    return _Stretch(low, high)


def _lead(connection: Connection, wanted: Wanted, stretch: _Stretch) -> _Lead:
    """Return the column whose value is rarest in the stretch, counted along its index up to `READ_AT_MOST`."""
    values = wanted.values
    if len(values) <= 1:
        return _Lead(next(iter(values), None), stretch)
    probes = []
    for name, value in values.items():
        ids = _along(select(event.c.id), connection.dialect.name, name, value, stretch)
        rows = ids.limit(READ_AT_MOST + 1).subquery()
        probes.append(select(literal(name), func.count(), func.min(rows.c.id)).select_from(rows))
    count, least, name = min((count, least or 0, name) for name, count, least in connection.execute(union_all(*probes)))
    is_cut = count > READ_AT_MOST
    return _Lead(name, stretch._replace(low=least - 1) if is_cut else stretch, least if is_cut else 0)


def _query(wanted: Wanted, lead: _Lead, dialect: str) -> Select[Any]:
    """Return the query along one index; the other conditions are written so that no other index answers them."""
    values = wanted.values
    query = _along(select(*_COLUMNS), dialect, lead.column, values.pop(lead.column or "", None), lead.stretch)
    for name, value in values.items():
        query = query.where(_unindexed(event.c[name]) == value)
    if wanted.since is not None:
        query = query.where(_unindexed(event.c.at) >= wanted.since)
    if wanted.until is not None:
        query = query.where(_unindexed(event.c.at) < wanted.until)
    return query


def _along(query: Select[Any], dialect: str, name: str | None, value: object, stretch: _Stretch) -> Select[Any]:
    """Walk down the numbers of a stretch, or those of them that an index has for a value.

    PostgreSQL compares value and number as one: of an equal value it might think that it comes often enough to be found
    soon by walking the whole table. SQLite knows nothing of that, and would see only half of such a comparison.
    """
    numbers = (event.c.id > stretch.low, event.c.id < stretch.high)
    if name is None:
        return query.where(*numbers).order_by(event.c.id.desc())
    column = event.c[name]
    if dialect == "sqlite":
        return query.where(column == value, *numbers).order_by(event.c.id.desc())
    key = tuple_(column, event.c.id)
    low, high = (tuple_(literal(value, column.type), literal(number, event.c.id.type)) for number in stretch)
    return query.where(key > low, key < high).order_by(column.desc(), event.c.id.desc())


def _unindexed(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return column + (0 if column.type.python_type is int else "")
