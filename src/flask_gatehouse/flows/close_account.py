"""Close one's own account for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask_gatehouse.domain import throttle, users
from flask_gatehouse.domain.audit import Event
from flask_gatehouse.domain.factors import outstanding
from flask_gatehouse.kernel.identity import AAL2, Actor, Identity, Source, assurance

from . import acts, erase
from .outcomes import Refusal, Refused, refused, refused_value

if TYPE_CHECKING:
    from .services import Services

OTHER_NAME = "Type your own login name, as it stands above."


def close(services: Services, identity: Identity, name: str, source: Source) -> int | Refused:
    """Close the account of who holds the session, as `gatehouse user delete` does; return how many sessions ended.

    Args:
        services: the app's services.
        identity: who; the session's last proof is fresh, and of a second factor where one is enrolled.
        name: the login name, typed to confirm it.
        source: where the request comes from.
    """
    user_id, now = identity.user_id, services.clock.now()
    charge = services.throttle.spend(throttle.CHANGE, source.address, now, target=f"close:{user_id}")
    if charge.wait:
        return refused(Refusal.THROTTLED, wait=charge.wait)
    with services.unit() as unit:
        services.roles.lock_admins(unit.connection)
        stored = acts.find_inside(services, unit, identity)
        if stored is None:
            return refused(Refusal.GONE)
        if outstanding(unit.connection, services.factors, user_id) and assurance(identity.proofs) < AAL2:
            return refused(Refusal.FORBIDDEN)
        if users.name_key(name) != stored.username.lower():
            return refused_value("username", OTHER_NAME)
        if services.roles.is_last_admin(unit.connection, user_id, unit.now):
            return refused(Refusal.LAST_ADMIN)
        ended = erase.erase_user(services, unit, stored)
        detail = {"sessions_ended": list(ended), "by_themselves": True}
        unit.record(Event("user.closed", Actor(user_id, identity.username), user_id, source, detail=detail))
        return len(ended)
