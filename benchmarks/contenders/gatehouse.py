"""Gatehouse as a site would run it: neither debug nor testing, every default check on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import flask_login
from flask import Flask
from flask.testing import FlaskClient

from benchmarks.browser import ORIGIN, cookie_header, submit
from benchmarks.contender import (
    GATEHOUSE,
    GATEHOUSE_FLASK_LOGIN,
    GATEHOUSE_POSTGRES,
    NOTES_POSTGRES,
    PASSWORD,
    PROTECTED_PATH,
    PROTECTED_TEXT,
    PUBLIC_PATH,
    PUBLIC_TEXT,
    SECRET,
    USERNAME,
    Card,
    Contender,
)
from flask_gatehouse import Gatehouse, login_required, public
from flask_gatehouse.cli import commands

View = Callable[[], str]


def create(folder: Path, **config: object) -> Contender:
    """Under Gatehouse's own label, on SQLite unless the settings name another database."""
    url = str(config.pop("GATEHOUSE_DATABASE_URL", sqlite(folder)))
    return Contender(Card(GATEHOUSE), build(folder, url, **config), log_in)


def create_flask_login(folder: Path) -> Contender:
    """Under the decorator that an app written for Flask-Login already has."""
    app = build(folder, sqlite(folder), label=flask_login.login_required)
    return Contender(Card(GATEHOUSE_FLASK_LOGIN), app, log_in)


def create_postgres(folder: Path, url: str) -> Contender:
    """Under Gatehouse's own label, on PostgreSQL."""
    app = build(folder, url)
    upgraded = app.test_cli_runner().invoke(commands, ["db", "upgrade"])
    if upgraded.exit_code:
        raise RuntimeError(f"gatehouse db upgrade: {upgraded.output}")
    return Contender(Card(GATEHOUSE_POSTGRES, peer=NOTES_POSTGRES), app, log_in)


def build(folder: Path, url: str, label: Callable[[View], View] = login_required, **config: object) -> Flask:
    """The two routes behind the whole perimeter."""
    app = Flask(__name__, instance_path=str(folder))
    app.config.update(SECRET_KEY=SECRET, GATEHOUSE_ORIGINS=ORIGIN, GATEHOUSE_DATABASE_URL=url, **config)
    Gatehouse(app)

    @app.get(PUBLIC_PATH)
    @public
    def anyone() -> str:
        return PUBLIC_TEXT

    @app.get(PROTECTED_PATH)
    @label
    def members() -> str:
        return PROTECTED_TEXT

    return app


def register(client: FlaskClient) -> None:
    """Register through the form."""
    submit(client, "/register", username=USERNAME, password=PASSWORD, confirm=PASSWORD)


def log_in(client: FlaskClient) -> dict[str, str]:
    """Register and log in through the two forms."""
    register(client)
    submit(client, "/login", username=USERNAME, password=PASSWORD)
    return cookie_header(client)


def sqlite(folder: Path) -> str:
    """Where a contender of a folder keeps its rows."""
    return f"sqlite:///{folder / 'gatehouse.sqlite'}"
