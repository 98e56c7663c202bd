"""Log in: charge, hash, decide. What changed while the hash ran counts (rule 1)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from werkzeug.security import generate_password_hash

from flask_gatehouse.domain import passwords, users
from flask_gatehouse.domain.passwords import scheme_of
from flask_gatehouse.domain.sessions import Issued, Session
from flask_gatehouse.flows import administer, login, own_addresses, own_password, reset_password, step_up
from flask_gatehouse.flows.outcomes import MustReplace, Refusal, Refused
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.errors import HashingBusyError
from flask_gatehouse.kernel.identity import CLI, KNOWS, Proof
from tests.support import house, shortage
from tests.support.house import BY_COMMAND, HERE, PASSWORD, WRONG

NEW = "another quiet river"


@pytest.fixture
def alice(home):
    """Return the id of a user."""
    return home.person()


def set_digest(home: house.House, user_id: int, digest: str) -> None:
    """Put a digest into a user's row."""
    with home.services.database.unit() as connection:
        passwords.store(connection, user_id, digest, home.clock.now())


def change_password(home: house.House, _alice: int) -> None:
    """Change the password from a session of its own user."""
    secret = home.session().secret
    changed = own_password.change(home.services, home.identity(secret), secret, PASSWORD, NEW, HERE)
    assert isinstance(changed, Issued)


def reset(home: house.House, _alice: int) -> None:
    """Choose another password by a link."""
    link = reset_password.make_link(home.services, CLI, "alice")
    assert isinstance(link, str)
    assert isinstance(reset_password.complete(home.services, link, NEW, HERE), int)


def suspend(home: house.House, alice: int) -> None:
    """Suspend the user."""
    assert administer.suspend(home.services, BY_COMMAND, alice)


def suspend_and_restore(home: house.House, alice: int) -> None:
    """Suspend the user and think again."""
    suspend(home, alice)
    assert administer.restore(home.services, BY_COMMAND, alice)


def close(home: house.House, alice: int) -> None:
    """Close the user."""
    assert administer.close(home.services, BY_COMMAND, alice)


def end_all(home: house.House, alice: int) -> None:
    """End all sessions, which bumps the epoch."""
    house.end_all(home, alice)


def make_temporary(home: house.House, _alice: int) -> None:
    """Give the user a temporary password."""
    assert isinstance(reset_password.make_temporary(home.services, CLI, "alice"), str)


def forget(home: house.House, alice: int) -> None:
    """Take the password away."""
    with home.services.database.unit() as connection:
        passwords.forget(connection, alice)


def mark(home: house.House, alice: int) -> None:
    """Mark the password as compromised."""
    assert administer.mark_compromised(home.services, BY_COMMAND, alice)


CHANGES = [change_password, reset, suspend, suspend_and_restore, close, end_all, make_temporary, forget, mark]
Change = Callable[[house.House, int], None]


# --- rule 1: what was hashed must still stand --------------------------------------------------------------


@pytest.mark.parametrize("change", CHANGES)
def test_rule_01_a_login_that_was_hashing_during_a_change_does_not_survive_it(home, alice, open_house, change: Change):
    elsewhere = open_house()
    outcome = house.while_hashing(home, home.log_in, lambda: change(elsewhere, alice))
    assert isinstance(outcome, Refused)
    assert outcome.reason is Refusal.CREDENTIALS
    assert not outcome.text.count("changed")
    live = home.rows(sa.select(schema.session.c.public_id))
    assert len(live) == (1 if change is change_password else 0)  # the one that changed it goes on
    assert home.events("login.failed")[-1].user_id == alice
    assert home.verified() == len(home.events())


@pytest.mark.parametrize("change", [reset, suspend, close, end_all, make_temporary, forget, mark])
def test_rule_01_a_step_up_that_was_hashing_during_a_change_does_not_survive_it(
    home, alice, open_house, change: Change
):
    elsewhere = open_house()
    secret = home.session().secret
    identity = home.identity(secret)

    def prove() -> Issued | Refused:
        return step_up.prove(home.services, identity, secret, PASSWORD, HERE)

    outcome = house.while_hashing(home, prove, lambda: change(elsewhere, alice))
    assert isinstance(outcome, Refused)
    assert home.count(schema.session) == (1 if change is forget else 0)
    assert not home.events("step_up.succeeded")


