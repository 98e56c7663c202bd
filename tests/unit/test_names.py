"""Login names and addresses: judged whole, before any case folding (rule 2)."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_gatehouse.domain.throttle import Throttle
from flask_gatehouse.domain.users import name_key, require_email, require_name
from flask_gatehouse.kernel.errors import InvalidEmail, InvalidName
from flask_gatehouse.kernel.keys import KeyRing

ALLOWED = string.ascii_letters + string.digits + "_.-"
IMPOSSIBLE = [
    "",
    "ab",
    "a" * 81,
    "alice\n",
    "\nalice",
    "alice\x00",
    " alice",
    "alice ",
    "al ice",
    "alice\u200b",
    "\u017falice",  # the long s folds to s
    "\u212aelvin",  # the Kelvin sign folds to k
    "al\u0131ce",  # dotless i
    "\u0130alice",  # lowers to two characters
    "stra\u00dfe",  # ß folds to ss
    "ﬁona",  # a ligature folds to fi
    "alic\u00e9",
    "\uff41lice",
    "\u0430lice",  # a Cyrillic a
    "١٢٣",  # digits, but not these ten
    "alice@example.org",
    "alice'--",
    "<alice>",
    "alice/..",
]


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_rule_02_v1_1_1_a_name_outside_the_pattern_is_refused_and_has_no_key(name):
    with pytest.raises(InvalidName):
        require_name(name)
    assert name_key(name) is None


@given(st.text(ALLOWED, min_size=3, max_size=80))
def test_rule_02_a_name_of_the_pattern_is_taken_and_unique_upper_and_lower_case_aside(name):
    assert require_name(name) == name
    assert name_key(name) == name_key(name.upper()) == name_key(name.swapcase()) == name.lower()


@given(st.text(max_size=90))
def test_rule_02_the_key_of_a_name_is_of_the_pattern_again_or_there_is_none(name):
    key = name_key(name)
    assert (key is not None) == (3 <= len(name) <= 80 and set(name) <= set(ALLOWED))
    assert key is None or re.fullmatch(r"[a-z0-9_.-]{3,80}", key)


def _throttle(secret: str = "x" * 32) -> Throttle:
    return Throttle(None, KeyRing(secret), is_on=False, login_name="username")  # type: ignore[arg-type]  # keys need no database


def test_rule_02_the_charge_is_keyed_by_user_once_found_and_by_a_digest_of_the_name_before():
    throttle = _throttle()
    assert throttle.account_key(7, "alice") == throttle.account_key(7, "whatever") == "user:7"
    assert throttle.account_key(None, "Alice") == throttle.account_key(None, "aLICE")
    assert throttle.account_key(None, "alice") != throttle.account_key(None, "alice\n")
    assert throttle.account_key(None, "alice") != throttle.account_key(None, "alicf")


@given(st.text(max_size=2000))
def test_rule_02_rule_28_v16_2_5_the_key_hides_what_was_typed_and_fits_its_column(name):
    key = _throttle().account_key(None, name)
    assert re.fullmatch(r"name:[0-9a-f]{32}", key)
    assert key != _throttle("y" * 32).account_key(None, name)


def test_the_three_budgets_of_one_user_are_apart():
    throttle = _throttle()
    keys = {throttle.account_key(7, ""), throttle.inside_key(7), throttle.factor_key("totp", 7)}
    assert keys == {"user:7", "inside:7", "factor:totp:7"}


@pytest.mark.parametrize(
    "address", ["a@b.example", "first.last+tag@sub.example.org", "ü@b.example", "x" * 64 + "@" + "b" * 180]
)
def test_an_address_that_can_be_one_is_stored_as_typed(address):
    assert require_email(address) == address


def test_an_empty_address_is_none_at_all():
    assert require_email("") is None
    assert require_email(None) is None


@pytest.mark.parametrize(
    "address",
    [
        "a",
        "a@",
        "@b",
        "a@b@c",
        "a b@c.example",
        "a@b c",
        "a@b.example\nBcc: x@y",
        "a\x00@b",
        "a@b..example",
        "a..b@c",
        "<a@b>",
        '"a"@b',
        "a,b@c",
        "x" * 65 + "@b",
        "a@" + "b" * 190,
        "x" * 64 + "@" + "b" * 189 + ".",
        "a@bücher.example",
    ],
)
def test_v1_3_11_an_address_that_could_carry_a_header_or_a_second_one_is_refused(address):
    with pytest.raises(InvalidEmail):
        require_email(address)
