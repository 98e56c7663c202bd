"""Counting the log by ten minutes: exact, what was only counted included, along an index, whatever cannot be read."""

from __future__ import annotations

import re
from datetime import timedelta
from functools import partial

import pytest
import sqlalchemy as sa

from flask_gatehouse.domain import throttle
from flask_gatehouse.domain.audit import Event, counts
from flask_gatehouse.domain.audit.counts import EventCounts
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.clock import as_text, micros
from flask_gatehouse.kernel.identity import SYSTEM
from tests.support.plans import fill_log, plans_of
from tests.support.statements import sent_to

EVENT = schema.event
MINUTE, HOUR, DAY = (micros(timedelta(minutes=number)) for number in (1, 60, 24 * 60))


def by_ten_minutes(home, since, *kinds, now=None):
    with home.services.reading() as connection:
        return sorted(home.services.audit.counts.by_ten_minutes(connection, kinds, since, now or home.clock.now()))


def counted(home, since=0):
    with home.services.reading() as connection:
        return sorted(counts.counted(connection, since, 10 * MINUTE))


def test_each_ten_minutes_have_what_happened_in_them(home):
    start = home.clock.now() // HOUR * HOUR
    for minutes, kind in ((0, "logout"), (9, "logout"), (10, "logout"), (11, "user.created"), (55, "logout")):
        with home.services.database.unit() as connection:
            home.services.audit.append(connection, [Event(kind, SYSTEM)], start + minutes * MINUTE)
    assert by_ten_minutes(home, start, "logout", "user.created") == [
        ("logout", start, 2),
        ("logout", start + 10 * MINUTE, 1),
        ("logout", start + 50 * MINUTE, 1),
        ("user.created", start + 10 * MINUTE, 1),
    ]
    assert by_ten_minutes(home, start + 10 * MINUTE, "logout", "login.failed") == [
        ("logout", start + 10 * MINUTE, 1),
        ("logout", start + 50 * MINUTE, 1),
    ]


def test_what_has_settled_is_counted_once_and_what_may_still_grow_again(home):
    start = home.clock.now() // HOUR * HOUR
    now, shown = start + 35 * MINUTE, []
    for minutes in (2, 12, 22, 32):
        with home.services.database.unit() as connection:
            home.services.audit.append(connection, [Event("logout", SYSTEM)], start + minutes * MINUTE)
        with sent_to(home.services.database) as sent:
            shown.append(by_ten_minutes(home, start, "logout", now=now))
        assert len(sent) == 1
    assert [len(found) for found in shown] == [1, 1, 2, 3]  # what was written at 12 came too late to be seen
    assert shown[-1] == [("logout", start + minutes * MINUTE, 1) for minutes in (0, 20, 30)]
    with sent_to(home.services.database) as sent:
        by_ten_minutes(home, start, "logout", now=now)
    assert [int(one) for one in re.findall(r"\d{16}", str(sent))] == [start + 20 * MINUTE]
    set_back = start + 15 * MINUTE  # the clock: nothing of before is trusted
    assert len(by_ten_minutes(home, start, "logout", now=set_back)) == 4
    by_ten_minutes(home, start + 20 * MINUTE, "logout", now=now)
    assert len(by_ten_minutes(home, start, "logout", now=now)) == 4  # from earlier on: counted anew
    home.change(sa.delete(EVENT).where(EVENT.c.at < start + 10 * MINUTE))
    assert [len(by_ten_minutes(home, start, "logout", now=now + late)) for late in (59 * MINUTE, HOUR)] == [4, 3]
    a_day_later = now + DAY
    assert by_ten_minutes(home, start + DAY, "logout", now=a_day_later) == []
    assert by_ten_minutes(home, start, "user.created", now=a_day_later) == []  # of other kinds nothing is known


def tell(home, kind, number, ends_at):
    home.record("failures.counted", detail={"kind": kind, "number": number, "until": as_text(ends_at)})


def test_rule_28_what_was_counted_stands_at_the_middle_of_its_window(home):
    noon = home.clock.now() // HOUR * HOUR
    tell(home, "login.failed", 7, noon)
    tell(home, "login.failed", 5, noon)
    tell(home, "step-up.throttled", 3, noon + 30 * MINUTE)
    assert counted(home) == [
        ("login.failed", noon - 5 * MINUTE, 12),
        ("step-up.throttled", noon + 25 * MINUTE, 3),
    ]
    assert counted(home, home.clock.now() + 1) == []


UNREADABLE = (
    "",
    "{",
    "[]",
    "7",
    '{"kind":"x","until":"yesterday","number":1}',
    '{"until":"2026-01-01T00:00:00Z"}',
    "\x01",
)


