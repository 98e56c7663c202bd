"""Labels: what each decorator demands, stacked, on every kind of view, and on whole blueprints."""

from __future__ import annotations

from datetime import timedelta

import flask_login
import pytest
from flask import Blueprint, Flask
from flask.views import MethodView, View

import flask_gatehouse as gatehouse
from flask_gatehouse import public, requires, role_required, roles_accepted, roles_required, step_up_required
from tests.http.people import (
    JSON,
    CodeFactor,
    StillClock,
    add_user,
    answer_factor,
    come_in,
    enter,
    grant,
    is_inside,
    log_in,
    problem,
    reauthenticate,
    withdraw,
)

LABELS = {
    "nothing": None,
    "login": gatehouse.login_required,
    "fresh": gatehouse.fresh_login_required,
    "clerk": role_required("clerk"),
    "clerk-and-baker": roles_required("clerk", "Baker"),
    "clerk-or-baker": roles_accepted("CLERK", "baker"),
    "read": requires("invoice:read"),
    "refund": requires("invoice:refund"),
    "refund-fresh": requires("invoice:refund", fresh=True),
    "minute": step_up_required(within=timedelta(minutes=1)),
    "stepped-up": step_up_required(),
    "two-factors": step_up_required(aal=2),
    "flask-login": flask_login.login_required,
    "flask-login-fresh": flask_login.fresh_login_required,
}


def declare(gate):
    """Declare two roles."""
    gate.permission("invoice:read", "Read invoices")
    gate.permission("invoice:refund", "Refund an invoice")
    gate.role("Clerk", ["invoice:read"])
    gate.role("baker", ["invoice:read", "invoice:refund"])


def one_route_each(app: Flask, gate: gatehouse.Gatehouse) -> None:
    """Add a route for each label, sync and async."""
    declare(gate)

    def plain():
        return "inside"

    async def coroutine():
        return "inside"

    for name, label in LABELS.items():
        for prefix, view in (("/sync", plain), ("/async", coroutine)):
            app.add_url_rule(f"{prefix}/{name}", f"{prefix}{name}", label(view) if label else view)


@pytest.fixture
def clock():
    return StillClock()


@pytest.fixture
def app(build, clock):
    return build(one_route_each, clock=clock)


ANYONE = {"", "clerk", "baker", "admin"}
LET_IN = {
    "nothing": ANYONE,
    "login": ANYONE,
    "fresh": ANYONE,
    "clerk": {"clerk"},
    "clerk-and-baker": set[str](),
    "clerk-or-baker": {"clerk", "baker"},
    "read": {"clerk", "baker", "admin"},
    "refund": {"baker", "admin"},
    "refund-fresh": {"baker", "admin"},
    "minute": ANYONE,
    "stepped-up": ANYONE,
    "two-factors": set[str](),
    "flask-login": ANYONE,
    "flask-login-fresh": ANYONE,
}


@pytest.mark.parametrize("prefix", ["/sync", "/async"])
def test_v8_2_1_each_label_lets_in_whom_it_names_and_nobody_else(app, prefix):
    guest = app.test_client()
    assert {name: guest.get(f"{prefix}/{name}").location for name in LABELS} == {
        name: f"/login?next={prefix}/{name}" for name in LABELS
    }
    people = {role: come_in(app, f"with.{role}", *filter(None, [role])) for role in sorted(ANYONE)}
    statuses = {
        name: {role: person.get(f"{prefix}/{name}").status_code for role, person in people.items()} for name in LABELS
    }
    refused = dict.fromkeys(LABELS, 403) | {"two-factors": 302}  # to where one is enrolled
    assert statuses == {
        name: {role: 200 if role in LET_IN[name] else refused[name] for role in sorted(ANYONE)} for name in LABELS
    }


def test_all_of_several_roles_means_all(app):
    person = come_in(app, "alice", "clerk", "baker")
    assert person.get("/sync/clerk-and-baker").text == "inside"
    withdraw(app, "alice", "baker")
    assert person.get("/sync/clerk-and-baker").status_code == 403


def test_roles_are_compared_case_folded(app):
    add_user(app, "alice")
    grant(app, "alice", "CLERK")
    person = enter(app)
    assert person.get("/sync/clerk").text == person.get("/sync/clerk-or-baker").text == "inside"


def test_the_built_in_administrator_holds_every_permission_but_no_other_role(app):
    person = come_in(app, "alice", "admin")
    assert person.get("/sync/refund").text == "inside"
    assert person.get("/sync/clerk").status_code == 403


