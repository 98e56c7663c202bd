"""What the package gives to the tests of host apps."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import pytest
from flask import Flask
from flask.views import MethodView
from jinja2 import ChoiceLoader, DictLoader
from werkzeug.routing import BaseConverter

from flask_gatehouse import Gatehouse, SetupError, public
from flask_gatehouse.domain import mail
from flask_gatehouse.domain.mail import Letter
from flask_gatehouse.testing import FrozenClock, GatehouseClient, MailBox, open_routes

PASSWORD = "correct horse battery"


def test_rule_36_the_kit_refuses_outside_tests(make_app):
    app = make_app()
    app.testing = False
    with pytest.raises(SetupError, match="TESTING"):
        GatehouseClient(app)
    with pytest.raises(SetupError, match="TESTING"):
        open_routes(app)
    with pytest.raises(SetupError, match="TESTING"):
        MailBox(app)


def test_the_client_logs_in_as_a_browser_would(make_app):
    app = make_app()
    app.test_client_class = GatehouseClient
    with app.app_context():
        app.extensions["gatehouse"].create_user("alice", PASSWORD)
    client = app.test_client()
    assert client.get("/account").status_code == 302
    assert client.log_in("alice", PASSWORD).status_code == 303
    assert client.get("/account").status_code == 200


def test_v8_2_1_the_attack_finds_no_open_route_and_tells_one_that_answers(make_app):
    def setup(app: Flask, _gate: Gatehouse) -> None:
        app.add_url_rule("/opened", "opened", public(lambda: "open"))
        app.add_url_rule("/closed/<int:number>", "closed", lambda number: f"number {number}")

    app = make_app(setup)
    assert open_routes(app) == []
    app.login_manager.unauthorized_handler(lambda: "a handler that lets guests in")
    assert "GET /closed/<int:number>" in open_routes(app)


RULES = (
    "/text/<name>",
    "/text/<string(length=2):name>",
    "/long/<string(minlength=40):name>",
    "/int/<int:number>",
    "/bounded/<int(min=7, max=9):number>",
    "/digits/<int(fixed_digits=4):number>",
    "/float/<float:number>",
    "/uuid/<uuid:number>",
    "/any/<any(left, right):side>/<float:number>",
    "/path/<path:rest>",
    "/two/<int:number>-<uuid:other>",
)


@pytest.mark.parametrize("status", [200, 404, 405])
@pytest.mark.parametrize("rule", RULES)
def test_v8_2_1_the_attack_reaches_a_route_of_any_converter_and_takes_no_404_for_a_refusal(make_app, rule, status):
    app = make_app(lambda app, _: app.add_url_rule(rule, "lair", lambda **_: "inside", methods=["GET", "POST"]))
    assert open_routes(app) == []
    app.login_manager.unauthorized_handler(lambda: ("a handler that lets guests in", status))
    assert {f"GET {rule}", f"POST {rule}"} <= set(open_routes(app))


class Weekday(BaseConverter):
    """A converter of the app's own."""

    regex = "mon|tue"


def test_v8_2_1_a_route_that_the_attack_cannot_reach_is_part_of_what_it_returns(make_app):
    def setup(app: Flask, _gate: Gatehouse) -> None:
        app.url_map.converters["weekday"] = Weekday
        app.add_url_rule("/on/<weekday:day>", "lair", lambda day: day)

    app = make_app(setup)
    assert open_routes(app) == ["GET /on/<weekday:day> (not tried: give a path that reaches it in `samples`)"]
    assert open_routes(app, {"/on/<weekday:day>": "/on/sun"})[0].startswith("GET /on/<weekday:day> (not tried")
    assert open_routes(app, {"/on/<weekday:day>": "/on/tue"}) == []


def test_a_view_with_one_public_method_is_attacked_on_its_others(make_app):
    class Notes(MethodView):
        @public
        def get(self):
            return "open"

        def post(self):
            return "inside"

    app = make_app(lambda app, _: app.add_url_rule("/notes", view_func=Notes.as_view("notes")))
    assert open_routes(app) == []
    app.login_manager.unauthorized_handler(lambda: "a handler that lets guests in")
    assert [line for line in open_routes(app) if "/notes" in line] == ["POST /notes"]


def test_a_frozen_clock_goes_on_when_told():
    clock = FrozenClock(start=5)
    clock.advance(timedelta(seconds=1))
    assert clock.now() == 1_000_005


# --- the mail box --------------------------------------------------------------------------------------------------


@pytest.fixture
def person(make_app):
    """Return a client of an app without a mail server, whose mails come to `client.box`."""
    app = make_app(GATEHOUSE_LOGIN_NAME="email", GATEHOUSE_MAIL_URL="smtp://127.0.0.1:9")
    app.test_client_class = GatehouseClient
    client = app.test_client()
    client.box = MailBox(app)
    return client


def test_the_box_gets_the_mails_and_their_links_lead_in(person):
    person.submit("/register", email="alice@example.org", password=PASSWORD, confirm=PASSWORD)
    (mail,) = person.box.mails
    assert (mail.to, mail.subject) == ("alice@example.org", "Confirm your e-mail address for localhost:5000")
    assert mail.links == tuple(line for line in mail.text.splitlines() if line.startswith("http"))
    assert f'href="{mail.links[0]}"' in mail.html
    assert person.submit(mail.links[0]).status_code == 303
    assert person.log_in("alice@example.org", PASSWORD).status_code == 303
    assert [mail.subject for mail in person.box.to("alice@example.org")[1:]] == [
        "A new browser logged in at localhost:5000"
    ]
    assert person.box.to("bob@example.org") == ()


def test_the_box_empties_the_outbox_and_gets_nothing_of_what_rolled_back(person):
    person.get("/login")  # the first request makes the tables
    held = person.application.extensions["gatehouse"].services(person.application)
    letter = Letter("email_changed", None, "alice@example.org")
    with suppress(ZeroDivisionError), held.unit() as unit:
        mail.queue(unit.connection, [letter], unit.now)
        raise ZeroDivisionError
    assert person.box.mails == ()
    person.submit("/register", email="alice@example.org", password=PASSWORD, confirm=PASSWORD)
    with held.reading() as connection:
        assert mail.count(connection) == 1
    assert len(person.box.mails) == len(person.box.mails) == 1
    with held.reading() as connection:
        assert mail.count(connection) == 0


def test_a_template_that_cannot_be_rendered_fails_the_test_that_looks_into_the_box(person):
    loader = DictLoader({"gatehouse/mail/verify_email.txt": "{{ 1 / 0 }}"})
    person.application.jinja_loader = ChoiceLoader([loader, person.application.jinja_loader])
    person.submit("/register", email="alice@example.org", password=PASSWORD, confirm=PASSWORD)
    with pytest.raises(LookupError, match="1 mails were not sent"):
        _ = person.box.mails
