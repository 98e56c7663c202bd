"""An e-mail address counts once it is confirmed: by a link, mailed to that very address, used once."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from flask_gatehouse.domain import mail, throttle
from flask_gatehouse.domain.mail import Letter
from flask_gatehouse.domain.sessions import Session
from flask_gatehouse.flows import own_addresses, own_password, register, verify_email
from flask_gatehouse.flows import post as posting
from flask_gatehouse.flows.outcomes import Refusal, Refused
from flask_gatehouse.flows.own_addresses import AddressAsked
from flask_gatehouse.kernel import schema
from tests.support import house
from tests.support.house import HERE, PASSWORD, source
from tests.support.post import PostOffice, part, token_of
from tests.support.visitor import csrf_token, submit

ALICE, NEW = "alice@example.org", "new@example.org"


@pytest.fixture
def home(post, open_house):
    """Return a house that sends mail."""
    return open_house(GATEHOUSE_MAIL_URL=post.url, GATEHOUSE_ORIGINS="http://localhost")


def change(home: house.House, address: str, name: str = "alice") -> object:
    """Change the address of a user, and wait until the mail has left."""
    identity = home.identity(home.session(name).secret)
    outcome = own_addresses.change(home.services, identity, address, HERE)
    assert home.rest()
    return outcome


def link_to(home: house.House, post: PostOffice, address: str = NEW) -> str:
    """Ask for another address and return the secret that was mailed there."""
    assert change(home, address) == AddressAsked(address)
    return token_of(post.to(address)[-1])


def confirm(home: house.House, link: str) -> int | Refused:
    """Use a link, and wait until the mail has left."""
    outcome = verify_email.confirm(home.services, link, HERE)
    assert home.rest()
    return outcome


def reason(outcome: object) -> Refusal | None:
    """Return why a flow refused, None where it did not."""
    return outcome.reason if isinstance(outcome, Refused) else None


def address_of(home: house.House, user_id: int) -> tuple[str | None, bool]:
    """Return a user's address, and whether it is verified."""
    found = home.user(user_id)
    return found.email, found.is_email_verified


# --- registration ------------------------------------------------------------------------------------------


def test_who_registers_with_an_address_gets_a_link_that_verifies_it(home, post):
    client = home.app.test_client()
    fields = {"username": "alice", "email": ALICE, "password": PASSWORD, "confirm": PASSWORD}
    assert submit(client, "/register", **fields).status_code == 303
    assert home.rest()
    (message,) = post.to(ALICE)
    path = f"/verify-email/{token_of(message)}"
    assert f"http://localhost{path}" in part(message, "html")
    (alice,) = home.rows(sa.select(schema.user.c.id))[0]
    assert address_of(home, alice) == (ALICE, False)
    for _ in range(2):  # GET and HEAD consume nothing
        assert client.get(path).status_code == client.head(path).status_code == 200
    assert ALICE in client.get(path).text
    assert address_of(home, alice) == (ALICE, False)
    answer = submit(client, path)
    assert (answer.status_code, answer.location) == (303, "/login")
    assert address_of(home, alice) == (ALICE, True)
    assert client.get("/protected").status_code == 302  # nobody is logged in
    assert client.get(path).status_code == 410
    assert [entry.user_id for entry in home.events("user.email_verified")] == [alice]


def test_rule_08_a_mailbox_is_not_filled_by_registering(home):
    def one(number: int) -> object:
        new = register.NewUser(f"name{number}", PASSWORD, ALICE)
        return register.register(home.services, new, source(f"198.51.100.{number}"), may_claim=False)

    seen = [reason(one(number)) for number in range(throttle.ADDRESS.per_target + 1)]
    assert seen == [None] * throttle.ADDRESS.per_target + [Refusal.THROTTLED]


# --- another address ---------------------------------------------------------------------------------------


def test_v6_3_7_the_new_address_counts_once_it_is_confirmed_and_the_old_one_is_told_twice(home, post):
    alice = home.proven()
    link = link_to(home, post)
    assert address_of(home, alice) == (ALICE, True)
    assert post.subjects(ALICE) == ["Another e-mail address was asked for at localhost"]
    assert NEW not in part(post.to(ALICE)[0], "plain")
    assert own_addresses.asked(home.services, alice) == (NEW, None)
    assert confirm(home, link) == alice
    assert address_of(home, alice) == (NEW, True)
    assert own_addresses.asked(home.services, alice) == (None, None)
    assert (
        post.subjects(ALICE)[1:] == post.subjects(NEW)[1:] == ["The e-mail address of alice was changed at localhost"]
    )
    assert home.kinds()[-2:] == ["user.email_verified", "user.email_changed"]


