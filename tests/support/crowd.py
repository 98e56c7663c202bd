"""Many at once: threads in several processes, let go together."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, TypeVar

from flask_gatehouse.testing import FrozenClock
from tests.support import house
from tests.support.house import House, PaperCodes

T = TypeVar("T")
Act = Callable[..., T]
"""`act(house, number, *arguments)`, a function of a module; what it returns must be picklable."""

PROCESSES = 2
WAIT_SECONDS = 60.0

_barriers: list[Barrier] = []


def _start(barrier: Barrier, folder: str) -> None:
    _barriers.append(barrier)
    os.chdir(folder)  # no `.env` here


def _work(act: Act[T], url: str, config: dict[str, Any], numbers: list[int], arguments: tuple[Any, ...]) -> list[T]:
    here = house.build(url, factors=[PaperCodes()], **config)
    here.gate.prepare_database(here.app)
    ready = threading.Barrier(len(numbers))
    _barriers[0].wait(WAIT_SECONDS)

    def one(number: int) -> T:
        ready.wait(WAIT_SECONDS)
        return act(here, number, *arguments)

    try:
        with ThreadPoolExecutor(len(numbers)) as threads:
            return list(threads.map(one, numbers))
    finally:
        house.close(here)


class Crowd:
    """Two processes that stay for the whole run; each builds the app anew for each rush."""

    def __init__(self, folder: Path) -> None:
        context = multiprocessing.get_context("spawn")
        arguments = (context.Barrier(PROCESSES), str(folder))
        self._pool = ProcessPoolExecutor(PROCESSES, mp_context=context, initializer=_start, initargs=arguments)

    def rush(self, act: Act[T], here: House, count: int, *arguments: Any, **config: object) -> list[T]:
        """Let `count` threads over two processes act at once on the house's database; return what they got.

        Args:
            act: a function of a module.
            here: whose database, and at what time.
            count: how many.
            arguments: more for `act`.
            config: settings.
        """
        url = here.app.config["GATEHOUSE_DATABASE_URL"]
        halves = [list(range(start, count, PROCESSES)) for start in range(PROCESSES)]
        told = {**config, "clock": FrozenClock(here.clock.now())}
        pending = [self._pool.submit(_work, act, url, told, half, arguments) for half in halves]
        return [result for future in pending for result in future.result(WAIT_SECONDS * 2)]

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown()
