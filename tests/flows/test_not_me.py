"""“This wasn't me”: who sits in another session is out at once, and the button gives nothing to who stole one."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from flask_gatehouse.domain import devices, tokens, users
from flask_gatehouse.domain.sessions import Issued, Session
from flask_gatehouse.flows import (
    alarm,
    enrol,
    forgot_password,
    login,
    own_addresses,
    own_password,
    reset_password,
    second_step,
    seeds,
    step_up,
    verify_email,
)
from flask_gatehouse.flows.alarm import Raised
from flask_gatehouse.flows.outcomes import FactorLost, MustReplace, Refusal, Refused
from flask_gatehouse.flows.standing import Hindrance, obstacles_of
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.identity import CLI
from tests.flows.test_passkeys import enrol_in
from tests.flows.test_totp import answer, begin, code_of, refusal
from tests.support import house, phones
from tests.support.authenticator import Authenticator
from tests.support.house import HERE, PASSWORD, WRONG
from tests.support.people import confirming_link
from tests.support.post import part, token_of

OLD, THIEFS = "alice@example.org", "thief@example.net"
NEW = "another quiet river"
ALL = "totp,passkeys,recovery_codes"


@pytest.fixture
def home(post, open_house):
    """Return a house that sends mail, with every second factor on."""
    return open_house(GATEHOUSE_MAIL_URL=post.url, GATEHOUSE_FEATURES=ALL)


def press(home: house.House, secret: str) -> Raised | Refused:
    """Press the button in a session."""
    return alarm.raise_alarm(home.services, home.identity(secret), HERE)


def pressed(home: house.House, secret: str = "") -> Raised:
    """Press it, which must raise an alarm."""
    outcome = press(home, secret or home.session().secret)
    assert isinstance(outcome, Raised), outcome
    assert outcome.is_new
    return outcome


def move_address(home: house.House, address: str) -> None:
    """Change alice's address as whoever holds a session and the mailbox can."""
    with home.services.unit() as unit:
        found = users.find_by_name(unit.connection, "alice")
        assert found is not None
        terms = tokens.Terms(tokens.VERIFY_EMAIL, found.id, found.epoch, address)
        link = tokens.issue_link(unit.connection, terms, now=unit.now, ends_at=unit.now + tokens.VERIFY_MICROS)
    assert verify_email.confirm(home.services, link, HERE) == found.id


def is_doubted(home: house.House, secret: str) -> bool:
    """Tell whether a session opens nothing because an alarm stands."""
    held = home.identity(secret).withheld
    return held.is_all and held.is_alarmed


def two_factors(home: house.House, seed: str) -> str:
    """Log in with password and app."""
    opened = answer(home, begin(home), code_of(home, seed))
    assert isinstance(opened, Issued), opened
    return opened.secret


# --- what it ends ---------------------------------------------------------------------------------------------


def test_rule_32_v7_4_3_63b_4_5_1_everything_of_the_user_ends_at_once_without_a_fresh_proof(home):
    alice = home.proven()
    kept = [home.session(spare=devices.new(home.services.keys)).secret for _ in range(2)]
    bob = home.person("bob") and home.session("bob").secret
    seed = phones.enrol(home.services, alice)
    pending = begin(home)
    link = reset_password.make_link(home.services, CLI, "alice")
    assert isinstance(link, str)
    address_link = confirming_link(home.services, "alice")
    home.later(minutes=50)
    outcome = pressed(home, kept[0])
    assert (outcome.ended, outcome.methods) == (2, ("totp",))
    assert not any(isinstance(home.load(secret), Session) for secret in kept)
    assert refusal(answer(home, pending, code_of(home, seed))) is Refusal.GONE
    assert reset_password.find(home.services, link) is None
    assert verify_email.find(home.services, address_link) is None
    assert [home.count(table) for table in (schema.device, schema.link)] == [0, 0]
    assert isinstance(home.load(bob), Session)


