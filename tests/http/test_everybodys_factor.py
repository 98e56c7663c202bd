"""`GATEHOUSE_USER_FACTOR=demanded`: whoever lacks a second factor is led to enrolment and back, and reaches no more."""

from __future__ import annotations

import pytest

from flask_gatehouse import authorize, can, current_user, login_required, public, requires, role_required
from flask_gatehouse.domain.sessions import Issued
from flask_gatehouse.flows import administer, login
from flask_gatehouse.flows.acts import Act
from flask_gatehouse.flows.opening import Attempt
from flask_gatehouse.http.context import WIRED
from flask_gatehouse.kernel.identity import CLI, Source
from tests.http.test_assurance import enrol_by_page
from tests.support.people import PASSWORD, PROGRAM, logged_in, make_person, services_of, session_of
from tests.support.phones import ON, code_now, enrol
from tests.support.visitor import submit

DEMANDED = {**ON, "GATEHOUSE_USER_FACTOR": "demanded"}
GUARDED = ("/protected", "/labelled", "/async", "/fresh", "/for-clerks", "/permission", "/authorize", "/helper")
OWN = ("/account", "/account/password", "/account/sessions", "/account/activity")
PROVING = ("/account/security", "/account/security/totp", "/reauthenticate")


def add_routes(app, gate):
    """Add a route for each way to ask for something."""
    gate.permission("vault:open", "Open the vault")
    gate.role("clerk", ["vault:open"])
    app.get("/permission", endpoint="permission")(requires("vault:open")(lambda: "in"))

    @app.get("/authorize")
    @public
    def ask():
        authorize("vault:open")
        return "in"

    @app.get("/helper")
    @public
    def helped():
        return login_required(lambda: "in")()

    @app.get("/tell")
    @public
    def tell():
        may = [can("vault:open"), current_user.can("vault:open"), current_user.has_role("clerk")]
        return {"may": may, "roles": list(current_user.roles)}

    @app.get("/role-helper")
    @public
    def role_helped():
        return role_required("clerk")(lambda: "in")()


@pytest.fixture
def app(make_app):
    """Return an app that demands a factor of everybody, with bob (1), who holds `clerk`."""
    made = make_app(add_routes, **DEMANDED)
    make_person(made, "bob", "clerk")
    return made


def with_setting(app, make_app, **config):
    """Return another process of the same app, with other settings."""
    url = app.extensions[WIRED].services.database.engine.url.render_as_string(hide_password=False)
    return make_app(add_routes, **{**ON, "GATEHOUSE_DATABASE_URL": url, **config})


def told(answer):
    """Return status and kind of what a program was answered."""
    return answer.status_code, (answer.json or {})["type"].rpartition("/")[2]


def test_v6_3_3_nothing_is_open_to_who_lacks_the_factor_that_everybody_needs(app):
    bob = logged_in(app, "bob")
    for path in (*GUARDED, *OWN, "/role-helper"):
        refused = bob.get(path)
        assert (refused.status_code, refused.location) == (302, f"/account/security?next={path}"), path
        assert told(bob.get(path, headers=PROGRAM)) == (403, "enrol"), path
    assert submit(bob, "/change", page="/account/security").location == "/account/security"  # a POST has no way back
    assert [bob.get(path).status_code for path in (*PROVING, "/")] == [200] * 4
    assert "nothing else is open to you" in bob.get("/account/security").get_data(as_text=True)
    assert bob.get("/tell").json == {"may": [False, False, False], "roles": []}
    assert bob.get("/for-admins").status_code == 403  # what is not held is refused, whatever is owed
    assert submit(bob, "/logout", page="/account/security").status_code == 303
    assert bob.get("/account/security").location.startswith("/login")


def test_v6_3_3_who_enrols_the_factor_that_everybody_needs_is_led_back_and_is_in(app):
    bob = logged_in(app, "bob")
    refused = bob.get("/permission")
    assert 'href="/account/security/totp?next=/permission"' in bob.get(refused.location).get_data(as_text=True)
    codes = enrol_by_page(app, bob, "/account/security/totp?next=/permission")
    assert 'href="/permission"' in codes.get_data(as_text=True)
    assert [bob.get(path).status_code for path in (*GUARDED, *OWN)] == [200] * 12
    assert bob.get("/tell").json == {"may": [True, True, True], "roles": ["clerk"]}
    assert submit(bob, "/account/security/totp/remove", page="/account/security").status_code == 303
    assert bob.get("/protected").location == "/account/security?next=/protected"  # without it nothing counts again


def test_v6_3_3_with_both_factors_shown_at_the_login_nobody_is_led_anywhere(app):
    seed, bob = enrol(services_of(app), 1), app.test_client()
    assert submit(bob, "/login", username="bob", password=PASSWORD).location == "/login/factor"
    assert submit(bob, "/login/factor", code=code_now(app, seed)).status_code == 303
    assert [bob.get(path).status_code for path in GUARDED] == [200] * len(GUARDED)


def test_v6_3_3_the_setting_meets_who_is_inside_and_its_end_lets_them_on(app, make_app):
    free = with_setting(app, make_app)
    bob, carol = logged_in(free, "bob"), free.test_client()
    make_person(free, "carol")
    seed = enrol(services_of(free), 2)
    submit(carol, "/login", username="carol", password=PASSWORD)
    submit(carol, "/login/factor", code=code_now(free, seed))
    inside = app.test_client()
    inside.set_cookie("gatehouse", session_of(bob))
    assert inside.get("/protected").location == "/account/security?next=/protected"
    inside.set_cookie("gatehouse", session_of(carol))
    assert inside.get("/protected").status_code == 200
    late = logged_in(app, "bob")  # and the other way round: logged in while it is demanded
    bob.set_cookie("gatehouse", session_of(late))
    assert bob.get("/protected").status_code == 200


def test_v6_3_3_whom_the_app_vouches_for_owes_the_factor_too_and_no_act_on_one_user_lifts_it(app):
    held, client = services_of(app), app.test_client()
    assert administer.demand_factor(held, Act(CLI, None, "a test"), 1, is_demanded=False)
    issued = login.vouched(held, 1, Attempt(Source("192.0.2.1", "", "r")), is_fresh=True)
    assert isinstance(issued, Issued)
    client.set_cookie("gatehouse", issued.secret)
    assert client.get("/protected").location == "/account/security?next=/protected"
    enrol(held, 1)  # in another session: this one has not proven it
    assert client.get("/protected").location == "/reauthenticate?next=/protected"
    assert told(client.get("/protected", headers=PROGRAM)) == (401, "step-up")


def test_administrators_see_that_the_site_demands_it(app):
    make_person(app, "root", "admin")
    root = logged_in(app, "root")
    assert root.get("/admin").location == "/account/security?next=/admin"
    enrol_by_page(app, root, "/account/security/totp")
    told = "A second factor is demanded of everybody, by a setting of this site."
    assert told in root.get("/admin/users/1").get_data(as_text=True)
