"""Found by an attacker of ours: what is counted in memory, told while others guess, and while the database is busy."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from flask_gatehouse.domain.sessions import Issued
from flask_gatehouse.flows import login
from flask_gatehouse.flows.outcomes import Refusal, Refused
from flask_gatehouse.kernel import schema
from tests.support.house import WRONG, wait_for_places

OWN, A = "192.0.2.77", "203.0.113.200"

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


def delayed(home, name="alice"):
    """Put an account into its delay."""
    for _ in range(5):
        home.log_in(name, WRONG, address=OWN)


def told(home):
    """Tell what windows that have ended counted; return how many refusals were recorded or told."""
    home.later(minutes=11)
    for _ in range(4):
        login.tell_counted(home.services)
        home.later(seconds=1)
    details = [one for one in home.details("failures.counted") if one["kind"] == "login.throttled"]
    return len(home.events("login.throttled")) + sum(one["number"] for one in details)


def test_rule_28_v15_4_3_a_failing_login_and_another_workers_telling_do_not_wait_for_each_other(home):
    home.person()
    delayed(home)
    for number in range(130):  # more than a hundred to tell: the rest is added to the counter that all share
        for _ in range(6):
            home.log_in(address=f"198.51.100.{number}")
    home.later(minutes=10, seconds=1)
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
