"""Second factors on the page of one user: who sees them, who may reset them, and what is left afterwards."""

from __future__ import annotations

import pytest

from flask_gatehouse.flows import administer
from flask_gatehouse.flows.acts import Act
from flask_gatehouse.kernel.identity import CLI
from tests.support.people import PASSWORD, PROGRAM, logged_in, make_person, services_of
from tests.support.phones import ON, code_now, enrol
from tests.support.visitor import csrf_token, submit

PAGE = "/admin/users/2"
RESET = f"{PAGE}/reset-factors"


@pytest.fixture
def app(make_app):
    """Return an app with root (1, administrator), bob (2) and carol (3), who sees users and changes nothing."""
    made = make_app(lambda _, gate: gate.role("watcher", ["users:read"]), **ON)
    make_person(made, "root", "admin")
    make_person(made, "bob")
    make_person(made, "carol", "watcher")
    return made


def section(client):
    """Return the part of bob's page about second factors."""
    html = client.get(PAGE).get_data(as_text=True)
    return html.partition('<h2 id="factors">')[2].partition("</section>")[0]


def test_v6_5_6_an_administrator_sees_and_resets_a_lost_factor(app):
    root, bob = logged_in(app, "root"), logged_in(app, "bob")
    assert "None enrolled" in section(root)
    assert "reset-factors" not in section(root)
    seed = enrol(services_of(app), 2)
    shown = section(root)
    assert "Authenticator app" in shown
    assert seed not in root.get(PAGE).get_data(as_text=True)
    answer = submit(root, RESET, page=PAGE, reason="phone in the lake")
    assert (answer.status_code, answer.location) == (303, PAGE)
    assert "None enrolled" in section(root)
    assert bob.get("/protected").status_code == 302  # ended
    assert submit(app.test_client(), "/login", username="bob", password=PASSWORD).location == "/"
    assert "phone in the lake" in root.get(PAGE).get_data(as_text=True)


def test_what_cannot_be_reset_is_refused_in_words(app):
    root = logged_in(app, "root")
    answer = submit(root, RESET, page=PAGE, reason="a test")
    assert answer.status_code == 422
    assert administer.NO_FACTOR in answer.get_data(as_text=True)
    token = csrf_token(root.get(PAGE).get_data(as_text=True))
    program = root.post(RESET, data={"reason": "a test"}, headers={**PROGRAM, "X-CSRFToken": token})
    assert program.json is not None
    assert (program.status_code, program.json["errors"]) == (422, {"factor": [administer.NO_FACTOR]})


def test_who_may_only_look_is_offered_nothing_and_refused(app):
    enrol(services_of(app), 2)
    carol = logged_in(app, "carol")
    assert "Authenticator app" in section(carol)
    assert "Reset" not in section(carol)
    assert submit(carol, RESET, page="/account", reason="a test").status_code == 403


def test_an_older_proof_is_renewed_before_a_reset(app, monkeypatch):
    enrol(services_of(app), 2)
    root = logged_in(app, "root")
    clock = services_of(app).clock
    later = clock.now() + 6 * 60 * 1_000_000
    monkeypatch.setattr(clock, "now", lambda: later)
    assert submit(root, RESET, page=PAGE, reason="a test").location.startswith("/reauthenticate")
    assert "Authenticator app" in section(root)


def test_v6_5_6_after_a_reset_by_command_the_old_code_is_dead(app):
    seed = enrol(services_of(app), 2)
    client = app.test_client()
    assert submit(client, "/login", username="bob", password=PASSWORD).location == "/login/factor"
    assert administer.reset_factors(services_of(app), Act(CLI, None, "a test"), 2)
    assert submit(client, "/login/factor", code=code_now(app, seed)).status_code == 410
