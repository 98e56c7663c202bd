"""The owner hears by mail of what matters about the account, once, at the verified address (ASVS 6.3.5, 6.3.7)."""

from __future__ import annotations

from typing import Any

import pyotp
import pytest

from flask_gatehouse.domain import devices
from flask_gatehouse.domain.sessions import Issued
from flask_gatehouse.flows import administer, enrol, own_password, reset_password, second_step, seeds
from flask_gatehouse.flows import post as post_office
from flask_gatehouse.flows.opening import Attempt
from flask_gatehouse.flows.outcomes import FactorDue, FactorLost, Refused
from flask_gatehouse.flows.seeds import Enrolled, Offer
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.clock import as_datetime, as_text
from flask_gatehouse.kernel.identity import CLI, Identity
from tests.support import house
from tests.support.house import BY_COMMAND, HERE, PASSWORD, WRONG, statements_of
from tests.support.post import part

ALICE = "alice@example.org"
NEW = "another quiet river"
FIREFOX = "Firefox on Linux"


@pytest.fixture
def home(post, open_house):
    """Return a house that sends mail and has second factors."""
    return open_house(GATEHOUSE_MAIL_URL=post.url, GATEHOUSE_FEATURES="totp,recovery_codes")


@pytest.fixture
def told(home, post):
    """Return a reader of the subjects of what came since it was last asked."""
    seen = [0]

    def since() -> list[str]:
        assert home.rest()
        found, seen[0] = post.subjects(ALICE)[seen[0] :], len(post.to(ALICE))
        assert len(post.mails) == seen[0], "somebody else was told"
        return [subject.removesuffix(" at localhost:5000") for subject in found]

    return since


def inside(home: house.House, **attempt: Any) -> tuple[Identity, str]:
    """Log in and return who that is, with the session's secret."""
    issued = home.session(**attempt)
    return home.identity(issued.secret), issued.secret


def code(home: house.House, offer: Offer | Refused | None) -> str:
    """Return the code of a seed, now."""
    assert isinstance(offer, Offer)
    return pyotp.TOTP(offer.seed).at(as_datetime(home.clock.now()))


def enrolled(home: house.House) -> tuple[Enrolled, Offer]:
    """Enrol an authenticator app."""
    identity, secret = inside(home)
    offer = enrol.offer_totp(home.services, identity)
    assert isinstance(offer, Offer)
    done = enrol.confirm_totp(home.services, identity, secret, code(home, offer), HERE)
    assert isinstance(done, Enrolled)
    return done, offer


def pending(home: house.House) -> str:
    """Log in up to the second factor and return the secret of the pending login."""
    due = home.log_in()
    assert isinstance(due, FactorDue)
    return due.pending.secret


# --- browsers ----------------------------------------------------------------------------------------------


def test_v6_3_5_a_login_with_a_new_browser_is_told_once(home, post, told):
    home.proven()
    spare = devices.new(home.services.keys)
    home.session(spare=spare)
    assert told() == ["A new browser logged in"]
    for kind in ("plain", "html"):
        for fact in (FIREFOX, HERE.address, as_text(home.clock.now())):
            assert fact in part(post.mails[-1], kind)
    assert home.details("login.succeeded")[-1]["told"] == "new_browser"
    home.session(device=spare, spare=devices.new(home.services.keys))
    assert told() == []
    assert "told" not in home.details("login.succeeded")[-1]


@pytest.mark.parametrize("is_known", [True, False])
def test_v6_3_5_a_login_after_wrong_passwords_in_a_row_is_told_once_in_place_of_a_new_browser(
    home, post, told, is_known
):
    home.proven()
    spare = devices.new(home.services.keys)
    home.session(spare=spare)
    told()
    shown = {"device": spare} if is_known else {}
    for number in range(5):
        home.log_in(password=WRONG, address=f"192.0.2.{number}", **shown)
    told()
    home.later(minutes=1)
    home.session(spare=devices.new(home.services.keys), **shown)
    assert told() == ["A login after failed tries"]
    text = " ".join(part(post.mails[-1], "plain").split())
    assert "after 5 tries in a row that had failed" in text
    assert f"{FIREFOX}, from {HERE.address}" in text
    assert home.details("login.succeeded")[-1]["told"] == "login_after_wrong"


