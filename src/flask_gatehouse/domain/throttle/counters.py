"""Counter rows in SQL, exact under parallel charges. The only writer of `gatehouse_counter`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import and_, case, delete, not_, or_, select, update

from flask_gatehouse.kernel.database import insert_into
from flask_gatehouse.kernel.schema import counter

from .rules import STREAK_LIFE, WRONG_BEFORE_DISABLED, delay_after

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from flask_gatehouse.kernel.clock import Instant

PURGED_AT_ONCE = 20
_LASTING = or_(*(counter.c.key.startswith(prefix) for prefix in ("user:", "inside:", "factor:")))


@dataclass(frozen=True, slots=True)
class WindowCharge:
    """A window after a charge."""

    count: int
    ends_at: Instant


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
    def is_disabled(self) -> bool:
        """Whether the count to 100 was reached before this attempt."""
        return self.total > WRONG_BEFORE_DISABLED


def charge_window(connection: Connection, key: str, length: int, now: Instant) -> WindowCharge:
    """Add one to a fixed window, opening a new one where the last has ended. One statement."""
    has_ended = counter.c.ends_at <= now
    statement = insert_into(connection, counter).values(key=key, count=1, ends_at=now + length)
    statement = statement.on_conflict_do_update(
        index_elements=[counter.c.key],
        set_={
            "count": case((has_ended, 1), else_=counter.c.count + 1),
            "ends_at": case((has_ended, now + length), else_=counter.c.ends_at),
        },
    ).returning(counter.c.count, counter.c.ends_at)
    return WindowCharge(*connection.execute(statement).one())


def charge_account(connection: Connection, key: str, now: Instant) -> Lockout:
    """Count one attempt as wrong until a full login says otherwise; refuse while the account is in its delay.

    The row stays locked until the transaction ends, so that parallel attempts are charged one after another.
    """
    streak_has_ended = counter.c.ends_at <= now
    statement = insert_into(connection, counter).values(key=key, count=1, total=1, ends_at=now + STREAK_LIFE)
    statement = statement.on_conflict_do_update(
        index_elements=[counter.c.key],
        set_={
            "count": case((streak_has_ended, 1), else_=counter.c.count + 1),
            "total": counter.c.total + 1,
            "ends_at": now + STREAK_LIFE,
        },
        where=counter.c.blocked_until <= now,
    ).returning(counter.c.count, counter.c.total)
    row = connection.execute(statement).one_or_none()
    if row is None:
        query = select(counter.c.count, counter.c.total, counter.c.blocked_until).where(counter.c.key == key)
        return Lockout(*connection.execute(query).one(), is_refused=True)
    wrong, total = row[0], row[1]
    delay = delay_after(wrong)
    blocked_until = now + delay if delay else 0
    connection.execute(update(counter).where(counter.c.key == key).values(blocked_until=blocked_until))
    return Lockout(wrong, total, blocked_until)


def give_back(connection: Connection, key: str, charged: Lockout) -> None:
    """Undo one charge; a delay that it began ends with it, and one that a later charge began is a step shorter."""
    query = select(counter.c.count, counter.c.total, counter.c.blocked_until).where(counter.c.key == key)
    row = connection.execute(query.with_for_update()).one_or_none()
    if row is None or not row[0]:
        return
    wrong, total, blocked_until = row[0] - 1, row[1] - 1, row[2]
    if blocked_until == charged.blocked_until or not delay_after(wrong):
        blocked_until = 0
    else:
        blocked_until -= delay_after(wrong + 1) - delay_after(wrong)
    values = {"count": wrong, "total": total, "blocked_until": blocked_until}
    connection.execute(update(counter).where(counter.c.key == key).values(**values))


def clear_account(connection: Connection, key: str, now: Instant) -> bool:
    """Zero an account counter; True when a refund is due, which is once per account and window."""
    statement = update(counter).where(counter.c.key == key).values(count=0, total=0, blocked_until=0)
    row = connection.execute(statement.returning(counter.c.refunded_until)).one_or_none()
    return row is not None and int(row[0]) <= now


def refund(connection: Connection, keys: tuple[str, ...], account_key: str, now: Instant) -> None:
    """Give one charge back to the address windows, and remember it until they end."""
    live = and_(counter.c.key.in_(keys), counter.c.count > 0, counter.c.ends_at > now)
    statement = update(counter).where(live).values(count=counter.c.count - 1).returning(counter.c.ends_at)
    ends_at = max(connection.execute(statement).scalars(), default=0)
    connection.execute(update(counter).where(counter.c.key == account_key).values(refunded_until=ends_at))


def purge(connection: Connection, now: Instant) -> None:
    """Delete a few counters whose time is over; the count to 100 of a user is kept."""
    query = select(counter.c.key).where(counter.c.ends_at <= now, not_(_LASTING)).limit(PURGED_AT_ONCE)
    stale = list(connection.execute(query.with_for_update(skip_locked=True)).scalars())
    if stale:
        connection.execute(delete(counter).where(counter.c.key.in_(stale)))
