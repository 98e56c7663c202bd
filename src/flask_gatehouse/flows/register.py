"""Register, and create users by command or code."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flask_gatehouse.domain import mail, passwords, throttle, users
from flask_gatehouse.domain.audit import Event
from flask_gatehouse.domain.mail import Letter
from flask_gatehouse.kernel.errors import HashingBusyError, InvalidFieldError, NameTaken, WeakPassword
from flask_gatehouse.kernel.identity import ADMIN, Actor, Source
from flask_gatehouse.kernel.keys import new_public_id

from .outcomes import BUSY_WAIT_MICROS, Refusal, Refused, refused, refused_field, refused_value
from .stolen import STOLEN, is_stolen

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flask_gatehouse.domain.users import UserRecord

    from .services import Services, Unit

TAKEN = "This name is taken."


@dataclass(frozen=True, slots=True, repr=False)
class NewUser:
    """What a user is made of.

    Attributes:
        name: the login name; `""`: one is made up, for people who log in with their e-mail address.
    """

    name: str
    password: str
    email: str | None = None


def first_admin_code(services: Services) -> str:
    """Return the one-time code that lets a browser off loopback claim the first administrator (rule 25)."""
    return services.keys.digest("first-admin-code", "1")


def register(services: Services, new: NewUser, source: Source, *, may_claim: bool) -> UserRecord | Refused:
    """Make a user; nobody is logged in.

    Args:
        services: the app's services.
        new: name, password, e-mail address.
        source: where the request comes from.
        may_claim: whether this request may become the first administrator where the settings allow that.

    Returns:
        The user, or a refusal; username registration may say "taken" and is throttled before the lookup. Where people
        log in with an e-mail address, nothing says whether it is somebody's: a user is made in any case, who cannot log
        in before the address is confirmed, and the owner of a taken one hears of it by mail.
    """
    is_by_mail = services.settings.login_name != "username"
    target = services.throttle.name_digest(new.name or new.email or "")
    new = new if new.name else replace(new, name=f"user-{new_public_id()}")
    try:
        with services.hasher.place() as place:
            charge = services.throttle.spend(throttle.REGISTER, source.address, services.clock.now(), target=target)
            wait = charge.wait or _wait_for_mail(services, new, source)
            if wait:
                return refused(Refusal.THROTTLED, wait=wait)
            if is_by_mail and not new.email:
                return refused_value("email", "Your e-mail address is needed: you log in with it.")
            digest = place.hash(_require(services, new))
    except InvalidFieldError as error:
        return refused_field(error)
    except HashingBusyError:
        return refused(Refusal.BUSY, wait=BUSY_WAIT_MICROS)
    if is_stolen(services, new.password):
        return refused_value("password", STOLEN)
    with services.unit() as unit:
        created = users.create(unit.connection, new.name, new.email or None, unit.now, must_verify=is_by_mail)
        if created is None:
            return Refused(Refusal.FIELD, 0, "username", TAKEN)
        passwords.store(unit.connection, created.id, digest, unit.now)
        actor = Actor(created.id, created.username)
        unit.record(Event("user.registered", actor, created.id, source))
        if created.email:
            unit.post(Letter(mail.VERIFY, created.id, created.email, {"epoch": created.epoch}))
        if services.settings.first_user_admin and may_claim:
            _claim(services, unit, created, source)
        return created


def _wait_for_mail(services: Services, new: NewUser, source: Source) -> int:
    """Charge the mail that is to verify an address; return the microseconds to wait (rule 8)."""
    if not (new.email and services.mailer.is_on):
        return 0
    target = services.throttle.name_digest(new.email)
    return services.throttle.spend(throttle.ADDRESS, source.address, services.clock.now(), target=target).wait


def _require(services: Services, new: NewUser) -> str:
    users.require_name(new.name)
    users.require_email(new.email)
    return services.password_rules.require(new.password, new.name, new.email)


def _claim(services: Services, unit: Unit, created: UserRecord, source: Source) -> None:
    if not services.roles.claim_first_admin(unit.connection, created.id, unit.now):
        return
    actor = Actor(created.id, created.username)
    services.roles.add_grant(unit.connection, created.id, ADMIN, unit.now, by=None, until_at=None)
    unit.record(Event("admin.claimed", actor, created.id, source))
    unit.record(Event("role.granted", actor, created.id, source, detail={"role": ADMIN}))


def create(services: Services, new: NewUser, roles: Iterable[str], actor: Actor, *, reason: str = "") -> UserRecord:
    """Make a user by command or code; spends the claim to be the first administrator.

    Args:
        services: the app's services.
        new: name, password, e-mail address.
        roles: names of roles to grant.
        actor: who does it.
        reason: recorded with the event.

    Raises:
        InvalidName, NameTaken, WeakPassword, InvalidEmail, UnknownRole: nothing was made.
        HashingBusyError: the hashing pool is full.
    """
    digest = services.hasher.hash(_require(services, new), is_inside=True)
    if is_stolen(services, new.password):
        raise WeakPassword(STOLEN)
    with services.unit() as unit:
        services.roles.lock_admins(unit.connection)  # no role is deleted between the look and the grant
        keys = [services.roles.require(unit.connection, role) for role in roles]
        created = users.create(unit.connection, new.name, new.email or None, unit.now)
        if created is None:
            raise NameTaken(TAKEN)
        passwords.store(unit.connection, created.id, digest, unit.now)
        detail = {"reason": reason} if reason else {}
        unit.record(Event("user.created", actor, created.id, detail=detail))
        services.roles.claim_first_admin(unit.connection, created.id, unit.now)
        for key in sorted(set(keys)):
            services.roles.add_grant(unit.connection, created.id, key, unit.now, by=actor.user_id, until_at=None)
            unit.record(Event("role.granted", actor, created.id, detail={"role": key}))
        return created
