"""Known browsers (rules 4 and 5), and what a flood leaves in the audit log (rule 28)."""

from __future__ import annotations

import json
import time

import pytest
import sqlalchemy as sa

from flask_gatehouse.domain import devices
from flask_gatehouse.domain.audit import Event
from flask_gatehouse.domain.sessions import Issued, Session
from flask_gatehouse.domain.throttle import LOGIN, Noted
from flask_gatehouse.flows import failures, login, register, reset_password, revoke, second_step, step_up
from flask_gatehouse.flows.outcomes import FactorDue, Refusal, Refused
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.identity import CLI, GUEST
from tests.support import house
from tests.support.databases import sqlite_copy
from tests.support.house import HERE, PASSWORD, SECOND, WRONG, PaperCodes

DEVICE = schema.device
NEW = "another quiet river"
ELSEWHERE = "198.51.100.7"


@pytest.fixture
def alice(home):
    """Return the id of a user."""
    return home.person()


@pytest.fixture
def cookie(home, alice):
    """Return the device cookie of a browser that alice has logged in with."""
    made = devices.new(home.services.keys)
    assert home.session(spare=made).device == made
    return made


def known_to(home: house.House, cookie: str, user_id: int) -> bool:
    """Tell whether a browser is known for a user."""
    with home.services.reading() as connection:
        return devices.find(connection, cookie, user_id) is not None


def flood(home: house.House, count: int = 30, *, address: str = HERE.address) -> None:
    """Guess from an address at many names and at alice."""
    for number in range(count):
        home.log_in(f"nobody{number}", WRONG, address=address)
        home.log_in("alice", WRONG, address=address)


# --- who gets in -------------------------------------------------------------------------------------------


def test_rule_04_63b_3_2_2_4_a_known_browser_gets_in_from_the_attackers_own_address_and_through_the_delay(home, cookie):
    flood(home)
    stranger = home.log_in()
    assert isinstance(stranger, Refused)
    assert stranger.reason is Refusal.THROTTLED
    assert isinstance(home.log_in(device=cookie), Issued)


def test_rule_04_a_known_browser_gets_in_when_strangers_have_disabled_the_password(home, alice, cookie):
    mine = schema.counter.c.key == f"user:{alice}"
    home.change(sa.update(schema.counter).where(mine).values(total=101))
    assert not home.log_in(address=ELSEWHERE)
    assert isinstance(home.log_in(device=cookie, address=ELSEWHERE), Issued)
    assert home.counter(f"user:{alice}")[:2] == (0, 0)  # a full login zeroes it
    assert isinstance(home.log_in(address=ELSEWHERE), Issued)


def test_rule_03_a_known_browser_charges_neither_the_address_nor_the_account_of_strangers(home, alice, cookie):
    before = home.counter(f"login@{HERE.address}"), home.counter(f"user:{alice}")
    for _ in range(4):
        assert not home.log_in(password=WRONG, device=cookie)
    assert (home.counter(f"login@{HERE.address}"), home.counter(f"user:{alice}")) == before


def test_rule_03_a_known_browser_is_equally_capped(home, alice, cookie):
    reasons = [home.log_in(password=WRONG, device=cookie) for _ in range(6)]
    assert [found.reason for found in reasons if isinstance(found, Refused)] == [Refusal.CREDENTIALS] * 5 + [
        Refusal.THROTTLED
    ]
    assert isinstance(home.log_in(address=ELSEWHERE), Issued)  # a stranger's browser has the account's own count


def test_rule_05_after_ten_wrong_passwords_in_a_row_the_browser_is_known_no_longer(home, alice, cookie):
    for number in range(10):
        assert known_to(home, cookie, alice), number
        assert not home.log_in(password=WRONG, device=cookie)
        home.later(hours=2)
    assert not known_to(home, cookie, alice)
    again = home.session(device=cookie, spare=devices.new(home.services.keys)).device  # as a stranger, and known again
    assert (known_to(home, cookie, alice), known_to(home, again, alice)) == (False, True)


def test_rule_05_the_cookie_means_nothing_for_any_other_name(home, alice, cookie):
    bob = home.person("bob")
    for _ in range(5):
        home.log_in("bob", WRONG, device=cookie)
    refused = home.log_in("bob", device=cookie)
    assert isinstance(refused, Refused)
    assert refused.reason is Refusal.THROTTLED
    assert home.counter(f"user:{bob}")[:2] == (5, 5)
    assert isinstance(home.log_in(device=cookie), Issued)


