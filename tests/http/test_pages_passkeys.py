"""Passkeys through the pages: statuses, who may answer what where, and what password managers ask for."""

from __future__ import annotations

import json
import re
from html import unescape

import pytest

from flask_gatehouse import SetupError, public
from tests.http.people import problem
from tests.support import phones
from tests.support.authenticator import Authenticator
from tests.support.people import PASSWORD, PROGRAM, logged_in, make_person, services_of, session_of, thief_of
from tests.support.visitor import csrf_token, submit

ON = {"GATEHOUSE_FEATURES": "passkeys"}
PAGE = "/account/security/passkeys"
OPTIONS = re.compile(r'data-options="([^"]*)"')


@pytest.fixture
def app(make_app):
    """Return an app with passkeys on, and alice and bob."""
    app = make_app(**ON)
    for name in ("alice", "bob"):
        make_person(app, name)
    return app


def asked(client, page):
    """Return what a page asks of passkeys."""
    found = OPTIONS.search(client.get(page).get_data(as_text=True))
    assert found is not None, page
    return unescape(found[1])


def enrol(client, key, **fields):
    """Enrol a passkey on the page."""
    return submit(client, PAGE, passkey=key.create(asked(client, PAGE)), **fields)


def owner(app, name="alice"):
    """Return a logged-in client and the passkey just enrolled in it."""
    client, key = logged_in(app, name), Authenticator()
    assert enrol(client, key).status_code == 303
    return client, key


def whys(app, kind):
    """Return the reasons that the log gives."""
    held = services_of(app)
    with held.reading() as connection:
        return [json.loads(entry.detail)["why"] for entry in held.audit.search(connection, kind=kind)]


def test_a_passkey_is_enrolled_named_shown_and_renamed(app):
    client = logged_in(app, "alice")
    done = enrol(client, Authenticator(), name="my phone <b>", next="/protected")
    assert (done.status_code, done.location) == (303, "/protected")
    shown = client.get(PAGE).get_data(as_text=True)
    assert "my phone &lt;b&gt;" in shown
    assert submit(client, f"{PAGE}/1/rename", page=PAGE, name="a" * 81).status_code == 422
    assert submit(client, f"{PAGE}/1/rename", page=PAGE, name="a\nb").status_code == 422
    assert submit(client, f"{PAGE}/2/rename", page=PAGE, name="x").status_code == 404
    assert submit(client, f"{PAGE}/1/rename", page=PAGE, name="my key").status_code == 303
    assert "my key" in client.get("/account/security").get_data(as_text=True)


def test_v1_2_3_what_a_script_reads_from_a_page_cannot_end_where_it_stands(app):
    client, name = logged_in(app, "alice"), "</script><script>alert(1)</script>\" onload='x'"
    assert enrol(client, Authenticator(), name=name).status_code == 303
    page = client.get(PAGE).get_data(as_text=True)
    assert name not in page
    assert "alert(1)</script>" not in page
    assert json.loads(asked(client, PAGE))["user"]["name"] == "alice"  # JSON in an attribute, escaped whole
    assert "<" not in "".join(OPTIONS.findall(page))
    inside = re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL)
    assert inside
    assert not any(inside)  # no page holds a script of its own, so that no data stands in one


def test_one_without_a_name_is_called_as_the_browser(app):
    client = logged_in(app, "alice", agent="Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0")
    enrol(client, Authenticator())
    assert "Firefox on Linux" in client.get(PAGE).get_data(as_text=True)


def test_changing_factors_asks_for_a_proof_of_the_last_minutes(app):
    stranger = app.test_client()
    assert stranger.get(PAGE).location == f"/login?next={PAGE}"
    client, _ = owner(app)
    assert client.get(f"{PAGE}/1/remove").status_code == 405


