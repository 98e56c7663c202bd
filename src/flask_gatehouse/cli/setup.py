"""`gatehouse init`: a fresh `.env`, an app, a closed instance folder, the first administrator."""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
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

from .app import NO_GATE, Site, find_app, site_of
from .first_app import NAME, TEXT, start_command
from .options import is_terminal, read_password, reason_option, text
from .output import say

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

    from flask_gatehouse.flows.services import Services

DEVELOPMENT = "http://127.0.0.1:5000,http://localhost:5000"
PROFILES = ("default", "strict")
LATER = "Make the first administrator with: gatehouse user create NAME --role admin"
FACTORS = "totp,recovery_codes"
FACTOR_PACKAGES = ("cryptography", "pyotp", "segno")
NO_FACTORS = (
    "The strict profile demands a second factor of administrators: run pip install 'flask-gatehouse[totp]', and add "
    "to .env GATEHOUSE_FEATURES="
)
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
@click.option("--profile", type=click.Choice(PROFILES), help="How strict the defaults are.")
@click.option("--admin", type=text, metavar="NAME", help="Create this first administrator; the password as below.")
@click.option("--email", type=text, help="The administrator's e-mail address.")
@reason_option
@click.pass_context
def init(
    ctx: click.Context, *, origin: str | None, profile: str | None, admin: str | None, email: str | None, reason: str
) -> None:
    """Set up a folder: `.env` with fresh secrets, an app if there is none, its tables, the first administrator.

    What exists is never overwritten: run it again after a change, or after an app was put there. At a terminal origin
    and profile are asked for, unless --origin names the one. The password is asked for, or read as one line of standard
    input when that is no terminal.
    """
    if admin is not None:
        users.require_name(admin)
    named = ctx.ensure_object(ScriptInfo).app_import_path
    is_first_run = _make_env(Path(".env"), named, lambda: _asked_for(origin, profile))
    if not is_first_run and Path(NAME).exists():
        say(f"{NAME} exists: left as it is.")
    try:
        app = find_app(ctx) or _first_app(ctx)
    except NoAppException as error:
        if admin is not None:
            raise
        say(error.format_message(), is_note=True)
        _make_folder(Path("instance"))
        say(LATER)
        return
    _make_folder(Path(app.instance_path))
    if "gatehouse" not in app.extensions:
        if admin is not None:
            raise click.UsageError("an administrator needs an app with Gatehouse(app): name it with --app")
        say(f"{NO_GATE}.")
        say(LATER)
        return
    site = site_of(app)
    if migrations.current(site.services.database) is None:
        migrations.upgrade(site.services.database)
    site.gate.prepare_database(app)
    _make_admin(site.services, admin, email, reason)
    _say_how_to_start(site, named)


def _first_app(ctx: click.Context) -> Flask:
    """Write an app to start with, and load it."""
    _write_new(Path(NAME), TEXT, 0o644)
    say(f"{NAME} was made: an app to start with.")
    app = find_app(ctx)
    if app is None:
        msg = f"{NAME} cannot be loaded"
        raise click.ClickException(msg)
    return app


def _say_how_to_start(site: Site, named: str | None) -> None:
    found = site.gate.problems(site.app)
    for problem in found:
        say(f"{problem.setting}: {problem.text}", is_note=True)
    if not found:
        say(f"Start it with: {start_command(site.app, named, site.services.settings)}")


def _make_env(path: Path, app: str | None, ask: Callable[[], tuple[str, str]]) -> bool:
    """Write the file unless it exists (False): O_EXCL, mode 0600 (rule 30)."""
    if path.is_symlink() or path.exists():
        say(f"{path} exists: left as it is.")
        return False
    origin, profile = ask()
    lines = [
        "# Made by `gatehouse init`. Keep it secret: out of version control, out of backups that others read.",
        f"GATEHOUSE_SECRET_KEY={new_secret()}",
        f"GATEHOUSE_ORIGINS={origin}",
        f"GATEHOUSE_PROFILE={profile}",
    ]
    if profile == "strict":
        lines += [f"GATEHOUSE_PEPPER={new_secret()}", *_factors()]
    if app and _PLAIN_APP.fullmatch(app):
        lines.append(f"FLASK_APP={app}")
    is_made = _write_new(path, "\n".join(lines) + "\n", 0o600)
    say(
        f"{path} was made: a fresh secret, and where the app is served."
        if is_made
        else f"{path} exists: left as it is."
    )
    return is_made


def _factors() -> list[str]:
    """Return the line that switches second factors on, which the strict profile demands of administrators."""
    if all(find_spec(package) for package in FACTOR_PACKAGES):
        return [f"GATEHOUSE_FEATURES={FACTORS}"]
    say(f"{NO_FACTORS}{FACTORS}.", is_note=True)
    return []


def _write_new(path: Path, content: str, mode: int) -> bool:
    """Write a file that is not there yet, whole or not at all; False: it is, and was left as it is.

    It gets its name once it is on the disk: what a full disk or a kill had cut short would be "left as it is" for ever.

    Raises:
        click.FileError: it could not be written, and nothing of it is there.
    """
    draft = path.with_name(f"{path.name}.{new_secret()[:8]}.new")
    try:
        handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _give_name(draft, path)
    except FileExistsError:
        return False
    except OSError as error:
        raise click.FileError(str(path), error.strerror or str(error)) from error
    finally:
        draft.unlink(missing_ok=True)
    return True


def _give_name(draft: Path, path: Path) -> None:
    """Let the draft have a name that nobody has yet.

    Raises:
        FileExistsError: somebody has.
    """
    try:
        os.link(draft, path)  # never overwrites, as a rename would
    except FileExistsError:
        raise
    except OSError:  # a file system without links: take the name first, then put the draft in its place
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        draft.replace(path)


def _asked_for(origin: str | None, profile: str | None) -> tuple[str, str]:
    """Return origin and profile; whoever names the origin, or is no person, is asked for nothing more."""
    if origin is not None or not is_terminal():
        return origin or DEVELOPMENT, profile or PROFILES[0]
    origin = click.prompt("Where is the app served?", default=DEVELOPMENT, value_proc=origin_list, err=True)
    if profile is None:
        profile = click.prompt("Which profile?", default=PROFILES[0], type=click.Choice(PROFILES), err=True)
    return origin, profile


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
