"""`gatehouse check`: what is unsafe about an app and where it stands, each with its mend."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
from dotenv import find_dotenv

from flask_gatehouse import migrations
from flask_gatehouse.domain import passwords
from flask_gatehouse.kernel.errors import DatabaseUnavailableError, GatehouseError, SettingsError
from flask_gatehouse.kernel.schema import REVISION
from flask_gatehouse.kernel.settings import out_of_place, secret_files

from .app import NO_APP, Site, find_app, in_words, site_of
from .options import json_option
from .output import print_json, print_table, say

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator

    from flask_gatehouse.flows.services import Services

OTHERS = 0o077
"""Any right of group and others."""


@dataclass(frozen=True, slots=True)
class Found:
    """Something unsafe.

    Attributes:
        subject: the setting, file, route or part concerned.
        text: what is wrong and how to mend it; never a secret.
    """

    subject: str
    text: str


@click.command("check")
@json_option
@click.pass_context
def check(ctx: click.Context, *, as_json: bool) -> None:
    """Report what is unsafe, each with its mend; exit 1 when there is anything.

    Settings that are unsafe or without effect, labels of routes, modes of files, age of the schema, passwords hashed
    by slower old schemes.
    """
    found: list[Found] = []
    facts: dict[str, object] = {}
    try:
        app = find_app(ctx)
        if app is None:
            raise click.UsageError(NO_APP)
        ctx.with_resource(app.app_context())
        site = site_of(app)
        found += _secret_files(site.gate.secret_files(app))
        found += _settings(site)
        found += _labels(site)
        found += _instance(site)
        found += _database(site, facts)
    except GatehouseError as error:
        found += _secret_files(secret_files({}))
        found.append(Found("settings" if isinstance(error, SettingsError) else "app", in_words(error)))
    _report(found, facts, as_json=as_json)
    if found:
        ctx.exit(1)


def _report(found: list[Found], facts: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        findings = [{"subject": item.subject, "text": item.text} for item in found]
        print_json({"is_safe": not found, "findings": findings, **facts})
        return
    for name, value in facts.items():
        say(f"{name.replace('_', ' ')}: {value}")
    if found:
        print_table(("WHERE", "WHAT TO MEND"), ((item.subject, item.text) for item in found))
    else:
        say("All is well.")


# --- settings and labels -----------------------------------------------------------------------------------


def _settings(site: Site) -> Iterator[Found]:
    if site.app.debug:
        say("Debug is on: what is unsafe only outside of debug is not looked for.", is_note=True)
    idle = out_of_place(site.services.settings, relaxed=site.app.debug or site.app.testing)
    for problem in (*site.gate.problems(site.app), *idle):
        yield Found(problem.setting, problem.text)


def _labels(site: Site) -> Iterator[Found]:
    for row in site.gate.route_table(site.app):
        if row.error:
            yield Found(row.rule, row.error)
    for fault in site.gate.rule_faults(site.app):
        yield Found("rules", fault)


# --- files (rule 30) ---------------------------------------------------------------------------------------


def _secret_files(known: list[Path]) -> Iterator[Found]:
    """Look at the files that settings come from, and at the `.env` that the `flask` command reads."""
    if path := find_dotenv(".env", usecwd=True):
        known = [Path(path), *known]
    for file in {path.resolve(): path for path in known}:
        yield from _loose(file, 0o600)


def _instance(site: Site) -> Iterator[Found]:
    yield from _loose(Path(site.app.instance_path), 0o700)


def _database_files(services: Services) -> Iterator[Found]:
    name = services.database.engine.url.database
    if services.database.is_sqlite and name and name != ":memory:":
        for ending in ("", "-wal", "-shm"):
            yield from _loose(Path(name + ending), 0o600)


def _loose(path: Path, mode: int) -> Iterator[Found]:
    """Find a file or folder that others than its owner may read or change."""
    try:
        present = path.stat().st_mode & 0o777
    except OSError:
        return
    if present & OTHERS:
        shown = os.path.relpath(path)
        yield Found(str(path), f"others can reach it (mode {present:04o}): chmod {mode:o} {shown}")


# --- the database ------------------------------------------------------------------------------------------


def _database(site: Site, facts: dict[str, object]) -> Iterator[Found]:
    services = site.services
    yield from _database_files(services)
    try:
        revision = migrations.current(services.database)
        facts["schema"] = revision
        if revision != REVISION:
            yield Found("database", _age(revision))
            return
        with services.database.snapshot() as connection:
            schemes = passwords.count_schemes(connection)
            shadowed = services.roles.shadowed(connection)
            facts["audit_head"] = services.audit.head(connection)
    except DatabaseUnavailableError as error:
        yield Found("database", in_words(error))
        return
    for name in shadowed:
        yield Found("roles", f"role {name} is declared in code and in the database: the code's permissions count")
    yield from _old_schemes(services, schemes)


def _age(revision: str | None) -> str:
    if revision is None:
        return "it has no tables yet: gatehouse db upgrade"
    if revision < REVISION:
        return f"its schema is {revision}, this release needs {REVISION}: gatehouse db upgrade"
    return f"its schema {revision} is of a newer release than this one ({REVISION}): install that release"


def _old_schemes(services: Services, schemes: Counter[str]) -> Iterator[Found]:
    for scheme, count in schemes.most_common():
        if not services.hasher.is_current(scheme):
            text = (
                f"{count} hashed by {scheme.lstrip('$')}: each is renewed at its user's next login; "
                "for those who do not come back: gatehouse user reset NAME"
            )
            yield Found("passwords", text)
