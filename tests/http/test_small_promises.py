"""Promises that take a line each: methods, hints, e-mail as a factor, what answers hold, faults that nobody caught."""

from __future__ import annotations

import json
import logging

import pytest
import sqlalchemy as sa

from flask_gatehouse import public
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.schema import metadata
from tests.http.people import PASSWORD, come_in, gate_of, log_in, our_pages, services, set_cookies, token_of


@pytest.mark.parametrize("method", ["TRACE", "PUT", "PATCH", "DELETE", "PROPFIND", "BOGUS"])
def test_v4_1_4_v13_4_4_other_methods_are_refused_on_every_page(build, method):
    app = build()
    client = come_in(app, "alice", "admin")
    token = token_of(client)
    pages = {**our_pages(app, "GET"), **our_pages(app, "POST")}
    assert len(pages) > 15
    for path in pages.values():
        assert client.open(path, method=method, headers={"X-CSRFToken": token}).status_code == 405, path


def test_v6_4_2_63b_3_1_1_2_10_63b_3_1_1_2_11_there_is_no_hint_and_no_security_question(build):
    words = ("hint", "question", "answer", "birth", "maiden")
    tables = [table for table in metadata.sorted_tables if table.name != "gatehouse_passkey_answer"]  # a signed one
    columns = [f"{table.name}.{column.name}" for table in tables for column in table.columns]
    app = build()
    routes = [row.rule for row in gate_of(app).route_table(app)]
    client = app.test_client()
    shown = [client.get(path).get_data(as_text=True).lower() for path in ("/login", "/register")]
    assert not [name for name in columns + routes if any(word in name for word in words)]
    assert not [word for page in shown for word in words if f'name="{word}' in page]


def test_v6_3_6_63b_3_1_3_1_an_address_opens_nothing(build):
    app = build()
    with app.app_context():
        gate_of(app).create_user("alice", PASSWORD, email="alice@example.org")
    client = app.test_client()
    assert log_in(client, "alice@example.org").status_code == 401
    pages = [row.rule for row in gate_of(app).route_table(app) if "mail" in row.rule]
    assert pages == ["/account/second-email", "/verify-email/<token>"]  # which log nobody in


def test_63b_5_1_1_2_the_session_cookie_is_bound_to_host_path_and_protocol(build):
    app = build()
    with app.app_context():
        gate_of(app).create_user("alice", PASSWORD)
    client = app.test_client()
    base = "https://localhost"
    page = client.get("/login", base_url=base).get_data(as_text=True)
    token = page.partition('name="csrf_token" value="')[2].partition('"')[0]
    sent = {"username": "alice", "password": PASSWORD, "csrf_token": token}
    answer = client.post("/login", data=sent, base_url=base)
    assert answer.status_code == 303
    line = set_cookies(answer)["__Host-gatehouse"]
    parts = {part.strip().lower() for part in line.split(";")[1:]}
    assert parts == {"secure", "httponly", "path=/", "samesite=lax"}


def test_v15_3_1_a_program_gets_only_what_it_needs(build):
    app = build()
    client = app.test_client()
    json_only = {"Accept": "application/json", "X-CSRFToken": token_of(client)}
    fields = {"username": "alice", "password": PASSWORD, "confirm": PASSWORD, "email": "a@example.org"}
    made = client.post("/register", data=fields, headers=json_only)
    assert made.status_code == 201
    assert set(made.get_json()) == {"next", "id", "username"}
    entered = client.post("/login", data=fields, headers=json_only)
    assert entered.status_code == 200
    assert set(entered.get_json()) == {"next"}


def test_v16_5_4_v16_5_1_a_fault_that_nobody_caught_is_logged_and_told_in_general(build, caplog):
    def setup(app, _gate):
        @app.get("/broken")
        @public
        def broken():
            secret = "hunter2 in a variable"
            raise RuntimeError(secret)

    app = build(setup, PROPAGATE_EXCEPTIONS=False)
    client = app.test_client()
    with caplog.at_level(logging.ERROR):
        answer = client.get("/broken")
    assert answer.status_code == 500
    assert "hunter2" not in answer.get_data(as_text=True)
    assert "RuntimeError" in caplog.text
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert client.get("/login").status_code == 200


def test_v1_3_10_what_people_type_is_never_a_format(build):
    app = build()
    client = come_in(app, "alice", "admin")
    with app.app_context():
        bob = gate_of(app).create_user("bob", PASSWORD)
    reason = "%s %n {0.__class__} {{7*7}}"
    sent = {"reason": reason, "csrf_token": token_of(client)}
    assert client.post(f"/admin/users/{bob.id}/suspend", data=sent).status_code == 303
    with services(app).reading() as connection:
        query = sa.select(schema.event.c.detail).where(schema.event.c.kind == "user.suspended")
        assert json.loads(connection.execute(query).scalar_one())["reason"] == reason
    shown = client.get(f"/admin/users/{bob.id}").get_data(as_text=True)
    assert "{0.__class__} {{7*7}}" in shown
