"""Wire everything together, and nothing else: no rule stands here."""

from __future__ import annotations

import logging
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from flask import current_app
from flask_login import current_user
from flask_wtf.csrf import generate_csrf

from . import features, migrations
from .domain import audit, mail, passwords, policy, roles, sessions, throttle
from .domain.passwords import breached
from .flows import post, register
from .flows.services import Services
from .http import respond
from .http.context import WIRED, Wired
from .http.cookie import GatehouseSessionInterface
from .http.flask_login import GatehouseLoginManager, User
from .http.gate import Gate
from .http.guard import GuardLayer
from .http.headers import HeaderLayer
from .http.labels import Label, as_label
from .http.letters import Letters
from .http.origin import Origins
from .http.rights import can
from .http.routes import Openings, RouteRow, RouteTable
from .kernel import problems
from .kernel import settings as settings_module
from .kernel.clock import Clock, micros
from .kernel.database import Database, open_engine
from .kernel.errors import DatabaseUnavailableError, HashingBusyError, SetupError
from .kernel.identity import APP, FOREVER, Identity
from .kernel.keys import KeyRing, new_secret
from .kernel.schema import mirror
from .web import blueprint, well_known

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from flask import Blueprint, Flask
    from flask.typing import ResponseReturnValue
    from sqlalchemy import Engine

    from .domain.users import UserRecord
    from .kernel.feature import Factor
    from .kernel.problems import Problem
    from .kernel.settings import Settings

EXTENSION = "gatehouse"

log = logging.getLogger("flask_gatehouse")


