"""Two forms sent in turn, one about somebody who exists and one about nobody: does the time of the answer tell?"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from time import perf_counter_ns
from typing import TYPE_CHECKING

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import EnvironBuilder

from benchmarks.browser import HEADERS, ORIGIN, WrongAnswerError, client_of, csrf_token, get
from benchmarks.promises import Promise
from benchmarks.wsgi import ask

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

LOWEST, HIGHEST = 0.98, 1.02
WARM_UP = 3


@dataclass
class Attempt:
    """A form that is sent again and again, and how long each answer took in microseconds.

    Attributes:
        status: what each answer must be.
    """

    app: Flask
    environ: WSGIEnvironment
    body: bytes
    status: int
    times: list[float] = field(default_factory=list)

    def send(self) -> None:
        """Once, timed."""
        environ = self.environ | {"wsgi.input": BytesIO(self.body)}
        begun = perf_counter_ns()
        answer = ask(self.app, environ)
        self.times.append((perf_counter_ns() - begun) / 1000)
        if answer.status != self.status:
            raise WrongAnswerError(f"{self.environ['PATH_INFO']} answered {answer.status}")


def attempt(app: Flask, path: str, status: int, **fields: str) -> Attempt:
    """A filled-in form with its token and cookie."""
    client = client_of(app)
    fields["csrf_token"] = csrf_token(get(client, path).text)
    builder = EnvironBuilder(
        path,
        method="POST",
        base_url=ORIGIN,
        headers=[*HEADERS.items(), ("Origin", ORIGIN), ("Referer", ORIGIN + path), ("Cookie", _cookie(client, path))],
        data=fields,
        environ_overrides={"REMOTE_ADDR": "127.0.0.1"},
    )
    environ = builder.get_environ()
    return Attempt(app, environ, environ["wsgi.input"].read(), status)


def _cookie(client: FlaskClient, path: str) -> str:
    return get(client, path).request.headers["Cookie"]


def _nothing() -> None:
    """Nothing goes on after an answer."""


def compare(
    known: Attempt, unknown: Attempt, pairs: int, tick: Callable[[], None], *, rest: Callable[[], object] = _nothing
) -> float:
    """The median, over pairs sent one after the other, of the known one's time by the unknown one's.

    `rest` waits until nothing goes on any more that an answer began.

    Formed within a pair, a busy machine falls out of the ratio: under load it varies a tenth as much as one of medians.
    """
    for number in range(WARM_UP + pairs):
        first, second = (known, unknown) if number % 2 else (unknown, known)
        for one in (first, second):
            one.send()
            rest()
        tick()
    both = zip(known.times[WARM_UP:], unknown.times[WARM_UP:], strict=True)
    return statistics.median(one / other for one, other in both)


def judged(about: str, name: str, ratio: float) -> Promise:
    """Whether a ratio tells nothing."""
    text = f"{name}: known by unknown within {LOWEST} and {HIGHEST}"
    return Promise(about, text, f"{ratio:.3f}", LOWEST <= ratio <= HIGHEST)
