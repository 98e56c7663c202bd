"""`gatehouse db`: bring the tables to the newest schema, say which one they have."""

from __future__ import annotations

import click

from flask_gatehouse import migrations
from flask_gatehouse.kernel.schema import REVISION

from .app import Commands, Site, with_site
from .options import json_option
from .output import print_json, say


@click.group("db", cls=Commands)
def commands() -> None:
    """Upgrade the tables, or say which schema they have."""


@commands.command("upgrade")
@json_option
@with_site
def upgrade(site: Site, *, as_json: bool) -> None:
    """Bring the tables to the newest schema; does nothing where they have it."""
    database = site.services.database
    before = migrations.current(database)
    migrations.upgrade(database)
    if as_json:
        print_json({"before": before, "schema": REVISION})
    elif before == REVISION:
        say(f"The schema is the newest already: {REVISION}.")
    else:
        say(f"The schema is now {REVISION}.")


@commands.command("current")
@json_option
@with_site
def current(site: Site, *, as_json: bool) -> None:
    """Say which schema the tables have, and which one this release needs."""
    present = migrations.current(site.services.database)
    if as_json:
        print_json({"schema": present, "newest": REVISION})
    elif present is None:
        say("There are no tables yet: gatehouse db upgrade")
    else:
        say(f"{present} (newest)" if present == REVISION else f"{present} (this release needs {REVISION})")
