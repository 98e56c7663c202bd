"""Enrol and remove second factors, and replace one that is lost by a recovery code (rule 32)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from flask_gatehouse.domain import passwords, throttle
from flask_gatehouse.domain.audit import Event
from flask_gatehouse.domain.factors import offers, outstanding
from flask_gatehouse.domain.factors.challenges import Asked
from flask_gatehouse.domain.factors.offers import Unconfirmed
from flask_gatehouse.kernel.identity import Actor, Identity, Proof, Source, renewed
from flask_gatehouse.kernel.keys import secret_digest

from . import revoke, seeds
from .outcomes import Refusal, Refused, refused, refused_value
from .seeds import Enrolled, Offer

if TYPE_CHECKING:
    from flask_gatehouse.domain.factors.offers import Confirmed
    from flask_gatehouse.domain.sessions import Issued, SessionRow
    from flask_gatehouse.kernel.feature import SeedFactor

    from .services import Services, Unit

ENROL_TOTP = "enrol-totp"
PROVE_OTHER = "Prove your password again first: a factor is not removed on its own word."


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

    With the first factor all other sessions end, and recovery codes are made.

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
        held = _lock(services, unit, identity, secret)
        if isinstance(held, Refused):
            return held
        if factor.enrolled(unit.connection, identity.user_id):
            return refused(Refusal.GONE)
        confirmed = offers.confirm(unit.connection, factor, asked, code, unit.now)
        if isinstance(confirmed, Unconfirmed):
            return seeds.unconfirmed(confirmed)
        return _enrol(services, unit, identity, held, confirmed, source)


@dataclass(frozen=True, slots=True)
class _Held:
    """The acting session, locked, and the epoch of its user."""

    row: SessionRow
    epoch: int


def _lock(services: Services, unit: Unit, identity: Identity, secret: str) -> _Held | Refused:
    stored = passwords.lock_credential(unit.connection, identity.user_id)
    row = services.sessions.store.lock(unit.connection, secret_digest(secret))
    if stored is None or not stored.is_active or row is None:
        return refused(Refusal.GONE)
    if row.user_id != identity.user_id or row.epoch != stored.epoch:
        return refused(Refusal.GONE)
    return _Held(row, stored.epoch)


def _enrol(
    services: Services, unit: Unit, identity: Identity, held: _Held, confirmed: Confirmed, source: Source
) -> Enrolled | Refused:
    factor, user_id = cast("SeedFactor", seeds.totp_of(services)), identity.user_id
    is_first = not outstanding(unit.connection, services.factors, user_id)
    factor.enrol(unit.connection, user_id, confirmed.seed, confirmed.step, unit.now)
    epoch: int = held.epoch
    ended: tuple[str, ...] = ()
    if is_first:  # whoever came in by the password alone is to show the factor as well
        epoch, ended = revoke.everything_of(services, unit, user_id, but=held.row.public_id)
    proofs = renewed(identity.proofs, Proof(factor.method, unit.now, factor.kind))
    issued = services.sessions.rotate(unit.connection, held.row, unit.now, proofs=proofs, epoch=epoch)
    if issued is None:
        return refused(Refusal.GONE)
    _record(unit, "factor.enrolled", identity, source, method=factor.method, sessions_ended=list(ended))
    return Enrolled(issued, _first_codes(services, unit, identity, source))


def _first_codes(services: Services, unit: Unit, identity: Identity, source: Source) -> tuple[str, ...]:
    codes = seeds.codes_of(services)
    if codes is None or codes.enrolled(unit.connection, identity.user_id):
        return ()
    made = codes.renew(unit.connection, identity.user_id, unit.now)
    _record(unit, "recovery_codes.made", identity, source, number=len(made))
    return tuple(made)


def remove_totp(services: Services, identity: Identity, secret: str, source: Source) -> Issued | Refused:
    """Remove the authenticator app; all other sessions end, and the recovery codes go with the last factor.

    Asks for a fresh proof of something else: whoever found a phone unlocked does not remove what it shows.
    """
    factor, codes = seeds.totp_of(services), seeds.codes_of(services)
    if factor is None:
        return refused(Refusal.NOT_FOUND)
    others = [proof.at for proof in identity.proofs if proof.method != factor.method]
    if max(others, default=0) <= services.clock.now() - services.freshness.admins:
        return refused_value("factor", PROVE_OTHER)
    with services.unit() as unit:
        held = _lock(services, unit, identity, secret)
        if isinstance(held, Refused):
            return held
        if not factor.forget(unit.connection, identity.user_id):
            return refused(Refusal.NOT_FOUND)
        if codes is not None and not outstanding(unit.connection, services.factors, identity.user_id):
            codes.forget(unit.connection, identity.user_id)
        epoch, ended = revoke.everything_of(services, unit, identity.user_id, but=held.row.public_id)
        proofs = tuple(proof for proof in identity.proofs if proof.method != factor.method)
        issued = services.sessions.rotate(unit.connection, held.row, unit.now, proofs=proofs, epoch=epoch)
        if issued is None:
            return refused(Refusal.GONE)
        _record(unit, "factor.removed", identity, source, method=factor.method, sessions_ended=list(ended))
        return issued


def renew_codes(services: Services, identity: Identity, source: Source) -> tuple[str, ...] | Refused:
    """Make ten new recovery codes in place of all there were, and return them: they are shown once."""
    codes = seeds.codes_of(services)
    if codes is None:
        return refused(Refusal.NOT_FOUND)
    with services.unit() as unit:
        stored = passwords.lock_credential(unit.connection, identity.user_id)
        row = services.sessions.store.find_public(unit.connection, identity.session_id)
        if stored is None or not stored.is_active or row is None or row.epoch != stored.epoch:
            return refused(Refusal.GONE)
        if not outstanding(unit.connection, services.factors, identity.user_id):
            return refused_value("factor", "Enrol a second factor first: recovery codes stand in for one.")
        made = codes.renew(unit.connection, identity.user_id, unit.now)
        _record(unit, "recovery_codes.made", identity, source, number=len(made))
        return tuple(made)


def _record(unit: Unit, kind: str, identity: Identity, source: Source, **detail: object) -> None:
    actor = Actor.of(identity)
    unit.record(Event(kind, actor, identity.user_id, source, identity.session_id, detail=detail))
