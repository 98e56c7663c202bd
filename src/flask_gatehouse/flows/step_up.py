"""Prove the password again, so that the session is fresh."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask_gatehouse.domain import passwords, throttle
from flask_gatehouse.domain.audit import Event
from flask_gatehouse.kernel.errors import HashingBusyError
from flask_gatehouse.kernel.identity import KNOWS, Actor, Identity, Proof, Source
from flask_gatehouse.kernel.keys import secret_digest

from .outcomes import BUSY_WAIT_MICROS, Refusal, Refused, refused

if TYPE_CHECKING:
    from flask_gatehouse.domain.sessions import Issued

    from .services import Services


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
    now = services.clock.now()
    key = services.throttle.inside_key(identity.user_id)
    charge = services.throttle.spend(throttle.STEP_UP, source.address, now, account_key=key)
    if charge.wait:
        return refused(Refusal.THROTTLED, wait=charge.wait)
    with services.reading() as connection:
        before = passwords.find_credential_of(connection, identity.user_id)
    digest = before.digest if before and not charge.is_disabled else None
    try:
        verdict = services.hasher.verify(digest, passwords.normalised(password), is_inside=True)
    except HashingBusyError:
        services.throttle.give_back(charge)
        return refused(Refusal.BUSY, wait=BUSY_WAIT_MICROS)
    with services.unit() as unit:
        actor = Actor.of(identity)
        stored = passwords.lock_credential(unit.connection, identity.user_id)
        row = services.sessions.store.lock(unit.connection, secret_digest(secret))
        if not verdict or stored is None or stored != before or not stored.is_active:
            unit.record(
                Event("step_up.failed", actor, identity.user_id, source, identity.session_id, outcome="refused")
            )
            return refused(Refusal.CREDENTIALS)
        if row is None or row.user_id != identity.user_id or row.epoch != stored.epoch:
            return refused(Refusal.GONE)
        proofs = (*(proof for proof in identity.proofs if proof.method != "password"), Proof("password", now, KNOWS))
        issued = services.sessions.rotate(unit.connection, row, unit.now, proofs=proofs, epoch=stored.epoch)
        if issued is None:
            return refused(Refusal.GONE)
        services.throttle.settle(unit.connection, charge, unit.now)
        unit.record(Event("step_up.succeeded", actor, identity.user_id, source, issued.public_id))
        return issued
