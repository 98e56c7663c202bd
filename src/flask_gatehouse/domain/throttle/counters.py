"""Counter rows in SQL, exact under parallel charges. With `beside` the only writer of `gatehouse_counter`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    String,
    and_,
    bindparam,
    case,
    delete,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy import cast as sql_cast

from flask_gatehouse.kernel.schema import counter
from flask_gatehouse.kernel.statements import Statement
from flask_gatehouse.kernel.upsert import insert_for, insert_into

from .rules import STILL_JUDGED, STREAK_LIFE, WRONG_BEFORE_DELAY, WRONG_BEFORE_DISABLED, delay_after

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from flask_gatehouse.kernel.clock import Instant
    from flask_gatehouse.kernel.statements import Glance

    from .spent import Window

CLOSED_AT_ONCE = 20
ASIDE = "!"
"""Stands in the key of a window that has ended, between what it counted and when, until it has been told."""
SEEN = "seen>"
"""Begins the key of a failure that is recorded once a window and counted after that."""

_AT_KEY = counter.c.key == bindparam("at_key")
_AT_NOW: ColumnElement[int] = bindparam("at_now", type_=BigInteger)
_AT_UNTIL: ColumnElement[int] = bindparam("at_until", type_=BigInteger)
_REFUNDED: ColumnElement[int] = bindparam("at_refunded", type_=Integer)
_REFUSE = Statement(
    update(counter)
    .where(_AT_KEY, counter.c.ends_at > _AT_NOW)
    .values(refused=counter.c.refused + 1, total=case((counter.c.total == 0, 1), else_=2))
    .returning(counter.c.count, counter.c.ends_at, counter.c.judging, counter.c.refused, counter.c.total)
)


_ONE_LESS = case((counter.c.judging > 0, counter.c.judging - 1), else_=0)
_REFUSE_CHARGED = Statement(
    update(counter)
    .where(_AT_KEY, counter.c.ends_at > _AT_NOW)
    .values(refused=counter.c.refused + 1, judging=_ONE_LESS)
    .returning(counter.c.refused, counter.c.ends_at)
)


def _judging(refunded: ColumnElement[int]) -> Statement:
    left = case((counter.c.count >= refunded, counter.c.count - refunded), else_=0)
    statement = update(counter).where(_AT_KEY, counter.c.ends_at > _AT_NOW).values(judging=_ONE_LESS, count=left)
    return Statement(statement.returning(counter.c.ends_at))


_NOTHING = {column.name: literal(0) for column in counter.c if column.default is not None}
_account = counter.alias("account")
_IS_REFUND_DUE = (
    select(_account.c.key)
    .where(_account.c.key == bindparam("at_account"), _account.c.refunded_until <= _AT_NOW)
    .correlate(None)
    .exists()
)
_JUDGE = _judging(_REFUNDED)
_JUDGE_RIGHT = _judging(case((_IS_REFUND_DUE, 1), else_=0))
_SET_ASIDE = Statement(
    update(counter)
    .where(_AT_KEY, counter.c.ends_at <= _AT_NOW)
    .values(key=counter.c.key + ASIDE + sql_cast(counter.c.ends_at, String))
)
_DELAY = Statement(update(counter).where(_AT_KEY).values(blocked_until=_AT_UNTIL))
_FIND_LOCKOUT = Statement(select(counter.c.count, counter.c.total, counter.c.blocked_until).where(_AT_KEY))
_ZERO = update(counter).where(_AT_KEY).values(count=0, total=0, blocked_until=0)
_CLEAR = Statement(_ZERO.values(purge_at=counter.c.refunded_until))
_CLEAR_RESTED = Statement(_ZERO.values(purge_at=counter.c.refunded_until).where(counter.c.blocked_until <= _AT_NOW))
_refunded_until = case((counter.c.refunded_until <= _AT_NOW, _AT_UNTIL), else_=counter.c.refunded_until)
_SETTLE = Statement(_ZERO.values(refunded_until=_refunded_until, purge_at=_refunded_until))
_COUNT_AGAIN = Statement(
    update(counter)
    .where(_AT_KEY, counter.c.ends_at > _AT_NOW)
    .values(count=counter.c.count + 1)
    .returning(counter.c.count)
)
_FIND_OVER = Statement(select(counter.c.key).where(counter.c.purge_at <= _AT_NOW).limit(1))


@dataclass(frozen=True, slots=True)
class WindowCharge:
    """A window after a charge, or as it refused one.

    Attributes:
        count: charges of this window.
        ends_at: when it ends.
        judging: charges whose outcome is not known yet.
        refused: refusals of this window, whatever their reason; 0: this charge was taken.
        when_full: 1 for the first that was refused because the window is full, 2 for any later one.
    """

    count: int
    ends_at: Instant
    judging: int
    refused: int = 0
    when_full: int = 0

    def wait(self, limit: int, now: Instant) -> int:
        """Return the microseconds to wait after a refusal: few while some of the charges may still come back."""
        return STILL_JUDGED if self.count - self.judging < limit else self.ends_at - now


@dataclass(frozen=True, slots=True)
class Lockout:
    """An account counter after a charge, or as it refused one.

    Attributes:
        wrong: attempts in a row that were not followed by a full login.
        total: the same, without the expiry after a day.
        blocked_until: no attempt is taken before.
        is_refused: whether the charge was refused.
    """

    wrong: int
    total: int
    blocked_until: Instant
    is_refused: bool = False

    @property
    def answers_no_more(self) -> bool:
        """Whether the next attempt will not be judged, as it stands."""
        return self.total >= WRONG_BEFORE_DISABLED

    @property
    def is_told(self) -> bool:
        """Whether the user hears of this attempt, should it be wrong: it begins the delays, or disables."""
        return self.wrong == WRONG_BEFORE_DELAY or self.total == WRONG_BEFORE_DISABLED

    @property
    def wrong_before(self) -> int:
        """How many wrong ones in a row came before this attempt, where so many that they began a delay; else 0."""
        return self.wrong - 1 if self.wrong > WRONG_BEFORE_DELAY else 0

    def is_disabled(self, most: int = WRONG_BEFORE_DISABLED) -> bool:
        """Tell whether the count of wrong answers was reached before this attempt."""
        return self.total > most


def charge_window(
    connection: Connection, key: str, limit: int, length: int, now: Instant, *, is_judged: bool = False
) -> WindowCharge:
    """Add one to a fixed window, opening a new one where the last has ended; a full one counts the refusal instead.

    Args:
        connection: where to write.
        key: the window's.
        limit: charges it takes.
        length: of a new window, in microseconds.
        now: the present instant.
        is_judged: whether the charge is being judged until `judged()` says otherwise.
    """
    new = {"w_key": key, "w_ends_at": now + length, "w_judging": int(is_judged)}
    taken = _CHARGE_WINDOW.row(connection, {**new, "w_now": now, "w_limit": limit})
    if taken is not None:
        return WindowCharge(*taken)
    refused = _REFUSE.row(connection, {"at_key": key, "at_now": now})
    if refused is not None:
        return WindowCharge(*refused)
    _SET_ASIDE.write(connection, {"at_key": key, "at_now": now})  # it has ended, and is not told yet (rule 28)
    return charge_window(connection, key, limit, length, now, is_judged=is_judged)


def _charging_window(dialect: str) -> Any:
    ends_at, judging = bindparam("w_ends_at", type_=BigInteger), bindparam("w_judging", type_=Integer)
    new = {"count": literal(1), "ends_at": ends_at, "purge_at": ends_at, "judging": judging, "refused": literal(0)}
    new |= {"total": literal(0)}
    grown: dict[str, ColumnElement[Any]] = {name: counter.c[name] for name in new}
    grown |= {"count": counter.c.count + 1, "judging": counter.c.judging + judging}
    has_ended = counter.c.ends_at <= bindparam("w_now")
    is_told = and_(counter.c.refused == 0, or_(counter.c.count <= 1, ~counter.c.key.startswith(SEEN)))
    statement = insert_for(dialect, counter).values({**_NOTHING, **new, "key": bindparam("w_key")})
    return statement.on_conflict_do_update(
        index_elements=[counter.c.key],
        set_={name: case((has_ended, value), else_=grown[name]) for name, value in new.items()},
        where=case((has_ended, is_told), else_=counter.c.count < bindparam("w_limit")),
    ).returning(counter.c.count, counter.c.ends_at, counter.c.judging)


_CHARGE_WINDOW = Statement(_charging_window)


def judged(connection: Connection, keys: Iterable[str], now: Instant, *, refunded: int = 0) -> None:
    """Say that the outcome of a charge is known.

    Locks the windows in the order of `spend`, and those that have ended not at all.

    Args:
        connection: where to write.
        keys: the windows that were charged, in order.
        now: the present instant.
        refunded: 1 to give the charge back.
    """
    for key in keys:
        _JUDGE.rows(connection, {"at_key": key, "at_now": now, "at_refunded": refunded})


def refuse_charged(connection: Connection, key: str, now: Instant) -> tuple[int, Instant]:
    """Turn a charge that was being judged into a refusal; the charge stands.

    Args:
        connection: where to write.
        key: the window that was charged in this transaction.
        now: the present instant.

    Returns:
        How many the window has refused, and when it ends.
    """
    refused, ends_at = _REFUSE_CHARGED.rows(connection, {"at_key": key, "at_now": now})[0]
    return refused, ends_at


def settle(connection: Connection, account_key: str, keys: Iterable[str], now: Instant) -> None:
    """Zero an account's counter after a full login, and give its charge back: once per account and window (rule 3).

    The caller holds the lock on the user's row, so that no other login of the account reads meanwhile whether a
    refund is due. Locks the windows first, as `spend` does.

    Args:
        connection: where to write.
        account_key: whose counter.
        keys: the windows that were charged, in order.
        now: the present instant.
    """
    ends = [
        row[0]
        for key in keys
        for row in _JUDGE_RIGHT.rows(connection, {"at_key": key, "at_now": now, "at_account": account_key})
    ]
    _SETTLE.write(connection, {"at_key": account_key, "at_now": now, "at_until": max(ends, default=0)})


def charge_account(connection: Connection, key: str, now: Instant, *, is_kept: bool, first: int) -> Lockout:
    """Count one attempt as wrong until a full login says otherwise; refuse while the account is in its delay.

    The row stays locked until the transaction ends, so that parallel attempts are charged one after another.

    Args:
        connection: where to write.
        key: whose counter.
        now: the present instant.
        is_kept: whether the count to disable outlives the streak; see `CounterKeys.is_total_kept`.
        first: the first delay, in microseconds.
    """
    ends_at = now + STREAK_LIFE
    charged = {"a_key": key, "a_now": now, "a_ends_at": ends_at, "a_purge_at": None if is_kept else ends_at}
    row = _CHARGE_ACCOUNT.row(connection, charged)
    if row is None:
        return find_lockout(connection, key, is_refused=True) or Lockout(0, 0, 0)
    wrong, total = row[0], row[1]
    delay = delay_after(wrong, first)
    if not delay:
        return Lockout(wrong, total, 0)
    _DELAY.write(connection, {"at_key": key, "at_until": now + delay})
    return Lockout(wrong, total, now + delay)


def _charging_account(dialect: str) -> Any:
    lives = {"ends_at": bindparam("a_ends_at"), "purge_at": bindparam("a_purge_at", type_=BigInteger)}
    statement = insert_for(dialect, counter).values(
        {**_NOTHING, **lives, "key": bindparam("a_key"), "count": literal(1), "total": literal(1)}
    )
    now: ColumnElement[int] = bindparam("a_now", type_=BigInteger)
    return statement.on_conflict_do_update(
        index_elements=[counter.c.key],
        set_={
            "count": case((counter.c.ends_at <= now, 1), else_=counter.c.count + 1),
            "total": counter.c.total + 1,
            "blocked_until": 0,
            **lives,
        },
        where=counter.c.blocked_until <= now,
    ).returning(counter.c.count, counter.c.total)


_CHARGE_ACCOUNT = Statement(_charging_account)


def find_lockout(connection: Connection | Glance, key: str, *, is_refused: bool = False) -> Lockout | None:
    """Return an account counter as it stands, or None where nothing was ever wrong."""
    row = _FIND_LOCKOUT.row(connection, {"at_key": key})
    return None if row is None else Lockout(row[0], row[1], row[2], is_refused)


def give_back(connection: Connection, key: str, charged: Lockout, first: int) -> None:
    """Undo one charge; a delay that it began ends with it, and one that a later charge began is a step shorter.

    Args:
        connection: where to write.
        key: whose counter.
        charged: what the charge returned.
        first: the first delay of this key, in microseconds.
    """
    query = select(counter.c.count, counter.c.total, counter.c.blocked_until).where(counter.c.key == key)
    row = connection.execute(query.with_for_update()).one_or_none()
    if row is None or not row[0]:
        return
    wrong, total, blocked_until = row[0] - 1, row[1] - 1, row[2]
    if blocked_until == charged.blocked_until or not delay_after(wrong, first):
        blocked_until = 0
    else:
        blocked_until -= delay_after(wrong + 1, first) - delay_after(wrong, first)
    values = {"count": wrong, "total": total, "blocked_until": blocked_until}
    connection.execute(update(counter).where(counter.c.key == key).values(**values))


def clear_account(connection: Connection, key: str) -> None:
    """Zero an account counter."""
    _CLEAR.write(connection, {"at_key": key})


def clear_rested(connection: Connection, key: str, now: Instant) -> None:
    """Zero an account counter unless its delay still runs."""
    _CLEAR_RESTED.write(connection, {"at_key": key, "at_now": now})


def count_again(connection: Connection, key: str, now: Instant) -> bool:
    """Count a repeat in a window that is open; False where there is none."""
    return _COUNT_AGAIN.row(connection, {"at_key": key, "at_now": now}) is not None


def hold_window(connection: Connection, key: str, length: int, now: Instant) -> None:
    """Lock a window until the transaction ends, opening one where there is none."""
    new = {"count": 0, "ends_at": now + length, "purge_at": now + length}
    statement = insert_into(connection, counter).values(key=key, **new)
    same = {"count": counter.c.count}
    connection.execute(statement.on_conflict_do_update(index_elements=[counter.c.key], set_=same))


def add_refusals(connection: Connection, refusals: dict[Window, int]) -> dict[Window, int]:
    """Add refusals that were counted in memory to their windows; return those whose window is not free just now."""
    if not refusals:
        return {}
    query = select(counter.c.key, counter.c.ends_at).where(counter.c.key.in_({key for key, _ in refusals}))
    rows = connection.execute(query.with_for_update(skip_locked=True)).all()
    free = refusals.keys() & {(row.key, row.ends_at) for row in rows}
    for window in free:
        statement = update(counter).where(counter.c.key == window[0])
        connection.execute(statement.values(refused=counter.c.refused + refusals[window]))
    return {window: number for window, number in refusals.items() if window not in free}


def add_refused(connection: Connection, key: str, number: int, length: int, now: Instant) -> None:
    """Add refusals to a window, opening one where there is none."""
    new = {"count": 0, "ends_at": now + length, "purge_at": now + length, "refused": number}
    statement = insert_into(connection, counter).values(key=key, **new)
    grown = {"refused": counter.c.refused + number}
    connection.execute(statement.on_conflict_do_update(index_elements=[counter.c.key], set_=grown))


def is_window_over(connection: Connection | Glance, now: Instant) -> bool:
    """Tell whether a counter's time is over."""
    return _FIND_OVER.row(connection, {"at_now": now}) is not None


@dataclass(frozen=True, slots=True)
class Closed:
    """A window that has ended."""

    key: str
    count: int
    refused: int
    when_full: int
    ends_at: Instant


def close_windows(connection: Connection, now: Instant) -> list[Closed]:
    """Delete a few counters whose time is over, and return them; a user's count to 100 has no such time."""
    query = select(counter.c.key, counter.c.count, counter.c.refused, counter.c.total, counter.c.ends_at)
    query = query.where(counter.c.purge_at <= now).order_by(counter.c.purge_at).limit(CLOSED_AT_ONCE)
    found = [Closed(*row) for row in connection.execute(query.with_for_update(skip_locked=True))]
    if found:
        connection.execute(delete(counter).where(counter.c.key.in_([row.key for row in found])))
    return found