@pytest.mark.parametrize("change", [reset, suspend, close, end_all, make_temporary, forget, mark])
def test_rule_01_a_password_change_that_was_hashing_during_another_one_does_not_win(
    home, alice, open_house, change: Change
):
    elsewhere = open_house()
    secret = home.session().secret
    identity = home.identity(secret)

    def replace() -> Issued | Refused:
        return own_password.change(home.services, identity, secret, PASSWORD, "too late a word", HERE)

    outcome = house.while_hashing(home, replace, lambda: change(elsewhere, alice))
    assert isinstance(outcome, Refused)
    assert not home.log_in(password="too late a word")
    assert not home.events("password.changed")


def test_rule_01_a_link_that_was_hashing_while_its_user_was_suspended_sets_no_password(home, alice, open_house):
    elsewhere = open_house()
    link = reset_password.make_link(home.services, CLI, "alice")
    assert isinstance(link, str)
    outcome = house.while_hashing(
        home,
        lambda: reset_password.complete(home.services, link, NEW, HERE),
        lambda: suspend_and_restore(elsewhere, alice),
    )
    assert isinstance(outcome, Refused)
    assert outcome.reason is Refusal.GONE
    assert not home.log_in(password=NEW)
    assert home.log_in()


def test_a_change_of_the_address_meanwhile_does_not_stop_a_login(home, alice, open_house):
    elsewhere = open_house()
    identity = home.identity(home.session().secret)
    outcome = house.while_hashing(
        home, home.log_in, lambda: own_addresses.change(elsewhere.services, identity, "alice@example.org", HERE)
    )
    assert isinstance(outcome, Issued)


# --- rule 1: older digests ---------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["scrypt:1024:8:1", "pbkdf2:sha256:1000"])
def test_rule_01_63b_3_1_1_2_24_a_werkzeug_hash_verifies_and_is_renewed_once(home, alice, method):
    set_digest(home, alice, generate_password_hash(PASSWORD, method=method))
    assert isinstance(home.log_in(password=WRONG), Refused)
    assert scheme_of(home.digest(alice) or "") == method
    assert isinstance(home.log_in(), Issued)
    assert scheme_of(home.digest(alice) or "") == "$argon2id$v=19$m=1024,t=1,p=1"
    assert isinstance(home.log_in(), Issued)
    assert [entry.user_id for entry in home.events("password.rehashed")] == [alice]


def test_63b_3_1_1_2_24_v11_2_2_a_raised_cost_renews_at_the_next_login_and_the_old_one_verified(
    home, alice, open_house
):
    dearer = open_house(GATEHOUSE_ARGON2="2048,2,1")
    before = home.digest(alice)
    session = dearer.session()
    assert home.digest(alice) != before
    assert scheme_of(home.digest(alice) or "") == "$argon2id$v=19$m=2048,t=2,p=1"
    assert isinstance(dearer.load(session.secret), Session)  # a renewal ends no session


def test_63b_3_1_1_2_25_a_pepper_is_added_at_the_next_login_and_needed_from_then_on(home, alice, open_house):
    peppered = open_house(GATEHOUSE_PEPPER="p" * 32)
    assert isinstance(peppered.log_in(), Issued)
    assert (home.digest(alice) or "").startswith("pepper:")
    assert isinstance(peppered.log_in(), Issued)
    assert isinstance(home.log_in(), Refused)


def test_63b_3_1_1_2_25_a_new_pepper_takes_the_place_of_the_old_one_at_the_next_login(home, alice, open_house):
    old, new = "p" * 32, "q" * 32
    first = open_house(GATEHOUSE_PEPPER=old)
    assert isinstance(first.log_in(), Issued)
    before = home.digest(alice)
    rotated = open_house(GATEHOUSE_PEPPER=new, GATEHOUSE_PEPPER_FALLBACKS=[old])
    assert isinstance(rotated.log_in(), Issued)
    assert (home.digest(alice) or "")[:15] != (before or "")[:15]
    assert isinstance(open_house(GATEHOUSE_PEPPER=new).log_in(), Issued)
    assert isinstance(first.log_in(), Refused)


