"""Windows that this process knows to be full, so that a flood is turned away without asking the database."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask_gatehouse.kernel.clock import Instant

Window = tuple[str, int]
"""A window's key and when it ends."""
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
            self._refusals[key, ends_at] = self._refusals.get((key, ends_at), 0) + 1
        return ends_at - now

    @property
    def has_refusals(self) -> bool:
        """Whether there is something to drain."""
        return bool(self._refusals)

    def drain(self) -> dict[Window, int]:
        """Return the refusals of each window, by key and end, since this was last asked."""
        if not self._refusals:
            return {}
        with self._lock:
            found, self._refusals = self._refusals, {}
        return found

    def take_back(self, refusals: dict[Window, int]) -> None:
        """Keep refusals for the next time."""
        if not refusals:
            return
        with self._lock:
            for window, number in refusals.items():
                self._refusals[window] = self._refusals.get(window, 0) + number