def test_v7_5_3_freshness_passes_by_the_clock_and_comes_back_with_a_proof(app, clock):
    person = come_in(app)
    for path, lasts in (("/sync/minute", 60), ("/sync/fresh", 600), ("/sync/stepped-up", 600), ("/async/fresh", 600)):
        clock.move(seconds=lasts - 1)
        assert person.get(path).text == "inside"
        clock.move(seconds=1)
        answer = person.get(path)
        assert (answer.status_code, answer.location) == (302, f"/reauthenticate?next={path}")
        assert problem(person.get(path, headers=JSON))["type"].endswith("/step-up")
        clock.move(seconds=-lasts)
    clock.move(minutes=11)
    assert person.get("/login").status_code == 200  # a public page
    assert reauthenticate(person).status_code == 303
    assert person.get("/sync/fresh").text == "inside"


def test_administrators_are_fresh_for_five_minutes_only(app, clock):
    person = come_in(app, "alice", "admin")
    clock.move(seconds=299)
    assert person.get("/sync/fresh").status_code == 200
    clock.move(seconds=1)
    assert person.get("/sync/fresh").status_code == 302


def test_a_permission_with_freshness_needs_both(app, clock):
    clerk, baker = come_in(app, "clara", "clerk"), come_in(app, "bob", "baker")
    clock.move(minutes=11)
    assert clerk.get("/sync/refund-fresh").status_code == 403  # a proof would not help
    assert baker.get("/sync/refund-fresh").location == "/reauthenticate?next=/sync/refund-fresh"


def test_a_demanded_second_factor_that_nobody_has_enrolled_leads_to_where_one_is_enrolled(app):
    person = come_in(app)
    answer = person.get("/sync/two-factors")
    assert (answer.status_code, answer.location) == (302, "/account/security?next=/sync/two-factors")
    assert (
        "If a page sent you here, it needs a second factor: you have enrolled none." in person.get(answer.location).text
    )
    assert "needs a second factor" not in person.get("/account/security").text
    refused = person.get("/sync/two-factors", headers=JSON)
    assert refused.status_code == 403
    assert problem(refused)["type"].endswith("/enrol")


def test_63b_2_2_1_1_a_password_and_something_one_has_reach_level_two(build):
    factor = CodeFactor()
    app = build(one_route_each, factors=[factor])
    factor.holders.add(add_user(app).id)
    person = app.test_client()
    assert log_in(person).location == "/login/factor"
    assert not is_inside(person, "/sync/nothing")
    assert answer_factor(person).status_code == 303
    assert person.get("/sync/two-factors").text == "inside"


def test_63b_5_1_2_a_factor_enrolled_later_must_be_proven_before_level_two(build):
    factor = CodeFactor()
    app = build(one_route_each, factors=[factor])
    person = come_in(app)
    factor.holders.add(add_user(app, "bob").id)
    factor.holders.add(1)
    answer = person.get("/sync/two-factors")
    assert (answer.status_code, answer.location) == (302, "/reauthenticate?next=/sync/two-factors")


# --- stacked ------------------------------------------------------------------------------------------------


def test_stacked_labels_all_count_whatever_their_order(build):
    def setup(app, gate):
        declare(gate)
        app.get("/one")(role_required("clerk")(requires("invoice:refund")(one)))
        app.get("/two")(requires("invoice:refund")(role_required("clerk")(two)))
        app.get("/mixed")(flask_login.fresh_login_required(role_required("clerk")(mixed)))
        app.get("/ages")(
            step_up_required(within=timedelta(hours=2))(step_up_required(within=timedelta(minutes=1))(ages))
        )

    def one():
        return "inside"

    def two():
        return "inside"

    def mixed():
        return "inside"

    def ages():
        return "inside"

    clock = StillClock()
    app = build(setup, clock=clock)
    clerk, baker = come_in(app, "clara", "clerk"), come_in(app, "bob", "baker")
    both = come_in(app, "both", "clerk", "baker")
    for path in ("/one", "/two"):
        assert [person.get(path).status_code for person in (clerk, baker, both)] == [403, 403, 200]
    assert [person.get("/mixed").status_code for person in (clerk, baker)] == [200, 403]
    clock.move(minutes=2)
    assert clerk.get("/mixed").status_code == 200
    assert clerk.get("/ages").status_code == 302
    clock.move(minutes=9)
    assert clerk.get("/mixed").location == "/reauthenticate?next=/mixed"


# --- classes ------------------------------------------------------------------------------------------------


