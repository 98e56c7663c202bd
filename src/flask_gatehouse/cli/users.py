"""`gatehouse user`: create, see, suspend, restore, unlock, mark passwords, reset, reset factors, delete."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from flask_gatehouse.domain import passwords, tokens, users
from flask_gatehouse.flows import administer, register, reset_password, seeds
from flask_gatehouse.kernel.identity import CLI

from .app import Commands, accepted, act, require_user, with_services
from .options import json_option, name_argument, read_password, reason_option, reason_or_ask, text
from .output import print_facts, print_json, print_table, say, when
from .sessions import as_dict, live_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flask_gatehouse.domain.users import UserRecord
    from flask_gatehouse.flows.acts import Act
    from flask_gatehouse.flows.outcomes import Refused
    from flask_gatehouse.flows.services import Services

    Change = Callable[[Services, Act, int], UserRecord | Refused]

PAGE = 500
DEVELOPMENT_ORIGIN = "http://127.0.0.1:5000"


def _facts(user: UserRecord, roles: list[str]) -> dict[str, object]:
    return {
        "id": user.id,
        "username": user.username,
        "email": user.email,
        "is_email_verified": user.is_email_verified,
        "state": user.state,
        "roles": roles,
        "created_at": when(user.created_at),
    }


def describe(services: Services, user_id: int) -> dict[str, object]:
    """Return a user as it stands now, for programs."""
    with services.reading() as connection:
        found = users.find(connection, user_id)
        held = services.roles.names_of(connection, [user_id], services.clock.now())
    if found is None:
        raise click.ClickException("the user is gone")
    return _facts(found, held.get(user_id, []))


def _all(services: Services, search: str) -> Iterator[dict[str, object]]:
    after = ""
    while True:
        with services.reading() as connection:
            found = users.page(connection, search=search, after=after, limit=PAGE)
            held = services.roles.names_of(connection, [user.id for user in found], services.clock.now())
        for user in found:
            yield _facts(user, held.get(user.id, []))
        if len(found) < PAGE:
            return
        after = found[-1].username


@click.group("user", cls=Commands)
def commands() -> None:
    """Create, see, suspend, restore, unlock, reset, delete users; mark passwords, reset second factors."""


@commands.command("create")
@name_argument
@click.option("--email", type=text, help="The user's e-mail address; stored unverified.")
@click.option("--role", "roles", type=text, multiple=True, help="A role to grant; may be given several times.")
@reason_option
@json_option
@with_services
def create(
    services: Services, name: str, email: str | None, roles: tuple[str, ...], reason: str, *, as_json: bool
) -> None:
    """Create a user.

    The password is asked for, or read as one line of standard input when that is no terminal.
    """
    users.require_name(name)
    new = register.NewUser(name, read_password(f"Password for {name}"), email)
    created = register.create(services, new, roles, CLI, reason=reason)
    if as_json:
        print_json(describe(services, created.id))
    else:
        say(f"{created.username} was created.")


@commands.command("list")
@click.option("--search", type=text, default="", metavar="START", help="Only names that begin so.")
@json_option
@with_services
def show_all(services: Services, search: str, *, as_json: bool) -> None:
    """List users by name."""
    rows = list(_all(services, search))
    if as_json:
        print_json(rows)
        return
    columns = ("id", "username", "state", "roles", "email", "created_at")
    table = ([row[column] for column in columns] for row in rows)
    print_table(("ID", "USER", "STATE", "ROLES", "E-MAIL", "CREATED"), table)


@commands.command("show")
@name_argument
@json_option
@with_services
def show(services: Services, name: str, *, as_json: bool) -> None:
    """Show one user: e-mail address and whether it is verified, state, roles, second factors, live sessions."""
    user = require_user(services, name)
    with services.reading() as connection:
        credential = passwords.find_credential(connection, users.name_key(user.username))
        grants = services.roles.grants_of(connection, user.id, services.clock.now())
        factors = [factor.method for factor in seeds.enrolled_of(services, connection, user.id)]
    sessions = live_of(services, user)
    has_password = credential is not None and credential.digest is not None
    temporary_until = when(credential.temporary_until) if credential else None
    compromised_at = when(credential.compromised_at) if credential else None
    if as_json:
        held = [
            {"role": grant.role, "until": when(grant.until_at), "granted_at": when(grant.granted_at)}
            for grant in grants
        ]
        more: dict[str, object] = {"has_password": has_password, "temporary_password_until": temporary_until}
        more |= {"password_compromised_at": compromised_at, "second_email": user.second_email}
        more |= {"grants": held, "factors": factors, "alarm_since": when(user.alarm_at)}
        names = [grant.role for grant in grants]
        print_json(_facts(user, names) | more | {"sessions": [as_dict(session) for session in sessions]})
        return
    roles = [grant.role + (f" until {when(grant.until_at)}" if grant.until_at else "") for grant in grants]
    shown = {**_facts(user, roles), "email": _address_words(user)}
    del shown["is_email_verified"]
    words = _password_words(temporary_until, compromised_at, has_password=has_password)
    facts = [*shown.items(), ("password", words), ("second address", user.second_email or "none")]
    facts.append(("second factors", factors or "none"))
    facts += [("on alarm since", when(user.alarm_at))] if user.alarm_at is not None else []
    print_facts([*facts, ("sessions", [session.row.public_id for session in sessions] or "none")])


def _address_words(user: UserRecord) -> str:
    if user.email is None:
        return "none"
    return f"{user.email} ({'verified' if user.is_email_verified else 'not verified'})"


def _password_words(temporary_until: str | None, compromised_at: str | None, *, has_password: bool) -> str:
    if not has_password:
        return "none"
    if compromised_at:
        return f"marked as compromised {compromised_at}"
    return f"temporary until {temporary_until}" if temporary_until else "set"


def _change(services: Services, name: str, change: Change, act_: Act, done: str, *, as_json: bool) -> None:
    found = require_user(services, name)
    accepted(change(services, act_, found.id))
    if as_json:
        print_json(describe(services, found.id))
    else:
        say(f"{found.username} {done}.")


@commands.command("suspend")
@name_argument
@reason_option
@json_option
@with_services
def suspend(services: Services, name: str, reason: str, *, as_json: bool) -> None:
    """Suspend a user: every session is refused at its next request."""
    doing = act(reason_or_ask(reason))
    _change(services, name, administer.suspend, doing, "is suspended; all sessions have ended", as_json=as_json)


@commands.command("restore")
@name_argument
@reason_option
@json_option
@with_services
def restore(services: Services, name: str, reason: str, *, as_json: bool) -> None:
    """Let a suspended user log in again."""
    _change(services, name, administer.restore, act(reason), "may log in", as_json=as_json)


@commands.command("unlock")
@name_argument
@reason_option
@json_option
@with_services
def unlock(services: Services, name: str, reason: str, *, as_json: bool) -> None:
    """Zero a user's count of wrong passwords."""
    _change(services, name, administer.unlock, act(reason), "is unlocked", as_json=as_json)


