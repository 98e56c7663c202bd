"""Labels that would open a hole are errors: at the first request, and in the route table, naming the line."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any, ClassVar

import flask_login
import pytest
from flask import Blueprint
from flask.views import MethodView

import flask_gatehouse as gatehouse
from flask_gatehouse import login_required, public, requires, role_required
from tests.http.people import come_in, gate_of

HERE = Path(__file__)


def here_is(mark):
    """Return `file:line` of the line of this file that ends with a mark."""
    lines = HERE.read_text(encoding="utf-8").splitlines()
    (number,) = [number for number, line in enumerate(lines, 1) if line.endswith(f"# {mark}")]
    return f"{HERE}:{number}"


def faults(app):
    """Return the errors of the route table by endpoint."""
    return {row.endpoint: row.error for row in gate_of(app).route_table(app) if row.error}


def passing_through(view):
    """Be somebody's decorator."""

    @functools.wraps(view)
    def inner(*args, **kwargs):
        return view(*args, **kwargs)

    return inner


def lost_on_app(app, gate):
    @role_required("admin")  # lost on an app
    @app.get("/lost")
    def lost():
        return "inside"


def lost_on_blueprint(app, gate):
    house = Blueprint("house", "x")

    @public  # lost on a blueprint
    @house.get("/lost")
    def lost():
        return "inside"

    app.register_blueprint(house)


def lost_above_another(app, gate):
    @role_required("admin")  # lost above a label
    @app.get("/lost")
    @login_required
    def lost():
        return "inside"


def lost_above_a_stranger(app, gate):
    @role_required("admin")  # lost above a stranger
    @passing_through
    @app.get("/lost")
    def lost():
        return "inside"


LOST = {
    "lost on an app": (lost_on_app, "lost"),
    "lost on a blueprint": (lost_on_blueprint, "house.lost"),
    "lost above a label": (lost_above_another, "lost"),
    "lost above a stranger": (lost_above_a_stranger, "lost"),
}


@pytest.mark.parametrize("mark", LOST)
def test_a_label_above_route_is_an_error_that_names_its_line(build, mark):
    setup, endpoint = LOST[mark]
    app = build(setup)
    error = faults(app)[endpoint]
    assert error == (
        f"the label at {here_is(mark)} stands above route() of {endpoint!r} and is lost: "
        "move it below the route decorator"
    )
    for path in ("/lost", "/account"):  # nothing is served, not even what has no fault
        with pytest.raises(gatehouse.SetupError, match=re.escape(error)):
            app.test_client().get(path)


def test_labels_in_their_places_are_no_error(build):
    def view():
        return "inside"

    def setup(app, gate):
        app.add_url_rule("/open", "open", public(view))
        app.add_url_rule("/closed", "closed", role_required("admin")(view))
        app.add_url_rule("/strange", "strange", passing_through(role_required("admin")(passing_through(view))))
        app.get("/a", endpoint="a")(app.get("/b", endpoint="b")(login_required(passing_through(view))))

    app = build(setup)
    assert faults(app) == {}
    guest = app.test_client()
    assert [guest.get(path).status_code for path in ("/open", "/closed", "/strange", "/a", "/b")] == [200] + [302] * 4
    assert come_in(app).get("/strange").status_code == 403


def public_above(app, gate):
    @app.get("/torn")
    @public  # public above
    @login_required
    def torn():
        return "inside"


def public_below(app, gate):
    @app.get("/torn")
    @role_required("admin")
    @public  # public below
    def torn():
        return "inside"


def public_beside_flask_login(app, gate):
    @app.get("/torn")
    @flask_login.login_required
    @public  # public beside Flask-Login
    def torn():
        return "inside"


@pytest.mark.parametrize(
    "setup, mark",
    [
        (public_above, "public above"),
        (public_below, "public below"),
        (public_beside_flask_login, "public beside Flask-Login"),
    ],
)
def test_public_beside_another_label_is_an_error_that_names_its_line(build, setup, mark):
    app = build(setup)
    error = faults(app)["torn"]
    assert "'torn': @public stands beside another label" in error
    assert here_is(mark) in error
    with pytest.raises(gatehouse.SetupError, match="@public stands beside another label"):
        app.test_client().get("/torn")


