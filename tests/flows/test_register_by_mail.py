"""Registration with an e-mail address: nobody learns whose it is, and nobody is in before it is confirmed."""

from __future__ import annotations

import re

import pytest
import sqlalchemy as sa

from flask_gatehouse.domain.sessions import Issued
from flask_gatehouse.flows import own_addresses, register, verify_email
from flask_gatehouse.flows.login import Attempt, vouched
from flask_gatehouse.flows.outcomes import Refusal, Refused
from flask_gatehouse.kernel import schema
from tests.support import house
from tests.support.house import HERE, PASSWORD, WRONG, source, statements_of
from tests.support.post import part, token_of
from tests.support.visitor import csrf_token, submit

BOB, NEW = "bob@example.org", "new@example.org"


@pytest.fixture(params=["email", "both"])
def home(request, post, open_house):
    """Return a house whose people log in with their address."""
    told = {"GATEHOUSE_LOGIN_NAME": request.param, "GATEHOUSE_ORIGINS": "http://localhost"}
    return open_house(GATEHOUSE_MAIL_URL=post.url, **told)


def name_for(home: house.House, number: int = 0) -> str:
    """Return the name that somebody registers with."""
    return f"name{number}" if home.services.settings.login_name == "both" else ""


def sign_up(home: house.House, email: str, number: int = 0) -> object:
    """Register, and wait until the mail has left."""
    new = register.NewUser(name_for(home, number), PASSWORD, email)
    outcome = register.register(home.services, new, source(f"198.51.100.{number}"), may_claim=False)
    assert home.rest()
    return outcome


def test_v6_3_8_registering_a_taken_address_costs_the_same_statements_as_a_free_one(home):
    home.proven("bob")
    home.services.postman.retire(10)
    seen, hashes = [], house.hashes_of(home)
    for number, address in enumerate(("warm@example.org", BOB, "BOB@example.org", NEW)):
        with statements_of(home) as noted:
            assert not isinstance(sign_up(home, address, number), Refused)
        seen.append(noted.texts)
    assert seen[1] == seen[2] == seen[3]
    assert hashes == ["hash"] * 4


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
@pytest.mark.parametrize("is_up", [True, False])
def test_v6_3_8_a_taken_address_is_answered_like_a_free_one_mail_up_or_down(home, post, accept, is_up):
    home.proven("bob")
    if not is_up:
        post.close()
    seen = {_answer(home, number, address, accept) for number, address in enumerate((BOB, NEW))}
    assert len(seen) == 1
    assert seen.pop()[0] == (303 if accept == "text/html" else 201)


def _answer(home: house.House, number: int, address: str, accept: str) -> tuple[object, ...]:
    client = home.app.test_client()
    fields = {"email": address, "password": PASSWORD, "confirm": PASSWORD, "username": f"name{number}"}
    fields |= {"csrf_token": csrf_token(client.get("/register").text)}
    answer = client.post("/register", data=fields, headers={"Accept": accept})
    cookies = tuple(sorted(cookie.partition("=")[0] for cookie in answer.headers.getlist("Set-Cookie")))
    headers = {f"{key}: {value}" for key, value in answer.headers if key != "Set-Cookie"}
    shown = client.get("/login").text.replace(address, "an address")
    return (
        answer.status_code,
        answer.text,
        tuple(sorted(re.sub("nonce-[^ ;]*", "", header) for header in headers)),
        cookies,
        re.sub(r'value="[^"]*"|nonce="[^"]*"', "", shown),
    )


def test_v6_3_8_the_owner_of_a_taken_address_gets_a_mail_and_nobody_gets_in(home, post):
    bob = home.proven("bob")
    created = sign_up(home, BOB)
    assert not isinstance(created, Refused)
    (told,) = post.to(BOB)
    assert told["Subject"] == "Your e-mail address was given at localhost"
    assert "bob" in part(told, "plain")
    assert "/verify-email/" not in told.as_string()  # what its row in the database stands for, nobody was given
    assert home.user(bob).email == BOB
    assert home.rows(sa.select(schema.user.c.email_key).order_by(schema.user.c.id)) == [("bob@example.org",), (None,)]


