"""A row of bars as SVG: where each stands and how high it is. No script, no style: shapes and their attributes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flask_gatehouse.flows.overview import Activity
    from flask_gatehouse.kernel.clock import Instant

STEP, WIDTH, HEIGHT, LEAST = 10, 8, 40, 2
"""In units of the picture: from bar to bar, a bar's width, the highest bar, and the lowest that is not nothing."""
NAMES = {"logins": "Logins", "failures": "Failures", "refusals": "Refusals"}


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar.

    Attributes:
        at: when its hour begins.
        number: what it stands for.
    """

    at: Instant
    number: int
    x: int
    y: int
    height: int


@dataclass(frozen=True, slots=True)
class BarRow:
    """One series of bars, each row with a scale of its own.

    Attributes:
        name: of the series, as a class of the stylesheet.
        title: the same as a word.
        total: over all hours.
        most: in one hour.
        most_at: when the first such hour begins.
        bars: those that are not nothing.
    """

    name: str
    title: str
    total: int
    most: int
    most_at: Instant
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """Rows of bars, and the same as numbers.

    Attributes:
        width: of each row, in units of the picture.
        height: the same.
        since: when the first hour begins.
        until: when the last one ends.
        rows: one for each series.
        table: for each hour when it begins, and the number of each series.
    """

    width: int
    height: int
    since: Instant
    until: Instant
    rows: tuple[BarRow, ...]
    table: tuple[tuple[Instant, tuple[int, ...]], ...]


def picture_of(activity: Activity) -> Picture:
    """Return the picture of a day."""
    hours = activity.hours
    rows = tuple(_row(name, hours, numbers) for name, numbers in activity.numbers.items())
    table = tuple(zip(hours, zip(*activity.numbers.values(), strict=True), strict=True))
    width = len(hours) * STEP - (STEP - WIDTH)
    return Picture(width, HEIGHT, hours[0], hours[-1] + hours[1] - hours[0], rows, table)


def _row(name: str, hours: Sequence[Instant], numbers: Sequence[int]) -> BarRow:
    most = max(numbers)
    bars = tuple(
        _bar(place, at, number, most) for place, (at, number) in enumerate(zip(hours, numbers, strict=True)) if number
    )
    return BarRow(name, NAMES[name], sum(numbers), most, hours[numbers.index(most)], bars)


def _bar(place: int, at: Instant, number: int, most: int) -> Bar:
    height = max(LEAST, round(HEIGHT * number / most))
    return Bar(at, number, place * STEP, HEIGHT - height, height)