def test_v6_3_5_a_login_after_four_wrong_passwords_or_while_strangers_guess_is_an_everyday_one(home, told):
    home.proven()
    spare = devices.new(home.services.keys)
    home.session(spare=spare)
    told()
    for number in range(8):
        home.log_in(password=WRONG, address=f"192.0.2.{number}")
    for _ in range(4):
        home.log_in(password=WRONG, device=spare)
    told()
    home.session(device=spare, spare=devices.new(home.services.keys))
    assert told() == []


def test_v6_3_5_a_login_after_ninety_days_without_one_is_told_once(home, post, told):
    home.proven()
    first, second, third = (devices.new(home.services.keys) for _ in range(3))
    home.session(spare=first)
    home.session(spare=second)
    told()
    home.later(days=89)
    home.session(device=second, spare=third)
    assert told() == []
    home.later(days=2)
    home.session(device=first, spare=third)  # this one rested for 91 days, the user did not
    assert told() == []
    last = as_text(home.clock.now())
    home.later(days=90)
    home.session(device=first, spare=third)
    assert told() == ["A login after a long time"]
    assert last in part(post.mails[-1], "plain")
    assert HERE.address in part(post.mails[-1], "plain")
    assert home.details("login.succeeded")[-1]["told"] == "login_after_long"


def test_v6_3_5_wrong_passwords_are_told_when_the_delays_begin_and_no_more(home, post, told):
    home.proven()
    for number in range(12):
        home.log_in(password=WRONG, address=f"192.0.2.{number}")
        home.later(hours=1)
    assert told() == ["Wrong passwords for your account"]
    assert "the last one came from 192.0.2.4" in part(post.mails[-1], "plain")


def test_rule_09_the_fifth_wrong_password_costs_the_same_statements_for_an_unknown_name(home):
    home.proven()
    home.services.postman.retire(10)
    seen = {}
    for name in ("alice", "nobody"):
        for number in range(4):
            home.log_in(name, WRONG, address=f"10.{len(name)}.0.{number}")
        with statements_of(home) as noted:
            home.log_in(name, WRONG, address=f"10.{len(name)}.0.9")
        seen[name] = noted.texts
    assert seen["alice"] == seen["nobody"]
    assert any("gatehouse_mail" in text for text in seen["nobody"])


# --- passwords ---------------------------------------------------------------------------------------------


def test_v6_3_7_a_changed_password_is_told(home, post, told):
    home.proven()
    identity, secret = inside(home)
    assert isinstance(own_password.change(home.services, identity, secret, PASSWORD, NEW, HERE), Issued)
    assert told() == ["Your password was changed"]
    assert FIREFOX in part(post.mails[-1], "html")
    assert isinstance(reset_password.make_temporary(home.services, CLI, "alice"), str)
    assert told() == ["Your password was changed"]


def test_v6_3_7_a_password_chosen_by_an_operators_link_is_told(home, told):
    home.proven()
    link = str(reset_password.make_link(home.services, CLI, "alice"))
    assert isinstance(reset_password.complete(home.services, link, NEW, HERE), int)
    assert told() == ["Your password was changed"]


def test_a_change_that_was_refused_is_not_told(home, told):
    home.proven()
    identity, secret = inside(home)
    assert isinstance(own_password.change(home.services, identity, secret, WRONG, NEW, HERE), Refused)
    assert isinstance(enrol.confirm_totp(home.services, identity, secret, "000000", HERE), Refused)
    assert told() == []


# --- second factors ----------------------------------------------------------------------------------------


def test_v6_3_7_63b_4_1_2_3_a_factor_that_is_added_or_removed_is_told(home, told):
    home.proven()
    done, _ = enrolled(home)
    assert told() == ["A second factor was added", "New recovery codes were made"]
    identity = home.identity(done.issued.secret)
    assert isinstance(enrol.renew_codes(home.services, identity, HERE), tuple)
    assert told() == ["New recovery codes were made"]
    assert isinstance(enrol.remove_totp(home.services, identity, done.issued.secret, HERE), Issued)
    assert told() == ["A second factor was removed"]


