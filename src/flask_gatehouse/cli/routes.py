"""`gatehouse routes`: every route of the app with what guards it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .app import Site, with_site
from .options import json_option
from .output import print_json, print_table, say

if TYPE_CHECKING:
    from flask_gatehouse.http.routes import RouteRow


@click.command("routes")
@click.option("--strict", is_flag=True, help="Exit 1 also for routes without a label of their own.")
@json_option
@with_site
@click.pass_context
def routes(ctx: click.Context, site: Site, *, strict: bool, as_json: bool) -> None:
    """List every route with what guards it; exit 1 for labels that are lost, misspelt or contradict each other.

    A route without a label of its own needs a login.
    """
    rows = site.gate.route_table(site.app)
    if as_json:
        print_json([_facts(row) for row in rows])
    else:
        columns = ("RULE", "METHODS", "ENDPOINT", "GUARDED BY", "LABEL")
        print_table(columns, (_cells(row) for row in rows))
    wrong = [row for row in rows if row.error]
    bare = [row for row in rows if not row.is_labelled and not row.error] if strict else []
    for row in wrong:
        say(f"{row.rule}: {row.error}", is_note=True)
    faults = site.gate.rule_faults(site.app)
    for fault in faults:
        say(fault, is_note=True)
    for row in bare:
        say(f"{row.rule}: {row.endpoint} has no label of its own: say @login_required or @public", is_note=True)
    if wrong or faults or bare:
        ctx.exit(1)


def _cells(row: RouteRow) -> tuple[object, ...]:
    label = "ERROR" if row.error else "own" if row.is_labelled else "none"
    return (row.rule, row.methods, row.endpoint, row.requirement_text, label)


def _facts(row: RouteRow) -> dict[str, object]:
    return {
        "rule": row.rule,
        "methods": list(row.methods),
        "endpoint": row.endpoint,
        "guard": row.requirement_text,
        "is_labelled": row.is_labelled,
        "error": row.error or None,
    }
