"""How a login that is allowed becomes a session, or the short pending one. Called by the flows that log in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flask_gatehouse.domain import devices
from flask_gatehouse.domain.audit import Event
from flask_gatehouse.domain.mail import Letter
from flask_gatehouse.kernel.identity import Actor, Identity, Proof, Source

from .outcomes import FactorDue

if TYPE_CHECKING:
    from flask_gatehouse.domain.passwords import Credential
    from flask_gatehouse.domain.sessions import Issued
    from flask_gatehouse.kernel.feature import Factor

    from .services import Services, Unit


@dataclass(frozen=True, slots=True, repr=False)
class Attempt:
    """What a login brings along.

    Attributes:
        source: where it comes from.
        data: session keys of the guest to carry over, as JSON text.
        previous: who was logged in in this browser before; that session ends.
        is_remembered: whether "remember me" was asked for.
        device: cookie that the browser shows, genuine; `""` where it shows none.
        spare: a new cookie, in case the browser is to have one; `""` where no browser is to be known.
    """

    source: Source
    data: str = ""
    previous: Identity | None = None
    is_remembered: bool = False
    device: str = ""
    spare: str = ""


def actor_of(credential: Credential) -> Actor:
    """Return whom the log names when this user acts."""
    return Actor(credential.user_id, credential.username)


def pend(
    services: Services,
    unit: Unit,
    credential: Credential,
    due: tuple[Factor, ...],
    proof: Proof | None,
    attempt: Attempt,
) -> FactorDue:
    """Open the short session that waits for a second factor; no scheme turns it into an identity (rule 14)."""
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
    unit.record(Event("login.factor_due", actor_of(credential), credential.user_id, attempt.source))
    return FactorDue(pending, tuple(sorted({factor.field for factor in due})))


def open_session(
    services: Services, unit: Unit, credential: Credential, proofs: tuple[Proof, ...], attempt: Attempt
) -> Issued:
    """Open a session in this browser, in place of the one it held."""
    end_previous(services, unit, attempt)
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
    record_success(unit, credential, issued, proofs, attempt.source)
    return welcome(unit, issued, attempt)


def welcome(unit: Unit, issued: Issued, attempt: Attempt) -> Issued:
    """Know the browser from now on (rule 5)."""
    if not attempt.spare:
        return issued
    cookie = devices.welcome(unit.connection, attempt.device, attempt.spare, issued.user_id, unit.now)
    if cookie == attempt.spare:
        unit.post(Letter("new_browser", issued.user_id, facts={"browser": attempt.source.agent}))
    return replace(issued, device=cookie)


def end_previous(services: Services, unit: Unit, attempt: Attempt) -> None:
    """End the session that this browser held: by its public id, which outlives a new secret."""
    before = attempt.previous
    if before is None or not services.sessions.store.drop_one(unit.connection, before.user_id, before.session_id):
        return
    detail: dict[str, object] = {"sessions": [before.session_id], "why": "replaced by a login"}
    unit.record(Event("session.ended", Actor.of(before), before.user_id, attempt.source, detail=detail))


def record_success(
    unit: Unit, credential: Credential, issued: Issued, proofs: tuple[Proof, ...], source: Source
) -> None:
    """Record a login, and the sessions that made place for it."""
    actor = actor_of(credential)
    if issued.ended:
        detail: dict[str, object] = {"sessions": list(issued.ended), "why": "more than the cap"}
        unit.record(Event("session.ended", actor, credential.user_id, source, detail=detail))
    methods = {"methods": [proof.method for proof in proofs]}
    unit.record(Event("login.succeeded", actor, credential.user_id, source, issued.public_id, detail=methods))