# --- names that nobody declared ---------------------------------------------------------------------------------


def misspelt_on_a_view(app, gate):
    app.get("/note", endpoint="note")(requires("note:wrte")(lambda: "inside"))  # misspelt on a view


def misspelt_on_a_method(app, gate):
    class Notes(MethodView):
        def get(self):
            return "inside"

        @requires("note:wrte", obj=False)  # misspelt on a method
        def post(self):
            return "inside"

    app.add_url_rule("/note", view_func=Notes.as_view("note"))


def misspelt_on_a_blueprint(app, gate):
    notes = Blueprint("notes", __name__)
    notes.get("/note", endpoint="note")(lambda: "inside")
    app.register_blueprint(notes)
    gate.protect(notes, requires("note:wrte"))  # misspelt on a blueprint


MISSPELT = {
    "misspelt on a view": (misspelt_on_a_view, "note"),
    "misspelt on a method": (misspelt_on_a_method, "note"),
    "misspelt on a blueprint": (misspelt_on_a_blueprint, "notes.note"),
}


@pytest.mark.parametrize("mark", MISSPELT)
def test_v8_1_1_a_permission_that_nobody_declared_is_an_error_that_names_its_line(build, mark):
    setup, endpoint = MISSPELT[mark]
    app = build(setup)
    error = faults(app)[endpoint]
    assert error == (
        f"endpoint {endpoint!r}: nobody declared permission 'note:wrte' ({here_is(mark)}): "
        "mend the name, or call gate.permission(…)"
    )
    with pytest.raises(gatehouse.SetupError, match=re.escape(error)):
        app.test_client().get("/account")


def test_a_permission_may_be_declared_after_the_label_that_asks_for_it(build):
    def setup(app, gate):
        misspelt_on_a_view(app, gate)
        gate.rule("note:wrte")(lambda identity, note: True)
        gate.permission("note:wrte", "Write notes, in shorthand")

    app = build(setup)
    assert faults(app) == {}
    assert app.test_client().get("/note").status_code == 302


def test_v8_1_1_a_rule_of_a_permission_that_nobody_declared_is_an_error_that_names_its_line(build):
    def setup(app, gate):
        @gate.rule("note:raed")  # a rule of nothing
        def owns(identity, note):
            return False

    app = build(setup)
    (error,) = gate_of(app).rule_faults(app)
    assert error == (
        f"the rule at {here_is('a rule of nothing')} narrows permission 'note:raed', which nobody declared: "
        "mend the name, or call gate.permission(…)"
    )
    with pytest.raises(gatehouse.SetupError, match=re.escape(error)):
        app.test_client().get("/account")


# --- what whole blueprints take ----------------------------------------------------------------------------------


@pytest.mark.parametrize("home", [gatehouse, flask_login])
@pytest.mark.parametrize("name, demanded", [("login_required", "login"), ("fresh_login_required", "login, fresh")])
def test_a_blueprint_is_protected_by_a_label_that_needs_no_call(build, home, name, demanded):
    def setup(app, gate):
        house = Blueprint("house", __name__)
        house.get("/house", endpoint="hall")(lambda: "inside")
        gate.protect(house, getattr(home, name))
        app.register_blueprint(house)

    app = build(setup)
    rows = {row.endpoint: (row.requirement_text, row.is_labelled) for row in gate_of(app).route_table(app)}
    assert rows["house.hall"] == (demanded, True)
    assert app.test_client().get("/house").status_code == 302


@pytest.mark.parametrize(
    "label, mend",
    [
        (public, r"cannot take 'public': call gate\.public\(blueprint\)"),
        (role_required, "cannot take 'role_required': give it a label such as"),
        ("login", "cannot take 'login': give it a label such as"),
        (passing_through, "give it a label such as"),
        ([], "give it a label such as"),
    ],
)
def test_what_protects_no_blueprint_is_refused_at_once_with_the_mend(label, mend):
    gate = gatehouse.Gatehouse()
    with pytest.raises(gatehouse.SetupError, match=rf"test_route_faults\.py:\d+: .*{mend}"):
        gate.protect(Blueprint("house", __name__), label)


