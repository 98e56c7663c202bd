"""What commands print: tables for people, JSON for programs, a bar for what takes long."""

from __future__ import annotations

import json
import sys
import unicodedata
from time import monotonic
from typing import TYPE_CHECKING, Self

import click
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from flask_gatehouse.kernel.clock import as_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flask_gatehouse.kernel.clock import Instant

PIPE_WIDTH = 10_000
QUIET_SECONDS = 2.0
_UNSHOWABLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def when(instant: Instant | None) -> str | None:
    """Return an instant as ISO 8601 with a `Z`; None stays None."""
    return None if instant is None else as_text(instant)


def harmless(text: str) -> str:
    r"""Return a text that cannot drive the terminal: what is no visible character is written as `\u001b`."""
    return "".join(
        f"\\u{ord(character):04x}" if unicodedata.category(character) in _UNSHOWABLE else character
        for character in text
    )


def print_json(value: object) -> None:
    """Print a value for programs; everything beyond ASCII is escaped."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=True))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under their headings; into a pipe nothing is wrapped or cut."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    _console().print(table)


def print_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Print names with their values, one a line."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in facts:
        table.add_row(Text(name, style="dim"), Text(_cell(value)))
    _console().print(table)


def say(text: str, *, is_note: bool = False) -> None:
    """Print a sentence; a note goes to standard error, out of a program's way."""
    click.echo(harmless(text), err=is_note)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(_cell(item) for item in value)
    return harmless(str(value))


def _console() -> Console:
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    return Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False)


class SlowBar:
    """A progress bar on standard error that shows itself only when the work takes more than two seconds.

    Args:
        label: what is being done.
        total: how many steps there are.
    """

    def __init__(self, label: str, total: int) -> None:
        self._label = label
        self._total = total
        console = Console(stderr=True)
        self._progress = Progress(console=console, transient=True, disable=not console.is_terminal)
        self._started_at = monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._progress.stop()

    def __call__(self, done: int) -> None:
        """Show that so many steps are done."""
        if monotonic() - self._started_at < QUIET_SECONDS:
            return
        if not self._progress.tasks:
            self._progress.start()
            self._progress.add_task(self._label, total=self._total)
        self._progress.update(self._progress.task_ids[0], completed=done)
