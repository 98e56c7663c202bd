"""Instants: whole microseconds in UTC, whatever the machine's time zone."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_gatehouse.kernel.clock import Clock, as_datetime, as_text, from_datetime, from_text, micros

MOMENTS = st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9998, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis wants naive bounds


@given(MOMENTS)
def test_a_moment_survives_the_way_there_and_back(moment):
    assert abs(as_datetime(from_datetime(moment)) - moment) <= timedelta(microseconds=64)  # a float holds no more
    assert isinstance(from_datetime(moment), int)


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=36500)))
def test_a_duration_is_counted_in_whole_microseconds(duration):
    assert timedelta(microseconds=micros(duration)) == duration


def test_v16_2_2_a_time_is_shown_in_utc_with_a_z():
    summer = datetime(2030, 7, 1, 12, 30, 15, tzinfo=timezone(timedelta(hours=2)))
    assert as_text(from_datetime(summer)) == "2030-07-01T10:30:15Z"


def test_v16_2_2_a_time_without_its_offset_is_refused():
    with pytest.raises(ValueError, match="2030-01-31T12:00:00Z"):
        from_datetime(datetime(2030, 1, 31, 12, 0, 0))  # noqa: DTZ001 - the subject


@given(MOMENTS)
def test_a_text_is_read_as_the_moment_that_is_shown_again(moment):
    shown = as_text(from_text(moment.isoformat()))
    assert as_text(from_text(shown)) == shown


@pytest.mark.parametrize(
    "text", ["", "soon", "2030-01-31", "2030-01-31T12:00:00", "9999-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00"]
)
def test_a_text_that_names_no_moment_we_could_show_is_refused_with_how_to_write_one(text):
    with pytest.raises(ValueError, match=r"2030-01-31T12:00:00Z.*9998"):
        from_text(text)


def test_two_offsets_of_one_moment_are_one_instant():
    there = datetime(2030, 1, 31, 9, 0, tzinfo=timezone(timedelta(hours=-3)))
    assert from_datetime(there) == from_datetime(there.astimezone(UTC))


def test_the_clock_tells_the_present_in_microseconds():
    before = time.time_ns() // 1000
    now = Clock().now()
    assert before <= now <= time.time_ns() // 1000
