"""Roles, permissions and users that demand a second factor: led to enrolment and back, asked to prove, never let in."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import render_template_string

from flask_gatehouse import authorize, can, current_user, public, requires, role_required, step_up_required
from flask_gatehouse.domain.sessions import Issued
from flask_gatehouse.flows import administer, edit_roles, login
from flask_gatehouse.flows.acts import Act
from flask_gatehouse.flows.opening import Attempt
from flask_gatehouse.kernel.identity import CLI, Source
from tests.support.people import HOUR, PASSWORD, PROGRAM, let_pass, logged_in, make_person, services_of
from tests.support.phones import ON, code_now, enrol
from tests.support.visitor import csrf_token, submit

ACT = Act(CLI, None, "a test")
SEED = re.compile(r"secret=([A-Z2-7]+)")


def add_routes(app, gate):
    """Add a route for every way to demand a factor, and one that tells what counts."""
    gate.permission("vault:open", "Open the vault", aal=2)
    gate.permission("vault:see", "See the vault")
    gate.role("teller", ["vault:see"], aal=2)
    gate.role("keeper", ["vault:open", "vault:see"])
    app.get("/role", endpoint="role")(role_required("teller")(lambda: "in"))
    app.get("/permission", endpoint="permission")(requires("vault:open")(lambda: "in"))
    app.get("/step-up", endpoint="step_up")(step_up_required(aal=2)(lambda: "in"))
    app.post("/pay", endpoint="pay")(step_up_required(within=HOUR, aal=2)(lambda: "in"))

    @app.get("/authorize")
    def ask():
        authorize("vault:open")
        return "in"

    @app.get("/helper")
    def helped():
        return role_required("teller")(lambda: "in")()

    @app.get("/tell")
    @public
    def tell():
        shown = {"can": can("vault:open"), "has_role": current_user.has_role("teller"), "role": current_user.role}
        text = render_template_string("{{ can('vault:see') }}")
        return shown | {"roles": list(current_user.roles), "template": text}


ROUTES = ("/role", "/permission", "/step-up", "/authorize", "/helper")


@pytest.fixture
def app(make_app):
    """Return an app with bob (1), who holds `teller` and `keeper`."""
    made = make_app(add_routes, **ON)
    make_person(made, "bob", "teller", "keeper")
    return made


def vouched(app, name="bob"):
    """Return a browser whose session was opened before the factor was enrolled, so that it lacks its proof."""
    client = logged_in(app, name)
    seed = enrol(services_of(app), 1)
    return client, seed


def enrol_by_page(app, client, page):
    """Enrol an authenticator app on its page, and return the answer."""
    seed = SEED.search(client.get(page).get_data(as_text=True))
    assert seed is not None
    return submit(client, page, code=code_now(app, seed[1]))


# --- who lacks a factor ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ROUTES)
def test_v6_3_3_who_lacks_a_factor_is_led_to_enrolment_and_back(app, path):
    bob = logged_in(app, "bob")
    refused = bob.get(path)
    assert (refused.status_code, refused.location) == (302, f"/account/security?next={path}")
    shown = bob.get(refused.location).get_data(as_text=True)
    assert "If a page sent you here, it needs a second factor" in shown
    (link,) = re.findall(r'href="(/account/security/totp[^"]*)"', shown)
    codes = enrol_by_page(app, bob, link)
    assert codes.status_code == 200  # ten recovery codes, shown once
    assert f'class="gh-button gh-wide-button" href="{path}"' in codes.get_data(as_text=True)
    assert bob.get(path).text == "in"


@pytest.mark.parametrize("path", ROUTES)
def test_a_program_that_lacks_a_factor_is_told_so(app, path):
    answer = logged_in(app, "bob").get(path, headers=PROGRAM)
    assert (answer.status_code, answer.content_type) == (403, "application/problem+json")
    assert answer.json is not None
    assert answer.json["type"].endswith("/enrol") or answer.json["type"].endswith(":enrol")


def test_an_old_proof_is_renewed_on_the_way_to_enrolment_and_the_way_back_is_kept(app, monkeypatch):
    bob = logged_in(app, "bob")
    let_pass(app, monkeypatch, HOUR / 2)
    page = "/account/security/totp?next=/role"
    stale = bob.get(page)
    assert stale.location.startswith("/reauthenticate?next=")
    assert parse_qs(urlsplit(stale.location).query)["next"] == [page]
    assert submit(bob, stale.location, password=PASSWORD).location == page


# --- who has one and did not prove it ----------------------------------------------------------------------


@pytest.mark.parametrize("path", ROUTES)
def test_v7_5_3_who_has_a_factor_and_did_not_prove_it_is_asked_to(app, path):
    bob, seed = vouched(app)
    refused = bob.get(path)
    assert (refused.status_code, refused.location) == (302, f"/reauthenticate?next={path}")
    program = bob.get(path, headers=PROGRAM)
    assert program.status_code == 401
    assert program.json is not None
    assert "step-up" in program.json["type"]
    again = submit(bob, refused.location, password=PASSWORD)  # the same kind once more proves nothing new
    assert again.location == path
    assert bob.get(path).status_code == 302
    proven = submit(bob, refused.location, code=code_now(app, seed))
    assert (proven.status_code, proven.location) == (303, path)
    assert bob.get(path).text == "in"


def test_what_changes_something_is_not_run_before_the_factor_is_proven(app):
    bob, seed = vouched(app)
    token = csrf_token(bob.get("/account").get_data(as_text=True))
    refused = bob.post("/pay", data={"csrf_token": token})
    assert (refused.status_code, refused.location) == (302, "/reauthenticate")  # a POST has no way back
    submit(bob, "/reauthenticate", code=code_now(app, seed))
    token = csrf_token(bob.get("/account").get_data(as_text=True))
    assert bob.post("/pay", data={"csrf_token": token}).text == "in"


@pytest.mark.parametrize("path", ["/account/security/recovery-codes", "/account/security/totp/remove"])
def test_63b_3_1_2_2_v7_5_1_what_stands_in_for_a_factor_is_handed_out_to_who_has_proven_it(app, path):
    bob, seed = vouched(app)
    refused = submit(bob, path, page="/account/security")
    assert (refused.status_code, refused.location) == (302, "/reauthenticate")
    submit(bob, "/reauthenticate", code=code_now(app, seed))
    assert submit(bob, path, page="/account/security").status_code in {200, 303}
    assert submit(logged_in_anew(app), path, page="/account/security").location.startswith("/account/security")


def logged_in_anew(app):
    """Return a browser of somebody who has no factor."""
    make_person(app, "carol")
    return logged_in(app, "carol")


def test_a_login_with_both_factors_is_let_in_at_once(app):
    seed, bob = enrol(services_of(app), 1), app.test_client()
    assert submit(bob, "/login", username="bob", password=PASSWORD).location == "/login/factor"
    assert submit(bob, "/login/factor", code=code_now(app, seed)).status_code == 303
    assert [bob.get(path).text for path in ROUTES] == ["in"] * len(ROUTES)


# --- what views and templates see --------------------------------------------------------------------------


def test_v6_3_3_views_and_templates_see_no_role_that_does_not_count_yet(app):
    bob, seed = vouched(app)
    below = {"can": False, "has_role": False, "role": "keeper", "roles": ["keeper"], "template": "True"}
    assert bob.get("/tell").json == below
    submit(bob, "/reauthenticate", code=code_now(app, seed))
    proven = {"can": True, "has_role": True, "role": "keeper", "roles": ["keeper", "teller"], "template": "True"}
    assert bob.get("/tell").json == proven


def test_who_lacks_the_role_is_refused_whatever_factor_they_have(app):
    make_person(app, "carol")
    assert [logged_in(app, "carol").get(path).status_code for path in ("/role", "/permission")] == [403, 403]


# --- a factor demanded of one user -------------------------------------------------------------------------

OPEN = ("/account/security", "/reauthenticate", "/account/security/totp")
CLOSED = ("/protected", "/labelled", "/async", "/fresh", "/role", "/account", "/account/password", "/account/sessions")


def test_v6_3_3_of_whom_a_factor_is_demanded_nothing_is_open_but_where_it_is_enrolled(app):
    bob = logged_in(app, "bob")
    assert administer.demand_factor(services_of(app), ACT, 1, is_demanded=True)
    for path in CLOSED:
        refused = bob.get(path)
        assert (refused.status_code, refused.location) == (302, f"/account/security?next={path}"), path
        assert bob.get(path, headers=PROGRAM).status_code == 403
    assert [bob.get(path).status_code for path in OPEN] == [200] * 3
    assert bob.get("/tell").json == {"can": False, "has_role": False, "role": "user", "roles": [], "template": "False"}
    assert enrol_by_page(app, bob, "/account/security/totp").status_code == 200
    assert [bob.get(path).status_code for path in CLOSED] == [200] * len(CLOSED)


def test_who_owes_a_factor_can_still_log_out(app):
    bob = logged_in(app, "bob")
    administer.demand_factor(services_of(app), ACT, 1, is_demanded=True)
    assert submit(bob, "/logout", page="/account/security").status_code == 303
    assert bob.get("/account/security").location.startswith("/login")


def test_a_demanded_factor_that_is_enrolled_and_not_proven_is_proven(app):
    bob, seed = vouched(app)
    administer.demand_factor(services_of(app), ACT, 1, is_demanded=True)
    assert bob.get("/protected").location == "/reauthenticate?next=/protected"
    assert submit(bob, "/reauthenticate?next=/protected", code=code_now(app, seed)).location == "/protected"
    assert bob.get("/protected").status_code == 200


# --- the administrators' area ------------------------------------------------------------------------------


def test_63b_2_1_1_the_default_profile_asks_administrators_to_enrol(app):
    make_person(app, "root", "admin")
    root = logged_in(app, "root")
    for path in ("/admin", "/admin/users", "/admin/roles", "/admin/sessions", "/admin/audit"):
        assert "Enrol a second factor" in root.get(path).get_data(as_text=True), path
    overview = root.get("/admin").get_data(as_text=True)
    assert "Administrators without a second factor" in overview
    assert '<a href="/admin/users/2">root</a>' in overview.partition("without a second factor")[2].partition("</li>")[0]
    assert enrol_by_page(app, root, "/account/security/totp").status_code == 200
    overview = root.get("/admin").get_data(as_text=True)
    assert "second factor</a>" not in overview
    assert "Administrators without a second factor" not in overview


def test_where_no_factor_is_offered_nobody_is_asked_for_one(make_app):
    bare = make_app()
    make_person(bare, "root", "admin")
    assert "second factor" not in logged_in(bare, "root").get("/admin").get_data(as_text=True)


@pytest.mark.parametrize("config", [{"GATEHOUSE_ADMIN_FACTOR": "demanded"}, {"GATEHOUSE_PROFILE": "strict"}])
def test_v6_3_3_the_admin_area_can_demand_a_factor_and_the_strict_profile_does(make_app, config):
    app = make_app(**ON, **config)
    make_person(app, "root", "admin")
    root = logged_in(app, "root")
    for path in ("/admin", "/admin/users", "/admin/users/1", "/admin/audit", "/for-admins"):
        assert root.get(path).location == f"/account/security?next={path}"
    assert root.get("/protected").status_code == 200
    assert enrol_by_page(app, root, "/account/security/totp?next=/admin").status_code == 200
    assert root.get("/admin").status_code == 200
    assert root.get("/for-admins").status_code == 200


def test_login_user_of_the_host_meets_the_demand_too(app):
    held = services_of(app)
    administer.demand_factor(held, ACT, 1, is_demanded=True)
    issued = login.vouched(held, 1, Attempt(Source("192.0.2.1", "", "r")), is_fresh=True)
    assert isinstance(issued, Issued)
    client = app.test_client()
    client.set_cookie("gatehouse", issued.secret)
    assert client.get("/protected").location == "/account/security?next=/protected"


# --- the boxes ---------------------------------------------------------------------------------------------


def test_an_administrator_demands_a_factor_of_a_user_on_the_users_page(app):
    make_person(app, "root", "admin")
    root, bob = logged_in(app, "root"), logged_in(app, "bob")
    path = "/admin/users/1/demand-factor"
    assert submit(root, path, page="/admin/users/1", demanded="y", reason="pays invoices").status_code == 303
    assert "A second factor is demanded: nothing" in root.get("/admin/users/1").get_data(as_text=True)
    assert bob.get("/protected").status_code == 302
    assert submit(root, path, page="/admin/users/1", reason="no longer pays").status_code == 303
    assert "A second factor is demanded: nothing" not in root.get("/admin/users/1").get_data(as_text=True)
    assert bob.get("/protected").status_code == 200


def test_an_administrator_lets_a_role_demand_a_factor_on_the_roles_page(app):
    make_person(app, "root", "admin")
    root, held = logged_in(app, "root"), services_of(app)
    made = submit(root, "/admin/roles", role="payer", permission=["vault:see"], demanded="y", reason="")
    assert made.status_code == 303
    assert "demands a second factor" in root.get("/admin/roles").get_data(as_text=True)
    page = "/admin/roles/payer"
    assert "Demanded: the role counts only" in root.get(page).get_data(as_text=True)
    assert submit(root, f"{page}/demand-factor", page=page, reason="").status_code == 422
    assert submit(root, f"{page}/demand-factor", page=page, reason="not needed").location == page
    assert "Not demanded" in root.get(page).get_data(as_text=True)
    assert submit(root, f"{page}/demand-factor", page=page, demanded="y", reason="needed").location == page
    with held.reading() as connection:
        assert edit_roles.demands_of(held, connection) == {"payer": 2, "teller": 2}
    fixed = submit(root, "/admin/roles/teller/demand-factor", page=page, reason="a test")
    assert fixed.status_code == 422
    assert submit(root, "/admin/roles/nothing/demand-factor", page=page, reason="a test").status_code == 404
