"""Rule 15: the real Flask-Login on Gatehouse's users, with what it may not do."""

from __future__ import annotations

from importlib.metadata import version

import flask_login
import pytest
from flask import jsonify, render_template_string, request, session
from flask_login import FlaskLoginClient, LoginManager, UserMixin, confirm_login, login_fresh
from flask_login.signals import (
    user_accessed,
    user_logged_in,
    user_logged_out,
    user_login_confirmed,
    user_needs_refresh,
    user_unauthorized,
)

import flask_gatehouse as gatehouse
from flask_gatehouse import current_user, login_user, logout_user, public
from flask_gatehouse.http.context import here
from flask_gatehouse.http.cookie import OURS
from flask_gatehouse.http.flask_login import GatehouseLoginManager, User
from tests.http.people import (
    GUEST,
    JSON,
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
    entries,
    is_inside,
    log_in,
    log_out,
    reauthenticate,
    set_cookies,
    suspend,
    user_id,
    withdraw,
)


class Heard:
    """Signals of one app, in order."""

    SIGNALS = (
        ("in", user_logged_in),
        ("out", user_logged_out),
        ("confirmed", user_login_confirmed),
        ("unauthorized", user_unauthorized),
        ("needs refresh", user_needs_refresh),
    )

    def __init__(self, app):
        self.found = []
        self._receivers = []
        for name, signal in self.SIGNALS:
            receiver = self._receiver(name)
            self._receivers.append(receiver)
            signal.connect(receiver, app)

    def _receiver(self, name):
        def receive(sender, user=None):
            self.found.append(name if user is None else (name, getattr(user, "username", None)))

        return receive

    def drain(self):
        found, self.found[:] = list(self.found), []
        return found


class Member(UserMixin):  # type: ignore[misc]  # Flask-Login has no types
    """A host app's own user class over our ids, as apps written for Flask-Login have."""

    def __init__(self, identifier, *, active=True):
        self.id = identifier
        self._active = active

    @property
    def is_active(self):
        return self._active


def host(app, gate):
    """Add the routes of an app written for Flask-Login."""
    app.get("/protected", endpoint="protected")(lambda: f"inside: {current_user.username}")
    app.get("/fresh", endpoint="fresh")(flask_login.fresh_login_required(lambda: "fresh"))

    @app.get("/enter/<identifier>")
    @public
    def enter_as(identifier):
        options = {name: request.args[name] == "1" for name in ("force", "fresh", "remember") if name in request.args}
        member = Member(identifier, active=request.args.get("active", "1") == "1")
        answer = login_user(member, **options)
        return jsonify(answer=answer, user=current_user.get_id(), name=current_user.username)

    @app.get("/leave")
    @public
    def leave():
        logout_user()
        return jsonify(is_authenticated=current_user.is_authenticated)

    @app.get("/confirm")
    def confirm():
        confirm_login()
        return flask_login.fresh_login_required(lambda: f"fresh: {bool(login_fresh())}")()

    @app.get("/who")
    @public
    def who():
        return jsonify(
            id=current_user.id,
            text=current_user.get_id(),
            name=current_user.username,
            email=current_user.email,
            roles=list(current_user.roles),
            role=current_user.role,
            facts=[current_user.is_authenticated, current_user.is_active, current_user.is_anonymous],
            fresh=bool(login_fresh()),
            user_id=session.get("_user_id"),
            keys=sorted(session),
        )


@pytest.fixture
def app(build):
    return build(host)


# --- current_user -------------------------------------------------------------------------------------------


def test_rule_15_current_user_of_a_guest(app):
    assert app.test_client().get("/who").get_json() == {
        "id": None,
        "text": None,
        "name": "",
        "email": None,
        "roles": [],
        "role": "",
        "facts": [False, False, True],
        "fresh": False,
        "user_id": None,
        "keys": [],
    }


