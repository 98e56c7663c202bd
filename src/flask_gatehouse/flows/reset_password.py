"""Choose a new password through a one-time link. Nobody sets another's password."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask_gatehouse.domain import devices, passwords, throttle, tokens, users
from flask_gatehouse.domain.audit import Event
from flask_gatehouse.domain.factors import outstanding
from flask_gatehouse.domain.mail import Letter
from flask_gatehouse.domain.passwords.rules import GUIDANCE
from flask_gatehouse.kernel.errors import HashingBusyError, InvalidFieldError
from flask_gatehouse.kernel.identity import Actor, Source
from flask_gatehouse.kernel.keys import secret_digest

from . import alarm, revoke
from .notices import notice
from .outcomes import BUSY_WAIT_MICROS, Refusal, Refused, refused, refused_field, refused_value
from .stolen import STOLEN, is_stolen

if TYPE_CHECKING:
    from flask_gatehouse.domain.passwords import Hashing

    from .services import Services, Unit

MARKED = f"This password is marked as compromised: choose another. {GUIDANCE}"
NO_TEMPORARY = "The password is marked as compromised: make a link, by which the same one is not chosen again."
TEMPORARY_MICROS = 24 * 60 * tokens.MINUTE


def make_link(services: Services, actor: Actor, name: str, reason: str = "") -> str | Refused:
    """Make a link's secret for an active user; older ones die.

    Args:
        services: the app's services.
        actor: who does it.
        name: the login name.
        reason: recorded with the event.
    """
    life = tokens.life_of(services.settings.profile)
    with services.unit() as unit:
        found = users.find_by_name(unit.connection, name, lock=True)
        if found is None or not found.is_active:
            return refused(Refusal.NOT_FOUND)
        secret = tokens.issue_link(
            unit.connection,
            tokens.Terms(tokens.RESET_PASSWORD, found.id, found.epoch),
            now=unit.now,
            ends_at=unit.now + life,
        )
        unit.record(Event("password.reset_link", actor, found.id, detail={"reason": reason} if reason else {}))
        return secret


def make_temporary(services: Services, actor: Actor, name: str, reason: str = "") -> str | Refused:
    """Give an active user a random password that works once, within a day, and must then be replaced.

    All sessions end. In place of a password that is marked as compromised there is none: it would be forgotten with its
    mark, and could be chosen again.
    """
    temporary = secrets.token_urlsafe(15)
    digest = services.hasher.hash(temporary, is_inside=True)
    with services.unit() as unit:
        found = users.find_by_name(unit.connection, name, lock=True)
        if found is None or not found.is_active:
            return refused(Refusal.NOT_FOUND)
        stored = passwords.find_credential_of(unit.connection, found.id)
        if stored is not None and stored.compromised_at is not None:
            return refused_value("temporary", NO_TEMPORARY)
        revoke.all_within(services, unit, actor, found.id, reason, Source())
        passwords.store(unit.connection, found.id, digest, unit.now, temporary_until=unit.now + TEMPORARY_MICROS)
        services.throttle.unlock(unit.connection, found.id)
        unit.post(Letter("password_changed", found.id))
        unit.record(Event("password.temporary", actor, found.id, detail={"reason": reason} if reason else {}))
        return temporary


def find(services: Services, secret: str) -> str | None:
    """Return the login name a live link belongs to; looking consumes nothing."""
    found = _find(services, secret)
    return found.username if found else None


def _find(services: Services, secret: str) -> tokens.LinkOwner | None:
    with services.reading() as connection:
        return tokens.find_link(connection, tokens.RESET_PASSWORD, secret, services.clock.now())


def complete(
    services: Services, secret: str, password: str, source: Source, *, device: str = "", shown: str = ""
) -> int | Refused:
    """Consume the link and store the new password; all sessions end and nobody is logged in.

    Args:
        services: the app's services.
        secret: from the link.
        password: the new one, as typed.
        source: where the request comes from.
        device: new cookie for the browser that asks: it alone is known afterwards (rule 5).
        shown: the cookie that it shows; whoever else it is known for stays known by the new one.

    Returns:
        The user's id, or a refusal; of many parallel uses exactly one succeeds.
    """
    target = secret_digest(secret).hex()[:32]
    try:
        with services.hasher.place() as place:
            charge = services.throttle.spend(throttle.RESET, source.address, services.clock.now(), target=target)
            if charge.wait:
                return refused(Refusal.THROTTLED, wait=charge.wait)
            found = _find(services, secret)
            if found is None:
                return refused(Refusal.GONE)
            value = services.password_rules.require(password, found.username, found.email)
            if _is_marked(services, place, found.user_id, value):
                return refused_value("password", MARKED)
            digest = place.hash(value)
    except InvalidFieldError as error:
        return refused_field(error)
    except HashingBusyError:
        return refused(Refusal.BUSY, wait=BUSY_WAIT_MICROS)
    if is_stolen(services, password):
        return refused_value("password", STOLEN)
    with services.unit() as unit:
        return _store(services, unit, _Chosen(found.user_id, secret, digest), source, shown, device)


def _is_marked(services: Services, place: Hashing, user_id: int, value: str) -> bool:
    """Tell whether this is the password that is marked as compromised: it is not chosen again."""
    with services.reading() as connection:
        stored = passwords.find_credential_of(connection, user_id)
    if stored is None or stored.compromised_at is None:
        return False
    return bool(place.verify(stored.digest, value))


@dataclass(frozen=True, slots=True, repr=False)
class _Chosen:
    """A new password, hashed, and the link that allows it."""

    user_id: int
    secret: str
    digest: str


def _store(services: Services, unit: Unit, chosen: _Chosen, source: Source, shown: str, device: str) -> int | Refused:
    user_id = chosen.user_id
    stored = passwords.lock_credential(unit.connection, user_id)  # before the link: in one order everywhere
    consumed = tokens.consume_link(unit.connection, tokens.RESET_PASSWORD, chosen.secret, unit.now)
    if consumed is None or stored is None or not stored.is_active or stored.epoch != consumed.epoch:
        return refused(Refusal.GONE)
    passwords.store(unit.connection, user_id, chosen.digest, unit.now)
    _, ended = revoke.everything_of(services, unit, user_id)
    if device:
        _know_browser(services, unit, user_id, shown, device)
    services.throttle.unlock_password(unit.connection, user_id)
    unit.post(notice("password_changed", user_id, source))
    detail: dict[str, object] = {"sessions_ended": list(ended)}
    actor = Actor(user_id, stored.username)
    unit.record(Event("password.reset", actor, user_id, source, detail=detail))
    alarm.end_within(unit, actor, user_id, source)
    return user_id


def _know_browser(services: Services, unit: Unit, user_id: int, shown: str, device: str) -> None:
    """Give the browser its new cookie; who has a second factor is known by it once that was shown as well.

    Else each reset would bring who reads their mail another budget to guess codes in.
    """
    devices.welcome(unit.connection, shown, device, user_id, unit.now)
    if outstanding(unit.connection, services.factors, user_id):
        devices.forget_all(unit.connection, user_id)
