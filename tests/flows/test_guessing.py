"""Guessing against the flows: what counts, who still gets in, and how it ends (rules 3, 4 and 8)."""

from __future__ import annotations

import json

import pytest
import sqlalchemy as sa

from flask_gatehouse.domain import devices
from flask_gatehouse.domain.sessions import Issued
from flask_gatehouse.domain.throttle import LOGIN
from flask_gatehouse.flows import administer, own_password, register, reset_password, step_up
from flask_gatehouse.flows.outcomes import Refusal, Refused
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.identity import CLI
from tests.support import house
from tests.support.house import BY_COMMAND, HERE, PASSWORD, SECOND, WRONG, source

THERE = "198.51.100.7"
NEW = "another quiet river"


@pytest.fixture
def alice(home):
    """Return the id of a user."""
    return home.person()


def guess(home: house.House, count: int, name: str = "alice", *, address: str = "203.0.113.1") -> list[Refusal]:
    """Try wrong passwords and return the refusals."""
    outcomes = [home.log_in(name, WRONG, address=address) for _ in range(count)]
    return [outcome.reason for outcome in outcomes if isinstance(outcome, Refused)]


def failures(home: house.House, user_id: int) -> int:
    """Return how many failed logins are recorded or counted (rule 28)."""
    return home.counter(f"seen>login.failed>user:{user_id}")[0]


# --- what counts -------------------------------------------------------------------------------------------


def test_v6_3_1_63b_3_1_1_2_18_five_wrong_passwords_delay_the_account_from_everywhere(home, alice):
    assert guess(home, 6) == [Refusal.CREDENTIALS] * 5 + [Refusal.THROTTLED]
    elsewhere = home.log_in(address=THERE)
    assert isinstance(elsewhere, Refused)
    assert (elsewhere.reason, elsewhere.wait) == (Refusal.THROTTLED, 30 * SECOND)
    assert home.counter(f"user:{alice}")[:2] == (5, 5)
    assert home.kinds().count("login.failed") == home.kinds().count("login.delayed") == 1
    assert failures(home, alice) == 5


def test_rule_03_a_name_counts_upper_and_lower_case_aside_whether_it_exists_or_not(home, alice):
    for name in ("alice", "nobody"):
        spellings = [name, name.upper(), name.title(), name.swapcase(), name[:2].upper() + name[2:]]
        assert [guess(home, 1, spelling) for spelling in spellings] == [[Refusal.CREDENTIALS]] * 5
        assert guess(home, 1, name.upper()) == [Refusal.THROTTLED]


def test_rule_02_names_that_fold_to_another_do_not_count_against_it(home, alice):
    for name in ("alice\n", "a\u0130lice", "al\u0131ce", "alice ", "\uff41lice"):
        guess(home, 1, name)
    assert home.counter(f"user:{alice}") == (0, 0, 0)
    assert isinstance(home.log_in(address=THERE), Issued)


def _guess(here: house.House, number: int) -> str:
    outcome = here.log_in(password=WRONG, address=f"203.0.113.{number}")
    assert isinstance(outcome, Refused)
    return outcome.reason.name


def test_rule_03_v6_3_1_v15_4_1_fifty_parallel_wrong_logins_are_counted_exactly(crowd, home, alice):
    reasons = crowd.rush(_guess, home, 50)
    hashed = reasons.count("CREDENTIALS")
    wrong, total, blocked_until = home.counter(f"user:{alice}")
    assert wrong == total == hashed == failures(home, alice)
    assert 1 <= hashed <= 5
    assert (blocked_until > 0) == (hashed == 5)
    assert len(home.events("login.delayed")) >= (hashed == 5)
    assert hashed + reasons.count("THROTTLED") + reasons.count("BUSY") == 50
    assert home.verified() == len(home.events())


def _guess_patiently(here: house.House, number: int) -> bool:
    return bool(house.patiently(lambda: here.log_in(password=WRONG, address=f"203.0.113.{number}")))


def test_rule_03_guesses_that_come_again_when_busy_end_at_exactly_five(crowd, home, alice):
    crowd.rush(_guess_patiently, home, 50)
    assert home.counter(f"user:{alice}")[:2] == (5, 5)
    assert failures(home, alice) == 5


def test_rule_03_who_finds_no_place_to_hash_has_spent_nothing(home, alice):
    with house.places_taken(home, 4):
        assert guess(home, 30) == [Refusal.BUSY] * 30
    assert home.counter(f"user:{alice}")[:2] == (0, 0)
    assert home.counter("login@203.0.113.1")[0] == 0