def test_rule_31_an_unverified_address_is_told_nothing(home, post):
    home.person(email=ALICE)
    confirm(home, link_to(home, post))
    assert post.to(ALICE) == []


def test_the_same_address_asks_for_its_confirmation_again_and_a_verified_one_changes_nothing(home, post):
    alice = home.person(email=ALICE)
    assert change(home, ALICE) == AddressAsked(ALICE)
    assert confirm(home, token_of(post.to(ALICE)[-1])) == alice
    before = len(post.mails), len(home.events())
    identity = home.identity(home.session().secret)
    assert own_addresses.change(home.services, identity, ALICE, HERE) == ALICE
    assert home.rest()
    assert len(post.mails) == before[0]
    assert home.count(schema.mail) == 0


def test_an_address_that_is_removed_is_told_and_waits_for_nothing(home, post):
    alice = home.proven()
    link = link_to(home, post)
    assert change(home, "") is None
    assert address_of(home, alice) == (None, False)
    assert post.subjects(ALICE)[-1] == "The e-mail address of alice was changed at localhost"
    assert reason(confirm(home, link)) is Refusal.GONE


def test_without_mail_an_address_is_stored_unverified(open_house):
    silent = open_house()
    alice = silent.person()
    assert change(silent, NEW) == NEW
    assert address_of(silent, alice) == (NEW, False)


def test_v6_3_8_an_address_of_another_user_is_asked_for_alike_and_its_owner_hears_of_it(home, post):
    home.proven("bob")
    alice = home.person()
    assert change(home, "BOB@example.org") == AddressAsked("BOB@example.org")
    assert change(home, "nobody@example.org") == AddressAsked("nobody@example.org")
    (told,) = post.to("BOB@example.org")
    assert told["Subject"] == "Your e-mail address was given at localhost"
    assert "verify-email" not in told.as_string()
    assert address_of(home, alice) == (None, False)


def test_rule_31_an_unverified_address_blocks_nobody_and_the_first_to_confirm_has_it(home, post):
    alice, bob = home.person(), home.person("bob", email=NEW)
    for name in ("alice", "bob"):
        assert change(home, NEW, name) == AddressAsked(NEW)
    first, second = [token_of(message) for message in post.to(NEW)]
    assert confirm(home, second) == bob
    outcome = confirm(home, first)
    assert isinstance(outcome, Refused)
    assert (outcome.reason, outcome.field) == (Refusal.FIELD, "email")
    assert (address_of(home, alice), address_of(home, bob)) == ((None, False), (NEW, True))
    assert home.events("user.email_verified")[-1].outcome == "refused"


def test_rule_31_a_newer_link_kills_the_older_one_and_each_is_bound_to_its_address(home, post):
    alice = home.proven()
    older = link_to(home, post, "older@example.org")
    newer = link_to(home, post, NEW)
    assert reason(confirm(home, older)) is Refusal.GONE
    assert confirm(home, newer) == alice
    assert address_of(home, alice) == (NEW, True)


def test_rule_31_a_link_for_a_password_dies_when_the_address_changes(home, post):
    alice = home.proven()
    verify = link_to(home, post)
    with home.services.unit() as unit:
        unit.post(Letter(mail.RESET, alice, ALICE, {"epoch": 0}))
    assert home.rest()
    assert home.count(schema.link) == 2
    assert confirm(home, verify) == alice
    assert home.count(schema.link) == 0


def _by_time(home: house.House, _alice: int) -> None:
    home.later(hours=24)


def _by_password(home: house.House, _alice: int) -> None:
    secret = home.session().secret
    assert own_password.change(home.services, home.identity(secret), secret, PASSWORD, "a third river", HERE)


def _by_suspension(home: house.House, _alice: int) -> None:
    home.change(sa.update(schema.user).values(state="suspended"))


@pytest.mark.parametrize("death", [_by_time, _by_password, house.end_all, _by_suspension])
def test_rule_31_a_link_that_verifies_dies_too(home, post, death):
    alice = home.proven()
    link = link_to(home, post)
    assert verify_email.find(home.services, link)
    death(home, alice)
    assert verify_email.find(home.services, link) is None
    assert reason(confirm(home, link)) is Refusal.GONE
    assert address_of(home, alice) == (ALICE, True)