def test_outside_tests_a_fault_is_a_500_whose_reason_is_in_the_log_only(build, caplog):
    app = build(
        lost_on_app,
        TESTING=False,
        GATEHOUSE_ARGON2="19456,2,1",
        GATEHOUSE_ORIGINS="http://localhost",
    )
    for path in ("/lost", "/account", "/nowhere"):
        answer = app.test_client().get(path)
        assert answer.status_code == 500
        assert "label" not in answer.text
    assert here_is("lost on an app") in caplog.text


def test_a_url_that_the_app_has_too_is_an_error_that_names_both(build):
    def setup(app, gate):
        @app.get("/account", endpoint="mine")
        def account():
            return "mine"

    app = build(setup)
    error = faults(app)["gatehouse.account"]
    assert "'mine'" in error
    assert "'gatehouse.account'" in error
    assert "GATEHOUSE_URL_PREFIX" in error
    with pytest.raises(gatehouse.SetupError, match="/account is both the app's own page"):
        app.test_client().get("/login")
    moved = build(setup, GATEHOUSE_URL_PREFIX="/auth")
    assert faults(moved) == {}
    assert moved.test_client().get("/account").location == "/auth/login?next=/account"


def test_a_page_that_was_moved_leaves_its_url_to_the_app(build):
    def setup(app, gate):
        app.get("/admin", endpoint="dashboard")(lambda: "mine")

    app = build(setup, GATEHOUSE_ADMIN_PREFIX="/rulers")
    assert faults(app) == {}
    assert come_in(app).get("/admin").text == "mine"


def test_the_route_table_says_what_guards_what(build):
    def setup(app, gate):
        gate.permission("invoice:read", "Read")
        app.get("/bare", endpoint="bare")(lambda: "")
        app.get("/open", endpoint="open")(public(lambda: ""))
        app.get("/read", endpoint="read")(gatehouse.requires("invoice:read", fresh=True)(lambda: ""))
        app.get("/old", endpoint="old")(flask_login.login_required(lambda: ""))

    app = build(setup)
    rows = {row.endpoint: (row.requirement_text, row.is_labelled) for row in gate_of(app).route_table(app)}
    assert rows["bare"] == ("login", False)
    assert rows["open"] == ("public", True)
    assert rows["read"] == ("login, permission invoice:read, fresh", True)
    assert rows["old"] == ("login", True)
    assert rows["static"] == ("public (static files)", True)
    assert rows["gatehouse.static"] == ("public (static files)", True)
    assert {endpoint for endpoint, (_, labelled) in rows.items() if not labelled} == {"bare"}


