"""What Gatehouse promises in numbers; a run that finds one broken ends with exit code 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.contender import GATEHOUSE, GATEHOUSE_FLASK_LOGIN, GATEHOUSE_POSTGRES
from benchmarks.figures import Figures

#: The overhead of a protected request, at most one part in so many of the notes' stack's.
PARTS = {GATEHOUSE: 8, GATEHOUSE_FLASK_LOGIN: 7, GATEHOUSE_POSTGRES: 6}
PUBLIC_RATIO = 1.2


@dataclass(frozen=True)
class Promise:
    """One promise, what was found, and whether that keeps it.

    Attributes:
        about: what it is about, in the words of the manual's table of promises.
    """

    about: str
    text: str
    found: str
    is_kept: bool


def at_most(about: str, text: str, found: float, most: float) -> Promise:
    """A figure that may not be larger."""
    return Promise(about, f"{text} <= {most:g}", f"{found:.3g}", found <= most)


def at_least(about: str, text: str, found: float, least: float) -> Promise:
    """A figure that may not be smaller."""
    return Promise(about, f"{text} >= {least:g}", f"{found:.3g}", found >= least)


def judge(table: Mapping[str, Figures]) -> list[Promise]:
    """Every promise that this run can judge."""
    return [promise for name in PARTS if name in table for promise in _judge(table[name], PARTS[name])]


def _judge(line: Figures, parts: int) -> list[Promise]:
    share, counts = line.share or 0.0, line.counts
    public = counts.public_statements
    name, database = line.name, "PostgreSQL" if line.name == GATEHOUSE_POSTGRES else "SQLite"
    overhead, route, request = f"overhead of a protected request, {database}", "a public route", "a protected request"
    return [
        Promise(overhead, f"{name}: overhead <= 1/{parts} of the notes' stack", line.part, share <= 1 / parts),
        at_most(route, f"{name}: public route, by plain Flask,", line.public_ratio, PUBLIC_RATIO),
        Promise(route, f"{name}: public route asks no database", f"{public:g}", public == 0),
        Promise(request, f"{name}: one statement", f"{counts.statements:g}", counts.statements == 1),
        Promise(request, f"{name}: no write", f"{counts.writes:g}", counts.writes == 0),
        Promise(request, f"{name}: no Set-Cookie", f"{counts.set_cookies:g}", counts.set_cookies == 0),
    ]
