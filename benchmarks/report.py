"""The table: on the terminal, and between two markers of the page in the docs."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.figures import Figures
from benchmarks.promises import Promise

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "benchmarks.md"
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"

COLUMNS = (
    "contender",
    "public µs",
    "public / plain",
    "protected µs",
    "overhead µs",
    "of notes' stack",
    "statements",
    "writes",
    "Set-Cookie",
)
PACKAGES = (
    "flask-gatehouse",
    "Flask",
    "Werkzeug",
    "Flask-Login",
    "Flask-SQLAlchemy",
    "Flask-WTF",
    "Flask-JWT-Extended",
    "SQLAlchemy",
    "psycopg",
)


def console() -> Console:
    """A terminal as wide as it is; a file or a pipe wide enough for the table."""
    terminal = Console()
    return terminal if terminal.is_terminal else Console(width=160)


@contextmanager
def progress(where: Console, text: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar on a terminal, one line elsewhere; what is yielded moves it on by one."""
    with Progress(console=where, disable=not where.is_terminal, transient=True) as bar:
        task = bar.add_task(text, total=total)
        if not where.is_terminal:
            where.print(f"{text}, {total} rounds …")
        yield lambda: bar.advance(task)


def cells(line: Figures) -> tuple[str, ...]:
    """One line of the table as text."""
    counts = line.counts
    return (
        line.name,
        f"{line.public:.0f}",
        f"{line.public_ratio:.2f}",
        f"{line.protected:.0f}",
        f"{line.overhead:.0f}",
        line.part,
        f"{counts.statements:g}",
        f"{counts.writes:g}",
        f"{counts.set_cookies:g}",
    )


def show(where: Console, lines: Iterable[Figures], promises: Iterable[Promise]) -> None:
    """Print the table and what became of the promises."""
    table = Table(*COLUMNS, title="A request in process")
    for column in table.columns[1:]:
        column.justify = "right"
    for line in lines:
        table.add_row(*cells(line))
    where.print(table)
    judge(where, promises)


def judge(where: Console, promises: Iterable[Promise]) -> None:
    """Print what became of the promises."""
    for promise in promises:
        verdict = "[green]kept[/]  " if promise.is_kept else "[bold red]BROKEN[/]"
        where.print(f"{verdict} {promise.text}: {promise.found}", highlight=False)


def write(lines: Iterable[Figures], command: str) -> None:
    """Put the table into the page, in place of the one before."""
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    PAGE.write_text(before + BEGIN + "\n" + _markdown(lines, command) + END + after, encoding="utf-8")


def _markdown(lines: Iterable[Figures], command: str) -> str:
    rows = [COLUMNS, ("---", *["---:"] * (len(COLUMNS) - 1)), *map(cells, lines)]
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return f"`{command}`, {datetime.now(UTC):%Y-%m-%d}, {circumstances()}.\n\n{table}\n"


def circumstances() -> str:
    """What a reader must know of the machine: how many cores, and which versions."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    packages = [f"{name} {_version(name)}" for name in PACKAGES if _version(name)]
    return ", ".join([f"{os.cpu_count()} CPUs", *_huge_pages(), python, *packages])


def _huge_pages() -> list[str]:
    """Whether Linux hands out memory in pages of 2 MiB: what a hash costs depends on it."""
    setting = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not setting.is_file():
        return []
    chosen = setting.read_text(encoding="ascii").partition("[")[2].partition("]")[0]
    return [f"transparent huge pages: {chosen}"]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
