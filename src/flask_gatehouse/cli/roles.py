"""`gatehouse role`: see, make, change and delete roles, grant and withdraw them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from flask_gatehouse.flows import administer, edit_roles

from .app import Commands, accepted, act, require_user, with_services
from .options import is_terminal, json_option, reason_option, reason_or_ask, text, time
from .output import print_facts, print_json, print_table, say, when
from .users import describe

if TYPE_CHECKING:
    from flask_gatehouse.flows.edit_roles import RoleShown
    from flask_gatehouse.flows.services import Services
    from flask_gatehouse.kernel.clock import Instant

EVERYTHING = "every permission"
NOTHING = "nothing"
SHOWN_HOLDERS = 100


@click.group("role", cls=Commands)
def commands() -> None:
    """See, make, change and delete roles, grant and withdraw them."""


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
            "source": edit_roles.source_of(services, name),
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
    key = accepted(edit_roles.create(services, act(reason), name, list(permissions)))
    if as_json:
        print_json({"name": key, "permissions": sorted(set(permissions))})
    else:
        say(f"Role {key} was made.")


@commands.command("show")
@click.argument("name", type=text)
@json_option
@with_services
def show(services: Services, name: str, *, as_json: bool) -> None:
    """Show what a role permits, and who holds it."""
    found = _require(services, name)
    if as_json:
        print_json(_described(found))
        return
    permitted = EVERYTHING if found.permissions is None else sorted(found.permissions)
    print_facts((("role", found.name), ("defined in", found.source), ("permissions", permitted)))
    _print_holders(found)


@commands.command("edit")
@click.argument("name", type=text)
@click.argument("permissions", metavar="PERMISSION…", type=text, nargs=-1, required=True)
@click.option("--dry-run", is_flag=True, help="Show what would change for whom, and change nothing.")
@reason_option
@json_option
@with_services
def edit(
    services: Services, name: str, permissions: tuple[str, ...], reason: str, *, dry_run: bool, as_json: bool
) -> None:
    """Let a role in the database permit these and nothing else; counts from the next request on.

    At a terminal it shows first what would change for whom, and asks.
    """
    wanted = frozenset(permissions)
    found = _require(services, name, wanted)
    if dry_run or is_terminal():
        _print_change(found, wanted, as_json=as_json)
    if dry_run:
        return
    if is_terminal():
        click.confirm("Save this?", abort=True, err=True)
    _, removed = _difference(found, wanted)
    why = reason_or_ask(reason) if removed else reason
    key = accepted(edit_roles.change(services, act(why), name, list(permissions), found.seen))
    if as_json:
        print_json({"name": key, "permissions": sorted(wanted)})
    else:
        say(f"Role {key} was changed.")


@commands.command("delete")
@click.argument("name", type=text)
@reason_option
@json_option
@with_services
def delete(services: Services, name: str, reason: str, *, as_json: bool) -> None:
    """Delete a role from the database, and withdraw it from all who hold it.

    At a terminal it shows first who holds it, and asks.
    """
    found = _require(services, name)
    if is_terminal():
        _print_holders(found)
        click.confirm(f"Delete the role {found.name}?", abort=True, err=True)
    key = accepted(edit_roles.delete(services, act(reason_or_ask(reason)), name, found.seen))
    if as_json:
        print_json({"name": key})
    else:
        say(f"Role {key} was deleted.")


def _require(services: Services, name: str, wanted: frozenset[str] | None = None) -> RoleShown:
    found = edit_roles.look(services, name, wanted=wanted, limit=SHOWN_HOLDERS)
    if found is None:
        raise click.ClickException(f"role: there is no role named {name}")
    return found


def _described(found: RoleShown) -> dict[str, object]:
    holders = [{"username": holder.username, "until": when(holder.until_at)} for holder in found.holders]
    permitted = None if found.permissions is None else sorted(found.permissions)
    described: dict[str, object] = {"name": found.name, "source": found.source, "permissions": permitted}
    return described | {"is_admin": permitted is None, "holders": holders, "has_more_holders": bool(found.after)}


def _print_holders(found: RoleShown) -> None:
    if not found.holders:
        say("Nobody holds it.")
        return
    print_table(("HELD BY", "UNTIL"), ((holder.username, when(holder.until_at) or "") for holder in found.holders))
    _say_more(found)


def _print_change(found: RoleShown, wanted: frozenset[str], *, as_json: bool) -> None:
    added, removed = _difference(found, wanted)
    touched = [holder for holder in found.holders if holder.gains or holder.loses]
    if as_json:
        for_whom = [{"username": user.username, "gains": user.gains, "loses": user.loses} for user in touched]
        change = {"name": found.name, "added": added, "removed": removed}
        print_json(change | {"for": for_whom, "has_more_holders": bool(found.after)})
        return
    print_facts((("role", found.name), ("added", added or NOTHING), ("removed", removed or NOTHING)))
    if not touched:
        say("Nothing changes for anybody who holds it." if found.holders else "Nobody holds it.")
        return
    print_table(("FOR", "GAINS", "LOSES"), ((user.username, user.gains, user.loses) for user in touched))
    _say_more(found)


def _difference(found: RoleShown, wanted: frozenset[str]) -> tuple[list[str], list[str]]:
    present = found.permissions or frozenset()
    return sorted(wanted - present), sorted(present - wanted)


def _say_more(found: RoleShown) -> None:
    if found.after:
        say(f"These are the first {SHOWN_HOLDERS}; more users hold it.")


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
