"""`python -m benchmarks`: measure, print, write the page; exit 1 when a promise is broken."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from rich.console import Console

from benchmarks import report, results, timing
from benchmarks.browser import WrongAnswerError
from benchmarks.contender import Recipe
from benchmarks.contenders import line_up
from benchmarks.figures import Figures, figures
from benchmarks.postgres import Postgres, server
from benchmarks.promises import Promise, judge
from benchmarks.stall import Stall

QUICK_ROUNDS, QUICK_REQUESTS = 10, 100


@click.command()
@click.option("--rounds", default=60, show_default=True, type=click.IntRange(1), help="How often all take their turn.")
@click.option("--requests", default=200, show_default=True, type=click.IntRange(1), help="Requests in one turn.")
@click.option("--write/--no-write", default=True, show_default=True, help="Put the table into the docs.")
@click.option("--quick", is_flag=True, help="A hurried look: fewer rounds, SQLite only, nothing written.")
def main(*, rounds: int, requests: int, write: bool, quick: bool) -> None:
    """Compare Gatehouse with its peers, in process."""
    console = report.console()
    if quick:
        rounds, requests, write = QUICK_ROUNDS, QUICK_REQUESTS, False
    try:
        table = run(console, rounds, requests, with_postgres=not quick)
    except WrongAnswerError as wrong:
        console.print(f"[bold red]A contender answers wrongly:[/] {wrong}")
        sys.exit(1)
    promises = judge(table)
    report.show(console, table.values(), promises)
    if write:
        command = f"python -m benchmarks --rounds {rounds} --requests {requests}"
        report.write(table.values(), command)
        results.save(result(table.values(), promises), command)
    sys.exit(0 if all(promise.is_kept for promise in promises) else 1)


def result(lines: Iterable[Figures], promises: list[Promise]) -> results.Result:
    """The figures as the page of charts has them."""
    listed = list(lines)
    overheads = [(line.name, line.overhead) for line in listed[1:]]
    return results.Result(
        "requests",
        "A request in process",
        "The cost of one request, the app called as a server calls it.",
        report.COLUMNS,
        [report.cells(line) for line in listed],
        [results.Chart("A protected request above plain Flask", "µs", overheads)],
        promises,
    )


def run(console: Console, rounds: int, requests: int, *, with_postgres: bool) -> dict[str, Figures]:
    """Time first; count afterwards, since a database that writes its statements down is a slower one."""
    with TemporaryDirectory(prefix="bench-") as folder, _database(Path(folder), wanted=with_postgres) as postgres:
        recipes = line_up(_new(folder, "timing"), postgres)
        with _stalls(console, recipes) as stalls:
            with report.progress(console, f"{len(stalls)} contenders in turn", rounds) as tick:
                times = timing.measure(stalls, rounds, requests, tick)
            afresh = line_up(_new(folder, "counting"), postgres)
            if postgres:
                postgres.log_statements()
            console.print("Counting statements …")
            counts = {
                stall.card.name: stall.count(recipe, postgres) for stall, recipe in zip(stalls, afresh, strict=True)
            }
        return figures([stall.card for stall in stalls], times, counts)


def _new(folder: str, name: str) -> Path:
    made = Path(folder) / name
    made.mkdir(mode=0o700)
    return made


@contextmanager
def _stalls(console: Console, recipes: Sequence[Recipe]) -> Iterator[list[Stall]]:
    console.print("Contenders register and log in …")
    with ExitStack() as opened:
        stalls = []
        for recipe in recipes:
            stalls.append(Stall(recipe))
            opened.callback(stalls[-1].close)
        yield stalls


@contextmanager
def _database(folder: Path, *, wanted: bool) -> Iterator[Postgres | None]:
    if not wanted:
        yield None
        return
    with server(folder) as postgres:
        yield postgres


if __name__ == "__main__":
    main()
