"""The only "now".

An *instant* is a whole number of microseconds since 1970 (UTC). Rows, values and comparisons all use it, so
that neither SQLite nor PostgreSQL has a say in time zones and the hot path converts nothing.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

Instant = int
"""Microseconds since 1970-01-01T00:00Z."""

_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TOO_LATE = (datetime(9999, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND
"""Past the last year that every time zone can show: what is stored must be shown again."""


def micros(duration: timedelta) -> int:
    """Return a duration as whole microseconds, the unit of every `Instant`."""
    return duration // _MICROSECOND


def as_datetime(instant: Instant) -> datetime:
    """Return an instant as an aware UTC datetime."""
    return datetime.fromtimestamp(instant / 1_000_000, UTC)


def as_text(instant: Instant) -> str:
    """Return an instant in ISO 8601 with a `Z`, to the second (ASVS V16.2.2).

    One that no calendar has, which only somebody at the database's own prompt can have written, as its number.
    """
    try:
        return as_datetime(instant).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return str(instant)


def from_datetime(moment: datetime) -> Instant:
    """Return an aware datetime as an instant.

    Raises:
        ValueError: the datetime carries no offset, so it names no moment.
    """
    if moment.tzinfo is None:
        msg = "a time needs its offset, for example 2030-01-31T12:00:00Z"
        raise ValueError(msg)
    return micros(moment - _EPOCH)


def from_text(text: str) -> Instant:
    """Return the instant that a text in ISO 8601 names.

    Raises:
        ValueError: it names none, lacks its offset, or lies after the year 9998; the text says how to write one.
    """
    msg = "Write it in ISO 8601 with its offset, such as 2030-01-31T12:00:00Z, in the year 9998 at the latest."
    try:
        instant = from_datetime(datetime.fromisoformat(text))
    except ValueError as error:
        raise ValueError(msg) from error
    if instant >= _TOO_LATE:
        raise ValueError(msg)
    return instant


class Clock:
    """Tells the time; tests put a frozen one (`flask_gatehouse.testing.FrozenClock`) in its place."""

    def now(self) -> Instant:
        """Return the present instant in microseconds."""
        return time.time_ns() // 1000
