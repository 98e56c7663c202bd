"""What people inside do about their own account: prove again, another password, another address, end sessions."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from flask_gatehouse.domain.sessions import Issued, Session
from flask_gatehouse.flows import administer, own_addresses, own_password, reset_password, revoke, step_up
from flask_gatehouse.flows.outcomes import Refusal, Refused
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.identity import CLI, KNOWS, Proof
from tests.support import house
from tests.support.house import BY_COMMAND, HERE, PASSWORD, WRONG

NEW = "another quiet river"


@pytest.fixture
def alice(home):
    """Return the id of a user."""
    return home.person()


def prove(home: house.House, secret: str, password: str = PASSWORD) -> Issued | Refused:
    """Prove the password again."""
    return step_up.prove(home.services, home.identity(secret), secret, password, HERE)


def change(home: house.House, secret: str, current: str = PASSWORD, new: str = NEW) -> Issued | Refused:
    """Change the password."""
    return own_password.change(home.services, home.identity(secret), secret, current, new, HERE)


# --- step-up -----------------------------------------------------------------------------------------------


def test_v7_2_4_a_step_up_gives_the_session_a_new_secret_and_a_new_proof(home, alice):
    before = home.session()
    home.later(minutes=20)
    after = prove(home, before.secret)
    assert isinstance(after, Issued)
    assert after.secret != before.secret
    assert after.public_id == before.public_id
    assert not isinstance(home.load(before.secret), Session)
    assert home.identity(after.secret).proofs == (Proof("password", home.clock.now(), KNOWS),)
    (entry,) = home.events("step_up.succeeded")
    assert (entry.user_id, entry.session_id) == (alice, after.public_id)


def test_a_wrong_step_up_leaves_the_session_as_it_was_and_is_recorded(home, alice):
    secret = home.session().secret
    outcome = prove(home, secret, WRONG)
    assert isinstance(outcome, Refused)
    assert outcome.reason is Refusal.CREDENTIALS
    assert isinstance(home.load(secret), Session)
    (entry,) = home.events("step_up.failed")
    assert (entry.user_id, entry.outcome, entry.session_id) == (alice, "refused", home.identity(secret).session_id)


def test_63b_5_1_2_nobody_proves_for_somebody_elses_session(home, alice):
    home.person("bob", password="the word of bob")
    hers, his = home.session().secret, home.session("bob", "the word of bob").secret
    outcome = step_up.prove(home.services, home.identity(his), hers, "the word of bob", HERE)
    assert isinstance(outcome, Refused)
    assert outcome.reason is Refusal.GONE
    assert outcome.text == "Your session has ended meanwhile. Log in again."
    changed = own_password.change(home.services, home.identity(his), hers, "the word of bob", NEW, HERE)
    assert isinstance(changed, Refused)
    assert isinstance(home.load(hers), Session)
    assert isinstance(home.log_in("bob", "the word of bob"), Issued)


def test_a_session_that_ended_meanwhile_is_not_renewed(home, alice):
    issued = home.session()
    identity = home.identity(issued.secret)
    revoke.all_own(home.services, identity, HERE)
    outcome = step_up.prove(home.services, identity, issued.secret, PASSWORD, HERE)
    assert isinstance(outcome, Refused)
    assert outcome.reason is Refusal.GONE
    assert home.count(schema.session) == 0


# --- another password --------------------------------------------------------------------------------------


def test_v6_2_2_v7_4_3_a_new_password_ends_every_other_session_and_renews_this_one(home, alice):
    mine, other, third = home.session(), home.session(), home.session()
    after = change(home, mine.secret)
    assert isinstance(after, Issued)
    assert isinstance(home.load(after.secret), Session)
    assert [isinstance(home.load(one.secret), Session) for one in (mine, other, third)] == [False] * 3
    assert isinstance(home.log_in(password=NEW), Issued)
    assert isinstance(home.log_in(), Refused)
    (detail,) = home.details("password.changed")
    assert sorted(detail["sessions_ended"]) == sorted([other.public_id, third.public_id])


def test_v6_2_3_without_the_present_password_nothing_is_changed(home, alice):
    secret, digest = home.session().secret, home.digest(alice)
    for current in (WRONG, "", PASSWORD + " ", PASSWORD.upper()):
        outcome = change(home, secret, current)
        assert isinstance(outcome, Refused)
        assert (outcome.reason, outcome.field) == (Refusal.FIELD, "current")
    assert home.digest(alice) == digest
    assert isinstance(home.load(secret), Session)
    assert len(home.events("password.change_failed")) == 4


@pytest.mark.parametrize(
    "new", ["short", "password1", "alice-liddell", PASSWORD, "quiet\x00river", "liddell.a", "x" * 1025]
)
def test_63b_3_1_1_2_13_v6_2_4_a_new_password_keeps_the_rules_of_registration(home, new):
    user_id = home.person("alice-liddell", email="liddell.a@example.org")
    secret, digest = home.session("alice-liddell").secret, home.digest(user_id)
    outcome = change(home, secret, PASSWORD, new)
    assert isinstance(outcome, Refused)
    assert (outcome.reason, outcome.field) == (Refusal.FIELD, "password")
    assert home.digest(user_id) == digest


def test_63b_3_1_1_2_06_the_present_password_in_another_form_is_still_the_present_one(home):
    home.person(password="caf\u00e9 au lait")
    outcome = change(home, home.session(password="caf\u00e9 au lait").secret, "caf\u00e9 au lait", "cafe\u0301 au lait")
    assert isinstance(outcome, Refused)
    assert outcome.field == "password"


def _change(here: house.House, number: int, secret: str) -> str:
    found = here.load(secret)
    if not isinstance(found, Session):
        return "gone"
    identity, new = found.identity, f"{NEW} {number}"
    outcome = house.patiently(lambda: own_password.change(here.services, identity, secret, PASSWORD, new, HERE))
    return "changed" if isinstance(outcome, Issued) else "refused"


def test_v15_4_2_of_parallel_changes_exactly_one_wins(crowd, home, alice):
    outcomes = crowd.rush(_change, home, 16, home.session().secret, GATEHOUSE_THROTTLE="off")
    assert outcomes.count("changed") == 1
    assert len(home.events("password.changed")) == 1
    worked = [
        number
        for number in range(16)
        if isinstance(home.log_in(password=f"{NEW} {number}", address=f"10.0.0.{number}"), Issued)
    ]
    assert len(worked) <= 1
    assert home.count(schema.session) <= 2


# --- another address ---------------------------------------------------------------------------------------


def test_rule_31_a_new_address_is_stored_and_kills_the_links_made_before(home, alice):
    link = reset_password.make_link(home.services, CLI, "alice")
    assert isinstance(link, str)
    identity = home.identity(home.session().secret)
    assert own_addresses.change(home.services, identity, "alice@example.org", HERE) == "alice@example.org"
    assert home.user(alice).email == "alice@example.org"
    assert reset_password.find(home.services, link) is None
    assert own_addresses.change(home.services, identity, "", HERE) is None
    assert home.user(alice).email is None
    assert [entry.user_id for entry in home.events("user.email_changed")] == [alice, alice]


def test_v1_3_11_an_address_that_cannot_be_one_changes_nothing(home, alice):
    identity = home.identity(home.session().secret)
    outcome = own_addresses.change(home.services, identity, "a@b\r\nBcc: c@d", HERE)
    assert isinstance(outcome, Refused)
    assert (outcome.reason, outcome.field) == (Refusal.FIELD, "email")
    assert home.user(alice).email is None
    assert not home.events("user.email_changed")


@pytest.mark.parametrize("end", [administer.close, administer.suspend])
def test_a_request_in_flight_gives_no_address_to_a_user_who_was_ended_meanwhile(home, alice, end):
    identity = home.identity(home.session().secret)
    assert end(home.services, BY_COMMAND, alice)
    outcome = own_addresses.change(home.services, identity, "alice@example.org", HERE)
    assert isinstance(outcome, Refused)
    assert outcome.reason is Refusal.GONE
    assert home.user(alice).email is None


# --- ending sessions ---------------------------------------------------------------------------------------


def test_v7_5_2_one_of_ones_own_sessions_ends_by_its_public_id_and_nobody_elses(home, alice):
    home.person("bob")
    mine, other, his = home.session(), home.session(), home.session("bob")
    identity = home.identity(mine.secret)
    assert revoke.one(home.services, identity, other.public_id, HERE) == 1
    for public_id in (other.public_id, his.public_id, "", "nonsense", mine.secret):
        outcome = revoke.one(home.services, identity, public_id, HERE)
        assert isinstance(outcome, Refused)
        assert outcome.reason is Refusal.NOT_FOUND
    assert [isinstance(home.load(one.secret), Session) for one in (mine, other, his)] == [True, False, True]
    assert home.details("session.ended") == [{"sessions": [other.public_id]}]


def test_all_others_end_and_the_present_one_stays(home, alice):
    home.person("bob")
    mine, his = home.session(), home.session("bob")
    others = [home.session() for _ in range(3)]
    assert revoke.others(home.services, home.identity(mine.secret), HERE) == 3
    assert isinstance(home.load(mine.secret), Session)
    assert isinstance(home.load(his.secret), Session)
    assert not [one for one in others if isinstance(home.load(one.secret), Session)]


def test_all_of_ones_own_end_the_present_one_too(home, alice):
    issued = [home.session() for _ in range(3)]
    assert revoke.all_own(home.services, home.identity(issued[0].secret), HERE) == 3
    assert home.count(schema.session) == 0
    (detail,) = home.details("session.ended")
    assert sorted(detail["sessions"]) == sorted(one.public_id for one in issued)


def test_v7_4_5_a_command_ends_any_session_by_its_public_id(home, alice):
    issued = home.session()
    assert revoke.by_public_id(home.services, CLI, issued.public_id, "stolen") == 1
    assert not isinstance(home.load(issued.secret), Session)
    assert isinstance(revoke.by_public_id(home.services, CLI, issued.public_id, "stolen"), Refused)
    assert home.details("session.ended") == [{"reason": "stolen", "sessions": [issued.public_id]}]


def test_the_epoch_alone_ends_what_a_delete_missed(home, alice):
    issued = home.session()
    home.change(sa.update(schema.user).values(epoch=schema.user.c.epoch + 1))
    assert not isinstance(home.load(issued.secret), Session)
    home.change(sa.update(schema.user).values(epoch=schema.user.c.epoch - 1))
    assert isinstance(home.load(issued.secret), Session)
