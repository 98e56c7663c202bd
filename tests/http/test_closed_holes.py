"""Holes that attackers of our own found in gate, labels and sessions, each closed once and for all."""

from __future__ import annotations

import json
from functools import wraps

import flask_login
import pytest
from flask import Blueprint, Flask, Response, session, stream_with_context
from flask.views import MethodView
from flask_login import UserMixin

from flask_gatehouse import (
    Gatehouse,
    SetupError,
    authorize,
    current_user,
    fresh_login_required,
    public,
    requires,
    role_required,
)
from flask_gatehouse.http.schemes import clean_agent
from flask_gatehouse.kernel.errors import ForgottenObjectError
from tests.http.people import add_user, come_in, entries

ORIGIN = "https://app.example"
SERVING = {"TESTING": False, "GATEHOUSE_ORIGINS": ORIGIN, "GATEHOUSE_ARGON2": "19456,2,1"}


# --- the gate ----------------------------------------------------------------------------------------------


def silent_handlers(app, gate):
    app.login_manager.unauthorized_handler(lambda: None)
    app.login_manager.needs_refresh_handler(lambda: None)
    ran: list[str] = []
    app.config["RAN"] = ran

    def seen(name):
        ran.append(name)
        return name

    desk = Blueprint("desk", __name__)
    desk.get("/desk", endpoint="desk")(lambda: seen("desk"))
    app.register_blueprint(desk)
    gate.protect(desk, role_required("admin"))
    app.get("/secret", endpoint="secret")(lambda: seen("secret"))
    app.post("/delete", endpoint="delete")(lambda: seen("delete"))
    app.get("/fresh-only", endpoint="fresh-only")(fresh_login_required(lambda: seen("fresh")))


def test_rule_15_a_handler_of_the_host_that_answers_nothing_opens_nothing(make_app):
    app = make_app(silent_handlers)
    guest = app.test_client()
    for path in ("/secret", "/desk", "/fresh-only"):
        answer = guest.get(path)
        assert (answer.status_code, answer.location) == (302, f"/login?next={path}")
    assert guest.post("/delete").status_code == 302
    assert guest.get("/secret", headers={"Accept": "application/json"}).status_code == 401
    assert app.config["RAN"] == []


def test_rule_15_a_refresh_handler_that_answers_nothing_opens_nothing(make_app):
    app = make_app(silent_handlers, GATEHOUSE_FRESH="0")
    answer = come_in(app).get("/fresh-only")
    assert (answer.status_code, answer.location) == (302, "/reauthenticate?next=/fresh-only")
    assert app.config["RAN"] == []


def test_v3_5_1_csrf_switched_off_while_serving_stays_on(build):
    def setup(app, _gate):
        app.post("/send", endpoint="send")(public(lambda: "sent"))
        app.get("/", endpoint="home")(public(lambda: "open"))

    app = build(setup, **SERVING)
    client = app.test_client()
    assert client.get("/", base_url=ORIGIN).status_code == 200
    app.config["WTF_CSRF_ENABLED"] = False
    assert client.post("/send", base_url=ORIGIN, headers={"Origin": "https://evil.example"}).status_code == 403
    assert client.post("/send", base_url=ORIGIN).status_code == 403


def test_v16_2_5_a_refusal_records_no_one_time_link(make_app):
    app = make_app()
    client = come_in(app)
    secret = "s" * 43
    assert client.post(f"/reset-password/{secret}").status_code == 403
    assert client.post("/change").status_code == 403
    told = [json.loads(entry.detail)["path"] for entry in entries(app, "csrf.refused")]
    assert told == ["/change", "/reset-password/<token>"]


def test_v16_3_2_a_refused_page_of_ours_is_recorded_with_whom_it_was_about(make_app):
    app = make_app()
    assert come_in(app).get("/admin/users/7").status_code == 403
    assert [json.loads(entry.detail)["path"] for entry in entries(app, "access.denied")] == ["/admin/users/7"]


def test_rule_18_vary_grows_by_the_cookie_whatever_else_it_names(make_app):
    def setup(app, _gate):
        @app.get("/page")
        @public
        def page():
            return Response(f"hello {current_user.username}", headers={"Vary": "X-Cookie-Consent"})

        @app.get("/said")
        @public
        def said():
            return Response(f"hello {current_user.username}", headers={"Vary": "Accept, cookie"})

    client = make_app(setup).test_client()
    assert client.get("/page").headers["Vary"] == "X-Cookie-Consent, Cookie"
    assert client.get("/said").headers["Vary"] == "Accept, cookie"


# --- labels ------------------------------------------------------------------------------------------------