def test_rule_32_v7_5_1_from_then_on_the_password_alone_opens_nothing(home):
    """Whoever knows it may log in again: nothing is open, nothing is enrolled, and no password is changed."""
    home.proven(roles=["clerk"])
    pressed(home)
    thief = home.session()
    identity = home.identity(thief.secret)
    assert is_doubted(home, thief.secret)
    assert (identity.roles, identity.permissions) == ((), frozenset())
    changed = own_password.change(home.services, identity, thief.secret, PASSWORD, NEW, HERE)
    assert refusal(changed) is Refusal.ALARMED
    offer = enrol.offer_totp(home.services, identity)
    assert isinstance(offer, seeds.Offer)
    code = code_of(home, offer.seed)
    assert refusal(enrol.confirm_totp(home.services, identity, thief.secret, code, HERE)) is Refusal.ALARMED
    assert refusal(enrol_in(home, thief.secret, Authenticator())) is Refusal.ALARMED
    for _ in range(6):
        assert refusal(step_up.prove(home.services, identity, thief.secret, WRONG, HERE)) is Refusal.ALARMED
    assert home.counter(home.services.throttle.inside_key(identity.user_id)) == (0, 0, 0)
    vouched = login.vouched(home.services, identity.user_id, login.Attempt(HERE), is_fresh=True)
    assert isinstance(vouched, Issued)
    assert is_doubted(home, vouched.secret)


# --- what is younger than a day ---------------------------------------------------------------------------------


def test_rule_32_63b_4_3_1_factors_of_the_last_day_are_disabled_and_older_ones_stay(home):
    alice = home.proven()
    seed = phones.enrol(home.services, alice)
    home.later(hours=24, seconds=1)
    mine = two_factors(home, seed)
    enrolled = enrol_in(home, mine, Authenticator())
    assert isinstance(enrolled, seeds.Enrolled)
    codes = enrolled.codes
    outcome = pressed(home, enrolled.issued.secret)
    assert (outcome.ended, set(outcome.methods)) == (1, {"passkey", "recovery_code"})
    home.later(seconds=30)
    assert refusal(answer(home, begin(home), codes[0], "recovery_code")) is Refusal.CREDENTIALS
    back = two_factors(home, seed)  # what is older than a day is proven, so that nothing is withheld
    assert not home.identity(back).withheld.is_all
    assert home.count(schema.passkey) == 0


def test_rule_32_a_factor_counts_as_new_for_a_day_to_the_microsecond(home):
    alice = home.proven()
    phones.enrol(home.services, alice)
    home.later(hours=23, minutes=59, seconds=59)
    secret = home.session("bob").secret if home.proven("bob") else ""
    assert pressed(home, secret).methods == ()
    with home.services.reading() as connection:
        assert seeds.has_factor(home.services, connection, alice)  # bob's alarm is bob's
    home.change(sa.update(schema.totp).values(created_at=home.clock.now() - users.SETTLED_AFTER))
    session = home.services.sessions
    with home.services.unit() as unit:
        mine = session.issue(unit.connection, alice, home.user(alice).epoch, unit.now, source=HERE, proofs=())
    assert pressed(home, mine.secret).methods == ("totp",)


@pytest.mark.parametrize("steps", [[THIEFS], [THIEFS, "thief@example.com"], ["", THIEFS], [""]])
def test_rule_32_a_change_of_address_of_the_last_day_is_undone_and_the_link_goes_to_the_owner(home, post, steps):
    alice = home.proven()
    home.later(hours=48)
    secret = home.session().secret
    for address in steps:
        if address:
            move_address(home, address)
        else:
            own_addresses.change(home.services, home.identity(secret), "", HERE)
        home.later(minutes=10)
    assert pressed(home, secret).is_address_back
    stored = home.user(alice)
    assert (stored.email, stored.is_email_verified, stored.email_before) == (OLD, True, None)
    assert home.rest()
    assert post.subjects(OLD)[-1] == "Everything of your account at localhost:5000 was ended"
    assert "address within a day before is undone" in part(post.mails[-1], "plain")
    assert all("was ended" not in subject for subject in post.subjects(THIEFS))
    assert forgot_password.ask(home.services, "alice", HERE) is None
    assert home.rest()
    assert post.recipients[-1] == OLD


def second_address(home: house.House, address: str) -> None:
    """Give alice a second address, as whoever holds a session and the mailbox can."""
    found = home.user(1)
    with home.services.unit() as unit:
        terms = tokens.Terms(tokens.VERIFY_SECOND, found.id, found.epoch, address)
        link = tokens.issue_link(unit.connection, terms, now=unit.now, ends_at=unit.now + tokens.VERIFY_MICROS)
    assert verify_email.confirm(home.services, link, HERE) == found.id


@pytest.mark.parametrize("hours, left", [(23, (OLD,)), (25, (OLD, THIEFS))])
def test_rule_32_a_second_address_of_the_last_day_gets_no_link(home, post, hours, left):
    home.proven()
    second_address(home, THIEFS)
    home.later(hours=hours)
    outcome = pressed(home)
    assert home.user(1).verified_addresses == left
    assert outcome.is_address_back is (left == (OLD,))
    assert home.rest()
    post.mails.clear()
    forgot_password.ask(home.services, "alice", HERE)
    assert home.rest()
    assert [len(post.to(address)) for address in (OLD, THIEFS)] == [1, int(THIEFS in left)]


