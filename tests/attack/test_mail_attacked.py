"""Mail attacked: one address that stops all others, addresses that are two, links and pages that tell whose one is."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from flask_gatehouse.domain import users
from flask_gatehouse.domain.mail import Letter
from flask_gatehouse.domain.mail.transport import Envelope, RejectedError, message_of
from flask_gatehouse.flows import own_addresses, register, verify_email
from flask_gatehouse.flows import post as posting
from flask_gatehouse.flows.own_addresses import AddressAsked
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.errors import InvalidEmail
from tests.architecture.source import templates
from tests.support import house
from tests.support.house import HERE, PASSWORD, source
from tests.support.post import part, token_of
from tests.support.visitor import csrf_token, submit

NOTICE = "new_browser"


@pytest.fixture
def home(post, open_house):
    """Return a house that sends mail."""
    return open_house(GATEHOUSE_MAIL_URL=post.url, GATEHOUSE_ORIGINS="http://localhost")


def asked(home: house.House, name: str, address: str) -> None:
    """Ask for another address, and wait until the mail has left."""
    identity = home.identity(home.session(name).secret)
    assert own_addresses.change(home.services, identity, address, HERE) == AddressAsked(address)
    assert home.rest()


def test_v2_4_1_addresses_that_the_server_takes_later_do_not_hold_up_the_mail_of_others(home, post):
    """A server that does not find a domain says 450: whoever registers with a few such stops nobody's mail."""
    home.services.postman.retire(10)
    alice = home.proven()
    for number in range(4 * posting.FAILURES_IN_A_ROW):
        address = f"x{number}@nowhere.example"
        post.answers[address] = "450 4.1.2 Domain not found"
        new = register.NewUser(f"name{number}", PASSWORD, address)
        register.register(home.services, new, source(f"198.51.100.{number}"), may_claim=False)
    with home.services.unit() as unit:
        unit.post(Letter(NOTICE, alice))
    told = posting.deliver(home.services)
    assert (told.sent, told.failed, told.is_down) == (1, 4 * posting.FAILURES_IN_A_ROW, False)
    assert post.recipients == ["alice@example.org"]


@pytest.mark.parametrize(
    "address",
    [
        "=?x?q?bob?=@example.org",
        "=?utf-8?q?bob=40elsewhere.example=2C?=@example.org",
        "=?utf-8?b?Ym9iQGVsc2V3aGVyZS5leGFtcGxlLA==?=@example.org",
        "=?utf-8?q?=0a?=@example.org",
        "b=?x@example.org",
        "bob@example.org.",
        "bob@.example.org",
        "bob@-example.org",
        "bob@example-.org",
    ],
)
def test_v1_3_11_an_address_is_one_mailbox_as_it_is_written_and_no_other(address):
    """An encoded word is decoded on its way into a header: the mail went elsewhere than the row says."""
    with pytest.raises(InvalidEmail):
        users.require_email(address)
    assert users.email_key(address) is None


@pytest.mark.parametrize("address", ["=?x?q?bob?=@example.org", "=?utf-8?q?=0a?=@example.org", "bob@example.org."])
def test_v1_3_11_a_row_that_is_older_than_this_rule_sends_no_mail_elsewhere(address):
    with pytest.raises(RejectedError):
        message_of(Envelope(address, "a subject", "words", "<p>words</p>"), "no-reply@app.example")


@pytest.mark.parametrize("address", ["bob@example.org", "o'neil+x@mail.example.org", "é@xn--bcher-kva.org"])
def test_an_address_that_is_one_is_written_as_it_is(address):
    assert users.require_email(address) == address
    assert str(message_of(Envelope(address, "a", "b", "c"), "no-reply@app.example")["To"]) == address