def test_v8_2_1_a_head_of_its_own_is_not_open_because_get_is(make_app):
    ran = []

    class Page(MethodView):
        @public
        def get(self):
            return "open"

        def head(self):
            ran.append(current_user.username)
            return Response("", headers={"X-Secret": "told"})

    class Plain(MethodView):
        @public
        def get(self):
            return "open"

    def setup(app, _gate):
        app.add_url_rule("/page", view_func=Page.as_view("page"))
        app.add_url_rule("/plain", view_func=Plain.as_view("plain"))

    app = make_app(setup)
    guest = app.test_client()
    assert guest.head("/page").status_code == 302
    assert (guest.get("/page").status_code, guest.head("/plain").status_code) == (200, 200)
    assert come_in(app).head("/page").headers["X-Secret"] == "told"
    assert ran == ["alice"]


def noisy(view):
    """Wrap a view as most decorators of the world do."""

    @wraps(view)
    def inner(*args, **kwargs):
        return f"noisy {view(*args, **kwargs)}"

    return inner


def test_a_label_under_a_decorator_that_copies_it_is_one_label(make_app):
    class Service:
        @role_required("admin")
        def admins(self):
            return "admins"

        @public
        def everybody(self):
            return "everybody"

    def setup(app, _gate):
        app.get("/noisy", endpoint="noisy")(noisy(noisy(public(lambda: "open"))))
        app.add_url_rule("/admins", view_func=Service().admins)
        app.add_url_rule("/everybody", view_func=Service().everybody)

    app = make_app(setup)
    guest = app.test_client()
    assert [guest.get(path).status_code for path in ("/noisy", "/everybody", "/admins")] == [200, 200, 302]
    assert guest.get("/noisy").text == "noisy noisy open"
    assert come_in(app).get("/admins").status_code == 403


def invoices(gate):
    gate.permission("invoice:read", "Read an invoice")
    gate.rule("invoice:read")(lambda identity, invoice: False)


@pytest.mark.parametrize(
    "around, own, status",
    [
        (requires("invoice:read", obj=False), requires("invoice:read"), 500),
        (requires("invoice:read"), requires("invoice:read", obj=False), 200),
        (requires("invoice:read", obj=False), requires("users:read"), 200),
        (requires("invoice:read", obj=False), None, 200),
    ],
)
def test_rule_23_a_label_around_a_view_never_lifts_what_the_view_itself_owes(make_app, around, own, status):
    def setup(app, gate):
        invoices(gate)
        desk = Blueprint("desk", __name__)
        desk.get("/invoice", endpoint="invoice")(own(lambda: "somebody's") if own else lambda: "somebody's")
        app.register_blueprint(desk)
        gate.protect(desk, around)

    answer = come_in(make_app(setup), "alice", "admin").get("/invoice")
    assert answer.status_code == status


def test_rule_23_of_two_stacked_labels_the_one_that_demands_the_object_counts(make_app):
    def setup(app, gate):
        invoices(gate)
        app.get("/one")(requires("invoice:read")(requires("invoice:read", obj=False)(lambda: "somebody's")))

    assert come_in(make_app(setup), "alice", "admin").get("/one").status_code == 500


def two_parts(app, _gate):
    part = Blueprint("api2", __name__)
    part.get("/part", endpoint="inside")(lambda: "inside")
    app.register_blueprint(part)
    app.get("/api2", endpoint="api2")(lambda: "beside")


@pytest.mark.parametrize("open_by", ["public", "csrf_exempt"])
def test_a_name_that_is_a_blueprints_and_an_endpoints_opens_neither(make_app, open_by):
    def setup(app, gate):
        two_parts(app, gate)
        getattr(gate, open_by)("api2")

    with pytest.raises(SetupError, match="'api2' is a blueprint and an endpoint"):
        make_app(setup).test_client().get("/api2")


def test_what_is_said_of_a_blueprint_while_serving_counts_at_once(make_app):
    desk = Blueprint("desk", __name__)
    desk.get("/desk", endpoint="desk")(lambda: "desk")

    def setup(app, gate):
        app.register_blueprint(desk)
        app.config["GATE"] = gate

    app = make_app(setup)
    client = come_in(app)
    assert client.get("/desk").status_code == 200
    app.config["GATE"].protect(desk, role_required("admin"))
    assert client.get("/desk").status_code == 403


@pytest.mark.parametrize("is_asked", [True, False])
def test_rule_23_a_guarded_helper_owes_its_object_while_the_body_streams_too(make_app, is_asked):
    def setup(app, gate):
        gate.permission("invoice:read", "Read an invoice")
        gate.rule("invoice:read")(lambda identity, invoice: True)

        @requires("invoice:read")
        def helper():
            if is_asked:
                authorize("invoice:read", "theirs")
            return "somebody's invoice"

        @app.get("/streamed")
        def streamed():
            def body():
                yield "first"
                yield helper()

            return Response(stream_with_context(body()))

    client = come_in(make_app(setup), "alice", "admin")
    if is_asked:
        assert client.get("/streamed").text == "firstsomebody's invoice"
    else:
        with pytest.raises(ForgottenObjectError, match=r"authorize\(invoice:read, obj\)"):
            client.get("/streamed", buffered=True)


