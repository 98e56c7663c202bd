"""The security page, "this wasn't me" and closing one's own account, as a person and as a program meet them."""

from __future__ import annotations

import json
import re

import pytest
import sqlalchemy as sa

from flask_gatehouse.domain import throttle, users
from flask_gatehouse.flows import administer
from flask_gatehouse.flows.acts import Act
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.identity import CLI
from tests.http.test_statements import traced
from tests.support.people import HOUR, PASSWORD, PROGRAM, let_pass, logged_in, make_person, newcomer, services_of
from tests.support.phones import code_now, enrol
from tests.support.visitor import csrf_token, submit

PAGE, BUTTON, CLOSE = "/account/security", "/account/security/not-me", "/account/close"
FEATURES = {"GATEHOUSE_FEATURES": "totp,passkeys,recovery_codes"}
LONGER_THAN_A_DAY = 24 * HOUR + HOUR / 60
WRITES = re.compile(r"\b(INSERT|UPDATE|DELETE|COMMIT)\b")


def text_of(client, path=PAGE, **headers):
    """Return what a page says."""
    return client.get(path, headers=headers).get_data(as_text=True)


def press(client, **headers):
    """Press the button, in a form of the page or as a program."""
    token = csrf_token(text_of(client, "/account/security"))
    return client.post(BUTTON, data={"csrf_token": token}, headers=headers)


def typed(client, name, **headers):
    """Type a name to close the account."""
    token = csrf_token(text_of(client, "/account/security"))
    return client.post(CLOSE, data={"csrf_token": token, "username": name}, headers=headers)


def state_of(app, user_id=1):
    """Return the state of a user's row."""
    with services_of(app).reading() as connection:
        return connection.execute(sa.select(schema.user.c.state).where(schema.user.c.id == user_id)).scalar_one()


# --- the page ----------------------------------------------------------------------------------------------------


def test_v7_5_2_the_security_page_shows_everything_about_ones_account_on_one_page(make_app):
    app = make_app(**FEATURES)
    client = newcomer(app, "alice")
    for _ in range(4):
        logged_in(app, "alice")
    submit(client, "/account", email="alice@example.org")
    with services_of(app).unit() as unit:
        users.verify_email(unit.connection, 1, "alice@example.org")
    administer.demand_factor(services_of(app), Act(CLI, None, "a test"), 1, is_demanded=True)
    shown = text_of(client)
    for text in (
        "Chosen",
        "Enrol an app",
        "Enrol a passkey",
        "alice@example.org",
        ">verified<",
        "5 sessions",
        "this one",
    ):
        assert text in shown, text
    for text in ("5 known browsers", "An administrator demands a second factor", "This wasn't me", "Download my data"):
        assert text in shown, text
    assert shown.count("End session ") == 0  # ending asks for a proof: it is done on the page of all sessions
    assert "A second factor is demanded of a user" in shown
    for path in ("/account/sessions", "/account/activity", "/account/password", CLOSE):
        assert f'href="{path}"' in shown, path
    assert "API token" not in shown


def test_the_security_page_says_what_counts_only_with_a_second_factor(make_app):
    client = newcomer(make_app(GATEHOUSE_ADMIN_FACTOR="demanded", **FEATURES), "root", "admin")
    assert "once you have enrolled and proven a second factor" in text_of(client)


def test_the_security_page_costs_a_bounded_number_of_statements_and_writes_nothing(make_app, tmp_path):
    app = make_app(**FEATURES)
    client = newcomer(app, "alice")
    text_of(client)
    with traced(app, tmp_path) as few:
        text_of(client)
    for _ in range(12):
        logged_in(app, "alice")
    with traced(app, tmp_path) as many:
        text_of(client)
    assert len(few) == len(many) <= 16
    assert not [statement for statement in many if WRITES.search(statement)]


# --- "this wasn't me" --------------------------------------------------------------------------------------------