def _log_in(here: house.House, _number: int) -> str:
    outcome = here.log_in()
    return outcome.reason.name if isinstance(outcome, Refused) else type(outcome).__name__


def test_rule_01_of_parallel_logins_one_renews_an_old_digest_and_none_writes_over_another(crowd, home, alice):
    set_digest(home, alice, generate_password_hash(PASSWORD, method="scrypt:1024:8:1"))
    outcomes = crowd.rush(_log_in, home, 12, GATEHOUSE_THROTTLE="off")
    assert outcomes.count("Issued") >= 1
    assert len(home.events("password.rehashed")) == 1
    assert isinstance(home.log_in(), Issued)


# --- a temporary password ----------------------------------------------------------------------------------


def temporary(home: house.House) -> str:
    """Give alice a temporary password."""
    made = reset_password.make_temporary(home.services, CLI, "alice")
    assert isinstance(made, str)
    return made


def test_v6_4_1_a_temporary_password_opens_no_session_and_works_once(home, alice):
    word = temporary(home)
    outcome = home.log_in(password=word)
    assert isinstance(outcome, MustReplace)
    assert home.count(schema.session) == 0
    assert isinstance(home.log_in(password=word), Refused)
    assert isinstance(home.log_in(), Refused)
    assert reset_password.complete(home.services, outcome.link_secret, NEW, HERE) == alice
    assert isinstance(home.log_in(password=NEW), Issued)
    assert home.kinds()[1:] == [
        "session.ended",
        "password.temporary",
        "login.temporary",
        "login.failed",
        "password.reset",
        "login.succeeded",
    ]


def test_v6_4_1_63b_4_4_1_a_temporary_password_ends_after_a_day(home, alice):
    word = temporary(home)
    home.later(hours=24)
    assert isinstance(home.log_in(password=word), Refused)


def test_v6_4_1_a_temporary_password_is_random_enough(home, alice):
    words = {temporary(home) for _ in range(20)}
    assert len(words) == 20
    assert min(map(len, words)) >= 20  # 120 bits


def _log_in_with(here: house.House, _number: int, word: str) -> str:
    return type(house.patiently(lambda: here.log_in(password=word))).__name__


def test_v6_4_1_v2_3_4_of_parallel_uses_of_a_temporary_password_exactly_one_succeeds(crowd, home, alice):
    word = temporary(home)
    outcomes = crowd.rush(_log_in_with, home, 20, word, GATEHOUSE_THROTTLE="off")
    assert outcomes.count("MustReplace") == 1
    assert outcomes.count("Refused") == 19
    assert len(home.events("login.temporary")) == 1


# --- everything else ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "password", [" padded on both sides ", "x" * 64, "x" * 1024, "\U0001f9d9" * 128, "".join(map(chr, range(32, 127)))]
)
def test_v6_2_8_v6_2_9_63b_3_1_1_2_04_a_password_is_taken_whole_and_exactly(home, password):
    home.person(password=password)
    assert isinstance(home.log_in(password=password), Issued)
    for other in (password + " ", " " + password, password[:-1], password[1:], password.strip(), password[:72]):
        if other == password:
            continue
        assert isinstance(home.log_in(password=other, address="192.0.2.9"), Refused)
        home.later(minutes=10)


def test_63b_3_1_1_2_06_a_decomposed_password_logs_in_composed(home):
    home.person(password="cafe\u0301 au lait")
    assert isinstance(home.log_in(password="caf\u00e9 au lait"), Issued)
    assert isinstance(home.log_in(password="cafe\u0301 au lait"), Issued)
    assert isinstance(home.log_in(password="cafe au lait"), Refused)


def test_v6_2_10_63b_3_1_1_2_08_a_password_of_five_years_still_logs_in(home, alice):
    home.later(days=5 * 365)
    assert isinstance(home.log_in(), Issued)


def test_a_login_ends_the_session_this_browser_had_before(home, alice):
    before = home.session()
    home.person("bob")
    other = home.session("bob")
    after = home.session(previous=home.identity(before.secret))
    assert not isinstance(home.load(before.secret), Session)
    assert isinstance(home.load(after.secret), Session)
    assert isinstance(home.load(other.secret), Session)


