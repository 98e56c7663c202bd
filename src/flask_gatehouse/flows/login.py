"""Log in and out. Charge, hash, decide: in this order, and what was hashed is read again under lock."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask_gatehouse.domain import devices, passwords, throttle, tokens, users
from flask_gatehouse.domain.audit import Event
from flask_gatehouse.domain.factors import outstanding
from flask_gatehouse.kernel.clock import as_text
from flask_gatehouse.kernel.errors import DatabaseUnavailableError, HashingBusyError
from flask_gatehouse.kernel.identity import APP, GUEST, KNOWS, SYSTEM, Actor, Identity, Proof, Source

from . import failures, opening
from .notices import notice
from .opening import Attempt as Attempt  # noqa: PLC0414 - part of this door
from .outcomes import BUSY_WAIT_MICROS, FactorDue, MustReplace, Refusal, Refused, refused

if TYPE_CHECKING:
    from flask_gatehouse.domain.devices import Device
    from flask_gatehouse.domain.passwords import Credential, Hashing, Verdict
    from flask_gatehouse.domain.sessions import Issued
    from flask_gatehouse.domain.throttle import Charge, Window
    from flask_gatehouse.kernel.clock import Instant

    from .services import Services, Unit

log = logging.getLogger("flask_gatehouse.login")


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
    judged = _judge(services, _look_up(services, name, attempt.device), attempt, password)
    if isinstance(judged, Refused):
        return judged
    if isinstance(judged, throttle.Charge):
        outcome: Issued | FactorDue | MustReplace | Refused = _throttled(services, judged, attempt.source)
        if judged.lockout is None:  # turned away without a new window
            return outcome
    else:
        with services.unit() as unit:
            outcome = _decide(services, unit, judged, attempt)
    tell_counted(services)
    return outcome


@dataclass(frozen=True, slots=True, repr=False)
class _Found:
    """Whom a name belongs to, the browser if it is known for them, and the counter of either.

    Attributes:
        key: of the account counter.
        delayed_until: until when that counter refuses; 0: it does not.
        is_address: whether an e-mail address was typed, where one may be.
    """

    name: str
    credential: Credential | None
    device: Device | None
    key: str
    delayed_until: Instant
    is_address: bool


@dataclass(frozen=True, slots=True, repr=False)
class _Checked:
    """What charging and hashing found out."""

    found: _Found
    charge: Charge
    verdict: Verdict
    renewed: str | None


def _judge(services: Services, found: _Found, attempt: Attempt, password: str) -> _Checked | Charge | Refused:
    """Charge the attempt and hash; return the charge where it is to wait.

    Who is in a delay takes no place in the pool: else a flood at one account would keep others from theirs.
    """
    now = services.clock.now()
    charge = _charge(services, found, attempt, now) if found.delayed_until > now else None
    if charge is not None and charge.wait:
        return charge
    try:
        with services.hasher.place(is_inside=found.device is not None) as place:
            charge = charge or _charge(services, found, attempt, now)
            return charge if charge.wait else _check(services, place, found, charge, password)
    except HashingBusyError:
        if charge is not None:
            services.throttle.give_back(charge, now)
        return refused(Refusal.BUSY, wait=BUSY_WAIT_MICROS)


def _look_up(services: Services, name: str, device: str) -> _Found:
    glance, counters = services.database.glance(), services.throttle
    credential = passwords.find_credential(glance, users.login_key(name, services.settings.login_name))
    user_id = credential.user_id if credential else None
    known = devices.find(glance, device, user_id) if device else None
    is_address = users.is_address(name, services.settings.login_name)
    own = counters.mail_key(user_id, name) if is_address else counters.account_key(user_id, name)
    key = counters.device_key(known.id) if known else own
    return _Found(name, credential, known, key, counters.delayed_until(glance, key), is_address)


def _charge(services: Services, found: _Found, attempt: Attempt, now: int) -> Charge:
    """Charge a stranger to address and account, a known browser to itself alone (rules 3 and 4)."""
    counters, address = services.throttle, attempt.source.address
    if found.device is not None:
        target = devices.target(attempt.device)
        return counters.spend(throttle.KNOWN_LOGIN, address, now, account_key=found.key, target=target)
    charge = counters.spend(throttle.LOGIN, address, now, account_key=found.key)
    if not found.is_address:
        return charge
    user_id = found.credential.user_id if found.credential else None
    return counters.count_beside(charge, user_id, found.name, now)


def _check(services: Services, place: Hashing, found: _Found, charge: Charge, password: str) -> _Checked:
    now, value = services.clock.now(), passwords.normalised(password)
    verdict = place.verify(_digest_to_check(found.credential, charge, now), value)
    renewed = place.hash(value) if verdict is passwords.Verdict.RIGHT_OUTDATED else None
    return _Checked(found, charge, verdict, renewed)


def _digest_to_check(credential: Credential | None, charge: Charge, now: int) -> str | None:
    """Return the digest, or None where only the dummy's work is done (rule 9)."""
    if credential is None or not credential.is_active or charge.is_disabled:
        return None
    if credential.temporary_until is not None and now >= credential.temporary_until:
        return None
    return credential.proving_digest


def _throttled(services: Services, charge: Charge, source: Source) -> Refused:
    event = Event("login.throttled", GUEST, source=source, outcome="refused")
    failures.record_throttled(services, charge, f"@{source.address}", event)
    return refused(Refusal.THROTTLED, wait=charge.wait)


