"""Rule 13: a new session id and a new CSRF token at login, step-up and logout, and what is carried over."""

from __future__ import annotations

from typing import Any

import pytest
from flask import flash, request, session

from flask_gatehouse import public
from flask_gatehouse.http.cookie import CARRIED_MAX
from tests.http.people import (
    GUEST,
    PASSWORD,
    PENDING,
    SESSION,
    CodeFactor,
    StillClock,
    add_user,
    answer_factor,
    come_in,
    cookie,
    count,
    enter,
    is_inside,
    log_in,
    log_out,
    reauthenticate,
    set_cookies,
    suspend,
    token_of,
)
from tests.support.visitor import submit

NEW_PASSWORD = "another horse entirely"


def kept(app, gate):
    """Add routes that write, read and forget `flask.session`."""

    @app.post("/keep")
    @public
    def keep():
        session.update(request.get_json())
        return "kept"

    @app.get("/kept")
    @public
    def show():
        return dict(session)

    @app.get("/flash")
    @public
    def say():
        flash("a message")
        return "said"

    @app.get("/protected")
    def protected():
        return "inside"


@pytest.fixture
def app(build):
    return build(kept)


def keep(client, **values):
    """Put values into a client's `flask.session`."""
    token = token_of(client)
    assert client.post("/keep", json=values, headers={"X-CSRFToken": token}).text == "kept"


def kept_by(client):
    """Return a client's `flask.session` without the CSRF token."""
    found = client.get("/kept").get_json()
    found.pop("csrf_token", None)
    return found


def copy_of(app, name, value):
    """Return a client that holds one copied cookie."""
    client = app.test_client()
    client.set_cookie(name, value)
    return client


# --- ids and tokens -----------------------------------------------------------------------------------------


def test_v7_2_4_rule_13_each_login_gives_a_new_id_and_ends_the_one_before(app):
    alice = come_in(app)
    first, token = cookie(alice), token_of(alice)
    assert log_in(alice).status_code == 303
    second = cookie(alice)
    assert first
    assert second not in {"", first}
    assert not is_inside(copy_of(app, SESSION, first))
    assert is_inside(alice)
    assert count(app) == 1
    assert alice.post("/login", data={"csrf_token": token}).status_code == 403


def test_v7_2_4_rule_13_a_step_up_gives_a_new_id_and_token_to_the_same_session(app):
    alice = come_in(app)
    first, token = cookie(alice), token_of(alice)
    assert reauthenticate(alice).status_code == 303
    assert cookie(alice) not in {"", first}
    assert not is_inside(copy_of(app, SESSION, first))
    assert is_inside(alice)
    assert count(app) == 1
    assert alice.post("/logout", data={"csrf_token": token}).status_code == 403


def test_v7_2_4_rule_13_a_changed_password_gives_a_new_id_and_token(app):
    alice, elsewhere = come_in(app), enter(app)
    first, token = cookie(alice), token_of(alice)
    answer = submit(alice, "/account/password", current=PASSWORD, password=NEW_PASSWORD, confirm=NEW_PASSWORD)
    assert answer.status_code == 303
    assert is_inside(alice)
    assert not is_inside(copy_of(app, SESSION, first))
    assert not is_inside(elsewhere)
    assert alice.post("/logout", data={"csrf_token": token}).status_code == 403


def test_v7_4_1_rule_13_a_logout_clears_the_cookie_ends_the_session_and_its_token(app):
    alice = come_in(app)
    first, token = cookie(alice), token_of(alice)
    answer = log_out(alice)
    assert answer.status_code == 303
    assert "Max-Age=0" in set_cookies(answer)[SESSION]
    assert cookie(alice) == ""
    assert not is_inside(copy_of(app, SESSION, first))
    assert alice.post("/login", data={"csrf_token": token}).status_code == 403
    assert count(app) == 0


def test_v14_3_1_a_logout_clears_what_the_browser_stored_but_no_cookies(app):
    answer = log_out(come_in(app))
    assert answer.headers["Clear-Site-Data"] == '"cache", "storage"'  # "cookies" would take the device's too


def test_63b_5_1_1_the_cookie_of_before_login_never_becomes_the_session(app):
    add_user(app)
    client = app.test_client()
    token_of(client)
    planted = cookie(client, GUEST)
    client.set_cookie(SESSION, planted[:43].ljust(43, "A"))
    fixed = cookie(client)
    assert log_in(client).status_code == 303
    assert cookie(client) not in {fixed, planted}
    assert not is_inside(copy_of(app, SESSION, fixed))
    assert cookie(client, GUEST) == ""