def test_v8_2_1_every_page_of_gatehouse_is_guarded_as_written_here(build):
    """The committed access rules of our own pages: another answer is a change of the public face."""
    app = build()
    written = {
        "gatehouse.account": "login",
        "gatehouse.activity": "login",
        "gatehouse.admin": "login, permission users:read",
        "gatehouse.data": "login, fresh",
        "gatehouse.admin_audit": "login, permission audit:read",
        "gatehouse.admin_audit_verify": "login, permission audit:read, fresh",
        "gatehouse.admin_create_role": "login, permission roles:edit, fresh",
        "gatehouse.admin_delete_role": "login, permission roles:edit, fresh",
        "gatehouse.admin_demand_factor": "login, permission users:factors, fresh",
        "gatehouse.admin_demand_factor_of_role": "login, permission roles:edit, fresh",
        "gatehouse.admin_edit_role": "login, permission roles:edit, fresh",
        "gatehouse.admin_end_session": "login, permission sessions:revoke, fresh",
        "gatehouse.admin_end_sessions": "login, permission sessions:revoke, fresh",
        "gatehouse.admin_grant": "login, permission roles:grant, fresh",
        "gatehouse.admin_mark_compromised": "login, permission users:suspend, fresh",
        "gatehouse.admin_reset_factors": "login, permission users:factors, fresh",
        "gatehouse.admin_restore": "login, permission users:suspend, fresh",
        "gatehouse.admin_role": "login, permission users:read",
        "gatehouse.admin_roles": "login, permission users:read",
        "gatehouse.admin_sessions": "login, permission users:read",
        "gatehouse.admin_suspend": "login, permission users:suspend, fresh",
        "gatehouse.admin_unlock": "login, permission users:unlock, fresh",
        "gatehouse.admin_user": "login, permission users:read",
        "gatehouse.admin_users": "login, permission users:read",
        "gatehouse.admin_withdraw": "login, permission roles:grant, fresh",
        "gatehouse.change_email": "login, fresh",
        "gatehouse.change_second_email": "login, fresh",
        "gatehouse.change_password_url": "public",
        "gatehouse.close": "login, fresh within 0:05:00",
        "gatehouse.end_all_sessions": "login, fresh",
        "gatehouse.end_other_sessions": "login, fresh",
        "gatehouse.end_session": "login, fresh",
        "gatehouse.factor": "public",
        "gatehouse.forgot_password": "public",
        "gatehouse.login": "public",
        "gatehouse.login_by_passkey": "public",
        "gatehouse.make_recovery_codes": "login, fresh within 0:05:00, AAL2",
        "gatehouse.logout": "public",
        "gatehouse.passkey_endpoints": "public",
        "gatehouse.passkeys": "login, fresh within 0:05:00, also while a factor is owed",
        "gatehouse.password": "login",
        "gatehouse.raise_alarm": "login, also while a factor is owed",
        "gatehouse.reauthenticate": "login, also while a factor is owed",
        "gatehouse.remove_passkey": "login, fresh within 0:05:00, AAL2",
        "gatehouse.rename_passkey": "login, fresh within 0:05:00",
        "gatehouse.remove_totp": "login, fresh within 0:05:00, AAL2",
        "gatehouse.register": "public",
        "gatehouse.reset_password": "public",
        "gatehouse.security": "login, also while a factor is owed",
        "gatehouse.sessions": "login",
        "gatehouse.static": "public (static files)",
        "static": "public (static files)",
        "gatehouse.totp": "login, fresh within 0:05:00, also while a factor is owed",
        "gatehouse.verify_email": "public",
    }
    assert {row.endpoint: row.requirement_text for row in gate_of(app).route_table(app)} == written


def test_v8_2_1_a_view_put_in_the_place_of_a_public_one_is_closed(build):
    def setup(app, gate):
        app.get("/page", endpoint="page")(public(lambda: "open"))

    app = build(setup)
    client = app.test_client()
    assert client.get("/page").text == "open"
    app.view_functions["page"] = lambda: "not for everyone"
    assert client.get("/page").status_code == 302


def test_v8_2_1_a_class_is_labelled_once_each_of_its_methods_is(build):
    class Partly(MethodView):
        @public
        def get(self):
            return "open"

        def delete(self):
            return "deleted"

    class Wholly(MethodView):
        decorators: ClassVar[list[Any]] = [flask_login.fresh_login_required]

        def get(self):
            return "fresh"

        @role_required("clerk")
        def delete(self):
            return "deleted"

    def setup(app, _gate):
        app.add_url_rule("/partly", view_func=Partly.as_view("partly"))
        app.add_url_rule("/partly-read", view_func=Partly.as_view("partly_read"), methods=["GET"])
        app.add_url_rule("/wholly", view_func=Wholly.as_view("wholly"))

    app = build(setup)
    found = {row.rule: (row.requirement_text, row.is_labelled) for row in gate_of(app).route_table(app)}
    assert found["/partly"] == ("DELETE: login; GET: public", False)
    assert found["/partly-read"][1] is True
    assert found["/wholly"] == ("DELETE: login, role clerk, fresh; GET: login, fresh", True)