def test_rule_03_the_address_has_twenty_charges_whatever_the_names(home, alice):
    reasons = [guess(home, 1, f"nobody{number}")[0] for number in range(25)]
    assert reasons == [Refusal.CREDENTIALS] * 20 + [Refusal.THROTTLED] * 5
    assert guess(home, 1, "nobody", address=THERE) == [Refusal.CREDENTIALS]
    assert home.kinds().count("login.throttled") == 1


def test_rule_03_one_charge_comes_back_with_a_full_login_and_one_only(home, alice):
    for _ in range(3):
        home.session(address=THERE)
    assert home.counter(f"login@{THERE}")[0] == 2


# --- who still gets in -------------------------------------------------------------------------------------


def test_rule_04_the_right_password_gets_in_from_another_address_while_one_is_flooded(home, alice):
    for number in range(30):
        guess(home, 1, f"nobody{number}")
    own = home.log_in(address="203.0.113.1")
    assert isinstance(own, Refused)
    assert own.reason is Refusal.THROTTLED
    assert isinstance(home.log_in(address=THERE), Issued)


def test_rule_04_an_account_in_its_delay_lets_nobody_in_and_everybody_after_it(home, alice):
    guess(home, 5)
    assert not home.log_in(address=THERE)
    home.later(seconds=30)
    assert isinstance(home.log_in(address=THERE), Issued)
    assert home.counter(f"user:{alice}") == (0, 0, 0)


def test_rule_04_from_the_attackers_own_address_one_gets_in_when_the_flood_ends(home, alice):
    for number in range(30):
        guess(home, 1, f"nobody{number}", address=HERE.address)
    assert not home.log_in()
    home.later(minutes=10)
    assert isinstance(home.log_in(), Issued)


@pytest.mark.parametrize("wrong", [5, 100])
def test_rule_04_a_command_unlocks_at_once_whatever_had_happened(home, alice, wrong):
    for number in range(wrong):
        guess(home, 1, address=f"203.0.113.{number}")
        home.later(hours=1)
    if wrong == 5:
        home.later(hours=-1)
    assert not home.log_in(address=THERE)
    assert administer.unlock(home.services, BY_COMMAND, alice)
    assert isinstance(home.log_in(address=THERE), Issued)
    assert home.details("user.unlocked") == [{"reason": "a test"}]


def test_63b_3_2_2_1_63b_3_2_2_2_after_a_hundred_wrong_passwords_only_a_reset_or_an_unlock_helps(home, alice):
    for number in range(100):
        assert guess(home, 1, address=f"203.0.113.{number}") == [Refusal.CREDENTIALS]
        home.later(hours=25)
    for _ in range(3):
        outcome = home.log_in(address=THERE)
        assert isinstance(outcome, Refused)
        assert outcome.reason is Refusal.CREDENTIALS
        home.later(days=400)
    link = reset_password.make_link(home.services, CLI, "alice")
    assert isinstance(link, str)
    assert isinstance(reset_password.complete(home.services, link, NEW, HERE), int)
    assert isinstance(home.log_in(password=NEW), Issued)


def test_63b_3_2_2_5_a_login_between_zeroes_the_count_to_a_hundred(home, alice):
    for _ in range(30):
        guess(home, 4)
        home.session(address=THERE)
        home.later(minutes=10)
    assert home.counter(f"user:{alice}") == (0, 0, 0)


# --- people inside -----------------------------------------------------------------------------------------


def prove(home: house.House, secret: str, password: str, address: str = HERE.address) -> Issued | Refused:
    """Prove the password again."""
    return step_up.prove(home.services, home.identity(secret), secret, password, source(address))


def test_rule_08_a_flood_at_the_door_does_not_shut_out_the_people_inside(home, alice):
    secret = home.session().secret
    guess(home, 5)
    for number in range(30):
        guess(home, 1, f"nobody{number}", address=HERE.address)
    assert isinstance(prove(home, secret, PASSWORD), Issued)


def test_rule_08_a_step_up_has_a_budget_of_its_own_and_delays_itself(home, alice):
    secret = home.session().secret
    reasons = [prove(home, secret, WRONG) for _ in range(6)]
    assert [outcome.reason for outcome in reasons if isinstance(outcome, Refused)] == [
        *[Refusal.CREDENTIALS] * 5,
        Refusal.THROTTLED,
    ]
    assert not prove(home, secret, PASSWORD)
    assert isinstance(home.log_in(address=THERE), Issued)  # the door knows nothing of it
    home.later(seconds=30)
    renewed = prove(home, secret, PASSWORD)
    assert isinstance(renewed, Issued)
    assert home.counter(f"inside:{alice}")[:2] == (0, 0)


