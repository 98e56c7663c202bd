"""`python -m benchmarks.login_timing`: does the time of a refused login tell whether the name exists?

A wrong password for a name that exists and one for a name that does not, in turn and in changing order. The notes'
stack stands beside Gatehouse to show that the measurement can tell: it hashes for known names only.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter_ns
from typing import TYPE_CHECKING

import click
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import EnvironBuilder

from benchmarks import report, results
from benchmarks.browser import HEADERS, ORIGIN, WrongAnswerError, client_of, csrf_token, get
from benchmarks.contender import PASSWORD, USERNAME
from benchmarks.contenders import gatehouse, notes
from benchmarks.promises import Promise
from benchmarks.results import Result
from benchmarks.wsgi import ask

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

UNKNOWN = "nobody.here"
WRONG_PASSWORD = PASSWORD[::-1]
LOWEST, HIGHEST = 0.98, 1.02
ABOUT = "time of a refused login, known by unknown name"
WARM_UP = 3
#: The notes' stack is told apart in a few tries.
CONTROL_PAIRS = 10


@dataclass
class Attempt:
    """A login that must be refused, sent again and again, and how long each took in microseconds."""

    app: Flask
    environ: WSGIEnvironment
    body: bytes
    refusal: int
    times: list[float] = field(default_factory=list)

    def send(self) -> None:
        """Once, timed."""
        environ = self.environ | {"wsgi.input": BytesIO(self.body)}
        begun = perf_counter_ns()
        answer = ask(self.app, environ)
        self.times.append((perf_counter_ns() - begun) / 1000)
        if answer.status != self.refusal:
            raise WrongAnswerError(f"a wrong login was answered {answer.status}")


def attempt(app: Flask, username: str, refusal: int) -> Attempt:
    """A filled-in login form with its token and cookie."""
    client = client_of(app)
    page = get(client, "/login")
    fields = {"username": username, "password": WRONG_PASSWORD, "csrf_token": csrf_token(page.text)}
    builder = EnvironBuilder(
        "/login",
        method="POST",
        base_url=ORIGIN,
        headers=[*HEADERS.items(), ("Origin", ORIGIN), ("Referer", ORIGIN + "/login"), ("Cookie", _cookie(client))],
        data=fields,
        environ_overrides={"REMOTE_ADDR": "127.0.0.1"},
    )
    environ = builder.get_environ()
    return Attempt(app, environ, environ["wsgi.input"].read(), refusal)


def _cookie(client: FlaskClient) -> str:
    return get(client, "/login").request.headers["Cookie"]


def compare(app: Flask, refusal: int, pairs: int, tick: Callable[[], None]) -> float:
    """The median, over pairs sent one after the other, of the known name's time by the unknown one's.

    Formed within a pair, a busy machine falls out of the ratio: under load it varies a tenth as much as one of medians.
    """
    known, unknown = attempt(app, USERNAME, refusal), attempt(app, UNKNOWN, refusal)
    for number in range(WARM_UP + pairs):
        first, second = (known, unknown) if number % 2 else (unknown, known)
        first.send()
        second.send()
        tick()
    both = zip(known.times[WARM_UP:], unknown.times[WARM_UP:], strict=True)
    return statistics.median(one / other for one, other in both)


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
        with report.progress(console, "Refused logins in turn", CONTROL_PAIRS + pairs + 2 * WARM_UP) as tick:
            control = compare(theirs.app, 200, CONTROL_PAIRS, tick)
            ratio = compare(ours, 401, pairs, tick)
    rows = [("notes' stack", f"{control:.1f}"), ("Gatehouse", f"{ratio:.3f}")]
    text = f"Gatehouse: known by unknown within {LOWEST} and {HIGHEST}"
    result = Result(
        "login_timing",
        "Known and unknown names",
        f"The time of a refused login for a name that exists by that for one that does not, median of {pairs} pairs.",
        ("contender", "known by unknown"),
        rows,
        promises=[Promise(ABOUT, text, f"{ratio:.3f}", LOWEST <= ratio <= HIGHEST)],
    )
    results.finish(console, result, write=write)


if __name__ == "__main__":
    main()
