"""People at the door of a tiny app: users, logged-in clients, what the log says, a clock that stands still."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import flask_gatehouse as gatehouse
from flask_gatehouse.domain import users
from flask_gatehouse.domain.audit import Entry
from flask_gatehouse.flows import administer
from flask_gatehouse.flows.acts import Act
from flask_gatehouse.flows.services import Services
from flask_gatehouse.http.flask_login import User
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.clock import Instant
from flask_gatehouse.kernel.identity import CLI, HAS, Proof
from flask_gatehouse.testing import FrozenClock
from tests.support.visitor import csrf_token, submit

PASSWORD = "correct horse battery"
CODE = "246810"
SESSION, GUEST, PENDING = "gatehouse", "gatehouse-guest", "gatehouse-pending"
JSON = {"Accept": "application/json"}
ACT = Act(CLI, None, "a test")

Setup = Callable[[Flask, gatehouse.Gatehouse], Any]


class StillClock(FrozenClock):
    """A clock that stands still; `move(minutes=10)` lets time pass."""

    def move(self, **duration: float) -> None:
        """Let time pass."""
        self.advance(timedelta(**duration))


class CodeFactor:
    """A second factor for tests: users enrolled here owe `CODE`."""

    method, kind, field = "code", HAS, "code"

    def __init__(self) -> None:
        self.holders: set[int] = set()

    def enrolled(self, connection: sa.Connection, user_id: int) -> bool:
        """Tell whether the user has it."""
        del connection
        return user_id in self.holders

    def verify(self, connection: sa.Connection, user_id: int, answer: str, now: Instant) -> Proof | None:
        """Take `CODE` and nothing else."""
        del connection, user_id
        return Proof(self.method, now, self.kind) if answer == CODE else None

    def forget(self, connection: sa.Connection, user_id: int, since: Instant = 0) -> bool:
        """Let the user owe it no longer."""
        del connection
        was_held = user_id in self.holders
        self.holders.discard(user_id)
        return was_held


def services(app: Flask) -> Services:
    """Return what the app's flows work with."""
    found: Services = gate_of(app).services(app)
    return found


def gate_of(app: Flask) -> gatehouse.Gatehouse:
    """Return the app's Gatehouse."""
    found: gatehouse.Gatehouse = app.extensions["gatehouse"]
    return found


def add_user(app: Flask, name: str = "alice", *roles: str) -> User:
    """Make a user with `PASSWORD`."""
    with app.app_context():
        return gate_of(app).create_user(name, PASSWORD, roles=roles)


def log_in(client: FlaskClient, name: str = "alice", password: str = PASSWORD, **fields: str) -> TestResponse:
    """Fill in the login form."""
    return submit(client, "/login", username=name, password=password, **fields)


def reauthenticate(client: FlaskClient, password: str = PASSWORD, **fields: str) -> TestResponse:
    """Prove the password again."""
    return submit(client, "/reauthenticate", password=password, **fields)


def answer_factor(client: FlaskClient, code: str = CODE, **fields: str) -> TestResponse:
    """Fill in the form of the second factor."""
    return submit(client, "/login/factor", code=code, **fields)


def log_out(client: FlaskClient, **fields: str) -> TestResponse:
    """Press the button of the account's page."""
    return submit(client, "/logout", page="/account", **fields)


def enter(app: Flask, name: str = "alice") -> FlaskClient:
    """Return the client of a person who has just logged in."""
    client = app.test_client()
    assert log_in(client, name).status_code == 303
    return client


def come_in(app: Flask, name: str = "alice", *roles: str) -> FlaskClient:
    """Make a user and return their logged-in client."""
    add_user(app, name, *roles)
    return enter(app, name)


def cookie(client: FlaskClient, name: str = SESSION) -> str:
    """Return a cookie's value, `""` where there is none."""
    found = client.get_cookie(name)
    return found.value if found is not None else ""


def token_of(client: FlaskClient, page: str = "/login") -> str:
    """Return a CSRF token from a page's form."""
    return csrf_token(client.get(page).get_data(as_text=True))


def entries(app: Flask, kind: str = "") -> list[Entry]:
    """Return what the audit log says, newest first."""
    held = services(app)
    with held.reading() as connection:
        return held.audit.search(connection, kind=kind, limit=100_000)


def kinds(app: Flask) -> list[str]:
    """Return the kinds of all events, oldest first."""
    return [entry.kind for entry in reversed(entries(app))]


def count(app: Flask, table: sa.Table = schema.session) -> int:
    """Return how many rows a table has."""
    with services(app).reading() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def set_cookies(answer: TestResponse) -> dict[str, str]:
    """Return the whole `Set-Cookie` lines by the cookie's name."""
    return {line.partition("=")[0]: line for line in answer.headers.getlist("Set-Cookie")}


def is_inside(client: FlaskClient, path: str = "/protected", **options: Any) -> bool:
    """Tell whether a client passes the gate."""
    status = client.get(path, **options).status_code
    assert status in {200, 302}
    return status == 200


def problem(answer: TestResponse) -> dict[str, Any]:
    """Return an RFC 9457 body, having checked that it is one."""
    assert answer.content_type == "application/problem+json"
    found: dict[str, Any] = json.loads(answer.get_data())
    assert found["status"] == answer.status_code
    assert found["title"]
    return found


def grant(app: Flask, name: str, role: str, until_at: Instant | None = None) -> None:
    """Give a role, as a command would."""
    assert administer.grant(services(app), ACT, user_id(app, name), role, until_at)


def withdraw(app: Flask, name: str, role: str) -> None:
    """Take a role away."""
    assert administer.withdraw(services(app), ACT, user_id(app, name), role)


def suspend(app: Flask, name: str) -> None:
    """Suspend a user."""
    assert administer.suspend(services(app), ACT, user_id(app, name))


def user_id(app: Flask, name: str) -> int:
    """Return the id of a login name."""
    with services(app).reading() as connection:
        found = users.find_by_name(connection, name)
    assert found is not None
    return found.id


def our_pages(app: Flask, method: str) -> dict[str, str]:
    """Return Gatehouse's own routes that take a method, static files aside: endpoint → a URL (of user 2)."""
    values = {"<token>": "x" * 43, "<public_id>": "a" * 16}
    found = {}
    for row in gate_of(app).route_table(app):
        if row.endpoint.startswith("gatehouse.") and method in row.methods and row.endpoint != "gatehouse.static":
            found[row.endpoint] = re.sub(r"<[^>]+>", lambda match: values.get(match[0], "2"), row.rule)
    return found
