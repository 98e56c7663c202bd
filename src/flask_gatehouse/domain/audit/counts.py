"""How many events of each kind there were in each ten minutes, those included that were only counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import BigInteger, and_, case, cast, func, literal_column, select

from flask_gatehouse.kernel.clock import from_text
from flask_gatehouse.kernel.schema import event

from .chain import UNSEALED
from .rows import SLACK

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from sqlalchemy import ColumnElement, Connection

    from flask_gatehouse.kernel.clock import Instant

TEN_MINUTES, HOUR = 600_000_000, 3_600_000_000
"""In microseconds."""
COUNTED, VERIFIED = "failures.counted", "audit.verified"
_MINUTE_DIGITS = len("2030-01-31T12:00")
_COUNT_DIGITS = 15
"""No window counts more; sums of so many digits fit into 64 bits."""


class Number(NamedTuple):
    """How often something happened.

    Attributes:
        kind: of the events.
        at: when, to ten minutes or better, in microseconds.
        number: how often.
    """

    kind: str
    at: Instant
    number: int


class Trouble(NamedTuple):
    """What was recorded about a chain that does not agree.

    Attributes:
        kind: `audit.unsealed` or `audit.verified`.
        at: when for the last time.
    """

    kind: str
    at: Instant


class _Settled(NamedTuple):
    """What was counted from one instant to another, and grows no more.

    Attributes:
        whole_at: when all of it was counted.
    """

    whole_at: Instant = 0
    since: Instant = 0
    until: Instant = 0
    numbers: tuple[Number, ...] = ()


class EventCounts:
    """Counts events by ten minutes. What has settled is counted once an hour in each process, however much it was.

    So a row that came late, was deleted, or was missed while a clock went ahead, is right again within the hour.
    """

    def __init__(self) -> None:
        self._settled: dict[frozenset[str], _Settled] = {}

    def by_ten_minutes(
        self, connection: Connection, kinds: Collection[str], since: Instant, now: Instant
    ) -> list[Number]:
        """Return how many events of some kinds there were in each ten minutes, in no order; read along an index.

        Args:
            connection: where to read.
            kinds: which.
            since: where the first ten minutes begin, in microseconds, a multiple of `TEN_MINUTES`.
            now: the present instant, in microseconds.
        """
        asked = frozenset(kinds)
        known, settled_until = self._settled.get(asked, _Settled()), (now - SLACK) // TEN_MINUTES * TEN_MINUTES
        is_young = 0 <= now - known.whole_at < HOUR
        is_of_use = is_young and known.since <= since <= known.until <= settled_until
        found = [number for number in known.numbers if number.at >= since] if is_of_use else []
        found += _count_from(connection, asked, known.until if is_of_use else since)
        numbers = tuple(number for number in found if number.at < settled_until)
        # threads may count the same at once: each result is whole, and the last one stays
        self._settled[asked] = _Settled(known.whole_at if is_of_use else now, since, settled_until, numbers)
        return found


def _count_from(connection: Connection, kinds: Collection[str], since: Instant) -> Iterator[Number]:
    # both databases divide whole numbers without a rest; as text, so that PostgreSQL sees one expression to group by
    part = literal_column(f"at / {TEN_MINUTES}", BigInteger).label("part")
    query = select(event.c.kind, part, func.count()).where(event.c.kind.in_(sorted(kinds)), event.c.at >= since)
    for kind, number, count in connection.execute(query.group_by(event.c.kind, part.name)):
        yield Number(kind, number * TEN_MINUTES, count)


def counted(connection: Connection, since: Instant, length: int) -> Iterator[Number]:
    """Yield what was counted in windows and not recorded one by one (rule 28), at the middle of each window.

    Args:
        connection: where to read.
        since: only what was told at this instant or later, in microseconds: no window ends after it was told.
        length: how long a window is, in microseconds.
    """
    kind, until, number = (part.label(f"counted_{name}") for name, part in _parts(connection).items())
    query = select(kind, until, func.sum(number)).where(event.c.kind == COUNTED, event.c.at >= since)
    for of_kind, minute, total in connection.execute(query.group_by(kind.name, until.name)):
        ends_at = _instant(minute)
        if of_kind and ends_at is not None and total:
            yield Number(str(of_kind), ends_at - length // 2, int(total))


def _parts(connection: Connection) -> dict[str, ColumnElement[Any]]:
    """Return what `detail` says of a window; where somebody wrote past us, what cannot be read is NULL or no value."""
    detail = event.c.detail
    if connection.dialect.name == "sqlite":
        is_json = func.json_valid(detail) == 1
        parts = {name: case((is_json, func.json_extract(detail, f"$.{name}"))) for name in ("kind", "until", "number")}
        told = parts["number"]
        is_count = and_(func.typeof(told) == "integer", told.between(0, 10**_COUNT_DIGITS - 1))
        parts["number"] = case((is_count, told))
        return {**parts, "until": func.substr(parts["until"], 1, _MINUTE_DIGITS)}
    number = _between(detail, '"number":', ",")  # cut out: parsing JSON three times a row costs more than all the rest
    return {
        "kind": _between(detail, '"kind":"', '"'),
        "until": func.left(_between(detail, '"until":"', '"'), _MINUTE_DIGITS),
        "number": case((number.op("~")(f"^[0-9]{{1,{_COUNT_DIGITS}}}$"), cast(number, BigInteger))),
    }


def _between(text: ColumnElement[Any], before: str, after: str) -> ColumnElement[Any]:
    return func.split_part(func.split_part(text, before, 2), after, 1)


def _instant(minute: object) -> Instant | None:
    try:
        return from_text(f"{minute}Z")
    except ValueError:
        return None


def troubles(connection: Connection, since: Instant) -> list[Trouble]:
    """Return what was recorded about a chain that does not agree, from an instant on: each kind once, the newest first.

    Args:
        connection: where to read.
        since: in microseconds.
    """
    query = select(event.c.kind, func.max(event.c.at)).where(
        event.c.kind.in_((UNSEALED, VERIFIED)), event.c.at >= since, event.c.outcome == "refused"
    )
    found = [Trouble(*row) for row in connection.execute(query.group_by(event.c.kind))]
    return sorted(found, key=lambda trouble: -trouble.at)