class Gatehouse:
    """The extension. `Gatehouse(app)` closes every route of the app that does not say `@public`.

    Args:
        app: the Flask app; None to call `init_app` later.
        db: Flask-SQLAlchemy's extension, to live in the app's own database.

    Attributes:
        clock: the only "now". A test puts a `flask_gatehouse.testing.FrozenClock` here, before `init_app`.
    """

    def __init__(self, app: Flask | None = None, *, db: Any = None) -> None:
        self._policy = policy.Policy()
        self._roles = roles.Roles()
        self._openings = Openings()
        self._tables: weakref.WeakSet[RouteTable] = weakref.WeakSet()
        self._factors: list[Factor] = []
        self.clock: Clock = Clock()
        if app is not None:
            self.init_app(app, db=db)

    # -- what an app says -----------------------------------------------------------------------------------------

    def permission(self, name: str, meaning: str, *, aal: int = 1) -> None:
        """Declare a permission, up to the first request.

        Args:
            name: such as `invoice:refund`.
            meaning: a sentence for administrators.
            aal: 2 lets it count only in sessions in which two factors were proven, whoever holds it, for `admin` too.

        Raises:
            SetupError: the name is not `resource:action`, or there is no such level.
        """
        self._policy.declare(name, meaning, aal)

    def role(self, name: str, permissions: Iterable[str], *, aal: int = 1) -> None:
        """Declare a role in code; it is read-only everywhere else.

        Args:
            name: the role's name, 80 characters at most; upper and lower case aside.
            permissions: what it allows, each declared before.
            aal: 2 lets the role count, its name and its permissions, only in sessions in which two factors were proven.

        Raises:
            SetupError: the name is taken or none, a permission is not declared, or there is no such level.
        """
        held = tuple(permissions)
        for permission in held:
            if permission not in self._policy.permissions:
                msg = f"role {name!r}: declare permission {permission!r} first, with gate.permission()"
                raise SetupError(msg)
        self._roles.declare(name, held, aal)

    def rule(self, permission: str) -> Callable[[Callable[[Identity, Any], bool]], Callable[[Identity, Any], bool]]:
        """Narrow a permission by a rule over the object, for administrators too.

        Args:
            permission: such as `invoice:read`, declared with `permission()` up to the first request.

        Returns:
            A decorator for `rule(identity, obj)`, which says True where the identity may; it leaves the function as
            it is.

        Raises:
            SetupError: the permission has a rule already. That it is not declared is found at the first request.
        """

        def add(function: Callable[[Identity, Any], bool]) -> Callable[[Identity, Any], bool]:
            self._policy.add_rule(permission, function)
            self._read_anew()
            return function

        return add

    def protect(self, blueprint: Blueprint, label: Label | Callable[..., Any]) -> None:
        """Put a label on every route of a blueprint, nested ones too; labels of its routes hold besides.

        Args:
            blueprint: the blueprint, registered before or after.
            label: such as `requires("reports:read")`, `login_required` or `fresh_login_required`.

        Raises:
            SetupError: it is `public`, or no label.
        """
        self._openings.protected.append((blueprint, as_label(label)))
        self._read_anew()

    def public(self, blueprint_or_endpoint: Blueprint | str) -> None:
        """Open someone else's blueprint or endpoint; routes in it with a label of their own keep it.

        Args:
            blueprint_or_endpoint: the blueprint, or the name of a blueprint or endpoint.
        """
        self._openings.public.append(blueprint_or_endpoint)
        self._read_anew()

    def csrf_exempt(self, blueprint_or_endpoint: Blueprint | str) -> None:
        """Spare a webhook the CSRF token; it must prove itself otherwise.

        Args:
            blueprint_or_endpoint: the blueprint, or the name of a blueprint or endpoint.
        """
        self._openings.csrf_exempt.append(blueprint_or_endpoint)
        self._read_anew()

    def _read_anew(self) -> None:
        """Let what was said count at once, for apps that have served a request already too."""
        for table in self._tables:
            table.forget()

    def create_user(self, name: str, password: str, email: str | None = None, roles: Iterable[str] = ()) -> User:
        """Make a user, inside an app context.

        Args:
            name: the login name.
            password: checked by the same rules as at registration.
            email: stored unverified.
            roles: names of roles to grant.

        Returns:
            The user, as `current_user` would show it; its `id` is what foreign keys point at.

        Raises:
            InvalidName, NameTaken, WeakPassword, InvalidEmail, UnknownRole: a value cannot be taken.
            HashingBusyError: no place to hash the password came free in time.
            DatabaseUnavailableError: the database does not answer.
            SchemaOutdatedError: the schema is old: run `gatehouse db upgrade`.

        Whatever is raised, nothing was made.
        """
        app = cast("Flask", current_app._get_current_object())  # type: ignore[attr-defined]  # noqa: SLF001 - werkzeug's documented way
        self.prepare_database(app)
        held = self.services(app)
        created = register.create(held, register.NewUser(name, password, email), roles, APP)
        return _user_of(held, created)

    # -- what commands ask ----------------------------------------------------------------------------------------

    def services(self, app: Flask) -> Services:
        """Return the wired domain objects of an app."""
        return cast("Wired", app.extensions[WIRED]).services

    def settings(self, app: Flask) -> Settings:
        """Return the settings of an app."""
        return self.services(app).settings

    def problems(self, app: Flask) -> list[Problem]:
        """Return what makes the app's settings unsafe to serve with."""
        told = app.extensions["gatehouse_told"]
        return problems.problems(self.settings(app), app.config, relaxed=app.debug or app.testing, told=told)

    def doubts(self, app: Flask) -> list[Problem]:
        """Return settings that should be mended, although the app serves with them."""
        return list(problems.doubts(self.settings(app), relaxed=app.debug or app.testing))

    def advice(self, app: Flask) -> list[Problem]:
        """Return settings that may be right, and are often forgotten."""
        return list(problems.advice(self.settings(app), app.config, relaxed=app.debug or app.testing))

    def secret_files(self, app: Flask) -> list[Path]:
        """Return the files that settings were read from, so that their modes can be looked at (rule 30)."""
        return settings_module.secret_files(app.config)

    def route_table(self, app: Flask) -> list[RouteRow]:
        """Return every route with what guards it."""
        return self._table(app).rows()

    def rule_faults(self, app: Flask) -> list[str]:
        """Return what is wrong with the object rules; the app would refuse its first request."""
        return self._table(app).rule_faults()

    def prepare_database(self, app: Flask) -> None:
        """Bring a SQLite database up to date; a PostgreSQL one must be.

        Raises:
            SchemaOutdatedError: the schema is old: run `gatehouse db upgrade`.
            DatabaseUnavailableError: the database does not answer.
        """
        migrations.prepare(self.services(app).database)

    # -- wiring ---------------------------------------------------------------------------------------------------

    def init_app(self, app: Flask, *, db: Any = None) -> None:
        """Guard an app.

        Args:
            app: the Flask app.
            db: Flask-SQLAlchemy's extension, initialised for this app: its engine is used, and `gatehouse_user`
                stands in its metadata for foreign keys.

        Raises:
            SettingsError: a setting is unknown or cannot be read.
            SetupError: the app has a LoginManager or another Gatehouse already, or matches routes by host.
        """
        if EXTENSION in app.extensions:
            msg = "the app has a Gatehouse already: call Gatehouse(app) or gate.init_app(app), and once"
            raise SetupError(msg)
        if app.url_map.host_matching:
            msg = "host_matching would hide Gatehouse's pages: make one app for each host, or use subdomain_matching"
            raise SetupError(msg)
        loaded = settings_module.load(app.config)
        app.extensions["gatehouse_told"] = problems.as_told(app.config)
        GatehouseLoginManager().init_app(app)
        engine = _engine(app, loaded, db)
        wired = Wired(self._services(app, loaded, Database(engine)), Origins(loaded.origins, loaded.trusted_proxies))
        app.extensions[EXTENSION] = self
        app.extensions[WIRED] = wired
        app.session_interface = GatehouseSessionInterface(wired, self._gate(app, wired))
        app.wsgi_app = HeaderLayer(GuardLayer(app.wsgi_app, app, wired), loaded.csp)  # type: ignore[method-assign]  # Flask's way to add a layer
        app.register_blueprint(blueprint(loaded), url_prefix=loaded.url_prefix or None)
        well_known(app)
        _configure_flask_wtf(app, wired)
        _fill_templates(app, loaded)
        app.register_error_handler(DatabaseUnavailableError, _unavailable)
        app.register_error_handler(HashingBusyError, _unavailable)

    def _gate(self, app: Flask, wired: Wired) -> Gate:
        table = RouteTable(app, self._openings, self._policy)
        self._tables.add(table)
        app.extensions["gatehouse_routes"] = table
        gate = Gate(wired, table, lambda served: self._make_ready(served, wired, table))
        gate.stand_first(app)
        return gate

    def _table(self, app: Flask) -> RouteTable:
        return cast("RouteTable", app.extensions["gatehouse_routes"])

    def _services(self, app: Flask, loaded: Settings, database: Database) -> Services:
        # Without a secret the app serves in debug and tests only, and then with one that nobody knows.
        keys = KeyRing(loaded.secret_key or new_secret(), loaded.secret_key_fallbacks)
        life = sessions.Lifetimes.of(
            loaded.session_idle,
            loaded.session_absolute,
            loaded.admin_idle,
            loaded.admin_absolute,
            loaded.remember,
        )
        is_demanded = loaded.admin_factor == "demanded"
        demands = policy.Demands(self._roles.demanding, self._policy.demanding, is_demanded, loaded.demands_factor)
        store = sessions.SqlSessions(database, self._roles.in_code, demands)
        on = features.switched_on(loaded.features, keys)
        factors = (*self._factors, *(factor for feature in on for factor in feature.factors))
        methods = tuple(factor.method for factor in factors)
        services = Services(
            settings=loaded,
            clock=self.clock,
            keys=keys,
            database=database,
            hasher=passwords.Hasher(loaded.argon2, passwords.HashingPool(), loaded.pepper, loaded.pepper_fallbacks),
            password_rules=passwords.PasswordRules(loaded.password_min, _context_words(app, loaded)),
            stolen_passwords=breached.list_of(loaded.breached_passwords),
            sessions=sessions.Sessions(store, life, loaded.session_protection, loaded.max_sessions),
            roles=self._roles,
            throttle=throttle.Throttle(
                database, keys, is_on=loaded.throttle == "on", login_name=loaded.login_name, methods=methods
            ),
            audit=audit.AuditLog(keys),
            policy=self._policy,
            freshness=policy.Freshness(micros(loaded.fresh), micros(loaded.admin_fresh)),
            mailer=mail.Mailer(loaded.mail_url, loaded.mail_sender),
            postman=mail.Postman(),
            writer=Letters(app, loaded.origins, app.config["APPLICATION_ROOT"], loaded.support),
            factors=factors,
        )
        services.postman.employ(lambda: post.work(services))
        return services

    def _make_ready(self, app: Flask, wired: Wired, table: RouteTable) -> bool:
        """Check everything once before the first request; False: the app refuses to serve."""
        found = self.problems(app)
        for problem in found:
            log.critical("refusing to serve: %s: %s", problem.setting, problem.text)
        if found:
            return False
        if app.login_manager.__class__ is not GatehouseLoginManager:  # type: ignore[attr-defined]
            msg = "the app made a second LoginManager: remove it, Gatehouse brings its own (app.login_manager)"
            raise SetupError(msg)
        app.login_manager.require_unchanged()  # type: ignore[attr-defined]
        if app.debug or app.testing:
            wired.origins.relax()
        table.require_sound()
        self.prepare_database(app)
        held = wired.services
        with held.reading() as connection:
            held.hasher.imitate(passwords.sample_digests(connection))
        if held.mailer.is_on:
            held.postman.wake()  # what a process that ended left behind
        return True


