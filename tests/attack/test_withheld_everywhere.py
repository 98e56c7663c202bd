"""Where a factor is demanded of everybody, or an alarm stands: what an open view asks in the words of Flask-Login."""

from __future__ import annotations

import flask_login
from werkzeug.test import TestResponse

from flask_gatehouse import current_user, public
from tests.http.test_assurance import enrol_by_page
from tests.support.people import PROGRAM, logged_in, make_person
from tests.support.phones import ON
from tests.support.visitor import submit


def add_routes(app, gate):
    @app.get("/required")
    @public
    def require():
        return flask_login.login_required(lambda: "in")()

    @app.get("/fresh-required")
    @public
    def require_fresh():
        return flask_login.fresh_login_required(lambda: "in")()

    @app.get("/asked")
    @public
    def ask():
        return "in" if current_user.is_authenticated else app.login_manager.unauthorized()


def kind(answer: TestResponse) -> str:
    """Return what kind of problem a program was told."""
    return str((answer.json or {})["type"]).rpartition("/")[2]


OPEN = ("/required", "/fresh-required", "/asked")


def test_v6_3_3_what_flask_login_guards_in_an_open_view_is_shut_to_who_owes_a_factor(make_app):
    app = make_app(add_routes, **{**ON, "GATEHOUSE_USER_FACTOR": "demanded"})
    make_person(app, "bob")
    bob = logged_in(app, "bob")
    for path in OPEN:
        assert bob.get(path).location == f"/account/security?next={path}"
        assert kind(bob.get(path, headers=PROGRAM)) == "enrol"
    assert "Log out" in bob.get("/login").get_data(as_text=True)
    enrol_by_page(app, bob, "/account/security/totp")
    assert [bob.get(path).text for path in OPEN] == ["in", "in", "in"]


def test_rule_32_what_flask_login_guards_in_an_open_view_is_shut_while_an_alarm_stands(make_app):
    app = make_app(add_routes)
    make_person(app, "bob")
    assert submit(logged_in(app, "bob"), "/account/security/not-me", page="/account/security").status_code == 303
    thief = logged_in(app, "bob")
    for path in OPEN:
        assert thief.get(path).location == f"/account/security?next={path}"
        assert kind(thief.get(path, headers=PROGRAM)) == "alarm"
