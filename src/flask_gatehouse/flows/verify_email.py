"""Confirm an e-mail address by the link that was mailed there: it counts from then on, and not before (rule 31)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask_gatehouse.domain import mail, throttle, tokens, users
from flask_gatehouse.domain.audit import Event
from flask_gatehouse.kernel.identity import Actor, Source
from flask_gatehouse.kernel.keys import secret_digest

from .notices import notice
from .outcomes import Refusal, Refused, refused, refused_value

if TYPE_CHECKING:
    from flask_gatehouse.domain.tokens import LinkOwner
    from flask_gatehouse.domain.users import UserRecord

    from .services import Services, Unit

FIRST = "This is your first address already."
TAKEN = "This address is that of another account already."


def find(services: Services, secret: str) -> LinkOwner | None:
    """Return whose live link this is, and which address it confirms; looking consumes nothing."""
    now = services.clock.now()
    with services.reading() as connection:
        links = (tokens.find_link(connection, purpose, secret, now) for purpose in tokens.VERIFYING)
        return next((found for found in links if found is not None), None)


def confirm(services: Services, secret: str, source: Source) -> int | Refused:
    """Consume the link and make the address the user's own; nobody is logged in.

    Args:
        services: the app's services.
        secret: from the link.
        source: where the request comes from.

    Returns:
        The user's id, or a refusal; of many parallel uses exactly one succeeds.
    """
    target = secret_digest(secret).hex()[:32]
    charge = services.throttle.spend(throttle.VERIFY, source.address, services.clock.now(), target=target)
    if charge.wait:
        return refused(Refusal.THROTTLED, wait=charge.wait)
    found = find(services, secret)
    if found is None:
        return refused(Refusal.GONE)
    with services.unit() as unit:
        owner = users.find(unit.connection, found.user_id, lock=True)  # before the link: in one order everywhere
        links = (tokens.consume_link(unit.connection, purpose, secret, unit.now) for purpose in tokens.VERIFYING)
        consumed = next((link for link in links if link is not None), None)
        if owner is None or consumed is None or not owner.is_active or owner.epoch != consumed.epoch:
            return refused(Refusal.GONE)
        store = _store_second if consumed.purpose == tokens.VERIFY_SECOND else _store
        return store(unit, owner, consumed.address, source)


def _store(unit: Unit, owner: UserRecord, address: str, source: Source) -> int | Refused:
    actor = Actor(owner.id, owner.username)
    if not users.verify_email(unit.connection, owner.id, address, unit.now):
        unit.record(Event("user.email_verified", actor, owner.id, source, outcome="refused"))
        return refused_value("email", TAKEN)
    unit.record(Event("user.email_verified", actor, owner.id, source))
    if users.is_same_address(owner.second_email, address):
        users.set_second_email(unit.connection, owner.id, None, unit.now)
    if owner.email == address:
        return owner.id
    tokens.drop_links(unit.connection, owner.id)
    mail.drop_links_of(unit.connection, owner.id)
    unit.record(Event("user.email_changed", actor, owner.id, source))
    if owner.is_email_verified:
        unit.post(notice("email_changed", owner.id, source, address=owner.email))
    unit.post(notice("email_changed", owner.id, source))
    return owner.id


def _store_second(unit: Unit, owner: UserRecord, address: str, source: Source) -> int | Refused:
    if users.is_same_address(owner.email, address) and owner.is_email_verified:
        return refused_value("second_email", FIRST)
    if owner.second_email is not None:
        unit.post(notice("second_email_changed", owner.id, source, address=owner.second_email))
    users.set_second_email(unit.connection, owner.id, address, unit.now)
    tokens.drop_links(unit.connection, owner.id)
    mail.drop_links_of(unit.connection, owner.id)
    unit.post(notice("second_email_changed", owner.id, source))
    unit.record(Event("user.second_email_changed", Actor(owner.id, owner.username), owner.id, source))
    return owner.id
