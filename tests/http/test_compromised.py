"""A marked password on the pages: an administrator's button, one answer at the door, what its user is told inside."""

from __future__ import annotations

from flask_gatehouse.domain.sessions import Issued
from flask_gatehouse.flows import login
from flask_gatehouse.flows.opening import Attempt
from flask_gatehouse.kernel.identity import Source
from tests.support.people import PASSWORD, logged_in, make_person, newcomer, services_of
from tests.support.visitor import submit

PAGE = "/admin/users/1"
MARK = f"{PAGE}/mark-compromised"


def told(answer):
    """Return all that an answer tells, its request's own values aside."""
    headers = {name: value for name, value in answer.headers if name not in {"Set-Cookie", "Content-Security-Policy"}}
    return answer.status_code, headers, answer.get_data(as_text=True).partition("<h1>")[2].partition("csrf")[0]


def test_v6_2_10_rule_09_after_the_button_a_right_password_is_answered_as_a_wrong_one(make_app):
    app = make_app()
    make_person(app, "bob")
    bob, root, stranger = logged_in(app, "bob"), newcomer(app, "root", "admin"), app.test_client()
    assert "Mark the password as compromised" in root.get(PAGE).get_data(as_text=True)
    assert submit(root, MARK, page=PAGE, reason="seen in a paste").location == PAGE
    assert f'action="{MARK}"' not in root.get(PAGE).get_data(as_text=True)  # once is enough
    assert bob.get("/protected").status_code == 302
    wrong = told(submit(stranger, "/login", username="bob", password="not the password"))
    assert told(submit(stranger, "/login", username="bob", password=PASSWORD)) == wrong
    assert wrong[0] == 401


def test_v6_2_10_inside_by_another_way_one_is_told_and_led_to_the_mailed_link(make_app):
    app = make_app()
    make_person(app, "bob")
    root = newcomer(app, "root", "admin")
    submit(root, MARK, page=PAGE, reason="seen in a paste")
    issued = login.vouched(services_of(app), 1, Attempt(Source("192.0.2.1", "", "r")), is_fresh=True)
    assert isinstance(issued, Issued)
    bob = app.test_client()
    bob.set_cookie("gatehouse", issued.secret)
    shown = bob.get("/account/security").get_data(as_text=True)
    assert "Marked as compromised" in shown
    assert 'href="/forgot-password"' in shown
    new = {"current": PASSWORD, "password": "another quiet river", "confirm": "another quiet river"}
    assert submit(bob, "/account/password", **new).status_code == 422
    taken = submit(bob, "/account/data", page="/account").json
    assert taken is not None
    assert taken["user"]["password_compromised_at"] is not None
