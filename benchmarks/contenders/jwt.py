"""Flask-JWT-Extended: the stateless way. A bearer token, no lookup, and no way to end it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from flask import Flask, jsonify, request
from flask.testing import FlaskClient
from flask.typing import ResponseReturnValue
from flask_jwt_extended import JWTManager, create_access_token, jwt_required
from werkzeug.security import check_password_hash, generate_password_hash

from benchmarks.browser import HEADERS, ORIGIN
from benchmarks.contender import (
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


def create(folder: Path) -> Contender:
    """The two routes beside a JSON login that hands out an access token."""
    app = Flask(__name__, instance_path=str(folder))
    app.config.update(SECRET_KEY=SECRET, JWT_SECRET_KEY=SECRET, JWT_ACCESS_TOKEN_EXPIRES=timedelta(hours=1))
    JWTManager(app)
    users = {USERNAME: generate_password_hash(PASSWORD)}

    @app.post("/login")
    def login() -> ResponseReturnValue:
        sent = request.get_json()
        if not check_password_hash(users[sent["username"]], sent["password"]):
            return jsonify(error="wrong name or password"), 401
        return jsonify(access_token=create_access_token(identity=sent["username"]))

    @app.get(PUBLIC_PATH)
    def public() -> str:
        return PUBLIC_TEXT

    @app.get(PROTECTED_PATH)
    @jwt_required()  # type: ignore[untyped-decorator]
    def protected() -> str:
        return PROTECTED_TEXT

    return Contender(Card("Flask-JWT-Extended"), app, log_in)


def log_in(client: FlaskClient) -> dict[str, str]:
    """Ask for a token as a program would."""
    answer = client.post("/login", base_url=ORIGIN, headers=HEADERS, json={"username": USERNAME, "password": PASSWORD})
    return {"Authorization": f"Bearer {answer.get_json()['access_token']}"}
