"""Change one's own e-mail addresses: a new one counts once it is confirmed, and the old one is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from flask_gatehouse.domain import mail, throttle, tokens, users
from flask_gatehouse.domain.audit import Event
from flask_gatehouse.domain.mail import Letter
from flask_gatehouse.kernel.errors import InvalidFieldError
from flask_gatehouse.kernel.identity import Actor, Identity, Source

from . import acts
from .notices import notice
from .outcomes import Refusal, Refused, refused, refused_field, refused_value

if TYPE_CHECKING:
    from flask_gatehouse.domain.users import UserRecord

    from .services import Services, Unit

SECOND = "second_email"


@dataclass(frozen=True, slots=True)
class AddressAsked:
    """A link was mailed to an address: it counts once the link is used.

    Attributes:
        address: where the mail goes.
    """

    address: str


def change(services: Services, identity: Identity, email: str, source: Source) -> AddressAsked | Refused | str | None:
    """Change the e-mail address: where mail is sent, the new one counts once it is confirmed, and the old one is told.

    The same address asks for its confirmation again, and changes nothing once it is verified. An address that is
    removed, and any where no mail is sent, is stored at once, unverified; links that were made before die (rule 31).

    Returns:
        What was asked for; or the address as it is stored now, None for none; or a refusal.
    """
    try:
        address = users.require_email(email)
    except InvalidFieldError as error:
        return refused_field(error)
    if address is None and services.settings.login_name == "email":
        return refused_value("email", "You log in with your e-mail address: it cannot be removed.")
    wait = _wait_to_change(services, identity, address, source)
    if wait:
        return refused(Refusal.THROTTLED, wait=wait)
    if address is None or not services.mailer.is_on:
        return _store_email(services, identity, address, source)
    return _ask_for_proof(services, identity, address, source)


def _wait_to_change(services: Services, identity: Identity, address: str | None, source: Source) -> int:
    """Charge a change of an address, a row of the log for ever, and the mail that is to verify the new one (rule 8)."""
    now, counters = services.clock.now(), services.throttle
    wait = counters.spend(throttle.CHANGE, source.address, now, target=f"email:{identity.user_id}").wait
    if wait or address is None or not services.mailer.is_on:
        return wait
    return counters.spend(throttle.ADDRESS, source.address, now, target=counters.name_digest(address)).wait


def _ask_for_proof(
    services: Services, identity: Identity, address: str, source: Source
) -> AddressAsked | Refused | str:
    with services.unit() as unit:
        stored = acts.find_inside(services, unit, identity)
        if stored is None:
            return refused(Refusal.GONE)
        if stored.email == address and stored.is_email_verified:
            return address
        unit.post(notice("email_asked", stored.id, source))
        mail.drop_links_of(unit.connection, stored.id, {mail.VERIFY})  # sent later, its link would kill the newer one
        unit.post(Letter(mail.VERIFY, stored.id, address, {"epoch": stored.epoch}))
        unit.record(Event("user.email_asked", Actor.of(identity), stored.id, source, identity.session_id))
        return AddressAsked(address)


def _store_email(services: Services, identity: Identity, address: str | None, source: Source) -> Refused | str | None:
    with services.unit() as unit:
        stored = acts.find_inside(services, unit, identity)
        if stored is None:
            return refused(Refusal.GONE)
        if stored.email == address:
            return address
        if stored.is_email_verified:
            unit.post(notice("email_changed", stored.id, source, address=stored.email))
        unit.post(notice("email_changed", stored.id, source))  # to the second address, if there is one
        users.set_email(unit.connection, identity.user_id, address, unit.now)
        tokens.drop_links(unit.connection, identity.user_id)
        mail.drop_links_of(unit.connection, identity.user_id)
        event = Event("user.email_changed", Actor.of(identity), identity.user_id, source, identity.session_id)
        unit.record(event)
    return address


def change_second(
    services: Services, identity: Identity, email: str, source: Source
) -> AddressAsked | Refused | str | None:
    """Change the second address, which gets what the first one gets; both hear of it, and a new one is proven first.

    Returns:
        What was asked for; or the address as it is stored now, None for none; or a refusal.
    """
    try:
        address = users.require_email(email)
    except InvalidFieldError as error:
        return refused_value(SECOND, str(error))
    if address is not None and not services.mailer.is_on:
        return refused_value(SECOND, "This site sends no mail: a second address would get none.")
    wait = _wait_to_change(services, identity, address, source)
    if wait:
        return refused(Refusal.THROTTLED, wait=wait)
    with services.unit() as unit:
        stored = acts.find_inside(services, unit, identity)
        if stored is None:
            return refused(Refusal.GONE)
        if stored.second_email == address:
            return address
        if address is None:
            _remove_second(unit, identity, stored, source)
            return None
        if users.is_same_address(stored.email, address):
            return refused_value(SECOND, "This is your first address already.")
        unit.post(notice("second_email_asked", stored.id, source))
        mail.drop_links_of(unit.connection, stored.id, {mail.VERIFY_SECOND})
        unit.post(Letter(mail.VERIFY_SECOND, stored.id, address, {"epoch": stored.epoch}))
        unit.record(Event("user.second_email_asked", Actor.of(identity), stored.id, source, identity.session_id))
        return AddressAsked(address)


def _remove_second(unit: Unit, identity: Identity, stored: UserRecord, source: Source) -> None:
    unit.post(notice("second_email_changed", stored.id, source, address=stored.second_email))
    unit.post(notice("second_email_changed", stored.id, source))
    users.set_second_email(unit.connection, stored.id, None, unit.now)
    tokens.drop_links(unit.connection, stored.id)
    mail.drop_links_of(unit.connection, stored.id)
    unit.record(Event("user.second_email_changed", Actor.of(identity), stored.id, source, identity.session_id))


class Asked(NamedTuple):
    """Addresses that wait to be confirmed, None for none."""

    first: str | None
    second: str | None


def asked(services: Services, user_id: int) -> Asked:
    """Return the addresses that wait to be confirmed."""
    now = services.clock.now()
    with services.reading() as connection:
        return Asked(
            mail.waiting_address(connection, user_id) or tokens.waiting_address(connection, user_id, now),
            mail.waiting_address(connection, user_id, mail.VERIFY_SECOND)
            or tokens.waiting_address(connection, user_id, now, tokens.VERIFY_SECOND),
        )
