"""`gatehouse session`: see live sessions, end one or all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from flask_gatehouse.flows import live_sessions, revoke
from flask_gatehouse.kernel.identity import CLI

from .app import Commands, require_user, with_services
from .options import json_option, reason_option, reason_or_ask, text
from .output import SlowBar, print_json, print_table, say, when

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask_gatehouse.domain.users import UserRecord
    from flask_gatehouse.flows.live_sessions import LiveSession
    from flask_gatehouse.flows.services import Services

PAGE = 500


def as_dict(session: LiveSession) -> dict[str, object]:
    """Return a live session for programs; the id is the public one."""
    row = session.row
    return {
        "id": row.public_id,
        "username": session.username,
        "created_at": when(row.created_at),
        "seen_at": when(row.seen_at),
        "expires_at": when(row.expires_at),
        "is_remembered": row.is_remembered,
        "address": row.address,
        "agent": row.agent,
    }


def live_of(services: Services, user: UserRecord) -> list[LiveSession]:
    """Return a user's live sessions, newest first."""
    with services.reading() as connection:
        return live_sessions.of_user(services, connection, user)


def _all(services: Services) -> Iterator[LiveSession]:
    after = None
    while True:
        with services.reading() as connection:
            found = live_sessions.page(services, connection, after=after, limit=PAGE)
        yield from found.sessions
        if found.after is None:
            return
        after = found.after


@click.group("session", cls=Commands)
def commands() -> None:
    """See live sessions, end one or all."""


@commands.command("list")
@click.option("--user", "name", type=text, metavar="NAME", help="Only those of this user.")
@json_option
@with_services
def show_all(services: Services, name: str | None, *, as_json: bool) -> None:
    """List live sessions, newest first."""
    live = _all(services) if name is None else live_of(services, require_user(services, name))
    rows = [as_dict(session) for session in live]
    if as_json:
        print_json(rows)
        return
    columns = ("id", "username", "created_at", "seen_at", "address", "agent")
    print_table(("ID", "USER", "BEGAN", "LAST SEEN", "ADDRESS", "BROWSER"), ([row[c] for c in columns] for row in rows))


@commands.command("revoke")
@click.argument("public_id", metavar="ID", type=text)
@reason_option
@json_option
@with_services
def revoke_one(services: Services, public_id: str, reason: str, *, as_json: bool) -> None:
    """End the session with this public id: its next request is refused."""
    if not revoke.by_public_id(services, CLI, public_id, reason_or_ask(reason)):
        raise click.ClickException("no session has this id")
    if as_json:
        print_json({"id": public_id, "ended": 1})
    else:
        say(f"Session {public_id} has ended.")


@commands.command("revoke-all")
@reason_option
@json_option
@with_services
def revoke_all(services: Services, reason: str, *, as_json: bool) -> None:
    """End all sessions of everybody: each next request is refused, and everybody logs in again.

    Logins that wait for a second factor and mailed links end as well, and no browser is known any more. It may be ended
    at any moment and run again.
    """
    why = reason_or_ask(reason)
    with SlowBar("Ending sessions", revoke.owners(services)) as bar:
        ended, people = revoke.of_everybody(services, CLI, why, bar)
    if as_json:
        print_json({"ended": ended, "users": people})
    else:
        say(f"{ended} session{'' if ended == 1 else 's'} of {people} user{'' if people == 1 else 's'} ended.")
