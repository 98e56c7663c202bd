"""The counters: exact, charged before any secret is checked, given back where nothing was hashed (rules 3 and 8)."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from flask_gatehouse.domain.throttle import LOGIN, RESET, Charge, Rule
from flask_gatehouse.domain.throttle.rules import FIRST_DELAY, delay_after
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.errors import DatabaseUnavailableError
from tests.support import house
from tests.support.house import SECOND

COUNTER = schema.counter
KEY = "user:1"
DAY = 24 * 3600
WIDE = Rule("wide", per_address=10**6)


def spend(
    home: house.House, *, rule: Rule = WIDE, address: str = "192.0.2.1", key: str = KEY, target: str = ""
) -> Charge:
    """Charge one attempt and judge it."""
    throttle, now = home.services.throttle, home.clock.now()
    charge = throttle.spend(rule, address, now, account_key=key, target=target)
    if rule.is_judged and not charge.wait:
        with home.services.unit() as unit:
            throttle.judge(unit.connection, charge, now)
    return charge


def settle(home: house.House, charge: Charge) -> None:
    """End a full login."""
    with home.services.unit() as unit:
        home.services.throttle.settle(unit.connection, charge, unit.now)


def window(home: house.House, key: str) -> int:
    """Return the count of a window."""
    return home.counter(key)[0]


# --- the account: delays -----------------------------------------------------------------------------------


def test_rule_03_63b_3_2_2_4_the_fifth_wrong_answer_in_a_row_costs_thirty_seconds_the_next_a_minute(home):
    assert [spend(home).wait for _ in range(5)] == [0] * 5
    assert spend(home).wait == 30 * SECOND
    home.later(seconds=29)
    assert spend(home).wait == SECOND
    home.later(seconds=1)
    assert spend(home).wait == 0
    assert spend(home).wait == 60 * SECOND


def test_rule_03_refusals_do_not_count(home):
    for _ in range(5):
        spend(home)
    before = home.counter(KEY)
    for _ in range(50):
        assert spend(home).wait == 30 * SECOND
    assert home.counter(KEY) == before == (5, 5, home.clock.now() + 30 * SECOND)


def test_rule_03_the_delay_doubles_to_an_hour(home):
    waits = []
    for _ in range(20):
        assert spend(home).wait == 0
        waits.append(max(home.counter(KEY)[2] - home.clock.now(), 0))
        home.later(microseconds=waits[-1])
    assert waits == [delay_after(wrong, FIRST_DELAY) for wrong in range(1, 21)]
    assert waits[-1] == 3600 * SECOND


def test_rule_03_63b_3_2_2_5_a_full_login_zeroes_the_account(home):
    for _ in range(4):
        spend(home)
    settle(home, spend(home))
    assert home.counter(KEY) == (0, 0, 0)
    assert [spend(home).wait for _ in range(5)] == [0] * 5


def test_rule_08_a_streak_ends_a_day_after_the_last_wrong_answer_for_users_and_names_alike(home):
    for key in (KEY, "name:0123"):
        for _ in range(4):
            spend(home, key=key)
    home.later(seconds=DAY - 1)
    assert [spend(home, key=key).would_delay for key in (KEY, "name:0123")] == [True, True]
    home.later(seconds=DAY - 1)  # after the last one, not after the first
    assert [spend(home, key=key).would_delay for key in (KEY, "name:0123")] == [True, True]
    home.later(seconds=DAY)
    for key in (KEY, "name:0123"):
        assert not spend(home, key=key).would_delay
        assert home.counter(key)[0] == 1


def test_rule_08_63b_3_2_2_1_63b_3_2_2_2_the_count_to_a_hundred_is_kept_apart_and_outlives_the_streak(home):
    for number in range(100):
        charge = spend(home)
        assert (charge.wait, charge.is_disabled) == (0, False), number
        home.later(days=2)
    assert home.counter(KEY)[:2] == (1, 100)
    assert spend(home).is_disabled
    home.later(days=3650)
    assert spend(home).is_disabled  # waiting changes nothing


def test_63b_3_2_2_3_each_authenticator_has_a_count_of_its_own(home):
    for _ in range(5):
        spend(home, key="inside:1")
    assert spend(home, key="inside:1").wait
    assert spend(home, key="factor:totp:1").wait == spend(home, key=KEY).wait == 0


def test_rule_04_unlocking_zeroes_what_keeps_a_user_out_and_nothing_else(home):
    for key in ("user:1", "inside:1", "user:2", "name:0123"):
        for _ in range(5):
            spend(home, key=key)
    with home.services.unit() as unit:
        home.services.throttle.unlock(unit.connection, 1)
    assert [bool(spend(home, key=key).wait) for key in ("user:1", "inside:1", "user:2", "name:0123")] == [
        False,
        False,
        True,
        True,
    ]


# --- given back --------------------------------------------------------------------------------------------


def test_rule_03_what_was_not_hashed_is_given_back_with_the_delay_it_began(home):
    for _ in range(4):
        spend(home)
    charge = spend(home)
    assert charge.would_delay
    home.services.throttle.give_back(charge, home.clock.now())
    assert home.counter(KEY) == (4, 4, 0)
    assert spend(home).wait == 0


def test_rule_03_a_charge_given_back_late_takes_a_delay_with_it_that_four_wrong_answers_do_not_earn(home):
    early = spend(home)
    for _ in range(4):
        spend(home)
    home.services.throttle.give_back(early, home.clock.now())
    assert home.counter(KEY) == (4, 4, 0)
    assert spend(home).would_delay
    home.services.throttle.give_back(Charge(), home.clock.now())
    assert home.counter(KEY) == (5, 5, home.clock.now() + 30 * SECOND)


def test_rule_03_a_charge_given_back_late_shortens_the_delay_that_a_later_one_began(home):
    early = spend(home)
    for _ in range(4):
        spend(home)
    home.later(seconds=30)
    spend(home)
    assert home.counter(KEY) == (6, 6, home.clock.now() + 60 * SECOND)
    home.services.throttle.give_back(early, home.clock.now())
    assert home.counter(KEY) == (5, 5, home.clock.now() + 30 * SECOND)


def test_rule_03_after_a_full_login_nothing_is_given_back_below_zero(home):
    early, right = spend(home), spend(home)
    settle(home, right)
    home.services.throttle.give_back(early, home.clock.now())
    assert home.counter(KEY) == (0, 0, 0)


def test_rule_03_a_full_login_gives_one_address_charge_back_once_per_account_and_window(home):
    for _ in range(3):
        settle(home, spend(home, rule=LOGIN))
    assert window(home, "login@192.0.2.1") == 2
    settle(home, spend(home, rule=LOGIN, key="user:2"))
    assert window(home, "login@192.0.2.1") == 2
    home.later(minutes=10)
    settle(home, spend(home, rule=LOGIN))
    settle(home, spend(home, rule=LOGIN))
    assert window(home, "login@192.0.2.1") == 1


def test_rule_03_a_refund_does_not_depend_on_the_address_it_goes_to(home):
    settle(home, spend(home, rule=LOGIN, address="192.0.2.1"))
    settle(home, spend(home, rule=LOGIN, address="192.0.2.2"))
    assert (window(home, "login@192.0.2.1"), window(home, "login@192.0.2.2")) == (0, 1)


def test_rule_03_a_success_never_zeroes_an_address(home):
    for number in range(10):
        spend(home, rule=LOGIN, key=f"name:{number}")
    settle(home, spend(home, rule=LOGIN))
    assert window(home, "login@192.0.2.1") == 10


# --- the address -------------------------------------------------------------------------------------------


def test_rule_03_v2_4_1_the_twenty_first_charge_of_an_address_waits_until_its_window_ends(home):
    for number in range(20):
        assert spend(home, rule=LOGIN, key=f"name:{number}").wait == 0
        home.later(seconds=1)
    refused = [spend(home, rule=LOGIN, key="name:x") for _ in range(3)]
    assert [charge.wait for charge in refused] == [580 * SECOND] * 3
    assert [charge.first_refusal_of is not None for charge in refused] == [True, False, False]
    assert window(home, "login@192.0.2.1") == 20
    assert home.counter("name:x") == (0, 0, 0)
    assert spend(home, rule=LOGIN, address="192.0.2.2", key="name:x").wait == 0
    home.later(seconds=580)
    assert spend(home, rule=LOGIN, key="name:x").wait == 0


def test_rule_03_ipv6_has_growing_limits_for_its_64_56_and_48(home):
    def charge(subnet: int, host: int = 1) -> Charge:
        return spend(home, rule=LOGIN, address=f"2001:db8:0:{subnet:x}::{host:x}", key="")

    assert [charge(0, host).wait for host in range(1, 21)] == [0] * 20
    assert charge(0, 99).wait
    taken = 0
    while not charge(1 + taken // 20).wait:
        taken += 1
    assert taken == 80 - 20  # a charge that the /64 refused is none of the /56
    taken = 0
    while not charge(0x100 * (1 + taken // 80) + taken // 20 % 4).wait:
        taken += 1
    assert window(home, "login@2001:db8::/48") == 320


def test_rule_03_ipv4_mapped_addresses_share_the_bucket_of_the_ipv4_one(home):
    for number in range(20):
        spend(home, rule=LOGIN, address="192.0.2.1" if number % 2 else "::ffff:192.0.2.1", key="")
    assert spend(home, rule=LOGIN, address="::FFFF:c000:201", key="").wait


def test_rule_08_a_target_has_a_bucket_of_its_own(home):
    for number in range(RESET.per_target):
        assert spend(home, rule=RESET, address=f"192.0.2.{number}", key="", target="link").wait == 0
    assert spend(home, rule=RESET, address="198.51.100.1", key="", target="link").wait
    assert spend(home, rule=RESET, address="198.51.100.2", key="", target="another").wait == 0


def test_the_rules_do_not_share_their_buckets(home):
    for _ in range(20):
        spend(home, rule=LOGIN, key="")
    assert spend(home, rule=LOGIN, key="").wait
    assert spend(home, rule=RESET, key="").wait == 0


# --- the rows ----------------------------------------------------------------------------------------------


def test_old_windows_and_unknown_names_are_deleted_little_by_little_and_users_counts_are_kept(home):
    for number in range(30):
        spend(home, rule=LOGIN, address=f"192.0.2.{number}", key=f"name:{number}")
    for key in ("user:1", "inside:1", "factor:totp:1"):
        spend(home, key=key)
    home.later(days=2)
    for _ in range(5):
        with home.services.unit() as unit:
            home.services.throttle.close_windows(unit.connection, unit.now, {})
    left = {row[0] for row in home.rows(sa.select(COUNTER.c.key))}
    assert {"user:1", "inside:1", "factor:totp:1"} <= left
    assert not [key for key in left if key.startswith(("name:", "login@192"))]


def test_off_counts_nothing(open_house):
    off = open_house(GATEHOUSE_THROTTLE="off")
    assert {spend(off, rule=LOGIN) for _ in range(200)} == {Charge()}
    assert off.count(COUNTER) == 0


def test_v16_5_3_counters_that_cannot_be_charged_refuse_the_attempt(home):
    home.change(sa.text("ALTER TABLE gatehouse_counter RENAME TO elsewhere"))
    with pytest.raises((DatabaseUnavailableError, sa.exc.ProgrammingError)):
        spend(home)


# --- many at once ------------------------------------------------------------------------------------------


def _spend(here: house.House, _number: int) -> int:
    return spend(here).wait


def _spend_at(here: house.House, number: int) -> int:
    return spend(here, rule=LOGIN, key=f"name:{number}").wait


def _give_back(here: house.House, number: int) -> int:
    charge = spend(here)
    if charge.wait == 0 and number % 2:
        here.services.throttle.give_back(charge, here.clock.now())
    return charge.wait


def test_rule_03_v15_4_1_of_fifty_parallel_attempts_exactly_five_are_charged(crowd, home):
    waits = crowd.rush(_spend, home, 50)
    assert sorted(waits) == [0] * 5 + [30 * SECOND] * 45
    assert home.counter(KEY)[:2] == (5, 5)


def test_rule_03_v15_4_1_of_fifty_parallel_charges_of_an_address_exactly_twenty_pass(crowd, home):
    waits = crowd.rush(_spend_at, home, 50)
    assert waits.count(0) == 20
    assert window(home, "login@192.0.2.1") == 20
    assert sum(home.counter(f"name:{number}")[0] for number in range(50)) == 20


def test_rule_03_v15_4_1_giving_back_is_exact_among_parallel_charges(crowd, home):
    waits = crowd.rush(_give_back, home, 40)
    wrong, total, _ = home.counter(KEY)
    assert wrong == total <= 5
    assert all(wait in {0, 30 * SECOND} for wait in waits)
    passed = waits.count(0)
    assert passed >= wrong
