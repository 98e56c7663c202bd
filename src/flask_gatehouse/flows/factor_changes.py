"""What flows that change somebody's factors share: hold the acting session, end others, make codes, record it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask_gatehouse.domain import passwords
from flask_gatehouse.domain.audit import Event
from flask_gatehouse.domain.factors import outstanding
from flask_gatehouse.kernel.identity import AAL2, Actor, Identity, Source, assurance
from flask_gatehouse.kernel.keys import secret_digest

from . import seeds
from .notices import notice
from .outcomes import Refusal, Refused, refused

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from flask_gatehouse.domain.sessions import SessionRow

    from .services import Services, Unit

TOLD = {
    "factor.enrolled": "factor_enrolled",
    "factor.removed": "factor_removed",
    "recovery_codes.made": "recovery_codes_made",
}
"""Kind of event → the mail that tells of it."""
PROVE_BOTH = "Prove your second factor first: log in anew, or type a code where you are asked to."
PROVE_OTHER = "Prove your password again first: a factor is not removed on its own word."


@dataclass(frozen=True, slots=True)
class Held:
    """The acting session, locked, and the epoch of its user."""

    row: SessionRow
    epoch: int


def hold(services: Services, unit: Unit, identity: Identity, secret: str) -> Held | Refused:
    """Lock the user, then the acting session, and refuse where either has ended meanwhile or an alarm stands.

    Args:
        services: the app's services.
        unit: the flow's transaction.
        identity: who holds the session.
        secret: the session's present secret.
    """
    stored = passwords.lock_credential(unit.connection, identity.user_id)
    row = services.sessions.store.lock(unit.connection, secret_digest(secret))
    if stored is None or not stored.is_active or row is None:
        return refused(Refusal.GONE)
    if row.user_id != identity.user_id or row.epoch != stored.epoch:
        return refused(Refusal.GONE)
    if identity.withheld.is_alarmed:  # the password alone enrols nothing (rule 32)
        return refused(Refusal.ALARMED)
    return Held(row, stored.epoch)


def owes_proof_within(services: Services, connection: Connection, identity: Identity) -> bool:
    """Tell whether a factor is enrolled that this session has not shown: it adds no other (NIST SP 800-63B 4.1.2.1).

    For flows that hold a connection already; pages ask `owes_proof`.
    """
    if assurance(identity.proofs) >= AAL2:
        return False
    return bool(outstanding(connection, services.factors, identity.user_id))


def owes_proof(services: Services, identity: Identity) -> bool:
    """Tell whether a session has to show an enrolled factor before it may add another one or close the account."""
    with services.reading() as connection:
        return owes_proof_within(services, connection, identity)


def has_other_proof(services: Services, identity: Identity, methods: frozenset[str]) -> bool:
    """Tell whether something else than these methods was proven a short while ago."""
    others = [proof.at for proof in identity.proofs if proof.method not in methods]
    return max(others, default=0) > services.clock.now() - services.freshness.admins


def first_codes(services: Services, unit: Unit, identity: Identity, source: Source) -> tuple[str, ...]:
    """Make recovery codes where the feature is on and none are left; return them: they are shown once."""
    codes = seeds.codes_of(services)
    if codes is None or codes.enrolled(unit.connection, identity.user_id):
        return ()
    made = codes.renew(unit.connection, identity.user_id, unit.now)
    services.throttle.begin_anew(unit.connection, codes.method, identity.user_id)
    record(unit, "recovery_codes.made", identity, source, number=len(made))
    return tuple(made)


def forget_spare_codes(services: Services, unit: Unit, user_id: int) -> None:
    """Forget the recovery codes with the last factor: they stand in for one."""
    codes = seeds.codes_of(services)
    if codes is not None and not outstanding(unit.connection, services.factors, user_id):
        codes.forget(unit.connection, user_id)


def record(unit: Unit, kind: str, identity: Identity, source: Source, **detail: object) -> None:
    """Record what somebody did to their own factors, and tell them by mail what matters (ASVS 6.3.7)."""
    actor = Actor.of(identity)
    if kind in TOLD:
        unit.post(notice(TOLD[kind], identity.user_id, source))
    unit.record(Event(kind, actor, identity.user_id, source, identity.session_id, detail=detail))
