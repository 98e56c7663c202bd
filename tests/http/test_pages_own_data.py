"""What is stored about oneself, as a file."""

from __future__ import annotations

import json
import string

from flask_gatehouse.domain.audit import Event
from flask_gatehouse.domain.users import NAME_PATTERN
from flask_gatehouse.kernel.identity import Actor, Source
from tests.support.people import HOUR, PASSWORD, PROGRAM, let_pass, newcomer, services_of
from tests.support.visitor import csrf_token, submit


def taken(client, **headers):
    """Press the button, or ask as a program."""
    token = csrf_token(client.get("/account").text)
    return client.post("/account/data", data={"csrf_token": token}, headers=headers)


def test_a_user_gets_all_that_is_stored_about_them_and_no_secret(make_app):
    app = make_app()
    client = newcomer(app, "alice")
    newcomer(app, "bob")
    submit(client, "/account", email="alice@example.org")
    answer = taken(client)
    assert (answer.status_code, answer.content_type) == (200, "application/json")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="alice.json"'
    assert "no-store" in answer.headers["Cache-Control"]
    found = json.loads(answer.text)
    assert (found["user"]["username"], found["user"]["email"]) == ("alice", "alice@example.org")
    assert [one["is_present"] for one in found["sessions"]] == [True]
    assert found["events"][0]["event"] == "user.data_taken"
    assert {"login.succeeded", "user.email_changed"} <= {one["event"] for one in found["events"]}
    cookies = [cookie.value for name in ("gatehouse", "gatehouse-device") if (cookie := client.get_cookie(name))]
    assert len(cookies) == 2
    assert not any(secret in answer.text for secret in (PASSWORD, "argon2", "bob", *cookies))


def test_v5_4_2_the_oddest_name_makes_a_plain_file_name(make_app):
    client = newcomer(make_app(), "..-_A.b")
    assert taken(client).headers["Content-Disposition"] == 'attachment; filename="..-_A.b.json"'
    taken_in_names = {chr(code) for code in range(0x300) if NAME_PATTERN.fullmatch(chr(code) * 3)}
    assert taken_in_names <= set(f"{string.ascii_letters}{string.digits}_.-")


def test_v7_5_1_it_asks_for_a_fresh_proof_and_for_the_forms_token(make_app, monkeypatch):
    app = make_app()
    client = newcomer(app, "alice")
    assert client.post("/account/data").status_code == 403
    assert client.get("/account/data").status_code == 405
    let_pass(app, monkeypatch, 0.3 * HOUR)
    assert taken(client).location == "/reauthenticate"
    assert taken(client, **PROGRAM).status_code == 401


def test_rule_08_v2_4_1_it_can_be_taken_ten_times_in_ten_minutes(make_app):
    client = newcomer(make_app(), "alice")
    assert [taken(client).status_code for _ in range(11)] == [200] * 10 + [429]


def test_the_whereabouts_of_administrators_stay_theirs(make_app):
    app = make_app()
    client = newcomer(app, "alice")
    held = services_of(app)
    with held.unit() as unit:
        unit.record(Event("user.unlocked", Actor(99, "root"), 1, Source("203.0.113.99", "Secret Browser")))
    text = taken(client).text
    assert "user.unlocked" in text
    assert not any(word in text for word in ("203.0.113.99", "Secret Browser", "root"))
