"""What administrators and commands do to users and roles. Nobody acts on themselves or on more than they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask_gatehouse.domain import passwords, users
from flask_gatehouse.domain.mail import Letter
from flask_gatehouse.kernel.clock import as_text
from flask_gatehouse.kernel.errors import InvalidFieldError
from flask_gatehouse.kernel.identity import AAL2, ADMIN
from flask_gatehouse.kernel.schema import ACTIVE, CLOSED, SUSPENDED

from . import acts, erase, revoke, seeds
from .outcomes import Refusal, Refused, refused, refused_field, refused_value

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask_gatehouse.domain.users import UserRecord
    from flask_gatehouse.kernel.clock import Instant

    from .acts import Act
    from .services import Services, Unit

NOT_HELD = "The user does not hold this role."
NO_PASSWORD = "There is no password to mark."  # noqa: S105 - a sentence, no password
NO_FACTOR = "There is no second factor to reset."


def _on_user(
    services: Services,
    act: Act,
    user_id: int,
    change: Callable[[Unit, Act, UserRecord], Refused | None],
    *,
    needs_reason: bool = False,
) -> UserRecord | Refused:
    """Run a change on a user after the checks that all of them share, in one transaction.

    The change gets the act with its reason as it is recorded.
    """
    reasoned = acts.reasoned(act, is_required=needs_reason)
    if isinstance(reasoned, Refused):
        return reasoned
    with services.unit() as unit:
        services.roles.lock_admins(unit.connection)
        target = users.find(unit.connection, user_id, lock=True)
        if target is None or target.state == CLOSED:
            return refused(Refusal.NOT_FOUND)
        if act.identity is not None and act.identity.user_id == user_id:
            return refused(Refusal.SELF)
        if not acts.is_still_in(services, unit, act):
            return refused(Refusal.FORBIDDEN)
        if not acts.rights_of(services, unit, act).covers(services.roles.rights_of(unit.connection, user_id, unit.now)):
            return refused(Refusal.FORBIDDEN)
        refusal = change(unit, reasoned, target)
        return target if refusal is None else refusal


def suspend(services: Services, act: Act, user_id: int) -> UserRecord | Refused:
    """Suspend a user: every session is refused at its next request. Needs a reason."""

    def change(unit: Unit, act: Act, target: UserRecord) -> Refused | None:
        if services.roles.is_last_admin(unit.connection, user_id, unit.now):
            return refused(Refusal.LAST_ADMIN)
        if target.state != ACTIVE:
            return None
        users.set_state(unit.connection, target, SUSPENDED)
        _, ended = revoke.everything_of(services, unit, user_id)
        acts.record(unit, act, "user.suspended", user_id, sessions_ended=list(ended))
        return None

    return _on_user(services, act, user_id, change, needs_reason=True)


def restore(services: Services, act: Act, user_id: int) -> UserRecord | Refused:
    """Let a suspended user log in again; old sessions stay ended."""

    def change(unit: Unit, act: Act, target: UserRecord) -> Refused | None:
        if target.state == SUSPENDED:
            users.set_state(unit.connection, target, ACTIVE)
            acts.record(unit, act, "user.restored", user_id)
        return None

    return _on_user(services, act, user_id, change)


def unlock(services: Services, act: Act, user_id: int) -> UserRecord | Refused:
    """Zero a user's counts of wrong passwords."""

    def change(unit: Unit, act: Act, _target: UserRecord) -> Refused | None:
        services.throttle.unlock(unit.connection, user_id)
        acts.record(unit, act, "user.unlocked", user_id)
        return None

    return _on_user(services, act, user_id, change)


