"""The parts of a request that say who is asking: cookie header, scheme, user agent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_gatehouse.domain.sessions import browser_mark
from flask_gatehouse.http.schemes import clean_agent, cookie_value, has_token_scheme

NAME = "__Host-gatehouse"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:{0}) Gecko/20100101 Firefox/{0}"


@pytest.mark.parametrize(
    "header, value",
    [
        (f"{NAME}=abc", "abc"),
        (f"a=1; {NAME}=abc; b=2", "abc"),
        (f"a=1;{NAME}=abc;b=2", "abc"),
        (f"{NAME}=abc ", "abc"),
        (f"{NAME}=a=b", "a=b"),
        (f"{NAME}=", ""),
        ("", ""),
        (f"x{NAME}=abc", ""),
        (f"{NAME}-guest=abc", ""),
        (f"{NAME.lower()}=abc", ""),
        (f"gatehouse=evil; {NAME}=abc", "abc"),
        (f'a="; {NAME}=abc"', 'abc"'),
    ],
)
def test_rule_17_the_cookie_is_found_by_its_exact_name(header, value):
    assert cookie_value(header, NAME) == value


@pytest.mark.parametrize(
    "header",
    [f"{NAME}=one; {NAME}=two", f"{NAME}=one; {NAME}=one", f"{NAME}=one;a=1;{NAME}=two", f"{NAME}=a;{NAME}=b;{NAME}=c"],
)
def test_rule_17_v15_3_7_a_duplicated_cookie_counts_as_none(header):
    assert cookie_value(header, NAME) == ""


def test_rule_17_an_empty_twin_does_not_hide_a_planted_cookie_nor_reveal_it():
    assert cookie_value(f"{NAME}=one; {NAME}=", NAME) == ""
    assert cookie_value(f"{NAME}=; {NAME}=one", NAME) == ""


@given(st.text(), st.text())
def test_v2_2_1_any_cookie_header_gives_text(header, name):
    assert isinstance(cookie_value(header, name), str)


@pytest.mark.parametrize(
    "authorization, is_token",
    [
        ("Bearer abc", True),
        ("bearer abc", True),
        (" BEARER  abc", True),
        ("Bearer", True),
        ("Basic YTpi", False),
        ("Bearerabc", False),
        ("", False),
        ("Negotiate Bearer", False),
    ],
)
def test_rule_20_only_a_token_scheme_makes_the_cookie_count_for_nothing(authorization, is_token):
    assert has_token_scheme({"HTTP_AUTHORIZATION": authorization}) is is_token
    assert has_token_scheme({}) is False


def test_rule_17_an_update_of_the_browser_is_no_other_browser():
    assert browser_mark(FIREFOX.format("140.0")) == browser_mark(FIREFOX.format("141.0.2"))
    assert browser_mark(FIREFOX.format("140.0")) != browser_mark("Mozilla/5.0 (X11; Linux x86_64) Chrome/140.0")
    assert browser_mark(FIREFOX.format("140.0")) != browser_mark(FIREFOX.format("140.0").replace("X11", "Windows"))
    assert browser_mark("") == ""


@given(st.text(max_size=600))
def test_v1_3_3_a_user_agent_is_cut_and_holds_no_control_characters(agent):
    cleaned = clean_agent(agent)
    assert len(cleaned) <= 256
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in cleaned)
    assert clean_agent(cleaned) == cleaned
