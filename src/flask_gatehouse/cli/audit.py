"""`gatehouse audit`: read the log, verify its chain, here and in files; `archive` writes the files."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from flask.cli import NoAppException, ScriptInfo

from flask_gatehouse.domain import users
from flask_gatehouse.domain.audit import KINDS, Finding, HeadError, address_of, parse_link, verify_files
from flask_gatehouse.flows import archive as archive_flow
from flask_gatehouse.kernel import settings
from flask_gatehouse.kernel.errors import SettingsError
from flask_gatehouse.kernel.keys import KeyRing

from . import archive
from .app import Commands, find_app, require_user, services_of, with_services
from .options import json_option, text, time
from .output import SlowBar, print_json, print_table, say, when

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from flask_gatehouse.domain.audit import Entry
    from flask_gatehouse.flows.services import Services
    from flask_gatehouse.kernel.clock import Instant
    from flask_gatehouse.kernel.settings import Settings

MOST = 10_000
LARGEST = 2**63 - 1
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group("audit", cls=Commands)
def commands() -> None:
    """Read the audit log, verify its chain, export it."""


commands.add_command(archive.export)


def kind(value: str) -> str:
    """Return a kind of event.

    Raises:
        click.BadParameter: there is none of this name; the text names those that look like it, else all.
    """
    if value in KINDS:
        return value
    near = difflib.get_close_matches(value, KINDS, n=5) or [name for name in KINDS if value and value in name]
    which = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(sorted(KINDS))}"
    raise click.BadParameter(f"no event is called {value!r}: {which}")


def address(value: str) -> str:
    """Return a network address in the form that the log has it in.

    Raises:
        click.BadParameter: it is none.
    """
    try:
        return address_of(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@commands.command("list")
@click.option("--user", "name", type=text, metavar="NAME", help="Only events about this user.")
@click.option("--event", "--kind", "kind", type=kind, metavar="KIND", help="Only events of this kind.")
@click.option("--address", type=address, metavar="ADDRESS", help="Only events from this address.")
@click.option("--since", type=time, metavar="TIME", help="Only events at this time or later (ISO 8601).")
@click.option("--until", type=time, metavar="TIME", help="Only events before this time (ISO 8601).")
@click.option("--limit", type=click.IntRange(1, MOST), default=50, show_default=True, help="At most so many.")
@click.option("--before", type=click.IntRange(1, LARGEST), metavar="NUMBER", help="Only events before this one.")
@json_option
@with_services
def show_all(
    services: Services,
    /,
    name: str | None,
    since: Instant | None,
    until: Instant | None,
    *,
    limit: int,
    as_json: bool,
    **wanted: Any,
) -> None:
    """List events, newest first."""
    if since is not None and until is not None and since >= until:
        raise click.UsageError("--since names a time before --until")
    user_id = require_user(services, name).id if name is not None else None
    with services.reading() as connection:
        given = {column: value for column, value in wanted.items() if value is not None}
        found = services.audit.search(connection, user_id=user_id, since=since, until=until, limit=limit, **given)
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
    return users.names_of(connection, {entry.user_id for entry in entries if entry.user_id is not None})


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
        "detail": _detail(entry.detail),
    }


def _detail(detail: str) -> object:
    """Return what a row says beside its columns; what somebody wrote there by hand as it came."""
    try:
        return json.loads(detail) if detail else {}
    except ValueError:
        return detail


def _shown(row: dict[str, object]) -> tuple[object, ...]:
    return tuple(row[name] for name in ("id", "at", "kind", "outcome", "actor", "username", "address"))


# --- verify ------------------------------------------------------------------------------------------------


@commands.command("verify")
@click.argument("files", nargs=-1, type=FILE)
@click.option("--head", type=text, default="", metavar="VALUE", help="A head printed or logged before.")
@click.option("--with-database", is_flag=True, help="The database must go on where the files end.")
@json_option
@click.pass_context
def verify(ctx: click.Context, files: tuple[Path, ...], head: str, *, with_database: bool, as_json: bool) -> None:
    """Walk the whole chain; exit 1 at the first row that does not agree.

    Keep the head that is printed outside of the database: with --head, a cut tail is found too.

    With FILES, exports are checked as one chain, without app and database. Their hashes are always checked, their MACs
    where there is a secret: GATEHOUSE_SECRET_KEY, or that of an app.
    """
    try:
        if files and not with_database:
            told = _verify_files(ctx, files, head)
        else:
            told = _verify_database(services_of(ctx), files, head)
    except HeadError as error:
        raise click.BadParameter(str(error), param_hint="--head") from error
    if isinstance(told, Finding):
        _report_finding(told, as_json=as_json)
        ctx.exit(1)
    if as_json:
        print_json({"agrees": True, **told})
        return
    say(f"The chain agrees: {told['rows']} rows.")
    if files:
        say(f"From row {told['first']} on. {MACS[told['macs']]}")
    say(f"Head: {told['head']}")


MACS = {
    "checked": "Hashes and MACs were checked.",
    "database": "Hashes were checked, up to the head of the database and its MAC.",
    "not checked": "Hashes were checked; MACs were not: no secret is at hand (GATEHOUSE_SECRET_KEY, or an app).",
}


def _verify_files(ctx: click.Context, files: tuple[Path, ...], head: str) -> dict[str, Any] | Finding:
    keys = _keys(ctx)
    with SlowBar("Verifying", sum(path.stat().st_size for path in files)) as bar:
        found = verify_files(files, keys=keys, head=head, progress=bar)
    if isinstance(found, Finding):
        return found
    macs = "checked" if found.has_mac else "not checked"
    return {"rows": found.rows, "first": found.before.id + 1, "macs": macs, "head": str(found.end)}


def _verify_database(services: Services, files: tuple[Path, ...], head: str) -> dict[str, Any] | Finding:
    with services.database.snapshot() as connection:
        present = services.audit.head(connection)
        if files:
            found = archive_flow.verify_with_files(services, connection, files, head, SlowBar)
        else:
            with SlowBar("Verifying", services.audit.length(connection)) as bar:
                found = services.audit.verify(connection, head=head, progress=bar)
    if isinstance(found, Finding):
        return found
    facts = {"first": parse_link(present).id - found + 1, "macs": "database"} if files else {}
    return {"rows": found, **facts, "head": present}


def _keys(ctx: click.Context) -> KeyRing | None:
    """Return the key ring of the secret at hand; an app is asked only where the environment has none."""
    found: Settings | None
    try:
        found = settings.load({})
        if not found.secret_key:
            found = _settings_of_app(ctx)
    except SettingsError as error:
        raise click.UsageError(str(error)) from error
    return KeyRing(found.secret_key, found.secret_key_fallbacks) if found and found.secret_key else None


def _settings_of_app(ctx: click.Context) -> Settings | None:
    """Return the settings of the app, if there is one; a broken one that nobody named is none of our business."""
    try:
        app = find_app(ctx)
    except NoAppException:
        if ctx.ensure_object(ScriptInfo).app_import_path:
            raise
        return None
    gate = app.extensions.get("gatehouse") if app else None
    return gate.settings(app) if gate else None


def _report_finding(finding: Finding, *, as_json: bool) -> None:
    if as_json:
        print_json({"agrees": False, "row": finding.event_id, "finding": finding.text})
    else:
        say(f"The chain does not agree: {finding.text}.")