def test_rule_32_an_older_second_address_is_a_way_back_when_the_first_is_a_thiefs(home):
    home.person(email=None)
    second_address(home, OLD)
    home.later(hours=25)
    move_address(home, THIEFS)
    assert home.user(1).has_address_since(home.clock.now() - users.SETTLED_AFTER)
    assert pressed(home).is_mailed
    assert home.user(1).verified_addresses == (OLD,)


def test_rule_32_an_older_change_of_address_stays(home):
    alice = home.proven()
    move_address(home, THIEFS)
    home.later(hours=24, seconds=1)
    assert not pressed(home).is_address_back
    assert home.user(alice).email == THIEFS


def test_rule_32_a_first_address_of_the_last_day_gets_no_link_unless_the_account_is_as_young(home, post):
    home.person("alice")
    home.later(hours=48)
    move_address(home, THIEFS)
    assert pressed(home).is_address_back
    assert not home.user(1).is_email_verified
    forgot_password.ask(home.services, "alice", HERE)
    assert home.rest()
    assert post.to(THIEFS)[1:] == []  # it was told that it counts, and no link went there
    home.person("bob")
    with home.services.unit() as unit:
        assert users.verify_email(unit.connection, 2, "bob@example.org", unit.now)
    assert not pressed(home, home.session("bob").secret).is_address_back
    assert home.user(2).is_email_verified


def test_rule_32_an_address_that_is_anothers_by_now_does_not_come_back(home):
    home.proven()
    home.later(hours=48)
    secret = home.session().secret
    move_address(home, THIEFS)
    home.proven("bob", OLD)
    assert pressed(home, secret).is_address_back
    assert (home.user(1).email, home.user(1).is_email_verified) == (THIEFS, False)


def test_rule_32_a_temporary_password_dies_as_a_link_does(home):
    alice = home.person("alice")
    with home.services.unit() as unit:
        vouched = home.services.sessions.issue(unit.connection, alice, 0, unit.now, source=HERE, proofs=())
    temporary = reset_password.make_temporary(home.services, CLI, "alice")
    assert isinstance(temporary, str)
    assert not isinstance(home.load(vouched.secret), Session)
    inside = login.vouched(home.services, alice, login.Attempt(HERE), is_fresh=True)
    assert isinstance(inside, Issued)
    pressed(home, inside.secret)
    assert refusal(home.log_in("alice", temporary)) is Refusal.CREDENTIALS


# --- how its owner comes back -----------------------------------------------------------------------------------


def test_rule_32_v6_4_3_a_mailed_link_ends_the_alarm(home, post):
    alice = home.proven()
    pressed(home)
    forgot_password.ask(home.services, "alice", HERE)
    assert home.rest()
    assert reset_password.complete(home.services, token_of(post.mails[-1]), NEW, HERE) == alice
    assert not is_doubted(home, home.session("alice", NEW).secret)
    assert home.kinds()[-3:] == ["password.reset", "user.alarm_ended", "login.succeeded"]


def test_rule_32_the_password_and_an_older_factor_end_the_alarm(home):
    alice = home.proven()
    seed = phones.enrol(home.services, alice)
    home.later(hours=24, seconds=1)
    pressed(home, two_factors(home, seed))
    home.later(seconds=30)
    back = two_factors(home, seed)
    assert home.user(alice).alarm_at is not None
    with home.services.unit() as unit:
        devices.remember(unit.connection, "a thief's", alice, unit.now)
    assert isinstance(own_password.change(home.services, home.identity(back), back, PASSWORD, NEW, HERE), Issued)
    assert home.user(alice).alarm_at is None
    assert "user.alarm_ended" in home.kinds()
    assert home.count(schema.device) == 0  # one of them may be the thief's


def test_rule_32_an_older_recovery_code_stands_in_for_the_older_factor(home):
    alice = home.proven()
    phones.enrol(home.services, alice)
    codes = seeds.codes_of(home.services)
    assert codes is not None
    with home.services.unit() as unit:
        made = codes.renew(unit.connection, alice, unit.now)
    home.later(hours=24, seconds=1)
    with home.services.unit() as unit:
        mine = home.services.sessions.issue(unit.connection, alice, 0, unit.now, source=HERE, proofs=())
    pressed(home, mine.secret)
    lost = answer(home, begin(home), made[0], "recovery_code")
    assert isinstance(lost, FactorLost)
    offer = second_step.offer(home.services, lost.pending.secret)
    assert isinstance(offer, seeds.Offer)
    code = code_of(home, offer.seed)
    opened = second_step.replace_factor(home.services, lost.pending.secret, code, login.Attempt(HERE))
    assert isinstance(opened, Issued)
    assert not home.identity(opened.secret).withheld.is_all


