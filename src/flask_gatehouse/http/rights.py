"""`authorize()` and `can()`: the policy asked from views and templates, about an object."""

from __future__ import annotations

from flask import has_request_context

from flask_gatehouse.domain.policy import Decision

from .context import here, services
from .decisions import refuse


def decision_about(permission: str, obj: object = None) -> Decision:
    """Decide on a permission for the present request, with the object where a rule narrows it."""
    held = services()
    return held.policy.decide_object(here().identity, permission, obj, held.clock.now())


def can(permission: str, obj: object = None) -> bool:
    """Tell whether the present request may do something.

    Args:
        permission: such as `invoice:refund`.
        obj: what it would be done to; where a rule exists, without an object the answer is no.
    """
    return has_request_context() and decision_about(permission, obj).allowed


def authorize(permission: str, obj: object = None) -> None:
    """Return if the present request may do something, and end it otherwise: a guest's as the gate does, others 403.

    What stands below it in the view does not run then: the refusal is raised.

    Args:
        permission: such as `invoice:refund`.
        obj: what it will be done to.
    """
    decision = decision_about(permission, obj)
    if not decision:
        refuse(decision)
    here().authorized.add(permission)
