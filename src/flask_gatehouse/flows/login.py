"""Log in and out. Charge, hash, decide: in this order, and what was hashed is read again under lock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask_gatehouse.domain import passwords, throttle, tokens, users
from flask_gatehouse.domain.audit import Event
from flask_gatehouse.kernel.errors import HashingBusyError
from flask_gatehouse.kernel.identity import APP, GUEST, KNOWS, Actor, Identity, Proof, Source

from .outcomes import BUSY_WAIT_MICROS, FactorDue, MustReplace, Refusal, Refused, refused

if TYPE_CHECKING:
    from flask_gatehouse.domain.passwords import Credential, Verdict
    from flask_gatehouse.domain.sessions import Issued
    from flask_gatehouse.domain.throttle import Charge
    from flask_gatehouse.kernel.feature import Factor

    from .services import Services, Unit

LINK_MICROS = 30 * 60 * 1_000_000


@dataclass(frozen=True, slots=True, repr=False)
class Attempt:
    """What a login brings along.

    Attributes:
        source: where it comes from.
        data: session keys of the guest to carry over, as JSON text.
        previous: secret of the session this browser held before; it ends.
        is_remembered: whether "remember me" was asked for.
    """

    source: Source
    data: str = ""
    previous: str = ""
    is_remembered: bool = False


def begin(services: Services, name: str, password: str, attempt: Attempt) -> Issued | FactorDue | MustReplace | Refused:
    """Check name and password and open a session, or the short pending one when a factor is due.

    Args:
        services: the app's services.
        name: the login name as typed.
        password: the password as typed.
        attempt: what comes along.

    Returns:
        The session; what is still due; or a refusal that says nothing about who has an account (rule 9).

    Raises:
        DatabaseUnavailableError: nothing was opened.
    """
    now = services.clock.now()
    with services.reading() as connection:
        credential = passwords.find_credential(connection, users.name_key(name))
    key = services.throttle.account_key(credential.user_id if credential else None, name)
    charge = services.throttle.spend(throttle.LOGIN, attempt.source.address, now, account_key=key)
    if charge.wait:
        return _throttled(services, charge, attempt.source)
    value = passwords.normalised(password)
    try:
        verdict = services.hasher.verify(_digest_to_check(credential, charge, now), value)
        renewed = services.hasher.hash(value) if verdict is passwords.Verdict.RIGHT_OUTDATED else None
    except HashingBusyError:
        services.throttle.give_back(charge)
        return refused(Refusal.BUSY, wait=BUSY_WAIT_MICROS)
    with services.unit() as unit:
        return _decide(services, unit, _Checked(name, credential, charge, verdict, renewed), attempt)


@dataclass(frozen=True, slots=True, repr=False)
class _Checked:
    """What charging and hashing found out."""

    name: str
    credential: Credential | None
    charge: Charge
    verdict: Verdict
    renewed: str | None


def _digest_to_check(credential: Credential | None, charge: Charge, now: int) -> str | None:
    """Return the digest, or None where only the dummy's work is done (rule 9)."""
    if credential is None or not credential.is_active or charge.is_disabled:
        return None
    if credential.temporary_until is not None and now >= credential.temporary_until:
        return None
    return credential.digest


def _throttled(services: Services, charge: Charge, source: Source) -> Refused:
    if charge.is_first_refusal:
        with services.unit() as unit:
            unit.record(Event("login.throttled", GUEST, source=source, outcome="refused"))
    return refused(Refusal.THROTTLED, wait=charge.wait)


def _decide(
    services: Services, unit: Unit, checked: _Checked, attempt: Attempt
) -> Issued | FactorDue | MustReplace | Refused:
    before = checked.credential
    if before is None or not checked.verdict:
        return _failed(services, unit, checked, attempt.source)
    now_stored = passwords.lock_credential(
        unit.connection, before.user_id, services.sessions.owner(unit.connection, attempt.previous)
    )
    if now_stored != before:
        return _failed(services, unit, checked, attempt.source)
    if before.temporary_until is not None:
        return _replace_temporary(services, unit, before, checked.charge, attempt.source)
    if checked.renewed is not None and before.digest is not None:
        passwords.replace_digest(unit.connection, before.user_id, before.digest, checked.renewed)
        unit.record(Event("password.rehashed", _actor(before), before.user_id, attempt.source))
    proof = Proof("password", unit.now, KNOWS)
    due = _enrolled(services, unit, before.user_id)
    if due:
        return _pend(services, unit, before, due, proof, attempt)
    services.throttle.settle(unit.connection, checked.charge, unit.now)
    return _open(services, unit, before, (proof,), attempt)


def _actor(credential: Credential) -> Actor:
    return Actor(credential.user_id, credential.username)


def _failed(services: Services, unit: Unit, checked: _Checked, source: Source) -> Refused:
    found = checked.credential
    detail = {} if found else {"name_digest": services.throttle.name_digest(checked.name)}
    user_id = found.user_id if found else None
    unit.record(Event("login.failed", GUEST, user_id, source, outcome="refused", detail=detail))
    if checked.charge.has_delayed:
        unit.record(Event("login.delayed", GUEST, user_id, source, outcome="refused", detail=detail))
    return refused(Refusal.CREDENTIALS)


def _replace_temporary(
    services: Services, unit: Unit, credential: Credential, charge: Charge, source: Source
) -> MustReplace:
    """Use the temporary password up: it opens no session, only the page that replaces it (ASVS V6.4.1)."""
    passwords.forget(unit.connection, credential.user_id)
    services.throttle.settle(unit.connection, charge, unit.now)
    secret = tokens.issue_link(
        unit.connection,
        tokens.RESET_PASSWORD,
        credential.user_id,
        credential.epoch,
        now=unit.now,
        ends_at=unit.now + LINK_MICROS,
    )
    unit.record(Event("login.temporary", _actor(credential), credential.user_id, source))
    return MustReplace(secret)


