"""The table of statuses in the public face, for pages and for programs, and the order in which checks answer."""

from __future__ import annotations

import io
import re
import time
from concurrent.futures import ThreadPoolExecutor
from html import escape
from threading import Event

import pytest
from flask import abort, jsonify, request
from werkzeug.exceptions import HTTPException

from flask_gatehouse import fresh_login_required, public, requires, role_required
from tests.http.people import (
    JSON,
    PASSWORD,
    CodeFactor,
    StillClock,
    add_user,
    answer_factor,
    come_in,
    cookie,
    count,
    enter,
    entries,
    gate_of,
    is_inside,
    log_in,
    our_pages,
    problem,
    services,
    suspend,
    token_of,
)
from tests.support.visitor import submit

NEW_PASSWORD = "another horse entirely"


def pages(app, gate):
    gate.permission("invoice:read", "Read invoices")
    app.get("/protected", endpoint="protected")(lambda: "inside")
    app.add_url_rule("/change", "change", lambda: "changed", methods=["POST", "PUT"])
    app.get("/fresh", endpoint="fresh")(fresh_login_required(lambda: "fresh"))
    app.get("/admins", endpoint="admins")(role_required("admin")(lambda: "admin"))
    app.get("/invoices", endpoint="invoices")(requires("invoice:read")(lambda: "invoices"))
    app.get("/api/things", endpoint="things")(lambda: "things")
    app.get("/apis", endpoint="apis")(lambda: "apis")

    @app.post("/upload")
    @public
    def upload():
        return str(len(request.get_data()))


@pytest.fixture
def app(build):
    return build(pages)


def send(client, path, token, headers=None, **fields):
    return client.post(path, data={"csrf_token": token, **fields}, headers=headers)


# --- the rows of the table: page and program ----------------------------------------------------------------


def test_a_guest_on_a_guarded_route(app):
    guest = app.test_client()
    page = guest.get("/protected")
    assert (page.status_code, page.location) == (302, "/login?next=/protected")
    told = guest.get("/protected", headers=JSON)
    assert told.status_code == 401
    assert told.headers["WWW-Authenticate"].startswith("Session ")
    assert problem(told)["type"] == "urn:flask-gatehouse:problem/login"


def test_not_allowed(app):
    alice = come_in(app)
    page = alice.get("/admins")
    assert page.status_code == 403
    assert "You do not have permission to do this." in page.text
    assert "admin" not in page.text.lower()
    told = alice.get("/admins", headers=JSON)
    assert (told.status_code, problem(told)["type"]) == (403, "urn:flask-gatehouse:problem/forbidden")
    assert "WWW-Authenticate" not in told.headers


def test_v16_3_2_a_refusal_of_somebody_inside_is_recorded_with_who_where_and_what(app):
    alice = come_in(app)
    alice.get("/invoices")
    entry = entries(app)[0]
    assert (entry.kind, entry.outcome, entry.actor, entry.user_id) == ("access.denied", "refused", "alice", 1)
    assert "/invoices" in entry.detail
    assert "invoice:read" in entry.detail
    assert (entry.address, len(entry.session_id), len(entry.request_id)) == ("127.0.0.1", 16, 16)


@pytest.mark.parametrize("kind", ["403", "HTTPException", "Exception"])
def test_the_hosts_own_403_wins(build, kind):
    def setup(app, gate):
        pages(app, gate)
        handled = {"403": 403, "HTTPException": HTTPException, "Exception": Exception}[kind]
        app.register_error_handler(handled, lambda error: ("the host's own page", 403))

    app = build(setup)
    alice = come_in(app)
    answer = alice.get("/admins")
    assert (answer.status_code, answer.text) == (403, "the host's own page")
    assert problem(alice.get("/admins", headers=JSON))["status"] == 403


def test_the_hosts_other_handlers_keep_working(build):
    def setup(app, gate):
        pages(app, gate)
        app.register_error_handler(404, lambda error: ("the host's own 404", 404))
        app.register_error_handler(418, lambda error: (jsonify(error="tea"), 418))
        app.get("/tea", endpoint="tea")(public(lambda: abort(418)))

    guest = build(setup).test_client()
    assert guest.get("/nowhere").text == "the host's own 404"
    assert guest.get("/tea").get_json() == {"error": "tea"}


