"""How the text of a setting becomes its value, and what is refused."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_gatehouse.kernel import parsing

ANYTHING = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.lists(st.text()))
PARSERS = [
    parsing.text,
    parsing.words,
    parsing.secrets_list,
    parsing.secret,
    parsing.whole,
    parsing.flag,
    parsing.duration,
    parsing.one_of("on", "off"),
    parsing.origins,
    parsing.networks,
    parsing.argon2,
    parsing.url_path,
    parsing.local_path,
]


@pytest.mark.parametrize("parse", PARSERS, ids=lambda parse: parse.__qualname__)
@given(value=ANYTHING)
def test_v2_2_1_whatever_is_given_a_parser_answers_or_says_it_cannot_be_taken(parse, value):
    try:
        parse(value)
        said = "taken"
    except ValueError as error:
        said = str(error)
    assert said


def _refuses(parse, *values):
    for value in values:
        with pytest.raises(ValueError):  # noqa: PT011 - which words it uses is a matter of the settings' tests
            parse(value)


def test_text_is_taken_as_it_is():
    assert parsing.text(" a ") == " a "
    _refuses(parsing.text, 1, None, b"a", ["a"])


def test_words_are_separated_by_commas_or_blanks():
    assert parsing.words(" totp, passkeys\tjwt,,") == ("totp", "passkeys", "jwt")
    assert parsing.words([" totp ", "jwt"]) == ("totp", "jwt")
    assert parsing.words("") == parsing.words(()) == ()
    _refuses(parsing.words, 1, None, [1])


def test_secrets_keep_their_blanks():
    assert parsing.secrets_list("one secret,another ") == ("one secret", "another ")
    assert parsing.secrets_list(["one", b"two"]) == ("one", "two")
    assert parsing.secrets_list("") == ()
    _refuses(parsing.secrets_list, 1, None, [1])


def test_a_secret_is_text_or_bytes_of_any_kind():
    assert parsing.secret(" secret ") == " secret "
    assert parsing.secret(b"secret") == "secret"
    assert parsing.secret(b"\xff") != parsing.secret(b"\xfe")
    _refuses(parsing.secret, 1, None)


def test_whole_numbers_are_zero_or_more():
    assert [parsing.whole(value) for value in (0, 12, "12", " 12 ")] == [0, 12, 12, 12]
    _refuses(parsing.whole, -1, "-1", "1.5", 1.5, True, "", "one", None)


def test_flags_are_the_usual_words():
    assert [parsing.flag(value) for value in (True, "1", "true", "Yes", " on ")] == [True] * 5
    assert [parsing.flag(value) for value in (False, "0", "false", "No", "off", "")] == [False] * 6
    _refuses(parsing.flag, "maybe", 1, None)


def test_durations_are_seconds_or_carry_their_unit():
    taken = {90: 90, "90": 90, "90s": 90, "30m": 1800, "30 m": 1800, "12h": 43200, "7d": 604800, "0": 0}
    assert {value: parsing.duration(value) // timedelta(seconds=1) for value in taken} == taken
    assert parsing.duration(timedelta(minutes=5)) == timedelta(minutes=5)
    _refuses(
        parsing.duration,
        -1,
        timedelta(-1),
        "1.5h",
        "h",
        "",
        "1 w",
        "-5",
        True,
        None,
        1.5,
        "9" * 10,
        10**30,
        "9" * 9 + "d",
        timedelta.max,
    )


def test_one_of_takes_its_words_in_any_case():
    parse = parsing.one_of("default", "strict")
    assert parse(" Strict ") == "strict"
    _refuses(parse, "loose", "", None)


def test_origins_have_one_spelling():
    spelled = "https://App.Example:443, http://localhost:5000/ http://[::1]:80"
    assert parsing.origins(spelled) == ("https://app.example", "http://localhost:5000", "http://[::1]")
    assert parsing.origins(["https://a.example:8443"]) == ("https://a.example:8443",)


@pytest.mark.parametrize(
    "value",
    [
        "app.example",
        "https://",
        "ftp://app.example",
        "https://app.example/path",
        "https://app.example?query",
        "https://app.example#fragment",
        "https://user@app.example",
        "https://user:secret@app.example",
        "https://:secret@app.example",
        "https://app.example:99999",
        "https://[::1",
        "null",
        "*",
    ],
)
def test_what_is_no_origin_is_refused(value):
    _refuses(parsing.origins, value)


def test_networks_are_cidrs_or_none():
    assert parsing.networks("10.0.0.0/8, fd00::/8") == (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    assert parsing.networks("127.0.0.1") == (ip_network("127.0.0.1/32"),)
    assert parsing.networks("none") == parsing.networks("") == ()
    _refuses(parsing.networks, "10.0.0.1/8", "all", "*", "none, 10.0.0.0/8", 5)


def test_argon2_is_three_numbers_the_algorithm_takes():
    assert parsing.argon2("19456,2,1") == parsing.argon2([19456, 2, 1]) == (19456, 2, 1)
    _refuses(parsing.argon2, "19456,2", "19456,2,1,1", "m,t,p", "-1,2,1", None, 19456)


@pytest.mark.parametrize("value", ["0,2,1", "19456,0,1", "19456,2,0", "7,1,1", "31,1,4"])
def test_v11_4_2_argon2_parameters_that_the_algorithm_refuses_are_refused_when_read(value):
    _refuses(parsing.argon2, value)


def test_paths_begin_with_a_slash_and_end_without():
    assert [parsing.url_path(value) for value in ("", "/", "/auth", "/auth/", "/a/b-c.d_e~f")] == [
        "",
        "",
        "/auth",
        "/auth",
        "/a/b-c.d_e~f",
    ]
    _refuses(parsing.url_path, "auth", "//auth", "/a b", "/a?b", "/<name>", "/ä", None)


def test_v3_7_2_a_place_of_the_app_is_a_path_that_leaves_it_nowhere():
    assert [parsing.local_path(value) for value in ("/", "/home?tab=1")] == ["/", "/home?tab=1"]
    _refuses(parsing.local_path, "home", "//evil.example", "/\\evil.example", "https://evil.example", "", None)
