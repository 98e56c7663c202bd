"""`python -m benchmarks.audit`: how fast the audit log takes rows, verifies its chain and is searched.

Rows are made by the flows' own way of recording. Of several rounds the best counts: a busy machine only ever makes a
figure smaller.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import click
from rich.console import Console

from benchmarks import fill, postgres, report, results
from benchmarks.promises import Promise
from benchmarks.results import Result
from flask_gatehouse import migrations
from flask_gatehouse.domain.audit import BATCH, AuditLog, Event
from flask_gatehouse.kernel.database import Database, open_engine
from flask_gatehouse.kernel.identity import Actor, Source
from flask_gatehouse.kernel.keys import KeyRing

KEYS = KeyRing("a secret of the benchmark, long enough to be one")
AGENT = "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0"
SECOND = 1_000_000
BEGIN = 1_700_000_000 * SECOND
USERS, ADDRESSES = 1000, 250
MANY = 1000
SINGLE = 2000
ROUNDS, WALKS = 3, 8
PROMISED = 300_000
ABOUT = "verifying the audit chain"


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    database: str
    what: str
    found: str


def events(first: int, count: int) -> list[Event]:
    """Logins of many people from many places, one a second."""
    return [_event(number) for number in range(first, first + count)]


def _event(number: int) -> Event:
    user = number % USERS
    source = Source(f"192.0.2.{number % ADDRESSES}", AGENT, f"{number:016x}")
    return Event(
        "login.succeeded", Actor(user, f"user{user}"), user, source, f"{number:016x}", detail={"by": "password"}
    )


def append(database: Database, first: int, count: int, at_once: int, tick: Callable[[], None] = lambda: None) -> float:
    """Rows a second, so many in each transaction."""
    log = AuditLog(KEYS)
    spent = 0.0
    for start in range(first, first + count, at_once):
        batch = events(start, at_once)
        begun = perf_counter()
        with database.unit() as connection:
            log.append(connection, batch, BEGIN + start * SECOND)
        spent += perf_counter() - begun
        tick()
    return count / spent


def verify(console: Console, database: Database, rows: int) -> float:
    """Rows a second of one walk over the whole chain."""
    log = AuditLog(KEYS)
    with database.snapshot() as connection, report.progress(console, "Verifying", rows // BATCH + 1) as tick:
        begun = perf_counter()
        found = log.verify(connection, progress=lambda _rows: tick())
        spent = perf_counter() - begun
    if found != rows:
        console.print(f"[bold red]The chain does not verify:[/] {found}")
        sys.exit(1)
    return rows / spent


def searches(database: Database, rows: int) -> Iterator[tuple[str, float]]:
    """Milliseconds of a page of the log, found in several ways."""
    log = AuditLog(KEYS)
    since, until = BEGIN + rows // 3 * SECOND, BEGIN + rows // 2 * SECOND
    for text, wanted in (
        ("newest", {}),
        ("one user", {"user_id": 7}),
        ("one user in a span of time", {"user_id": 7, "since": since, "until": until}),
        ("nobody in a span of time", {"user_id": USERS + 1, "since": since, "until": until}),
        ("one address in a span of time", {"address": "192.0.2.7", "since": since, "until": until}),
        ("a kind that never was, in a span", {"kind": "user.closed", "since": since, "until": until}),
        ("all in a span of time", {"since": since, "until": until}),
    ):
        with database.reading() as connection:
            log.search(connection)
            begun = perf_counter()
            log.search(connection, **wanted)  # type: ignore[arg-type]  # each by its name
            yield text, (perf_counter() - begun) * 1000


def measure(console: Console, name: str, url: str, rows: int) -> list[Line]:
    """All figures of one database."""
    with closing(Database(open_engine(url))) as database:
        migrations.upgrade(database)
        single = max(append(database, SINGLE * turn, SINGLE, 1) for turn in range(ROUNDS))
        made = SINGLE * ROUNDS
        with report.progress(console, f"{name}: appending", (rows - made) // MANY) as tick:
            many = append(database, made, rows - made, MANY, tick)
        fill.tidied(database)
        found = [
            Line(name, "append, one row a transaction", f"{single:,.0f} rows/s"),
            Line(name, f"append, {MANY} rows a transaction", f"{many:,.0f} rows/s"),
            Line(
                name,
                f"verify {rows:,} rows",
                f"{max(verify(console, database, rows) for _ in range(WALKS)):,.0f} rows/s",
            ),
        ]
        return found + [Line(name, f"search: {text}", f"{spent:.1f} ms") for text, spent in searches(database, rows)]


def _promise(line: Line) -> Promise:
    rate = float(line.found.split()[0].replace(",", ""))
    return Promise(ABOUT, f"{line.database}: rows a second >= {PROMISED:,}", f"{rate:,.0f}", rate >= PROMISED)


@click.command()
@click.option("--rows", default=1_000_000, show_default=True, type=click.IntRange(10_000), help="Rows on SQLite.")
@click.option("--postgres-rows", default=100_000, show_default=True, type=click.IntRange(10_000), help="On PostgreSQL.")
@results.write_option
def main(*, rows: int, postgres_rows: int, write: bool) -> None:
    """Measure the audit log on SQLite and PostgreSQL."""
    console = report.console()
    with TemporaryDirectory(prefix="bench-") as folder:
        lines = measure(console, "SQLite", f"sqlite:///{Path(folder) / 'gatehouse.sqlite3'}", rows - rows % MANY)
        with postgres.server(Path(folder)) as server:
            if server:
                lines += measure(console, "PostgreSQL", server.new_database(), postgres_rows - postgres_rows % MANY)
    result = Result(
        "audit",
        "The audit log",
        "Appending to the chain, verifying all of it, and a page of a search.",
        ("database, what", "found"),
        [(f"{line.database}, {line.what}", line.found) for line in lines],
        promises=[_promise(line) for line in lines if line.what.startswith("verify")],
    )
    results.finish(console, result, write=write)


if __name__ == "__main__":
    main()
