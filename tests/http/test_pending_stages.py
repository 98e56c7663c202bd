"""Between the password and the second factor nobody is there, at whatever stage, and what was given up stays so."""

from __future__ import annotations

import re

import flask_login
import pytest
import sqlalchemy as sa
from flask import current_app, g, jsonify, request, session
from werkzeug.test import TestResponse

from flask_gatehouse import can, current_user, logout_user, public
from flask_gatehouse.flows import administer, reset_password, seeds
from flask_gatehouse.flows.acts import Act
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.identity import CLI
from tests.http.people import StillClock, entries, gate_of, kinds
from tests.support.house import HERE
from tests.support.people import PASSWORD, PROGRAM, make_person, services_of
from tests.support.phones import ON, code_now, enrol
from tests.support.visitor import csrf_token, submit

ACT = Act(CLI, None, "a test")
UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
UPGRADE |= {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-Fetch-Mode": "websocket"}
DOORS = {"page": {}, "program": PROGRAM, "fetch": {"Sec-Fetch-Mode": "cors"}, "upgrade": UPGRADE}
SEED = re.compile(r"secret=([A-Z2-7]+)")


def add_routes(app, gate):
    """Add readers of everything that could tell who is there."""
    gate.permission("a:b", "Do it")
    app.extensions["cached"] = {}
    app.extensions["signals"] = []
    for signal in (flask_login.user_logged_in, flask_login.user_login_confirmed):
        told = app.extensions["signals"]
        signal.connect(lambda _sender, signal=signal, told=told, **_: told.append(signal.name), sender=app, weak=False)

    @app.get("/inside")
    def inside():
        return f"inside: {current_user.username}"

    app.add_url_rule("/socket", "socket", lambda: f"inside: {current_user.username}", websocket=True)

    @app.get("/tell")
    @public
    def tell():
        mine = [current_user.is_authenticated, current_user.username, current_user.get_id(), current_user.can("a:b")]
        theirs = [key in session for key in ("_user_id", "_fresh", "_id", "_remember")]
        kept = [value for key, value in session.items() if key != "csrf_token"]
        return jsonify(mine=mine, session=theirs, kept=kept, can=can("a:b"), g=type(g._login_user).__name__)

    @app.get("/cached")
    @public
    def cached():
        """Be a cache keyed by who is asking, as the app sees it."""
        key = (request.path, current_user.get_id(), session.get("_user_id"))
        return current_app.extensions["cached"].setdefault(key, f"for {current_user.username or 'nobody'}")

    @app.get("/leave")
    @public
    def leave():
        logout_user()
        return "gone"


@pytest.fixture
def clock():
    """Return a clock that stands still."""
    return StillClock()


@pytest.fixture
def app(build, clock):
    """Return an app where alice (1) has an authenticator app and recovery codes."""
    made = build(add_routes, clock=clock, GATEHOUSE_THROTTLE="off", **ON)
    make_person(made, "alice")
    return made


@pytest.fixture
def phone(app):
    """Return alice's seed and codes."""
    held = services_of(app)
    codes = seeds.codes_of(held)
    assert codes is not None
    with held.unit() as unit:
        made = codes.renew(unit.connection, 1, unit.now)
    return {"seed": enrol(held, 1), "codes": made}


# --- stages ------------------------------------------------------------------------------------------------


def after_password(app, phone):
    """Show the right password."""
    client = app.test_client()
    assert submit(client, "/login", username="alice", password=PASSWORD).location == "/login/factor"
    return client


def after_wrong_code(app, phone):
    """Show a wrong code as well."""
    client = after_password(app, phone)
    assert submit(client, "/login/factor", code="000000").status_code == 401
    return client


def after_recovery_code(app, phone):
    """Use a recovery code up."""
    client = after_password(app, phone)
    assert submit(client, "/login/factor", recovery_code=phone["codes"][0]).location == "/login/factor"
    return client


def after_offer(app, phone):
    """Look at the new seed as well."""
    client = after_recovery_code(app, phone)
    assert SEED.search(client.get("/login/factor").get_data(as_text=True))
    return client


STAGES = {stage.__name__: stage for stage in (after_password, after_wrong_code, after_recovery_code, after_offer)}


@pytest.fixture(params=STAGES)
def pending(request, app, phone):
    """Return a browser at a stage of a login."""
    return STAGES[request.param](app, phone)


def guarded(app):
    """Return every GET of the app that is not public, its own and ours."""
    values = {"<name>": "admin"}
    return [
        re.sub(r"<[^>]+>", lambda match: values.get(match[0], "1"), row.rule)
        for row in gate_of(app).route_table(app)
        if "GET" in row.methods and not row.requirement_text.startswith("public")
    ]


def is_refused(answer: TestResponse) -> bool:
    """Tell whether a guest was turned away."""
    if answer.status_code == 302:
        return answer.location.startswith("/login")
    return answer.status_code == 401 and answer.get_json()["type"].endswith("login")


# --- nobody is there ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("door", DOORS)
def test_rule_14_at_no_stage_does_any_route_see_anybody(app, pending, door):
    nobody = app.test_client().get("/tell").get_json()
    paths = guarded(app)
    assert {"/inside", "/account", "/account/security/totp", "/admin", "/reauthenticate", "/socket"} <= {*paths}
    for path in paths:
        answer = pending.get(path, headers=DOORS[door])
        is_nothing = answer.status_code in {400, 405} and (path == "/socket") != (door == "upgrade")
        assert is_refused(answer) or is_nothing, path  # Werkzeug itself finds no view of the other protocol
    if door == "upgrade":
        assert is_refused(pending.get("/socket", headers=UPGRADE))
    told = pending.get("/tell", headers=DOORS[door] if door != "upgrade" else {})
    assert told.get_json() == nobody
    assert nobody["mine"][:3] == [False, "", None]
    assert "alice" not in told.get_data(as_text=True)
    assert app.extensions["signals"] == []
    assert "login.succeeded" not in kinds(app)


def test_rule_14_what_is_cached_for_a_guest_is_what_a_pending_login_gets(app, pending, phone, clock):
    assert pending.get("/cached").text == "for nobody"
    assert app.test_client().get("/cached").text == "for nobody"
    clock.move(seconds=60)
    inside = app.test_client()
    submit(inside, "/login", username="alice", password=PASSWORD)
    assert submit(inside, "/login/factor", code=code_now(app, phone["seed"])).status_code == 303
    assert inside.get("/cached").text == "for alice"
    assert pending.get("/cached").text == "for nobody"


def test_v14_3_2_no_page_of_a_pending_login_may_be_kept(pending):
    shown = pending.get("/login/factor")
    assert shown.headers["Cache-Control"] == "no-store"
    assert "Cookie" in shown.headers["Vary"]


@pytest.mark.parametrize("name", ["gatehouse", "gatehouse-guest", "gatehouse-device", "session", "remember_token"])
def test_rule_14_a_pending_secret_is_nothing_under_any_other_name(app, pending, name):
    secret = pending.get_cookie("gatehouse-pending").value
    thief = app.test_client()
    thief.set_cookie(name, secret)
    assert is_refused(thief.get("/inside"))
    assert is_refused(thief.get("/inside", headers={"Authorization": f"Bearer {secret}", **PROGRAM}))
    assert thief.get("/login/factor").location == "/login"
    assert thief.get("/tell").get_json() == app.test_client().get("/tell").get_json()


def test_rule_14_a_pending_login_changes_nothing_of_the_account(app, pending):
    token = csrf_token(pending.get("/login").get_data(as_text=True))
    for row in gate_of(app).route_table(app):
        if "POST" in row.methods and not row.requirement_text.startswith("public"):
            url = re.sub(r"<[^>]+>", "1", row.rule)
            answer = pending.post(url, data={"csrf_token": token, "reason": "a test"}, headers=PROGRAM)
            assert answer.status_code == 401, url


# --- nothing is left to resume -----------------------------------------------------------------------------


def log_out(app, client):
    """Press "Give up and begin again"."""
    assert submit(client, "/logout", page="/login/factor").status_code == 303


def leave_by_the_host(app, client):
    """Let the host's own view call `logout_user()`."""
    assert client.get("/leave").text == "gone"


def answer_wrongly(app, client):
    """Answer wrongly until the login has ended."""
    for _ in range(9):
        if submit(client, "/login/factor", page="/login", code="000000").status_code == 410:
            return


def suspend(app, client):
    """Suspend the user."""
    assert administer.suspend(services_of(app), ACT, 1)


def suspend_and_restore(app, client):
    """Suspend the user, and let them in again."""
    suspend(app, client)
    assert administer.restore(services_of(app), ACT, 1)


def end_all(app, client):
    """End all sessions of the user."""
    assert administer.end_sessions(services_of(app), ACT, 1) is not None


def reset_factors(app, client):
    """Reset the user's factors."""
    assert administer.reset_factors(services_of(app), ACT, 1)


def reset_password_by_link(app, client):
    """Choose another password by a link."""
    link = reset_password.make_link(services_of(app), CLI, "alice")
    assert isinstance(link, str)
    assert isinstance(reset_password.complete(services_of(app), link, "another quiet river", HERE), int)


def close(app, client):
    """Close the user for good."""
    assert administer.close(services_of(app), ACT, 1)


def wait(app, client):
    """Let ten minutes pass."""
    clock = services_of(app).clock
    assert isinstance(clock, StillClock)
    clock.move(minutes=10)


ENDINGS = {
    one.__name__: one
    for one in (
        *(log_out, leave_by_the_host, suspend, suspend_and_restore, end_all),
        *(reset_factors, reset_password_by_link, close, wait),
    )
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_rule_14_v7_4_1_what_was_given_up_or_ended_cannot_be_resumed(app, pending, phone, clock, ending):
    thief = app.test_client()
    thief.set_cookie("gatehouse-pending", pending.get_cookie("gatehouse-pending").value)
    offered = SEED.search(thief.get("/login/factor").get_data(as_text=True))
    ENDINGS[ending](app, pending)
    clock.move(seconds=60)
    for client in (pending, thief):
        token = csrf_token(client.get("/login").get_data(as_text=True))
        codes = [code_now(app, phone["seed"]), *([code_now(app, offered[1])] if offered else [])]
        answers = [{"code": code} for code in codes] + [{"recovery_code": code} for code in phone["codes"][1:3]]
        for fields in answers:
            answer = client.post("/login/factor", data={"csrf_token": token, **fields})
            assert answer.status_code == 410, (fields, answer.get_data(as_text=True))
        assert is_refused(client.get("/inside"))
    with services_of(app).reading() as connection:
        assert connection.execute(sa.select(schema.session.c.id)).all() == [] or ending == "wait"
    assert "login.succeeded" not in kinds(app)


def test_rule_14_five_wrong_answers_leave_nothing_to_resume(build, clock):
    app = build(add_routes, clock=clock, **ON)  # with its throttle
    make_person(app, "alice")
    seed = enrol(services_of(app), 1)
    client = after_password(app, None)
    secret = client.get_cookie("gatehouse-pending").value
    answer_wrongly(app, client)
    assert submit(client, "/login/factor", page="/login", code=code_now(app, seed)).status_code == 410
    with services_of(app).reading() as connection:
        assert connection.execute(sa.select(schema.session.c.id)).all() == []
    assert secret not in str(entries(app))


def test_giving_up_is_recorded_and_spares_the_session_beside_it(app, phone, clock):
    make_person(app, "bob")
    client = app.test_client()
    submit(client, "/login", username="bob", password=PASSWORD)
    assert submit(client, "/login", username="alice", password=PASSWORD).location == "/login/factor"
    other = app.test_client()
    submit(other, "/login", username="alice", password=PASSWORD)
    assert submit(other, "/logout", page="/login/factor").location == "/login"
    assert other.get_cookie("gatehouse-pending") is None
    assert [(entry.actor, entry.user_id) for entry in entries(app, "login.cancelled")] == [("alice", 1)]
    assert client.get("/inside").text == "inside: bob"
    assert submit(client, "/logout", page="/account").status_code == 303  # ends bob's session and alice's login
    assert len(entries(app, "login.cancelled")) == 2
    token = csrf_token(client.get("/login").get_data(as_text=True))
    assert (
        client.post("/login/factor", data={"csrf_token": token, "code": code_now(app, phone["seed"])}).status_code
        == 410
    )


def test_ending_all_of_ones_own_sessions_ends_what_is_pending_elsewhere(app, phone, clock):
    inside, thief = after_password(app, phone), after_password(app, phone)
    assert submit(inside, "/login/factor", code=code_now(app, phone["seed"])).status_code == 303
    assert submit(inside, "/account/sessions/end-others", page="/account/sessions").status_code == 303
    clock.move(seconds=60)
    assert submit(thief, "/login/factor", page="/login", code=code_now(app, phone["seed"])).status_code == 410