def test_v3_5_1_63b_5_1_6_a_token_of_one_session_is_worth_nothing_in_another(app):
    alice, bob = come_in(app, "alice"), come_in(app, "bob")
    guest = app.test_client()
    tokens = {"alice": token_of(alice), "bob": token_of(bob), "guest": token_of(guest)}
    people = {"alice": alice, "bob": bob, "guest": guest}
    found = {
        (holder, owner): people[holder].post("/keep", json={}, headers={"X-CSRFToken": token}).status_code
        for holder in people
        for owner, token in tokens.items()
    }
    assert found == {(holder, owner): 200 if holder == owner else 403 for holder in people for owner in tokens}


def test_v7_2_3_ids_are_256_random_bits_and_only_their_digest_is_stored(app):
    add_user(app)
    ids = {cookie(enter(app)) for _ in range(5)}
    assert len(ids) == 5
    assert {len(value) for value in ids} == {43}
    with app.extensions["gatehouse"].services(app).reading() as connection:
        dumped = repr(connection.exec_driver_sql("SELECT * FROM gatehouse_session").all())
    assert not any(value in dumped for value in ids)


# --- refused and unknown ids --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["unknown", "ended", "suspended", "expired", "other browser", "malformed"])
def test_rule_13_a_refused_id_neither_sets_nor_deletes_the_session_cookie(build, kind):
    clock = StillClock()
    app = build(kept, clock=clock)
    alice = come_in(app)
    token_of(alice)
    value = cookie(alice)
    options: dict[str, Any] = {}
    if kind == "unknown":
        value = "A" * 43
    elif kind == "malformed":
        value = "x"
    elif kind == "ended":
        log_out(alice)
    elif kind == "suspended":
        suspend(app, "alice")
    elif kind == "expired":
        clock.move(hours=25)
    else:
        options = {"headers": {"User-Agent": "another/1"}}
    client = copy_of(app, SESSION, value)
    for path in ("/protected", "/kept", "/login", "/account", "/nowhere"):
        assert SESSION not in set_cookies(client.get(path, **options))
        assert cookie(client) == value
    assert not is_inside(client, **options)


def test_rule_13_a_late_answer_does_not_kill_the_rotated_cookie(app):
    """Two requests race: one rotates the id, the other, sent with the old one, comes back later."""
    alice = come_in(app)
    late = copy_of(app, SESSION, cookie(alice))
    reauthenticate(alice)
    answer = late.get("/protected")
    assert answer.status_code == 302
    assert set_cookies(answer) == {}


def test_rule_13_a_wrong_password_leaves_the_present_session_alone(app):
    alice = come_in(app)
    before = cookie(alice)
    assert log_in(alice, password="wrong horse battery").status_code == 401
    assert cookie(alice) == before
    assert is_inside(alice)


# --- carried over -------------------------------------------------------------------------------------------


def test_rule_13_a_guests_own_keys_come_along_into_the_session(app):
    add_user(app)
    client = app.test_client()
    keep(client, basket=["apple"], shelf={"a": 1})
    assert cookie(client, GUEST)
    log_in(client)
    assert kept_by(client) == {"basket": ["apple"], "shelf": {"a": 1}}
    assert cookie(client, GUEST) == ""
    reauthenticate(client)
    assert kept_by(client) == {"basket": ["apple"], "shelf": {"a": 1}}


@pytest.mark.parametrize("key", ["csrf_token", "_user_id", "_fresh", "_id", "_remember", "_permanent"])
def test_rule_13_keys_that_are_not_the_apps_own_stay_behind(app, key):
    add_user(app)
    add_user(app, "bob")
    client = app.test_client()
    token_of(client)
    with client.session_transaction() as guest:
        guest._mapping()[key] = "1"
        guest["basket"] = "apple"
    stored = cookie(client, GUEST)
    assert stored
    log_in(client)
    found = client.get("/kept").get_json()
    assert found.get("basket") == "apple"
    assert found.get(key) != "1"


def test_rule_13_what_is_carried_over_is_capped_at_eight_kilobytes(app, caplog):
    add_user(app)
    small, large = app.test_client(), app.test_client()
    keep(small, text="a" * (CARRIED_MAX - 20))
    keep(large, text="a" * CARRIED_MAX)  # compresses well, so that the cookie holds it
    log_in(small)
    log_in(large)
    assert len(kept_by(small)["text"]) == CARRIED_MAX - 20
    assert kept_by(large) == {}
    assert "was not carried over" in caplog.text


def test_rule_13_nothing_goes_from_user_to_user(app):
    add_user(app, "bob")
    client = come_in(app, "alice")
    keep(client, basket="alice's")
    assert kept_by(client) == {"basket": "alice's"}
    assert log_in(client, "bob").status_code == 303
    assert kept_by(client) == {}