@pytest.mark.parametrize("way", ["link", "temporary"])
def test_rule_32_an_operator_lets_in_who_has_neither_address_nor_older_factor(home, way):
    alice = home.person("alice")
    pressed(home)
    with home.services.reading() as connection:
        (obstacle,) = obstacles_of(home.services, connection, home.user(alice), home.clock.now())
    assert (obstacle.hindrance, obstacle.mend, obstacle.since_at) == (Hindrance.ALARMED, "reset", home.clock.now())
    link = reset_password.make_link(home.services, CLI, "alice")
    if way == "temporary":
        word = reset_password.make_temporary(home.services, CLI, "alice")
        assert isinstance(word, str)
        replaced = home.log_in("alice", word)
        assert isinstance(replaced, MustReplace)
        link = replaced.link_secret
    assert isinstance(link, str)
    assert reset_password.complete(home.services, link, NEW, HERE) == alice
    assert not is_doubted(home, home.session("alice", NEW).secret)


@pytest.mark.parametrize("address", [True, False])
@pytest.mark.parametrize("factor", ["none", "new", "old"])
def test_the_page_can_tell_beforehand_who_would_not_come_back_alone(home, address, factor):
    alice = home.proven() if address else home.person("alice")
    if factor != "none":
        phones.enrol(home.services, alice)
    home.later(hours=24 if factor == "old" else 23, seconds=1)
    with home.services.reading() as connection:
        enrolled = seeds.enrolled_of(home.services, connection, alice)
    assert alarm.has_way_back(home.services, home.user(alice), enrolled) == (address or factor == "old")


# --- what it does not give a thief -------------------------------------------------------------------------------


def test_rule_32_while_an_alarm_stands_pressing_again_does_nothing_to_who_comes_back(home, post):
    """Else who knows the password would log in again and again, to kill the owner's link."""
    alice = home.proven()
    pressed(home)
    forgot_password.ask(home.services, "alice", HERE)
    assert home.rest()
    seen = home.kinds(), len(post.mails)
    for _ in range(20):
        assert press(home, home.session().secret) == alarm.STANDS
    assert ([kind for kind in home.kinds() if kind != "login.succeeded"], len(post.mails)) == (
        [kind for kind in seen[0] if kind != "login.succeeded"],
        seen[1],
    )
    assert reset_password.complete(home.services, token_of(post.mails[-1]), NEW, HERE) == alice


def test_rule_32_alarms_of_one_user_are_few_in_a_day(home):
    home.person("alice")
    for _ in range(5):
        pressed(home)
        home.change(sa.update(schema.user).values(alarm_at=None))
    assert refusal(press(home, home.session().secret)) is Refusal.THROTTLED
    home.later(hours=24)
    pressed(home)


def test_rule_32_presses_that_raise_no_alarm_use_up_nothing_of_the_owners_day(home):
    alice = home.person("alice")
    in_flight = [home.identity(home.session().secret)] * 8
    outcomes = [alarm.raise_alarm(home.services, one, HERE) for one in in_flight]
    assert [one == alarm.STANDS for one in outcomes] == [False, *[True] * 7]
    link = reset_password.make_link(home.services, CLI, "alice")
    assert isinstance(link, str)
    assert reset_password.complete(home.services, link, NEW, HERE) == alice
    assert {refusal(alarm.raise_alarm(home.services, one, HERE)) for one in in_flight} == {Refusal.GONE}
    pressed(home, home.session(password=NEW).secret)


def test_who_was_ended_meanwhile_presses_nothing(home):
    home.person("alice")
    one = home.session().secret
    identity = home.identity(one)
    house.end_all(home, identity.user_id)
    assert refusal(alarm.raise_alarm(home.services, identity, HERE)) is Refusal.GONE
    assert home.user(identity.user_id).alarm_at is None


# --- the way there ------------------------------------------------------------------------------------------------

NOTICES = (
    *("new_browser", "password_changed", "email_asked", "email_changed", "factor_enrolled", "factor_removed"),
    *("recovery_codes_made", "recovery_code_used", "second_email_asked", "second_email_changed"),
    *("login_after_wrong", "login_after_long"),
)


