"""Fields nobody asked for, fields sent twice, methods that are not what they say."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from flask_gatehouse.kernel import schema
from tests.support.people import PASSWORD, PROGRAM, make_person, newcomer, services_of, session_of
from tests.support.visitor import csrf_token

NEW = "another quiet river"
FORM = "application/x-www-form-urlencoded"
EXTRA = {
    "is_admin": "1",
    "admin": "true",
    "role": "admin",
    "roles": "admin",
    "roles[]": "admin",
    "id": "1",
    "user_id": "1",
    "state": "suspended",
    "epoch": "99",
    "username_key": "root",
    "digest": "x",
    "verified": "1",
    "email_verified": "1",
    "temporary_until": "0",
    "permissions": "users:read",
    "__class__": "x",
    "_user_id": "1",
    "_fresh": "1",
    "aal": "2",
    "remember": "y",
    "is_pending": "0",
}


@pytest.fixture
def app(make_app):
    return make_app(GATEHOUSE_THROTTLE="off")


def token(client: FlaskClient) -> str:
    """Return a CSRF token of the client's session."""
    return csrf_token(client.get("/login").get_data(as_text=True))


def post(client: FlaskClient, path: str, fields: list[tuple[str, str]] | dict[str, str], **options) -> TestResponse:
    """Post fields exactly as given, repeated ones too, with a valid token."""
    pairs = list(fields.items()) if isinstance(fields, dict) else fields
    body = urlencode([("csrf_token", token(client)), *pairs])
    return client.post(path, data=body, content_type=FORM, **options)


def rows(app: Flask, table: sa.Table) -> list[dict[str, object]]:
    """Return all rows of a table."""
    with services_of(app).reading() as connection:
        return [dict(row._mapping) for row in connection.execute(sa.select(table))]


# --- fields nobody asked for --------------------------------------------------------------------------------


def test_v15_3_3_v8_2_3_registration_takes_its_own_fields_only(app):
    make_person(app, "root", "admin")
    fields = {**EXTRA, "username": "mallory", "password": NEW, "confirm": NEW, "email": "m@evil.example"}
    assert post(app.test_client(), "/register", fields).status_code == 303
    made = next(row for row in rows(app, schema.user) if row["username"] == "mallory")
    assert {name: made[name] for name in ("id", "state", "epoch", "username_key")} == {
        "id": 2,
        "state": "active",
        "epoch": 0,
        "username_key": "mallory",
    }
    assert [row["user_id"] for row in rows(app, schema.grant)] == [1]
    assert rows(app, schema.session) == []
    assert str(rows(app, schema.password)[1]["digest"]).startswith("$argon2id$")


def test_v15_3_3_login_and_step_up_take_their_own_fields_only(app):
    make_person(app, "root", "admin")
    make_person(app, "mallory")
    client = app.test_client()
    assert post(client, "/login", {**EXTRA, "username": "mallory", "password": PASSWORD}).status_code == 303
    (session,) = rows(app, schema.session)
    assert (session["user_id"], session["is_remembered"]) == (2, False)
    assert client.get("/for-admins").status_code == 403
    assert post(client, "/reauthenticate", {**EXTRA, "password": PASSWORD}).status_code == 303
    (session,) = rows(app, schema.session)
    assert session["user_id"] == 2
    assert str(session["proofs"]).count(":") == 2
    assert client.get("/for-admins").status_code == 403


def test_v15_3_3_v8_2_3_an_account_changes_itself_only(app):
    make_person(app, "root", "admin")
    mallory = newcomer(app, "mallory")
    fields = {**EXTRA, "username": "root", "email": "m@evil.example"}
    assert post(mallory, "/account", fields).status_code == 303
    change = {**EXTRA, "username": "root", "current": PASSWORD, "password": NEW, "confirm": NEW}
    assert post(mallory, "/account/password", change).status_code == 303
    found = {row["username"]: (row["email"], row["epoch"]) for row in rows(app, schema.user)}
    assert found == {"root": (None, 0), "mallory": ("m@evil.example", 1)}
    assert [row["user_id"] for row in rows(app, schema.grant)] == [1]


