"""Ask the list of stolen passwords about one that somebody has chosen; called by the flows that store a password."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask_gatehouse.domain import passwords
from flask_gatehouse.domain.audit import Event
from flask_gatehouse.domain.passwords.rules import GUIDANCE
from flask_gatehouse.kernel.identity import SYSTEM

from . import failures

if TYPE_CHECKING:
    from .services import Services

STOLEN = f"This password stands in a list of stolen ones: choose another. {GUIDANCE}"


def is_stolen(services: Services, password: str) -> bool:
    """Tell whether a password stands in the list of stolen ones (ASVS V6.2.12, NIST SP 800-63B 3.1.1.2).

    Called after the attempt was charged, outside of any transaction and without a place in the hashing pool: a service
    is waited for. Where it does not answer the password passes, and the log says so once in a window.

    Args:
        services: the app's services.
        password: as typed.
    """
    found = services.stolen_passwords.holds(passwords.normalised(password))
    if found is None:
        with services.unit() as unit:
            failures.record(services, unit, "@list", Event("password.unasked", SYSTEM, outcome="refused"))
    return bool(found)
