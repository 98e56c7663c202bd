"""A password that somebody else knows: marked, it proves nothing anywhere, and only a link gets its user in again."""

from __future__ import annotations

import pytest

from flask_gatehouse.domain import devices, passwords
from flask_gatehouse.domain.sessions import Gone, Issued
from flask_gatehouse.flows import administer, forgot_password, login, own_password, reset_password, second_step, step_up
from flask_gatehouse.flows.opening import Attempt
from flask_gatehouse.flows.outcomes import FactorDue, Refusal, Refused
from flask_gatehouse.flows.reset_password import MARKED
from flask_gatehouse.kernel.identity import CLI
from tests.flows.test_totp import ON, Phone
from tests.support import house
from tests.support.house import BY_COMMAND, HERE, PASSWORD, WRONG, statements_of
from tests.support.post import LINK, part

NEW = "another quiet river"


def mark(home: house.House, user_id: int) -> None:
    """Mark a password as compromised."""
    assert administer.mark_compromised(home.services, BY_COMMAND, user_id)


def refusal(outcome: object) -> tuple[Refusal, str, str]:
    """Return what a flow refused."""
    assert isinstance(outcome, Refused)
    return outcome.reason, outcome.field, outcome.text


def link_of(home: house.House) -> str:
    """Make a link as an operator does."""
    made = reset_password.make_link(home.services, CLI, "alice")
    assert isinstance(made, str)
    return made


def test_v6_2_10_63b_3_1_1_2_09_a_marked_password_opens_nothing_until_another_is_chosen(home):
    alice, cookie = home.person(), devices.new(home.services.keys)
    browser = home.session(spare=cookie).device
    earlier = link_of(home)
    mark(home, alice)
    for known in ("", browser):  # a known browser is known no more: it may be the thief's
        assert refusal(home.log_in(device=known)) == refusal(home.log_in(password=WRONG, device=known))
    assert reset_password.find(home.services, earlier) is None
    link = link_of(home)
    again = reset_password.complete(home.services, link, PASSWORD, HERE)
    assert refusal(again) == (Refusal.FIELD, "password", MARKED)
    assert reset_password.complete(home.services, link, NEW, HERE) == alice
    assert isinstance(home.log_in(password=NEW), Issued)
    assert reset_password.complete(home.services, link_of(home), PASSWORD, HERE) == alice  # no history is kept


def test_v6_2_10_at_the_mark_every_session_ends_and_the_log_says_why(home):
    alice = home.person()
    session = home.session()
    mark(home, alice)
    assert home.load(session.secret) is Gone.UNKNOWN
    mark(home, alice)  # once more changes nothing, and is not recorded
    told = [(event.user_id, event.actor) for event in home.events("password.compromised")]
    assert told == [(alice, "cli")]
    assert home.details("password.compromised") == [{"reason": "a test", "sessions_ended": [session.public_id]}]


def test_v6_2_10_a_login_that_waits_for_its_second_factor_ends_with_the_mark(open_house):
    home = open_house(**ON)
    phone = Phone(home)
    due = home.log_in()
    assert isinstance(due, FactorDue)
    mark(home, phone.user_id)
    ended = second_step.answer(home.services, due.pending.secret, "code", "000000", Attempt(HERE))
    assert refusal(ended)[0] is Refusal.GONE
    assert isinstance(home.log_in(), Refused)  # not even the second step


def test_v6_2_10_inside_by_another_way_the_marked_password_proves_nothing(home):
    alice = home.person()
    mark(home, alice)
    issued = login.vouched(home.services, alice, Attempt(HERE), is_fresh=True)
    assert isinstance(issued, Issued)
    identity, held = home.identity(issued.secret), home.services
    assert refusal(step_up.prove(held, identity, issued.secret, PASSWORD, HERE))[0] is Refusal.CREDENTIALS
    changed = own_password.change(held, identity, issued.secret, PASSWORD, NEW, HERE)
    assert refusal(changed)[:2] == (Refusal.FIELD, "current")
    assert refusal(changed) == refusal(own_password.change(held, identity, issued.secret, WRONG, NEW, HERE))


@pytest.mark.parametrize("is_marked", [False, True])
def test_rule_09_asking_for_a_link_costs_the_same_whether_the_password_is_marked(home, is_marked):
    alice = home.proven()
    if is_marked:
        mark(home, alice)
    with statements_of(home) as noted:
        assert forgot_password.ask(home.services, "alice", HERE) is None
    with statements_of(home) as expected:
        assert forgot_password.ask(home.services, "nobody", HERE) is None
    assert noted.texts == expected.texts


def test_v6_3_7_v6_2_10_the_owner_is_told_and_gets_in_by_the_mailed_link(post, open_house):
    home = open_house(GATEHOUSE_MAIL_URL=post.url)
    alice = home.proven()
    mark(home, alice)
    assert home.rest()
    (notice,) = post.to("alice@example.org")
    assert "somebody else may know it" in part(notice, "plain")
    assert LINK.search(part(notice, "plain")) is None
    assert forgot_password.ask(home.services, "alice", HERE) is None
    assert home.rest()
    link = LINK.search(part(post.to("alice@example.org")[-1], "plain"))
    assert link is not None
    assert reset_password.complete(home.services, link[1], NEW, HERE) == alice
    assert isinstance(home.log_in(password=NEW), Issued)


def test_v6_2_10_a_temporary_password_does_not_bring_the_marked_one_back(home):
    alice = home.person()
    mark(home, alice)
    outcome = reset_password.make_temporary(home.services, CLI, "alice")
    assert refusal(outcome) == (Refusal.FIELD, "temporary", reset_password.NO_TEMPORARY)
    again = reset_password.complete(home.services, link_of(home), PASSWORD, HERE)
    assert refusal(again) == (Refusal.FIELD, "password", reset_password.MARKED)


def test_there_must_be_a_password_to_mark(home):
    alice = home.person()
    with home.services.database.unit() as connection:
        passwords.forget(connection, alice)
    outcome = administer.mark_compromised(home.services, BY_COMMAND, alice)
    assert refusal(outcome) == (Refusal.FIELD, "password", administer.NO_PASSWORD)
    temporary = reset_password.make_temporary(home.services, CLI, "alice")
    mark(home, alice)
    assert isinstance(home.log_in(password=str(temporary)), Refused)