def test_rule_32_v7_5_1_the_button_works_at_once_without_a_proof_and_leaves_who_pressed_outside(
    make_app, database_url, monkeypatch
):
    app = make_app(**FEATURES)
    client, thief = newcomer(app, "alice"), logged_in(app, "alice")
    let_pass(app, monkeypatch, HOUR / 2)
    done = press(client)
    assert (done.status_code, done.location) == (303, "/login")
    assert "2 sessions have ended." in text_of(client, "/login")
    assert [one.get("/protected").status_code for one in (client, thief)] == [302, 302]
    assert client.get_cookie("gatehouse") is None
    assert client.get(BUTTON).status_code == 405


def test_rule_32_the_button_asks_for_its_token_and_a_link_to_the_page_changes_nothing(make_app):
    app = make_app()
    client = newcomer(app, "alice")
    assert client.post(BUTTON).status_code == 403
    assert app.test_client().get(f"{PAGE}#not-me").location == f"/login?next={PAGE}"
    text_of(client)
    assert client.get("/protected").status_code == 200


def test_rule_32_a_program_is_told_what_ended_and_what_the_password_alone_is_worth(make_app):
    app = make_app(**FEATURES)
    client = newcomer(app, "alice")
    enrol(services_of(app), 1)
    told = json.loads(press(client, **PROGRAM).text)
    assert told == {"next": "/login", "ended": 1, "removed": ["totp"], "is_address_back": False}
    thief = logged_in(app, "alice")
    refused = thief.get("/protected", headers=PROGRAM)
    assert (refused.status_code, json.loads(refused.text)["type"]) == (403, "urn:flask-gatehouse:problem/alarm")
    assert json.loads(press(thief, **PROGRAM).text) == {"next": PAGE, "ended": 0}


@pytest.mark.parametrize(
    "path", ["/protected", "/account", "/account/password", "/account/sessions", "/account/activity", CLOSE]
)
def test_rule_32_the_password_alone_is_led_to_one_page_that_says_nothing_of_the_account(make_app, path):
    app = make_app(**FEATURES)
    client = newcomer(app, "alice")
    submit(client, "/account", email="alice@example.org")
    press(client)
    thief = logged_in(app, "alice")
    led = thief.get(path)
    assert (led.status_code, led.location) == (302, f"{PAGE}?next={path}")
    shown = text_of(thief)
    assert "Your account is on alarm" in shown
    assert not any(text in shown for text in ("alice@example.org", "known browser", "127.0.0.1", "Enrol"))
    for page in ("/account/security/totp", "/account/security/passkeys"):
        assert thief.get(page).location == f"{PAGE}?next={page}"
    assert press(thief).location == PAGE
    assert "This was said already" in text_of(thief)


def test_rule_32_who_shows_an_older_factor_is_inside_and_asked_to_change_the_password(make_app, monkeypatch):
    app = make_app(**FEATURES)
    make_person(app, "alice")
    seed = enrol(services_of(app), 1)
    let_pass(app, monkeypatch, LONGER_THAN_A_DAY)
    client = app.test_client()
    for step in (0, 1):
        submit(client, "/login", username="alice", password=PASSWORD)
        assert submit(client, "/login/factor", code=code_now(app, seed, step - 1)).status_code == 303
        if not step:
            assert press(client).status_code == 303
    assert client.get("/protected").status_code == 200
    assert "Change your password</a> now" in text_of(client)
    new = {"password": "another quiet river", "confirm": "another quiet river"}
    assert submit(client, "/account/password", current=PASSWORD, **new).status_code == 303
    assert "pressed on" not in text_of(client)


def test_rule_32_after_many_alarms_in_a_day_it_says_what_helps_instead(make_app):
    app = make_app()
    client, held = newcomer(app, "alice"), services_of(app)
    for _ in range(5):
        charge = held.throttle.spend(throttle.ALARM, "", held.clock.now(), target="alarm:1")
        with held.unit() as unit:
            held.throttle.judge(unit.connection, charge, unit.now)
    answer = press(client)
    assert (answer.status_code, int(answer.headers["Retry-After"]) > 80_000) == (429, True)
    assert "End all your sessions instead" in answer.get_data(as_text=True)
    assert press(client, **PROGRAM).status_code == 429
    assert client.get("/protected").status_code == 200