def test_v15_3_3_an_administrators_act_takes_the_user_from_the_url_only(app):
    root = newcomer(app, "root", "admin")
    make_person(app, "alice")
    make_person(app, "bob")
    fields = {"reason": "a test", "user_id": "3", "id": "3", "username": "bob", "state": "closed"}
    assert post(root, "/admin/users/2/suspend?user_id=3", fields).status_code == 303
    assert {row["username"]: row["state"] for row in rows(app, schema.user)} == {
        "root": "active",
        "alice": "suspended",
        "bob": "active",
    }


# --- fields sent twice --------------------------------------------------------------------------------------

WHOLE = {
    "/register": {"username": "carol", "password": NEW, "confirm": NEW, "email": "c@c.example"},
    "/login": {"username": "alice", "password": PASSWORD, "next": "/account"},
    "/account": {"email": "c@c.example"},
    "/account/password": {"current": PASSWORD, "password": NEW, "confirm": NEW},
    "/reauthenticate": {"password": PASSWORD, "next": "/account"},
    "/admin/users/2/suspend": {"reason": "a test"},
    "/admin/users/2/grant": {"role": "admin", "until": "2999-01-01T00:00:00Z", "reason": "a test"},
    "/admin/users/2/end-sessions": {"reason": "a test"},
    "/admin/users/2/reset-factors": {"reason": "a test"},
    "/admin/users/2/mark-compromised": {"reason": "a test"},
    "/admin/users/2/demand-factor": {"demanded": "y", "reason": "a test"},
}
TWICE = [(path, name) for path, fields in WHOLE.items() for name in fields]


@pytest.mark.parametrize("path, name", TWICE)
def test_v15_3_7_a_field_sent_twice_is_refused_whole(app, path, name):
    root = newcomer(app, "root", "admin")
    make_person(app, "alice")
    tables = (schema.user, schema.password, schema.grant, schema.session)
    before = [rows(app, table) for table in tables]
    for other in ("", WHOLE[path][name], "admin"):
        for pairs in ([*WHOLE[path].items(), (name, other)], [(name, other), *WHOLE[path].items()]):
            answer = post(root, path, pairs, headers=PROGRAM)
            assert answer.status_code == 422, (path, name, other)
            assert "more than once" in answer.get_data(as_text=True)
            assert name in answer.get_data(as_text=True)
            assert "more than once" in post(root, path, pairs).get_data(as_text=True)
    assert [rows(app, table) for table in tables] == before


def test_v15_3_7_the_same_name_in_query_and_form_is_read_from_the_form(app):
    root = newcomer(app, "root", "admin")
    make_person(app, "alice")
    stranger = app.test_client()
    query = urlencode({"username": "root", "password": NEW, "reason": "", "role": "x"})
    assert post(stranger, f"/login?{query}", {"username": "alice", "password": PASSWORD}).status_code == 303
    assert "alice" in stranger.get("/protected").text
    assert post(root, f"/admin/users/2/suspend?{query}", {"reason": "a test"}).status_code == 303
    assert post(app.test_client(), f"/login?{query}", {}).status_code == 422  # the query alone is no form


def test_v15_3_7_of_two_csrf_tokens_the_first_counts_and_a_header_before_both(app):
    alice = newcomer(app, "alice")
    good = token(alice)
    for pairs, status in (
        ([("csrf_token", good), ("csrf_token", "x")], 200),
        ([("csrf_token", "x"), ("csrf_token", good)], 403),
    ):
        assert alice.post("/change", data=urlencode(pairs), content_type=FORM).status_code == status
    body = urlencode([("csrf_token", good)])
    assert alice.post("/change", data=body, content_type=FORM, headers={"X-CSRFToken": "x"}).status_code == 403


@pytest.mark.parametrize("query", ["next=/account&next=//evil.example", "next=//evil.example&next=/account"])
def test_v15_3_7_next_twice_in_a_query_leads_nowhere_else(app, query):
    make_person(app, "alice")
    client = app.test_client()
    answer = post(client, f"/login?{query}", {"username": "alice", "password": PASSWORD})
    assert answer.location in {"/account", "/"}


