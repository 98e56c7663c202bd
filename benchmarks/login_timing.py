"""`python -m benchmarks.login_timing`: does the time of a refused login tell whether the name exists?

A wrong password for a name that exists and one for a name that does not, in turn and in changing order. The notes'
stack stands beside Gatehouse to show that the measurement can tell: it hashes for known names only.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from flask import Flask

from benchmarks import pairs as turns
from benchmarks import report, results
from benchmarks.browser import client_of
from benchmarks.contender import PASSWORD, USERNAME
from benchmarks.contenders import gatehouse, notes
from benchmarks.results import Result

UNKNOWN = "nobody.here"
WRONG_PASSWORD = PASSWORD[::-1]
ABOUT = "time of a refused login, known by unknown name"
#: The notes' stack is told apart in a few tries.
CONTROL_PAIRS = 10


def compare(app: Flask, refusal: int, pairs: int, tick: Callable[[], None]) -> float:
    """The time of a refused login for a name that exists by that for one that does not."""
    known, unknown = (
        turns.attempt(app, "/login", refusal, username=name, password=WRONG_PASSWORD) for name in (USERNAME, UNKNOWN)
    )
    return turns.compare(known, unknown, pairs, tick)


@click.command()
@click.option("--pairs", default=500, show_default=True, type=click.IntRange(1), help="Logins with either name.")
@results.write_option
def main(*, pairs: int, write: bool) -> None:
    """Compare refused logins of a known and an unknown name."""
    console = report.console()
    with TemporaryDirectory(prefix="bench-") as folder:
        theirs = notes.create(Path(folder))
        theirs.log_in(client_of(theirs.app))
        ours = gatehouse.build(
            Path(folder), f"sqlite:///{Path(folder) / 'gatehouse.sqlite'}", TESTING=True, GATEHOUSE_THROTTLE="off"
        )
        gatehouse.register(client_of(ours))
        with report.progress(console, "Refused logins in turn", CONTROL_PAIRS + pairs + 2 * turns.WARM_UP) as tick:
            control = compare(theirs.app, 200, CONTROL_PAIRS, tick)
            ratio = compare(ours, 401, pairs, tick)
    rows = [("notes' stack", f"{control:.1f}"), ("Gatehouse", f"{ratio:.3f}")]
    result = Result(
        "login_timing",
        "Known and unknown names",
        f"The time of a refused login for a name that exists by that for one that does not, median of {pairs} pairs.",
        ("contender", "known by unknown"),
        rows,
        promises=[turns.judged(ABOUT, "Gatehouse", ratio)],
    )
    results.finish(console, result, write=write)


if __name__ == "__main__":
    main()
