"""What administrators see first: numbers that are right, floods included, and each matter only while it is true."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from flask_gatehouse.domain import throttle, users
from flask_gatehouse.flows import alarm, login, overview, reset_password
from flask_gatehouse.flows.overview import Concern
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.clock import micros
from flask_gatehouse.kernel.identity import CLI
from tests.support.house import HERE, WRONG, statements_of
from tests.support.plans import fill_log

DAY = micros(timedelta(days=1))


def activity(home):
    with home.services.reading() as connection:
        return overview.activity(home.services, connection, home.clock.now())


def totals(home):
    return {name: sum(numbers) for name, numbers in activity(home).numbers.items()}


def matters(home):
    with home.services.reading() as connection:
        found = [*overview.chain_matters(connection, home.clock.now())]
        return {m.concern: m for m in (*found, *overview.matters(home.services, connection, home.clock.now()))}


@pytest.fixture
def quiet(home):
    """Return a house where nothing needs attention: two administrators, and alice."""
    home.person("alice")
    for name in ("root", "ruth"):
        home.person(name, roles=["admin"])
    assert matters(home) == {}
    return home


# --- the last day -------------------------------------------------------------------------------------------


def test_each_series_has_its_own_number_in_its_hour(quiet):
    quiet.session()
    quiet.log_in(password=WRONG)
    quiet.later(hours=2)
    quiet.session()
    found = activity(quiet)
    assert len(found.hours) == len(found.numbers["logins"]) == 24
    assert found.numbers["logins"][-3:] == [1, 0, 1]
    assert found.numbers["failures"][-3:] == [1, 0, 0]
    assert found.hours[-1] <= quiet.clock.now() < found.hours[-1] + micros(timedelta(hours=1))
    quiet.later(hours=21, minutes=49)
    assert totals(quiet) == {"logins": 2, "failures": 1, "refusals": 0}
    quiet.later(minutes=14)
    assert totals(quiet) == {"logins": 1, "failures": 0, "refusals": 0}


def test_rule_28_a_flood_is_counted_whole_though_few_of_it_have_rows(quiet):
    """Wrong passwords of a user, more names than get a row, a throttled address, and refusals of somebody inside."""
    alice = quiet.identity(quiet.session().secret)
    for _ in range(4):
        quiet.log_in(password=WRONG)
    failures = 4
    for number in range(150):
        quiet.log_in(f"nobody{number}", WRONG, address=f"198.51.100.{number // 15}")
        failures += 1
    for number in range(20):
        quiet.log_in(f"someone{number}", WRONG, address="203.0.113.9")
        failures += 1
    for _ in range(30):
        quiet.log_in("someone", WRONG, address="203.0.113.9")
    now = quiet.clock.now()
    denied = [quiet.services.throttle.count_denial(alice.user_id, now) for _ in range(33)]
    for seen in denied:
        if seen <= throttle.DENIAL.per_target + 1:
            quiet.record("access.denied", user_id=alice.user_id, outcome="refused")
    quiet.later(minutes=11)
    for _ in range(20):
        login.tell_counted(quiet.services)
    assert len(quiet.events("login.failed")) < failures / 1.5
    found = totals(quiet)
    assert found["logins"] == 1
    assert found["failures"] + found["refusals"] == failures + 30 + 33
    assert found["failures"] - failures in {
        0,
        1,
    }  # the first throttled address had no row left, and is told with the rest
    assert sum(activity(quiet).numbers["refusals"][-2:]) == found["refusals"]


def test_rule_28_what_is_told_long_afterwards_stands_where_it_happened(quiet):
    for _ in range(4):
        quiet.log_in(password=WRONG)
    quiet.later(hours=5, minutes=-30)
    quiet.session("root")
    assert len(quiet.events("failures.counted")) == 1
    assert activity(quiet).numbers["failures"][-5:] == [4, 0, 0, 0, 0]


# --- what needs attention -----------------------------------------------------------------------------------


def test_a_disabled_password_and_a_delay_are_named_until_they_are_mended(quiet):
    alice = 1
    for _ in range(5):
        quiet.log_in(password=WRONG)
    found = matters(quiet)[Concern.DELAYED]
    until_at = quiet.counter(f"user:{alice}")[2]
    assert [(one.name, one.user_id, one.at) for one in found.subjects] == [("alice", alice, until_at)]
    quiet.later(seconds=31)
    assert matters(quiet) == {}
    quiet.change(sa.update(schema.counter).where(schema.counter.c.key == f"user:{alice}").values(total=100))
    found = matters(quiet)[Concern.DISABLED]
    assert [(one.name, one.user_id) for one in found.subjects] == [("alice", alice)]
    with quiet.services.unit() as unit:
        quiet.services.throttle.unlock(unit.connection, alice)
    assert matters(quiet) == {}


def test_an_alarm_is_named_until_its_user_has_a_new_password(quiet):
    assert alarm.raise_alarm(quiet.services, quiet.identity(quiet.session().secret), HERE)
    found = matters(quiet)[Concern.ALARMED]
    assert [(one.name, one.user_id) for one in found.subjects] == [("alice", 1)]
    link = reset_password.make_link(quiet.services, CLI, "alice")
    assert reset_password.complete(quiet.services, str(link), "another quiet river", HERE) == 1
    assert matters(quiet) == {}


def test_who_is_suspended_is_no_matter_nor_is_what_strangers_typed(quiet):
    for _ in range(5):
        quiet.log_in(password=WRONG)
        quiet.log_in("nobody", WRONG)
    with quiet.services.unit() as unit:
        users.set_state(unit.connection, quiet.user(1), "suspended")
    assert matters(quiet) == {}


def test_fewer_than_two_lasting_administrators_are_a_matter(quiet):
    with quiet.services.unit() as unit:
        quiet.services.roles.add_grant(
            unit.connection, 3, "admin", unit.now, by=None, until_at=quiet.clock.now() + 30 * DAY
        )
    assert set(matters(quiet)) == {Concern.FEW_ADMINS}


def test_grants_that_end_within_a_week_are_named_a_few_of_them_the_first_first(quiet):
    with quiet.services.unit() as unit:
        for number in range(7):
            until_at = unit.now + (7 - number) * DAY
            quiet.services.roles.add_grant(unit.connection, 1, f"role{number}", unit.now, by=None, until_at=until_at)
        quiet.services.roles.add_grant(unit.connection, 1, "later", unit.now, by=None, until_at=unit.now + 7 * DAY + 1)
    found = matters(quiet)[Concern.ENDING]
    assert [one.role for one in found.subjects] == ["role6", "role5", "role4", "role3", "role2"]
    assert found.has_more
    quiet.later(days=3)
    found = matters(quiet)[Concern.ENDING]
    assert [one.role for one in found.subjects] == ["role3", "role2", "role1", "role0", "later"]
    assert not found.has_more


def test_roles_that_the_code_declares_too_are_named(quiet):
    quiet.change(sa.insert(schema.role).values(name="clerk", created_at=0))
    found = matters(quiet)[Concern.SHADOWED]
    assert [one.name for one in found.subjects] == ["clerk"]


def test_passwords_hashed_by_an_older_cost_are_a_matter_and_nothing_is_hashed_to_find_out(quiet, monkeypatch):
    weak = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$5jD2qjNpXWg0hYbFuM4gkGdNrvk9dF4qkHV7cxBHQ1c"
    quiet.change(sa.update(schema.password).where(schema.password.c.user_id == 1).values(digest=weak))
    monkeypatch.setattr(quiet.services.hasher, "_hash", None)
    found = matters(quiet)[Concern.OUTDATED]
    assert [one.name for one in found.subjects] == ["argon2id$v=19$m=8,t=1,p=1"]


def test_rule_27_a_chain_that_was_not_ours_is_a_matter_for_thirty_days(quiet):
    quiet.change(sa.update(schema.chain_head).values(mac=bytes(32)))
    quiet.session()
    found = matters(quiet)[Concern.UNSEALED]
    assert found.subjects[0].at == quiet.clock.now()
    quiet.record("audit.verified", outcome="refused", detail={"row": 1, "finding": "x"})
    assert set(matters(quiet)) == {Concern.UNSEALED, Concern.DISAGREES}
    quiet.later(days=31)
    assert matters(quiet) == {}


def test_closed_users_are_no_matter(quiet):
    for _ in range(5):
        quiet.log_in(password=WRONG)
    with quiet.services.unit() as unit:
        users.close(unit.connection, quiet.user(1))
    assert matters(quiet) == {}


def test_statements_are_as_many_whatever_there_is_to_tell(quiet):
    def look():
        with statements_of(quiet) as noted:
            matters(quiet)
            activity(quiet)
        return len(noted.texts)

    few = look()
    with quiet.services.unit() as unit:
        for number in range(9):
            quiet.services.roles.add_grant(
                unit.connection, 1, f"role{number}", unit.now, by=None, until_at=unit.now + DAY
            )
    for _ in range(5):
        quiet.log_in(password=WRONG)
    quiet.change(sa.delete(schema.event))
    fill_log(quiet.services.database, 5000, quiet.clock.now() - DAY, DAY // 5000, kind="'login.failed'")
    assert few == look() == 12
