"""A contender in a process of its own, as on a site: no other stack shares its heap or the interpreter's caches."""

from __future__ import annotations

import gc
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from typing import Literal

from benchmarks.contender import Card, Recipe
from benchmarks.counting import Counts, count
from benchmarks.entry import Entry, enter
from benchmarks.postgres import Postgres

Route = Literal["public", "protected"]

#: Asked before a block is timed: fills the processor's caches again after the contender before.
WARM_UP = 20

#: In the contender's own process only.
_entries: list[Entry] = []


class Stall:
    """Made by logging the contender in; raises WrongAnswerError when that or a later answer is wrong."""

    def __init__(self, recipe: Recipe) -> None:
        self._process = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
        self.card = self._process.submit(_open, recipe).result()

    def time(self, route: Route, requests: int) -> float:
        """The median time of one request, in microseconds."""
        return self._process.submit(_time, route, requests).result()

    def count(self, recipe: Recipe, postgres: Postgres | None) -> Counts:
        """What a request asks of the database, counted on a contender made afresh."""
        return self._process.submit(count, recipe, postgres).result()

    def close(self) -> None:
        """End the process."""
        self._process.shutdown()


def _open(recipe: Recipe) -> Card:
    _entries.append(enter(recipe()))
    gc.collect()
    # What set-up built would be walked again by every collection, and is no cost of a request.
    gc.freeze()
    return _entries[0].contender.card


def _time(route: Route, requests: int) -> float:
    question = getattr(_entries[0], route)
    gc.collect()
    question.time(WARM_UP)
    return float(question.time(requests))