def test_rule_13_nothing_comes_back_at_logout_and_the_flash_goes_to_the_guest(app):
    client = come_in(app)
    keep(client, basket="alice's")
    answer = log_out(client)
    assert GUEST in set_cookies(answer)
    assert "You have logged out." in client.get("/login").text
    assert kept_by(client) == {}
    assert log_in(client).status_code == 303
    assert kept_by(client) == {}


def test_rule_13_a_flash_of_the_guest_is_shown_once_after_login(app):
    add_user(app)
    client = app.test_client()
    client.get("/flash")
    token = client.get("/kept").get_json().get("csrf_token")
    assert token is None
    log_in(client)
    client.get("/flash")
    assert "a message" in client.get("/account").text
    assert "a message" not in client.get("/account").text


def test_a_users_session_data_lives_in_the_row_and_not_in_a_cookie(app):
    alice = come_in(app)
    token = token_of(alice)
    answer = alice.post("/keep", json={"basket": "apple"}, headers={"X-CSRFToken": token})
    assert set_cookies(answer) == {}
    assert kept_by(copy_of(app, SESSION, cookie(alice))) == {"basket": "apple"}
    assert kept_by(enter(app)) == {}


def test_rule_11_a_request_in_flight_does_not_revive_an_ended_session(build):
    """The session ends while a view of it runs; what the view stores is dropped."""

    def setup(app, gate):
        kept(app, gate)

        @app.get("/slow")
        def slow():
            suspend(app, "alice")
            session["late"] = "write"
            return "done"

    app = build(setup)
    alice = come_in(app)
    assert alice.get("/slow").text == "done"
    assert count(app) == 0
    assert not is_inside(alice)


# --- pending (rule 14) --------------------------------------------------------------------------------------


@pytest.fixture
def with_factor(build):
    factor = CodeFactor()
    app = build(kept, factors=[factor])
    factor.holders.add(add_user(app).id)
    return app


def test_rule_14_a_pending_login_has_a_cookie_of_its_own_that_opens_nothing(with_factor):
    client = with_factor.test_client()
    keep(client, basket="apple")
    answer = log_in(client)
    assert (answer.status_code, answer.location) == (303, "/login/factor")
    pending = cookie(client, PENDING)
    assert len(pending) == 43
    assert cookie(client) == ""
    assert not is_inside(client)
    assert not is_inside(copy_of(with_factor, SESSION, pending))
    assert kept_by(client) == {"basket": "apple"}
    assert kept_by(copy_of(with_factor, PENDING, pending)) == {}


def test_rule_14_a_live_sessions_id_answers_no_factor(with_factor):
    add_user(with_factor, "bob")
    bob = enter(with_factor, "bob")
    client = copy_of(with_factor, PENDING, cookie(bob))
    assert answer_factor(client).status_code == 410
    assert cookie(client) == ""


def test_rule_13_the_answered_factor_gives_a_new_id_and_drops_the_pending_cookie(with_factor):
    client = with_factor.test_client()
    keep(client, basket="apple")
    log_in(client)
    pending = cookie(client, PENDING)
    answer = answer_factor(client)
    assert answer.status_code == 303
    assert cookie(client, PENDING) == ""
    assert cookie(client) not in {"", pending}
    assert is_inside(client)
    assert kept_by(client) == {"basket": "apple"}
    assert answer_factor(copy_of(with_factor, PENDING, pending)).status_code == 410
    assert count(with_factor) == 1


def test_rule_14_a_pending_login_leaves_the_present_session_until_it_is_complete(with_factor):
    add_user(with_factor, "bob")
    client = enter(with_factor, "bob")
    before = cookie(client)
    log_in(client, "alice")
    assert cookie(client) == before
    assert is_inside(client)
    answer_factor(client)
    assert not is_inside(copy_of(with_factor, SESSION, before))
    assert "alice" in client.get("/account").text


def test_v2_3_1_the_factor_is_answered_after_the_password_only(with_factor):
    client = with_factor.test_client()
    assert client.get("/login/factor").location == "/login"
    token = token_of(client)
    assert client.post("/login/factor", data={"csrf_token": token, "code": "246810"}).status_code == 410


def test_rule_14_a_pending_login_waits_ten_minutes(build):
    clock, factor = StillClock(), CodeFactor()
    app = build(kept, clock=clock, factors=[factor])
    factor.holders.add(add_user(app).id)
    in_time, late = app.test_client(), app.test_client()
    log_in(in_time)
    clock.move(seconds=1)
    log_in(late)
    clock.move(seconds=598)
    assert answer_factor(in_time).status_code == 303
    clock.move(seconds=2)
    assert answer_factor(late).status_code == 410
    assert not is_inside(late)


def test_rule_14_a_suspension_ends_the_pending_login(with_factor):
    client = with_factor.test_client()
    log_in(client)
    suspend(with_factor, "alice")
    assert answer_factor(client).status_code == 410
    assert not is_inside(client)
