"""How a login that is allowed becomes a session, or the short pending one. Called by the flows that log in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flask_gatehouse.domain import devices
from flask_gatehouse.domain.audit import Event
from flask_gatehouse.domain.sessions import PENDING_MICROS
from flask_gatehouse.kernel.identity import Actor, Identity, Proof, Source

from . import notices
from .outcomes import FactorDue

if TYPE_CHECKING:
    from flask_gatehouse.domain.devices import Device
    from flask_gatehouse.domain.passwords import Credential
    from flask_gatehouse.domain.sessions import Issued
    from flask_gatehouse.kernel.clock import Instant
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
    if not (attempt.device and devices.find(unit.connection, attempt.device, credential.user_id)):
        unit.post(notices.unfinished(credential.user_id, attempt.source, pending.public_id, PENDING_MICROS))
    unit.record(Event("login.factor_due", actor_of(credential), credential.user_id, attempt.source))
    return FactorDue(pending, tuple(sorted({factor.field for factor in due})))


def open_session(
    services: Services,
    unit: Unit,
    credential: Credential,
    proofs: tuple[Proof, ...],
    attempt: Attempt,
    wrong: int = 0,
) -> Issued:
    """Open a session in this browser, in place of the one it held; `wrong` as in `welcome`."""
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
    return welcome(unit, credential, issued, proofs, attempt, wrong)


def welcome(
    unit: Unit, credential: Credential, issued: Issued, proofs: tuple[Proof, ...], attempt: Attempt, wrong: int
) -> Issued:
    """Know the browser from now on (rule 5), record the login, and tell the user where it is no everyday one.

    Args:
        unit: the transaction.
        credential: who has logged in.
        issued: the session.
        proofs: what was shown.
        attempt: what came along.
        wrong: logins in a row that failed before, in this browser where it is known; 0: not so many that one waits.
    """
    found = notices.Circumstances(wrong)
    if attempt.spare:
        cookie, known = devices.welcome(unit.connection, attempt.device, attempt.spare, issued.user_id, unit.now)
        issued = replace(issued, device=cookie)
        found = notices.Circumstances(wrong, known is None, _last_login(unit, issued.user_id, known))
    letter = notices.of_login(issued.user_id, attempt.source, unit.now, found)
    if letter is not None:
        unit.post(letter)
    _record_success(unit, credential, issued, proofs, attempt.source, letter.template if letter else "")
    return issued


def _last_login(unit: Unit, user_id: int, browser: Device | None) -> Instant | None:
    """Return when the user had logged in last, this time aside; others are asked where this browser rested long."""
    if browser is None or unit.now - browser.seen_at < notices.DORMANT_MICROS:
        return None if browser is None else browser.seen_at
    others = (one.seen_at for one in devices.of_user(unit.connection, user_id) if one.id != browser.id)
    return max((browser.seen_at, *others))


def end_previous(services: Services, unit: Unit, attempt: Attempt) -> None:
    """End the session that this browser held: by its public id, which outlives a new secret."""
    before = attempt.previous
    if before is None or not services.sessions.store.drop_one(unit.connection, before.user_id, before.session_id):
        return
    detail: dict[str, object] = {"sessions": [before.session_id], "why": "replaced by a login"}
    unit.record(Event("session.ended", Actor.of(before), before.user_id, attempt.source, detail=detail))


def _record_success(
    unit: Unit, credential: Credential, issued: Issued, proofs: tuple[Proof, ...], source: Source, told: str
) -> None:
    """Record a login with what was told of it, and the sessions that made place for it."""
    actor = actor_of(credential)
    if issued.ended:
        detail: dict[str, object] = {"sessions": list(issued.ended), "why": "more than the cap"}
        unit.record(Event("session.ended", actor, credential.user_id, source, detail=detail))
    how: dict[str, object] = {"methods": [proof.method for proof in proofs]} | ({"told": told} if told else {})
    unit.record(Event("login.succeeded", actor, credential.user_id, source, issued.public_id, detail=how))