def test_rule_15_current_user_of_somebody_inside(build):
    def setup(app, gate):
        gate.role("Baker", [])
        gate.role("clerk", [])
        host(app, gate)

    app = build(setup)
    with app.app_context():
        app.extensions["gatehouse"].create_user("Alice", PASSWORD, email="a@b.example", roles=["clerk", "BAKER"])
    client = enter(app, "Alice")
    found = client.get("/who").get_json()
    assert found == {
        "id": 1,
        "text": "1",
        "name": "Alice",
        "email": "a@b.example",
        "roles": ["baker", "clerk"],
        "role": "baker",
        "facts": [True, True, False],
        "fresh": True,
        "user_id": "1",
        "keys": [],
    }
    withdraw(app, "Alice", "baker")
    assert client.get("/who").get_json()["role"] == "clerk"
    withdraw(app, "Alice", "clerk")
    assert client.get("/who").get_json()["role"] == "user"


def test_rule_15_the_role_of_an_administrator_is_admin(build):
    def setup(app, gate):
        gate.role("aaa", [])
        host(app, gate)

    found = come_in(build(setup), "root", "admin", "aaa").get("/who").get_json()
    assert (found["roles"], found["role"]) == (["aaa", "admin"], "admin")


def test_rule_15_the_names_of_the_package_are_flask_logins_own():
    assert gatehouse.login_user is flask_login.login_user
    assert gatehouse.logout_user is flask_login.logout_user
    assert gatehouse.current_user is flask_login.current_user


def test_rule_15_has_role_is_case_folded_and_a_guest_has_none(build):
    def setup(app, gate):
        gate.role("clerk", [])
        app.get("/x", endpoint="x")(public(lambda: str(current_user.has_role("CLERK"))))

    app = build(setup)
    assert app.test_client().get("/x").text == "False"
    assert come_in(app, "alice", "clerk").get("/x").text == "True"


# --- login_user and logout_user -----------------------------------------------------------------------------


def test_rule_15_login_user_opens_a_server_session_that_ends_like_any_other(app):
    add_user(app)
    heard, client = Heard(app), app.test_client()
    answer = client.get("/enter/1")
    assert answer.get_json() == {"answer": True, "user": "1", "name": "alice"}
    assert heard.drain() == [("in", "alice")]
    assert len(cookie(client)) == 43
    assert is_inside(client)
    assert is_inside(client, "/fresh")
    assert count(app) == 1
    assert entries(app)[0].kind == "login.succeeded"
    suspend(app, "alice")
    assert not is_inside(client)


@pytest.mark.parametrize("identifier", ["0", "2", "-1", "1.0", "x", "²", "9" * 19, "99999999999999999999999"])
def test_rule_15_login_user_of_nobody_is_refused(app, identifier):
    add_user(app)
    heard, client = Heard(app), app.test_client()
    assert client.get(f"/enter/{identifier}").status_code == 401
    assert heard.drain() == []
    assert cookie(client) == ""
    assert not is_inside(client)


def test_rule_15_force_never_lifts_a_suspension(app):
    add_user(app)
    suspend(app, "alice")
    heard = Heard(app)
    for path in ("/enter/1", "/enter/1?force=1", "/enter/1?force=1&active=0"):
        client = app.test_client()
        assert client.get(path).status_code == 401
        assert heard.drain() == []
        assert cookie(client) == ""
        assert not is_inside(client)
        heard.drain()
    assert count(app) == 0
    assert {entry.kind for entry in entries(app)} >= {"login.failed"}


def test_rule_15_force_works_on_the_hosts_own_is_active_as_in_flask_login(app):
    add_user(app)
    refused, forced = app.test_client(), app.test_client()
    assert refused.get("/enter/1?active=0").get_json()["answer"] is False
    assert not is_inside(refused)
    assert forced.get("/enter/1?active=0&force=1").get_json()["answer"] is True
    assert is_inside(forced)


