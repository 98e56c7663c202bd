"""What a benchmark found, as the manual keeps it: one JSON file each, from which `benchmarks.charts` makes a page."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.table import Table

from benchmarks import charts, report
from benchmarks.charts import FOLDER
from benchmarks.promises import Promise

write_option: Callable[[Any], Any] = click.option(
    "--write/--no-write", default=True, show_default=True, help="Put the figures into the docs."
)


@dataclass(frozen=True)
class Chart:
    """Bars beside each other: label and value; `limit` is where a promise draws its line."""

    title: str
    unit: str
    bars: list[tuple[str, float]]
    limit: float | None = None


@dataclass(frozen=True)
class Result:
    """One run of one benchmark.

    Attributes:
        name: of the file, and of the module that measured.
        title: heading on the page.
        about: one sentence: what was done.
        columns: heads of the table; all but the first stand right.
        rows: the table's cells as people read them.
    """

    name: str
    title: str
    about: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    charts: list[Chart] = field(default_factory=list)
    promises: Sequence[Promise] = ()


def command(module: str) -> str:
    """The command line that this program was called with."""
    return " ".join(["python -m", module, *sys.argv[1:]])


def show(console: Console, result: Result) -> None:
    """Print table and promises."""
    table = Table(*result.columns, title=result.title)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in result.rows:
        table.add_row(*row)
    console.print(table)
    report.judge(console, result.promises)


def save(result: Result, told: str) -> Path:
    """Write the figures down, and the page made from all of them anew."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{result.name}.json"
    kept = {"command": told, "date": f"{datetime.now(UTC):%Y-%m-%d}", "circumstances": report.circumstances()}
    path.write_text(json.dumps(kept | asdict(result), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    charts.write()
    return path


def finish(console: Console, result: Result, *, write: bool) -> NoReturn:
    """Show, keep, and exit with 1 where a promise is broken."""
    show(console, result)
    if write:
        save(result, command(f"benchmarks.{result.name}"))
    sys.exit(0 if all(promise.is_kept for promise in result.promises) else 1)
