"""“This wasn't me” raises an alarm: it ends everything of one's own at once, and doubts what is younger than a day.

Whoever holds a session may press it, the thief of one too. So it opens nothing: the one who pressed is out as well, and
until the alarm ends the password alone lets nobody in. A new password ends it, chosen by who proved something older
(rule 32).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask_gatehouse.domain import mail, passwords, throttle, users
from flask_gatehouse.domain.audit import Event
from flask_gatehouse.domain.factors import passkey_rows
from flask_gatehouse.domain.users import SETTLED_AFTER
from flask_gatehouse.kernel.identity import Actor, Identity, Source

from . import revoke
from .factor_changes import forget_spare_codes
from .notices import notice
from .outcomes import Refusal, Refused, refused
from .seeds import RECOVERY_CODES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flask_gatehouse.domain.users import UserRecord
    from flask_gatehouse.kernel.clock import Instant

    from .seeds import EnrolledFactor
    from .services import Services, Unit


@dataclass(frozen=True, slots=True)
class Raised:
    """An alarm stands.

    Attributes:
        ended: how many sessions it ended.
        methods: second factors that were added within a day, and are gone.
        is_address_back: whether a change of the e-mail address within a day was undone.
        is_mailed: whether a link to choose a new password would reach the user.
        is_new: False where it stood before: then nothing was done.
    """

    ended: int = 0
    methods: tuple[str, ...] = ()
    is_address_back: bool = False
    is_mailed: bool = False
    is_new: bool = True


STANDS = Raised(is_new=False)


def raise_alarm(services: Services, identity: Identity, source: Source) -> Raised | Refused:
    """End all sessions, pending logins, links and known browsers, and undo what was added within a day.

    Asks for no fresh proof. While an alarm stands it does nothing: else who knows the password would log in again and
    again to kill the links by which its owner comes back.

    Args:
        services: the app's services.
        identity: who holds the session.
        source: where the request comes from.
    """
    with services.reading() as connection:
        found = users.find(connection, identity.user_id)
    if found is not None and found.alarm_at is not None:
        return STANDS
    now, target = services.clock.now(), f"alarm:{identity.user_id}"
    charge = services.throttle.spend(throttle.ALARM, source.address, now, target=target)
    if charge.wait:
        return refused(Refusal.THROTTLED, wait=charge.wait)
    with services.unit() as unit:
        outcome = _raise_unless_ended(services, unit, identity, source)
        if isinstance(outcome, Raised) and outcome.is_new:
            services.throttle.judge(unit.connection, charge, unit.now)
        else:
            services.throttle.refund(unit.connection, charge, unit.now)
        return outcome


def _raise_unless_ended(services: Services, unit: Unit, identity: Identity, source: Source) -> Raised | Refused:
    stored = users.find(unit.connection, identity.user_id, lock=True)
    if stored is not None and stored.alarm_at is not None:
        return STANDS
    session = services.sessions.store.find_public(unit.connection, identity.session_id)
    if stored is None or not stored.is_active or session is None or session.epoch != stored.epoch:
        return refused(Refusal.GONE)
    return _raise(services, unit, stored, identity, source)


def has_way_back(services: Services, user: UserRecord, enrolled: Iterable[EnrolledFactor]) -> bool:
    """Tell whether a user could come back by themselves after an alarm: by mail, or by an older second factor.

    Args:
        services: the app's services.
        user: who.
        enrolled: what they have enrolled.
    """
    since = services.clock.now() - SETTLED_AFTER
    dated = [one.created_at for one in enrolled if one.method != RECOVERY_CODES and one.created_at is not None]
    return min(dated, default=since) < since or (services.mailer.is_on and user.has_address_since(since))


def end_within(unit: Unit, actor: Actor, user_id: int, source: Source) -> bool:
    """Trust a locked user's password again, for flows that have just stored a new one; False where no alarm stands.

    The caller has seen a mailed or an operator's link that was made after the alarm, for older ones died with the
    epoch; or a session with two factors, of which those that the alarm left are old.

    Args:
        unit: the flow's transaction.
        actor: who chose the password.
        user_id: whose it is, locked.
        source: where the request comes from.
    """
    if not users.end_alarm(unit.connection, user_id):
        return False
    unit.record(Event("user.alarm_ended", actor, user_id, source))
    return True


def _raise(services: Services, unit: Unit, stored: UserRecord, identity: Identity, source: Source) -> Raised:
    since = unit.now - SETTLED_AFTER
    users.raise_alarm(unit.connection, stored.id, unit.now)
    is_address_back = users.take_back_email(unit.connection, stored, since)
    mail.drop_links_of(unit.connection, stored.id)
    _forget_temporary(unit, stored.id)
    methods = _forget_factors(services, unit, stored.id, since)
    _, ended = revoke.everything_of(services, unit, stored.id)
    undone = {"is_address_back": is_address_back, "has_lost_factors": bool(methods)}
    unit.post(notice("alarm_raised", stored.id, source, address=None, **undone))
    detail = {"sessions_ended": list(ended), "methods": list(methods), "address_taken_back": is_address_back}
    unit.record(Event("user.alarm_raised", Actor.of(identity), stored.id, source, identity.session_id, detail=detail))
    after = users.find(unit.connection, stored.id)
    is_mailed = services.mailer.is_on and after is not None and bool(after.verified_addresses)
    return Raised(len(ended), methods, is_address_back, is_mailed)


def _forget_factors(services: Services, unit: Unit, user_id: int, since: Instant) -> tuple[str, ...]:
    """Forget what was enrolled since then, and recovery codes where no factor is left that they stand in for."""
    methods = tuple(one.method for one in services.factors if one.forget(unit.connection, user_id, since))
    passkey_rows.forget_all(unit.connection, user_id, since)  # also while the feature is off: it may be on again
    forget_spare_codes(services, unit, user_id)
    return methods


def _forget_temporary(unit: Unit, user_id: int) -> None:
    """Let a temporary password die as a one-time link does: it leads to a new password without any other proof."""
    stored = passwords.find_credential_of(unit.connection, user_id)
    if stored is not None and stored.temporary_until is not None:
        passwords.forget(unit.connection, user_id)
