"""A minute of guessing without pause, on a clock that is moved on: how many passwords are checked (rules 3 and 4)."""

from __future__ import annotations

import pytest

from flask_gatehouse.domain import devices
from flask_gatehouse.domain.sessions import Issued
from flask_gatehouse.flows.outcomes import Refusal, Refused
from tests.support import house
from tests.support.house import HERE, PASSWORD, WRONG

WEAK = "a weak password 1"
ELSEWHERE = "198.51.100.7"
TRIES_A_SECOND = 2


def checked(home: house.House, name: str, password: str, address: str) -> int:
    """Guess once; return 1 where the password was looked at."""
    outcome = home.log_in(name, password, address=address)
    return int(isinstance(outcome, Issued) or (isinstance(outcome, Refused) and outcome.reason is Refusal.CREDENTIALS))


@pytest.mark.parametrize("addresses", [1, 50])
def test_rule_03_v6_3_1_a_minute_of_guesses_at_one_account_gets_at_most_ten_checked(home, addresses):
    home.person()
    home.person("bob")
    browser = devices.new(home.services.keys)
    home.session(spare=browser)
    found = 0
    for second in range(60):
        for number in range(TRIES_A_SECOND):
            place = (TRIES_A_SECOND * second + number) % addresses
            found += checked(home, "alice", WRONG, f"203.0.113.{place}")
        if second % 5 == 4:  # the owner logs in all the while, which gives the guesser nothing
            assert isinstance(home.log_in(device=browser, address=ELSEWHERE), Issued)
        home.later(seconds=1)
    assert 5 <= found <= 10
    assert isinstance(home.log_in("bob", address=ELSEWHERE), Issued)


@pytest.mark.parametrize("login_name", ["both", "email"])
@pytest.mark.parametrize("pause", [0.1, 1.0, 12.0])
def test_rule_03_v6_3_1_a_name_and_an_address_together_are_good_for_no_more_than_ten_a_minute(
    post, open_house, login_name, pause
):
    told = {"GATEHOUSE_LOGIN_NAME": login_name, "GATEHOUSE_MAIL_URL": post.url, "GATEHOUSE_ORIGINS": "http://localhost"}
    home = open_house(**told)
    home.services.postman.retire(10)
    home.proven()
    at: list[float] = []
    for step in range(int(150 / pause)):
        for name in ("alice", "alice@example.org"):
            at += [step * pause] * checked(home, name, WRONG, f"10.0.{step // 200}.{step % 200}")
        home.later(seconds=pause)
    assert len(at) > 10  # it went on after the first delay
    assert max(sum(1 for other in at if one <= other < one + 60) for one in at) <= 10


def test_rule_03_v6_3_1_a_minute_of_spraying_two_hundred_accounts_from_one_address_gets_21_checked(home):
    for number in range(40):  # those beyond are never reached; the weak one is the last of its twenty
        home.person(f"sprayed{number}", WEAK if number % 20 == 19 else PASSWORD)
    found = 0
    for number in range(200):
        found += checked(home, f"sprayed{number}", WEAK, HERE.address)
        home.later(seconds=0.3)
    assert found == 21


def test_rule_04_a_delay_that_runs_outlives_a_login_from_a_known_browser_and_nothing_else_does(home):
    alice = home.person()
    browser = devices.new(home.services.keys)
    home.session(spare=browser)
    for _ in range(5):
        home.log_in(password=WRONG)
    before = home.counter(f"user:{alice}")
    assert isinstance(home.log_in(device=browser), Issued)
    assert home.counter(f"user:{alice}") == before
    home.later(seconds=30)
    assert isinstance(home.log_in(device=browser), Issued)
    assert home.counter(f"user:{alice}") == (0, 0, 0)
