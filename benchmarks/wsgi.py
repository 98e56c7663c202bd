"""Asking an app directly, as a server would, and hearing the whole answer."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from werkzeug.test import EnvironBuilder

from benchmarks.browser import HEADERS, ORIGIN, WrongAnswerError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


@dataclass(frozen=True)
class Question:
    """A request made once and asked many times, with the answer it must get."""

    app: WSGIApplication
    environ: WSGIEnvironment
    body: bytes

    def ask(self) -> Answer:
        """Ask once and check the answer."""
        answer = ask(self.app, self.environ)
        if answer.status != 200 or answer.body != self.body:
            raise WrongAnswerError(f"{self.environ['PATH_INFO']} answered {answer.status} {answer.body[:80]!r}")
        return answer

    def time(self, requests: int) -> float:
        """The median time of one request, in microseconds; every answer is checked, outside the measured span."""
        statuses: list[str] = []
        start_response = _listener(statuses)
        app, times, right = self.app, [], True
        for _ in range(requests):
            environ = self.environ.copy()
            begun = perf_counter_ns()
            chunks = app(environ, start_response)
            body = b"".join(chunks)
            close = getattr(chunks, "close", None)
            if close:
                close()
            times.append(perf_counter_ns() - begun)
            right = right and body == self.body
        if not right or any(status != "200 OK" for status in statuses) or len(statuses) != requests:
            raise WrongAnswerError(f"{self.environ['PATH_INFO']} answered wrongly while it was timed")
        return statistics.median(times) / 1000


def environ_of(path: str, credentials: Mapping[str, str]) -> WSGIEnvironment:
    """What a server would hand on for a browser's GET."""
    return EnvironBuilder(
        path,
        base_url=ORIGIN,
        headers=[*HEADERS.items(), *credentials.items()],
        environ_overrides={"REMOTE_ADDR": "127.0.0.1"},
    ).get_environ()


def ask(app: WSGIApplication, environ: WSGIEnvironment) -> Answer:
    """One request, unchecked."""
    heard: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], _exc_info: Any = None) -> Any:
        heard.append((status, headers))

    chunks = app(environ.copy(), start_response)
    body = b"".join(chunks)
    close = getattr(chunks, "close", None)
    if close:
        close()
    status, headers = heard[-1]
    return Answer(int(status.split()[0]), headers, body)


def _listener(statuses: list[str]) -> StartResponse:
    def start_response(status: str, _headers: list[tuple[str, str]], _exc_info: Any = None) -> Any:
        statuses.append(status)

    return start_response