def test_nobody_logs_in_before_the_address_is_confirmed_and_then_with_it(home, post):
    created = sign_up(home, NEW)
    assert not isinstance(created, Refused)
    for name in (NEW, getattr(created, "username", "")):
        outcome = home.log_in(name)
        assert isinstance(outcome, Refused)
        assert outcome.reason is Refusal.CREDENTIALS
    (row,) = home.rows(sa.select(schema.user.c.id, schema.user.c.username))
    assert isinstance(vouched(home.services, row.id, Attempt(HERE), is_fresh=True), Refused)
    assert verify_email.confirm(home.services, token_of(post.to(NEW)[0]), HERE) == row.id
    for name in (NEW, "New@Example.org", row.username):
        assert isinstance(home.log_in(name), Issued)


def test_rule_09_an_unconfirmed_user_is_answered_with_the_work_of_an_unknown_address(home):
    sign_up(home, NEW)
    home.services.postman.retire(10)
    home.log_in("warm@example.org", WRONG)
    seen = []
    for name, password in (("nobody@example.org", WRONG), (NEW, PASSWORD), (NEW, WRONG)):
        hashes = house.hashes_of(home)
        with statements_of(home) as noted:
            outcome = home.log_in(name, password, address="198.51.100.9")
        seen.append((outcome, len(hashes), [text.split(None, 1)[0] for text in noted.texts]))
    assert seen[0][:2] == seen[1][:2] == seen[2][:2]
    assert seen[1] == (seen[1][0], 1, seen[0][2])


def test_rule_31_an_unverified_address_neither_logs_in_nor_blocks_anothers(home, post):
    home.person("carol", email=NEW)
    assert isinstance(home.log_in(NEW), Refused)
    assert not isinstance(sign_up(home, NEW), Refused)
    assert isinstance(verify_email.confirm(home.services, token_of(post.to(NEW)[0]), HERE), int)
    assert isinstance(home.log_in(NEW), Issued)
    assert home.identity(home.session(NEW).secret).username != "carol"


def test_an_address_is_needed_and_may_be_any_case(home):
    outcome = sign_up(home, "")
    assert isinstance(outcome, Refused)
    assert outcome.field == "email"
    assert home.count(schema.user) == 0


def test_an_address_opens_nothing_where_names_alone_are_typed(post, open_house):
    names = open_house(GATEHOUSE_MAIL_URL=post.url)
    names.proven("bob")
    assert isinstance(names.log_in(BOB), Refused)
    assert isinstance(names.log_in("bob"), Issued)


def test_the_pages_ask_for_what_the_setting_says(home):
    client = home.app.test_client()
    has_name = home.services.settings.login_name == "both"
    assert ('name="username"' in client.get("/register").text) is has_name
    assert ("Login name or e-mail address" if has_name else "E-mail address") in client.get("/login").text
    fields = {"username": "dora"} if has_name else {}
    answer = submit(client, "/register", password=PASSWORD, confirm=PASSWORD, email="", **fields)
    assert answer.status_code == 422
    answer = submit(client, "/register", password=PASSWORD, confirm=PASSWORD, email=NEW, **fields)
    assert (answer.status_code, answer.location) == (303, "/login")
    assert "open it to confirm your address" in client.get("/login").text


def test_an_administrator_sees_why_such_a_user_cannot_log_in(home):
    sign_up(home, NEW)
    home.proven("root", roles=["admin"])
    (row,) = home.rows(sa.select(schema.user.c.id).where(schema.user.c.must_verify))
    client = home.app.test_client()
    submit(client, "/login", username="root", password=PASSWORD)
    assert "The e-mail address is not confirmed." in client.get(f"/admin/users/{row.id}").text


def test_the_address_that_one_logs_in_with_is_not_removed(home):
    home.proven("bob")
    outcome = own_addresses.change(home.services, home.identity(home.session(BOB).secret), "", HERE)
    assert isinstance(outcome, Refused) is (home.services.settings.login_name == "email")
