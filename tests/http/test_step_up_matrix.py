"""Every way to prove, every other user's valid proof, every sensitive endpoint, as a page and as a program.

Whose proof it is decides: another's password, code or recovery code refreshes nobody's session but its owner's.
"""

from __future__ import annotations

import re

import pytest
import sqlalchemy as sa

from flask_gatehouse.flows import seeds
from flask_gatehouse.kernel import schema
from flask_gatehouse.web import factor_forms
from tests.http.people import StillClock, entries, gate_of
from tests.http.test_pages_passkeys import asked
from tests.http.test_pages_passkeys import enrol as enrol_passkey
from tests.support.authenticator import Authenticator
from tests.support.people import PASSWORD, PROGRAM, make_person, services_of
from tests.support.phones import code_now, enrol
from tests.support.visitor import csrf_token, submit

OTHERS = {"bob": "bobs own quiet phrase", "root": "roots own quiet phrase"}
WAYS = {
    "password": lambda app, other: {"password": OTHERS[other["name"]]},
    "code": lambda app, other: {"code": code_now(app, other["seed"])},
    "code of the step before": lambda app, other: {"code": code_now(app, other["seed"], -1)},
    "recovery code as a code": lambda app, other: {"code": other["codes"][0]},
    "recovery code as a password": lambda app, other: {"password": other["codes"][1]},
    "all at once": lambda app, other: {"password": OTHERS[other["name"]], "code": code_now(app, other["seed"])},
    "passkey": lambda app, other: {"passkey": other["key"].get(other["asked"])},
    "passkey and code": lambda app, other: {
        "passkey": other["key"].get(other["asked"]),
        "code": code_now(app, other["seed"]),
    },
}
KEPT: tuple[sa.Table, ...] = (
    schema.user,
    schema.password,
    schema.grant,
    schema.role,
    schema.link,
    schema.totp,
    schema.recovery_code,
)
KEPT += (schema.passkey, schema.passkey_answer)
FEATURES = {"GATEHOUSE_FEATURES": "totp,passkeys,recovery_codes"}
ANYTHING = '{"challenge": "AA", "rpId": "localhost"}'
NOBODY = {"name": "bob", "seed": "A" * 32, "codes": ["1", "2"], "key": Authenticator(), "asked": ANYTHING}
DOORS = {"page": {}, "program": PROGRAM}


@pytest.fixture
def clock():
    """Return a clock that stands still."""
    return StillClock()


@pytest.fixture
def people(app):
    """Return the passkey, the seed and the recovery codes of everybody."""
    found = {}
    for number, name in enumerate(("alice", *OTHERS), 1):
        client, key = app.test_client(), Authenticator()
        submit(client, "/login", username=name, password=OTHERS.get(name, PASSWORD))
        assert enrol_passkey(client, key).status_code in {200, 303}
        with services_of(app).unit() as unit:
            codes = seeds.codes_of(services_of(app))
            assert codes is not None
            made = codes.renew(unit.connection, number, unit.now)
        found[name] = {"name": name, "seed": enrol(services_of(app), number), "codes": made, "key": key}
    return found


@pytest.fixture
def app(build, clock):
    """Return an app with two administrators, alice (1) and root (3), and bob (2); throttles are tested elsewhere."""
    made = build(clock=clock, GATEHOUSE_THROTTLE="off", **FEATURES)
    make_person(made, "alice", "admin")
    for name, password in OTHERS.items():
        with made.app_context():
            gate_of(made).create_user(name, password, roles=["admin"] if name == "root" else [])
    return made


@pytest.fixture
def alice(app, clock, people):
    """Return alice's browser, whose last proof is no longer fresh."""
    client = enter(app, "alice", people)
    clock.move(minutes=11)
    return client


def enter(app, name, people):
    """Return a browser of a person, both factors proven just now."""
    client = app.test_client()
    submit(client, "/login", username=name, password=OTHERS.get(name, PASSWORD))
    assert submit(client, "/login/factor", code=code_now(app, people[name]["seed"])).status_code == 303
    return client


def sensitive(app):
    """Return method and URL of everything of ours that asks for a fresh proof, taken from the route table."""
    values = {"<public_id>": "a" * 16, "<name>": "clerk"}
    found = []
    for row in gate_of(app).route_table(app):
        if "fresh" in row.requirement_text:
            url = re.sub(r"<[^>]+>", lambda match: values.get(match[0], "2"), row.rule)
            found += [(method, url) for method in row.methods]
    return found


def everything(app):
    """Return all rows that a sensitive endpoint could change."""
    with services_of(app).reading() as connection:
        return [sorted(map(tuple, connection.execute(sa.select(table))), key=repr) for table in KEPT]


