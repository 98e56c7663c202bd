"""The map of requirements names tests that exist, and every test that bears an id stands in it."""

from __future__ import annotations

from collections import Counter

import pytest

from docs import asvs_map

ROWS = asvs_map.read()
IDS = [row.id for row in ROWS]
NAMES = asvs_map.names_of_tests()


def test_every_requirement_has_one_row():
    assert [found for found, count in Counter(IDS).items() if count > 1] == []
    assert Counter(row.source for row in ROWS) == {"asvs": 294, "63b": 115}
    assert {row.id for row in ROWS if row.id.startswith("63B-")} == {row.id for row in ROWS if row.source == "63b"}


def test_every_status_has_what_it_needs():
    wrong = [
        row.id
        for row in ROWS
        if row.status not in {"met", "part", "not"}
        or (row.status == "met" and (not row.tests or row.reason))
        or (row.status == "part" and (not row.tests or not row.reason))
        or (row.status == "not" and (row.tests or not row.reason))
    ]
    assert wrong == []


def test_every_test_that_the_map_names_exists():
    assert {name for row in ROWS for name in row.tests} - NAMES == set()


def test_every_test_that_bears_an_id_stands_in_its_row():
    tests = asvs_map.by_id(NAMES, IDS)
    told = {row.id: set(row.tests) for row in ROWS}
    missing = {found: sorted(names - told[found]) for found, names in tests.items() if names - told[found]}
    assert missing == {}, "run: python -m docs.asvs_map"


@pytest.mark.parametrize(
    "name, ids",
    [
        ("test_v7_1_1_the_defaults", ["V7.1.1"]),
        ("test_v3_2_2_v3_5_5_the_script", ["V3.2.2", "V3.5.5"]),
        ("test_v13_4_3_and_v13_4_7_our_static_folder", ["V13.4.3", "V13.4.7"]),
        ("test_63b_5_2_2_limits", ["63B-5.2-2"]),
        ("test_63b_3_1_1_2_05_code_points", ["63B-3.1.1.2-05"]),
        ("test_63b_3_2_12_1_20_sessions", ["63B-3.2.12-1"]),
        ("test_v6_2_1_63b_3_1_1_2_1_short_ones", ["V6.2.1", "63B-3.1.1.2-01"]),
        ("test_63b_b_3_1_verification", ["63B-B.3-1"]),
        ("test_63b_3_2_2_1_63b_3_2_2_2_disabled", ["63B-3.2.2-1", "63B-3.2.2-2"]),
        ("test_a_session_ends", []),
    ],
)
def test_ids_are_read_out_of_names(name, ids):
    assert asvs_map.ids_in(name, IDS) == ids


def test_an_id_that_does_not_exist_is_found():
    with pytest.raises(LookupError, match="test_v99_1_1_x"):
        asvs_map.ids_in("test_v99_1_1_x", IDS)