def test_rule_15_login_user_without_freshness_is_not_fresh_until_proven(app):
    add_user(app)
    client = app.test_client()
    client.get("/enter/1?fresh=0")
    assert is_inside(client)
    assert client.get("/who").get_json()["fresh"] is False
    assert client.get("/fresh").location == "/reauthenticate?next=/fresh"
    assert reauthenticate(client).status_code == 303
    assert is_inside(client, "/fresh")


def test_rule_16_login_user_with_remember_is_the_longer_session(build):
    clock = StillClock()
    app = build(host, clock=clock, GATEHOUSE_REMEMBER="7d")
    add_user(app)
    client = app.test_client()
    answer = client.get("/enter/1?remember=1")
    assert f"Max-Age={7 * 86400}" in set_cookies(answer)[SESSION]
    assert "remember_token" not in set_cookies(answer)
    clock.move(days=6)
    assert is_inside(client)
    assert not is_inside(client, "/fresh")
    clock.move(days=2)
    assert not is_inside(client)


def test_rule_13_login_user_ends_the_session_of_before_and_carries_nothing_from_user_to_user(app):
    add_user(app, "bob")
    client = come_in(app, "alice")
    before = cookie(client)
    assert client.get(f"/enter/{user_id(app, 'bob')}").get_json()["name"] == "bob"
    assert cookie(client) not in {"", before}
    thief = app.test_client()
    thief.set_cookie(SESSION, before)
    assert not is_inside(thief)
    assert count(app) == 1


def test_rule_15_logout_user_ends_the_session_on_the_server(app):
    client = come_in(app)
    heard, secret = Heard(app), cookie(client)
    assert client.get("/leave").get_json() == {"is_authenticated": False}
    assert heard.drain() == [("out", "alice")]
    assert cookie(client) == ""
    thief = app.test_client()
    thief.set_cookie(SESSION, secret)
    assert not is_inside(thief)
    assert entries(app)[0].kind == "logout"


def test_rule_15_signals_of_the_pages_are_flask_logins(app):
    add_user(app)
    heard, client = Heard(app), app.test_client()
    log_in(client, password="wrong horse battery")
    assert heard.drain() == []
    log_in(client)
    assert heard.drain() == [("in", "alice")]
    log_out(client)
    assert heard.drain() == [("out", "alice")]


# --- the gate calls Flask-Login's doors ---------------------------------------------------------------------


def test_rule_15_the_gate_sends_unauthorized_and_needs_refresh(build):
    clock = StillClock()
    app = build(host, clock=clock)
    heard = Heard(app)
    app.test_client().get("/protected")
    assert heard.drain() == ["unauthorized"]
    client = come_in(app)
    heard.drain()
    clock.move(minutes=11)
    client.get("/fresh")
    assert heard.drain() == ["needs refresh"]


def test_rule_15_the_hosts_handlers_answer_in_place_of_our_pages(build):
    def setup(app, gate):
        host(app, gate)
        app.login_manager.unauthorized_handler(lambda: ("the host's own 401", 401))
        app.login_manager.needs_refresh_handler(lambda: ("the host's own refresh", 418))

    clock = StillClock()
    app = build(setup, clock=clock)
    answer = app.test_client().get("/protected")
    assert (answer.status_code, answer.text) == (401, "the host's own 401")
    client = come_in(app)
    clock.move(minutes=11)
    answer = client.get("/fresh")
    assert (answer.status_code, answer.text) == (418, "the host's own refresh")


def test_rule_15_the_hosts_login_and_refresh_views_are_where_people_are_sent(build):
    def setup(app, gate):
        host(app, gate)
        app.get("/my-login", endpoint="my_login")(public(lambda: "log in here"))
        app.get("/my-refresh", endpoint="my_refresh")(lambda: "prove here")
        app.login_manager.login_view = "my_login"
        app.login_manager.refresh_view = "my_refresh"

    clock = StillClock()
    app = build(setup, clock=clock)
    assert app.test_client().get("/protected").location == "/my-login?next=/protected"
    client = come_in(app)
    clock.move(minutes=11)
    assert client.get("/fresh").location == "/my-refresh?next=/fresh"


