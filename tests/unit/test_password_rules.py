"""What a password may be: whole values, every character counts, no composition rules (rule 10)."""

from __future__ import annotations

import string
import time
import unicodedata

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from flask_gatehouse.domain.passwords.rules import GUIDANCE, PasswordRules, common_passwords, normalised
from flask_gatehouse.kernel.errors import WeakPassword

RULES = PasswordRules(8, frozenset({"acme-portal"}))
EMOJI = "\U0001f9d9"
PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))
ANY_CHARACTER = st.characters(exclude_categories=("Cc", "Cs"))


def refused(value: str, *, username: str = "alice", email: str | None = None, rules: PasswordRules = RULES) -> str:
    """Return why the password is refused."""
    with pytest.raises(WeakPassword) as caught:
        rules.require(value, username, email)
    assert value in GUIDANCE or value not in str(caught.value)
    return str(caught.value)


@given(st.text(ANY_CHARACTER, min_size=15, max_size=64))
def test_v6_2_5_63b_3_1_1_2_07_any_characters_in_any_composition_are_taken(value):
    assume(len(normalised(value)) >= 8)
    assert RULES.require(value, "alice") == unicodedata.normalize("NFC", value)


@pytest.mark.parametrize("value", ["zephyrgnomes", "482910573", "gnomes eat waffles", '!"$%&/()=?', "        .       "])
def test_63b_3_1_1_2_07_one_class_of_characters_is_enough(value):
    assert RULES.require(value, "alice") == value


def test_63b_3_1_1_2_04_every_printable_ascii_character_and_blanks_at_both_ends_count():
    value = f" {PRINTABLE} "
    assert RULES.require(value, "alice") == value


def test_v6_2_1_63b_3_1_1_2_02_seven_characters_are_too_few_and_eight_enough():
    assert "8 characters or more" in refused("qzvkwpx")
    assert RULES.require("qzvkwpxj", "alice") == "qzvkwpxj"


def test_v6_2_1_63b_3_1_1_2_01_the_strict_minimum_is_fifteen():
    strict = PasswordRules(15)
    assert "15 characters or more" in refused("qzvkwpxjqzvkwp", rules=strict)
    assert strict.require("qzvkwpxjqzvkwpx", "alice")


def test_63b_3_1_1_2_05_a_code_point_outside_the_bmp_counts_as_one_character():
    strict = PasswordRules(15)
    refused(EMOJI * 14, rules=strict)
    assert strict.require(EMOJI * 15, "alice") == EMOJI * 15


@pytest.mark.parametrize("length", [64, 128, 1024])
@pytest.mark.parametrize("character", ["x", EMOJI, "é"])
def test_v6_2_9_63b_3_1_1_2_03_long_passwords_are_taken(length, character):
    assert len(RULES.require(character * length, "alice")) == length


def test_63b_3_1_1_2_03_beyond_1024_the_limit_is_named():
    assert "1024" in refused("é" * 1025)


def test_63b_3_1_1_2_06_nfc_is_the_form_and_compatible_letters_stay_distinct():
    assert normalised("cafe\u0301") == "caf\u00e9" == normalised("caf\u00e9")
    assert normalised("\uff50ass") == "\uff50ass"
    assert normalised("ﬁ") == "ﬁ"


def test_63b_3_1_1_2_05_the_length_is_that_of_the_normal_form():
    refused("e\u0301" * 7)
    assert RULES.require("e\u0301" * 8, "alice") == "é" * 8


@pytest.mark.parametrize("character", ["\x00", "\x01", "\t", "\n", "\r", "\x1b", "\x7f", "\x85", "\ud800"])
@pytest.mark.parametrize("place", [0, 8, 16])
def test_rule_10_nul_and_control_characters_are_refused_wherever_they_stand(character, place):
    value = "gnomes eat waffles"
    assert "Control characters" in refused(value[:place] + character + value[place:])


@pytest.mark.parametrize("value", [" gnomes eat ", "\u00a0gnomes eat\u2003", "\ufeffgnomes eat"])
def test_rule_10_v6_2_8_nothing_is_trimmed(value):
    assert RULES.require(value, "alice") == value


def test_v6_2_4_63b_3_1_1_2_16_the_list_has_thousands_of_entries_that_the_length_rule_would_take():
    listed = common_passwords()
    assert len(listed) >= 3000
    assert min(map(len, listed)) >= 8
    assert len([word for word in listed if len(word) >= 15]) >= 10
    assert {word for word in listed if word != normalised(word).casefold()} == set()


def test_v6_2_4_63b_3_1_1_2_13_each_entry_is_refused_in_any_case():
    for word in sorted(common_passwords())[::150]:
        for value in (word, word.upper(), word.capitalize()):
            assert "commonly used" in refused(value)


def test_rule_10_a_listed_word_is_found_in_its_decomposed_form():
    listed = PasswordRules(8, frozenset({"café-society"}))
    assert "name of this service" in refused("CAFE\u0301-society", rules=listed)


def test_rule_10_63b_3_1_1_2_14_only_whole_values_are_compared():
    for value in ("correct password horse battery", "xpassword1x", "password1 ", " password1", "my acme-portal"):
        assert RULES.require(value, "alice") == value


def test_63b_3_1_1_2_13_names_of_user_and_service_are_refused_and_so_is_the_address():
    assert "own name" in refused("Alice-Liddell", username="alice-liddell")
    assert "own name" in refused("ALICE.liddell", email="alice.liddell@example.org")
    assert "own name" in refused("alice.liddell@EXAMPLE.org", email="alice.liddell@example.org")
    assert "name of this service" in refused("Acme-Portal")
    assert RULES.require("alice-liddell likes tea", "alice-liddell")


@pytest.mark.parametrize(
    "value",
    ["Acme-Portal-2025!", "4cm3p0rt4l", "ACME PORTAL 1", "!!acme_portal", "2025acmeportal", "acmeportalACMEPORTAL99"],
)
def test_v6_2_11_what_is_easily_made_of_the_services_name_is_refused(value):
    assert "name of this service" in refused(value)


@pytest.mark.parametrize("value", ["alice-liddell!", "4l1c3.l1dd3ll", "AliceLiddell2026", "$alice$liddell$"])
def test_v6_2_11_what_is_easily_made_of_ones_own_name_is_refused(value):
    assert "own name" in refused(value, username="alice-liddell")


@pytest.mark.parametrize("value", ["malice-liddells", "alice-liddell likes tea", "portal of acme", "correct horse"])
def test_v6_2_11_a_phrase_that_holds_a_name_passes(value):
    assert RULES.require(value, "alice-liddell") == value


def test_v6_2_11_looking_for_names_takes_no_time_that_anybody_could_use():
    begun = time.thread_time()
    RULES.require("a" * 1023 + "b", "aaa")
    assert time.thread_time() - begun < 1


def test_63b_3_1_1_2_15_63b_3_1_1_2_17_a_refusal_says_why_and_how_to_choose():
    assert GUIDANCE in refused("password1")
    assert GUIDANCE in refused("qzvkwp")
    assert refused("password1") == refused("password1")


@given(st.text(string.ascii_letters, min_size=8, max_size=80))
def test_rule_10_v6_2_11_ones_own_name_is_refused_in_any_case(name):
    for value in (name, name.upper(), name.swapcase()):
        refused(value, username=name)
