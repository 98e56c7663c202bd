"""Register, log in, log out: statuses and texts of the pages, and what a program gets instead."""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import replace
from io import BytesIO

import pytest

from flask_gatehouse.domain import devices, users
from flask_gatehouse.flows import administer, register, reset_password
from flask_gatehouse.flows.acts import Act
from flask_gatehouse.kernel.identity import CLI, Proof
from tests.support.people import (
    HOUR,
    PASSWORD,
    PROGRAM,
    Elements,
    let_pass,
    logged_in,
    make_person,
    newcomer,
    services_of,
    session_of,
    thief_of,
)
from tests.support.visitor import csrf_token, submit

NEW = {"username": "alice", "password": PASSWORD, "confirm": PASSWORD}
CHANGING = re.compile(r'nonce="[^"]*"|name="csrf_token" value="[^"]*"')


def post_program(client, path, page=None, **fields):
    token = csrf_token(client.get(page or path).get_data(as_text=True))
    return client.post(path, data=fields, headers={**PROGRAM, "X-CSRFToken": token})


# --- register ----------------------------------------------------------------------------------------------


def test_v7_6_2_registering_leads_to_the_login_page_and_logs_nobody_in(make_app):
    client = make_app().test_client()
    answer = submit(client, "/register", **NEW)
    assert (answer.status_code, answer.location) == (303, "/login")
    shown = client.get("/login").get_data(as_text=True)
    assert "Registered. Please log in." in shown
    assert client.get("/protected").status_code == 302


def test_a_program_that_registers_gets_201(make_app):
    answer = post_program(make_app().test_client(), "/register", **NEW)
    assert answer.status_code == 201
    assert answer.json == {"next": "/login", "id": 1, "username": "alice"}


@pytest.mark.parametrize(
    "field, value, text",
    [
        ("username", "", "Fill this in."),
        ("username", "al", "3 to 80 characters"),
        ("username", "al ice", "3 to 80 characters"),
        ("username", "alice\n", "Control characters"),
        ("username", "a" * 81, "3 to 80 characters"),
        ("username", "\u017fam", "3 to 80 characters"),
        ("email", "nowhere", "an e-mail address looks like"),
        ("email", "a\x00@example.org", "Control characters"),
        ("password", "short", "Too short"),
        ("password", "nul\x00 in a password", "Control characters"),
        ("password", "x" * 1025, "Too long"),
        ("password", "password1", "commonly used"),
        ("confirm", "another river stone", "The two passwords differ."),
        ("confirm", "", "Fill this in."),
    ],
)
def test_v2_2_2_a_field_that_cannot_be_taken_is_refused_beside_the_field(make_app, field, value, text):
    fields = {**NEW, field: value} | ({"confirm": value} if field == "password" else {})
    client = make_app().test_client()
    answer = submit(client, "/register", **fields)
    html = answer.get_data(as_text=True)
    assert answer.status_code == 422
    bad = Elements(html).field(field)
    assert bad["aria-invalid"] == "true"
    assert f"{field}-error" in bad["aria-describedby"].split()
    assert text in html.partition(f'id="{field}-error">')[2].partition("</p>")[0]
    assert post_program(client, "/register", **fields).status_code == 422


def test_a_taken_name_is_refused_beside_the_field_whatever_the_case(make_app):
    app = make_app()
    make_person(app, "Alice")
    answer = submit(app.test_client(), "/register", **NEW)
    assert answer.status_code == 422
    assert "This name is taken." in answer.get_data(as_text=True)


def test_what_was_typed_is_kept_but_no_password(make_app):
    answer = submit(make_app().test_client(), "/register", **{**NEW, "password": "short", "email": "a@example.org"})
    page = Elements(answer.get_data(as_text=True))
    assert page.field("username")["value"] == "alice"
    assert page.field("email")["value"] == "a@example.org"
    assert page.field("password")["value"] == page.field("confirm")["value"] == ""