def test_rule_05_one_browser_may_be_known_for_several_users(home, alice, cookie):
    bob = home.person("bob")
    shared = home.session("bob", device=cookie, spare=devices.new(home.services.keys)).device
    assert known_to(home, shared, alice)
    assert known_to(home, shared, bob)
    assert home.count(DEVICE) == 2
    spare = devices.new(home.services.keys)
    assert home.session(device=shared, spare=spare).device == shared
    assert home.session("bob", device=shared, spare=spare).device == shared


def test_rule_05_a_cookie_that_somebody_planted_or_copied_is_known_for_no_later_user(home, alice, cookie):
    bob = home.person("bob")
    before = home.rows(sa.select(DEVICE.c.id).where(DEVICE.c.user_id == alice))
    home.session("bob", device=cookie, spare=devices.new(home.services.keys))
    assert not known_to(home, cookie, bob)
    assert not known_to(home, cookie, alice)  # nor for the one who may have planted it
    assert home.rows(sa.select(DEVICE.c.id).where(DEVICE.c.user_id == alice)) == before  # with the counts it had
    for _ in range(5):
        assert not home.log_in("bob", WRONG, device=cookie)
    assert home.counter(f"user:{bob}")[:2] == (5, 5)  # as any stranger's


def test_rule_05_ten_a_user_are_known_and_a_login_reuses_the_row(home, alice):
    cookies = [devices.new(home.services.keys) for _ in range(12)]
    for one in cookies:
        home.session(spare=one, address=f"203.0.113.{cookies.index(one)}")
        home.later(seconds=1)
    assert home.session(device=cookies[5], spare=devices.new(home.services.keys)).device == cookies[5]
    assert [known_to(home, one, alice) for one in cookies] == [False] * 2 + [True] * 10
    assert home.count(DEVICE) == 10


def test_rule_05_only_the_digest_of_the_cookie_is_stored_and_only_a_genuine_one_counts(home, cookie):
    assert cookie not in repr(home.rows(sa.select(DEVICE)))
    keys = home.services.keys
    assert devices.genuine(keys, cookie) == cookie
    secret, _, mac = cookie.partition(".")
    forgeries = (
        "",
        ".",
        secret,
        f"{secret}.",
        f"{secret}.{mac[:-2]}",
        f"x{cookie}",
        f"{secret}.{'0' * 64}",
        "\ud800.00",
    )
    for forged in forgeries:
        assert devices.genuine(keys, forged) == ""


def test_rule_05_a_reset_forgets_all_browsers_and_knows_the_one_that_completes_it(home, alice, cookie):
    fresh = devices.new(home.services.keys)
    link = reset_password.make_link(home.services, CLI, "alice")
    assert reset_password.complete(home.services, str(link), NEW, HERE, device=fresh) == alice
    assert (known_to(home, cookie, alice), known_to(home, fresh, alice)) == (False, True)


def test_rule_05_a_reset_in_a_shared_browser_forgets_it_for_nobody_else(home, alice, cookie):
    bob = home.person("bob")
    shared = home.session("bob", device=cookie, spare=devices.new(home.services.keys)).device
    fresh = devices.new(home.services.keys)
    link = reset_password.make_link(home.services, CLI, "alice")
    assert reset_password.complete(home.services, str(link), NEW, HERE, shown=shared, device=fresh) == alice
    assert (known_to(home, shared, alice), known_to(home, fresh, alice)) == (False, True)
    assert (known_to(home, shared, bob), known_to(home, fresh, bob)) == (False, True)


def test_rule_05_ending_all_forgets_all_browsers_but_the_one_that_does_it(home, alice, cookie):
    other = devices.new(home.services.keys)
    issued = home.session(spare=other)
    revoke.all_own(home.services, home.identity(issued.secret), HERE, device=other)
    assert (known_to(home, cookie, alice), known_to(home, other, alice)) == (False, True)
    house.end_all(home, alice)
    assert not known_to(home, other, alice)


def test_rule_14_a_pending_login_makes_no_browser_known(open_house):
    paper = PaperCodes()
    guarded = open_house(factors=[paper])
    made = devices.new(guarded.services.keys)
    user_id = guarded.person("carol")
    paper.give(guarded, user_id, "one")
    pending = guarded.log_in("carol", spare=made)
    assert isinstance(pending, FactorDue)
    assert guarded.count(DEVICE) == 0
    done = second_step.answer(guarded.services, pending.pending.secret, "code", "one", login.Attempt(HERE, spare=made))
    assert isinstance(done, Issued)
    assert known_to(guarded, made, user_id)


# --- windows that know what is still judged ------------------------------------------------------------------