def _engine(app: Flask, loaded: Settings, db: Any) -> Engine:
    if db is None:
        url = loaded.database_url or f"sqlite:///{Path(app.instance_path) / 'gatehouse.sqlite3'}"
        return open_engine(url)
    mirror(db.metadata)
    with app.app_context():
        return cast("Engine", db.engine)


def _context_words(app: Flask, loaded: Settings) -> frozenset[str]:
    own = (app.name, "gatehouse", "flask-gatehouse", "flask_gatehouse")
    return frozenset(passwords.normalised(word).casefold() for word in (*own, *loaded.password_words))


def _configure_flask_wtf(app: Flask, wired: Wired) -> None:
    app.config["WTF_CSRF_SECRET_KEY"] = wired.csrf_keys[0].hex()
    app.config["WTF_CSRF_TIME_LIMIT"] = None
    app.config["WTF_CSRF_SSL_STRICT"] = False
    app.jinja_env.globals["csrf_token"] = generate_csrf


def _fill_templates(app: Flask, loaded: Settings) -> None:
    app.jinja_env.globals["current_user"] = current_user
    app.jinja_env.globals["can"] = can
    app.jinja_env.globals["gatehouse_registration"] = loaded.registration == "open"
    app.jinja_env.globals["gatehouse_support"] = (loaded.support, loaded.support_link) if loaded.support else None
    app.jinja_env.globals["gatehouse_nonce"] = respond.nonce


def _unavailable(error: Exception) -> ResponseReturnValue:
    log.error("503: %s", error)
    return respond.unavailable()


def _user_of(held: Services, record: UserRecord) -> User:
    now = held.clock.now()
    with held.reading() as connection:
        names = tuple(grant.role for grant in held.roles.grants_of(connection, record.id, now))
        rights = held.roles.rights_of(connection, record.id, now)
    identity = Identity(
        record.id, record.username, record.email, names, rights.permissions, rights.is_admin, (), 0, FOREVER, "", "app"
    )
    return User(identity)