def test_closed_registration_is_not_there(make_app):
    client = make_app(GATEHOUSE_REGISTRATION="closed").test_client()
    assert client.get("/register").status_code == client.post("/register").status_code == 404
    assert "/register" not in client.get("/login").get_data(as_text=True)


@pytest.mark.parametrize("way", ["here", "code", "wrong", "none", "off"])
def test_rule_25_the_first_administrator_needs_loopback_or_the_code(make_app, way):
    app = make_app(GATEHOUSE_FIRST_USER_ADMIN=way != "off")
    client = app.test_client()
    if way != "here":
        client.environ_base["HTTP_X_FORWARDED_FOR"] = "203.0.113.9"
    asks_for_code = 'name="code"' in client.get("/register").get_data(as_text=True)
    code = {"code": register.first_admin_code(services_of(app)), "wrong": "ümlaut"}.get(way, "")
    answer = submit(client, "/register", **NEW, code=code)
    assert asks_for_code == (way not in {"here", "off"})
    assert answer.status_code == (422 if way == "wrong" else 303)
    if way == "wrong":
        return
    held = services_of(app)
    with held.reading() as connection:
        is_admin = bool(held.roles.grants_of(connection, 1, held.clock.now()))
        assert held.roles.is_first_admin_open(connection) == (not is_admin)
    assert is_admin == (way in {"here", "code"})
    assert ('name="code"' in client.get("/register").get_data(as_text=True)) == (way == "none")


# --- log in ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query, form, target",
    [
        ("", {}, "/protected"),
        ("?next=/fresh", {}, "/fresh"),
        ("?next=/fresh", {"next": "/labelled?a=b%20c"}, "/labelled?a=b%20c"),
        ("?next=https://evil.example/", {}, "/protected"),
        ("?next=//evil.example", {}, "/protected"),
        ("", {"next": "javascript:alert(1)"}, "/protected"),
        ("", {"next": "/change"}, "/protected"),
    ],
)
def test_v3_7_2_a_login_leads_to_next_or_where_the_site_says(make_app, query, form, target):
    app = make_app(GATEHOUSE_AFTER_LOGIN="/protected")
    make_person(app, "alice")
    answer = submit(app.test_client(), f"/login{query}", username="ALICE", password=PASSWORD, **form)
    assert (answer.status_code, answer.location) == (303, target)


def test_the_form_hands_next_on_only_if_it_is_a_place_of_this_app(make_app):
    client = make_app().test_client()
    assert Elements(client.get("/login?next=/fresh").get_data(as_text=True)).field("next")["value"] == "/fresh"
    assert 'name="next"' not in client.get("/login?next=//evil.example").get_data(as_text=True)


def test_a_program_that_logs_in_learns_where_to_go(make_app):
    app = make_app()
    make_person(app, "alice")
    answer = post_program(app.test_client(), "/login", username="alice", password=PASSWORD, next="/fresh")
    assert (answer.status_code, answer.json) == (200, {"next": "/fresh"})


@pytest.mark.parametrize("name", ["alice", "nobody", "a", "\u017fam", "x" * 5000, "suspended", "<script>"])
def test_rule_09_every_login_that_fails_looks_the_same(make_app, name):
    app = make_app()
    for known in ("alice", "suspended"):
        make_person(app, known)
    administer.suspend(services_of(app), Act(CLI, None, "for the test"), 2)
    password = PASSWORD if name == "suspended" else "not the password"
    answer = submit(app.test_client(), "/login", username=name, password=password)
    usual = submit(app.test_client(), "/login", username="somebody-else", password="not the password")
    assert answer.status_code == usual.status_code == 401
    pages = [CHANGING.sub("", page.get_data(as_text=True)) for page in (answer, usual)]
    shown = name.replace("<", "&lt;").replace(">", "&gt;")
    assert pages[0].replace(f'value="{shown}"', "") == pages[1].replace('value="somebody-else"', "")
    assert "Wrong name or password." in pages[0]
    program = post_program(app.test_client(), "/login", username=name, password=password)
    assert program.status_code == 401
    assert program.headers["WWW-Authenticate"]