def test_rule_03_while_a_window_is_full_only_of_what_is_judged_the_wait_is_short(home, alice):
    throttle, now = home.services.throttle, home.clock.now()
    charges = [throttle.spend(LOGIN, HERE.address, now, account_key=f"name:{n}") for n in range(20)]
    assert throttle.spend(LOGIN, HERE.address, now, account_key="name:x").wait == SECOND
    with home.services.unit() as unit:
        for charge in charges:
            throttle.judge(unit.connection, charge, now)
    assert throttle.spend(LOGIN, HERE.address, now, account_key="name:x").wait == 600 * SECOND


def _log_in(here: house.House, number: int, address: str) -> str:
    name = f"person{number % 4}"
    return type(house.patiently(lambda: here.log_in(name, address=address.format(number % 4)))).__name__


@pytest.mark.parametrize("address", ["2001:db8:0:1::{}", "2001:db8:0:{}::1", "192.0.2.7"])
def test_v15_4_3_parallel_right_logins_lock_counters_in_one_order(crowd, home, address):
    for number in range(4):
        home.person(f"person{number}")
    assert crowd.rush(_log_in, home, 16, address) == ["Issued"] * 16
    key = "login@192.0.2.7" if address.startswith("192") else "login@2001:db8::/48"
    assert home.rows(sa.select(schema.counter.c.judging).where(schema.counter.c.key == key)) == [(0,)]


# --- what a flood leaves in the log ----------------------------------------------------------------------------


def test_rule_28_repeats_are_counted_and_told_once_their_window_has_ended(home, alice):
    for _ in range(4):
        home.log_in(password=WRONG)
        home.log_in("nobody", WRONG)
    assert home.kinds().count("login.failed") == 2
    home.later(minutes=11)
    home.session(address=ELSEWHERE)
    told = home.events("failures.counted")
    details = [json.loads(entry.detail) for entry in told]
    assert [(entry.user_id, detail["kind"], detail["number"]) for entry, detail in zip(told, details, strict=True)] == [
        (alice, "login.failed", 3),
        (None, "login.failed", 3),
    ]
    assert "name_digest" in details[1]
    assert "nobody" not in json.dumps(details)
    home.session(address=ELSEWHERE)
    assert len(home.events("failures.counted")) == 2


def test_rule_28_refusals_of_an_address_are_told_with_those_that_were_turned_away_in_memory(home, alice):
    for number in range(20):
        home.log_in(f"nobody{number}", WRONG)
    for _ in range(50):
        assert not home.log_in()
    assert home.services.throttle.turned_away(LOGIN, HERE.address, home.clock.now())
    home.later(minutes=11)
    for _ in range(3):
        home.session(address=ELSEWHERE)
    (told,) = [entry for entry in home.events("failures.counted") if entry.address]
    assert (told.address, json.loads(told.detail)["number"]) == (HERE.address, 50)
    assert home.kinds().count("login.throttled") == 1


def test_rule_28_a_hundred_thousand_failures_leave_at_most_804_rows(run_folder, tmp_path):
    here = house.build(sqlite_copy(run_folder, tmp_path / "flood.sqlite3"))
    services, noted = here.services, []
    for number in range(100):
        with services.unit() as unit:
            for step in range(1000):
                who = f"name:{(number * 1000 + step) % 20_000}"
                event = Event("login.failed", GUEST, outcome="refused")
                noted.append(failures.record(services, unit, who, event))
    assert [noted.count(one) for one in (Noted.FIRST, Noted.OVERFLOWED)] == [100, 1]
    assert here.count(schema.event) == 101
    here.later(minutes=11)
    for _ in range(10):
        login.tell_counted(services)
    assert here.count(schema.event) <= 804
    counted = sum(json.loads(entry.detail)["number"] for entry in here.events("failures.counted"))
    assert counted + 100 == 100_000
    house.close(here)


def test_rule_28_what_one_process_turned_away_is_told_whoever_closes_the_window(home, open_house):
    other = open_house()
    for number in range(71):
        other.log_in(f"nobody{number}", WRONG, address="203.0.113.9")
    home.later(minutes=11)
    other.later(minutes=11)
    home.person()
    home.session()
    for _ in range(3):
        other.session(address=ELSEWHERE)
    told = [entry for entry in home.events("failures.counted") if entry.address == "203.0.113.9"]
    assert sum(json.loads(entry.detail)["number"] for entry in told) == 50
    assert not other.services.throttle._spent.has_refusals