def _enrolled(services: Services, unit: Unit, user_id: int) -> tuple[Factor, ...]:
    return tuple(factor for factor in services.factors if factor.enrolled(unit.connection, user_id))


def _pend(
    services: Services,
    unit: Unit,
    credential: Credential,
    due: tuple[Factor, ...],
    proof: Proof | None,
    attempt: Attempt,
) -> FactorDue:
    pending = services.sessions.issue(
        unit.connection,
        credential.user_id,
        credential.epoch,
        unit.now,
        source=attempt.source,
        proofs=(proof,) if proof else (),
        is_remembered=attempt.is_remembered,
        is_pending=True,
    )
    unit.record(Event("login.factor_due", _actor(credential), credential.user_id, attempt.source))
    return FactorDue(pending, tuple(sorted({factor.field for factor in due})))


def _open(
    services: Services, unit: Unit, credential: Credential, proofs: tuple[Proof, ...], attempt: Attempt
) -> Issued:
    if attempt.previous:
        services.sessions.end_by_secret(unit.connection, attempt.previous)
    issued = services.sessions.issue(
        unit.connection,
        credential.user_id,
        credential.epoch,
        unit.now,
        source=attempt.source,
        proofs=proofs,
        data=attempt.data,
        is_remembered=attempt.is_remembered,
    )
    _record_success(unit, credential, issued, proofs, attempt.source)
    return issued


def _record_success(
    unit: Unit, credential: Credential, issued: Issued, proofs: tuple[Proof, ...], source: Source
) -> None:
    actor = _actor(credential)
    if issued.ended:
        detail: dict[str, object] = {"sessions": list(issued.ended), "why": "more than the cap"}
        unit.record(Event("session.ended", actor, credential.user_id, source, detail=detail))
    methods = {"methods": [proof.method for proof in proofs]}
    unit.record(Event("login.succeeded", actor, credential.user_id, source, issued.public_id, detail=methods))


def answer(services: Services, pending: str, field: str, value: str, attempt: Attempt) -> Issued | Refused:
    """Answer the second factor of a pending login; burn the answer, then grant.

    Args:
        services: the app's services.
        pending: secret of the pending login.
        field: `code` or `recovery_code`.
        value: the answer as typed.
        attempt: what comes along.
    """
    now = services.clock.now()
    with services.reading() as connection:
        row = services.sessions.load_pending(connection, pending, now)
    factor = next((factor for factor in services.factors if factor.field == field), None)
    if row is None or factor is None:
        return refused(Refusal.GONE)
    key = services.throttle.factor_key(factor.method, row.user_id)
    charge = services.throttle.spend(throttle.STEP_UP, attempt.source.address, now, account_key=key)
    if charge.wait:
        return refused(Refusal.THROTTLED, wait=charge.wait)
    with services.unit() as unit:
        credential = passwords.lock_credential(
            unit.connection, row.user_id, services.sessions.owner(unit.connection, attempt.previous)
        )
        row = services.sessions.load_pending(unit.connection, pending, unit.now)
        if row is None or credential is None or not credential.is_active or credential.epoch != row.epoch:
            return refused(Refusal.GONE)
        proof = factor.verify(unit.connection, row.user_id, value, unit.now)
        if proof is None or charge.is_disabled:
            unit.record(Event("login.failed", GUEST, row.user_id, attempt.source, outcome="refused"))
            return refused(Refusal.CREDENTIALS)
        proofs = (*services.sessions.store.proofs_of(row), proof)
        issued = services.sessions.rotate(
            unit.connection, row, unit.now, proofs=proofs, epoch=credential.epoch, data=attempt.data
        )
        if issued is None:
            return refused(Refusal.GONE)
        if attempt.previous:
            services.sessions.end_by_secret(unit.connection, attempt.previous)
        services.throttle.settle(unit.connection, charge, unit.now)
        services.throttle.unlock(unit.connection, row.user_id, unit.now)
        _record_success(unit, credential, issued, proofs, attempt.source)
        return issued


def vouched(services: Services, user_id: int, attempt: Attempt, *, is_fresh: bool) -> Issued | FactorDue | Refused:
    """Open a session for a user whom the host app vouches for (`login_user`); never for a suspended one.

    Args:
        services: the app's services.
        user_id: who.
        attempt: what comes along.
        is_fresh: whether the host saw a proof just now.
    """
    with services.unit() as unit:
        credential = passwords.lock_credential(
            unit.connection, user_id, services.sessions.owner(unit.connection, attempt.previous)
        )
        if credential is None or not credential.is_active:
            unit.record(Event("login.failed", APP, user_id, attempt.source, outcome="refused"))
            return refused(Refusal.CREDENTIALS)
        proof = Proof("app", unit.now, KNOWS) if is_fresh else None
        due = _enrolled(services, unit, user_id)
        if due:
            return _pend(services, unit, credential, due, proof, attempt)
        return _open(services, unit, credential, (proof,) if proof else (), attempt)


def end(services: Services, identity: Identity, secret: str, source: Source) -> bool:
    """Log out: delete the session. False when it was gone already."""
    with services.unit() as unit:
        has_ended = services.sessions.end_by_secret(unit.connection, secret)
        if has_ended:
            actor = Actor.of(identity)
            unit.record(Event("logout", actor, identity.user_id, source, identity.session_id))
        return has_ended
