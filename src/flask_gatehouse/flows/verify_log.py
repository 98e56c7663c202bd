"""Somebody verifies the newest part of the audit chain: bounded work, and recorded."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sqlalchemy.exc import IntegrityError

from flask_gatehouse.domain.audit import Event, Finding, HeadError
from flask_gatehouse.kernel.errors import DatabaseUnavailableError

from .outcomes import Refused, refused_value

if TYPE_CHECKING:
    from flask_gatehouse.domain.audit import Verified
    from flask_gatehouse.kernel.identity import Actor, Source

    from .services import Services

ROWS_AT_MOST = 50_000
"""Rows that one request walks: a worker is busy for a fraction of a second. The command walks all of them."""

log = logging.getLogger("flask_gatehouse.audit")


def verify_newest(services: Services, actor: Actor, head: str, source: Source) -> Verified | Finding | Refused:
    """Verify the newest rows up to the head, and record what came of it.

    Args:
        services: the app's services.
        actor: who asks.
        head: a head kept outside of the database, to compare with; empty: none.
        source: where from.

    Raises:
        DatabaseUnavailableError: a chain that agrees could not be read, or not be recorded as verified.
    """
    try:
        with services.database.snapshot() as connection:
            found = services.audit.verify_newest(connection, ROWS_AT_MOST, head=head)
    except HeadError as error:
        text = str(error)
        return refused_value("head", f"{text[:1].upper()}{text[1:]}.")
    if isinstance(found, Finding):
        log.error("the audit chain does not agree: %s", found.text)
        _record_finding(services, found, actor, source)
    else:
        detail = {"first": found.before.id + 1, "last": found.end.id, "head": str(found.end)}
        _record(services, Event("audit.verified", actor, source=source, detail=detail))
    return found


def _record_finding(services: Services, finding: Finding, actor: Actor, source: Source) -> None:
    """Record it where that can be: a chain that lost its head takes no further event, and then the log has it alone."""
    detail = {"row": finding.event_id, "finding": finding.text}
    try:
        _record(services, Event("audit.verified", actor, source=source, outcome="refused", detail=detail))
    except (DatabaseUnavailableError, IntegrityError):
        log.error("the finding could not be recorded in the chain itself")


def _record(services: Services, event: Event) -> None:
    with services.unit() as unit:
        unit.record(event)