def test_rule_32_it_works_while_a_factor_is_owed(make_app):
    app = make_app(**FEATURES)
    client = newcomer(app, "alice")
    administer.demand_factor(services_of(app), Act(CLI, None, "a test"), 1, is_demanded=True)
    assert client.get("/protected").location.startswith(PAGE)
    assert press(client).location == "/login"


def test_rule_32_the_page_says_beforehand_who_would_need_an_administrator(make_app):
    app = make_app(**FEATURES)
    client = newcomer(app, "alice")
    assert "you will have to ask an administrator" in text_of(client)
    enrol(services_of(app), 1)
    with services_of(app).database.unit() as connection:
        connection.execute(sa.update(schema.totp).values(created_at=0))
    assert "you will have to ask an administrator" not in text_of(client)


def test_rule_32_an_administrator_sees_the_alarm_and_how_it_ends(make_app):
    app = make_app()
    press(newcomer(app, "alice"))
    shown = text_of(newcomer(app, "root", "admin"), "/admin/users/1")
    assert "<strong>On alarm</strong> since" in shown
    assert "gatehouse user reset alice" in shown
    assert "“This wasn&#39;t me” was pressed" in shown


def test_ones_own_activity_leads_to_the_button(make_app):
    assert f'href="{PAGE}#not-me"' in text_of(newcomer(make_app(), "alice"), "/account/activity")


# --- closing ------------------------------------------------------------------------------------------------------


def test_one_closes_ones_own_account_with_its_name_typed(make_app, database_url):
    app = make_app()
    client, other = newcomer(app, "alice"), logged_in(app, "alice")
    assert "Type alice to confirm." in text_of(client, CLOSE)
    for name in ("", "bob", "alice "):
        answer = typed(client, name)
        assert answer.status_code == 422, name
        assert 'aria-invalid="true"' in answer.get_data(as_text=True)
    assert state_of(app) == "active"
    done = typed(client, "ALICE")
    assert (done.status_code, done.location, state_of(app)) == (303, "/login", "closed")
    assert "Your account is closed." in text_of(client, "/login")
    assert [one.get("/protected").status_code for one in (client, other)] == [302, 302]
    assert submit(client, "/login", username="alice", password=PASSWORD).status_code == 401


def test_v7_5_1_closing_asks_for_a_proof_of_the_last_five_minutes(make_app, monkeypatch):
    app = make_app()
    client = newcomer(app, "alice")
    let_pass(app, monkeypatch, HOUR / 10)
    assert client.get(CLOSE).location == f"/reauthenticate?next={CLOSE}"
    assert typed(client, "alice").location == "/reauthenticate"
    assert typed(client, "alice", **PROGRAM).status_code == 401
    submit(client, "/reauthenticate", password=PASSWORD)
    assert json.loads(typed(client, "alice", **PROGRAM).text) == {"next": "/login", "ended": 1}


def test_v7_5_1_closing_asks_who_has_a_second_factor_to_prove_it(make_app):
    app = make_app(**FEATURES)
    client = newcomer(app, "alice")
    seed = enrol(services_of(app), 1)
    assert typed(client, "alice").location == "/reauthenticate"
    assert (typed(client, "alice", **PROGRAM).status_code, state_of(app)) == (401, "active")
    assert submit(client, "/reauthenticate", code=code_now(app, seed)).status_code == 303
    assert (typed(client, "alice").status_code, state_of(app)) == (303, "closed")


def test_rule_24_the_last_administrator_closes_nothing_and_is_told_why(make_app):
    app = make_app()
    root = newcomer(app, "root", "admin")
    answer = typed(root, "root")
    assert (answer.status_code, state_of(app)) == (403, "active")
    assert "This is the last administrator" in answer.get_data(as_text=True)
    assert typed(root, "root", **PROGRAM).status_code == 403
    make_person(app, "second", "admin")
    assert (typed(root, "root").status_code, state_of(app)) == (303, "closed")


def test_rule_08_closing_can_be_tried_ten_times_in_ten_minutes(make_app):
    client = newcomer(make_app(), "alice")
    assert [typed(client, "bob").status_code for _ in range(11)] == [422] * 10 + [429]