def test_not_fresh(build):
    clock = StillClock()
    app = build(pages, clock=clock)
    alice = come_in(app)
    clock.move(minutes=11)
    page = alice.get("/fresh?a=1")
    assert (page.status_code, page.location) == (302, "/reauthenticate?next=/fresh?a%3D1")
    told = alice.get("/fresh", headers=JSON)
    assert told.status_code == 401
    assert told.headers["WWW-Authenticate"]
    assert problem(told)["type"] == "urn:flask-gatehouse:problem/step-up"
    assert alice.post("/account", data={"csrf_token": token_of(alice)}).location == "/reauthenticate"


def test_registered_nobody_is_logged_in(app):
    client = app.test_client()
    page = submit(client, "/register", username="alice", password=PASSWORD, confirm=PASSWORD)
    assert (page.status_code, page.location) == (303, "/login")
    assert not is_inside(client)
    told = send(client, "/register", token_of(client), JSON, username="bobby", password=PASSWORD, confirm=PASSWORD)
    assert told.status_code == 201
    assert told.get_json() == {"next": "/login", "id": 2, "username": "bobby"}
    assert count(app) == 0


def test_password_right_factor_due(build):
    factor = CodeFactor()
    app = build(pages, factors=[factor])
    factor.holders.add(add_user(app).id)
    client = app.test_client()
    page = log_in(client)
    assert (page.status_code, page.location) == (303, "/login/factor")
    told = send(app.test_client(), "/login", "", JSON)
    assert told.status_code == 403
    program = app.test_client()
    told = send(program, "/login", token_of(program), JSON, username="alice", password=PASSWORD)
    assert (told.status_code, told.get_json()["next"]) == (202, "/login/factor")
    assert answer_factor(client, "wrong").status_code == 401
    assert answer_factor(client).status_code == 303


def test_v6_3_8_rule_09_wrong_name_password_and_suspended_are_one_401(build):
    app = build(pages, GATEHOUSE_THROTTLE="off")
    for name in ("alice", "gone"):
        add_user(app, name)
    suspend(app, "gone")
    cases = {
        "wrong password": ("alice", "wrong horse battery"),
        "no such user": ("nobody", PASSWORD),
        "suspended": ("gone", PASSWORD),
        "suspended and wrong": ("gone", "wrong horse battery"),
        "impossible name": ("al", PASSWORD),
        "a name with blanks": (" alice ", PASSWORD),
        "a long name": ("a" * 300, PASSWORD),
        "not ascii": ("al\u017fce", PASSWORD),
        "a long password": ("alice", "a" * 2000),
        "a short password": ("alice", "a"),
    }
    pages_seen, told_seen = set(), set()
    for name, password in cases.values():
        client = app.test_client()
        token = token_of(client)
        page = send(client, "/login", token, username=name, password=password)
        told = send(client, "/login", token, JSON, username=name, password=password)
        assert (page.status_code, told.status_code) == (401, 401), name
        pages_seen.add(without_what_differs(page, name))
        told_seen.add((told.get_data(), str(sorted(told.headers))))
    assert len(pages_seen) == 1
    assert len(told_seen) == 1
    assert b"Wrong name or password." in told_seen.pop()[0]


def without_what_differs(page, name):
    """Return headers and body without nonce, token and the name as it was typed."""
    text = re.sub(r'nonce[-=]"?[\w-]+|name="csrf_token" value="[^"]+"', "", page.text)
    headers = re.sub(r"nonce-[\w-]+|\('Content-Length', '\d+'\)", "", str(sorted(page.headers)))
    return headers + text.replace(f'value="{escape(name)}"', 'value=""')


def test_v2_2_2_a_field_that_cannot_be_taken_is_422_beside_the_field(app):
    client = app.test_client()
    token = token_of(client, "/register")
    for fields, field in (
        ({"username": "al", "password": PASSWORD, "confirm": PASSWORD}, "username"),
        ({"username": "alice", "password": "short", "confirm": "short"}, "password"),
        ({"username": "alice", "password": PASSWORD, "confirm": "other"}, "confirm"),
        ({"username": "alice", "password": PASSWORD, "confirm": PASSWORD, "email": "x"}, "email"),
        ({}, "username"),
    ):
        page = send(client, "/register", token, **fields)
        assert page.status_code == 422
        assert f'id="{field}-error"' in page.text
        assert field in problem(send(client, "/register", token, JSON, **fields))["errors"]


def test_a_taken_name_is_422(app):
    add_user(app, "alice")
    fields = {"username": "ALICE", "password": PASSWORD, "confirm": PASSWORD}
    client = app.test_client()
    assert submit(client, "/register", **fields).status_code == 422
    told = send(client, "/register", token_of(client), JSON, **fields)
    assert problem(told)["errors"] == {"username": ["This name is taken."]}