# --- who is asking -----------------------------------------------------------------------------------------


def planting(app, _gate):
    @app.get("/plant/<key>/<value>")
    @public
    def plant(key, value):
        session[key] = value
        return "planted"

    @app.get("/fall/<value>")
    @public
    def fall(value):
        session["_user_id"] = value
        raise RuntimeError

    @app.get("/own-class")
    @public
    def own_class():
        user = UserMixin()
        user.id = 1
        flask_login.login_user(user)
        return "in"


def test_rule_15_a_user_id_that_no_login_user_wrote_logs_nobody_in(make_app, caplog):
    app = make_app(planting, PROPAGATE_EXCEPTIONS=False)
    mark = add_user(app, "root", "admin").get_id()
    for path in (f"/plant/_user_id/{mark}", f"/fall/{mark}"):
        client = app.test_client()
        client.get(path)
        assert client.get("/protected").status_code == 302
    assert "without login_user()" in caplog.text
    assert [entry.kind for entry in entries(app)] == ["role.granted", "user.created"]


def test_rule_15_an_object_of_the_hosts_own_class_is_warned_of_once(make_app, caplog):
    app = make_app(planting)
    add_user(app)
    for _ in range(2):
        client = app.test_client()
        assert client.get("/own-class").text == "in"
        assert client.get("/protected").text == "inside: alice"
    assert [record.message for record in caplog.records if "UserMixin" in record.message] == [
        "login_user() got a UserMixin: its get_id() is taken for a gatehouse_user.id"
    ]


@pytest.mark.parametrize("kind", ["user_loader", "request_loader"])
def test_rule_15_a_loader_of_the_host_is_an_error_that_names_the_mend(make_app, kind):
    def load_banned(_):
        return None

    def setup(app, _gate):
        getattr(app.login_manager, kind)(load_banned)

    with pytest.raises(SetupError, match=rf"{kind} would never be asked.*remove load_banned\(\).*user suspend"):
        make_app(setup)


def test_rule_15_a_loader_put_in_place_behind_its_back_is_an_error_at_the_first_request(make_app):
    app = make_app(lambda app, _: setattr(app.login_manager, "_user_callback", lambda _: None))
    with pytest.raises(SetupError, match="user_loader would never be asked"):
        app.test_client().get("/")


def test_a_session_protection_set_on_flask_logins_manager_is_warned_of(make_app, caplog):
    app = make_app(lambda app, _: setattr(app.login_manager, "session_protection", "strong"))
    assert app.test_client().get("/").status_code == 200
    assert "set GATEHOUSE_SESSION_PROTECTION" in caplog.text


def test_rule_19_the_gate_comes_first_again_after_contexts_that_tests_and_start_up_open(make_app):
    app = make_app()
    with app.test_request_context():
        pass
    seen = []
    app.before_request_funcs[None].insert(0, lambda: seen.append("before the gate"))
    assert app.test_client().get("/protected").status_code == 302
    assert seen == []


def test_v15_2_2_headers_of_guests_stay_small_in_memory(make_app):
    client = make_app().test_client()
    clean_agent.cache_clear()
    client.set_cookie("gatehouse", "x" * 43)
    client.get("/protected", headers={"User-Agent": "a" * 60_000})
    assert clean_agent.cache_info().currsize == 1
    misses = clean_agent.cache_info().misses
    client.get("/protected", headers={"User-Agent": "a" * 59_000})
    assert clean_agent.cache_info().misses == misses  # the same cut text: no longer one is kept


def test_an_app_that_matches_hosts_is_an_error_that_names_the_mend():
    app = Flask("tests.support.apps", host_matching=True, static_host="app.example")
    with pytest.raises(SetupError, match="host_matching would hide Gatehouse's pages: make one app for each host"):
        Gatehouse(app)


# --- this machine (rules 25 and 26) ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "origin, headers, is_asked",
    [
        ("http://127.0.0.1:8000", {}, False),
        ("https://demo.example", {}, True),  # a proxy on this machine that adds no header at all
        ("http://127.0.0.1:8000", {"X-Forwarded-Proto": "https"}, True),
        ("http://127.0.0.1:8000", {"CF-Connecting-IP": "203.0.113.9"}, True),
    ],
)
def test_rule_25_the_code_is_asked_for_unless_this_machine_asks_for_itself(make_app, origin, headers, is_asked):
    config = {"GATEHOUSE_ORIGINS": "http://127.0.0.1:8000, https://demo.example", "GATEHOUSE_FIRST_USER_ADMIN": True}
    page = make_app(**config).test_client().get("/register", base_url=origin, headers=headers)
    assert page.status_code == 200
    assert ('name="code"' in page.text) is is_asked