def tell_counted(services: Services) -> None:
    """Record what windows that have ended counted beside their first failure, in a transaction of its own (rule 28)."""
    counters, now = services.throttle, services.clock.now()
    ended: dict[Window, int] = {}
    try:
        ended = counters.put_down(now)
        if not ended and not counters.has_ended(services.database.glance(), now):
            return
        with services.unit() as unit:
            for told in counters.close_windows(unit.connection, unit.now, ended):
                unit.record(_counted(told))
    except DatabaseUnavailableError:
        counters.take_back(ended)
        log.warning("what was counted is not recorded yet: the database is busy")
    except BaseException:
        counters.take_back(ended)
        raise


def _counted(told: throttle.Counted) -> Event:
    detail: dict[str, object] = {"kind": told.kind, "number": told.number, "until": as_text(told.ends_at)}
    detail |= {"name_digest": told.name_digest} if told.name_digest else {}
    return Event("failures.counted", SYSTEM, told.user_id, Source(told.address), outcome="refused", detail=detail)


def _decide(
    services: Services, unit: Unit, checked: _Checked, attempt: Attempt
) -> Issued | FactorDue | MustReplace | Refused:
    before = checked.found.credential
    if before is None or not checked.verdict:
        return _failed(services, unit, checked, attempt.source)
    now_stored = passwords.lock_credential(
        unit.connection, before.user_id, attempt.previous.user_id if attempt.previous else None
    )
    if now_stored != before or not before.is_active:
        return _failed(services, unit, checked, attempt.source)
    if before.temporary_until is not None:
        return _replace_temporary(services, unit, before, checked.charge, attempt.source)
    if checked.renewed is not None and before.digest is not None:
        passwords.replace_digest(unit.connection, before.user_id, before.digest, checked.renewed)
        unit.record(Event("password.rehashed", opening.actor_of(before), before.user_id, attempt.source))
    proof = Proof("password", unit.now, KNOWS)
    due = outstanding(unit.connection, services.factors, before.user_id)
    if due:
        services.throttle.judge(unit.connection, checked.charge, unit.now)
        return opening.pend(services, unit, before, due, proof, attempt)
    wrong = checked.charge.lockout.wrong_before if checked.charge.lockout else 0
    issued = opening.open_session(services, unit, before, (proof,), attempt, wrong)
    services.throttle.settle(unit.connection, checked.charge, unit.now)
    if checked.found.device is not None or checked.found.is_address:
        services.throttle.pardon(unit.connection, before.user_id, unit.now)
    return issued


def _failed(services: Services, unit: Unit, checked: _Checked, source: Source) -> Refused:
    found, charge = checked.found, checked.charge
    user_id = found.credential.user_id if found.credential else None
    detail = {} if found.credential else {"name_digest": services.throttle.name_digest(found.name)}
    if found.device is not None and charge.lockout and charge.lockout.total >= throttle.WRONG_BEFORE_DEMOTED:
        devices.forget(unit.connection, found.device.id)
    services.throttle.judge(unit.connection, charge, unit.now)
    # by name and by address apart, as an unknown name and an unknown address are: else the work tells whose both are
    key_of = services.throttle.mail_key if found.is_address else services.throttle.account_key
    who = key_of(user_id, found.name)
    event = Event("login.failed", GUEST, user_id, source, outcome="refused", detail=detail)
    noted = failures.record(services, unit, who, event)
    if charge.would_delay and noted in {throttle.Noted.FIRST, throttle.Noted.REPEATED}:
        unit.record(Event("login.delayed", GUEST, user_id, source, outcome="refused", detail=detail))
    if charge.lockout is not None and charge.lockout.is_told:
        unit.post(notice("locked_out", user_id, source))  # for an unknown name it is the same statement, and no mail
    return refused(Refusal.CREDENTIALS)


def _replace_temporary(
    services: Services, unit: Unit, credential: Credential, charge: Charge, source: Source
) -> MustReplace:
    """Use the temporary password up: it opens no session, only the page that replaces it (ASVS V6.4.1)."""
    passwords.forget(unit.connection, credential.user_id)
    services.throttle.settle(unit.connection, charge, unit.now)
    secret = tokens.issue_link(
        unit.connection,
        tokens.Terms(tokens.RESET_PASSWORD, credential.user_id, credential.epoch),
        now=unit.now,
        ends_at=unit.now + tokens.life_of(services.settings.profile),
    )
    unit.record(Event("login.temporary", opening.actor_of(credential), credential.user_id, source))
    return MustReplace(secret)


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
            unit.connection, user_id, attempt.previous.user_id if attempt.previous else None
        )
        if credential is None or not credential.is_active:
            unit.record(Event("login.failed", APP, user_id, attempt.source, outcome="refused"))
            return refused(Refusal.CREDENTIALS)
        proof = Proof("app", unit.now, KNOWS) if is_fresh else None
        due = outstanding(unit.connection, services.factors, user_id)
        if due:
            return opening.pend(services, unit, credential, due, proof, attempt)
        return opening.open_session(services, unit, credential, (proof,) if proof else (), attempt)


def end(services: Services, identity: Identity, source: Source) -> bool:
    """Log out: delete the session, whatever its secret is by now. False when it was gone already."""
    with services.unit() as unit:
        has_ended = services.sessions.store.drop_one(unit.connection, identity.user_id, identity.session_id)
        if has_ended:
            actor = Actor.of(identity)
            unit.record(Event("logout", actor, identity.user_id, source, identity.session_id))
        return has_ended
