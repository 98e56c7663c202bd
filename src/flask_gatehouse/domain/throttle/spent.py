"""Windows that this process knows to be full, so that a flood is turned away without asking the database."""

from __future__ import annotations

import threading
from itertools import islice
from typing import TYPE_CHECKING

from .rules import FIRSTS_KEY

if TYPE_CHECKING:
    from flask_gatehouse.kernel.clock import Instant

Window = tuple[str, int]
"""A window's key and when it ends."""
OTHERS: Window = (FIRSTS_KEY, 0)
"""Stands for windows beyond those that are counted one by one."""
DRAINED_AT_ONCE = 100
MOST = 10_000
"""Windows remembered at once; the oldest are forgotten, and asking the database finds them full again."""


class SpentWindows:
    """What the counters last said no to, and how often that was repeated since."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ends: dict[str, Instant] = {}
        self._refusals: dict[Window, int] = {}

    def add(self, key: str, ends_at: Instant) -> None:
        """Remember that a window is full until it ends."""
        with self._lock:
            self._ends.pop(key, None)
            self._ends[key] = ends_at
            while len(self._ends) > MOST:
                del self._ends[next(iter(self._ends))]

    def wait(self, key: str, now: Instant) -> int:
        """Return the microseconds until a window ends that is known to be full, 0 for any other; counts the refusal."""
        ends_at = self._ends.get(key)  # one read of a dict: the lock is for those who are turned away
        if ends_at is None:
            return 0
        with self._lock:
            if ends_at <= now:
                self._ends.pop(key, None)
                return 0
            window = (key, ends_at)
            if window not in self._refusals and len(self._refusals) >= MOST:
                window = OTHERS
            self._refusals[window] = self._refusals.get(window, 0) + 1
        return ends_at - now

    @property
    def has_refusals(self) -> bool:
        """Whether there is something to drain."""
        return bool(self._refusals)

    def drain(self) -> dict[Window, int]:
        """Return the refusals of some windows, by key and end, since they were last asked for."""
        with self._lock:
            some = list(islice(self._refusals, DRAINED_AT_ONCE))
            return {window: self._refusals.pop(window) for window in some}

    def take_back(self, refusals: dict[Window, int]) -> None:
        """Keep refusals for the next time."""
        if not refusals:
            return
        with self._lock:
            for window, number in refusals.items():
                self._refusals[window] = self._refusals.get(window, 0) + number
