"""`gatehouse audit`: read the log, verify its chain."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from flask_gatehouse.domain import users
from flask_gatehouse.domain.audit import KINDS, Finding

from .app import Commands, require_user, with_services
from .options import json_option, text
from .output import SlowBar, print_json, print_table, say, when

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from flask_gatehouse.domain.audit import Entry
    from flask_gatehouse.flows.services import Services

MOST = 10_000
LARGEST = 2**63 - 1


@click.group("audit", cls=Commands)
def commands() -> None:
    """Read the audit log, verify its chain."""


@commands.command("list")
@click.option("--user", "name", type=text, metavar="NAME", help="Only events about this user.")
@click.option("--kind", type=click.Choice(sorted(KINDS)), metavar="KIND", help="Only events of this kind.")
@click.option("--limit", type=click.IntRange(1, MOST), default=50, show_default=True, help="At most so many.")
@click.option("--before", type=click.IntRange(1, LARGEST), metavar="NUMBER", help="Only events before this one.")
@json_option
@with_services
def show_all(
    services: Services, name: str | None, kind: str | None, limit: int, before: int | None, *, as_json: bool
) -> None:
    """List events, newest first."""
    user_id = require_user(services, name).id if name is not None else None
    with services.reading() as connection:
        found = services.audit.search(connection, user_id=user_id, kind=kind or "", before=before or 0, limit=limit)
        names = _names(connection, found)
    rows = [_facts(entry, names) for entry in found]
    if as_json:
        print_json(rows)
        return
    columns = ("NUMBER", "AT", "EVENT", "OUTCOME", "ACTOR", "USER", "ADDRESS", "DETAIL")
    print_table(columns, ((*_shown(row), entry.detail) for row, entry in zip(rows, found, strict=True)))
    if len(rows) == limit:
        say(f"Older events: --before {rows[-1]['id']}", is_note=True)


def _names(connection: Connection, entries: Iterable[Entry]) -> dict[int, str]:
    ids = {entry.user_id for entry in entries if entry.user_id is not None}
    found = (users.find(connection, user_id) for user_id in ids)
    return {user.id: user.username for user in found if user is not None}


def _facts(entry: Entry, names: dict[int, str]) -> dict[str, object]:
    return {
        "id": entry.id,
        "at": when(entry.at),
        "kind": entry.kind,
        "outcome": entry.outcome,
        "actor": entry.actor,
        "actor_id": entry.actor_id,
        "user_id": entry.user_id,
        "username": names.get(entry.user_id) if entry.user_id is not None else None,
        "address": entry.address,
        "agent": entry.agent,
        "request_id": entry.request_id,
        "session_id": entry.session_id,
        "detail": json.loads(entry.detail) if entry.detail else {},
    }


def _shown(row: dict[str, object]) -> tuple[object, ...]:
    return tuple(row[name] for name in ("id", "at", "kind", "outcome", "actor", "username", "address"))


@commands.command("verify")
@click.option("--head", type=text, default="", metavar="VALUE", help="A head printed or logged before.")
@json_option
@with_services
@click.pass_context
def verify(ctx: click.Context, services: Services, head: str, *, as_json: bool) -> None:
    """Walk the whole chain; exit 1 at the first row that does not agree.

    Keep the head that is printed outside of the database: with --head, a cut tail is found too.
    """
    with services.database.snapshot() as connection:
        present = services.audit.head(connection)
        with SlowBar("Verifying", int(present.partition(":")[0])) as bar:
            try:
                result = services.audit.verify(connection, head=head, progress=bar)
            except ValueError as error:
                raise click.BadParameter(str(error), param_hint="--head") from error
    if isinstance(result, Finding):
        _report_finding(result, as_json=as_json)
        ctx.exit(1)
    if as_json:
        print_json({"agrees": True, "rows": result, "head": present})
        return
    say(f"The chain agrees: {result} rows.")
    say(f"Head: {present}")


def _report_finding(finding: Finding, *, as_json: bool) -> None:
    if as_json:
        print_json({"agrees": False, "row": finding.event_id, "finding": finding.text})
    else:
        say(f"The chain does not agree: {finding.text}.")