@commands.command("mark-compromised")
@name_argument
@reason_option
@json_option
@with_services
def mark_compromised(services: Services, name: str, reason: str, *, as_json: bool) -> None:
    """Let a user's password prove nothing any more, as somebody else knows it; all sessions end.

    The user is told by mail and chooses another one through a mailed link, or through one that `user reset` makes.
    """
    doing = act(reason_or_ask(reason))
    told = "has a password that opens nothing any more; all sessions have ended"
    _change(services, name, administer.mark_compromised, doing, told, as_json=as_json)


@commands.command("reset-factors")
@name_argument
@reason_option
@json_option
@with_services
def reset_factors(services: Services, name: str, reason: str, *, as_json: bool) -> None:
    """Remove all second factors of a user who has lost them; all sessions end.

    From then on the password alone logs in, until another factor is enrolled: make sure who asks.
    """
    doing = act(reason_or_ask(reason))
    _change(services, name, administer.reset_factors, doing, "has no second factor any more", as_json=as_json)


@commands.command("delete")
@name_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
@reason_option
@json_option
@with_services
def delete(services: Services, name: str, reason: str, *, yes: bool, as_json: bool) -> None:
    """Close a user for good: name, address, password, roles and sessions are erased, the id is never reused."""
    found = require_user(services, name)
    if not yes:
        click.confirm(f"Delete {found.username} for good?", abort=True, err=True)
    _change(services, name, administer.close, act(reason_or_ask(reason)), "is deleted", as_json=as_json)


@commands.command("reset")
@name_argument
@click.option("--temporary", is_flag=True, help="Make a temporary password in place of a link.")
@reason_option
@json_option
@with_services
def reset(services: Services, name: str, reason: str, *, temporary: bool, as_json: bool) -> None:
    """Make a one-time link by which the user chooses a new password. Nobody sets another's password."""
    user = require_user(services, name)
    if not user.is_active:
        raise click.ClickException(f"{user.username} is {user.state}")
    if temporary:
        shown = accepted(reset_password.make_temporary(services, CLI, user.username, reason))
        key, note = "temporary_password", "It works once, within 24 hours, and must be replaced at login."
    else:
        shown = _link(services, accepted(reset_password.make_link(services, CLI, user.username, reason)))
        key, note = "link", f"It works once, within {_link_minutes(services)} minutes. Older links are dead."
    if as_json:
        print_json({"username": user.username, key: shown})
        return
    click.echo(shown)
    say(note, is_note=True)


def _link(services: Services, secret: str) -> str:
    settings = services.settings
    origin = settings.origins[0] if settings.origins else DEVELOPMENT_ORIGIN
    return f"{origin}{settings.url_prefix}/reset-password/{secret}"


def _link_minutes(services: Services) -> int:
    return tokens.life_of(services.settings.profile) // tokens.MINUTE
