"""The tiny real app that tests put behind Gatehouse; in this process or, by `create_app`, in a server's."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

from flask import Flask, Response, jsonify, session

import flask_gatehouse as gatehouse
from tests.support.flasks import QuickFlask

Setup = Callable[[Flask, "gatehouse.Gatehouse"], None]

SECRET = "a secret of the tests, long enough to be taken for one"
CONFIG_VARIABLE = "TINY_APP_CONFIG"
DEFAULTS: dict[str, object] = {
    "TESTING": True,
    "SECRET_KEY": SECRET,
    "GATEHOUSE_ARGON2": "1024,1,1",  # a hash costs a millisecond; allowed under TESTING only
}


def build(config: dict[str, object], setup: Setup | None = None, *, folder: str | None = None) -> Flask:
    """Return an app with one route of each kind behind `Gatehouse(app)`.

    Args:
        config: Flask and Gatehouse settings, over `DEFAULTS`.
        setup: adds routes, roles or rules before the first request.
        folder: the instance folder.
    """
    app = QuickFlask("tests.support.apps", instance_path=folder)
    app.config.update(DEFAULTS)
    app.config.update(config)
    gate = gatehouse.Gatehouse(app)
    add_routes(app)
    if setup is not None:
        setup(app, gate)
    return app


def create_app() -> Flask:
    """Return the app that a server process serves; its config is JSON in one environment variable."""
    config = json.loads(os.environ.get(CONFIG_VARIABLE, "{}"))
    return build(config, folder=config.pop("INSTANCE_FOLDER", None))


def add_routes(app: Flask) -> None:
    """Give an app one route of each kind."""
    _add_open_routes(app)
    _add_guarded_routes(app)


def _add_open_routes(app: Flask) -> None:
    @app.get("/")
    @gatehouse.public
    def open_page() -> str:
        return "open"

    @app.get("/process")
    @gatehouse.public
    def process() -> str:
        return str(os.getpid())

    @app.get("/remember/<value>")
    @gatehouse.public
    def remember(value: str) -> Response:
        session["value"] = value
        return jsonify(value=value)

    @app.get("/recall")
    @gatehouse.public
    def recall() -> Response:
        return jsonify(value=session.get("value"))


def _add_guarded_routes(app: Flask) -> None:
    @app.get("/protected")
    def protected() -> str:
        return f"inside: {gatehouse.current_user.username}"

    @app.get("/labelled")
    @gatehouse.login_required
    def labelled() -> str:
        return f"inside: {gatehouse.current_user.username}"

    @app.get("/async")
    async def protected_async() -> str:
        return f"inside: {gatehouse.current_user.username}"

    @app.get("/fresh")
    @gatehouse.fresh_login_required
    def fresh() -> str:
        return "fresh"

    @app.get("/for-admins")
    @gatehouse.role_required("admin")
    def for_admins() -> str:
        return "admin"

    @app.get("/for-clerks")
    @gatehouse.role_required("clerk")
    def for_clerks() -> str:
        return "clerk"

    @app.post("/change")
    def change() -> str:
        return "changed"
