"""A second verified address: it gets what the first one gets, counts once it is proven, and logs nobody in."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from flask_gatehouse.domain.sessions import Issued
from flask_gatehouse.flows import administer, forgot_password, own_addresses, reset_password, verify_email
from flask_gatehouse.flows.outcomes import Refusal, Refused
from flask_gatehouse.flows.own_addresses import AddressAsked
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.identity import CLI
from tests.support import house
from tests.support.house import BY_COMMAND, HERE, source, statements_of
from tests.support.post import PostOffice, token_of

FIRST, SECOND, THIRD = "alice@example.org", "alice@second.example", "alice@third.example"
NEW = "another quiet river"


@pytest.fixture
def home(post, open_house):
    """Return a house that sends mail, with alice in it."""
    made = open_house(GATEHOUSE_MAIL_URL=post.url)
    made.proven()
    return made


def change(home: house.House, email: str) -> object:
    """Let alice change her second address, and wait until the mail has left."""
    outcome = own_addresses.change_second(home.services, home.identity(home.session().secret), email, HERE)
    assert home.rest()
    return outcome


def prove(home: house.House, post: PostOffice, email: str = SECOND) -> None:
    """Let alice have a second address."""
    assert change(home, email) == AddressAsked(email)
    assert verify_email.confirm(home.services, token_of(post.to(email)[-1]), HERE) == 1
    assert home.rest()


def test_63b_4_6_1_a_second_address_counts_once_it_is_proven_and_both_hear_of_it(home, post):
    assert change(home, SECOND) == AddressAsked(SECOND)
    assert own_addresses.asked(home.services, 1) == (None, SECOND)
    assert home.user(1).second_email is None
    assert post.subjects(FIRST) == ["A second e-mail address was asked for at localhost:5000"]
    (mailed,) = post.to(SECOND)
    found = verify_email.find(home.services, token_of(mailed))
    assert found is not None
    assert found.address == SECOND
    assert verify_email.confirm(home.services, token_of(mailed), HERE) == 1
    assert isinstance(verify_email.confirm(home.services, token_of(mailed), HERE), Refused)
    assert home.rest()
    assert home.user(1).verified_addresses == (FIRST, SECOND)
    assert own_addresses.asked(home.services, 1) == (None, None)
    told = "The second e-mail address of alice was changed at localhost:5000"
    assert post.subjects(FIRST)[-1] == post.subjects(SECOND)[-1] == told
    assert home.kinds()[-2:] == ["user.second_email_asked", "user.second_email_changed"]


def test_63b_4_6_1_63b_4_2_3_1_each_event_reaches_both_addresses(home, post):
    prove(home, post)
    post.mails.clear()
    assert isinstance(reset_password.make_temporary(home.services, CLI, "alice"), str)
    assert home.rest()
    assert post.subjects(FIRST) == post.subjects(SECOND) == ["Your password was changed at localhost:5000"]


def test_63b_4_6_1_a_change_or_removal_of_an_address_is_told_to_all_that_were_and_are(home, post):
    prove(home, post)
    post.mails.clear()
    prove(home, post, THIRD)
    told = "The second e-mail address of alice was changed at localhost:5000"
    assert post.subjects(SECOND) == ["A second e-mail address was asked for at localhost:5000", told]
    assert post.subjects(FIRST)[-1] == post.subjects(THIRD)[-1] == told
    post.mails.clear()
    assert change(home, "") is None
    assert home.user(1).second_email is None
    assert post.subjects(FIRST) == post.subjects(THIRD) == [told]
    assert post.subjects(SECOND) == []


def test_v6_3_7_a_change_of_the_first_address_is_told_to_the_second_too(home, post):
    prove(home, post)
    post.mails.clear()
    identity = home.identity(home.session().secret)
    assert own_addresses.change(home.services, identity, THIRD, HERE) == AddressAsked(THIRD)
    assert home.rest()
    assert verify_email.confirm(home.services, token_of(post.to(THIRD)[0]), HERE) == 1
    assert own_addresses.change(home.services, home.identity(home.session().secret), "", HERE) is None
    assert home.rest()
    asked = "Another e-mail address was asked for at localhost:5000"
    changed = "The e-mail address of alice was changed at localhost:5000"
    assert post.subjects(SECOND) == [asked, changed, changed]
    assert post.subjects(FIRST) == [asked, changed]
    assert post.subjects(THIRD)[1:] == [changed, changed]


def test_the_first_address_is_no_second_one_and_one_that_becomes_the_first_is_the_second_no_more(home, post):
    outcome = change(home, FIRST.upper())
    assert isinstance(outcome, Refused)
    assert (outcome.reason, outcome.field) == (Refusal.FIELD, "second_email")
    assert isinstance(change(home, "no address"), Refused)
    prove(home, post)
    assert change(home, SECOND) == SECOND  # nothing changes
    identity = home.identity(home.session().secret)
    assert own_addresses.change(home.services, identity, SECOND, HERE) == AddressAsked(SECOND)
    assert home.rest()
    assert verify_email.confirm(home.services, token_of(post.to(SECOND)[-1]), HERE) == 1
    assert home.user(1).verified_addresses == (SECOND,)


# --- forgotten passwords -----------------------------------------------------------------------------------


def test_63b_4_2_1_2_2_each_verified_address_gets_a_link_of_its_own_and_an_unverified_one_none(home, post):
    change(home, SECOND)
    post.mails.clear()
    ask(home)
    assert (len(post.to(FIRST)), post.to(SECOND)) == (1, [])
    home.later(minutes=2)
    prove(home, post)
    post.mails.clear()
    ask(home)
    first, second = token_of(post.to(FIRST)[0]), token_of(post.to(SECOND)[0])
    assert first != second
    assert reset_password.find(home.services, first) == reset_password.find(home.services, second) == "alice"
    assert reset_password.complete(home.services, second, NEW, HERE) == 1
    assert isinstance(reset_password.complete(home.services, first, NEW, HERE), Refused)
    assert isinstance(home.log_in(password=NEW), Issued)


def ask(home: house.House, name: str = "alice", number: int = 1) -> None:
    """Say that the password is forgotten, and wait until the mail has left."""
    assert forgot_password.ask(home.services, name, source(f"198.51.100.{number}")) is None
    assert home.rest()


@pytest.mark.parametrize("end", ["removed", "replaced", "closed"])
def test_rule_31_a_link_that_an_address_got_dies_with_the_address(home, post, end):
    prove(home, post)
    post.mails.clear()
    ask(home)
    link = token_of(post.to(SECOND)[0])
    if end == "removed":
        assert change(home, "") is None
    elif end == "replaced":
        prove(home, post, THIRD)
    else:
        assert administer.close(home.services, BY_COMMAND, 1)
        assert home.user(1).second_email is None
    assert reset_password.find(home.services, link) is None
    assert isinstance(reset_password.complete(home.services, link, NEW, HERE), Refused)


def test_rule_09_asking_costs_the_same_statements_with_a_second_address_or_without_or_for_nobody(home, post):
    home.proven("bob")
    prove(home, post)
    home.services.postman.retire(10)
    ask(home, "warm", 2)
    seen = []
    for number, name in enumerate(("alice", "bob", "nobody"), 3):
        with statements_of(home) as noted:
            ask(home, name, number)
        seen.append(noted.texts)
    assert seen[0] == seen[1] == seen[2]
    assert home.rows(sa.select(sa.func.count()).where(schema.mail.c.user_id.is_not(None)))[0][0] == 3


def test_a_second_address_logs_nobody_in_and_blocks_nobody(post, open_house):
    home = open_house(GATEHOUSE_MAIL_URL=post.url, GATEHOUSE_LOGIN_NAME="both")
    home.proven()
    prove(home, post)
    assert isinstance(home.log_in(SECOND), Refused)
    assert home.proven("bob", email=SECOND) == 2
    assert home.identity(home.session(SECOND).secret).username == "bob"


def test_without_mail_there_is_no_second_address(open_house):
    home = open_house()
    home.person(email=FIRST)
    outcome = own_addresses.change_second(home.services, home.identity(home.session().secret), SECOND, HERE)
    assert isinstance(outcome, Refused)
    assert outcome.field == "second_email"
