"""How a user is closed for good, whoever closes them: an administrator, a command, or they themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask_gatehouse.domain import passwords, users
from flask_gatehouse.domain.factors import passkey_rows
from flask_gatehouse.domain.mail import CLOSED as CLOSED_LETTER
from flask_gatehouse.domain.mail import Letter

from . import revoke
from .outcomes import Refusal, Refused, refused

if TYPE_CHECKING:
    from flask_gatehouse.domain.users import UserRecord

    from .services import Services, Unit


def is_last_admin(services: Services, unit: Unit, user_id: int) -> bool:
    """Tell whether nobody else is an administrator who can log in, without end; the caller holds the guard row."""
    return services.roles.lasting_admins(unit.connection, unit.now) == {user_id}


def close_within(services: Services, unit: Unit, target: UserRecord) -> tuple[str, ...] | Refused:
    """Erase name and address, remove password, second factors and roles, end all sessions; return those that ended.

    The caller holds the guard row, then the user's (rule 24), and records it. The owner hears of it by mail.
    """
    if is_last_admin(services, unit, target.id):
        return refused(Refusal.LAST_ADMIN)
    _, ended = revoke.everything_of(services, unit, target.id)
    passwords.forget(unit.connection, target.id)
    for factor in services.factors:
        factor.forget(unit.connection, target.id)
    passkey_rows.forget_all(unit.connection, target.id)  # their names go, whether or not the feature is on now
    services.throttle.unlock(unit.connection, target.id)
    for held in services.roles.grants_of(unit.connection, target.id, 0):
        services.roles.drop_grant(unit.connection, target.id, held.role)
    if target.is_email_verified:
        unit.post(Letter(CLOSED_LETTER, target.id, target.email, {"name": target.username}))
    users.close(unit.connection, target)
    return ended
