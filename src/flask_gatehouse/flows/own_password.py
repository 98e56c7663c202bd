"""Change one's own password."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask_gatehouse.domain import devices, passwords, throttle
from flask_gatehouse.domain.audit import Event
from flask_gatehouse.kernel.errors import HashingBusyError, InvalidFieldError, WeakPassword
from flask_gatehouse.kernel.identity import KNOWS, Actor, Identity, Proof, Source, renewed
from flask_gatehouse.kernel.keys import secret_digest

from . import alarm, revoke
from .notices import notice
from .outcomes import BUSY_WAIT_MICROS, Refusal, Refused, refused, refused_field, refused_value
from .stolen import STOLEN, is_stolen

if TYPE_CHECKING:
    from flask_gatehouse.domain.passwords import Credential, Hashing
    from flask_gatehouse.domain.sessions import Issued
    from flask_gatehouse.domain.throttle import Charge

    from .services import Services

WRONG_PRESENT = "This is not your present password."


def change(
    services: Services, identity: Identity, secret: str, current: str, new: str, source: Source
) -> Issued | Refused:
    """Replace the password; the acting session goes on under a new id, everything else ends.

    Args:
        services: the app's services.
        identity: who holds the session.
        secret: the session's present secret.
        current: the present password, as typed.
        new: the new one, as typed.
        source: where the request comes from.
    """
    if identity.withheld.is_alarmed:  # the present password is what is doubted (rule 32)
        return refused(Refusal.ALARMED)
    try:
        with services.hasher.place(is_inside=True) as place:
            checked = _check(services, place, identity, current, new, source)
    except HashingBusyError:
        return refused(Refusal.BUSY, wait=BUSY_WAIT_MICROS)
    if isinstance(checked, Refused):
        return checked
    if checked.digest and is_stolen(services, new):
        services.throttle.give_back(checked.charge, services.clock.now())
        return refused_value("password", STOLEN)
    return _store(services, identity, secret, checked, source)


def _check(
    services: Services, place: Hashing, identity: Identity, current: str, new: str, source: Source
) -> _Change | Refused:
    now, key = services.clock.now(), services.throttle.inside_key(identity.user_id)
    charge = services.throttle.spend(throttle.CHANGE, source.address, now, account_key=key)
    if charge.wait:
        return refused(Refusal.THROTTLED, wait=charge.wait)
    with services.reading() as connection:
        before = passwords.find_credential_of(connection, identity.user_id)
    try:
        value = _require_new(services, identity, current, new)
        digest = before.proving_digest if before and not charge.is_disabled else None
        is_right = place.verify(digest, passwords.normalised(current))
        return _Change(before, charge, place.hash(value) if is_right else "")
    except InvalidFieldError as error:
        services.throttle.give_back(charge, now)
        return refused_field(error)
    except HashingBusyError:
        services.throttle.give_back(charge, now)
        raise


def _require_new(services: Services, identity: Identity, current: str, new: str) -> str:
    value = services.password_rules.require(new, identity.username, identity.email)
    if value == passwords.normalised(current):
        msg = "This is your present password: choose another."
        raise WeakPassword(msg)
    return value


class _Change:
    """What charging and hashing found out; an empty digest means the present password was wrong."""

    __slots__ = ("before", "charge", "digest")

    def __init__(self, before: Credential | None, charge: Charge, digest: str) -> None:
        self.before = before
        self.charge = charge
        self.digest = digest


def _store(services: Services, identity: Identity, secret: str, change: _Change, source: Source) -> Issued | Refused:
    actor, user_id = Actor.of(identity), identity.user_id
    with services.unit() as unit:
        stored = passwords.lock_credential(unit.connection, user_id)
        if not change.digest or stored is None or stored != change.before or not stored.is_active:
            event = Event("password.change_failed", actor, user_id, source, identity.session_id, outcome="refused")
            unit.record(event)
            return Refused(Refusal.FIELD, 0, "current", WRONG_PRESENT)
        row = services.sessions.store.lock(unit.connection, secret_digest(secret))
        if row is None or row.user_id != user_id or row.epoch != stored.epoch:
            return refused(Refusal.GONE)
        passwords.store(unit.connection, user_id, change.digest, unit.now)
        epoch, ended = revoke.everything_of(services, unit, user_id, but=row.public_id)
        proofs = renewed(identity.proofs, Proof("password", unit.now, KNOWS))
        issued = services.sessions.rotate(unit.connection, row, unit.now, proofs=proofs, epoch=epoch)
        if issued is None:
            msg = "a locked session row vanished"
            raise RuntimeError(msg)
        services.throttle.settle(unit.connection, change.charge, unit.now)
        unit.post(notice("password_changed", user_id, source))
        detail: dict[str, object] = {"sessions_ended": list(ended)}
        unit.record(Event("password.changed", actor, user_id, source, issued.public_id, detail=detail))
        if alarm.end_within(unit, actor, user_id, source):
            devices.forget_all(unit.connection, user_id)  # who knew the password may have logged in with some of them
        return issued