def test_rule_32_63b_4_2_3_1_a_recovery_code_that_is_used_is_told_and_so_is_the_new_factor(home, told):
    home.proven()
    done, _ = enrolled(home)
    told()
    secret, attempt = pending(home), Attempt(HERE)
    lost = second_step.answer(home.services, secret, "recovery_code", done.codes[0], attempt)
    assert isinstance(lost, FactorLost)
    assert told() == ["A recovery code was used"]
    offer = second_step.offer(home.services, lost.pending.secret)
    new = second_step.replace_factor(home.services, lost.pending.secret, code(home, offer), attempt)
    assert isinstance(new, Issued)
    assert told() == ["A second factor was added"]


def test_v6_3_5_a_login_that_stops_at_wrong_codes_is_told_once(home, told):
    home.proven()
    enrolled(home)
    told()
    secret = pending(home)
    for _ in range(5):
        assert isinstance(second_step.answer(home.services, secret, "code", "000000", Attempt(HERE)), Refused)
    assert told() == ["Wrong codes for your account"]
    assert seeds.totp_of(home.services) is not None


def test_v6_3_5_a_login_that_stops_at_the_second_factor_is_told_once_when_it_has_ended(home, post, told):
    home.proven()
    enrolled(home)
    told()
    pending(home)
    begun = as_text(home.clock.now())
    home.later(minutes=10, microseconds=-1)
    assert (post_office.deliver(home.services, is_forced=True).sent, told()) == (0, [])
    home.later(microseconds=1)
    for _ in range(2):
        post_office.deliver(home.services)
    assert told() == ["Somebody stopped at your second factor"]
    for fact in (begun, FIREFOX, HERE.address):
        assert fact in part(post.mails[-1], "plain")
    assert home.kinds()[-1] == "login.factor_due"


@pytest.mark.parametrize("ending", ["it goes on", "wrong codes", "a recovery code", "a known browser"])
def test_v6_3_5_a_login_that_got_further_or_is_told_otherwise_is_not_told_as_one_that_stopped(home, told, ending):
    home.proven()
    done, offer = enrolled(home)
    spare, attempt = devices.new(home.services.keys), Attempt(HERE)
    home.later(minutes=1)
    if ending in {"it goes on", "a known browser"}:
        opened = second_step.answer(home.services, pending(home), "code", code(home, offer), Attempt(HERE, spare=spare))
        assert isinstance(opened, Issued)
    if ending == "a known browser":
        assert isinstance(home.log_in(device=spare), FactorDue)
    if ending == "a recovery code":
        second_step.answer(home.services, pending(home), "recovery_code", done.codes[0], attempt)
    if ending == "wrong codes":
        secret = pending(home)
        for _ in range(5):
            second_step.answer(home.services, secret, "code", "000000", attempt)
    told()
    home.later(minutes=11)
    post_office.deliver(home.services)
    assert told() == []
    assert home.count(schema.mail) == 0


def test_v6_3_7_what_an_administrator_does_to_ones_factors_is_told(home, post, told):
    user_id = home.proven()
    assert administer.demand_factor(home.services, BY_COMMAND, user_id, is_demanded=True)
    assert told() == ["A second factor is demanded of you"]
    assert "is open before one is enrolled" in part(post.mails[-1], "plain")
    assert administer.demand_factor(home.services, BY_COMMAND, user_id, is_demanded=True)
    assert told() == []  # nothing changed
    enrolled(home)
    told()
    assert administer.reset_factors(home.services, BY_COMMAND, user_id)
    assert told() == ["Your second factors were reset"]
    assert "the password alone logs in" in part(post.mails[-1], "html")
    assert administer.demand_factor(home.services, BY_COMMAND, user_id, is_demanded=False)
    assert told() == ["A second factor is no longer demanded of you"]
