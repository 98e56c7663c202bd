"""The limits as data: delays, and the prefixes an address is charged to."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_gatehouse.domain.throttle import CHANGE, LOGIN, REGISTER, RESET, STEP_UP, rules
from flask_gatehouse.domain.throttle.rules import FIRST_DELAY, address_keys, delay_after

SECOND = 1_000_000


def test_63b_3_2_2_4_five_wrong_answers_cost_thirty_seconds_doubling_to_an_hour():
    seconds = [delay_after(wrong, FIRST_DELAY) // SECOND for wrong in range(15)]
    assert seconds == [0, 0, 0, 0, 0, 30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    assert delay_after(10**6, FIRST_DELAY) == 3600 * SECOND


def test_63b_3_2_2_1_the_count_to_disable_is_a_hundred():
    assert rules.WRONG_BEFORE_DISABLED == 100


def test_rule_03_an_address_has_twenty_charges_in_ten_minutes():
    for rule in (LOGIN, REGISTER, RESET):
        assert (rule.per_address, rule.window) == (20, 600 * SECOND)


def test_rule_08_each_endpoint_that_hashes_has_a_bucket_of_its_own():
    held = (LOGIN, REGISTER, STEP_UP, CHANGE, RESET)
    assert len({rule.name for rule in held}) == len(held)
    assert all(rule.per_address > 0 and rule.per_target > 0 and rule.window > 0 for rule in held)


def test_rule_03_ipv6_is_charged_to_three_prefixes_with_growing_limits():
    assert address_keys("2001:db8:1234:5678:9abc:def0:1234:5678") == (
        ("2001:db8:1234:5678::/64", 1),
        ("2001:db8:1234:5600::/56", 4),
        ("2001:db8:1234::/48", 16),
    )


@given(st.ip_addresses(v=4))
def test_rule_03_an_ipv4_mapped_address_is_the_ipv4_one_it_maps(address):
    assert address_keys(f"::ffff:{address}") == address_keys(str(address)) == ((str(address), 1),)


@given(st.ip_addresses(v=4))
def test_rule_03_an_address_behind_nat64_is_the_ipv4_one_it_stands_for(address):
    behind = ipaddress.IPv6Address(int(rules.NAT64.network_address) | int(address))
    assert address_keys(str(behind)) == address_keys(str(address))


@given(st.ip_addresses(v=6), st.integers(0, 2**64 - 1))
def test_rule_03_all_addresses_of_a_64_share_their_keys(address, host):
    if address.ipv4_mapped is not None or int(address) >> 64 << 64 == int(rules.NAT64.network_address):
        return
    neighbour = ipaddress.IPv6Address((int(address) >> 64 << 64) | host)
    if neighbour.ipv4_mapped is None:
        assert address_keys(str(address)) == address_keys(str(neighbour))
    assert address_keys(str(address)) == address_keys(address.exploded.upper())


@pytest.mark.parametrize("address", ["fe80::1%eth0", "fe80::1%25eth0"])
def test_a_zone_of_an_address_buys_no_new_bucket(address):
    assert address_keys(address) == address_keys("fe80::1")


@pytest.mark.parametrize("address", ["", "unix:", "localhost", "1.2.3", "a" * 500, "\x00"])
def test_what_is_no_address_shares_one_bucket(address):
    assert address_keys(address) == (("unknown", 1),)
