"""Windows that this process knows to be full, so that a flood is turned away without asking the database."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask_gatehouse.kernel.clock import Instant

MOST = 10_000
"""Windows remembered at once; the oldest are forgotten, and asking the database finds them full again."""


class SpentWindows:
    """What the counters last said no to, and how often that was repeated since."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ends: dict[str, Instant] = {}
        self._refusals: dict[str, int] = {}

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
            self._refusals[key] = self._refusals.get(key, 0) + 1
        return ends_at - now

    def drain(self) -> dict[str, int]:
        """Return the refusals of each window since this was last asked."""
        if not self._refusals:
            return {}
        with self._lock:
            found, self._refusals = self._refusals, {}
        return found

    def take_back(self, refusals: dict[str, int]) -> None:
        """Keep refusals for the next time; those of windows that were forgotten are dropped."""
        with self._lock:
            for key, number in refusals.items():
                if key in self._ends:
                    self._refusals[key] = self._refusals.get(key, 0) + number
