"""Holes that attackers of our own found, each closed once and for all."""

from __future__ import annotations

import threading
from typing import Any

from flask import Response, stream_with_context
from flask.views import MethodView

from flask_gatehouse import current_user, public, requires, role_required
from flask_gatehouse.domain.sessions import Issued, Session
from flask_gatehouse.flows import login, own_password, revoke
from flask_gatehouse.kernel.identity import Identity, Source
from tests.support.visitor import submit

PASSWORD = "correct horse battery"


def inside(app: Any, *roles: str) -> Any:
    """Return the client of a user who has just logged in."""
    with app.app_context():
        app.extensions["gatehouse"].create_user("alice", PASSWORD, roles=roles)
    client = app.test_client()
    assert submit(client, "/login", username="alice", password=PASSWORD).status_code == 303
    return client


def test_rule_19_a_request_under_way_keeps_its_gate_while_another_puts_it_first(make_app):
    app = make_app()
    walked_through = app.before_request_funcs[None]
    gate = walked_through[0]
    walked_through.insert(0, lambda: None)
    gate.__self__.stand_first(app)
    assert gate in walked_through
    assert app.before_request_funcs[None][0] == gate
    assert len(app.before_request_funcs[None]) == len(walked_through)


def test_rule_18_a_streamed_body_that_asks_late_is_stored_nowhere(make_app):
    def setup(app, _gate):
        @app.get("/streamed")
        @public
        def streamed():
            def body():
                yield f"hello {current_user.username}"

            return Response(stream_with_context(body()))

    answer = inside(make_app(setup)).get("/streamed")
    assert answer.text == "hello alice"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Vary"] == "Cookie"


def test_rule_23_a_guarded_helper_owes_its_object_as_a_view_does(make_app):
    def setup(app, gate):
        gate.permission("invoice:read", "Read an invoice")
        gate.rule("invoice:read")(lambda identity, invoice: invoice == identity.user_id)
        helper = requires("invoice:read")(lambda: "somebody's invoice")
        app.get("/invoice", endpoint="invoice")(helper_view(helper))

    def helper_view(helper):
        return lambda: f"{helper()}"

    answer = inside(make_app(setup), "admin").get("/invoice")
    assert answer.status_code == 500
    assert "invoice" not in answer.text


def test_a_label_on_dispatch_request_of_a_method_view_counts(make_app):
    def setup(app, _gate):
        class Page(MethodView):
            @role_required("admin")
            def dispatch_request(self, **values):
                return super().dispatch_request(**values)

            def get(self):
                return "for administrators"

        app.add_url_rule("/page", view_func=Page.as_view("page"))

    assert inside(make_app(setup)).get("/page").status_code == 403


def test_v15_4_3_a_password_change_and_ended_sessions_do_not_wait_for_each_other(make_app, database_url):
    app = make_app(GATEHOUSE_DATABASE_URL=database_url, GATEHOUSE_THROTTLE="off", GATEHOUSE_ARGON2="8,1,1")
    gate = app.extensions["gatehouse"]
    services, here, faults = gate.services(app), Source("127.0.0.1"), list[str]()
    with app.app_context():
        names = [gate.create_user(f"person{number}", PASSWORD).username for number in range(25)]

    def entered(name: str) -> tuple[str, Identity]:
        issued = login.begin(services, name, PASSWORD, login.Attempt(here))
        assert isinstance(issued, Issued)
        found = services.sessions.load(issued.secret, "", services.clock.now())
        assert isinstance(found, Session)
        return issued.secret, found.identity

    def run(ready: threading.Barrier, act: Any, *arguments: Any) -> None:
        ready.wait(30)
        try:
            act(services, *arguments, here)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
            faults.append(repr(error))

    for name in names:
        people, ready = [entered(name) for _ in range(6)], threading.Barrier(2)
        (secret, changing), (_, ending) = people[-1], people[0]
        acts = [
            threading.Thread(target=run, args=(ready, own_password.change, changing, secret, PASSWORD, "nine lives")),
            threading.Thread(target=run, args=(ready, revoke.others, ending)),
        ]
        for act in acts:
            act.start()
        for act in acts:
            act.join()
    assert faults == []


def test_v8_2_1_who_edits_roles_makes_none_that_a_label_asks_for_by_name(make_app, database_url):
    del database_url

    def setup(app, gate):
        gate.role("editor", ["users:read", "roles:edit", "roles:grant"])
        app.get("/vault")(role_required("Boss")(lambda: "gold"))
        app.extensions["helper"] = role_required("treasurer")(lambda: "silver")

    app = make_app(setup)
    editor = inside(app, "editor")
    with app.app_context():
        app.extensions["gatehouse"].create_user("mate", PASSWORD)
        app.extensions["gatehouse"].create_user("root", PASSWORD, roles=["admin"])
    mate, root = app.test_client(), app.test_client()
    assert submit(mate, "/login", username="mate", password=PASSWORD).status_code == 303
    assert submit(root, "/login", username="root", password=PASSWORD).status_code == 303
    for name in ("boss", "BOSS", "treasurer"):
        answer = submit(editor, "/admin/roles", page="/admin/roles", role=name, permission=["users:read"])
        assert answer.status_code == 422, name
        submit(editor, "/admin/users/2/grant", page="/admin/users/2", role=name)
    assert mate.get("/vault").status_code == 403
    assert submit(editor, "/admin/roles", page="/admin/roles", role="reader").status_code == 303
    assert submit(root, "/admin/roles", page="/admin/roles", role="boss").status_code == 303
