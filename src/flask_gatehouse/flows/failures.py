"""What of a failure is recorded, so that a flood leaves a bounded number of rows (rule 28). Called by other flows."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from flask_gatehouse.domain.audit import Event
from flask_gatehouse.domain.throttle import Noted
from flask_gatehouse.kernel.errors import DatabaseUnavailableError
from flask_gatehouse.kernel.identity import SYSTEM

if TYPE_CHECKING:
    from flask_gatehouse.domain.throttle import Charge

    from .services import Services, Unit

log = logging.getLogger("flask_gatehouse.login")


def record(services: Services, unit: Unit, who: str, event: Event) -> Noted:
    """Record the first failure of a window, and once that more of all kinds follow; the others are counted.

    Args:
        services: the app's services.
        unit: the flow's transaction; call it once in it, as `Throttle.note`.
        who: an account key, or `@` and what the failure concerns, such as an address.
        event: the failure.

    Returns:
        What was made of it.
    """
    noted = services.throttle.note(unit.connection, event.kind, who, unit.now)
    if noted is Noted.FIRST:
        unit.record(event)
    elif noted is Noted.OVERFLOWED:
        unit.record(Event("failures.overflowed", SYSTEM, outcome="refused"))
    return noted


def record_throttled(services: Services, charge: Charge, who: str, event: Event) -> None:
    """Record the first refusal of a window that is full; that the database is busy changes nothing for who is refused.

    Args:
        services: the app's services.
        charge: what refused the attempt.
        who: as in `record`.
        event: the refusal.
    """
    if charge.first_refusal_of is None:
        return
    try:
        with services.unit() as unit:
            record(services, unit, who, event)
    except DatabaseUnavailableError:
        services.throttle.take_back({charge.first_refusal_of: 1})
        log.warning("the first refusal of an address is counted and not recorded: the database is busy")