@pytest.mark.parametrize(
    "fields", [{}, {"username": "alice"}, {"password": PASSWORD}, {"username": "a\x00", "password": "b"}]
)
def test_login_refuses_only_what_is_empty_or_holds_control_characters_with_422(app, fields):
    client = app.test_client()
    assert send(client, "/login", token_of(client), **fields).status_code == 422
    assert problem(send(client, "/login", token_of(client), JSON, **fields))["errors"]


def test_csrf_is_403(app):
    client = app.test_client()
    assert client.post("/login", data={"username": "x", "password": "y"}).status_code == 403
    assert problem(client.post("/login", headers=JSON))["status"] == 403


def test_throttled_is_429_and_says_when_to_come_back(app):
    add_user(app)
    client = app.test_client()
    answers = [log_in(client, password="wrong horse battery") for _ in range(6)]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429]
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 30
    assert "data-retry-after" in answers[-1].text
    token = token_of(client)
    told = send(client, "/login", token, JSON, username="alice", password=PASSWORD)
    assert (told.status_code, problem(told)["title"]) == (429, "too many attempts")
    assert int(told.headers["Retry-After"]) >= 1


def test_v15_2_2_v15_4_4_a_full_hashing_pool_is_503_and_says_when_to_come_back(app):
    add_user(app)
    client = app.test_client()
    token, done = token_of(client), Event()
    pool = services(app).hasher._pool
    threads = ThreadPoolExecutor(3)
    busy = [threads.submit(pool.run, done.wait) for _ in range(3)]
    while not pool.is_full():
        time.sleep(0.001)
    try:
        page = send(client, "/login", token, username="alice", password=PASSWORD)
        told = send(client, "/login", token, JSON, username="alice", password=PASSWORD)
        new = {"username": "bobby", "password": PASSWORD, "confirm": PASSWORD}
        assert [answer.status_code for answer in (page, told, send(client, "/register", token, **new))] == [503] * 3
        assert int(page.headers["Retry-After"]) >= 1
        assert problem(told)["title"] == "the server is busy"
        assert app.test_client().get("/protected").status_code == 302  # others are served meanwhile
    finally:
        done.set()
    for future in busy:
        future.result(timeout=60)
    assert log_in(client).status_code == 303


def test_success(app):
    add_user(app)
    client = app.test_client()
    assert (log_in(client).status_code, client.get("/account").status_code) == (303, 200)
    program = app.test_client()
    told = send(program, "/login", token_of(program), JSON, username="alice", password=PASSWORD, next="/protected")
    assert (told.status_code, told.content_type, told.get_json()["next"]) == (200, "application/json", "/protected")
    told = send(program, "/logout", token_of(program), JSON)
    assert (told.status_code, told.get_json()["next"]) == (200, "/login")


def test_unknown_things_are_404_and_wrong_methods_405(app):
    root = come_in(app, "root", "admin")
    assert root.get("/admin/users/999").status_code == 404
    assert root.get(f"/admin/users/{2**63}").status_code == 404
    assert root.get("/logout").status_code == 405
    assert send(root, f"/account/sessions/{'0' * 16}/end", token_of(root)).status_code == 404
    assert problem(send(root, "/account/sessions/x/end", token_of(root), JSON))["status"] == 404


def test_a_closed_registration_is_404(build):
    guest = build(pages, GATEHOUSE_REGISTRATION="closed").test_client()
    assert guest.get("/register").status_code == 404
    assert guest.post("/register").status_code == 404
    assert "/register" not in guest.get("/login").text


def test_v6_4_1_a_dead_link_is_410(app):
    guest = app.test_client()
    assert guest.get(f"/reset-password/{'A' * 43}").status_code == 410
    assert send(guest, f"/reset-password/{'A' * 43}", token_of(guest)).status_code == 410


# --- the order of checks ------------------------------------------------------------------------------------


def test_host_before_size_before_gate_before_csrf_before_fields(build):
    """One request that is wrong in every way; the faults are mended one by one, the answers follow the order."""
    app = build(pages, GATEHOUSE_ORIGINS="http://localhost", GATEHOUSE_THROTTLE="off")
    client = app.test_client()
    alice = come_in(app)
    big = b"current=" + b"x" * 70_000
    host = {"environ_overrides": {"HTTP_HOST": "evil.example"}}
    origin = {"headers": {"Origin": "http://evil.example"}}
    form = {"content_type": "application/x-www-form-urlencoded"}
    path = "/account/password"
    assert client.post(path, data=big, **form, **origin, **host).status_code == 400
    assert client.post(path, data=big, **form, **origin).status_code == 413
    assert client.post(path, data=b"current=x", **form, **origin).status_code == 302
    assert alice.post(path, data=b"current=x", **form, **origin).status_code == 403
    assert send(alice, path, "").status_code == 403
    assert send(alice, path, token_of(alice)).status_code == 422