def test_v6_3_8_who_asks_for_an_address_does_not_learn_whether_it_is_anothers(home, post):
    """Page and older link said so: of a free address a link was there, of a taken one none."""
    home.proven("bob")
    alice = home.person()
    seen = []
    for address in ("bob@example.org", "free@example.org"):
        asked(home, "alice", "own@example.org")
        own = token_of(post.to("own@example.org")[-1])
        asked(home, "alice", address)
        waiting = own_addresses.asked(home.services, alice).first == address
        older = verify_email.find(home.services, own)
        home.later(hours=24)
        seen.append((waiting, older, own_addresses.asked(home.services, alice).first))
    assert seen == [(True, None, None)] * 2


def test_v1_3_11_what_strangers_call_their_browser_stands_in_no_mail(home, post):
    """Who knows the password or holds a session, and no more, would have the site itself mail a link of theirs."""
    alice, agent = home.proven(), "https://app.example.evil.example/confirm"
    mails = {name.rpartition("/mail/")[2].removesuffix(".txt"): text for name, text in templates().items()}
    names = [name for name, text in mails.items() if "{{ from_where" in text or "browser|" in text]
    assert {"new_browser", "alarm_raised", "second_email_asked"} <= set(names)
    with home.services.unit() as unit:
        for name in names:
            unit.post(Letter(name, alice, facts={"browser": agent, "wrong": 5, "last": "then"}))
    assert home.rest()
    assert len(post.mails) == len(names)
    assert not [mail for mail in post.mails if "evil" in part(mail, "plain") + part(mail, "html")]


def test_v2_2_1_an_address_is_not_removed_by_a_form_that_does_not_name_it(home):
    """A program that sends JSON sends no form at all."""
    alice = home.proven()
    client = home.app.test_client()
    submit(client, "/login", username="alice", password=PASSWORD)
    token = {"X-CSRFToken": csrf_token(client.get("/account").text)}
    assert client.post("/account", json={"email": "new@example.org"}, headers=token).status_code == 422
    assert home.user(alice).email == "alice@example.org"
    assert client.post("/account", data={"email": ""}, headers=token).status_code == 303
    assert home.user(alice).email is None


def test_v16_5_2_a_row_that_cannot_be_read_stops_no_other_mail_and_goes_in_the_end(home, post, caplog):
    home.services.postman.retire(10)
    alice = home.proven()
    with home.services.unit() as unit:
        for _ in range(2):
            unit.post(Letter(NOTICE, alice))
    first = sa.select(sa.func.min(schema.mail.c.id)).scalar_subquery()
    home.change(sa.update(schema.mail).where(schema.mail.c.id == first).values(detail="{"))
    for sent, failed in ((1, 1), (0, 0)):
        told = posting.deliver(home.services)
        assert (told.sent, told.failed) == (sent, failed)
    assert "cannot be looked after: JSONDecodeError" in caplog.text
    home.later(hours=73)
    assert posting.deliver(home.services).failed == 1
    assert home.count(schema.mail) == 0
    assert len(post.mails) == 1


def test_rule_31_a_mail_that_was_held_up_does_not_kill_the_link_that_was_asked_for_after_it(home, post):
    alice = home.proven()
    post.answers["mistyped@exampel.example"] = "450 4.1.2 Domain not found"
    asked(home, "alice", "mistyped@exampel.example")
    asked(home, "alice", "right@example.org")
    home.later(hours=1)
    posting.deliver(home.services)
    assert verify_email.confirm(home.services, token_of(post.to("right@example.org")[-1]), HERE) == alice


def test_a_server_that_ends_the_connection_at_one_mail_gets_the_next_over_another(home, post):
    home.services.postman.retire(10)
    ids = [home.proven(name) for name in ("alice", "bob")]
    with home.services.unit() as unit:
        for user_id in ids:
            unit.post(Letter(NOTICE, user_id))
    post.answers["alice@example.org"] = "421 4.7.0 too many errors"
    told = posting.deliver(home.services)
    assert (told.sent, told.failed, told.is_down) == (1, 1, False)
    assert post.recipients == ["bob@example.org"]
