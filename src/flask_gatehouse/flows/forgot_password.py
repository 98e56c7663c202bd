"""Ask for a link to choose a new password: one answer and one amount of work, whoever is asked for (rule 9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask_gatehouse.domain import mail, throttle, users
from flask_gatehouse.domain.audit import Event
from flask_gatehouse.domain.mail import Letter
from flask_gatehouse.kernel.identity import GUEST, Source

from . import failures
from .outcomes import Refusal, Refused, refused

if TYPE_CHECKING:
    from flask_gatehouse.domain.users import UserRecord

    from .services import Services, Unit


ADDRESSES = 2
"""A user has so many verified addresses at most, each of which gets a link of its own (NIST SP 800-63B 4.2.1.2)."""


def ask(services: Services, name: str, source: Source) -> Refused | None:
    """Let a link be mailed to the verified addresses of whoever is meant; nothing says whether that is somebody.

    Two mails are written in any case, for nobody where there is no such user, no such address or no login. Whether one
    is sent, to whom, and with which link is found out afterwards, in the background.

    Args:
        services: the app's services.
        name: a login name or an e-mail address, as typed.
        source: where the request comes from.

    Returns:
        None, or a refusal that depends on what was typed and from where, never on whether it is somebody's.
    """
    target = services.throttle.name_digest(name)
    charge = services.throttle.spend(throttle.FORGOT, source.address, services.clock.now(), target=target)
    if charge.wait:
        return refused(Refusal.THROTTLED, wait=charge.wait)
    with services.unit() as unit:
        by_name = users.find_by_name(unit.connection, name)
        by_address = users.find_by_email(unit.connection, name)
        found = by_name or by_address  # a name holds no `@`, so it is one of them at most
        for number in range(ADDRESSES):
            unit.post(_letter(found, number))
        _record(services, unit, found, name, source)
    return None


def _letter(found: UserRecord | None, number: int) -> Letter:
    addresses = found.verified_addresses if found is not None and found.is_active else ()
    if found is None or number >= len(addresses):
        return Letter(mail.RESET, None, "", {"epoch": 0})
    return Letter(mail.RESET, found.id, addresses[number], {"epoch": found.epoch})


def _record(services: Services, unit: Unit, found: UserRecord | None, name: str, source: Source) -> None:
    """Record the first in a window, and count the others (rule 28); by what was typed, so that all cost the same."""
    who = services.throttle.account_key(None, name)
    detail = {} if found else {"name_digest": services.throttle.name_digest(name)}
    event = Event("password.forgotten", GUEST, found.id if found else None, source, detail=detail)
    failures.record(services, unit, who, event)