@pytest.mark.parametrize("detail", UNREADABLE)
def test_what_cannot_be_read_is_passed_over(home, detail):
    now = home.clock.now()
    tell(home, "login.failed", 7, now)
    tell(home, "login.failed", 1, now)
    home.change(sa.update(EVENT).where(EVENT.c.id == 2).values(detail=detail))
    (found,) = counted(home)
    assert found.number == 7


def test_troubles_of_the_chain_are_told_once_a_kind(home):
    with home.services.reading() as connection:
        assert counts.troubles(connection, 0) == []
    home.record("audit.verified")
    home.record("audit.unsealed", outcome="refused")
    home.later(hours=1)
    since = home.clock.now()
    home.record("audit.verified", outcome="refused")
    home.record("audit.verified", outcome="refused")
    with home.services.reading() as connection:
        assert counts.troubles(connection, 0) == [("audit.verified", since), ("audit.unsealed", since - HOUR)]
        assert counts.troubles(connection, since) == [("audit.verified", since)]


# --- plans --------------------------------------------------------------------------------------------------

ROWS = 30_000


def planned(home, act):
    """Return the plan of the one statement that `act` sends with a connection."""

    def run():
        with home.services.reading() as connection:
            list(act(connection))

    (plan,) = plans_of(home.services.database, run)
    return plan


def test_a_day_of_a_long_log_is_counted_along_an_index(home):
    now = home.clock.now()
    kind = "CASE WHEN n % 10 = 0 THEN 'failures.counted' ELSE 'login.succeeded' END"
    fill_log(home.services.database, ROWS, now - 100 * DAY, 100 * DAY // ROWS, kind=kind)
    kinds = ("login.succeeded", "login.failed", "access.denied")
    for act in (
        partial(EventCounts().by_ten_minutes, kinds=kinds, since=now - DAY, now=now),
        partial(counts.counted, since=now - DAY, length=10 * MINUTE),
        partial(counts.troubles, since=now - 30 * DAY),
    ):
        plan = planned(home, act)
        assert re.search("ix_gatehouse_event_(kind_at|at|kind_id)", plan), plan
        assert not re.search("Seq Scan|SCAN gatehouse_event", plan), plan
    assert sum(found.number for found in by_ten_minutes(home, now - DAY, *kinds)) in range(268, 273)


def test_who_is_shut_out_and_whose_grant_ends_is_found_along_an_index(home):
    now = home.clock.now()
    user_id = home.person()
    keys = [f"{prefix}{number}" for number in range(2500) for prefix in ("user:", "name:")]
    rows = [{"key": key, "count": 3, "total": 3, "ends_at": now, "blocked_until": 0} for key in keys]
    with home.services.database.unit() as connection:
        connection.execute(sa.insert(schema.counter), rows)
        grants = [{"user_id": user_id, "role": f"role {number}", "granted_at": now} for number in range(3000)]
        connection.execute(sa.insert(schema.grant), [{**grant, "until_at": None} for grant in grants])
        for key, values in (
            ("user:7", {"total": 100}),
            ("name:7", {"total": 100, "blocked_until": now + HOUR}),
            ("user:8", {"total": 100, "blocked_until": now + HOUR}),
            ("user:9", {"blocked_until": now + MINUTE}),
            ("user:10", {"blocked_until": now + HOUR}),
            ("user:11", {"blocked_until": now}),
        ):
            connection.execute(sa.update(schema.counter).where(schema.counter.c.key == key).values(**values))
        home.services.roles.add_grant(connection, user_id, "role 1", now, by=None, until_at=now + DAY)
        home.services.roles.add_grant(connection, user_id, "role 2", now, by=None, until_at=now)
        home.services.roles.add_grant(connection, user_id, "role 3", now, by=None, until_at=now + 2 * DAY)
        if not home.services.database.is_sqlite:
            connection.exec_driver_sql("ANALYZE gatehouse_counter, gatehouse_grant")
    with home.services.reading() as connection:
        assert sorted(throttle.disabled_users(connection, 9)) == [7, 8]
        assert list(throttle.delayed_users(connection, now, 9).items()) == [(10, now + HOUR), (9, now + MINUTE)]
        (ending,) = home.services.roles.ending(connection, now, now + DAY, 9)
    assert (ending.user_id, ending.username, ending.role, ending.until_at) == (user_id, "alice", "role 1", now + DAY)
    for act, index in (
        (partial(throttle.disabled_users, limit=9), "ix_gatehouse_counter_total"),
        (partial(throttle.delayed_users, now=now, limit=9), "ix_gatehouse_counter_blocked_until"),
        (partial(home.services.roles.ending, now=now, until=now + DAY, limit=9), "ix_gatehouse_grant_until_at"),
    ):
        assert index in planned(home, act)