def mark_compromised(services: Services, act: Act, user_id: int) -> UserRecord | Refused:
    """Let a user's password prove nothing any more, as somebody else knows it; all sessions end. Needs a reason.

    It does not even open the page that replaces it: who else knows it would come there as soon as its user. Another,
    never the same, is chosen through a link, mailed or made by a command (ASVS V6.2.10, NIST SP 800-63B 3.1.1.2).
    """

    def change(unit: Unit, act: Act, _target: UserRecord) -> Refused | None:
        if services.roles.is_last_admin(unit.connection, user_id, unit.now):
            return refused(Refusal.LAST_ADMIN)
        stored = passwords.find_credential_of(unit.connection, user_id)
        if stored is None or stored.digest is None:
            return refused_value("password", NO_PASSWORD)
        if not passwords.mark_compromised(unit.connection, user_id, unit.now):
            return None
        _, ended = revoke.everything_of(services, unit, user_id)
        unit.post(Letter("password_compromised", user_id))
        acts.record(unit, act, "password.compromised", user_id, sessions_ended=list(ended))
        return None

    return _on_user(services, act, user_id, change, needs_reason=True)


def end_sessions(services: Services, act: Act, user_id: int) -> int | Refused:
    """End all sessions of a user; return how many. Needs a reason."""
    ended: list[int] = []

    def change(unit: Unit, act: Act, _target: UserRecord) -> Refused | None:
        ended.append(revoke.all_within(services, unit, act.actor, user_id, act.reason, act.source))
        return None

    result = _on_user(services, act, user_id, change, needs_reason=True)
    return result if isinstance(result, Refused) else ended[0]


def end_session(services: Services, act: Act, public_id: str) -> UserRecord | Refused:
    """End one session of another user; return whose. Needs a reason."""
    with services.reading() as connection:
        found = services.sessions.store.find_public(connection, public_id)
    if found is None:
        return refused(Refusal.NOT_FOUND)
    user_id = found.user_id

    def change(unit: Unit, act: Act, _target: UserRecord) -> Refused | None:
        if not services.sessions.store.drop_one(unit.connection, user_id, public_id):
            return refused(Refusal.NOT_FOUND)
        acts.record(unit, act, "session.ended", user_id, sessions=[public_id])
        return None

    return _on_user(services, act, user_id, change, needs_reason=True)


def reset_factors(services: Services, act: Act, user_id: int) -> UserRecord | Refused:
    """Remove all second factors of a user who has lost them, recovery codes too; all sessions end. Needs a reason.

    From then on the password alone opens the account, until another factor is enrolled: who resets must know who asks.
    """

    def change(unit: Unit, act: Act, _target: UserRecord) -> Refused | None:
        forgotten = [factor.method for factor in services.factors if factor.forget(unit.connection, user_id)]
        if not forgotten:
            return refused_value("factor", NO_FACTOR)
        _, ended = revoke.everything_of(services, unit, user_id)
        unit.post(Letter("factor_reset", user_id))
        acts.record(unit, act, "factor.reset", user_id, methods=forgotten, sessions_ended=list(ended))
        return None

    return _on_user(services, act, user_id, change, needs_reason=True)


def demand_factor(services: Services, act: Act, user_id: int, *, is_demanded: bool) -> UserRecord | Refused:
    """Demand a second factor of a user, or no longer. Needs a reason.

    From the next request on nothing is open to them but where one is enrolled or proven.
    """

    def change(unit: Unit, act: Act, target: UserRecord) -> Refused | None:
        if is_demanded and not seeds.offers_factor(services):
            return refused_value("demanded", seeds.NONE_OFFERED)
        aal = AAL2 if is_demanded else 1
        if target.aal != aal:
            users.set_aal(unit.connection, user_id, aal)
            unit.post(Letter("factor_demanded", user_id, facts={"is_demanded": is_demanded}))
            acts.record(unit, act, "user.demand_changed", user_id, demanded=is_demanded)
        return None

    return _on_user(services, act, user_id, change, needs_reason=True)


