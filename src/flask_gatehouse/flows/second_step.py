"""The second step of a login: answer with a factor, or replace a lost one by a recovery code (rule 32)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flask_gatehouse.domain import devices, passwords, throttle
from flask_gatehouse.domain.audit import Event
from flask_gatehouse.domain.factors import RECOVERY, offers
from flask_gatehouse.domain.factors.challenges import Asked
from flask_gatehouse.domain.factors.offers import Unconfirmed
from flask_gatehouse.kernel.identity import GUEST, Proof

from . import opening, revoke, seeds
from .outcomes import FactorLost, Refusal, Refused, refused
from .seeds import Offer

if TYPE_CHECKING:
    from flask_gatehouse.domain.passwords import Credential
    from flask_gatehouse.domain.sessions import Issued, SessionRow
    from flask_gatehouse.domain.throttle import Charge
    from flask_gatehouse.kernel.identity import Source

    from .opening import Attempt
    from .services import Services, Unit

REPLACE_TOTP = "replace-totp"


@dataclass(frozen=True, slots=True, repr=False)
class _Pending:
    """A pending login, locked, and its user."""

    row: SessionRow
    user: Credential


def answer(services: Services, pending: str, field: str, value: str, attempt: Attempt) -> Issued | FactorLost | Refused:
    """Answer the second factor of a pending login; burn the answer, then grant.

    Args:
        services: the app's services.
        pending: secret of the pending login.
        field: `code` or `recovery_code`.
        value: the answer as typed.
        attempt: what comes along.

    Returns:
        The session; after a recovery code the pending login, which can replace the lost factor and nothing else.
    """
    now, row = services.clock.now(), _find(services, pending)
    factor = None if row is None else seeds.answering(services, field, row.user_id)
    if row is None or factor is None:
        return refused(Refusal.GONE)
    key = services.throttle.factor_key(factor.method, row.user_id)
    charge = services.throttle.spend(throttle.STEP_UP, attempt.source.address, now, account_key=key)
    if charge.wait:
        return refused(Refusal.THROTTLED, wait=charge.wait)
    with services.unit() as unit:
        held = _lock(services, unit, pending, row.user_id, attempt)
        if held is None:
            return refused(Refusal.GONE)
        proof = None if charge.is_disabled else factor.verify(unit.connection, held.row.user_id, value, unit.now)
        if proof is None:
            return _wrong(services, unit, held, charge, attempt.source)
        if proof.kind == RECOVERY:
            return _recover(services, unit, held, proof, charge, attempt.source)
        return _grant(services, unit, held, proof, charge, attempt)


def _find(services: Services, pending: str) -> SessionRow | None:
    with services.reading() as connection:
        return services.sessions.load_pending(connection, pending, services.clock.now())


def _lock(services: Services, unit: Unit, pending: str, user_id: int, attempt: Attempt) -> _Pending | None:
    """Lock the user first, then the pending login: one order everywhere."""
    previous = attempt.previous.user_id if attempt.previous else None
    user = passwords.lock_credential(unit.connection, user_id, previous)
    row = services.sessions.load_pending(unit.connection, pending, unit.now)
    if row is None or user is None or not user.is_active or user.epoch != row.epoch:
        return None
    return _Pending(row, user)


def _wrong(services: Services, unit: Unit, held: _Pending, charge: Charge, source: Source) -> Refused:
    """Record a wrong answer; the fifth in a row ends the pending login (ASVS V6.6.2)."""
    unit.record(Event("login.failed", GUEST, held.row.user_id, source, outcome="refused"))
    if charge.would_delay:
        services.sessions.store.drop_one(unit.connection, held.row.user_id, held.row.public_id)
    return refused(Refusal.CREDENTIALS)


def _grant(
    services: Services, unit: Unit, held: _Pending, proof: Proof, charge: Charge, attempt: Attempt
) -> Issued | Refused:
    row = held.row
    proofs = (*_factors_shown(services, row), proof)
    issued = services.sessions.rotate(
        unit.connection, row, unit.now, proofs=proofs, epoch=held.user.epoch, data=attempt.data
    )
    if issued is None:
        return refused(Refusal.GONE)
    opening.end_previous(services, unit, attempt)
    is_known = bool(attempt.device) and devices.find(unit.connection, attempt.device, row.user_id) is not None
    welcomed = opening.welcome(unit, issued, attempt)
    _settle_both_steps(services, unit, row.user_id, charge, attempt.source, is_known=is_known)
    opening.record_success(unit, held.user, issued, proofs, attempt.source)
    return welcomed


def _factors_shown(services: Services, row: SessionRow) -> tuple[Proof, ...]:
    return tuple(proof for proof in services.sessions.store.proofs_of(row) if proof.kind != RECOVERY)


def _settle_both_steps(
    services: Services, unit: Unit, user_id: int, charge: Charge, source: Source, *, is_known: bool
) -> None:
    services.throttle.settle(unit.connection, charge, unit.now)
    if not is_known:  # a known browser was charged to itself
        earlier = services.throttle.earlier_login(user_id, source.address)
        services.throttle.settle(unit.connection, earlier, unit.now)
    services.throttle.pardon(unit.connection, user_id, unit.now)


def cancel(services: Services, pending: str, source: Source) -> bool:
    """Give a pending login up, so that nothing is left to resume; False when there was none."""
    found = _find(services, pending)
    if found is None:
        return False
    with services.unit() as unit:
        user = passwords.lock_credential(unit.connection, found.user_id)
        has_ended = services.sessions.store.drop_one(unit.connection, found.user_id, found.public_id)
        if has_ended and user is not None:
            unit.record(Event("login.cancelled", opening.actor_of(user), found.user_id, source))
        return has_ended


# --- a lost factor --------------------------------------------------------------------------------------------


def _recover(
    services: Services, unit: Unit, held: _Pending, proof: Proof, charge: Charge, source: Source
) -> FactorLost | Refused:
    proofs = (*_factors_shown(services, held.row), proof)
    pending = services.sessions.hold(unit.connection, held.row, proofs)
    if pending is None:
        return refused(Refusal.GONE)
    services.throttle.settle(unit.connection, charge, unit.now)
    unit.record(Event("login.recovered", opening.actor_of(held.user), held.user.user_id, source))
    return FactorLost(pending)


def offer(services: Services, pending: str) -> Offer | None:
    """Return the seed that a pending login is to confirm in place of a lost one; None: no recovery code was shown."""
    factor, row = seeds.totp_of(services), _find(services, pending)
    if factor is None or row is None or not _has_recovered(services, row):
        return None
    with services.reading() as connection:
        user = passwords.find_credential_of(connection, row.user_id)
        seed = offers.waiting(connection, factor, _asked(row), services.clock.now())
    if user is None:
        return None
    if seed is None:
        with services.unit() as unit:
            passwords.lock_credential(unit.connection, row.user_id)
            seed = offers.make(unit.connection, factor, _asked(row), unit.now)
    return seeds.offer_of(services, factor, seed, user.username)


def _has_recovered(services: Services, row: SessionRow) -> bool:
    return any(proof.kind == RECOVERY for proof in services.sessions.store.proofs_of(row))


def _asked(row: SessionRow) -> Asked:
    return Asked(row.public_id, REPLACE_TOTP, row.user_id)


def replace_factor(services: Services, pending: str, code: str, attempt: Attempt) -> Issued | Refused:
    """Enrol the seed that waits in a pending login in place of the lost one, and open the session; others end.

    Args:
        services: the app's services.
        pending: secret of the pending login, in which a recovery code was shown.
        code: of the new seed, as typed.
        attempt: what comes along.
    """
    factor, row = seeds.totp_of(services), _find(services, pending)
    if factor is None or row is None:
        return refused(Refusal.GONE)
    charge = services.throttle.spend(throttle.STEP_UP, attempt.source.address, services.clock.now())
    if charge.wait:
        return refused(Refusal.THROTTLED, wait=charge.wait)
    with services.unit() as unit:
        held = _lock(services, unit, pending, row.user_id, attempt)
        if held is None or not _has_recovered(services, held.row):
            return refused(Refusal.GONE)
        confirmed = offers.confirm(unit.connection, factor, _asked(held.row), code, unit.now)
        if isinstance(confirmed, Unconfirmed):
            return seeds.unconfirmed(confirmed)
        factor.enrol(unit.connection, held.row.user_id, confirmed.seed, confirmed.step, unit.now)
        epoch, ended = revoke.everything_of(services, unit, held.row.user_id, but=held.row.public_id)
        detail: dict[str, object] = {"method": factor.method, "replaced": True, "sessions_ended": list(ended)}
        actor = opening.actor_of(held.user)
        unit.record(Event("factor.enrolled", actor, held.user.user_id, attempt.source, detail=detail))
        proof = Proof(factor.method, unit.now, factor.kind)
        return _grant(services, unit, _Pending(held.row, replace(held.user, epoch=epoch)), proof, charge, attempt)
