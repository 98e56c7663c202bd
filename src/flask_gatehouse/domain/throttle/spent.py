"""Windows that this process knows to be full or paused, so that a flood is turned away without asking the database."""

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
"""Windows remembered at once. The oldest are forgotten: a full one is found full again, and a pause is over then."""


class SpentWindows:
    """What the counters last said no to, and how often that was repeated since."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waits: dict[str, tuple[Instant, Window]] = {}
        self._refusals: dict[Window, int] = {}

    def add(self, key: str, ends_at: Instant, until: Instant) -> None:
        """Remember that a window takes no charges.

        Args:
            key: the window's.
            ends_at: when it ends: its refusals are counted with this window.
            until: when it takes charges again.
        """
        with self._lock:
            self._waits.pop(key, None)
            self._waits[key] = until, (key, ends_at)
            while len(self._waits) > MOST:
                del self._waits[next(iter(self._waits))]

    def wait(self, key: str, now: Instant) -> int:
        """Return the microseconds that a window is known to take no charges, 0 for any other; counts the refusal."""
        known = self._waits.get(key)  # one read of a dict: the lock is for those who are turned away
        if known is None:
            return 0
        until, window = known
        with self._lock:
            if until <= now:
                if self._waits.get(key) is known:
                    del self._waits[key]
                return 0
            if window not in self._refusals and len(self._refusals) >= MOST:
                window = OTHERS
            self._refusals[window] = self._refusals.get(window, 0) + 1
        return until - now

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
