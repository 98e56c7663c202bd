"""Find the app a command works on, and end a command on a refusal: what all commands share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

import click
from flask.cli import NoAppException, ScriptInfo

from flask_gatehouse.domain import users
from flask_gatehouse.flows.acts import Act
from flask_gatehouse.flows.outcomes import Refused
from flask_gatehouse.kernel.errors import GatehouseError, InvalidFieldError
from flask_gatehouse.kernel.identity import CLI

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

    from flask_gatehouse.domain.users import UserRecord
    from flask_gatehouse.flows.services import Services
    from flask_gatehouse.http.routes import RouteRow
    from flask_gatehouse.kernel.problems import Problem

P = ParamSpec("P")
R = TypeVar("R")

NO_APP = "no Flask app found: name it with --app or FLASK_APP (in .env too), or call it app.py or wsgi.py"
APP_FILES = ("wsgi.py", "app.py")
"""Where Flask looks by itself."""
NO_KEYS = (
    "GATEHOUSE_SECRET_KEY is not set here: what this command wrote could not be verified by the app afterwards. "
    "Set the secret that the app has."
)
MAIL_SECONDS = 10.0
"""How long a command waits for its mail to be handed over; what is not, the app sends."""
NO_GATE = "this app has no Gatehouse: add Gatehouse(app)"


class Extension(Protocol):
    """What commands ask of the extension: `app.extensions["gatehouse"]`."""

    def services(self, app: Flask) -> Services:
        """Return the wired domain objects."""

    def problems(self, app: Flask) -> list[Problem]:
        """Return what makes the app refuse to serve."""

    def doubts(self, app: Flask) -> list[Problem]:
        """Return settings that should be mended, although the app serves with them."""

    def advice(self, app: Flask) -> list[Problem]:
        """Return settings that may be right, and are often forgotten."""

    def secret_files(self, app: Flask) -> list[Path]:
        """Return the files that settings were read from."""

    def route_table(self, app: Flask) -> list[RouteRow]:
        """Return every route with what guards it."""

    def rule_faults(self, app: Flask) -> list[str]:
        """Return what is wrong with the object rules."""

    def prepare_database(self, app: Flask) -> None:
        """Bring SQLite to the newest schema; raise where PostgreSQL is not."""


@dataclass(frozen=True, slots=True)
class Site:
    """The app that was found, with its extension."""

    app: Flask
    gate: Extension

    @property
    def services(self) -> Services:
        """The wired domain objects, the database as it is."""
        return self.gate.services(self.app)


class Commands(click.Group):
    """A group that ends on an error of ours with one line and exit code 1, never with a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except InvalidFieldError as error:
            raise click.ClickException(f"{error.field}: {error}") from error
        except GatehouseError as error:
            raise click.ClickException(in_words(error)) from error


def in_words(error: GatehouseError) -> str:
    """Return what is wrong in one line, with the cause where the database has told one."""
    cause = getattr(error.__cause__, "orig", None)
    lines = str(cause).splitlines() if cause is not None else []
    return f"{error}: {lines[0]}" if lines else str(error)


def find_app(ctx: click.Context) -> Flask | None:
    """Return the app named by `--app`, `FLASK_APP` or the file's name; None when none is named and none is there.

    Raises:
        NoAppException: the app that was named, or the file that should hold it, cannot be used; exit code 2.
    """
    info = ctx.ensure_object(ScriptInfo)
    try:
        return info.load_app()
    except NoAppException:
        if info.app_import_path or any(Path(name).exists() for name in APP_FILES):
            raise
        return None


def site_of(app: Flask) -> Site:
    """Return the site of an app.

    Raises:
        click.ClickException: the app has no Gatehouse.
    """
    gate = app.extensions.get("gatehouse")
    if gate is None:
        raise click.ClickException(NO_GATE)
    return Site(app, gate)


def with_site(command: Callable[Concatenate[Site, P], R]) -> Callable[P, R]:
    """Hand the site to a command that looks at an app which may be unfit to serve."""

    @click.pass_context
    def run(ctx: click.Context, /, *args: P.args, **kwargs: P.kwargs) -> R:
        app = find_app(ctx)
        if app is None:
            raise click.UsageError(NO_APP)
        ctx.with_resource(app.app_context())
        return command(site_of(app), *args, **kwargs)

    return update_wrapper(run, command)


def services_of(ctx: click.Context) -> Services:
    """Return the services of the app that was found, for a command that does not always need one."""
    return ctx.invoke(with_services(_itself))


def _itself(services: Services) -> Services:
    return services


def with_services(command: Callable[Concatenate[Services, P], R]) -> Callable[P, R]:
    """Hand the services to a command, over a database that is ready for them."""

    def run(site: Site, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if not (site.services.settings.secret_key or site.app.debug or site.app.testing):
            raise click.ClickException(NO_KEYS)
        site.gate.prepare_database(site.app)
        try:
            return command(site.services, *args, **kwargs)
        finally:
            site.services.postman.rest(MAIL_SECONDS)  # what it told by mail leaves before the process ends

    return with_site(update_wrapper(run, command))


def act(reason: str) -> Act:
    """Return who acts: the command line, which may do everything."""
    return Act(CLI, None, reason)


def accepted(result: R | Refused) -> R:
    """Return what a flow gave back.

    Raises:
        click.ClickException: it was a refusal; exit code 1.
    """
    if isinstance(result, Refused):
        name = f"{result.field}: " if result.field else ""
        raise click.ClickException(name + (result.text or result.reason.value))
    return result


def require_user(services: Services, name: str) -> UserRecord:
    """Return a user by login name, upper and lower case aside.

    Raises:
        click.ClickException: there is none; exit code 1.
    """
    with services.reading() as connection:
        found = users.find_by_name(connection, name)
    if found is None:
        raise click.ClickException(f"no user is named {name}")
    return found