def close(services: Services, act: Act, user_id: int) -> UserRecord | Refused:
    """Close a user for good: name and address are erased, password, second factors, roles and sessions removed.

    The row and its id stay, so that a host app's own rows keep pointing at something and the id is never reused.
    """

    def change(unit: Unit, act: Act, target: UserRecord) -> Refused | None:
        if services.roles.is_last_admin(unit.connection, user_id, unit.now):
            return refused(Refusal.LAST_ADMIN)
        ended = erase.erase_user(services, unit, target)
        acts.record(unit, act, "user.closed", user_id, sessions_ended=list(ended))
        return None

    return _on_user(services, act, user_id, change)


def grant(
    services: Services, act: Act, user_id: int, role: str, until_at: Instant | None = None
) -> UserRecord | Refused:
    """Grant a role, or change when a grant ends; counts from the next request on, everywhere.

    A grant ends no later than the actor's own right to it: else who is administrator for an hour would be so for ever.
    """

    def change(unit: Unit, act: Act, _target: UserRecord) -> Refused | None:
        key = _usable_role(services, unit, act, role)
        if isinstance(key, Refused):
            return key
        if until_at is not None and until_at <= unit.now:
            return refused_value("until", "The end of a grant lies in the future.")
        if _outlasts_actor(services, unit, act, key, until_at):
            return refused_value("until", "Your own right to this role ends sooner: name an earlier end.")
        if key == ADMIN and until_at is not None and services.roles.is_last_admin(unit.connection, user_id, unit.now):
            return refused(Refusal.LAST_ADMIN)
        if not act.reason and _shortens(services, unit, user_id, key, until_at):
            return refused_value("reason", "This takes away from a grant: give a reason, it is recorded.")
        services.roles.add_grant(unit.connection, user_id, key, unit.now, by=act.actor.user_id, until_at=until_at)
        until = None if until_at is None else as_text(until_at)
        acts.record(unit, act, "role.granted", user_id, role=key, until=until)
        return None

    return _on_user(services, act, user_id, change)


def withdraw(services: Services, act: Act, user_id: int, role: str) -> UserRecord | Refused:
    """Withdraw a role; it stops counting at the next request, everywhere. Needs a reason."""

    def change(unit: Unit, act: Act, _target: UserRecord) -> Refused | None:
        key = role.casefold()  # which may be gone from the code: what remains of it must go too
        if not acts.rights_of(services, unit, act).may_take_away(services.roles.rights_of_role(unit.connection, key)):
            return refused(Refusal.FORBIDDEN)
        if key == ADMIN and services.roles.is_last_admin(unit.connection, user_id, unit.now):
            return refused(Refusal.LAST_ADMIN)
        if not services.roles.drop_grant(unit.connection, user_id, key):
            known = _usable_role(services, unit, act, role)
            return known if isinstance(known, Refused) else refused_value("role", NOT_HELD)
        acts.record(unit, act, "role.withdrawn", user_id, role=key)
        return None

    return _on_user(services, act, user_id, change, needs_reason=True)


def _usable_role(services: Services, unit: Unit, act: Act, role: str) -> str | Refused:
    try:
        key = services.roles.require(unit.connection, role)
    except InvalidFieldError as error:
        return refused_field(error)
    if not acts.rights_of(services, unit, act).may_hand_on(services.roles.rights_of_role(unit.connection, key)):
        return refused(Refusal.FORBIDDEN)
    return key


def _shortens(services: Services, unit: Unit, user_id: int, key: str, until_at: Instant | None) -> bool:
    """Tell whether a grant would end sooner than the one that is there: what it takes asks for a reason."""
    held = {grant.role: grant.until_at for grant in services.roles.grants_of(unit.connection, user_id, unit.now)}
    if key not in held or until_at is None:
        return False
    present = held[key]
    return present is None or until_at < present


def _outlasts_actor(services: Services, unit: Unit, act: Act, key: str, until_at: Instant | None) -> bool:
    if act.identity is None:
        return False
    wanted = services.roles.rights_of_role(unit.connection, key)
    limit = services.roles.covered_until(unit.connection, act.identity.user_id, wanted, unit.now)
    return limit is not None and (until_at is None or until_at > limit)