def knock(client, method, url, headers, token):
    """Send what the endpoint would take, were the proof fresh."""
    fields = {"csrf_token": token, "reason": "a test", "role": "admin", "email": "new@example.org", "code": "123456"}
    return client.open(url, method=method, data=fields if method == "POST" else None, headers=headers)


def is_asked_to_prove(answer, door):
    """Tell whether an answer asks for a proof, and does nothing else."""
    if door == "program":
        return answer.status_code == 401 and "step-up" in answer.get_data(as_text=True)
    return answer.status_code == 302 and answer.location.startswith("/reauthenticate")


def test_v7_5_1_the_matrix_knows_every_sensitive_endpoint_and_every_way_to_prove(app):
    found = sensitive(app)
    assert len(found) >= 22
    assert {("POST", "/account/security/totp/remove"), ("POST", "/admin/users/2/suspend")} <= set(found)
    with app.test_request_context():
        asked_for = set(factor_forms.ReauthenticateForm()._fields)
    shown = {name for way in WAYS.values() for name in way(app, NOBODY)}
    assert asked_for == shown  # a new way to prove belongs into the matrix


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("way", WAYS)
def test_v7_5_1_anothers_valid_proof_opens_no_sensitive_endpoint_and_is_recorded(app, alice, people, way, door):
    headers, before = DOORS[door], everything(app)
    endpoints, token = sensitive(app), csrf_token(alice.get("/account").get_data(as_text=True))
    cookie = alice.get_cookie("gatehouse").value
    options = asked(alice, "/reauthenticate")  # what alice's own passkeys are to sign
    for other in OTHERS:
        for method, url in endpoints:
            where = (other, method, url)
            assert is_asked_to_prove(knock(alice, method, url, headers, token), door), where
            failures = len(entries(app, "step_up.failed"))
            fields = {"csrf_token": token, **WAYS[way](app, people[other] | {"asked": options})}
            refused = alice.post(f"/reauthenticate?next={url}", data=fields, headers=headers)
            assert refused.status_code == 401, where
            failed = entries(app, "step_up.failed")
            assert len(failed) == failures + 1, where
            assert (failed[0].actor, failed[0].user_id, failed[0].outcome) == ("alice", 1, "refused"), where
            assert is_asked_to_prove(knock(alice, method, url, headers, token), door), where
    assert alice.get_cookie("gatehouse").value == cookie  # no new session id either
    assert everything(app) == before  # not even a code of theirs was burnt


@pytest.mark.parametrize("way", ["password", "code", "passkey"])
def test_v7_5_1_ones_own_proof_opens_them_all(app, alice, people, clock, way):
    """The control: else the matrix would pass where nothing ever opens."""
    mine = people["alice"]
    own = {
        "password": lambda: {"password": PASSWORD},
        "code": lambda: {"code": code_now(app, mine["seed"])},
        "passkey": lambda: {"passkey": mine["key"].get(asked(alice, "/reauthenticate"))},
    }[way]()
    assert submit(alice, "/reauthenticate", **own).status_code == 303
    token = csrf_token(alice.get("/account").get_data(as_text=True))
    harmless = [(method, url) for method, url in sensitive(app) if not url.startswith("/account/s")]
    for method, url in harmless:
        answer = knock(alice, method, url.replace("/2/", "/999/"), {}, token)
        assert not is_asked_to_prove(answer, "page"), url


@pytest.mark.parametrize("door", DOORS)
def test_v7_5_1_a_proof_refreshes_the_session_it_was_shown_in_and_no_other(app, alice, people, clock, door):
    bob = enter(app, "bob", people)
    assert not is_asked_to_prove(bob.get("/account/security/totp", headers=DOORS[door]), door)
    token = csrf_token(alice.get("/account").get_data(as_text=True))
    assert is_asked_to_prove(knock(alice, "POST", "/account", DOORS[door], token), door)
    second = enter(app, "alice", people)
    assert not is_asked_to_prove(second.get("/account/security/totp"), "page")
    assert is_asked_to_prove(knock(alice, "POST", "/account", DOORS[door], token), door)  # her own other session too


def test_anothers_password_does_not_change_mine(app, alice, people):
    before = everything(app)
    for other in OTHERS.values():
        new = {"password": "a new phrase of words", "confirm": "a new phrase of words"}
        assert submit(alice, "/account/password", current=other, **new).status_code == 422
    assert everything(app) == before
    assert [entry.actor for entry in entries(app, "password.change_failed")] == ["alice", "alice"]


def test_another_users_csrf_token_is_none_of_mine(app, alice, people):
    bob = enter(app, "bob", people)
    token = csrf_token(bob.get("/account").get_data(as_text=True))
    own = {"csrf_token": token, "code": code_now(app, people["alice"]["seed"])}
    assert alice.post("/reauthenticate", data=own).status_code == 403
    assert [entry.actor for entry in entries(app, "csrf.refused")] == ["alice"]
