"""What closing a user erases, whoever closes them. Called by other flows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask_gatehouse.domain import mail, passwords, users
from flask_gatehouse.domain.factors import passkey_rows
from flask_gatehouse.domain.mail import Letter

from . import revoke

if TYPE_CHECKING:
    from flask_gatehouse.domain.users import UserRecord

    from .services import Services, Unit


def is_last_admin(services: Services, unit: Unit, user_id: int) -> bool:
    """Tell whether nobody else is an administrator who can log in, without end; the caller holds the guard row."""
    return services.roles.lasting_admins(unit.connection, unit.now) == {user_id}


def erase(services: Services, unit: Unit, target: UserRecord) -> tuple[str, ...]:
    """Close a locked user: name and address are erased, password, factors, roles, sessions and links removed.

    The verified address of before hears of it.

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
    if target.is_email_verified:
        unit.post(Letter(mail.CLOSED, user_id, target.email, {"name": target.username}))
    users.close(unit.connection, target)
    return ended


def forget_factors(services: Services, unit: Unit, user_id: int) -> list[str]:
    """Forget what the user has enrolled, and return the methods."""
    return [factor.method for factor in services.factors if factor.forget(unit.connection, user_id)]
