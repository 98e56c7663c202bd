"""Searching the log: exact whatever the order of times and numbers, and along an index."""

from __future__ import annotations

import re
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_gatehouse.domain import audit
from flask_gatehouse.domain.audit import Event, search
from flask_gatehouse.kernel.clock import micros
from flask_gatehouse.kernel.identity import APP, Source
from tests.support.plans import fill_log, plans_of

MINUTE = micros(timedelta(minutes=1))
START = 1_700_000_000_000_000
KINDS = ("logout", "user.created", "user.suspended")


@pytest.fixture
def log(home):
    """Return a house whose events do not stand in the order of their times: transactions ran side by side."""
    with home.services.database.unit() as connection:
        for number in range(120):
            late = 10 * MINUTE - 1 if number % 7 == 0 else 0
            source = Source(f"192.0.2.{number % 5}")
            event = Event(KINDS[number % 3], APP, number % 4, source)
            home.services.audit.append(connection, [event], START + number * MINUTE - late)
    return home


times = st.none() | st.integers(-15, 135).map(lambda minutes: START + minutes * MINUTE)
wanted = st.fixed_dictionaries(
    {
        "user_id": st.none() | st.integers(0, 5),
        "kind": st.sampled_from(("", "user.closed", *KINDS)),
        "address": st.sampled_from(("", "192.0.2.1", "2001:db8::1")),
        "since": times,
        "until": times,
        "before": st.integers(0, 130),
        "limit": st.integers(1, 130),
    }
)


@settings(max_examples=150)
@given(wanted=wanted)
def test_any_search_finds_exactly_what_reading_everything_would(log, wanted):
    with log.services.reading() as connection:
        found = log.services.audit.search(connection, **wanted)
        everything = log.services.audit.search(connection, limit=1000)
    assert len(everything) == 120
    expected = [
        entry
        for entry in everything
        if wanted["user_id"] in (None, entry.user_id)
        and wanted["kind"] in ("", entry.kind)
        and wanted["address"] in ("", entry.address)
        and (wanted["since"] is None or entry.at >= wanted["since"])
        and (wanted["until"] is None or entry.at < wanted["until"])
        and (not wanted["before"] or entry.id < wanted["before"])
    ]
    assert found == expected[: wanted["limit"]]


def test_pages_follow_each_other_without_a_gap(log):
    seen: list[int] = []
    with log.services.reading() as connection:
        while page := log.services.audit.search(connection, user_id=2, before=seen[-1] if seen else 0, limit=7):
            seen += [entry.id for entry in page]
    assert seen == list(range(119, 0, -4))


def test_a_kind_is_a_value_and_never_part_of_the_statement(log):
    with log.services.reading() as connection:
        assert log.services.audit.search(connection, kind="' OR 1=1 --", address="' OR 1=1 --") == []


@pytest.mark.parametrize("text", ["192.0.2.7", "::ffff:192.0.2.7", "2001:DB8::7", "2001:db8:0:1::/64"])
def test_an_address_is_looked_for_in_the_form_that_the_log_has_it_in(text):
    expected = {"2001:DB8::7": "2001:db8::7"}.get(text, text.removeprefix("::ffff:"))
    assert audit.address_of(text) == expected


@pytest.mark.parametrize("text", ["", "x", "192.0.2.0/24", "192.0.2", "1" * 5000, "2001:db8::/129", " 192.0.2.7"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ValueError, match="write one address"):
        audit.address_of(text)


# --- a long log --------------------------------------------------------------------------------------------

LONG = 30_000
SECOND = MINUTE // 60


@pytest.fixture
def long_log(home):
    """Return a house with a long log: halves of it from two addresses and of two kinds, which never meet but once."""
    fill_log(
        home.services.database,
        LONG,
        START,
        SECOND,
        kind="CASE WHEN n = 7 OR n % 2 = 0 THEN 'logout' ELSE 'user.created' END",
        address="CASE WHEN n % 2 = 0 THEN '192.0.2.2' ELSE '192.0.2.1' END",
        user_id="n % 1000",
    )
    return home


def page(home, before=0, limit=5, **wanted):
    with home.services.reading() as connection:
        return home.services.audit.page(connection, audit.Wanted(**wanted), before=before, limit=limit)


def test_a_page_looks_at_a_bounded_number_of_rows_and_goes_on(long_log, monkeypatch):
    monkeypatch.setattr(search, "READ_AT_MOST", 1000)
    wanted = {"kind": "logout", "address": "192.0.2.1"}
    pages, found = 1, page(long_log, **wanted)
    assert found.entries == []
    assert found.before == LONG - 2001
    while found.before and not found.entries:
        pages, found = pages + 1, page(long_log, before=found.before, **wanted)
    assert [entry.id for entry in found.entries] == [7]
    assert pages == LONG / 2 / 1000
    assert found.before == 0
    with long_log.services.reading() as connection:
        everything = long_log.services.audit.search(connection, limit=5, **wanted)
    assert everything == found.entries


def test_the_rarest_of_what_is_asked_for_leads(long_log):
    found = page(long_log, user_id=7, kind="user.created", address="192.0.2.1")
    assert [entry.id for entry in found.entries] == [LONG - 1000 * n - 993 for n in range(5)]
    assert found.before == found.entries[-1].id
    assert page(long_log, user_id=8, kind="user.created") == ([], 0)


SPAN = {"since": START + 20_000 * SECOND, "until": START + 21_000 * SECOND}
ASKED: list[tuple[dict[str, Any], str]] = [
    ({}, "id"),
    ({"user_id": 7}, "user_id_id"),
    ({"kind": "logout"}, "kind_id"),
    ({"address": "192.0.2.1"}, "address_id"),
    ({"user_id": 7, "kind": "logout"}, "user_id_id"),
    ({"kind": "logout", "address": "192.0.2.1"}, "(kind|address)_id"),
    ({"user_id": 7, "kind": "user.created", "address": "192.0.2.1"}, "user_id_id"),
]


@pytest.mark.parametrize("span", [{}, SPAN], ids=["ever", "span"])
def test_every_search_goes_along_the_index_of_what_is_rarest(long_log, span):
    """By number alone it may be the table's own order: SQLite's rowid, PostgreSQL's primary key."""
    database = long_log.services.database
    for asked, index in ASKED:
        *first, last = plans_of(database, partial(page, long_log, **asked, **span))
        assert len(first) == len(span) + (len(asked) > 1)
        assert not re.search("TEMP B-TREE|Seq Scan", last), (asked, last)
        if index == "id":
            by_number = "INTEGER PRIMARY KEY" if database.is_sqlite else "pk_gatehouse_event"
            assert re.search(by_number, last), last
        else:
            assert re.search(f"ix_gatehouse_event_{index}", last), (asked, last)
            assert re.search(r"=\? AND id>\? AND id<\?|Index Cond: .*ROW.*ROW", last), (asked, last)
            assert not re.search("pk_gatehouse_event|gatehouse_event_at", last), (asked, last)
        for plan in first:
            assert re.search("USING COVERING INDEX|Index", plan), plan
            assert not re.search("Seq Scan|SCAN gatehouse_event$", plan, re.MULTILINE), plan