# --- methods that are not what they say ---------------------------------------------------------------------

OVERRIDES = ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Original-Method", "X-Forwarded-Method")


@pytest.mark.parametrize("header", OVERRIDES)
def test_v4_1_4_a_header_does_not_override_the_method(app, header):
    alice = newcomer(app, "alice")
    seal = {"X-CSRFToken": token(alice)}
    for method in ("POST", "DELETE", "PUT"):
        assert alice.get("/logout", headers={header: method, **seal}).status_code == 405
        assert alice.get("/change", headers={header: method, **seal}).status_code == 405
    assert alice.post("/change", headers={header: "GET"}).status_code == 403  # no way around the token
    assert alice.post("/change", headers={header: "OPTIONS"}).status_code == 403
    assert alice.get("/protected").status_code == 200


def test_v4_1_4_a_field_or_a_query_does_not_override_the_method(app):
    alice = newcomer(app, "alice")
    for path in ("/logout?_method=POST", "/logout?method=POST", "/change?_method=POST&csrf_token=x"):
        assert alice.get(path).status_code == 405
    assert alice.post("/change", data={"_method": "GET"}).status_code == 403
    assert alice.get("/protected").status_code == 200


@pytest.mark.parametrize("header", ["X-Original-URL", "X-Rewrite-URL", "X-Original-URI", "X-Forwarded-Uri", "X-Url"])
def test_v8_3_1_a_header_does_not_override_the_path(app, header):
    make_person(app, "root", "admin")
    alice = newcomer(app, "alice")
    for path in ("/for-admins", "/admin", "/protected"):
        guest = app.test_client()
        assert guest.get("/", headers={header: path}).text == "open"
        assert guest.get(path, headers={header: "/"}).status_code == 302
    assert alice.get("/for-admins", headers={header: "/"}).status_code == 403


@pytest.mark.parametrize("method", ["TRACE", "TRACK", "CONNECT", "PUT", "PATCH", "DELETE", "PROPFIND", "GET\t", "💥"])
def test_v4_1_4_v13_4_4_other_verbs_reach_no_view(app, method):
    alice = newcomer(app, "alice")
    seal = {"X-CSRFToken": token(alice)}
    environ = {"REQUEST_METHOD": method}
    for path in ("/", "/protected", "/change", "/for-admins", "/account", "/logout", "/login"):
        answer = alice.get(path, headers=seal, environ_overrides=environ)
        assert answer.status_code == 405, path
        assert session_of(alice) not in answer.get_data(as_text=True)
    assert alice.get("/protected").status_code == 200


def test_v4_1_4_a_verb_in_lower_case_is_no_way_around_gate_or_token(app):
    guest, alice = app.test_client(), newcomer(app, "alice")
    assert guest.get("/protected", environ_overrides={"REQUEST_METHOD": "get"}).status_code == 302
    assert guest.get("/change", environ_overrides={"REQUEST_METHOD": "post"}).status_code == 302
    assert alice.get("/change", environ_overrides={"REQUEST_METHOD": "post"}).status_code == 403
    assert alice.get("/logout", environ_overrides={"REQUEST_METHOD": "Post"}).status_code == 403


def test_v8_2_1_head_opens_no_more_than_get(app):
    guest, alice = app.test_client(), newcomer(app, "alice")
    for path in ("/protected", "/fresh", "/for-admins", "/account", "/admin"):
        assert guest.head(path).status_code == 302
        assert alice.head(path).status_code == alice.get(path).status_code
        assert alice.head(path).get_data() == b""


@pytest.mark.parametrize(
    "path",
    [
        "/PROTECTED",
        "//protected",
        "/./protected",
        "/protected/",
        "/protected%2f",
        "/%70rotected",
        "/protected;x",
        "/protected%00",
        "/x/../protected",
        "/open/..%2fprotected",
    ],
)
def test_v8_2_1_no_other_spelling_of_a_path_is_open(app, path):
    answer = app.test_client().get(path, follow_redirects=True)
    assert answer.status_code in {404, 400} or answer.request.path == "/login"
    assert "inside" not in answer.text
