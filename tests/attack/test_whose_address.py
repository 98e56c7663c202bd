"""Where a name and an address both log in: what is tried at one says nothing about the other, and counts for both."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from flask_gatehouse.domain.sessions import Issued
from flask_gatehouse.domain.throttle.rules import SECOND
from flask_gatehouse.flows import administer, second_step
from flask_gatehouse.flows.opening import Attempt
from flask_gatehouse.flows.outcomes import FactorDue, Refusal, Refused
from flask_gatehouse.kernel import schema
from tests.flows.test_totp import code_of
from tests.support import house, phones, shortage
from tests.support.house import BY_COMMAND, HERE, WRONG, hashes_of, statements_of

PAIRS = {"alice": "alice@example.org", "nobody": "nobody@example.org"}
OF_MAIL = "by-mail:{}"


@pytest.fixture
def home(post, open_house):
    """Return a house whose people log in with a name or an address."""
    told = {"GATEHOUSE_LOGIN_NAME": "both", "GATEHOUSE_FEATURES": "totp", "GATEHOUSE_ORIGINS": "http://localhost"}
    found = open_house(GATEHOUSE_MAIL_URL=post.url, **told)
    found.services.postman.retire(10)
    return found


@pytest.fixture
def alice(home):
    """Return the id of a user with a verified address."""
    return home.proven()


def refusals(home: house.House, name: str, number: int, net: str) -> list[Refusal]:
    """Guess from one address after the other and return what a stranger is told."""
    outcomes = [home.log_in(name, WRONG, address=f"{net}.{one}") for one in range(number)]
    return [outcome.reason for outcome in outcomes if isinstance(outcome, Refused)]


@pytest.mark.parametrize("is_name_first", [True, False])
def test_rule_09_v6_3_8_the_delay_of_a_name_tells_nobody_whose_address_is_whose(home, alice, is_name_first):
    seen = []
    for number, (name, address) in enumerate(PAIRS.items()):
        first, second = (name, address) if is_name_first else (address, name)
        seen.append([refusals(home, first, 7, f"10.{number}.0"), refusals(home, second, 7, f"10.{number}.1")])
    delayed = [Refusal.CREDENTIALS] * 5 + [Refusal.THROTTLED] * 2
    assert seen == [[delayed, delayed]] * 2


@pytest.mark.parametrize("which", [0, 1])
def test_rule_09_v6_3_8_whom_nobody_knows_waits_as_long_as_who_exists(home, alice, which):
    waits = []
    for number, pair in enumerate(PAIRS.items()):
        refusals(home, pair[which], 5, f"10.{number}.0")
        outcome = home.log_in(pair[which], WRONG, address=f"10.{number}.1.1")
        assert isinstance(outcome, Refused)
        waits.append(outcome.wait)
    assert waits == [60 * SECOND] * 2


def test_rule_03_the_first_delay_is_doubled_only_where_a_name_or_an_address_is_typed(home, alice):
    held = home.services.throttle
    own = (held.inside_key(alice), held.device_key(1), held.factor_key("totp", alice))
    assert {held.first_delay_of(key) for key in own} == {30 * SECOND}


def test_rule_09_a_wrong_password_costs_the_same_whosever_the_address(home, alice):
    home.log_in("warm@example.org", WRONG)
    seen = []
    for address in PAIRS.values():
        hashes = hashes_of(home)
        with statements_of(home) as noted:
            home.log_in(address, WRONG, address="198.51.100.9")
        seen.append((noted.texts, len(hashes)))
    assert seen[0] == seen[1]


def test_63b_3_2_2_1_a_hundred_wrong_passwords_by_either_disable_the_password(home, alice):
    for number in range(101):
        home.log_in("alice" if number % 2 else PAIRS["alice"], WRONG, address=f"10.0.0.{number}")
        home.later(hours=1)
    for name in ("alice", PAIRS["alice"]):
        outcome = home.log_in(name, address="198.51.100.7")
        assert isinstance(outcome, Refused)
        assert outcome.reason is Refusal.CREDENTIALS
    assert administer.unlock(home.services, BY_COMMAND, alice)
    assert isinstance(home.log_in(PAIRS["alice"], address="198.51.100.7"), Issued)


@pytest.mark.parametrize("has_factor", [False, True])
def test_63b_3_2_2_5_logins_by_address_leave_nothing_counted(home, alice, has_factor):
    seed = phones.enrol(home.services, alice) if has_factor else ""
    for _ in range(7):
        home.log_in(PAIRS["alice"], WRONG)
        outcome = home.log_in(PAIRS["alice"])
        if isinstance(outcome, FactorDue):
            told = (outcome.pending.secret, "code", code_of(home, seed), Attempt(HERE))
            outcome = second_step.answer(home.services, *told)
        assert isinstance(outcome, Issued)
        assert home.counter(OF_MAIL.format(alice))[0] == 0
        assert home.counter(f"user:{alice}") == (0, 0, 0)
        home.later(minutes=1)


def test_rule_03_what_was_not_hashed_counts_by_neither(home, alice):
    home.change(sa.update(schema.password).values(digest=shortage.of_a_gibibyte(home.digest(alice))))
    with shortage.scarce():
        outcome = home.log_in(PAIRS["alice"], WRONG)
    assert isinstance(outcome, Refused)
    assert outcome.reason is Refusal.BUSY
    assert home.counter(OF_MAIL.format(alice))[:2] == home.counter(f"user:{alice}")[:2] == (0, 0)


def _log_in(here: house.House, number: int, names: list[str]) -> str:
    name, password = names[number % 2], WRONG if number % 3 else house.PASSWORD
    return type(here.log_in(name, password, address=f"10.0.0.{number % 5}")).__name__


def test_v15_4_3_logins_by_name_and_by_address_at_once_over_two_processes_meet_no_fault(crowd, home, alice):
    told = {"GATEHOUSE_LOGIN_NAME": "both", "GATEHOUSE_MAIL_URL": "console:", "GATEHOUSE_ORIGINS": "http://localhost"}
    outcomes = crowd.rush(_log_in, home, 40, ["alice", PAIRS["alice"]], **told)
    assert set(outcomes) <= {"Issued", "Refused"}