def test_a_login_leads_to_where_it_was_asked_from_and_opens_this_browser_alone(app):
    _, key = owner(app)
    one, other = app.test_client(), app.test_client()
    answer = key.get(asked(one, "/login"))
    elsewhere = submit(other, "/login/passkey", page="/login", passkey=answer)
    assert elsewhere.status_code == 401
    assert "This passkey was not taken." in elsewhere.get_data(as_text=True)
    assert other.get("/protected").status_code == 302
    done = submit(one, "/login/passkey", page="/login", passkey=answer, next="/fresh")
    assert (done.status_code, done.location) == (303, "/fresh")
    assert one.get("/fresh").status_code == 200
    again = submit(one, "/login/passkey", page="/login", passkey=answer)
    assert again.status_code == 401


def test_whoever_is_logged_in_logs_in_as_another_and_the_first_session_ends(app):
    _, key = owner(app)
    client = logged_in(app, "bob")
    secret = session_of(client)
    done = submit(client, "/login/passkey", page="/login", passkey=key.get(asked(client, "/login")))
    assert done.status_code == 303
    assert "inside: alice" in client.get("/protected").get_data(as_text=True)
    assert thief_of(app, secret).get("/protected").status_code == 302


def test_a_login_needs_the_token_of_the_page(app):
    _, key = owner(app)
    client = app.test_client()
    assert client.post("/login/passkey", data={"passkey": key.get(asked(client, "/login"))}).status_code == 403
    assert submit(client, "/login/passkey", page="/login").status_code == 422
    assert submit(client, "/login/passkey", page="/login", passkey=["a", "b"]).status_code == 422


def test_a_program_gets_the_same_answers(app):
    _, key = owner(app)
    client = app.test_client()
    page = client.get("/login").get_data(as_text=True)
    told = {**PROGRAM, "X-CSRFToken": csrf_token(page)}
    answer = key.get(asked(client, "/login"))
    wrong = client.post("/login/passkey", data={"passkey": "{}"}, headers=told)
    assert (wrong.status_code, wrong.json["detail"]) == (
        401,
        "This passkey was not taken. Try again, or use another way.",
    )
    right = client.post("/login/passkey", data={"passkey": answer}, headers=told)
    assert (right.status_code, right.json) == (200, {"next": "/"})


def test_a_key_that_verified_nobody_is_told_why(app):
    client, key = logged_in(app, "alice"), Authenticator(is_verifying=False)
    enrol(client, key)
    stranger = app.test_client()
    refused = submit(stranger, "/login/passkey", page="/login", passkey=key.get(asked(stranger, "/login")))
    assert refused.status_code == 401
    assert "did not check who uses it" in refused.get_data(as_text=True)


def pending(app, name):
    """Return a client whose login waits for its second factor."""
    client = app.test_client()
    assert submit(client, "/login", username=name, password=PASSWORD).location == "/login/factor"
    return client


@pytest.mark.parametrize("headers", [{}, PROGRAM], ids=["page", "program"])
def test_v7_5_3_nobody_elses_passkey_proves_anything_and_every_try_is_recorded(app, headers):
    """In each place an answer of the other's passkey to my question, and to the question they were asked there."""
    mine, _ = owner(app)
    theirs, key = owner(app, "bob")
    waiting, waits = pending(app, "alice"), pending(app, "bob")
    places = (("/reauthenticate", mine, theirs, 401), ("/login/factor", waiting, waits, 401), (PAGE, mine, theirs, 422))
    for page, client, other, status in places:
        of = key.create if page == PAGE else key.get
        answers = [
            of(asked(other, page)),
            key.get(asked(client, page)) if page != PAGE else key.get(asked(app.test_client(), "/login")),
        ]
        for answer in answers:
            token = csrf_token(client.get(page).get_data(as_text=True))
            told = client.post(page, data={"passkey": answer}, headers={**headers, "X-CSRFToken": token})
            assert told.status_code == status, page
    assert [len(whys(app, kind)) for kind in ("step_up.failed", "login.failed", "factor.refused")] == [2, 2, 2]
    assert waiting.get("/protected").status_code == 302


