"""Rule 18: what depends on the cookie says so, and what is private is stored nowhere."""

from __future__ import annotations

import pytest
from flask import Response, jsonify, render_template_string, session

from flask_gatehouse import can, current_user, public
from tests.http.people import JSON, add_user, come_in, cookie, log_in, our_pages, services, suspend


def pages(app, gate):
    app.get("/plain", endpoint="plain")(public(lambda: "plain"))
    app.get("/inside", endpoint="inside")(lambda: "inside")
    asks = {
        "user": lambda: str(current_user.get_id()),
        "session": lambda: jsonify(session.get("x")),
        "contains": lambda: jsonify("x" in session),
        "can": lambda: jsonify(can("users:read")),
        "iterate": lambda: jsonify(list(session)),
        "template": lambda: render_template_string("{% if current_user.is_authenticated %}in{% endif %}"),
    }
    for name, view in asks.items():
        app.get(f"/asks/{name}", endpoint=name)(public(view))
    app.get("/token", endpoint="token")(public(lambda: render_template_string("{{ csrf_token() }}")))

    @app.get("/own/<kind>")
    @public
    def own(kind):
        response = Response(str(current_user.get_id()))
        if kind == "star":
            response.headers["Vary"] = "*"
        elif kind == "vary":
            response.headers["Vary"] = "Accept, cookie"
        else:
            response.headers["Vary"] = "Accept"
            response.headers["Cache-Control"] = "public, max-age=3600"
        return response


ASKING = ["user", "session", "contains", "can", "iterate", "template"]


@pytest.fixture
def app(build):
    return build(pages)


@pytest.fixture
def clients(app):
    """Return a guest, somebody inside, and holders of an unknown and of a suspended session."""
    unknown = app.test_client()
    unknown.set_cookie("gatehouse", "A" * 43)
    ended = come_in(app, "ended")
    suspend(app, "ended")
    return {"guest": app.test_client(), "inside": come_in(app), "unknown": unknown, "ended": ended}


@pytest.mark.parametrize("name", ASKING)
def test_rule_18_an_answer_that_asked_who_it_is_varies_by_cookie_found_or_not(clients, name):
    varies = {who: client.get(f"/asks/{name}").headers.get("Vary") for who, client in clients.items()}
    assert varies == dict.fromkeys(clients, "Cookie")


def test_rule_18_an_answer_that_did_not_ask_does_not_vary(clients):
    for client in clients.values():
        answer = client.get("/plain")
        assert answer.text == "plain"
        assert "Vary" not in answer.headers
        assert "Cache-Control" not in answer.headers


def test_rule_18_every_answer_of_a_guarded_route_varies_refusals_too(clients):
    for client in clients.values():
        for options in ({}, {"headers": JSON}):
            assert client.get("/inside", **options).headers["Vary"] == "Cookie"
        assert client.get("/account").headers["Vary"] == "Cookie"


def test_v14_2_2_v14_3_2_rule_18_what_somebody_inside_sees_is_stored_nowhere(clients):
    inside = clients["inside"]
    for path in ("/inside", *(f"/asks/{name}" for name in ASKING), "/own/cached", "/account"):
        assert inside.get(path).headers.getlist("Cache-Control") == ["no-store"]


def test_rule_18_a_guest_who_was_only_looked_for_may_be_cached_by_cookie(clients):
    answer = clients["guest"].get("/own/cached")
    assert answer.headers["Cache-Control"] == "public, max-age=3600"
    assert answer.headers["Vary"] == "Accept, Cookie"


def test_rule_18_a_page_with_a_csrf_token_is_stored_nowhere(clients):
    for client in clients.values():
        for _ in range(2):  # made at first, read afterwards
            answer = client.get("/token")
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["Vary"] == "Cookie"


def test_rule_18_what_the_app_varies_by_stays(clients):
    for client in clients.values():
        assert client.get("/own/star").headers["Vary"] == "*"
        assert client.get("/own/vary").headers["Vary"] == "Accept, cookie"


def test_v14_3_2_every_page_of_the_door_is_stored_nowhere(build):
    app = build(pages, GATEHOUSE_THROTTLE="off")
    root = come_in(app, "root", "admin")
    checked = 0
    for path in our_pages(app, "GET").values():
        for client in (root, app.test_client()):
            answer = client.get(path)
            if answer.status_code != 302:
                checked += 1
                assert answer.headers["Cache-Control"] == "no-store", path
    assert checked > 12


def test_v14_2_5_unknown_suffixes_of_private_pages_are_404(clients):
    for path in (
        "/account/x.css",
        "/account/sessions/x.js",
        "/account;x.css",
        "/account%0ax.css",
        "/account/..%2fx.css",
    ):
        answer = clients["inside"].get(path)
        assert answer.status_code in {404, 405}, path
        assert "alice" not in answer.text


def test_v14_2_1_no_secret_is_in_a_location(build):
    """Where people are sent says nothing that opens anything, the one-time link aside."""
    app = build(pages)
    add_user(app)
    client = app.test_client()
    answers = [client.get("/inside"), log_in(client), client.get("/inside"), client.get("/account")]
    secret = cookie(client)
    assert services(app).settings.secret_key not in str([answer.headers for answer in answers])
    assert secret
    assert not any(secret in (answer.location or "") for answer in answers)
