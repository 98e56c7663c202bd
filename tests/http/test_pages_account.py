"""One's own account: profile, password, sessions, activity."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flask_gatehouse.flows import administer
from flask_gatehouse.flows.acts import Act
from flask_gatehouse.kernel.clock import as_text
from flask_gatehouse.kernel.identity import CLI, Actor, Source
from tests.http.people import CodeFactor
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
from tests.support.post import token_of
from tests.support.visitor import csrf_token, submit

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
SAFARI = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Mobile Safari/604.1"
CHANGE = {"current": PASSWORD, "password": "another river", "confirm": "another river"}


def ids_of(client):
    shown = Elements(client.get("/account/sessions").get_data(as_text=True)).named("form")
    actions = [form["action"] for form in shown if form.get("action", "").endswith("/end")]
    return [action.split("/")[3] for action in actions]


def is_inside(client):
    return client.get("/protected").status_code == 200


@pytest.mark.parametrize(
    "path", ["/account", "/account/password", "/account/security", "/account/sessions", "/account/activity"]
)
def test_a_guest_is_led_to_the_login_page_and_back(make_app, path):
    client = make_app().test_client()
    assert client.get(path).location == f"/login?next={path}"
    assert client.get(path, headers=PROGRAM).status_code == 401


# --- e-mail ------------------------------------------------------------------------------------------------


def test_v7_5_1_the_address_changes_only_after_a_fresh_proof(make_app, monkeypatch):
    app = make_app()
    client = newcomer(app, "alice")
    done = submit(client, "/account", email="alice@example.org")
    assert (done.status_code, done.location) == (303, "/account")
    shown = client.get("/account").get_data(as_text=True)
    assert "Your e-mail address is saved." in shown
    assert Elements(shown).field("email")["value"] == "alice@example.org"
    assert "Prove it now" not in shown
    let_pass(app, monkeypatch, HOUR / 2)
    assert 'href="/reauthenticate?next=/account"' in client.get("/account").get_data(as_text=True)
    assert submit(client, "/account", email="mallory@example.org").location == "/reauthenticate"
    assert "alice@example.org" in client.get("/account").get_data(as_text=True)
    submit(client, "/reauthenticate", password=PASSWORD)
    assert submit(client, "/account", email="").status_code == 303
    assert Elements(client.get("/account").get_data(as_text=True)).field("email")["value"] == ""


def test_an_address_that_cannot_be_one_is_refused_beside_the_field(make_app, database_url):
    client = newcomer(make_app(), "alice")
    for email in ("nowhere", "a@b@c.org", "a\x00@example.org", "x" * 300 + "@example.org"):
        answer = submit(client, "/account", email=email)
        assert answer.status_code == 422, email
        assert Elements(answer.get_data(as_text=True)).field("email")["aria-invalid"] == "true"


def test_63b_4_6_1_a_second_address_is_given_confirmed_and_removed_on_the_page_after_a_fresh_proof(
    make_app, monkeypatch, post
):
    app = make_app(GATEHOUSE_MAIL_URL=post.url, GATEHOUSE_ORIGINS="http://localhost")
    client, path = newcomer(app, "alice"), "/account/second-email"
    assert "verified" not in client.get("/account").text
    for value, text in (("nowhere", "looks like"), ("a\x00@example.org", "Control characters")):
        answer = submit(client, path, page="/account", second_email=value)
        assert answer.status_code == 422
        assert Elements(answer.text).field("second_email")["aria-invalid"] == "true"
        assert "aria-invalid" not in Elements(answer.text).field("email")
        assert (answer.text.count('role="alert"'), text in answer.text) == (1, True)
    done = submit(client, path, page="/account", second_email="alice@second.example")
    assert (done.status_code, done.location) == (303, "/account")
    assert services_of(app).postman.rest(30)
    assert "alice@second.example is to be confirmed" in client.get("/account").text
    (mail,) = post.to("alice@second.example")
    submit(client, f"/verify-email/{token_of(mail)}")
    assert Elements(client.get("/account").text).field("second_email")["value"] == "alice@second.example"
    let_pass(app, monkeypatch, HOUR / 2)
    assert submit(client, path, page="/account", second_email="").location == "/reauthenticate"
    submit(client, "/reauthenticate", password=PASSWORD)
    assert submit(client, path, page="/account", second_email="").status_code == 303
    shown = client.get("/account").text
    assert "Your second address is removed." in shown
    assert Elements(shown).field("second_email")["value"] == ""


def test_there_is_no_second_address_where_no_mail_is_sent(make_app):
    assert 'name="second_email"' not in newcomer(make_app(), "alice").get("/account").text


# --- security -----------------------------------------------------------------------------------------------


def test_the_security_page_says_when_the_password_was_chosen_and_which_factors_there_are(make_app):
    app = make_app()
    client = newcomer(app, "alice")
    factor, wired = CodeFactor(), app.extensions["gatehouse_wired"]
    wired.services = replace(wired.services, factors=(factor,))
    shown = client.get("/account/security?next=/protected").get_data(as_text=True)
    assert f'Chosen <time datetime="{as_text(wired.services.clock.now())[:10]}' in shown
    assert "not enrolled" in shown
    assert 'role="alert"' in shown
    factor.holders.add(1)
    shown = client.get("/account/security?next=/protected").get_data(as_text=True)
    assert ">enrolled<" in shown
    assert 'role="alert"' not in shown


def test_the_security_page_names_no_factor_where_the_site_offers_none(make_app):
    client = newcomer(make_app(), "alice")
    assert "This site offers no second factor." in client.get("/account/security").get_data(as_text=True)


# --- password ----------------------------------------------------------------------------------------------


def test_v6_2_2_v7_4_3_a_new_password_ends_every_other_session_and_renews_this_one(make_app):
    app = make_app()
    client, other = newcomer(app, "alice"), logged_in(app, "alice")
    old = session_of(client)
    done = submit(client, "/account/password", **CHANGE)
    assert (done.status_code, done.location) == (303, "/account")
    assert is_inside(client)
    assert not is_inside(other)
    assert not is_inside(thief_of(app, old))
    assert submit(app.test_client(), "/login", username="alice", password=PASSWORD).status_code == 401
    assert submit(app.test_client(), "/login", username="alice", password="another river").status_code == 303


@pytest.mark.parametrize(
    "fields, field, text",
    [
        ({"current": "not the password"}, "current", "This is not your present password."),
        ({"current": ""}, "current", "Fill this in."),
        ({"confirm": "another rivre"}, "confirm", "The two passwords differ."),
        ({"password": "short", "confirm": "short"}, "password", "Too short"),
        ({"password": PASSWORD, "confirm": PASSWORD}, "password", "This is your present password"),
        ({"password": "a\x00b river", "confirm": "a\x00b river"}, "password", "Control characters"),
    ],
)
def test_v6_2_3_a_password_is_not_changed_without_the_present_one(make_app, fields, field, text):
    app = make_app()
    client = newcomer(app, "alice")
    answer = submit(client, "/account/password", **{**CHANGE, **fields})
    assert answer.status_code == 422
    assert text in answer.get_data(as_text=True).partition(f'id="{field}-error">')[2].partition("</p>")[0]
    assert is_inside(logged_in(app, "alice"))


# --- sessions ----------------------------------------------------------------------------------------------


def test_v7_5_2_people_see_their_sessions_and_end_one(make_app):
    app = make_app()
    make_person(app, "alice")
    client, phone = logged_in(app, "alice", agent=FIREFOX), logged_in(app, "alice", agent=SAFARI)
    shown = client.get("/account/sessions").get_data(as_text=True)
    assert "Firefox on Linux" in shown
    assert "Safari on iPhone" in shown
    assert shown.count("this one") == 2  # the badge, and the button that ends all
    assert "127.0.0.1" in shown
    newest = ids_of(client)[0]
    done = submit(client, f"/account/sessions/{newest}/end", page="/account/sessions")
    assert (done.status_code, done.location) == (303, "/account/sessions")
    assert is_inside(client)
    assert not is_inside(phone)


def test_ending_the_present_session_is_a_logout(make_app):
    client = newcomer(make_app(), "alice")
    (own,) = ids_of(client)
    done = submit(client, f"/account/sessions/{own}/end", page="/account/sessions")
    assert (done.status_code, done.location) == (303, "/login")
    assert session_of(client) == ""


def test_all_other_sessions_end_at_once_or_all(make_app):
    app = make_app()
    client, second, third = newcomer(app, "alice"), logged_in(app, "alice"), logged_in(app, "alice")
    submit(client, "/account/sessions/end-others", page="/account/sessions")
    assert "2 sessions ended." in client.get("/account/sessions").get_data(as_text=True)
    assert [is_inside(one) for one in (client, second, third)] == [True, False, False]
    second = logged_in(app, "alice")
    done = submit(client, "/account/sessions/end-all", page="/account/sessions")
    assert (done.status_code, done.location) == (303, "/login")
    assert "2 sessions ended." in client.get("/login").get_data(as_text=True)
    assert not is_inside(client)
    assert not is_inside(second)


@pytest.mark.parametrize("action", ["0123456789abcdef/end", "end-others", "end-all"])
def test_v7_5_2_ending_sessions_needs_a_fresh_proof(make_app, monkeypatch, action):
    app = make_app()
    client = newcomer(app, "alice")
    let_pass(app, monkeypatch, HOUR / 2)
    refused = submit(client, f"/account/sessions/{action}", page="/account/sessions")
    assert (refused.status_code, refused.location) == (302, "/reauthenticate")
    token = csrf_token(client.get("/account/sessions").get_data(as_text=True))
    program = client.post(f"/account/sessions/{action}", headers={**PROGRAM, "X-CSRFToken": token})
    assert program.status_code == 401
    assert program.json is not None
    assert program.json["type"].endswith("/step-up")
    assert is_inside(client)


def test_a_session_that_is_not_there_is_not_found(make_app, database_url):
    client = newcomer(make_app(), "alice")
    for public_id in ("0123456789abcdef", "x", "%00", "%ff%fe", "a" * 500, "' OR 1=1 --"):
        answer = submit(client, f"/account/sessions/{public_id}/end", page="/account/sessions")
        assert answer.status_code == 404, public_id
        assert client.get(f"/account/sessions/{public_id}/end").status_code == 405


def test_v8_2_2_nobody_ends_another_users_session(make_app):
    app = make_app()
    bob, alice = newcomer(app, "bob"), newcomer(app, "alice")
    (victim,) = ids_of(bob)
    assert submit(alice, f"/account/sessions/{victim}/end", page="/account/sessions").status_code == 404
    assert is_inside(bob)


# --- activity ----------------------------------------------------------------------------------------------


def test_activity_is_shown_page_by_page(make_app):
    app = make_app()
    client = newcomer(app, "alice")
    held = services_of(app)
    for number in range(120):
        administer.unlock(held, Act(CLI, None, f"number {number}"), 1)
    pages, path, seen = 0, "/account/activity", 0
    while path:
        shown = client.get(path).get_data(as_text=True)
        pages, seen = pages + 1, seen + shown.count("counters of wrong passwords were zeroed")
        older = [link["href"] for link in Elements(shown).named("a") if link.get("rel") == "next"]
        path = older[0] if older else ""
    assert (pages, seen) == (3, 120)


def test_v2_2_1_a_page_that_cannot_be_is_refused(make_app, database_url):
    client = newcomer(make_app(), "alice")
    for before in ("x", "-1", "1e3", "%00", "\u0663", "9" * 30, "1.5", ""):
        assert client.get(f"/account/activity?before={before}").status_code == 422, before
    assert client.get(f"/account/activity?before={10**17}").status_code == 200


def test_people_do_not_learn_where_an_administrator_sat_nor_why_they_acted(make_app):
    app = make_app()
    client = newcomer(app, "alice")
    root = make_person(app, "root", "admin")
    act = Act(Actor(root, "root"), None, "I suspect fraud", Source("198.51.100.7", FIREFOX))
    administer.unlock(services_of(app), act, 1)
    shown = client.get("/account/activity").get_data(as_text=True)
    assert "by an administrator" in shown
    for secret in ("198.51.100.7", "fraud", "root", "Firefox"):
        assert secret not in shown