def test_63b_3_2_2_1_a_thief_of_a_session_has_a_hundred_guesses_inside_too(home, alice):
    secret = home.session().secret
    home.change(
        sa.insert(schema.counter).values(key=f"inside:{alice}", count=0, total=100, ends_at=home.clock.now() + 1)
    )
    assert not prove(home, secret, PASSWORD)
    identity = home.identity(secret)
    home.later(minutes=5)
    assert not own_password.change(home.services, identity, secret, PASSWORD, NEW, HERE)
    administer.unlock(home.services, BY_COMMAND, alice)
    assert isinstance(prove(home, secret, PASSWORD), Issued)


def test_rule_08_step_up_and_change_share_the_account_and_have_addresses_of_their_own(home, alice):
    secret = home.session().secret
    identity = home.identity(secret)
    for _ in range(3):
        prove(home, secret, WRONG)
    for _ in range(2):
        own_password.change(home.services, identity, secret, WRONG, NEW, HERE)
    last = own_password.change(home.services, identity, secret, PASSWORD, NEW, HERE)
    assert isinstance(last, Refused)
    assert last.reason is Refusal.THROTTLED
    assert (home.counter("step-up@192.0.2.1")[0], home.counter("change@192.0.2.1")[0]) == (3, 2)


def test_rule_08_what_a_field_refuses_is_given_back(home, alice):
    secret = home.session().secret
    identity = home.identity(secret)
    for _ in range(10):
        refused = own_password.change(home.services, identity, secret, PASSWORD, "short", HERE)
        assert isinstance(refused, Refused)
        assert refused.field == "password"
    assert home.counter(f"inside:{alice}")[:2] == (0, 0)


# --- the other endpoints that hash -------------------------------------------------------------------------


def join(home: house.House, name: str, address: str = HERE.address, password: str = PASSWORD) -> Refused | object:
    """Register."""
    return register.register(home.services, register.NewUser(name, password), source(address), may_claim=False)


def test_rule_08_v2_4_1_registering_has_a_bucket_per_address(home):
    made = [join(home, f"user{number}") for number in range(22)]
    assert [bool(outcome) for outcome in made] == [True] * 20 + [False] * 2
    assert join(home, "user30", THERE)


def test_rule_08_rule_09_registering_has_a_bucket_per_name_charged_before_the_lookup(home, alice):
    hashes = house.hashes_of(home)
    for name in ("alice", "Nobody"):
        outcomes = [join(home, name, f"10.0.0.{number}", password="short") for number in range(12)]
        reasons = [outcome.reason for outcome in outcomes if isinstance(outcome, Refused)]
        assert reasons == [Refusal.FIELD] * 10 + [Refusal.THROTTLED] * 2
    assert hashes == []


def test_rule_08_a_reset_has_a_bucket_per_address_and_per_link(home, alice):
    link = reset_password.make_link(home.services, CLI, "alice")
    assert isinstance(link, str)

    def tried(secret: str, address: str) -> Refusal | None:
        outcome = reset_password.complete(home.services, secret, "short", source(address))
        return outcome.reason if isinstance(outcome, Refused) else None

    assert [tried(link, f"10.0.0.{number}") for number in range(12)] == [Refusal.FIELD] * 10 + [Refusal.THROTTLED] * 2
    reasons = [tried(f"no such link {number}", THERE) for number in range(22)]
    assert reasons == [Refusal.GONE] * 20 + [Refusal.THROTTLED] * 2
    home.later(minutes=10)
    assert isinstance(reset_password.complete(home.services, link, NEW, HERE), int)


def test_throttle_off_lets_every_guess_through_and_hashing_stays_bounded(open_house):
    off = open_house(GATEHOUSE_THROTTLE="off")
    off.person()
    assert set(guess(off, 40)) == {Refusal.CREDENTIALS}
    assert isinstance(off.log_in(), Issued)
    with house.places_taken(off, 4):
        assert guess(off, 1) == [Refusal.BUSY]


def test_rule_08_what_the_own_delay_refuses_inside_uses_up_nothing_that_others_share(home, alice):
    home.person("mallory")
    thief, own = home.session("mallory"), home.session()
    for _ in range(70):
        step_up.prove(home.services, home.identity(thief.secret), thief.secret, WRONG, HERE)
    assert isinstance(step_up.prove(home.services, home.identity(own.secret), own.secret, PASSWORD, HERE), Issued)