def test_the_same_passkey_proves_again_and_completes_a_login(app):
    client, key = owner(app)
    done = submit(client, "/reauthenticate", passkey=key.get(asked(client, "/reauthenticate")), next="/fresh")
    assert (done.status_code, done.location) == (303, "/fresh")
    waiting = pending(app, "alice")
    assert submit(waiting, "/login/factor", passkey=key.get(asked(waiting, "/login/factor"))).status_code == 303
    assert waiting.get("/protected").status_code == 200


def test_removing_asks_for_the_password_where_only_the_passkey_was_shown(app):
    _, key = owner(app)
    client = app.test_client()
    submit(client, "/login/passkey", page="/login", passkey=key.get(asked(client, "/login")))
    assert submit(client, f"{PAGE}/1/remove", page=PAGE).status_code == 403
    submit(client, "/reauthenticate", password=PASSWORD)
    assert submit(client, f"{PAGE}/9/remove", page=PAGE).status_code == 404
    assert submit(client, f"{PAGE}/1/remove", page=PAGE).status_code == 303
    assert client.get("/protected").status_code == 200


def test_without_the_feature_there_is_nothing(make_app):
    app = make_app()
    make_person(app, "alice")
    client = logged_in(app, "alice")
    assert client.get(PAGE).status_code == 404
    assert submit(client, PAGE, page="/account/security", passkey="{}").status_code == 404
    assert submit(client, f"{PAGE}/1/rename", page="/account/security", name="x").status_code == 404
    gone = submit(client, f"{PAGE}/1/remove", page="/account/security")
    assert gone.location.startswith("/account/security")  # two factors come first, and she has none
    assert submit(client, "/login/passkey", page="/login", passkey="{}").status_code == 404
    assert client.get("/.well-known/passkey-endpoints").status_code == 404
    page = client.get("/login").get_data(as_text=True)
    assert "passkey" not in page.lower()
    assert "webauthn" not in page


def test_an_address_has_no_passkeys_and_the_page_says_where_there_are_some(app):
    client = app.test_client()
    page = client.get("/login", base_url="http://127.0.0.1").get_data(as_text=True)
    assert "Passkeys work at" in page
    assert not OPTIONS.search(page)


def test_63b_3_1_1_2_19_password_managers_find_where_to_change_and_to_enrol_below_no_prefix(make_app):
    client = make_app(**ON, GATEHOUSE_URL_PREFIX="/auth", GATEHOUSE_ORIGINS=["https://app.example"]).test_client()
    base = "https://app.example"
    change = client.get("/.well-known/change-password", base_url=base)
    assert (change.status_code, change.location) == (302, "/auth/account/password")
    told = client.get("/.well-known/passkey-endpoints", base_url=base)
    where = f"{base}/auth{PAGE}"
    assert (told.status_code, told.content_type, told.json) == (
        200,
        "application/json",
        {"enroll": where, "manage": where},
    )


def test_an_app_with_a_well_known_address_of_its_own_is_told_to_remove_it(make_app):
    app = make_app(lambda app, gate: app.get("/.well-known/change-password")(public(lambda: "mine")))
    with pytest.raises(SetupError, match="remove the app's own"):
        app.test_client().get("/")


@pytest.mark.parametrize("headers", [{}, PROGRAM], ids=["page", "program"])
def test_63b_4_1_2_2_who_has_an_app_and_did_not_show_it_is_asked_for_it_first(make_app, headers):
    app = make_app(GATEHOUSE_FEATURES="passkeys,totp")
    make_person(app, "alice")
    client = logged_in(app, "alice")
    seed = phones.enrol(services_of(app), 1)
    for answer in (client.get(PAGE, headers=headers), submit(client, PAGE, page="/account", passkey="x")):
        if headers and answer.status_code != 302:
            assert (answer.status_code, problem(answer)["type"].rpartition("/")[2]) == (401, "step-up")
        else:
            assert answer.location.startswith("/reauthenticate")
    assert submit(client, "/reauthenticate", code=phones.code_now(app, seed)).status_code == 303
    assert enrol(client, Authenticator()).status_code == 303