@pytest.mark.parametrize(
    "view, location",
    [
        ("/my-login", "/my-login?next=%2Fprotected"),
        ("/my-login?lang=en", "/my-login?lang=en&next=%2Fprotected"),
        ("https://sso.example/login", "https://sso.example/login?next=%2Fprotected"),
    ],
)
def test_rule_15_a_login_view_may_be_an_address(build, view, location):
    def setup(app, gate):
        host(app, gate)
        app.login_manager.login_view = view

    assert build(setup).test_client().get("/protected").location == location


def test_rule_15_a_view_that_asks_the_login_manager_itself_gets_the_gates_answer(build):
    def setup(app, gate):
        @app.get("/manual")
        @public
        def manual():
            return "in" if current_user.is_authenticated else app.login_manager.unauthorized()

    app = build(setup)
    assert app.test_client().get("/manual").location == "/login?next=/manual"
    assert app.test_client().get("/manual", headers=JSON).status_code == 401
    assert come_in(app).get("/manual").text == "in"


# --- test client --------------------------------------------------------------------------------------------


def test_rule_15_flask_logins_test_client_logs_users_in(app):
    made = add_user(app)
    app.test_client_class = FlaskLoginClient
    client = app.test_client(user=made)
    assert client.get("/protected").text == "inside: alice"
    assert is_inside(client, "/fresh")
    stale = app.test_client(user=made, fresh_login=False)
    assert is_inside(stale)
    assert not is_inside(stale, "/fresh")
    assert not is_inside(app.test_client())
    suspend(app, "alice")
    assert not is_inside(client)
    assert not is_inside(app.test_client(user=made))


def test_rule_15_session_transactions_reach_a_guests_session(app):
    client = app.test_client()
    with client.session_transaction() as found:
        found["basket"] = "apple"
    with client.session_transaction() as found:
        assert dict(found) == {"basket": "apple"}
    assert client.get("/who").get_json()["keys"] == ["basket"]


def test_rule_15_session_transactions_reach_a_users_session(app):
    client = come_in(app)
    with client.session_transaction() as found:
        assert found["_user_id"] == "1"
        found["basket"] = "apple"
    assert client.get("/who").get_json()["keys"] == ["basket"]
    with client.session_transaction() as found:
        assert found["basket"] == "apple"
        del found["basket"]
    assert client.get("/who").get_json()["keys"] == []
    assert cookie(client, GUEST) == ""


def test_rule_17_a_session_transactions_want_of_a_user_agent_counts_in_tests_only(build):
    """A test client's session transaction sends no User-Agent header at all; a thief could leave it out too."""
    config = {"TESTING": False, "GATEHOUSE_ARGON2": "19456,2,1", "GATEHOUSE_ORIGINS": "http://localhost"}
    app = build(host, **config)
    client = come_in(app)
    thief = app.test_client()
    thief.set_cookie(SESSION, cookie(client))
    del thief.environ_base["HTTP_USER_AGENT"]
    assert not is_inside(thief)
    assert is_inside(client)


def test_rule_15_session_transactions_log_in_and_out(app):
    add_user(app)
    client = app.test_client()
    with client.session_transaction() as found:
        found["_user_id"], found["_fresh"] = "1", True
    assert is_inside(client)
    secret = cookie(client)
    with client.session_transaction() as found:
        found.clear()
    assert not is_inside(client)
    thief = app.test_client()
    thief.set_cookie(SESSION, secret)
    assert not is_inside(thief)


# --- what it may not do -------------------------------------------------------------------------------------


