"""Holes that attackers of our own found in gate, labels and sessions, each closed once and for all."""

from __future__ import annotations

import json

from flask import Blueprint, Response

from flask_gatehouse import (
    current_user,
    fresh_login_required,
    public,
    role_required,
)
from tests.http.people import come_in, entries

ORIGIN = "https://app.example"
SERVING = {"TESTING": False, "GATEHOUSE_ORIGINS": ORIGIN, "GATEHOUSE_ARGON2": "19456,2,1"}


# --- the gate ----------------------------------------------------------------------------------------------


def silent_handlers(app, gate):
    app.login_manager.unauthorized_handler(lambda: None)
    app.login_manager.needs_refresh_handler(lambda: None)
    ran: list[str] = []
    app.config["RAN"] = ran

    def seen(name):
        ran.append(name)
        return name

    desk = Blueprint("desk", __name__)
    desk.get("/desk", endpoint="desk")(lambda: seen("desk"))
    app.register_blueprint(desk)
    gate.protect(desk, role_required("admin"))
    app.get("/secret", endpoint="secret")(lambda: seen("secret"))
    app.post("/delete", endpoint="delete")(lambda: seen("delete"))
    app.get("/fresh-only", endpoint="fresh-only")(fresh_login_required(lambda: seen("fresh")))


def test_rule_15_a_handler_of_the_host_that_answers_nothing_opens_nothing(make_app):
    app = make_app(silent_handlers)
    guest = app.test_client()
    for path in ("/secret", "/desk", "/fresh-only"):
        answer = guest.get(path)
        assert (answer.status_code, answer.location) == (302, f"/login?next={path}")
    assert guest.post("/delete").status_code == 302
    assert guest.get("/secret", headers={"Accept": "application/json"}).status_code == 401
    assert app.config["RAN"] == []


def test_rule_15_a_refresh_handler_that_answers_nothing_opens_nothing(make_app):
    app = make_app(silent_handlers, GATEHOUSE_FRESH="0")
    answer = come_in(app).get("/fresh-only")
    assert (answer.status_code, answer.location) == (302, "/reauthenticate?next=/fresh-only")
    assert app.config["RAN"] == []


def test_v3_5_1_csrf_switched_off_while_serving_stays_on(build):
    def setup(app, _gate):
        app.post("/send", endpoint="send")(public(lambda: "sent"))
        app.get("/", endpoint="home")(public(lambda: "open"))

    app = build(setup, **SERVING)
    client = app.test_client()
    assert client.get("/", base_url=ORIGIN).status_code == 200
    app.config["WTF_CSRF_ENABLED"] = False
    assert client.post("/send", base_url=ORIGIN, headers={"Origin": "https://evil.example"}).status_code == 403
    assert client.post("/send", base_url=ORIGIN).status_code == 403


def test_v16_2_5_a_refusal_records_no_one_time_link(make_app):
    app = make_app()
    client = come_in(app)
    secret = "s" * 43
    assert client.post(f"/reset-password/{secret}").status_code == 403
    assert client.post("/change").status_code == 403
    told = [json.loads(entry.detail)["path"] for entry in entries(app, "csrf.refused")]
    assert told == ["/change", "/reset-password/<token>"]


def test_v16_3_2_a_refused_page_of_ours_is_recorded_with_whom_it_was_about(make_app):
    app = make_app()
    assert come_in(app).get("/admin/users/7").status_code == 403
    assert [json.loads(entry.detail)["path"] for entry in entries(app, "access.denied")] == ["/admin/users/7"]


def test_rule_18_vary_grows_by_the_cookie_whatever_else_it_names(make_app):
    def setup(app, _gate):
        @app.get("/page")
        @public
        def page():
            return Response(f"hello {current_user.username}", headers={"Vary": "X-Cookie-Consent"})

        @app.get("/said")
        @public
        def said():
            return Response(f"hello {current_user.username}", headers={"Vary": "Accept, cookie"})

    client = make_app(setup).test_client()
    assert client.get("/page").headers["Vary"] == "X-Cookie-Consent, Cookie"
    assert client.get("/said").headers["Vary"] == "Accept, cookie"