def test_63b_4_6_2_notices_lead_to_the_button_by_a_link_that_holds_no_secret(home):
    for name in NOTICES:
        written = home.services.writer.write(name, {"username": "alice", "when": "now", "browser": ""})
        assert "http://localhost:5000/account/security#not-me" in written.text, name
        assert '<a href="http://localhost:5000/account/security#not-me">' in written.html, name


# --- at the same moment ------------------------------------------------------------------------------------------


def _press(here: house.House, number: int, secrets: list[str]) -> str:
    found = here.load(secrets[number % len(secrets)])
    if not isinstance(found, Session):
        return "gone"
    outcome = alarm.raise_alarm(here.services, found.identity, HERE)
    return outcome.reason.name if isinstance(outcome, Refused) else "raised" if outcome.is_new else "stands"


def test_rule_32_fifty_presses_at_once_raise_one_alarm(crowd, home, post):
    alice = home.proven()
    phones.enrol(home.services, alice)
    with home.services.unit() as unit:
        made = [
            home.services.sessions.issue(unit.connection, alice, 0, unit.now, source=HERE, proofs=()).secret
            for _ in range(10)
        ]
    outcomes = crowd.rush(_press, home, 50, made, GATEHOUSE_MAIL_URL=post.url, GATEHOUSE_FEATURES=ALL)
    assert outcomes.count("raised") == 1
    assert set(outcomes) <= {"raised", "stands", "gone", "THROTTLED"}
    assert [home.count(table) for table in (schema.session, schema.totp)] == [0, 0]
    assert home.kinds().count("user.alarm_raised") == 1
    assert home.user(alice).epoch == 1
    assert home.verified() == len(home.events())


def _press_or_log_in(here: house.House, number: int, secret: str) -> Any:
    if number:
        outcome = house.patiently(lambda: here.log_in(address=f"192.0.2.{number}"))
        return outcome.secret if isinstance(outcome, Issued) else type(outcome).__name__
    return _press(here, 0, [secret])


def test_rule_32_rule_01_a_login_in_flight_is_doubted_or_refused(crowd, home):
    home.proven()
    secret = home.session().secret
    outcomes = crowd.rush(_press_or_log_in, home, 8, secret)
    assert "raised" in outcomes
    opened = [found for found in outcomes if len(found) > 20]
    assert all(not isinstance(home.load(found), Session) or is_doubted(home, found) for found in opened)


def test_rule_32_rule_01_what_the_password_opened_while_it_was_hashed_is_refused(home):
    alice = home.proven()
    held, kept = home.session().secret, home.digest(alice)

    def change() -> None:
        pressed(home, held)

    late = house.while_hashing(home, lambda: home.log_in(address="192.0.2.9"), change)
    assert refusal(late) is Refusal.CREDENTIALS
    home.change(sa.update(schema.user).values(alarm_at=None))
    mine = home.session().secret
    identity, other = home.identity(mine), home.session().secret
    changed = house.while_hashing(
        home,
        lambda: own_password.change(home.services, identity, mine, PASSWORD, NEW, HERE),
        lambda: pressed(home, other),
    )
    assert isinstance(changed, Refused)
    assert home.digest(alice) == kept
    assert home.user(alice).alarm_at is not None


@pytest.mark.parametrize("has_mail", [True, False])
def test_rule_32_a_change_of_address_that_meets_the_alarm_moves_no_address(open_house, post, has_mail):
    told = {"GATEHOUSE_MAIL_URL": post.url} if has_mail else {}
    home = open_house(**told)
    alice = home.proven()
    identity = home.identity(home.session().secret)
    pressed(home)
    for change in (own_addresses.change, own_addresses.change_second):
        if has_mail or change is own_addresses.change:
            assert refusal(change(home.services, identity, THIEFS, HERE)) is Refusal.GONE
    assert (home.user(alice).email, home.user(alice).is_email_verified) == (OLD, True)
    assert home.rest()
    assert post.to(THIEFS) == []


def test_rule_29_the_alarm_is_recorded_with_what_it_did(home):
    alice = home.proven()
    seed = phones.enrol(home.services, alice)
    secret = two_factors(home, seed)
    public_id = home.identity(secret).session_id
    pressed(home, secret)
    (entry,) = home.events("user.alarm_raised")
    assert (entry.actor, entry.user_id, entry.address, entry.session_id) == ("alice", alice, HERE.address, public_id)
    expected = {"sessions_ended": [public_id], "methods": ["totp"], "address_taken_back": False}
    assert home.details("user.alarm_raised") == [expected]
    assert isinstance(home.log_in(), Issued)  # the app is gone: nothing more is asked, and nothing opened
