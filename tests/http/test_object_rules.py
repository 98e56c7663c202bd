"""Rule 23: a permission that has an object rule counts only together with it, for administrators too."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import pytest
from flask import Blueprint, Flask, Response, abort, redirect, render_template_string, send_file, url_for
from flask.views import MethodView, View

import flask_gatehouse as gatehouse
from flask_gatehouse import authorize, can, current_user, public, requires
from tests.http.people import JSON, add_user, come_in, enter, grant, kinds, problem, withdraw


@dataclass
class Invoice:
    owner: str


INVOICES = {"1": Invoice("alice"), "2": Invoice("bob")}
READ, REFUND = "invoice:read", "invoice:refund"


def ledger(app: Flask, gate: gatehouse.Gatehouse) -> None:
    gate.permission(READ, "Read an invoice")
    gate.permission(REFUND, "Refund an invoice")
    gate.role("clerk", [READ])
    gate.role("boss", [READ, REFUND])

    @gate.rule(READ)
    def owns(identity, invoice):
        return invoice.owner == identity.username

    add_labelled(app)
    add_unlabelled(app)


def add_labelled(app):
    @app.get("/invoice/<key>")
    @requires(READ)
    def show(key):
        authorize(READ, INVOICES[key])
        return f"invoice {key}"

    @app.get("/forgot/<key>")
    @requires(READ)
    def forgot(key):
        return f"secret {key}"

    @app.get("/asked-without/<key>")
    @requires(READ)
    def asked_without(key):
        authorize(READ)
        return f"secret {key}"

    @app.get("/wrong-question/<key>")
    @requires(READ)
    def wrong_question(key):
        authorize(REFUND, INVOICES[key])
        return f"secret {key}"

    @app.get("/peeked/<key>")
    @requires(READ)
    def peeked(key):
        return f"secret {key} {can(READ, INVOICES[key])}"

    @app.get("/list")
    @requires(READ, obj=False)
    def listed():
        return " ".join(key for key, invoice in INVOICES.items() if can(READ, invoice))

    @app.get("/both")
    @requires(READ, obj=False)
    @requires(REFUND)
    def both():
        return "no rule on refunds"


def add_unlabelled(app):
    @app.get("/unlabelled/<key>")
    def unlabelled(key):
        authorize(READ, INVOICES[key])
        return f"invoice {key}"

    @app.get("/open/<key>")
    @public
    def open_view(key):
        authorize(READ, INVOICES[key])
        return f"invoice {key}"

    @app.get("/answers")
    @public
    def answers():
        asked = {
            "read": can(READ),
            "read 1": can(READ, INVOICES["1"]),
            "read 2": can(READ, INVOICES["2"]),
            "refund": can(REFUND),
            "refund 1": can(REFUND, INVOICES["1"]),
            "user": current_user.can(READ, INVOICES["1"]),
            "user refund": current_user.can(REFUND),
        }
        return {name: answer for name, answer in asked.items() if answer is not False}

    @app.get("/template")
    @public
    def template():
        by_name, by_user = "can('invoice:read', one)", "current_user.can('invoice:read', two)"
        text = f"{{% if {by_name} %}}one{{% endif %}}{{% if {by_user} %}}two{{% endif %}}"
        return render_template_string(text, one=INVOICES["1"], two=INVOICES["2"])


@pytest.fixture
def app(build):
    return build(ledger)


def test_v8_2_2_rule_23_the_object_counts_beside_the_permission(app):
    clerk, stranger = come_in(app, "alice", "clerk"), come_in(app, "eve")
    assert clerk.get("/invoice/1").text == "invoice 1"
    assert clerk.get("/invoice/2").status_code == 403
    assert stranger.get("/invoice/1").status_code == 403
    assert app.test_client().get("/invoice/1").status_code == 302


def test_rule_23_the_rule_holds_for_administrators_too(app):
    admin = come_in(app, "root", "admin")
    assert admin.get("/invoice/1").status_code == 403
    assert admin.get("/list").text == ""
    assert admin.get("/answers").get_json() == {"refund": True, "refund 1": True, "user refund": True}


def test_rule_23_without_an_object_the_answer_is_no(app):
    clerk = come_in(app, "alice", "clerk")
    assert clerk.get("/asked-without/1").status_code == 403
    assert clerk.get("/answers").get_json() == {"read 1": True, "user": True}
    assert come_in(app, "bob", "boss").get("/answers").get_json() == {
        "read 2": True,
        "refund": True,
        "refund 1": True,
        "user refund": True,
    }


@pytest.mark.parametrize("path", ["/forgot/1", "/peeked/1"])
def test_v16_5_3_rule_23_an_answer_nobody_authorised_is_withheld_and_logged(app, caplog, path):
    clerk = come_in(app, "alice", "clerk")
    with caplog.at_level(logging.ERROR, "flask_gatehouse.gate"):
        answer = clerk.get(path)
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert f"call authorize({READ}, obj) in the view" in caplog.text


def test_rule_23_asking_about_another_permission_does_not_count(app):
    boss = come_in(app, "alice", "boss")
    answer = boss.get("/wrong-question/1")
    assert answer.status_code == 500
    assert "secret" not in answer.text


def test_rule_23_withholds_in_production_too(build, caplog):
    app = build(ledger, TESTING=False, GATEHOUSE_ARGON2="19456,2,1", GATEHOUSE_ORIGINS="http://localhost", DEBUG=False)
    clerk = come_in(app, "alice", "clerk")
    assert clerk.get("/invoice/1").text == "invoice 1"
    answer = clerk.get("/forgot/1")
    assert (answer.status_code, "secret" in answer.text) == (500, False)
    assert "withheld the answer" in caplog.text


def test_rule_23_obj_false_marks_a_view_that_filters_itself(app):
    assert come_in(app, "alice", "clerk").get("/list").text == "1"
    assert come_in(app, "bob", "boss").get("/list").text == "2"
    assert enter(app, "bob").get("/both").text == "no rule on refunds"
    assert come_in(app, "eve").get("/list").status_code == 403


@pytest.mark.parametrize("path", ["/unlabelled/1", "/open/1"])
def test_authorize_refuses_a_guest_as_the_gate_does_and_others_with_403(app, path):
    guest = app.test_client()
    assert (guest.get(path).status_code, guest.get(path).location) == (302, f"/login?next={path}")
    assert problem(guest.get(path, headers=JSON))["type"].endswith("/login")
    assert come_in(app, "eve").get(path).status_code == 403
    clerk = come_in(app, "alice", "clerk")
    assert clerk.get(path).text == "invoice 1"
    assert problem(clerk.get(path[:-1] + "2", headers=JSON))["type"].endswith("/forbidden")


def test_can_is_no_for_guests_and_outside_requests(app):
    assert app.test_client().get("/answers").get_json() == {}
    with app.app_context():
        assert can(REFUND) is False


def test_can_answers_in_templates(app):
    assert come_in(app, "alice", "clerk").get("/template").text == "one"
    assert come_in(app, "bob", "clerk").get("/template").text == "two"
    assert app.test_client().get("/template").text == ""


def test_can_of_a_user_just_made_speaks_of_that_user(app):
    with app.test_request_context("/"):
        made = add_user(app, "clara", "boss")
        assert (made.username, made.roles, made.role) == ("clara", ("boss",), "boss")
        assert made.can(REFUND)
        assert not made.can(READ, INVOICES["1"])
        assert not can(REFUND)


def test_v8_3_2_a_withdrawn_role_stops_counting_at_the_next_request(app):
    clerk = come_in(app, "alice", "clerk")
    assert clerk.get("/invoice/1").status_code == 200
    withdraw(app, "alice", "clerk")
    assert clerk.get("/invoice/1").status_code == 403
    assert clerk.get("/answers").get_json() == {}
    grant(app, "alice", "clerk")
    assert clerk.get("/invoice/1").status_code == 200


def test_v16_3_2_a_refused_object_is_recorded(app):
    clerk = come_in(app, "alice", "clerk")
    clerk.get("/invoice/2")
    assert kinds(app)[-1] == "access.denied"


# --- kinds of views and answers -----------------------------------------------------------------------------


def answers_of_all_kinds(app, gate):
    ledger(app, gate)
    app.config["WTF_CSRF_ENABLED"] = False

    class Api(MethodView):
        @requires(READ)
        def get(self):
            return "secret"

        def post(self):
            return "own business"

    class Old(View):
        @requires(READ)
        def dispatch_request(self):
            return "secret"

    app.add_url_rule("/class", view_func=Api.as_view("class"))
    app.add_url_rule("/old", view_func=Old.as_view("old"), methods=["GET", "POST"])

    add_functions(app)


def add_functions(app):
    house = requires(READ)

    @app.get("/async")
    @house
    async def coroutine():
        return "secret"

    @app.get("/stream")
    @house
    def stream():
        return Response(iter(["sec", "ret"]))

    @app.get("/file")
    @house
    def file():
        return send_file(__file__)

    @app.get("/redirect")
    @house
    def away():
        return redirect(url_for("secret_place", key="secret"))

    @app.get("/place/<key>")
    def secret_place(key):
        return key

    @app.get("/cookie")
    @house
    def cookie():
        response = Response("secret")
        response.set_cookie("leak", "secret")
        return response

    @app.get("/gone")
    @house
    def gone():
        abort(410)


@pytest.mark.parametrize("path", ["/class", "/old", "/async", "/stream", "/redirect", "/cookie"])
def test_rule_23_holds_for_every_kind_of_view_and_answer(build, path):
    clerk = come_in(build(answers_of_all_kinds), "alice", "clerk")
    answer = clerk.get(path)
    assert answer.status_code == 500
    assert "secret" not in f"{answer.headers}{answer.text}"
    assert clerk.head(path).status_code == 500


def test_rule_23_holds_for_methods_named_at_the_route_only(build):
    app = build(answers_of_all_kinds)
    clerk = come_in(app, "alice", "clerk")
    assert clerk.post("/old").status_code == 500
    assert clerk.post("/class").text == "own business"


def test_rule_23_a_withheld_file_is_closed(build):
    clerk = come_in(build(answers_of_all_kinds), "alice", "clerk")
    answer = clerk.get("/file", buffered=True)
    assert answer.status_code == 500
    assert "def test_rule_23" not in answer.text
    assert answer.headers["Content-Type"].startswith("text/plain")


def test_rule_23_an_error_of_the_view_is_not_covered_up(build):
    clerk = come_in(build(answers_of_all_kinds), "alice", "clerk")
    assert clerk.get("/gone").status_code == 410


def test_a_permission_has_one_rule(build):
    def setup(app, gate):
        gate.rule(READ)(lambda identity, obj: True)
        gate.rule(READ)(lambda identity, obj: False)

    with pytest.raises(gatehouse.SetupError, match="two rules"):
        build(setup)


def test_a_rule_that_answers_something_but_true_says_no(build):
    def setup(app, gate):
        gate.permission(READ, "Read")
        gate.rule(READ)(lambda identity, obj: "yes")
        app.get("/x", endpoint="x")(lambda: str(can(READ, object())))

    assert come_in(build(setup), "root", "admin").get("/x").text == "False"


def test_v16_5_3_a_rule_that_raises_opens_nothing(build):
    def setup(app, gate):
        gate.permission(READ, "Read")
        gate.rule(READ)(lambda identity, obj: obj.no_such_thing)

        @app.get("/x")
        @requires(READ)
        def x():
            authorize(READ, object())
            return "secret"

    app = build(setup, PROPAGATE_EXCEPTIONS=False)
    answer = come_in(app, "root", "admin").get("/x")
    assert (answer.status_code, "secret" in answer.text) == (500, False)


def test_rule_23_a_label_shared_with_the_blueprint_owes_its_object_where_a_helper_bears_it(build):
    label = requires(READ)

    def setup(app, gate):
        ledger(app, gate)
        pages = Blueprint("pages", __name__)

        @label
        def helper(key):
            return f"secret {key}"

        @pages.get("/waived/<key>")
        @requires(READ, obj=False)
        def waived(key):
            return helper(key)

        @pages.get("/listed")
        @requires(READ, obj=False)
        def listed():
            return "a list"

        gate.protect(pages, label)
        app.register_blueprint(pages)

    app = build(setup, PROPAGATE_EXCEPTIONS=False)
    alice = come_in(app, "alice", "clerk")
    assert alice.get("/waived/2").status_code == 500
    assert alice.get("/listed").text == "a list"
