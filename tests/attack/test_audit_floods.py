"""Floods of the audit log by somebody with an account: what can be done for ever leaves a bounded number of rows."""

from __future__ import annotations

import pytest

from flask_gatehouse.flows import enrol, own_addresses
from flask_gatehouse.flows.outcomes import Refusal, Refused
from tests.flows.test_totp import Phone
from tests.support.house import source

ADDRESSES = [f"2001:db8:{number:x}::1" for number in range(40)]


@pytest.fixture
def home(open_house):
    """Return a house whose users may have second factors."""
    return open_house(GATEHOUSE_FEATURES="totp,recovery_codes")


def test_rule_28_an_address_that_is_changed_for_ever_leaves_few_rows_and_a_wait(home):
    home.person()
    identity = home.identity(home.session().secret)
    done = [
        own_addresses.change(home.services, identity, f"alice{number}@example.org", source(address))
        for number, address in enumerate(ADDRESSES)
    ]
    assert len(home.events("user.email_changed")) == 10
    last = done[-1]
    assert isinstance(last, Refused)
    assert (last.reason, last.wait > 0) == (Refusal.THROTTLED, True)
    home.later(minutes=11)
    assert home.load(home.session().secret)
    assert own_addresses.change(home.services, identity, "alice@example.org", source()) == "alice@example.org"


def test_rule_28_recovery_codes_that_are_made_for_ever_leave_few_rows_and_a_wait(home):
    phone = Phone(home)
    identity, before = home.identity(phone.session.secret), len(home.events("recovery_codes.made"))
    done = [enrol.renew_codes(home.services, identity, source(address)) for address in ADDRESSES]
    assert len(home.events("recovery_codes.made")) == before + 10
    last = done[-1]
    assert isinstance(last, Refused)
    assert (last.reason, last.wait > 0) == (Refusal.THROTTLED, True)