@pytest.mark.parametrize(
    "fields",
    [
        {"username": "", "password": PASSWORD},
        {"username": "alice", "password": ""},
        {"username": "al\x00ice", "password": PASSWORD},
        {"username": "alice", "password": "a\x07b"},
        {},
    ],
)
def test_only_empty_fields_and_control_characters_are_422_at_login(make_app, fields):
    client = make_app().test_client()
    assert submit(client, "/login", **fields).status_code == 422
    assert post_program(client, "/login", **fields).status_code == 422


@pytest.mark.parametrize("name", ["username", "password", "next"])
def test_v15_3_7_a_parameter_sent_twice_is_refused(make_app, name):
    app = make_app()
    make_person(app, "alice")
    client = app.test_client()
    token = csrf_token(client.get("/login").get_data(as_text=True))
    fields = {"csrf_token": token, "username": "alice", "password": PASSWORD, "next": "/protected"}
    answer = client.post("/login", data={**fields, name: [fields[name], fields[name]]})
    assert answer.status_code == 422
    assert "This was sent more than once." in answer.get_data(as_text=True)


def test_v15_3_5_json_and_files_are_no_form_fields(make_app):
    client = make_app().test_client()
    token = csrf_token(client.get("/login").get_data(as_text=True))
    headers = {"X-CSRFToken": token}
    assert client.post("/login", json={"username": ["alice"], "password": {}}, headers=headers).status_code == 422
    files = {"csrf_token": token, "username": (BytesIO(b"alice"), "a.txt"), "password": PASSWORD}
    assert client.post("/login", data=files).status_code == 422


def test_too_many_attempts_say_when_to_try_again(make_app):
    app = make_app()
    make_person(app, "alice")
    client = app.test_client()
    for _ in range(5):
        assert submit(client, "/login", username="alice", password="wrong").status_code == 401
    answer = submit(client, "/login", username="alice", password=PASSWORD)
    html = answer.get_data(as_text=True)
    assert answer.status_code == 429
    assert 25 <= int(answer.headers["Retry-After"]) <= 30
    assert f'data-retry-after="{answer.headers["Retry-After"]}"' in html
    assert Elements(html).field("username")["value"] == "alice"
    program = post_program(client, "/login", username="alice", password=PASSWORD)
    assert (program.status_code, program.content_type) == (429, "application/problem+json")
    assert int(program.headers["Retry-After"]) > 0


@pytest.mark.parametrize("path", ["/login", "/register", "/reauthenticate", "/account/password"])
def test_a_full_hashing_pool_is_503_on_every_page_that_hashes(make_app, path):
    app = make_app()
    client = newcomer(app, "alice")
    new = {"username": "bob-2", "password": "another river", "confirm": "another river", "current": PASSWORD}
    with ExitStack() as places:
        for _ in range(4):
            places.enter_context(services_of(app).hasher.place(is_inside=True))
        answer = submit(client, path, **new)
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "The server is busy." in answer.get_data(as_text=True)


def test_somebody_who_is_logged_in_may_look_at_the_login_page(make_app):
    client = newcomer(make_app(), "alice")
    shown = client.get("/login").get_data(as_text=True)
    assert "You are logged in as <strong>alice</strong>." in shown


def test_remember_me_is_offered_only_where_the_site_allows_it(make_app):
    assert 'name="remember"' not in make_app().test_client().get("/login").get_data(as_text=True)
    app = make_app(GATEHOUSE_REMEMBER="30d", GATEHOUSE_DATABASE_URL="sqlite://")
    client = app.test_client()
    assert Elements(client.get("/login").get_data(as_text=True)).field("remember")["type"] == "checkbox"
    make_person(app, "alice")
    lasting = submit(client, "/login", username="alice", password=PASSWORD, remember="y")
    assert "Max-Age=2592000" in next(
        cookie for cookie in lasting.headers.getlist("Set-Cookie") if "gatehouse=" in cookie
    )