def test_rule_28_a_flood_from_thousands_of_addresses_is_told_in_a_bounded_number_of_rows(home):
    throttle, now = home.services.throttle, home.clock.now()
    for number in range(3000):
        key = f"login@198.51.{number // 250}.{number % 250}"
        throttle._spent.add(key, now + SECOND, now + SECOND)
        throttle._spent.wait(key, now)
    home.later(seconds=2)
    for _ in range(30):
        login.tell_counted(home.services)
        home.later(seconds=1)
    assert len(home.events("failures.counted")) == 100
    home.later(minutes=11)
    login.tell_counted(home.services)
    numbers = [json.loads(entry.detail)["number"] for entry in home.events("failures.counted")]
    assert (len(numbers), sum(numbers)) == (101, 3000)


def test_rule_28_refused_registrations_are_told_too(home):
    for number in range(25):
        register.register(home.services, register.NewUser(f"person{number}", "x", None), HERE, may_claim=False)
    home.person("alice")
    home.later(minutes=11)
    for _ in range(3):
        home.session(address=ELSEWHERE)
    details = [json.loads(entry.detail) for entry in home.events("failures.counted")]
    assert {detail["kind"] for detail in details} == {"register.throttled"}
    assert sum(detail["number"] for detail in details) == 5


# --- found by an attacker of ours ------------------------------------------------------------------------------


def test_rule_02_v6_3_8_a_letter_that_folds_to_another_shares_no_counter(home):
    home.person("kate")
    for name in ("kate", "kite"):
        for _ in range(5):
            home.log_in(f"\u212a{name[1:]}", WRONG)
    outcomes = [home.log_in(name, WRONG, address=ELSEWHERE) for name in ("kate", "kite")]
    assert [found.reason for found in outcomes if isinstance(found, Refused)] == [Refusal.CREDENTIALS] * 2


def test_v7_4_1_a_log_out_that_meets_a_new_secret_of_the_session_ends_it_all_the_same(home, alice):
    issued = home.session()
    identity = home.identity(issued.secret)
    rotated = step_up.prove(home.services, identity, issued.secret, PASSWORD, HERE)
    assert isinstance(rotated, Issued)
    assert login.end(home.services, identity, HERE)
    assert not isinstance(home.load(rotated.secret), Session)


def test_v16_2_1_a_session_that_a_login_of_somebody_else_replaces_is_recorded(home, alice):
    before = home.identity(home.session().secret)
    home.person("bob")
    home.session("bob", previous=before)
    (entry,) = home.events("session.ended")
    assert (entry.user_id, json.loads(entry.detail)["why"]) == (alice, "replaced by a login")


def test_v15_2_2_a_password_of_very_many_marks_is_refused_without_being_composed(home, alice):
    marks = "a" + "\u0315" * 30_000 + "\u0300" * 30_000
    begun = time.process_time()
    assert not home.log_in(password=marks)
    plain = "a" * 1025
    assert time.process_time() - begun < 2  # composing them takes longer by far
    assert not home.log_in(password=plain)


def told(home, kind):
    return sum(one["number"] for one in home.details("failures.counted") if one["kind"] == kind)


def test_rule_28_repeats_are_told_when_the_same_one_goes_on(home, alice):
    for _ in range(4):
        home.log_in("alice", WRONG)
    home.later(minutes=11)
    home.log_in("alice", WRONG)
    home.later(minutes=11)
    home.log_in("nobody", WRONG)
    assert told(home, "login.failed") == 3


def test_rule_28_refusals_are_told_when_the_same_address_goes_on(home, alice):
    home.person("bob")
    for number in range(27):
        home.log_in(f"nobody{number}", WRONG)
    home.session("bob", address=ELSEWHERE)  # moves what memory counted into the row
    home.later(minutes=11)
    home.log_in("x1", WRONG)
    home.later(minutes=11)
    home.session("bob", address=ELSEWHERE)
    assert told(home, "login.throttled") == 6


def test_rule_28_the_overflow_of_spraying_is_told_when_it_goes_on(home, alice):
    for number in range(140):
        home.log_in(f"nobody{number}", WRONG, address=f"10.0.{number}.1")
    home.later(minutes=11)
    for number in range(3):
        home.log_in(f"anybody{number}", WRONG, address=f"10.1.{number}.1")
    home.later(minutes=11)
    for number in range(20):  # each tells of twenty windows
        home.log_in(f"somebody{number}", WRONG, address=f"10.2.{number}.1")
    assert told(home, "login.failed") == 40


def test_rule_28_denials_are_told_when_the_same_user_goes_on(home, alice):
    for _ in range(30):
        home.services.throttle.count_denial(alice, home.clock.now())
    home.later(minutes=11)
    home.services.throttle.count_denial(alice, home.clock.now())
    home.later(minutes=11)
    home.session()
    home.session()
    assert told(home, "access.denied") == 9
