"""Prove the password or a second factor again, so that the session is fresh."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flask_gatehouse.domain import passwords, throttle
from flask_gatehouse.domain.audit import Event
from flask_gatehouse.domain.factors.passkey_challenges import STEP_UP, Bound
from flask_gatehouse.domain.factors.passkey_rows import Doubt
from flask_gatehouse.kernel.errors import HashingBusyError
from flask_gatehouse.kernel.identity import KNOWS, Actor, Identity, Proof, Source
from flask_gatehouse.kernel.keys import secret_digest

from . import ceremonies, seeds
from .outcomes import BUSY_WAIT_MICROS, Refusal, Refused, refused

if TYPE_CHECKING:
    from flask_gatehouse.domain.passwords import Credential, Hashing, Verdict
    from flask_gatehouse.domain.sessions import Issued, SessionRow
    from flask_gatehouse.domain.throttle import Charge

    from .services import Services, Unit


def prove(services: Services, identity: Identity, secret: str, password: str, source: Source) -> Issued | Refused:
    """Check the password of the user who holds the session and rotate it with a new proof.

    The budget of wrong answers is the session holders' own: a flood at the login door does not shut them out.

    Args:
        services: the app's services.
        identity: who holds the session.
        secret: the session's present secret.
        password: as typed.
        source: where the request comes from.
    """
    if identity.withheld.is_alarmed:  # proves nothing new, and would use up the owner's count of wrong answers
        return refused(Refusal.ALARMED)
    try:
        with services.hasher.place(is_inside=True) as place:
            checked = _check(services, place, identity, password, source)
    except HashingBusyError:
        return refused(Refusal.BUSY, wait=BUSY_WAIT_MICROS)
    if isinstance(checked, Refused):
        return checked
    with services.unit() as unit:
        return _decide(services, unit, identity, secret, checked, source)


@dataclass(frozen=True, slots=True, repr=False)
class _Checked:
    """What charging and hashing found out."""

    before: Credential | None
    charge: Charge
    verdict: Verdict


def _check(services: Services, place: Hashing, identity: Identity, password: str, source: Source) -> _Checked | Refused:
    now, key = services.clock.now(), services.throttle.inside_key(identity.user_id)
    charge = services.throttle.spend(throttle.STEP_UP, source.address, now, account_key=key)
    if charge.wait:
        return refused(Refusal.THROTTLED, wait=charge.wait)
    with services.reading() as connection:
        before = passwords.find_credential_of(connection, identity.user_id)
    digest = before.proving_digest if before and not charge.is_disabled else None
    try:
        return _Checked(before, charge, place.verify(digest, passwords.normalised(password)))
    except HashingBusyError:
        services.throttle.give_back(charge, now)
        raise


def prove_factor(services: Services, identity: Identity, secret: str, code: str, source: Source) -> Issued | Refused:
    """Check a code of a second factor of the user who holds the session and rotate it with a new proof; burn the code.

    Args:
        services: the app's services.
        identity: who holds the session; a code of anybody else is wrong.
        secret: the session's present secret.
        code: as typed.
        source: where the request comes from.
    """
    factor = seeds.answering(services, "code", identity.user_id)
    if factor is None:
        return refused(Refusal.CREDENTIALS)
    now, key = services.clock.now(), services.throttle.factor_key(factor.method, identity.user_id)
    charge = services.throttle.spend(throttle.STEP_UP, source.address, now, account_key=key)
    if charge.wait:
        return refused(Refusal.THROTTLED, wait=charge.wait)
    with services.unit() as unit:
        stored = passwords.lock_credential(unit.connection, identity.user_id)
        row = services.sessions.store.lock(unit.connection, secret_digest(secret))
        if row is None or stored is None or not _is_own(row, identity, stored):
            return refused(Refusal.GONE)
        proof = None if charge.is_disabled else factor.verify(unit.connection, identity.user_id, code, unit.now)
        if proof is None:
            actor, user_id = Actor.of(identity), identity.user_id
            unit.record(Event("step_up.failed", actor, user_id, source, identity.session_id, outcome="refused"))
            return refused(Refusal.CREDENTIALS)
        services.throttle.settle(unit.connection, charge, unit.now)
        return _renew(services, unit, identity, row, (proof,), source)


def ask_passkey(services: Services, identity: Identity) -> str:
    """Return what the browser is to ask the passkeys of who holds the session, as JSON; `""` where they have none."""
    return ceremonies.ask(services, _bound(identity))


def _bound(identity: Identity) -> Bound:
    return Bound(STEP_UP, identity.session_id, identity.user_id)


def prove_passkey(services: Services, identity: Identity, secret: str, text: str, source: Source) -> Issued | Refused:
    """Check the answer of a passkey of the user who holds the session and rotate it with new proofs.

    Args:
        services: the app's services.
        identity: who holds the session; anybody else's passkey is refused, and that is recorded.
        secret: the session's present secret.
        text: what the browser sent.
        source: where the request comes from.
    """
    charge = services.throttle.spend(throttle.STEP_UP, source.address, services.clock.now())
    if charge.wait:
        return refused(Refusal.THROTTLED, wait=charge.wait)
    shown = ceremonies.check(services, _bound(identity), text)
    with services.unit() as unit:
        stored = passwords.lock_credential(unit.connection, identity.user_id)
        row = services.sessions.store.lock(unit.connection, secret_digest(secret))
        if row is None or stored is None or not _is_own(row, identity, stored):
            return refused(Refusal.GONE)
        proofs = shown if isinstance(shown, Doubt) else ceremonies.take(unit, shown)
        if isinstance(proofs, Doubt):
            event = Event("step_up.failed", Actor.of(identity), identity.user_id, source, identity.session_id)
            ceremonies.record_doubt(unit, event, proofs)
            return refused(Refusal.CREDENTIALS)
        return _renew(services, unit, identity, row, proofs, source)


def _is_own(row: SessionRow, identity: Identity, stored: Credential) -> bool:
    return row.user_id == identity.user_id and row.epoch == stored.epoch and stored.is_active


def _renew(
    services: Services, unit: Unit, identity: Identity, row: SessionRow, shown: tuple[Proof, ...], source: Source
) -> Issued | Refused:
    proofs = ceremonies.all_renewed(identity.proofs, shown)
    issued = services.sessions.rotate(unit.connection, row, unit.now, proofs=proofs, epoch=row.epoch)
    if issued is None:
        return refused(Refusal.GONE)
    event = Event("step_up.succeeded", Actor.of(identity), identity.user_id, source, issued.public_id)
    unit.record(replace(event, detail={"method": shown[0].method}))
    return issued


def _decide(
    services: Services, unit: Unit, identity: Identity, secret: str, checked: _Checked, source: Source
) -> Issued | Refused:
    actor, user_id = Actor.of(identity), identity.user_id
    stored = passwords.lock_credential(unit.connection, user_id)
    row = services.sessions.store.lock(unit.connection, secret_digest(secret))
    if not checked.verdict or stored is None or stored != checked.before or not stored.is_active:
        unit.record(Event("step_up.failed", actor, user_id, source, identity.session_id, outcome="refused"))
        return refused(Refusal.CREDENTIALS)
    if row is None or not _is_own(row, identity, stored):
        return refused(Refusal.GONE)
    proof = Proof("password", unit.now, KNOWS)
    services.throttle.settle(unit.connection, checked.charge, unit.now)
    return _renew(services, unit, identity, row, (proof,), source)