def test_v6_4_1_a_temporary_password_opens_nothing_but_the_page_that_replaces_it(make_app):
    app = make_app()
    make_person(app, "alice")
    temporary = str(reset_password.make_temporary(services_of(app), CLI, "alice"))
    client = app.test_client()
    answer = submit(client, "/login", username="alice", password=temporary)
    assert answer.status_code == 303
    assert answer.location.startswith("/reset-password/")
    assert client.get("/protected").status_code == 302
    assert submit(client, answer.location, password="my own river", confirm="my own river").status_code == 303
    assert submit(client, "/login", username="alice", password="my own river").status_code == 303
    assert submit(app.test_client(), "/login", username="alice", password=temporary).status_code == 401


# --- the second factor -------------------------------------------------------------------------------------


class Parrot:
    """A test-only factor: everybody has it, and the answer is `cracker`, once."""

    method, kind, field = "parrot", "has", "code"

    def __init__(self):
        self.is_burnt = False

    def enrolled(self, connection, user_id):
        return True

    def verify(self, connection, user_id, answer, now):
        if self.is_burnt or answer != "cracker":
            return None
        self.is_burnt = True
        return Proof(self.method, now, self.kind)

    def forget(self, connection, user_id, since=0):
        return False


@pytest.fixture
def app_with_factor(make_app):
    app = make_app()
    wired = app.extensions["gatehouse_wired"]
    wired.services = replace(wired.services, factors=(Parrot(),))
    make_person(app, "alice")
    return app


def test_rule_14_a_login_with_a_factor_due_is_no_login(app_with_factor):
    client = app_with_factor.test_client()
    answer = submit(client, "/login?next=/fresh", username="alice", password=PASSWORD)
    assert (answer.status_code, answer.location) == (303, "/login/factor?next=/fresh")
    assert client.get("/protected").status_code == 302
    wrong = submit(client, answer.location, code="biscuit")
    assert wrong.status_code == 401
    assert "This code is wrong" in wrong.get_data(as_text=True)
    assert submit(client, answer.location).status_code == 422
    right = submit(client, answer.location, code="cracker")
    assert (right.status_code, right.location) == (303, "/fresh")
    assert client.get("/fresh").status_code == 200


def test_a_program_is_told_that_a_factor_is_due(app_with_factor):
    answer = post_program(app_with_factor.test_client(), "/login", username="alice", password=PASSWORD)
    assert (answer.status_code, answer.json) == (202, {"next": "/login/factor"})


def test_v2_3_1_the_factor_cannot_be_answered_before_the_password(app_with_factor):
    client = app_with_factor.test_client()
    assert client.get("/login/factor").location == "/login"
    assert submit(client, "/login/factor", page="/login", code="cracker").status_code == 410
    program = post_program(client, "/login/factor", page="/login", code="cracker")
    assert program.status_code == 410


# --- log out, prove again ----------------------------------------------------------------------------------


def test_v3_5_3_v7_4_1_logging_out_takes_a_post_and_ends_the_session(make_app):
    app = make_app()
    client = newcomer(app, "alice")
    thief = thief_of(app, session_of(client))
    assert client.get("/logout").status_code == 405
    assert client.get("/protected").status_code == thief.get("/protected").status_code == 200
    answer = submit(client, "/logout", page="/account")
    assert (answer.status_code, answer.location) == (303, "/login")
    assert "You have logged out." in client.get("/login").get_data(as_text=True)
    assert client.get("/protected").status_code == thief.get("/protected").status_code == 302


def test_a_guest_who_logs_out_is_not_in_the_way(make_app):
    client = make_app().test_client()
    assert submit(client, "/logout", page="/login").status_code == 303


