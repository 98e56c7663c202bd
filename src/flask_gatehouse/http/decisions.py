"""Ask the policy about the present request, and turn a refusal into an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from flask import abort, current_app, request

from flask_gatehouse.domain import throttle
from flask_gatehouse.domain.audit import Event
from flask_gatehouse.domain.factors import outstanding
from flask_gatehouse.domain.policy import Decision, Reason, Requirement, decide
from flask_gatehouse.kernel.identity import Actor

from . import respond
from .context import here, services
from .origin import is_direct_loopback

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

    from .cookie import GuardedSession


def decision_on(requirement: Requirement) -> Decision:
    """Decide whether the present request meets a requirement."""
    held = services()
    return decide(here().identity, requirement, held.freshness, held.clock.now())


def enforce(requirement: Requirement) -> None:
    """Refuse unless the present request meets the requirement."""
    decision = decision_on(requirement)
    if not decision:
        refuse(decision)


def refuse(decision: Decision) -> NoReturn:
    """Answer a refused decision and end the request."""
    abort(current_app.make_response(answer(decision)))


def answer(decision: Decision) -> ResponseReturnValue:
    """Return the answer to a refused decision; Flask-Login's handlers and signals fire (rule 15).

    A handler that answers nothing leaves the answer to our own page: a refusal always has one.

    Raises:
        Forbidden: a role or permission is missing, so that the host's own handler can win.
    """
    manager = current_app.login_manager  # type: ignore[attr-defined]
    if decision.reason is Reason.GUEST:
        given = manager.unauthorized()
        return respond.guest() if given is None else given  # to Flask, None from the gate would mean "go on"
    if decision.reason in {Reason.STALE, Reason.STEP_UP} and not _lacks_factor(decision):
        given = manager.needs_refresh()
        return respond.stale() if given is None else given
    if decision.reason in {Reason.STEP_UP, Reason.ENROL}:
        identity = here().identity
        return respond.alarmed() if identity and identity.withheld.is_alarmed else respond.enrol()
    _record_denial(decision)
    explain = bool(current_app.debug) and is_direct_loopback(request.environ)
    return respond.forbidden(decision, explain=explain)


def _lacks_factor(decision: Decision) -> bool:
    """Tell whether a second factor is demanded that the user has not enrolled."""
    if decision.reason is not Reason.STEP_UP:
        return False
    identity, held = here().identity, services()
    if identity is None:
        return True
    with held.reading() as connection:
        return not outstanding(connection, held.factors, identity.user_id)


def _record_denial(decision: Decision) -> None:
    """Record a refusal of an authenticated user (ASVS V16.3.2)."""
    state = here()
    detail: dict[str, object] = {"path": shown_path(), "method": request.method[:16], "missing": decision.missing}
    record_refusal(state, "access.denied", detail)


def shown_path() -> str:
    """Return the present path as the audit log may hold it.

    Of our own pages the rule, where a value in it is text: it may be a live one-time link. A number is no secret.
    """
    rule = request.url_rule
    if rule is not None and rule.endpoint.startswith("gatehouse."):
        values = (request.view_args or {}).values()
        if not all(isinstance(value, int) for value in values):
            return rule.rule
    return request.path[:200]


def record_refusal(state: GuardedSession, kind: str, detail: dict[str, object]) -> None:
    """Record a refusal of an authenticated user; of a flood only its beginning, and that more follow.

    Raises:
        DatabaseUnavailableError: it was not recorded, so the request must not be answered as if it were.
    """
    identity, held = state.identity, state.wired.services
    if identity is None:
        return
    seen = held.throttle.count_denial(identity.user_id, held.clock.now())
    if seen > throttle.DENIAL.per_target + 1:
        return
    if seen > throttle.DENIAL.per_target:
        detail = {"more": "further refusals of this user are not recorded until the window ends"}
    event = Event(
        kind,
        Actor.of(identity),
        identity.user_id,
        state.source,
        identity.session_id,
        outcome="refused",
        detail=detail,
    )
    with held.unit() as unit:
        unit.record(event)
