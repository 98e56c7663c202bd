"""What of a flood is recorded one by one, what is only counted, and what is told of it when a window ends (rule 28)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from .counters import (
    SEEN,
    add_refusals,
    add_refused,
    charge_window,
    close_windows,
    count_again,
    hold_window,
    is_window_over,
)
from .rules import DENIAL, FIRSTS, FIRSTS_KEY, REST, SECOND, TOLD_KEY
from .spent import SpentWindows
from .told import Counted, Noted, beside_the_first, told_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from flask_gatehouse.kernel.clock import Instant
    from flask_gatehouse.kernel.database import Database
    from flask_gatehouse.kernel.statements import Glance

    from .spent import Window


class Tally:
    """The counts of one app's failures.

    Args:
        database: where they are.
        is_on: `GATEHOUSE_THROTTLE`.
    """

    def __init__(self, database: Database, *, is_on: bool) -> None:
        self._database = database
        self._is_on = is_on
        self._spent = SpentWindows()
        self._found_none_at: Instant = 0
        self._put_down_at: Instant = 0

    def count_denial(self, user_id: int, now: Instant) -> int:
        """Count a refusal of a user; return how many this window has seen, one more than the limit for the rest."""
        if not self._is_on:
            return 1
        with self._database.unit() as connection:
            window = charge_window(connection, f"{DENIAL.name}>{user_id}", DENIAL.per_target, DENIAL.window, now)
            return window.count + window.refused

    def note(self, connection: Connection, kind: str, who: str, now: Instant) -> Noted:
        """Count a failure and say what of it is recorded, so that a flood leaves a bounded number of rows (rule 28).

        Call it once in a transaction, after all other counters: it locks the one that all share, then that of `who`.

        Args:
            connection: the flow's transaction.
            kind: kind of the event.
            who: an account key, or `@` and an address.
            now: the present instant.
        """
        if not self._is_on:
            return Noted.FIRST
        key = f"{SEEN}{kind}>{who}"
        if count_again(connection, key, now):
            return Noted.REPEATED
        if self._spent.wait(FIRSTS_KEY, now):
            return Noted.COUNTED
        shared = charge_window(connection, FIRSTS_KEY, FIRSTS.per_target, FIRSTS.window, now)
        if shared.refused == 1:
            return Noted.OVERFLOWED
        if shared.refused:
            self._spent.add(FIRSTS_KEY, shared.ends_at, shared.ends_at)
            return Noted.COUNTED
        own = charge_window(connection, key, 1 << 30, FIRSTS.window, now)
        return Noted.FIRST if own.count == 1 else Noted.REPEATED  # another first was a moment earlier

    # -- what is told -------------------------------------------------------------------------------------------

    def has_ended(self, glance: Glance, now: Instant) -> bool:
        """Tell whether a window has ended. Where none had, the next look is a second later: windows last minutes."""
        if 0 <= now - self._found_none_at < SECOND:
            return False
        if is_window_over(glance, now):
            return True
        self._found_none_at = now
        return False

    def put_down(self, now: Instant) -> dict[Window, int]:
        """Add refusals that were counted in memory to their windows, once a second; return those of windows that ended.

        In a transaction of its own, in which it waits for nothing: it locks windows of many addresses at once.

        Raises:
            DatabaseUnavailableError: all of them stay in memory.
        """
        if not self._spent.has_refusals or 0 <= now - self._put_down_at < SECOND:
            return {}
        self._put_down_at = now
        drained = self._spent.drain()
        ended = {window: number for window, number in drained.items() if window[1] <= now}
        left = {window: number for window, number in drained.items() if window not in ended}
        if not left:
            return ended
        try:
            with self._database.unit() as connection:
                left = add_refusals(connection, left)
        except BaseException:
            self.take_back(drained)
            raise
        self.take_back(left)
        return ended

    def take_back(self, refusals: dict[Window, int]) -> None:
        """Keep refusals in memory: what was to be told of them is not."""
        self._spent.take_back(refusals)

    def close_windows(self, connection: Connection, now: Instant, ended: dict[Window, int]) -> list[Counted]:
        """Delete a few counters whose time is over; return what they counted beside what was recorded.

        Call it in a transaction of its own. It begins with the counter that only tellers lock, so that one tells at a
        time, and waits for no other. Of more than 100 in a window the rest is told as one number a kind.

        Args:
            connection: the transaction.
            now: the present instant.
            ended: from `put_down()`.
        """
        hold_window(connection, TOLD_KEY, FIRSTS.window, now)
        over = [told_of(key, number, ends_at or now) for (key, ends_at), number in ended.items()]
        over += [told_of(row.key, beside_the_first(row), row.ends_at) for row in close_windows(connection, now)]
        found = sorted((told for told in over if told is not None), key=lambda told: -told.number)
        return self._bounded(connection, found, now)

    @staticmethod
    def _bounded(connection: Connection, found: list[Counted], now: Instant) -> list[Counted]:
        told, rest = [], Counter[str]()
        for one in found:
            limit, length = FIRSTS.per_target, FIRSTS.window
            if one.is_total or not charge_window(connection, TOLD_KEY, limit, length, now).refused:
                told.append(one)
            else:
                rest[one.kind] += one.number
        for kind in sorted(rest):
            add_refused(connection, f"{REST}{kind}", rest[kind], FIRSTS.window, now)
        return told