def test_the_gate_answers_before_csrf_and_csrf_before_freshness_is_no_help(build):
    clock = StillClock()
    app = build(pages, clock=clock)
    assert app.test_client().post("/change").location == "/login"
    alice = come_in(app)
    clock.move(minutes=11)
    assert alice.post("/account").location == "/reauthenticate"
    assert alice.post("/admin/users/1/suspend").status_code == 403


def test_the_throttle_answers_before_the_fields_are_judged(app):
    client = app.test_client()
    token = token_of(client)
    weak = {"username": "x", "password": "short", "confirm": "short"}
    statuses = [send(client, "/register", token, **weak).status_code for _ in range(25)]
    assert set(statuses[:10]) == {422}
    assert statuses[-1] == 429
    assert send(client, "/register", "", **weak).status_code == 403


@pytest.mark.parametrize("size, status", [(64 * 1024 - 100, 422), (64 * 1024 + 1, 413), (1_000_000, 413)])
def test_our_own_forms_take_64_kilobytes(app, size, status):
    client = app.test_client()
    token = token_of(client)
    prefix = f"csrf_token={token}&username=".encode()
    body = prefix + b"x" * (size - len(prefix))
    answer = client.post("/login", data=body, content_type="application/x-www-form-urlencoded")
    assert answer.status_code == status


def test_a_body_that_grows_beyond_what_it_said_is_413(app):
    client = app.test_client()
    body = b"username=" + b"x" * 100_000
    answer = client.post(
        "/login",
        input_stream=io.BytesIO(body),
        content_type="application/x-www-form-urlencoded",
        environ_overrides={"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"},
    )
    assert answer.status_code == 413


def test_size_is_told_to_programs_and_pages(app):
    client = app.test_client()
    body = {"username": "x" * 70_000}
    page = client.post("/login", data=body)
    assert "more than the form takes" in page.text
    assert problem(client.post("/login", data=body, headers=JSON))["status"] == 413


def test_the_limit_of_our_forms_is_not_the_hosts(app):
    client = app.test_client()
    token = token_of(client)
    answer = client.post("/upload", data=b"x" * 300_000, headers={"X-CSRFToken": token})
    assert answer.text == "300000"


def test_the_hosts_own_limit_answers_before_the_gate(build):
    app = build(pages, MAX_CONTENT_LENGTH=1000)
    guest = app.test_client()
    assert guest.post("/change", data=b"x" * 2000).status_code == 413
    assert guest.post("/change", data=b"x" * 200).status_code == 302
    alice = come_in(app)
    assert alice.post("/change", data=b"x" * 2000, headers={"X-CSRFToken": token_of(alice)}).status_code == 413


def test_v16_4_1_a_foreign_host_is_logged_once_with_the_mend_and_cannot_forge_a_line(build, caplog):
    app = build(GATEHOUSE_ORIGINS="https://app.example")
    for host in ("evil\r\nCRITICAL:root:forged\x1b[2J\x85" + "x" * 400, "other.example"):
        environ = {"HTTP_HOST": host, "wsgi.url_scheme": "https"}
        assert app.test_client().get("/login", environ_overrides=environ).status_code == 400
    (line,) = [record.getMessage() for record in caplog.records if record.name == "flask_gatehouse.gate"]
    assert "'evil\\r\\nCRITICAL" in line
    assert "add it to GATEHOUSE_ORIGINS" in line
    assert line.isascii()
    assert line.isprintable()
    assert len(line) < 300


def test_foreign_hosts_get_400_on_every_kind_of_route(build):
    app = build(pages, GATEHOUSE_ORIGINS="http://localhost")
    alice = come_in(app)
    for client in (alice, app.test_client()):
        for path in ("/protected", "/login", "/nowhere", "/static/x", "/gatehouse-static/gatehouse.css", "/account"):
            answer = client.get(path, headers={"Host": "evil.example"})
            assert (answer.status_code, answer.text) == (400, "Bad Request: unknown host\n")
            assert "Set-Cookie" not in answer.headers
    assert count(app) == 1


