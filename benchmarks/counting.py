"""Statements, writes and Set-Cookie headers per request, counted where they happen.

SQLite connections are caught as they open, so counting needs contenders made afresh; it comes after all timing, since a
traced connection is a slower one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from benchmarks.browser import WrongAnswerError
from benchmarks.contender import NOTES, Recipe
from benchmarks.entry import enter
from benchmarks.postgres import Postgres
from benchmarks.wsgi import Question

REQUESTS = 20
WRITES = ("INSERT", "UPDATE", "DELETE", "REPLACE")


@dataclass(frozen=True)
class Counts:
    """Per request; the public route's statements beside the protected one's."""

    public_statements: float
    statements: float
    writes: float
    set_cookies: float


class Tally:
    """The statements that this process sends to any database."""

    def __init__(self, postgres: Postgres | None) -> None:
        self._sqlite: list[str] = []
        self._postgres = postgres
        self._taken = 0
        self._connect = sqlite3.connect

    def take(self) -> list[str]:
        """The statements sent since the last call."""
        sent, self._sqlite = self._sqlite, []
        if self._postgres:
            logged = self._postgres.statements()
            sent += logged[self._taken :]
            self._taken = len(logged)
        return sent

    @contextmanager
    def tracing(self) -> Iterator[None]:
        """Every SQLite connection opened inside is heard, also after this."""
        with patch("sqlite3.connect", self._opened), patch("sqlite3.dbapi2.connect", self._opened):
            yield

    def _opened(self, *args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = self._connect(*args, **kwargs)
        connection.set_trace_callback(self._heard)
        return connection

    def _heard(self, statement: str) -> None:
        # "--" announces a trigger's own statement inside the one already counted.
        if not statement.startswith("--"):
            self._sqlite.append(statement)


def count(recipe: Recipe, postgres: Postgres | None) -> Counts:
    """Log a contender in under the tally, ask both routes some times and divide."""
    tally = Tally(postgres)
    with tally.tracing():
        entry = enter(recipe())
        public, _ = _sent(entry.public, tally)
        statements, cookies = _sent(entry.protected, tally)
    if entry.contender.card.name == NOTES and not statements:
        raise WrongAnswerError("the notes' stack was not seen to ask its database: the counting is broken")
    writes = [text for text in statements if text.lstrip().upper().startswith(WRITES)]
    return Counts(len(public) / REQUESTS, len(statements) / REQUESTS, len(writes) / REQUESTS, cookies / REQUESTS)


def _sent(question: Question, tally: Tally) -> tuple[list[str], int]:
    question.ask()
    tally.take()
    answers = [question.ask() for _ in range(REQUESTS)]
    return tally.take(), sum(name.lower() == "set-cookie" for answer in answers for name, _ in answer.headers)