def test_rule_04_a_delay_inside_outlives_a_login_from_a_known_browser(home, alice):
    cookie = home.session(spare=devices.new(home.services.keys)).device
    stolen = home.session()
    for _ in range(5):
        step_up.prove(home.services, home.identity(stolen.secret), stolen.secret, WRONG, HERE)
    before = home.counter(f"inside:{alice}")
    assert before[2] > home.clock.now()
    home.session(device=cookie, spare=devices.new(home.services.keys))
    assert home.counter(f"inside:{alice}") == before


def test_rule_28_refusals_of_a_delayed_account_from_ever_new_addresses_leave_no_windows_behind(home):
    alice = home.person()
    for number in range(13):
        home.later(hours=1)
        home.log_in(password=WRONG, address=f"198.51.100.{number}")
    assert home.counter(f"user:{alice}")[2] > home.clock.now() + 2000 * SECOND
    for again in range(3):
        for number in range(100):
            refused = home.log_in(address=f"2001:db8:{again}{number:03}::1")
            assert isinstance(refused, Refused)
            assert refused.reason is Refusal.THROTTLED
        home.later(minutes=11)
    assert home.count(schema.counter) < 500


# --- an address that goes on while the account is in its delay ----------------------------------------------


def test_rule_06_v6_3_1_who_goes_on_in_a_delay_is_heard_twice_and_then_once_a_second(home, alice):
    guess(home, 5)
    assert [home.log_in(address=THERE).wait for _ in range(3)] == [30 * SECOND] * 3
    assert home.services.throttle.turned_away(LOGIN, THERE, home.clock.now()) == SECOND
    assert home.log_in(address=THERE).wait == SECOND
    assert home.counter(f"login@{THERE}")[0] == 3  # what the pause refuses is not charged
    home.later(seconds=1)
    assert home.services.throttle.turned_away(LOGIN, THERE, home.clock.now()) == 0
    assert home.log_in(address=THERE).wait == 29 * SECOND
    assert home.log_in(address="198.51.100.8").wait == 29 * SECOND
    assert home.counter(f"user:{alice}")[:2] == (5, 5)


def test_rule_04_a_pause_is_the_addresss_alone_and_no_known_browsers(home, alice):
    known = home.session(address=THERE, spare=devices.new(home.services.keys)).device
    guess(home, 5)
    for _ in range(4):
        home.log_in(address=THERE)
    assert home.services.throttle.turned_away(LOGIN, THERE, home.clock.now())
    assert isinstance(home.log_in(device=known, address=THERE), Issued)
    home.person("bob")
    assert isinstance(home.log_in("bob", address="198.51.100.8"), Issued)


def test_rule_06_the_pause_of_an_ipv6_address_is_its_network_of_64_bits(home, alice):
    guess(home, 5)
    for number in range(4):
        home.log_in(address=f"2001:db8:1:2::{number}")
    now, throttle = home.clock.now(), home.services.throttle
    assert [throttle.turned_away(LOGIN, f"2001:db8:1:{net}::9", now) for net in (2, 3)] == [SECOND, 0]


def told_of(home: house.House, address: str) -> int:
    """Return how many refusals of an address were told when its window had ended."""
    home.later(minutes=11)
    for _ in range(3):
        home.session(address="198.51.100.8")
    told = [json.loads(entry.detail) for entry in home.events("failures.counted") if entry.address == address]
    assert {one["kind"] for one in told} == {"login.throttled"}
    return sum(one["number"] for one in told)


def test_rule_28_what_an_address_was_refused_in_a_delay_is_told_as_a_number(home, alice):
    guess(home, 5)
    for _ in range(30):
        home.log_in(address=THERE)
    assert home.events("login.throttled") == []
    assert told_of(home, THERE) == 30


def test_rule_28_of_an_address_that_went_on_until_it_was_spent_that_is_recorded_and_the_rest_told(home, alice):
    guess(home, 5)
    reasons = []
    for number in range(25):
        reasons += [home.log_in(address=THERE).reason, *guess(home, 1, f"nobody{number}", address=THERE)]
        home.later(seconds=1)
    (first,) = home.events("login.throttled")
    assert (first.address, first.user_id, first.outcome) == (THERE, None, "refused")
    assert told_of(home, THERE) == reasons.count(Refusal.THROTTLED) - 1 > 25


def test_rule_28_a_hundred_addresses_at_one_account_leave_others_their_rows(home, alice):
    home.person("bob")
    guess(home, 5)
    for number in range(120):
        home.log_in(address=f"198.51.100.{number}")
    guess(home, 1, "bob")
    assert "failures.overflowed" not in home.kinds()
    assert home.kinds().count("login.failed") == 2
