"""Enrol and remove second factors, and replace one that is lost by a recovery code (rule 32)."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from flask_gatehouse.domain import passwords, throttle
from flask_gatehouse.domain.factors import offers, outstanding
from flask_gatehouse.domain.factors.challenges import Asked
from flask_gatehouse.domain.factors.offers import Unconfirmed
from flask_gatehouse.kernel.identity import Identity, Proof, Source, renewed

from . import revoke, seeds
from .factor_changes import (
    PROVE_BOTH,
    PROVE_OTHER,
    Held,
    first_codes,
    forget_spare_codes,
    has_other_proof,
    hold,
    owes_proof_within,
    record,
)
from .outcomes import Refusal, Refused, refused, refused_value
from .seeds import Enrolled, Offer

if TYPE_CHECKING:
    from flask_gatehouse.domain.factors.offers import Confirmed
    from flask_gatehouse.domain.sessions import Issued
    from flask_gatehouse.kernel.feature import SeedFactor

    from .services import Services, Unit

ENROL_TOTP = "enrol-totp"


def offer_totp(services: Services, identity: Identity) -> Offer | Refused:
    """Return the seed that this session is to confirm, a new one where none waits.

    It belongs to this session alone: nobody can prepare a seed for another's session.
    """
    factor, asked = seeds.totp_of(services), Asked(identity.session_id, ENROL_TOTP, identity.user_id)
    if factor is None:
        return refused(Refusal.NOT_FOUND)
    with services.reading() as connection:
        if factor.enrolled(connection, identity.user_id):
            return refused_value("code", "An authenticator app is enrolled already: remove it first.")
        seed = offers.waiting(connection, factor, asked, services.clock.now())
    if seed is None:
        with services.unit() as unit:
            passwords.lock_credential(unit.connection, identity.user_id)
            seed = offers.make(unit.connection, factor, asked, unit.now)
    return seeds.offer_of(services, factor, seed, identity.username)


def confirm_totp(services: Services, identity: Identity, secret: str, code: str, source: Source) -> Enrolled | Refused:
    """Enrol the seed that waits in this session, if the code is of it; burn the code.

    With the first factor all other sessions end, and recovery codes are made. Who has one already proves it first.

    Args:
        services: the app's services.
        identity: who holds the session.
        secret: the session's present secret.
        code: as typed.
        source: where the request comes from.
    """
    factor = seeds.totp_of(services)
    if factor is None:
        return refused(Refusal.NOT_FOUND)
    charge = services.throttle.spend(throttle.STEP_UP, source.address, services.clock.now())
    if charge.wait:
        return refused(Refusal.THROTTLED, wait=charge.wait)
    asked = Asked(identity.session_id, ENROL_TOTP, identity.user_id)
    with services.unit() as unit:
        held = hold(services, unit, identity, secret)
        if isinstance(held, Refused):
            return held
        if factor.enrolled(unit.connection, identity.user_id):
            return refused(Refusal.GONE)
        if owes_proof_within(services, unit.connection, identity):
            return refused_value("factor", PROVE_BOTH)
        confirmed = offers.confirm(unit.connection, factor, asked, code, unit.now)
        if isinstance(confirmed, Unconfirmed):
            return seeds.unconfirmed(confirmed)
        return _enrol(services, unit, identity, held, confirmed, source)


def _enrol(
    services: Services, unit: Unit, identity: Identity, held: Held, confirmed: Confirmed, source: Source
) -> Enrolled | Refused:
    factor, user_id = cast("SeedFactor", seeds.totp_of(services)), identity.user_id
    is_first = not outstanding(unit.connection, services.factors, user_id)
    factor.enrol(unit.connection, user_id, confirmed.seed, confirmed.step, unit.now)
    services.throttle.begin_anew(unit.connection, factor.method, user_id)
    epoch: int = held.epoch
    ended: tuple[str, ...] = ()
    if is_first:  # whoever came in by the password alone is to show the factor as well
        epoch, ended = revoke.everything_of(services, unit, user_id, but=held.row.public_id)
    proofs = renewed(identity.proofs, Proof(factor.method, unit.now, factor.kind))
    issued = services.sessions.rotate(unit.connection, held.row, unit.now, proofs=proofs, epoch=epoch)
    if issued is None:
        return refused(Refusal.GONE)
    record(unit, "factor.enrolled", identity, source, method=factor.method, sessions_ended=list(ended))
    return Enrolled(issued, first_codes(services, unit, identity, source))


def remove_totp(services: Services, identity: Identity, secret: str, source: Source) -> Issued | Refused:
    """Remove the authenticator app; all other sessions end, and the recovery codes go with the last factor.

    Asks for a fresh proof of something else: whoever found a phone unlocked does not remove what it shows.
    """
    factor = seeds.totp_of(services)
    if factor is None:
        return refused(Refusal.NOT_FOUND)
    if not has_other_proof(services, identity, frozenset({factor.method})):
        return refused_value("factor", PROVE_OTHER)
    with services.unit() as unit:
        held = hold(services, unit, identity, secret)
        if isinstance(held, Refused):
            return held
        if not factor.forget(unit.connection, identity.user_id):
            return refused(Refusal.NOT_FOUND)
        forget_spare_codes(services, unit, identity.user_id)
        epoch, ended = revoke.everything_of(services, unit, identity.user_id, but=held.row.public_id)
        proofs = tuple(proof for proof in identity.proofs if proof.method != factor.method)
        issued = services.sessions.rotate(unit.connection, held.row, unit.now, proofs=proofs, epoch=epoch)
        if issued is None:
            return refused(Refusal.GONE)
        record(unit, "factor.removed", identity, source, method=factor.method, sessions_ended=list(ended))
        return issued


def renew_codes(services: Services, identity: Identity, source: Source) -> tuple[str, ...] | Refused:
    """Make ten new recovery codes in place of all there were, and return them: they are shown once.

    Pending logins end: one of the old codes may have opened them, and who hears of that makes new ones.
    """
    codes = seeds.codes_of(services)
    if codes is None:
        return refused(Refusal.NOT_FOUND)
    now, target = services.clock.now(), f"codes:{identity.user_id}"
    charge = services.throttle.spend(throttle.CHANGE, source.address, now, target=target)
    if charge.wait:  # each time is a row of the log for ever
        return refused(Refusal.THROTTLED, wait=charge.wait)
    with services.unit() as unit:
        stored = passwords.lock_credential(unit.connection, identity.user_id)
        row = services.sessions.store.find_public(unit.connection, identity.session_id)
        if stored is None or not stored.is_active or row is None or row.epoch != stored.epoch:
            return refused(Refusal.GONE)
        if not outstanding(unit.connection, services.factors, identity.user_id):
            return refused_value("factor", "Enrol a second factor first: recovery codes stand in for one.")
        services.sessions.store.drop_pending(unit.connection, identity.user_id)
        made = codes.renew(unit.connection, identity.user_id, unit.now)
        services.throttle.begin_anew(unit.connection, codes.method, identity.user_id)
        record(unit, "recovery_codes.made", identity, source, number=len(made))
        return tuple(made)