def test_v16_3_1_a_login_is_recorded_with_its_method_its_session_and_where_it_came_from(home, alice):
    issued = home.session()
    (entry,) = home.events("login.succeeded")
    assert (entry.actor_id, entry.actor, entry.user_id) == (alice, "alice", alice)
    assert (entry.session_id, entry.address, entry.agent) == (issued.public_id, HERE.address, HERE.agent)
    assert home.details("login.succeeded") == [{"methods": ["password"]}]


def test_v16_2_5_a_failed_login_names_the_user_or_hides_what_was_typed(home, alice):
    home.log_in(password=WRONG)
    home.log_in("my secret typed here", WRONG)
    known, unknown = home.events("login.failed")
    assert (known.user_id, known.actor, known.outcome, known.detail) == (alice, "guest", "refused", "")
    assert (unknown.user_id, list(home.details("login.failed")[1])) == (None, ["name_digest"])
    assert "secret" not in unknown.detail


def test_a_host_app_vouches_for_active_users_alone(home, alice):
    attempt = login.Attempt(HERE)
    issued = login.vouched(home.services, alice, attempt, is_fresh=True)
    assert isinstance(issued, Issued)
    assert [proof.method for proof in home.identity(issued.secret).proofs] == ["app"]
    stale = login.vouched(home.services, alice, attempt, is_fresh=False)
    assert isinstance(stale, Issued)
    assert home.identity(stale.secret).proofs == ()
    suspend(home, alice)
    for user_id in (alice, 0, alice + 1):
        assert isinstance(login.vouched(home.services, user_id, attempt, is_fresh=True), Refused)
    assert home.count(schema.session) == 0


def test_rule_13_logging_out_ends_the_session_and_is_recorded_once(home, alice):
    secret = home.session().secret
    identity = home.identity(secret)
    assert login.end(home.services, identity, HERE) is True
    assert login.end(home.services, identity, HERE) is False
    assert [(entry.user_id, entry.session_id) for entry in home.events("logout")] == [(alice, identity.session_id)]


def test_rule_07_where_no_place_is_free_people_and_programs_are_told_to_come_again(home, alice):
    secret = home.session().secret
    identity, services = home.identity(secret), home.services
    link = reset_password.make_link(services, CLI, "alice")
    assert isinstance(link, str)
    with house.places_taken(home, 4):
        outcomes = [
            home.log_in(),
            step_up.prove(services, identity, secret, PASSWORD, HERE),
            own_password.change(services, identity, secret, PASSWORD, NEW, HERE),
            reset_password.complete(services, link, NEW, HERE),
        ]
        with pytest.raises(HashingBusyError):
            home.person("bob")
    assert [isinstance(outcome, Refused) and outcome.reason for outcome in outcomes] == [Refusal.BUSY] * 4
    assert all(isinstance(outcome, Refused) and outcome.wait for outcome in outcomes)
    assert home.counter(f"user:{alice}")[:2] == home.counter(f"inside:{alice}")[:2] == (0, 0)
    assert users.name_key("bob")
    assert isinstance(reset_password.complete(services, link, NEW, HERE), int)


def test_rule_07_a_place_is_kept_for_people_inside(home, alice):
    secret = home.session().secret
    identity = home.identity(secret)
    with house.places_taken(home, 3):
        outside = home.log_in()
        assert isinstance(outside, Refused)
        assert outside.reason is Refusal.BUSY
        inside = house.start(lambda: step_up.prove(home.services, identity, secret, PASSWORD, HERE))
        house.wait_for_places(home, 4)
    assert isinstance(inside(), Issued)


def test_proofs_say_what_was_shown_and_when(home, alice):
    identity = home.identity(home.session().secret)
    assert identity.proofs == (Proof("password", home.clock.now(), KNOWS),)
    assert identity.proven_at == home.clock.now()


def test_rule_03_what_could_not_be_hashed_for_want_of_memory_is_no_wrong_password(home):
    alice = home.person()
    with home.services.database.unit() as connection:
        passwords.store(connection, alice, shortage.of_a_gibibyte(home.digest(alice)), 1)
    with shortage.scarce():
        outcome = home.log_in()
    assert (outcome.reason, home.counter(f"user:{alice}")[0]) == (Refusal.BUSY, 0)