@pytest.mark.parametrize("extra", [{}, {"_fresh": True}, {"_fresh": True, "_id": "x", "_remember": "set"}])
def test_rule_15_user_id_in_a_guests_cookie_means_nothing(app, extra):
    """Somebody had the signing key, or an older release wrote such cookies."""
    add_user(app)
    wired = app.extensions["gatehouse_wired"]
    client = app.test_client()
    client.set_cookie(GUEST, str(wired.guests.dump({"_user_id": "1", "basket": "apple", **extra})))
    found = client.get("/who").get_json()
    assert (found["text"], found["user_id"], found["keys"], found["fresh"]) == (None, None, ["basket"], False)
    assert not is_inside(client)
    assert count(app) == 0


def test_rule_15_user_id_in_a_users_stored_session_means_nothing(app):
    client = come_in(app, "alice")
    add_user(app, "bob")
    services = app.extensions["gatehouse"].services(app)
    with services.database.unit() as connection:
        connection.exec_driver_sql("""UPDATE gatehouse_session SET data = '{"_user_id":"2","_fresh":true,"a":1}'""")
    found = client.get("/who").get_json()
    assert (found["name"], found["user_id"]) == ("alice", "1")


def test_rule_15_confirm_login_without_a_proof_does_nothing(build):
    clock = StillClock()
    app = build(host, clock=clock)
    client = come_in(app)
    assert client.get("/confirm").text == "fresh: True"
    clock.move(minutes=11)
    assert client.get("/confirm").status_code == 302  # refused by the helper: the claim does not count
    assert client.get("/who").get_json()["fresh"] is False
    assert not is_inside(client, "/fresh")


def test_rule_15_freshness_written_into_the_session_does_not_count(build):
    def setup(app, gate):
        host(app, gate)

        @app.get("/claim")
        def claim():
            session["_fresh"] = True
            return str(bool(login_fresh()))

    clock = StillClock()
    app = build(setup, clock=clock)
    client = come_in(app)
    clock.move(minutes=11)
    assert client.get("/claim").text == "False"
    assert not is_inside(client, "/fresh")


def test_rule_15_login_disabled_is_refused_outside_tests(build, caplog):
    app = build(
        host,
        TESTING=False,
        LOGIN_DISABLED=True,
        GATEHOUSE_ARGON2="19456,2,1",
        GATEHOUSE_ORIGINS="http://localhost",
    )
    assert app.test_client().get("/protected").status_code == 500
    assert "refusing to serve: LOGIN_DISABLED: opens every page: remove it" in caplog.text


def test_rule_15_login_disabled_opens_no_gate_even_when_set_later(build):
    app = build(host)
    assert not is_inside(app.test_client(), "/fresh")
    app.config["LOGIN_DISABLED"] = True
    assert not is_inside(app.test_client(), "/fresh")
    assert not is_inside(app.test_client())


def test_rule_15_a_login_manager_before_gatehouse_is_an_error(build):
    with pytest.raises(gatehouse.SetupError, match="has a LoginManager already"):
        build(before=LoginManager)


def test_rule_15_a_login_manager_after_gatehouse_is_an_error_at_the_first_request(build):
    app = build(lambda app, gate: LoginManager(app))
    with pytest.raises(gatehouse.SetupError, match="second LoginManager"):
        app.test_client().get("/login")


def test_rule_15_the_forwarded_address_that_flask_login_would_believe_is_not_used(app):
    client = come_in(app)
    for address in ("203.0.113.1", "203.0.113.2", "é\xff"):
        assert is_inside(client, headers={"X-Forwarded-For": address})
    assert entries(app)[0].address == "127.0.0.1"


def test_rule_15_a_remember_token_of_plain_flask_login_means_nothing(app):
    add_user(app)
    client = app.test_client()
    with app.app_context():
        client.set_cookie("remember_token", flask_login.encode_cookie("1"))
    assert not is_inside(client)
    assert client.get("/who").get_json()["text"] is None


# --- a factor is due ----------------------------------------------------------------------------------------


