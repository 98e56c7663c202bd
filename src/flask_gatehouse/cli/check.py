"""`gatehouse check`: what is unsafe about an app and where it stands, each with its mend."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click
from dotenv import find_dotenv

from flask_gatehouse.kernel.errors import GatehouseError, SettingsError
from flask_gatehouse.kernel.settings import secret_files

from .app import NO_APP, Site, find_app, in_words, site_of
from .check_database import of_database
from .files import loose
from .findings import KINDS, CheckFinding, Severity
from .options import json_option, text
from .output import print_json, print_table, say

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ORDER = list(KINDS)
MANY = 3


@click.command("check")
@click.option(
    "--head", type=text, default="", metavar="VALUE", help="A head of the audit log printed or logged before."
)
@json_option
@click.pass_context
def check(ctx: click.Context, *, head: str, as_json: bool) -> None:
    """Report what is unsafe, each with its mend; exit 1 when something is unsafe or should be mended.

    Settings, labels of routes, modes of files, the database and how it is reached, the audit log, passwords. Advice
    does not change the exit code. With --head a cut tail of the audit log is found too.
    """
    found: list[CheckFinding] = []
    facts: dict[str, object] = {}
    try:
        app = find_app(ctx)
        if app is None:
            raise click.UsageError(NO_APP)
        ctx.with_resource(app.app_context())
        site = site_of(app)
        found += _secret_files(site.gate.secret_files(app))
        found += _settings(site)
        found += _modes_of_flask(site)
        found += _routes(site)
        found += loose(Path(app.instance_path), 0o700)
        found += _log()
        found += of_database(site.services, facts, head)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--head") from error
    except GatehouseError as error:
        found += _secret_files(secret_files({}))
        found.append(CheckFinding("app", "settings" if isinstance(error, SettingsError) else "app", in_words(error)))
    _report(sorted(found, key=lambda item: ORDER.index(item.kind)), facts, as_json=as_json)
    if any(item.severity is not Severity.ADVICE for item in found):
        ctx.exit(1)


def _report(found: list[CheckFinding], facts: Mapping[str, object], *, as_json: bool) -> None:
    is_well = all(item.severity is Severity.ADVICE for item in found)
    if as_json:
        print_json({"is_safe": is_well, "findings": [_facts(item) for item in found], **facts})
        return
    for name, value in facts.items():
        shown = ", ".join(f"{count} {state}" for state, count in value.items()) if isinstance(value, dict) else value
        say(f"{name.replace('_', ' ')}: {shown}")
    if found:
        columns = ("HOW GRAVE", "WHERE", "WHAT TO MEND", "ASKED FOR BY")
        cells = ((item.severity.value, item.subject, item.text, item.requirements) for item in found)
        print_table(columns, cells)
    if is_well:
        say("All is well.")


def _facts(item: CheckFinding) -> dict[str, object]:
    return {
        "finding": item.kind,
        "severity": item.severity.value,
        "subject": item.subject,
        "text": item.text,
        "requirements": list(item.requirements),
    }


# --- settings, routes and the log --------------------------------------------------------------------------


def _settings(site: Site) -> Iterator[CheckFinding]:
    gate, app = site.gate, site.app
    kinds = {"unsafe-setting": gate.problems, "setting": gate.doubts, "advised-setting": gate.advice}
    for kind, find in kinds.items():
        yield from (CheckFinding(kind, problem.setting, problem.text) for problem in find(app))


def _modes_of_flask(site: Site) -> Iterator[CheckFinding]:
    hidden = "what is unsafe only without it is not looked for; never serve others like this"
    if site.app.debug:
        yield CheckFinding("debug", "app.debug", f"it is on: {hidden}: unset FLASK_DEBUG, remove debug=True")
    if site.app.testing:
        yield CheckFinding("testing", "app.testing", f"it is on: {hidden}: remove TESTING")


def _routes(site: Site) -> Iterator[CheckFinding]:
    rows = site.gate.route_table(site.app)
    for row in rows:
        if row.error:
            yield CheckFinding("route", row.rule, row.error)
    for fault in site.gate.rule_faults(site.app):
        yield CheckFinding("rule", "rules", fault)
    bare = [row.rule for row in rows if not row.is_labelled and not row.error]
    if bare:
        more = f" and {len(bare) - MANY} more" if len(bare) > MANY else ""
        said = f"{', '.join(bare[:MANY])}{more} have no label of their own: say @login_required or @public"
        yield CheckFinding("unlabelled-routes", "routes", said)


def _log() -> Iterator[CheckFinding]:
    log = logging.getLogger("flask_gatehouse.audit")
    if not (log.isEnabledFor(logging.INFO) and log.hasHandlers()):
        said = "its events and heads reach no log: set INFO for flask_gatehouse.audit, and a handler"
        yield CheckFinding("audit-unheard", "audit log", said)


# --- files (rule 30) ---------------------------------------------------------------------------------------


def _secret_files(known: list[Path]) -> Iterator[CheckFinding]:
    """Look at the files that settings come from, and at the `.env` that the `flask` command reads."""
    if path := find_dotenv(".env", usecwd=True):
        known = [Path(path), *known]
    for file in {path.resolve(): path for path in known}:
        yield from loose(file, 0o600)
