"""What closing a user erases, whoever closes them, and who is closed by time. Called by other flows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask_gatehouse.domain import mail, passwords, users
from flask_gatehouse.domain.audit import Event
from flask_gatehouse.domain.factors import passkey_rows
from flask_gatehouse.domain.mail import Letter
from flask_gatehouse.kernel.identity import SYSTEM

from . import revoke

if TYPE_CHECKING:
    from flask_gatehouse.domain.users import UserRecord

    from .services import Services, Unit

UNCONFIRMED_MICROS = 7 * 24 * 60 * 60 * 1_000_000
"""How long a user stays who registered by mail and has no link left that would confirm the address."""
BATCH = 100


def is_last_admin(services: Services, unit: Unit, user_id: int) -> bool:
    """Tell whether nobody else is an administrator who can log in, without end; the caller holds the guard row."""
    return services.roles.lasting_admins(unit.connection, unit.now) == {user_id}


def erase(services: Services, unit: Unit, target: UserRecord) -> tuple[str, ...]:
    """Close a locked user: name and address are erased, password, factors, roles, sessions and links removed.

    The verified addresses of before hear of it.

    Returns:
        The public ids of the sessions that ended.
    """
    user_id = target.id
    _, ended = revoke.everything_of(services, unit, user_id)
    passwords.forget(unit.connection, user_id)
    forget_factors(services, unit, user_id)
    passkey_rows.forget_all(unit.connection, user_id)  # their names go, whether or not the feature is on now
    services.throttle.unlock(unit.connection, user_id)
    for held in services.roles.grants_of(unit.connection, user_id, 0):
        services.roles.drop_grant(unit.connection, user_id, held.role)
    for address in target.verified_addresses:
        unit.post(Letter(mail.CLOSED, user_id, address, {"name": target.username}))
    users.close(unit.connection, target)
    return ended


def forget_factors(services: Services, unit: Unit, user_id: int) -> list[str]:
    """Forget what the user has enrolled, and return the methods."""
    return [factor.method for factor in services.factors if factor.forget(unit.connection, user_id)]


def close_unconfirmed(services: Services) -> int:
    """Close users who registered by mail and never confirmed the address, so that their names are free again.

    Returns:
        How many were closed, 100 at most, the oldest first: call it again while it is so many.
    """
    with services.reading() as connection:
        found = users.unconfirmed(connection, services.clock.now() - UNCONFIRMED_MICROS, limit=BATCH)
    return sum(close_one_unconfirmed(services, user_id) for user_id in found)


def close_one_unconfirmed(services: Services, user_id: int) -> bool:
    """Close such a user; False where the address was confirmed meanwhile, or a role granted."""
    with services.unit() as unit:
        services.roles.lock_admins(unit.connection)  # no role is granted between the look and the end
        target = users.find(unit.connection, user_id, lock=True)
        before = unit.now - UNCONFIRMED_MICROS
        if target is None or not users.unconfirmed(unit.connection, before, limit=1, only=user_id):
            return False
        erase(services, unit, target)
        unit.record(Event("user.expired", SYSTEM, user_id))
        return True
