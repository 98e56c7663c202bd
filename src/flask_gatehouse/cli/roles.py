"""`gatehouse role`: see and make roles, grant and withdraw them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from flask_gatehouse.flows import administer
from flask_gatehouse.kernel.identity import ADMIN

from .app import Commands, accepted, act, require_user, with_services
from .options import json_option, reason_option, reason_or_ask, text, time
from .output import print_json, print_table, say, when
from .users import describe

if TYPE_CHECKING:
    from flask_gatehouse.flows.services import Services
    from flask_gatehouse.kernel.clock import Instant

EVERYTHING = "every permission"


@click.group("role", cls=Commands)
def commands() -> None:
    """See and make roles, grant and withdraw them."""


@commands.command("list")
@json_option
@with_services
def show_all(services: Services, *, as_json: bool) -> None:
    """List roles with their permissions, and where they are defined."""
    with services.reading() as connection:
        found = services.roles.all(connection)
    rows = [
        {
            "name": name,
            "permissions": None if permissions is None else sorted(permissions),
            "is_admin": permissions is None,
            "source": "built in" if name == ADMIN else "code" if name in services.roles.in_code else "database",
        }
        for name, permissions in found.items()
    ]
    if as_json:
        print_json(rows)
        return
    table = ((row["name"], EVERYTHING if row["is_admin"] else row["permissions"], row["source"]) for row in rows)
    print_table(("ROLE", "PERMISSIONS", "DEFINED IN"), table)


@commands.command("create")
@click.argument("name", type=text)
@click.argument("permissions", metavar="PERMISSION…", type=text, nargs=-1, required=True)
@reason_option
@json_option
@with_services
def create(services: Services, name: str, permissions: tuple[str, ...], reason: str, *, as_json: bool) -> None:
    """Make a role of permissions that the app has declared."""
    key = accepted(administer.create_role(services, act(reason), name, list(permissions)))
    if as_json:
        print_json({"name": key, "permissions": sorted(set(permissions))})
    else:
        say(f"Role {key} was made.")


@commands.command("grant")
@click.argument("user", type=text)
@click.argument("role", type=text)
@click.option("--until", type=time, help="When the grant ends, for example 2030-01-31T12:00:00Z.")
@reason_option
@json_option
@with_services
def grant(services: Services, user: str, role: str, until: Instant | None, reason: str, *, as_json: bool) -> None:
    """Grant a role to a user; it counts from the next request on."""
    found = require_user(services, user)
    accepted(administer.grant(services, act(reason), found.id, role, until))
    if as_json:
        print_json(describe(services, found.id))
    else:
        end = f" until {when(until)}" if until is not None else ""
        say(f"{found.username} holds the role {role.casefold()}{end}.")


@commands.command("withdraw")
@click.argument("user", type=text)
@click.argument("role", type=text)
@reason_option
@json_option
@with_services
def withdraw(services: Services, user: str, role: str, reason: str, *, as_json: bool) -> None:
    """Withdraw a role from a user; it stops counting at the next request."""
    found = require_user(services, user)
    accepted(administer.withdraw(services, act(reason_or_ask(reason)), found.id, role))
    if as_json:
        print_json(describe(services, found.id))
    else:
        say(f"{found.username} no longer holds the role {role.casefold()}.")
