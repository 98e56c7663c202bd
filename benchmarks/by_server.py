"""What is measured behind one server after another: the options of the command, and its lines gathered."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import click

from benchmarks import results
from benchmarks.promises import Promise
from benchmarks.servers import SERVERS


@dataclass
class Part:
    """What was found behind one server, or behind several: lines of the table, promises and bars of the chart."""

    rows: list[tuple[str, ...]] = field(default_factory=list)
    promises: list[Promise] = field(default_factory=list)
    bars: list[tuple[str, float]] = field(default_factory=list)


server_option: Callable[[Any], Any] = click.option(
    "--server", type=click.Choice(SERVERS), multiple=True, help="Both unless told."
)


def turns_command(*, rounds: int, seconds: float) -> Callable[[Any], click.Command]:
    """A command that measures in turns, with so many rounds of so many seconds unless told."""
    counted = click.option(
        "--rounds", default=rounds, show_default=True, type=click.IntRange(1), help="How often all take their turn."
    )
    timed = click.option("--seconds", default=seconds, show_default=True, help="How long one turn lasts.")
    return lambda main: click.command()(counted(timed(server_option(results.write_option(main)))))


def gathered(chosen: Iterable[str], measure: Callable[[str], Part]) -> Part:
    """Measure behind each server that was chosen, behind all of them where none was."""
    whole = Part()
    for server in tuple(chosen) or SERVERS:
        part = measure(server)
        whole.rows += part.rows
        whole.promises += part.promises
        whole.bars += part.bars
    return whole
