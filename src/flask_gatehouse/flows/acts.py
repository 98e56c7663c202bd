"""Who acts, why and from where, and what every such act is checked for. Shared by the flows that act."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flask_gatehouse.domain import users
from flask_gatehouse.domain.audit import Event
from flask_gatehouse.domain.roles import Rights
from flask_gatehouse.kernel.errors import InvalidReason
from flask_gatehouse.kernel.identity import Actor, Identity, Source
from flask_gatehouse.kernel.text import has_control

from .outcomes import Refused, refused_field

if TYPE_CHECKING:
    from flask_gatehouse.domain.users import UserRecord

    from .services import Services, Unit

REASON_MAX = 500


@dataclass(frozen=True, slots=True)
class Act:
    """Who acts, why, and from where.

    Attributes:
        actor: named in the audit log.
        identity: the acting user; None for the command line, which may do everything.
        reason: required for what takes something away.
        source: where the request comes from.
    """

    actor: Actor
    identity: Identity | None
    reason: str = ""
    source: Source = Source()


def find_inside(services: Services, unit: Unit, identity: Identity) -> UserRecord | None:
    """Return who acts on their own account, locked, as long as their session stands; None: it has ended meanwhile.

    Args:
        services: the app's services.
        unit: the flow's transaction.
        identity: who holds the session.
    """
    stored = users.find(unit.connection, identity.user_id, lock=True)
    session = services.sessions.store.find_public(unit.connection, identity.session_id)
    if stored is None or not stored.is_active or session is None or session.epoch != stored.epoch:
        return None
    return stored


def require_reason(reason: str, *, is_required: bool) -> str:
    """Return the reason if it can be recorded.

    Raises:
        InvalidReason: it is missing, too long, or holds control characters.
    """
    if has_control(reason):
        msg = "A reason is one line of text, without control characters."
        raise InvalidReason(msg)
    if len(reason) > REASON_MAX:
        msg = f"A reason has at most {REASON_MAX} characters."
        raise InvalidReason(msg)
    if is_required and not reason.strip():
        msg = "Give a reason: it is recorded in the audit log."
        raise InvalidReason(msg)
    return reason.strip()


def reasoned(act: Act, *, is_required: bool) -> Act | Refused:
    """Return the act with its reason as it is recorded."""
    try:
        return replace(act, reason=require_reason(act.reason, is_required=is_required))
    except InvalidReason as error:
        return refused_field(error)


def is_still_in(services: Services, unit: Unit, act: Act) -> bool:
    """Tell whether the actor's session stands, for a request that passed the gate before it was ended."""
    if act.identity is None:
        return True
    actor = users.find(unit.connection, act.identity.user_id)
    session = services.sessions.store.find_public(unit.connection, act.identity.session_id)
    return actor is not None and actor.is_active and session is not None and session.epoch == actor.epoch


def rights_of(services: Services, unit: Unit, act: Act) -> Rights:
    """Return what the actor may do now; the command line may do everything.

    What is withheld in the actor's session is nothing that they could hand on.
    """
    if act.identity is None:
        return Rights(is_admin=True, permissions=frozenset())
    return services.roles.rights_of(unit.connection, act.identity.user_id, unit.now).without(act.identity.withheld)


def record(unit: Unit, act: Act, kind: str, user_id: int | None, **detail: object) -> None:
    """Record what was done, with its reason."""
    if act.reason:
        detail["reason"] = act.reason
    unit.record(Event(kind, act.actor, user_id, act.source, detail=detail))