class Whole(MethodView):
    decorators = [role_required("clerk")]  # noqa: RUF012 - as Flask's own documentation writes it

    def get(self):
        return "read"

    def post(self):
        return "written"


class Apart(MethodView):
    @public
    def get(self):
        return "read"

    @role_required("clerk")
    def post(self):
        return "written"

    def delete(self):
        return "deleted"

    @requires("invoice:refund")
    async def put(self):
        return "put"


class Both(MethodView):
    decorators = [gatehouse.login_required]  # noqa: RUF012 - the same

    def get(self):
        return "read"

    @role_required("baker")
    def post(self):
        return "written"


class Heir(Apart):
    def delete(self):
        return "deleted by the heir"


class Old(View):
    methods = ["GET", "POST"]  # noqa: RUF012 - the same

    @role_required("clerk")
    def dispatch_request(self):
        return "old"


class OldOpen(View):
    @public
    def dispatch_request(self):
        return "old"


def class_routes(app, gate):
    declare(gate)
    app.config["WTF_CSRF_ENABLED"] = False
    for view in (Whole, Apart, Both, Heir, Old):
        name = view.__name__.lower()
        app.add_url_rule(f"/{name}", view_func=view.as_view(name))
    app.add_url_rule("/old-open", view_func=OldOpen.as_view("old-open"), methods=["GET", "POST"])


CLASSES = [
    # path, method, guest, member, clerk, baker
    ("/whole", "GET", 302, 403, 200, 403),
    ("/whole", "HEAD", 302, 403, 200, 403),
    ("/whole", "POST", 302, 403, 200, 403),
    ("/apart", "GET", 200, 200, 200, 200),
    ("/apart", "HEAD", 200, 200, 200, 200),
    ("/apart", "POST", 302, 403, 200, 403),
    ("/apart", "DELETE", 302, 200, 200, 200),
    ("/apart", "PUT", 302, 403, 403, 200),
    ("/both", "GET", 302, 200, 200, 200),
    ("/both", "POST", 302, 403, 403, 200),
    ("/heir", "GET", 200, 200, 200, 200),
    ("/heir", "POST", 302, 403, 200, 403),
    ("/heir", "DELETE", 302, 200, 200, 200),
    ("/old", "GET", 302, 403, 200, 403),
    ("/old", "POST", 302, 403, 200, 403),
    ("/old-open", "GET", 200, 200, 200, 200),
    ("/old-open", "POST", 200, 200, 200, 200),
]


def test_class_based_views_take_labels_whole_and_by_method(build):
    app = build(class_routes)
    people = [app.test_client(), come_in(app, "mia"), come_in(app, "clara", "clerk"), come_in(app, "bob", "baker")]
    found = [
        (path, method, *(person.open(path, method=method).status_code for person in people))
        for path, method, *_ in CLASSES
    ]
    assert found == CLASSES


def test_a_label_on_a_class_itself_is_an_error_that_says_where_it_belongs():
    with pytest.raises(gatehouse.SetupError, match=r"test_labels\.py:\d+: put the label into `decorators` of Whole"):
        role_required("clerk")(Whole)


# --- blueprints ---------------------------------------------------------------------------------------------


def nested(app, gate):
    """Register a house with a room in it, and a neighbour whose name begins alike."""
    declare(gate)
    house, room, neighbour = Blueprint("house", "x"), Blueprint("room", "x"), Blueprint("housekeeping", "x")
    webhook = Blueprint("hook", "x")

    @house.get("/")
    def hall():
        return "hall"

    @room.get("/")
    def desk():
        return "desk"

    @room.get("/door")
    @public
    def door():
        return "door"

    @room.get("/safe")
    @role_required("baker")
    def safe():
        return "safe"

    @neighbour.get("/")
    def garden():
        return "garden"

    @webhook.post("/")
    def called():
        return "called"

    house.register_blueprint(room, url_prefix="/room")
    app.register_blueprint(house, url_prefix="/house")
    app.register_blueprint(house, url_prefix="/second", name="second")
    app.register_blueprint(neighbour, url_prefix="/garden")
    app.register_blueprint(webhook, url_prefix="/hook")
    return house, room, webhook


def statuses(client, *paths):
    return [client.get(path).status_code for path in paths]


def test_routes_of_blueprints_are_closed_like_all_others(build):
    guest = build(nested).test_client()
    assert statuses(guest, "/house/", "/house/room/", "/second/", "/second/room/", "/garden/") == [302] * 5
    assert statuses(guest, "/house/room/door", "/second/room/door") == [200, 200]