# --- who is a program ---------------------------------------------------------------------------------------

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    "headers, is_program",
    [
        ({}, False),
        ({"Accept": ""}, False),
        ({"Accept": "*/*"}, False),
        ({"Accept": BROWSER}, False),
        ({"Accept": "text/html"}, False),
        ({"Accept": "image/png"}, False),
        ({"Accept": "application/*"}, False),
        ({"Accept": "text/html, application/json"}, False),
        ({"Accept": "application/json;q=0.5, text/html"}, False),
        ({"Accept": "application/json;q=0"}, False),
        ({"Accept": "garbage;;q=,,"}, False),
        ({"Accept": "application/json"}, True),
        ({"Accept": "application/problem+json"}, True),
        ({"Accept": "application/json, text/html;q=0.9"}, True),
        ({"Accept": "application/json, */*;q=0.1"}, True),
        ({"Authorization": "Bearer x"}, True),
        ({"Authorization": "bearer x", "Accept": BROWSER}, True),
        ({"Authorization": "Basic x"}, False),
        ({"Sec-Fetch-Mode": "cors"}, True),
        ({"Sec-Fetch-Mode": "same-origin", "Accept": BROWSER}, True),
        ({"Sec-Fetch-Mode": "no-cors"}, True),
        ({"Sec-Fetch-Mode": "navigate"}, False),
        ({"Sec-Fetch-Mode": "navigate", "Accept": "application/json"}, True),
        ({"Content-Type": "application/json"}, False),
        ({"X-Requested-With": "XMLHttpRequest"}, False),
    ],
)
def test_a_program_is_known_by_accept_bearer_or_fetch_mode(app, headers, is_program):
    assert app.test_client().get("/protected", headers=headers).status_code == (401 if is_program else 302)


@pytest.mark.parametrize("path, is_program", [("/api/things", True), ("/apis", False), ("/protected?/api/", False)])
def test_a_program_is_known_by_the_path_below_api(app, path, is_program):
    answer = app.test_client().get(path, headers={"Accept": BROWSER})
    assert answer.status_code == (401 if is_program else 302)


def test_every_refusal_told_to_a_program_is_a_problem(app):
    """Guest, stale, missing, CSRF, too large, unknown host: the same shape."""
    alice = come_in(app)
    for answer in (
        app.test_client().get("/protected", headers=JSON),
        alice.get("/admins", headers=JSON),
        alice.post("/change", headers=JSON),
        alice.post("/login", headers=JSON, data={"username": "x" * 70_000}),
        app.test_client().get(f"/reset-password/{'A' * 43}", headers=JSON),
    ):
        assert problem(answer)["status"] == answer.status_code
    assert enter(app).get("/protected", headers=JSON).text == "inside"


# --- refusals change nothing --------------------------------------------------------------------------------


def test_v8_3_1_hidden_actions_called_directly_are_refused_on_the_server(app):
    add_user(app, "root", "admin")
    add_user(app, "bob")
    alice = come_in(app, "alice")
    token = token_of(alice)
    refused = {
        endpoint: send(alice, path, token, reason="x", role="admin", username="x").status_code
        for endpoint, path in our_pages(app, "POST").items()
        if endpoint.startswith("gatehouse.admin")
    }
    assert len(refused) >= 8
    assert set(refused.values()) == {403}
    assert [entry.kind for entry in entries(app)].count("access.denied") == len(refused)
    assert alice.get("/admin").status_code == alice.get("/admin/users").status_code == 403
    assert alice.get("/admin/users/1").status_code == 403


def test_v8_2_2_a_session_of_somebody_else_cannot_be_ended(app):
    bob, alice = come_in(app, "bob"), come_in(app, "alice")
    with services(app).reading() as connection:
        (public_id,) = [row.public_id for row in services(app).sessions.store.of_user(connection, 1)]
    assert send(alice, f"/account/sessions/{public_id}/end", token_of(alice)).status_code == 404
    assert is_inside(bob)
    assert gate_of(app) is app.extensions["gatehouse"]


def test_v6_2_3_a_password_is_changed_with_the_present_one_only(app):
    alice = come_in(app)
    token = token_of(alice)
    for current in ("", "wrong horse battery", PASSWORD + " "):
        fields = {"current": current, "password": NEW_PASSWORD, "confirm": NEW_PASSWORD}
        assert send(alice, "/account/password", token, **fields).status_code == 422
    before = cookie(alice)
    assert is_inside(alice)
    assert cookie(alice) == before
    assert log_in(app.test_client(), password=NEW_PASSWORD).status_code == 401
    assert log_in(app.test_client()).status_code == 303
