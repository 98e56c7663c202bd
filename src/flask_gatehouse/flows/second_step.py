"""The second step of a login: answer with a factor, or replace a lost one by a recovery code (rule 32)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flask_gatehouse.domain import devices, mail, passwords, throttle
from flask_gatehouse.domain.audit import Event
from flask_gatehouse.domain.factors import RECOVERY, offers, passkey_challenges, passkey_rows
from flask_gatehouse.domain.factors.challenges import Asked
from flask_gatehouse.domain.factors.offers import Unconfirmed
from flask_gatehouse.domain.factors.passkey_challenges import Bound
from flask_gatehouse.domain.factors.passkey_rows import Doubt
from flask_gatehouse.kernel.identity import GUEST, Proof

from . import ceremonies, opening, revoke, seeds
from .notices import UNFINISHED, notice
from .outcomes import FactorLost, Refusal, Refused, refused
from .seeds import Offer

if TYPE_CHECKING:
    from flask_gatehouse.domain.devices import Device
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


@dataclass(frozen=True, slots=True)
class Choices:
    """What a pending login may be answered with.

    Attributes:
        fields: form fields.
        passkey: what the browser is to ask the user's passkeys, as JSON; `""` where they have none.
    """

    fields: frozenset[str] = frozenset()
    passkey: str = ""


def choices(services: Services, pending: str) -> Choices:
    """Return what a pending login may be answered with; nothing where it has ended."""
    row = _find(services, pending)
    if row is None:
        return Choices()
    with services.reading() as connection:
        fields = seeds.fields_of(services, connection, row.user_id)
    return Choices(fields, ceremonies.ask(services, _bound(row)))


def _bound(row: SessionRow) -> Bound:
    return Bound(passkey_challenges.FACTOR, row.public_id, row.user_id)


def answer(services: Services, pending: str, field: str, value: str, attempt: Attempt) -> Issued | FactorLost | Refused:
    """Answer the second factor of a pending login; burn the answer, then grant.

    Args:
        services: the app's services.
        pending: secret of the pending login.
        field: `code`, `recovery_code` or `passkey`.
        value: the answer as typed, or as a passkey gave it.
        attempt: what comes along.

    Returns:
        The session; after a recovery code the pending login, which can replace the lost factor and nothing else.
    """
    row = _find(services, pending)
    factor = None if row is None else seeds.answering(services, field, row.user_id)
    if row is None or factor is None:
        return refused(Refusal.GONE)
    if factor.method == seeds.PASSKEY:
        return _answer_by_passkey(services, pending, row, value, attempt)
    browser = _known_browser(services, row.user_id, attempt)
    charge = _charge(services, row.user_id, factor.method, browser, attempt)
    if charge.wait:
        return refused(Refusal.THROTTLED, wait=charge.wait)
    with services.unit() as unit:
        held = _lock(services, unit, pending, row.user_id, attempt)
        if held is None:
            return refused(Refusal.GONE)
        proof = None if charge.is_disabled else factor.verify(unit.connection, held.row.user_id, value, unit.now)
        if proof is None:
            return _wrong(services, unit, held, charge, browser, attempt.source)
        if proof.kind == RECOVERY:
            return _recover(services, unit, held, proof, charge, attempt.source)
        return _grant(services, unit, held, (proof,), charge, attempt)


def _answer_by_passkey(
    services: Services, pending: str, row: SessionRow, text: str, attempt: Attempt
) -> Issued | Refused:
    """Answer by a passkey; nobody guesses a signature, so that no count of wrong ones is kept."""
    charge = _charge(services, row.user_id, "", _known_browser(services, row.user_id, attempt), attempt)
    if charge.wait:
        return refused(Refusal.THROTTLED, wait=charge.wait)
    shown = ceremonies.check(services, _bound(row), text)
    with services.unit() as unit:
        held = _lock(services, unit, pending, row.user_id, attempt)
        if held is None:
            return refused(Refusal.GONE)
        proofs = shown if isinstance(shown, Doubt) else ceremonies.take(unit, shown)
        if isinstance(proofs, Doubt):
            ceremonies.record_doubt(unit, Event("login.failed", GUEST, row.user_id, attempt.source), proofs)
            return refused(Refusal.CREDENTIALS)
        return _grant(services, unit, held, proofs, charge, attempt)


def _known_browser(services: Services, user_id: int, attempt: Attempt) -> Device | None:
    if not attempt.device:
        return None
    with services.reading() as connection:
        return devices.find(connection, attempt.device, user_id)


def _charge(services: Services, user_id: int, method: str, browser: Device | None, attempt: Attempt) -> Charge:
    """Charge a stranger to address and authenticator, a known browser to itself alone, as at the password (rule 4).

    Without a method no authenticator is charged: the seed that a code confirms counts by itself.
    """
    counters, address, now = services.throttle, attempt.source.address, services.clock.now()
    if browser is None:
        key = counters.factor_key(method, user_id) if method else ""
        return counters.spend(throttle.STEP_UP, address, now, account_key=key)
    key = f"{counters.device_key(browser.id)}:{method}" if method else ""
    return counters.spend(throttle.KNOWN_LOGIN, address, now, account_key=key, target=devices.target(attempt.device))


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


def _wrong(
    services: Services, unit: Unit, held: _Pending, charge: Charge, browser: Device | None, source: Source
) -> Refused:
    """Record a wrong answer; the fifth in a row ends the pending login (ASVS V6.6.2)."""
    unit.record(Event("login.failed", GUEST, held.row.user_id, source, outcome="refused"))
    if browser is not None and charge.lockout and charge.lockout.total >= throttle.WRONG_BEFORE_DEMOTED:
        devices.forget(unit.connection, browser.id)
    if charge.would_delay:
        _withdraw_unfinished(unit, held.row)
        unit.post(notice("factor_failed", held.row.user_id, source))
        services.sessions.store.drop_one(unit.connection, held.row.user_id, held.row.public_id)
    return refused(Refusal.CREDENTIALS)


def _grant(
    services: Services, unit: Unit, held: _Pending, shown: tuple[Proof, ...], charge: Charge, attempt: Attempt
) -> Issued | Refused:
    row = held.row
    proofs = (*_factors_shown(services, row), *shown)
    issued = services.sessions.rotate(
        unit.connection, row, unit.now, proofs=proofs, epoch=held.user.epoch, data=attempt.data
    )
    if issued is None:
        return refused(Refusal.GONE)
    opening.end_previous(services, unit, attempt)
    _withdraw_unfinished(unit, row)
    known = devices.find(unit.connection, attempt.device, row.user_id) if attempt.device else None
    lockout = services.throttle.lockout_of(unit.connection, row.user_id, known.id if known else None)
    welcomed = opening.welcome(unit, held.user, issued, proofs, attempt, lockout.wrong_before)
    _settle_both_steps(services, unit, row, charge, is_known=known is not None)
    return welcomed


def _withdraw_unfinished(unit: Unit, row: SessionRow) -> None:
    """Take back the mail that would say how far this login got: it got further, or another mail says so."""
    mail.withdraw(unit.connection, row.user_id, UNFINISHED, session=row.public_id)


def _factors_shown(services: Services, row: SessionRow) -> tuple[Proof, ...]:
    return tuple(proof for proof in services.sessions.store.proofs_of(row) if proof.kind != RECOVERY)


def _settle_both_steps(services: Services, unit: Unit, row: SessionRow, charge: Charge, *, is_known: bool) -> None:
    services.throttle.settle(unit.connection, charge, unit.now)
    if not is_known:  # a known browser was charged to itself; another where it typed the password
        earlier = services.throttle.earlier_login(row.user_id, row.address)
        services.throttle.settle(unit.connection, earlier, unit.now)
    services.throttle.pardon(unit.connection, row.user_id, unit.now)


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
    _withdraw_unfinished(unit, held.row)
    unit.post(notice("recovery_code_used", held.user.user_id, source))
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
    charge = _charge(services, row.user_id, "", _known_browser(services, row.user_id, attempt), attempt)
    if charge.wait:
        return refused(Refusal.THROTTLED, wait=charge.wait)
    with services.unit() as unit:
        held = _lock(services, unit, pending, row.user_id, attempt)
        if held is None or not _has_recovered(services, held.row):
            return refused(Refusal.GONE)
        confirmed = offers.confirm(unit.connection, factor, _asked(held.row), code, unit.now)
        if isinstance(confirmed, Unconfirmed):
            return seeds.unconfirmed(confirmed)
        if not factor.enrolled(unit.connection, held.row.user_id):  # then it is the passkeys that are lost
            passkey_rows.forget_all(unit.connection, held.row.user_id)
        factor.enrol(unit.connection, held.row.user_id, confirmed.seed, confirmed.step, unit.now)
        services.throttle.begin_anew(unit.connection, factor.method, held.row.user_id)
        epoch, ended = revoke.everything_of(services, unit, held.row.user_id, but=held.row.public_id)
        detail: dict[str, object] = {"method": factor.method, "replaced": True, "sessions_ended": list(ended)}
        actor = opening.actor_of(held.user)
        unit.post(notice("factor_enrolled", held.user.user_id, attempt.source))
        unit.record(Event("factor.enrolled", actor, held.user.user_id, attempt.source, detail=detail))
        proof = Proof(factor.method, unit.now, factor.kind)
        return _grant(services, unit, _Pending(held.row, replace(held.user, epoch=epoch)), (proof,), charge, attempt)


def replace_codes(services: Services, issued: Issued, source: Source) -> tuple[str, ...]:
    """Make a recovery code in place of each used one, once the lost factor is replaced (NIST SP 800-63B 4.2.1.1).

    The mail that a code was used has told the owner.

    Args:
        services: the app's services.
        issued: the session that the new factor has opened.
        source: where the request comes from.

    Returns:
        The new codes, which are shown once; nothing where the feature is off or the session has ended meanwhile.
    """
    codes = seeds.codes_of(services)
    if codes is None:
        return ()
    with services.unit() as unit:
        user = passwords.lock_credential(unit.connection, issued.user_id)
        row = services.sessions.store.find_public(unit.connection, issued.public_id)
        if user is None or not user.is_active or row is None or row.epoch != user.epoch:
            return ()
        made = codes.replace_used(unit.connection, issued.user_id, unit.now)
        if made:
            detail: dict[str, object] = {"number": len(made), "replaced": True}
            unit.record(
                Event(
                    "recovery_codes.made",
                    opening.actor_of(user),
                    issued.user_id,
                    source,
                    issued.public_id,
                    detail=detail,
                )
            )
        return tuple(made)
