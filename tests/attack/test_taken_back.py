"""An alarm gives back what was its owner's a day before, and nothing else: thieves who prepare for the button."""

from __future__ import annotations

import pytest

from flask_gatehouse.flows import own_addresses
from tests.flows.test_not_me import THIEFS, move_address, pressed
from tests.support.house import HERE


@pytest.fixture
def home(post, open_house):
    """Return a house that sends mail."""
    return open_house(GATEHOUSE_MAIL_URL=post.url)


def test_rule_32_of_two_addresses_that_a_thief_gives_to_who_had_none_neither_gets_a_link(home):
    home.person("alice")
    home.later(hours=48)
    secret = home.session().secret
    move_address(home, THIEFS)
    home.later(minutes=20)
    move_address(home, "thief@example.com")
    assert pressed(home, secret).is_address_back
    assert home.user(1).verified_addresses == ()


def test_rule_32_an_address_that_was_given_up_long_ago_does_not_come_back(home):
    home.proven()
    own_addresses.change(home.services, home.identity(home.session().secret), "", HERE)
    home.later(hours=24 * 30)
    move_address(home, THIEFS)
    assert pressed(home).is_address_back
    assert home.user(1).verified_addresses == ()
