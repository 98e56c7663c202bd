"""`gatehouse init`: a fresh `.env`, a closed instance folder, the first administrator."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click
from flask.cli import NoAppException, ScriptInfo

from flask_gatehouse import migrations
from flask_gatehouse.domain import users
from flask_gatehouse.flows import register
from flask_gatehouse.kernel import parsing
from flask_gatehouse.kernel.identity import ADMIN, CLI
from flask_gatehouse.kernel.keys import new_secret

from .app import NO_GATE, find_app, site_of
from .options import is_terminal, read_password, reason_option, text
from .output import say

if TYPE_CHECKING:
    from flask_gatehouse.flows.services import Services

DEVELOPMENT = "http://127.0.0.1:5000,http://localhost:5000"
LATER = "Make the first administrator with: gatehouse user create NAME --role admin"
_PLAIN_APP = re.compile(r"[A-Za-z0-9_./:-]+")


def origin_list(value: str) -> str:
    """Return web origins, comma separated, in their one spelling.

    Raises:
        click.BadParameter: one of them is no origin.
    """
    try:
        return ",".join(parsing.origins(value))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command("init")
@click.option("--origin", type=origin_list, metavar="URL", help="Where the app is served, such as https://app.example.")
@click.option("--admin", type=text, metavar="NAME", help="Create this first administrator; the password as below.")
@click.option("--email", type=text, help="The administrator's e-mail address.")
@reason_option
@click.pass_context
def init(ctx: click.Context, origin: str | None, admin: str | None, email: str | None, reason: str) -> None:
    """Set up a folder: `.env` with a fresh secret, a closed instance folder, the first administrator.

    What exists is never overwritten. Needs no app; the administrator does. The password is asked for, or read as
    one line of standard input when that is no terminal.
    """
    if admin is not None:
        users.require_name(admin)
    _make_env(Path(".env"), ctx.ensure_object(ScriptInfo).app_import_path, origin)
    try:
        app = find_app(ctx)
    except NoAppException as error:
        if admin is not None:
            raise
        app = None
        say(error.format_message(), is_note=True)
    _make_folder(Path(app.instance_path if app else "instance"))
    if app is None or "gatehouse" not in app.extensions:
        if admin is not None:
            raise click.UsageError("an administrator needs an app with Gatehouse(app): name it with --app")
        say(f"{NO_GATE}." if app else "No app was found here yet.")
        say(LATER)
        return
    site = site_of(app)
    if migrations.current(site.services.database) is None:
        migrations.upgrade(site.services.database)
    site.gate.prepare_database(app)
    _make_admin(site.services, admin, email, reason)


def _make_env(path: Path, app: str | None, origin: str | None) -> None:
    """Write the file unless it exists: O_EXCL, mode 0600 (rule 30)."""
    if path.is_symlink() or path.exists():
        say(f"{path} exists: left as it is.")
        return
    lines = [
        "# Made by `gatehouse init`. Keep it secret: out of version control, out of backups that others read.",
        f"GATEHOUSE_SECRET_KEY={new_secret()}",
        f"GATEHOUSE_ORIGINS={origin or _ask_origin()}",
    ]
    if app and _PLAIN_APP.fullmatch(app):
        lines.append(f"FLASK_APP={app}")
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        say(f"{path} exists: left as it is.")
        return
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    say(f"{path} was made: a fresh secret, and where the app is served.")


def _ask_origin() -> str:
    if not is_terminal():
        return DEVELOPMENT
    return click.prompt("Where is the app served?", default=DEVELOPMENT, value_proc=origin_list, err=True)


def _make_folder(path: Path) -> None:
    """Make the folder, for its owner only, unless it exists (rule 30)."""
    if path.is_dir():
        return
    path.mkdir(mode=0o700, parents=True)
    say(f"{os.path.relpath(path)}/ was made, for its owner only.")


def _make_admin(services: Services, name: str | None, email: str | None, reason: str) -> None:
    with services.reading() as connection:
        has_admin = bool(services.roles.lasting_admins(connection, services.clock.now()))
    if has_admin:
        if name is not None:
            raise click.ClickException("there is an administrator already: use gatehouse user create")
        say("There is an administrator already.")
        return
    if name is None:
        if not is_terminal() or not click.confirm("Create the first administrator now?", default=True, err=True):
            say(LATER)
            return
        name = users.require_name(click.prompt("Name", value_proc=text, err=True))
    new = register.NewUser(name, read_password(f"Password for {name}"), email)
    created = register.create(services, new, [ADMIN], CLI, reason=reason)
    say(f"{created.username} is the first administrator.")
