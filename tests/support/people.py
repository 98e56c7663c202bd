"""People of the tests: made by code, logged in through the real form."""

from __future__ import annotations

from datetime import timedelta
from html.parser import HTMLParser

import pytest
from flask import Flask
from flask.testing import FlaskClient

from flask_gatehouse.domain import tokens, users
from flask_gatehouse.flows.services import Services
from tests.support.visitor import submit

PASSWORD = "quiet river stone"
PROGRAM = {"Accept": "application/json"}
HOUR = timedelta(hours=1)


def services_of(app: Flask) -> Services:
    """Return the wired services of an app."""
    services: Services = app.extensions["gatehouse"].services(app)
    return services


def make_person(app: Flask, name: str, *roles: str) -> int:
    """Make a user by code and return the id."""
    with app.app_context():
        made = app.extensions["gatehouse"].create_user(name, PASSWORD, roles=roles)
    return int(made.id)


def logged_in(app: Flask, name: str, *, agent: str = "") -> FlaskClient:
    """Return a browser in which somebody has logged in."""
    client = app.test_client()
    if agent:
        client.environ_base["HTTP_USER_AGENT"] = agent
    answer = submit(client, "/login", username=name, password=PASSWORD)
    assert answer.status_code == 303, answer.get_data(as_text=True)
    return client


def newcomer(app: Flask, name: str, *roles: str) -> FlaskClient:
    """Make a user and return a browser in which they have logged in."""
    make_person(app, name, *roles)
    return logged_in(app, name)


def session_of(client: FlaskClient) -> str:
    """Return the session id that a browser holds."""
    cookie = client.get_cookie("gatehouse")
    return cookie.value if cookie else ""


def thief_of(app: Flask, secret: str, *, agent: str = "") -> FlaskClient:
    """Return another browser that holds a copied session id."""
    client = app.test_client()
    client.set_cookie("gatehouse", secret)
    if agent:
        client.environ_base["HTTP_USER_AGENT"] = agent
    return client


def let_pass(app: Flask, monkeypatch: pytest.MonkeyPatch, time: timedelta) -> None:
    """Let time pass for an app."""
    clock = services_of(app).clock
    later = clock.now() + time // timedelta(microseconds=1)
    monkeypatch.setattr(clock, "now", lambda: later)


class Elements(HTMLParser):
    """The elements of a page with their attributes, in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.found.append((tag, {name: value or "" for name, value in attrs}))

    def named(self, tag: str) -> list[dict[str, str]]:
        """Return the attributes of all elements of one kind."""
        return [attributes for name, attributes in self.found if name == tag]

    def field(self, name: str) -> dict[str, str]:
        """Return the attributes of the form field of that name."""
        return next(attributes for attributes in self.named("input") if attributes.get("name") == name)


def confirming_link(services: Services, name: str) -> str:
    """Make a link that confirms `NAME@example.org` for a user, and return its secret."""
    with services.unit() as unit:
        found = users.find_by_name(unit.connection, name)
        assert found is not None
        terms = tokens.Terms(tokens.VERIFY_EMAIL, found.id, found.epoch, f"{name}@example.org")
        return tokens.issue_link(unit.connection, terms, now=unit.now, ends_at=unit.now + tokens.VERIFY_MICROS)
