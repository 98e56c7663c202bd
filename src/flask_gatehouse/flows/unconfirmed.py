"""Close users who registered by mail and never confirmed the address, once no link could confirm it any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask_gatehouse.domain import users
from flask_gatehouse.domain.audit import Event
from flask_gatehouse.kernel.identity import SYSTEM

from . import erase

if TYPE_CHECKING:
    from .services import Services

UNCONFIRMED_MICROS = 7 * 24 * 60 * 60 * 1_000_000
"""How long a user stays who registered by mail and has no link left that would confirm the address."""
BATCH = 100


def close_batch(services: Services) -> int:
    """Close users who registered by mail and never confirmed the address, so that their names are free again.

    Returns:
        How many were closed, 100 at most, the oldest first: call it again while it is so many.
    """
    with services.reading() as connection:
        found = users.unconfirmed(connection, services.clock.now() - UNCONFIRMED_MICROS, limit=BATCH)
    return sum(close_one(services, user_id) for user_id in found)


def close_one(services: Services, user_id: int) -> bool:
    """Close such a user; False where the address was confirmed meanwhile, or a role granted."""
    with services.unit() as unit:
        services.roles.lock_admins(unit.connection)  # no role is granted between the look and the end
        target = users.find(unit.connection, user_id, lock=True)
        before = unit.now - UNCONFIRMED_MICROS
        if target is None or not users.unconfirmed(unit.connection, before, limit=1, only=user_id):
            return False
        erase.erase_user(services, unit, target)
        unit.record(Event("user.expired", SYSTEM, user_id))
        return True
