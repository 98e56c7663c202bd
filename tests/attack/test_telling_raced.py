"""Found by an attacker of ours: what is counted in memory, told while others guess, and while the database is busy."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from flask_gatehouse.domain.audit import AuditLog, Event
from flask_gatehouse.domain.sessions import Issued
from flask_gatehouse.domain.throttle import PASSKEY
from flask_gatehouse.flows import failures, forgot_password, login
from flask_gatehouse.flows.outcomes import Refusal, Refused
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.errors import DatabaseUnavailableError
from flask_gatehouse.kernel.identity import GUEST
from tests.support.house import SECOND, WRONG, source, statements_of, wait_for_places

OWN, A = "192.0.2.77", "203.0.113.200"

on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


def delayed(home, name="alice"):
    """Put an account into its delay."""
    for _ in range(5):
        home.log_in(name, WRONG, address=OWN)


def tell(home, times=4):
    """Tell what windows that have ended counted."""
    home.later(minutes=11)
    for _ in range(times):
        login.tell_counted(home.services)
        home.later(seconds=1)


def told(home):
    """Return how many refusals were recorded or told, once their windows have ended."""
    tell(home)
    details = [one for one in home.details("failures.counted") if one["kind"] == "login.throttled"]
    return len(home.events("login.throttled")) + sum(one["number"] for one in details)


def window(key, ends_at, **counts):
    """Return a window as a row."""
    nothing = dict.fromkeys(("count", "total", "blocked_until", "judging", "refunded_until", "refused"), 0)
    return nothing | {"key": key, "ends_at": ends_at, "purge_at": ends_at} | counts


@on_postgresql
def test_rule_28_v15_4_3_a_failing_login_and_another_workers_telling_do_not_wait_for_each_other(home):
    now = home.clock.now()
    rows = [
        window(f"login@198.51.{100 + number // 250}.{number % 250}", now - SECOND, refused=3) for number in range(700)
    ]
    rows += [window("firsts>told", now + 500 * SECOND, count=100)]  # a hundred are told: the rest is added up
    with home.services.database.engine.begin() as connection:
        connection.execute(sa.insert(schema.counter), rows)
    delayed(home, "bob")
    for _ in range(8):  # heard three times, paused five: those are in memory
        home.log_in("bob", WRONG, address=A)
    home.later(seconds=2)
    pool, release = home.services.hasher._pool, threading.Event()
    with ThreadPoolExecutor(4) as threads:
        threads.submit(pool.run, lambda: release.wait(30))
        wait_for_places(home, 1)
        failing = threads.submit(home.log_in, "carol", WRONG, address=A)  # charged; it waits for its hash
        wait_for_places(home, 2)
        time.sleep(0.3)
        with home.services.database.engine.connect() as third:  # another worker, in the midst of telling
            third.execute(sa.text("SELECT 1 FROM gatehouse_counter WHERE key = 'firsts>told' FOR UPDATE"))
            telling = threads.submit(login.tell_counted, home.services)
            time.sleep(0.3)
            release.set()
            time.sleep(0.3)
            third.rollback()
        telling.result(20)
        assert failing.result(20).reason is Refusal.CREDENTIALS
    counter = schema.counter.c
    assert home.rows(sa.select(counter.judging).where(counter.key == f"login@{A}")) == [(0,)]


@on_postgresql
def test_rule_28_what_could_not_be_told_is_told_later(home):
    home.person()
    delayed(home)
    for _ in range(30):
        home.log_in(address=A)
    home.later(minutes=11)
    with home.services.database.engine.connect() as third:
        third.execute(sa.select(schema.chain_head).with_for_update())
        login.tell_counted(home.services)
        third.rollback()
    home.later(seconds=1)
    assert told(home) == 30


@on_postgresql
def test_rule_28_a_first_refusal_that_cannot_be_recorded_is_a_refusal_and_is_counted(home):
    for number in range(20):
        home.log_in(f"nobody{number}", WRONG, address=A)
    with home.services.database.engine.connect() as third:
        third.execute(sa.select(schema.chain_head).with_for_update())
        refused = home.log_in("nobody", WRONG, address=A)
        third.rollback()
    assert isinstance(refused, Refused)
    assert refused.reason is Refusal.THROTTLED
    for _ in range(8):
        home.log_in("nobody", WRONG, address=A)
    assert told(home) == 9


@on_postgresql
def test_rule_04_people_from_elsewhere_get_in_while_hundreds_of_addresses_guess_and_their_windows_end(open_house):
    homes = [open_house(), open_house()]
    home = homes[0]
    names = [home.person(f"good{number}") and f"good{number}" for number in range(10)]
    delayed(home)
    for number in range(300):
        for _ in range(4):
            homes[number % 2].log_in(address=f"198.51.{100 + number // 250}.{number % 250}")
    home.later(minutes=9, seconds=59)
    stop = threading.Event()

    def guess(at):
        number = at
        while not stop.is_set():
            number += 4
            address = f"198.51.{100 + number % 300 // 250}.{number % 300 % 250}"
            homes[at % 2].log_in("alice" if number % 3 else f"nobody{number}", WRONG, address=address)
            home.later(seconds=0.02)

    with ThreadPoolExecutor(4) as threads:
        guessing = [threads.submit(guess, at) for at in range(4)]
        waits = []
        for number in range(30):
            begun = time.monotonic()
            outcome = home.log_in(names[number % 10], address=f"192.168.1.{number}")
            while isinstance(outcome, Refused) and outcome.reason is Refusal.BUSY:
                outcome = home.log_in(names[number % 10], address=f"192.168.1.{number}")
            assert isinstance(outcome, Issued)
            waits.append(time.monotonic() - begun)
        stop.set()
        for one in guessing:
            one.result(20)
    assert max(waits) < 4  # a deadlock costs five seconds, or one of the two


@on_postgresql
def test_rule_28_v15_4_3_two_workers_that_tell_at_once_do_not_wait_for_each_other(open_house):
    homes = [open_house(), open_house()]
    database, now = homes[0].services.database, homes[0].clock.now()
    rows = [window(f"login@198.51.100.{number}", now - 40 * SECOND + number, refused=3) for number in range(20)]
    rows += [window("rest>login.throttled", now - 30 * SECOND, refused=7)]
    rows += [window(f"login@198.51.101.{number}", now - 20 * SECOND + number, refused=3) for number in range(40)]
    rows += [window("firsts>told", now + 500 * SECOND, count=100)]
    with database.engine.begin() as connection:
        connection.execute(sa.insert(schema.counter), rows)
    with database.engine.connect() as third, ThreadPoolExecutor(2) as threads:
        third.execute(sa.text("SELECT 1 FROM gatehouse_counter WHERE key = 'firsts>told' FOR UPDATE"))
        tellers = [threads.submit(login.tell_counted, one.services) for one in homes]
        time.sleep(0.5)
        third.rollback()
        for teller in tellers:
            teller.result(20)
    homes[0].later(seconds=2)
    tell(homes[0])
    assert sum(one["number"] for one in homes[0].details("failures.counted")) == 60 * 3 + 7


@on_postgresql
def test_rule_28_of_first_failures_at_the_same_moment_one_is_recorded(home):
    home.log_in("other", WRONG, address=OWN)  # so that there is a counter that all share
    with home.services.database.engine.connect() as third, ThreadPoolExecutor(2) as threads:
        third.execute(sa.text("SELECT 1 FROM gatehouse_counter WHERE key = 'firsts>all' FOR UPDATE"))
        failing = [threads.submit(home.log_in, "alice", WRONG, address=f"198.51.100.{number}") for number in range(2)]
        time.sleep(1)
        third.rollback()
        for one in failing:
            one.result(20)
    assert len(home.events("login.failed")) == 2
    tell(home)
    assert [one["number"] for one in home.details("failures.counted")] == [1]


@pytest.mark.parametrize("fault", [ValueError, KeyboardInterrupt])
def test_rule_28_whatever_stops_the_telling_what_was_to_be_told_stays(home, monkeypatch, fault):
    home.person()
    delayed(home)
    for _ in range(30):
        home.log_in(address=A)
    home.later(minutes=11)

    def stop(*_args, **_more):
        raise fault

    with monkeypatch.context() as patched:
        patched.setattr(AuditLog, "append", stop)
        with pytest.raises(fault):
            login.tell_counted(home.services)
    home.later(seconds=1)
    assert told(home) == 30


@on_postgresql
def test_rule_28_that_more_follow_is_recorded_though_the_first_of_them_was_not(home):
    for number in range(100):
        home.log_in(f"nobody{number}", WRONG, address=f"198.51.100.{number}")
    with home.services.database.engine.connect() as third:
        third.execute(sa.select(schema.chain_head).with_for_update())
        with pytest.raises(DatabaseUnavailableError):
            home.log_in("somebody", WRONG, address="198.51.101.1")
        third.rollback()
    home.log_in("somebody", WRONG, address="198.51.101.2")
    assert len(home.events("failures.overflowed")) == 1


def test_rule_28_links_that_are_asked_for_in_three_hundred_names_are_told_in_a_bounded_number_of_rows(home):
    for number in range(300):
        where = source(f"198.51.{100 + number // 250}.{number % 250}")
        for _ in range(5):
            forgot_password.ask(home.services, f"nobody{number}", where)
    tell(home, 60)
    tell(home)  # what was not told one by one has a window of its own
    rows = Counter(home.kinds())
    assert rows["failures.counted"] <= 104
    assert sum(one["number"] for one in home.details("failures.counted")) + rows["password.forgotten"] == 300 * 5


def test_rule_28_the_first_refusal_of_passkeys_is_not_told_again(home):
    throttle, address = home.services.throttle, A
    for _ in range(105):
        charge = throttle.spend(PASSKEY, address, home.clock.now())
        if charge.wait:
            event = Event("login.throttled", GUEST, source=source(address), outcome="refused")
            failures.record_throttled(home.services, charge, f"@{address}", event)
    tell(home)
    assert len(home.events("login.throttled")) == 1
    assert [one["number"] for one in home.details("failures.counted")] == [4]


def test_rule_09_v6_3_8_no_work_tells_whether_a_name_and_an_address_are_one_users(open_house):
    home = open_house(GATEHOUSE_LOGIN_NAME="both")
    home.proven("alice")
    home.proven("bobby")
    work = {}
    for name, other in (("alice", "alice"), ("alice", "bobby"), ("carol", "carol")):
        tell(home)
        home.log_in(name, WRONG, address=OWN)
        with statements_of(home) as noted:
            home.log_in(f"{other}@example.org", WRONG, address=A)
        work[name, other] = noted.texts
    assert len({tuple(texts) for texts in work.values()}) == 1