def test_v7_2_4_proving_again_makes_the_session_fresh_under_a_new_id(make_app, monkeypatch):
    app = make_app()
    client = newcomer(app, "alice")
    let_pass(app, monkeypatch, HOUR / 2)
    asked = client.get("/fresh")
    assert (asked.status_code, asked.location) == (302, "/reauthenticate?next=/fresh")
    before = session_of(client)
    wrong = submit(client, asked.location, password="not the password")
    assert wrong.status_code == 401
    assert "This is not your password." in wrong.get_data(as_text=True)
    program = post_program(client, "/reauthenticate", password="not the password")
    assert (program.status_code, program.json["detail"]) == (401, "This is not your password.")
    right = submit(client, asked.location, password=PASSWORD)
    assert (right.status_code, right.location) == (303, "/fresh")
    assert client.get("/fresh").status_code == 200
    assert session_of(client) != before
    assert thief_of(app, before).get("/protected").status_code == 302


def test_only_somebody_who_is_logged_in_can_prove_again(make_app):
    client = make_app().test_client()
    assert client.get("/reauthenticate").location == "/login?next=/reauthenticate"
    assert submit(newcomer(make_app(GATEHOUSE_DATABASE_URL="sqlite://"), "bob"), "/reauthenticate").status_code == 422


# --- a new password by link --------------------------------------------------------------------------------


def test_rule_31_a_link_is_looked_at_as_often_as_one_likes_and_used_once(make_app):
    app = make_app()
    client = newcomer(app, "alice")
    link = f"/reset-password/{reset_password.make_link(services_of(app), CLI, 'alice')}"
    guest = app.test_client()
    for _ in range(3):
        assert "For <strong>alice</strong>" in guest.get(link).get_data(as_text=True)
    assert submit(guest, link, password="another river", confirm="another rivre").status_code == 422
    assert submit(guest, link, password="short", confirm="short").status_code == 422
    done = submit(guest, link, password="another river", confirm="another river")
    assert (done.status_code, done.location) == (303, "/login")
    assert guest.get("/protected").status_code == client.get("/protected").status_code == 302
    assert guest.get(link).status_code == 410
    assert submit(guest, link, page="/login", password="a third river", confirm="a third river").status_code == 410
    assert submit(guest, "/login", username="alice", password="another river").status_code == 303


def test_a_link_that_never_was_has_ended(make_app, database_url):
    client = make_app().test_client()
    for token in ("x", "x" * 43, "%00", "%ff", "a" * 3000):
        assert client.get(f"/reset-password/{token}").status_code == 410, token
        answer = submit(client, f"/reset-password/{token}", page="/login", password=PASSWORD, confirm=PASSWORD)
        assert answer.status_code == 410, token


def test_a_link_has_ended_after_half_an_hour(make_app, monkeypatch):
    app = make_app()
    make_person(app, "alice")
    link = f"/reset-password/{reset_password.make_link(services_of(app), CLI, 'alice')}"
    let_pass(app, monkeypatch, HOUR / 2)
    answer = app.test_client().get(link)
    assert answer.status_code == 410
    assert "This link has ended" in answer.get_data(as_text=True)


def test_a_stolen_session_id_planted_before_a_login_is_dead_after_it(make_app):
    app = make_app()
    planted = session_of(newcomer(app, "mallory"))
    make_person(app, "alice")
    client = app.test_client()
    client.set_cookie("gatehouse", planted)
    submit(client, "/login", username="alice", password=PASSWORD)
    assert session_of(client) != planted
    assert thief_of(app, planted).get("/protected").status_code == 302
    assert logged_in(app, "mallory").get("/protected").get_data(as_text=True) == "inside: mallory"


def test_rule_05_a_reset_in_a_shared_browser_forgets_it_for_nobody_else(make_app):
    app = make_app()
    client = app.test_client()
    for name in ("bob", "alice"):
        make_person(app, name)
        assert submit(client, "/login", username=name, password=PASSWORD).status_code == 303
        submit(client, "/logout", page="/account")
    link = f"/reset-password/{reset_password.make_link(services_of(app), CLI, 'alice')}"
    assert submit(client, link, password="another quiet river", confirm="another quiet river").status_code == 303
    held, cookie = services_of(app), client.get_cookie("gatehouse-device").value
    with held.reading() as connection:
        owners = [users.find_by_name(connection, name) for name in ("bob", "alice")]
        assert [devices.find(connection, cookie, owner.id) is not None for owner in owners if owner] == [True, True]
