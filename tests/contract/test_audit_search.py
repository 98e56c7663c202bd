"""Searching the log: exact whatever the order of times and numbers, and along an index."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_gatehouse.domain.audit import Event, search
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.clock import micros
from flask_gatehouse.kernel.identity import APP, Source

EVENT = schema.event
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


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "column, value, index",
    [
        ("user_id", 1, "ix_gatehouse_event_user_id_id"),
        ("kind", "logout", "ix_gatehouse_event_kind_id"),
        ("address", "192.0.2.1", "ix_gatehouse_event_address_id"),
        ("kind", None, "INTEGER PRIMARY KEY"),
    ],
)
@pytest.mark.parametrize("since, until", [(None, None), (START + 50 * MINUTE, START + 70 * MINUTE)])
def test_every_search_goes_along_an_index_and_sorts_nothing(log, column, value, index, since, until):
    with log.services.reading() as connection:
        query = search.newest(connection, {column: value}, since, until).limit(5)
        text = str(query.compile(connection, compile_kwargs={"literal_binds": True}))
        plan = " ".join(str(row[3]) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}"))
    assert "TEMP B-TREE" not in plan
    assert index in plan or plan == "SCAN gatehouse_event", plan  # newest first without any condition: from the end
    assert (plan == "SCAN gatehouse_event") == (value is None and since is None)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_bounds_of_a_span_come_off_the_index_of_times(log):
    texts: list[tuple[str, object]] = []
    with log.services.reading() as connection:
        sa.event.listen(connection, "before_cursor_execute", lambda *sent: texts.append((sent[2], sent[3])))
        log.services.audit.search(connection, user_id=1, since=START + 50 * MINUTE, until=START + 70 * MINUTE)
        for text, values in texts[:2]:
            (row,) = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values)
            assert "USING COVERING INDEX ix_gatehouse_event_at (at" in row[3]
    assert len(texts) == 5