def test_protect_puts_a_label_on_every_route_of_a_blueprint_nested_ones_too(build):
    def setup(app, gate):
        house, _, _ = nested(app, gate)
        gate.protect(house, requires("invoice:read"))

    with pytest.raises(gatehouse.SetupError, match=r"house\.room\.door.*@public stands beside another label"):
        build(setup).test_client().get("/house/")


def test_protect_joins_the_labels_of_the_routes(build):
    def setup(app, gate):
        house = Blueprint("house", "x")
        room = Blueprint("room", "x")
        house.get("/")(lambda: "hall")
        room.get("/", endpoint="desk")(lambda: "desk")
        room.get("/safe", endpoint="safe")(role_required("baker")(lambda: "safe"))
        declare(gate)
        house.register_blueprint(room, url_prefix="/room")
        app.register_blueprint(house, url_prefix="/house")
        app.get("/garden")(lambda: "garden")
        gate.protect(house, requires("invoice:read"))

    app = build(setup)
    mia, clara = come_in(app, "mia"), come_in(app, "clara", "clerk")
    paths = ("/house/", "/house/room/", "/house/room/safe", "/garden")
    assert statuses(app.test_client(), *paths) == [302, 302, 302, 302]
    assert statuses(mia, *paths) == [403, 403, 403, 200]
    assert statuses(clara, *paths) == [200, 200, 403, 200]


def test_public_opens_a_blueprint_and_spares_routes_with_a_label_of_their_own(build):
    def setup(app, gate):
        house, _, _ = nested(app, gate)
        gate.public(house)

    guest = build(setup).test_client()
    assert statuses(guest, "/house/", "/house/room/", "/second/", "/second/room/") == [200] * 4
    assert statuses(guest, "/house/room/safe", "/garden/") == [302, 302]


@pytest.mark.parametrize("name", ["house", "house.hall"])
def test_public_takes_the_name_of_a_blueprint_or_an_endpoint(build, name):
    def setup(app, gate):
        nested(app, gate)
        gate.public(name)

    guest = build(setup).test_client()
    assert statuses(guest, "/house/", "/garden/", "/second/") == [200, 302, 302]
    assert guest.get("/house/room/").status_code == (200 if name == "house" else 302)


def test_v3_5_1_csrf_exempt_spares_the_token_and_opens_nothing(build):
    def setup(app, gate):
        _, _, webhook = nested(app, gate)
        gate.csrf_exempt(webhook)

    app = build(setup)
    assert app.test_client().post("/hook/").status_code == 302
    assert come_in(app).post("/hook/").text == "called"


def test_a_webhook_is_public_and_exempt(build):
    def setup(app, gate):
        nested(app, gate)
        gate.public("hook")

    def exempt(app, gate):
        setup(app, gate)
        gate.csrf_exempt("hook.called")

    assert build(setup).test_client().post("/hook/").status_code == 403
    assert build(exempt).test_client().post("/hook/").text == "called"


# --- called by hand -----------------------------------------------------------------------------------------


def test_a_helper_guarded_by_a_label_stays_guarded_when_an_open_view_calls_it(build):
    def setup(app, gate):
        declare(gate)

        @role_required("clerk")
        def ledger():
            return "ledger"

        @role_required("clerk")
        async def async_ledger():
            return "ledger"

        @app.get("/open")
        @public
        def open_view():
            return ledger()

        @app.get("/inside")
        def inside():
            return ledger()

        @app.get("/async")
        async def inside_async():
            return await async_ledger()

        @app.get("/flask-login")
        @public
        def by_flask_login():
            return flask_login.login_required(lambda: "ledger")()

    app = build(setup)
    guest, mia, clara = app.test_client(), come_in(app, "mia"), come_in(app, "clara", "clerk")
    assert [(answer := guest.get("/open")).status_code, answer.location] == [302, "/login?next=/open"]
    assert statuses(mia, "/open", "/inside", "/async") == [403, 403, 403]
    assert [clara.get(path).text for path in ("/open", "/inside", "/async", "/flask-login")] == ["ledger"] * 4
    assert guest.get("/flask-login").status_code == 302


def test_one_views_label_does_not_let_through_to_another_view(build):
    def setup(app, gate):
        declare(gate)

        @app.get("/vault")
        @role_required("baker")
        def vault():
            return "vault"

        @app.get("/clerks")
        @role_required("clerk")
        def clerks():
            return vault()

    app = build(setup)
    clara = come_in(app, "clara", "clerk")
    assert clara.get("/clerks").status_code == 403
    grant(app, "clara", "baker")
    assert clara.get("/clerks").text == "vault"