def test_63b_4_2_1_2_1_a_link_that_verifies_lives_for_a_day(home, post):
    home.proven()
    link = link_to(home, post)
    home.later(hours=23, minutes=59)
    assert verify_email.find(home.services, link)


def test_rule_31_the_links_of_one_purpose_serve_no_other(home, post):
    home.proven()
    link = link_to(home, post)
    client = home.app.test_client()
    assert client.get(f"/reset-password/{link}").status_code == 410
    assert client.get(f"/verify-email/{link}").status_code == 200


def test_rule_08_v2_4_1_confirming_has_a_bucket(home):
    seen = [reason(verify_email.confirm(home.services, "x" * 43, HERE)) for _ in range(throttle.VERIFY.per_target + 1)]
    assert seen == [Refusal.GONE] * throttle.VERIFY.per_target + [Refusal.THROTTLED]


def test_rule_08_a_strangers_mailbox_is_not_filled_from_an_account(home, post):
    home.proven()
    identity = home.identity(home.session().secret)
    seen = [own_addresses.change(home.services, identity, NEW, source(f"198.51.100.{one}")) for one in range(4)]
    assert [reason(outcome) for outcome in seen] == [None] * 3 + [Refusal.THROTTLED]


def _confirm(here: house.House, number: int, link: str) -> str:
    outcome = verify_email.confirm(here.services, link, source(f"10.0.0.{number}"))
    return outcome.reason.name if isinstance(outcome, Refused) else "confirmed"


def test_rule_31_v2_3_4_fifty_uses_of_a_verify_link_over_two_processes_confirm_once(crowd, home, post):
    alice = home.proven()
    outcomes = crowd.rush(_confirm, home, 50, link_to(home, post), GATEHOUSE_THROTTLE="off")
    assert sorted(outcomes) == ["GONE"] * 49 + ["confirmed"]
    assert address_of(home, alice) == (NEW, True)
    assert len(home.events("user.email_verified")) == 1


def _confirm_own(here: house.House, number: int, links: list[str]) -> str:
    return _confirm(here, number, links[number])


def test_rule_31_one_address_asked_for_by_many_becomes_that_of_one(crowd, home, post):
    home.services.postman.retire(10)
    ids = [home.person(f"user{number}") for number in range(10)]
    for user_id in ids:
        with home.services.unit() as unit:
            unit.post(Letter(mail.VERIFY, user_id, NEW, {"epoch": 0}))
    posting.deliver(home.services)
    links = [token_of(message) for message in post.to(NEW)]
    outcomes = crowd.rush(_confirm_own, home, 10, links, GATEHOUSE_THROTTLE="off")
    assert sorted(outcomes) == ["FIELD"] * 9 + ["confirmed"]


# --- pages -------------------------------------------------------------------------------------------------


def test_v7_5_1_the_page_shows_what_waits_and_asks_for_a_fresh_proof(home, post):
    home.proven()
    client = home.app.test_client()
    submit(client, "/login", username="alice", password=PASSWORD)
    answer = submit(client, "/account", email=NEW)
    assert (answer.status_code, answer.location) == (303, "/account")
    assert home.rest()
    shown = client.get("/account").text
    assert "A link was mailed to new@example.org" in shown
    assert "To be confirmed" in shown
    assert ">verified<" in shown
    path = f"/verify-email/{token_of(post.to(NEW)[0])}"
    assert submit(client, path).location == "/account"
    assert NEW in client.get("/account").text
    home.later(minutes=11)
    token = csrf_token(client.get("/account").text)
    assert "/reauthenticate" in client.post("/account", data={"email": ALICE, "csrf_token": token}).location


def test_a_program_is_told_what_waits(home):
    home.proven()
    client = home.app.test_client()
    submit(client, "/login", username="alice", password=PASSWORD)
    fields = {"email": NEW, "csrf_token": csrf_token(client.get("/account").text)}
    answer = client.post("/account", data=fields, headers={"Accept": "application/json"})
    assert (answer.status_code, answer.json) == (202, {"next": "/account", "asked": NEW})


def test_an_address_that_was_taken_meanwhile_is_told_on_the_page(home, post):
    home.person()
    link = link_to(home, post)
    home.proven("bob", NEW)
    client = home.app.test_client()
    answer = submit(client, f"/verify-email/{link}")
    assert answer.status_code == 422
    assert "another account" in answer.text


def test_a_verified_address_stays_with_a_session_that_is_loaded(home):
    home.proven()
    found = home.load(home.session().secret)
    assert isinstance(found, Session)
    assert found.identity.email == ALICE