@pytest.fixture
def with_factor(build):
    factor = CodeFactor()
    app = build(host, factors=[factor])
    factor.holders.add(add_user(app).id)
    return app


def test_rule_14_rule_15_login_user_while_a_factor_is_due_yields_a_pending_login(with_factor):
    heard, client = Heard(with_factor), with_factor.test_client()
    answer = client.get("/enter/1")
    assert (answer.status_code, answer.location) == (303, "/login/factor")
    assert heard.drain() == []
    assert cookie(client) == ""
    assert len(cookie(client, PENDING)) == 43
    assert client.get("/who").get_json()["text"] is None
    assert not is_inside(client)
    heard.drain()
    assert answer_factor(client).status_code == 303
    assert heard.drain() == [("in", "alice")]
    assert is_inside(client)


def test_rule_15_force_does_not_skip_the_factor(with_factor):
    client = with_factor.test_client()
    assert client.get("/enter/1?force=1&fresh=1").location == "/login/factor"
    assert not is_inside(client)


def test_rule_14_the_test_client_of_flask_login_gets_no_further_than_pending(with_factor):
    with_factor.test_client_class = FlaskLoginClient
    client = with_factor.test_client(user=Member("1"))
    assert not is_inside(client)
    assert cookie(client, PENDING)


def test_rule_14_a_program_is_told_that_a_factor_is_due(with_factor):
    answer = with_factor.test_client().get("/enter/1", headers=JSON)
    assert answer.status_code == 202
    assert answer.get_json()["next"] == "/login/factor"


# --- the pinned version -------------------------------------------------------------------------------------


def test_rule_15_flask_login_is_the_version_whose_private_names_are_overridden():
    assert version("flask-login") == "0.6.3"


def test_rule_15_the_private_names_are_there_and_ours():
    ours, theirs = GatehouseLoginManager.__dict__, LoginManager.__dict__
    for name in ("_load_user", "_update_request_context_with_user", "unauthorized", "needs_refresh", "init_app"):
        assert name in theirs
        assert ours[name] is not theirs[name]
    assert hasattr(LoginManager(), "_session_identifier_generator")


def test_rule_15_flask_login_0_6_3_writes_and_reads_the_keys_we_judge(app):
    """What `login_user` and `logout_user` of 0.6.3 do to the session, as `cookie.OURS` expects it."""
    add_user(app)
    written = []
    with app.test_request_context("/"):
        manager = app.login_manager
        original = manager._update_request_context_with_user

        def note(user=None):
            written.append(set(here().claims))
            return original(user)

        manager._update_request_context_with_user = note
        login_user(Member("1"), remember=True)
        assert current_user.username == "alice"
        logout_user()
        assert current_user.is_anonymous
        del manager._update_request_context_with_user
    assert written == [{"_user_id", "_fresh", "_id", "_remember"}, set()]
    assert written[0] <= OURS


def test_rule_15_no_after_request_hook_of_flask_login_runs(app):
    assert not any(
        "remember" in function.__name__ for functions in app.after_request_funcs.values() for function in functions
    )


def test_rule_15_accessing_the_user_is_signalled_once_a_request(app):
    heard = []
    receiver = lambda sender: heard.append(sender.name)  # noqa: E731 - kept alive by its name
    user_accessed.connect(receiver, app)
    client = come_in(app)
    heard.clear()
    client.get("/who")
    assert len(heard) == 1


def test_rule_15_the_users_repr_names_them_and_no_secret(app):
    made = add_user(app)
    assert isinstance(made, User)
    assert repr(made) == "<User 1 alice>"
    assert made == Member("1")  # Flask-Login's users are equal when their ids are


def test_rule_15_flask_logins_template_variable_is_there(build):
    def setup(app, gate):
        app.get("/x", endpoint="x")(public(lambda: render_template_string("{{ current_user.is_authenticated }}")))

    app = build(setup)
    assert app.test_client().get("/x").text == "False"
    assert come_in(app).get("/x").text == "True"
