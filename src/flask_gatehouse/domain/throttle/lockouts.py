"""Whose password is in a delay or disabled: what the console and `gatehouse check` tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select, text

from flask_gatehouse.kernel.schema import counter

from .keys import USER
from .rules import WRONG_BEFORE_DISABLED

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from flask_gatehouse.kernel.clock import Instant


def disabled_users(connection: Connection, limit: int) -> list[int]:
    """Return users whose password is disabled, a few of them."""
    query = select(counter.c.key).where(text("total >= 100"), counter.c.key.startswith(USER))  # as the index has it
    return [int(key.removeprefix(USER)) for key in connection.execute(query.limit(limit)).scalars()]


def delayed_users(connection: Connection, now: Instant, limit: int) -> dict[int, Instant]:
    """Return users in a delay with its end, the latest first, a few of them; those with a disabled password aside."""
    query = select(counter.c.key, counter.c.blocked_until).where(
        text("blocked_until > 0"),  # as the index has it
        counter.c.blocked_until > now,
        counter.c.total < WRONG_BEFORE_DISABLED,
        counter.c.key.startswith(USER),
    )
    rows = connection.execute(query.order_by(counter.c.blocked_until.desc()).limit(limit))
    return {int(key.removeprefix(USER)): until for key, until in rows}


def count_disabled(connection: Connection) -> int:
    """Return how many users' passwords answer no more, after too many wrong ones in a row."""
    is_user = counter.c.key.startswith(USER, autoescape=True)
    query = select(func.count()).select_from(counter).where(is_user, counter.c.total >= WRONG_BEFORE_DISABLED)
    return int(connection.execute(query).scalar_one())
