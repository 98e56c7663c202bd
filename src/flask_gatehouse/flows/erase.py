"""What is erased where a user is closed, whoever closes them. Called by other flows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask_gatehouse.domain import mail, passwords, users
from flask_gatehouse.domain.factors import passkey_rows
from flask_gatehouse.domain.mail import Letter

from . import revoke

if TYPE_CHECKING:
    from flask_gatehouse.domain.users import UserRecord

    from .services import Services, Unit


def erase_user(services: Services, unit: Unit, target: UserRecord) -> tuple[str, ...]:
    """Close a locked user: name and address are erased, password, factors, roles, sessions and links removed.

    The verified addresses of before hear of it. The caller records the event.

    Args:
        services: the app's services.
        unit: the flow's transaction.
        target: as read under lock in it.

    Returns:
        The public ids of the sessions that ended.
    """
    user_id = target.id
    _, ended = revoke.everything_of(services, unit, user_id)
    passwords.forget(unit.connection, user_id)
    for factor in services.factors:
        factor.forget(unit.connection, user_id)
    passkey_rows.forget_all(unit.connection, user_id)  # their names go, whether or not the feature is on now
    services.throttle.unlock(unit.connection, user_id)
    for held in services.roles.grants_of(unit.connection, user_id, 0):
        services.roles.drop_grant(unit.connection, user_id, held.role)
    for address in target.verified_addresses:
        unit.post(Letter(mail.CLOSED, user_id, address, {"name": target.username}))
    users.close(unit.connection, target)
    return ended
