"""A new password through a one-time link: made by an operator, used once, dead with any change (rule 31)."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from flask_gatehouse.domain.sessions import Issued, Session
from flask_gatehouse.flows import administer, own_addresses, own_password, reset_password, revoke
from flask_gatehouse.flows.outcomes import Refusal, Refused
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.identity import CLI
from tests.support import house
from tests.support.house import BY_COMMAND, HERE, PASSWORD, source
from tests.support.visitor import submit

NEW = "another quiet river"


@pytest.fixture
def alice(home):
    """Return the id of a user."""
    return home.person(email="alice.liddell@example.org")


def link_of(home: house.House, name: str = "alice") -> str:
    """Make a link."""
    made = reset_password.make_link(home.services, CLI, name, "forgotten")
    assert isinstance(made, str)
    return made


def use(home: house.House, link: str, password: str = NEW) -> int | Refused:
    """Use a link."""
    return reset_password.complete(home.services, link, password, HERE)


def reason(outcome: object) -> Refusal | None:
    """Return why a flow refused, None where it did not."""
    return outcome.reason if isinstance(outcome, Refused) else None


def test_a_link_sets_a_password_ends_all_sessions_and_logs_nobody_in(home, alice):
    before = [home.session() for _ in range(2)]
    assert use(home, link_of(home)) == alice
    assert home.count(schema.session) == 0
    assert not [one for one in before if isinstance(home.load(one.secret), Session)]
    assert isinstance(home.log_in(password=NEW), Issued)
    assert isinstance(home.log_in(), Refused)
    (entry,) = home.events("password.reset")
    assert (entry.actor_id, entry.user_id, entry.address) == (alice, alice, HERE.address)
    assert home.details("password.reset_link") == [{"reason": "forgotten"}]
    assert sorted(home.details("password.reset")[0]["sessions_ended"]) == sorted(one.public_id for one in before)


def test_rule_31_v6_4_3_a_used_link_is_dead(home, alice):
    link = link_of(home)
    assert use(home, link) == alice
    assert reason(use(home, link, "yet another river")) is Refusal.GONE
    assert isinstance(home.log_in(password=NEW), Issued)


def test_rule_31_looking_at_the_page_consumes_nothing(home, alice):
    link = link_of(home)
    client = home.app.test_client()
    for _ in range(3):
        assert client.get(f"/reset-password/{link}").status_code == 200
        assert client.head(f"/reset-password/{link}").status_code == 200
        assert reset_password.find(home.services, link) == "alice"
    assert submit(client, f"/reset-password/{link}", password=NEW, confirm=NEW).status_code == 303
    assert client.get(f"/reset-password/{link}").status_code == 410
    assert isinstance(home.log_in(password=NEW), Issued)


def test_a_password_that_cannot_be_taken_leaves_the_link_alive(home, alice):
    link = link_of(home)
    for password in ("short", "password1", "quiet\x00river"):
        outcome = use(home, link, password)
        assert isinstance(outcome, Refused)
        assert (outcome.reason, outcome.field) == (Refusal.FIELD, "password")
    assert use(home, link) == alice


@pytest.mark.parametrize("password", ["alice-liddell", "ALICE-Liddell", "liddell.a", "liddell.a@example.org"])
def test_63b_3_1_1_2_13_ones_own_names_are_refused_at_a_reset_too(home, password):
    home.person("alice-liddell", email="liddell.a@example.org")
    outcome = use(home, link_of(home, "alice-liddell"), password)
    assert isinstance(outcome, Refused)
    assert outcome.field == "password"


def _by_password(home: house.House, _alice: int) -> None:
    secret = home.session().secret
    assert own_password.change(home.services, home.identity(secret), secret, PASSWORD, "a third river", HERE)


def _by_email(home: house.House, _alice: int) -> None:
    own_addresses.change(home.services, home.identity(home.session().secret), "new@example.org", HERE)


def _by_end_all(home: house.House, _alice: int) -> None:
    revoke.all_own(home.services, home.identity(home.session().secret), HERE)


def _by_suspension(home: house.House, alice: int) -> None:
    administer.suspend(home.services, BY_COMMAND, alice)
    administer.restore(home.services, BY_COMMAND, alice)


def _by_a_newer_link(home: house.House, _alice: int) -> None:
    link_of(home)


def _by_temporary_password(home: house.House, _alice: int) -> None:
    reset_password.make_temporary(home.services, CLI, "alice")


def _by_time(home: house.House, _alice: int) -> None:
    home.later(minutes=30)


@pytest.mark.parametrize(
    "death",
    [_by_password, _by_email, _by_end_all, _by_suspension, _by_a_newer_link, _by_temporary_password, _by_time],
)
def test_rule_31_a_link_dies_with_any_change_of_password_address_or_epoch(home, alice, death):
    link = link_of(home)
    death(home, alice)
    assert reset_password.find(home.services, link) is None
    assert reason(use(home, link)) is Refusal.GONE
    assert isinstance(home.log_in(password=NEW), Refused)


def test_rule_31_a_link_lives_half_an_hour_and_ten_minutes_in_the_strict_profile(home, alice, open_house):
    strict = open_house(GATEHOUSE_PROFILE="strict", GATEHOUSE_ARGON2="64,1,1")
    lasting = link_of(home)
    home.later(minutes=29, seconds=59)
    assert reset_password.find(home.services, lasting) == "alice"
    short = link_of(strict)
    home.later(minutes=9, seconds=59)
    assert reset_password.find(strict.services, short) == "alice"
    home.later(seconds=1)
    assert reset_password.find(strict.services, short) is None


@pytest.mark.parametrize("name", ["nobody", "bob", "carol", "alice\n", ""])
def test_only_an_active_user_gets_a_link_or_a_temporary_password(home, name):
    administer.suspend(home.services, BY_COMMAND, home.person("bob"))
    administer.close(home.services, BY_COMMAND, home.person("carol"))
    assert reason(reset_password.make_link(home.services, CLI, name)) is Refusal.NOT_FOUND
    assert reason(reset_password.make_temporary(home.services, CLI, name)) is Refusal.NOT_FOUND
    assert home.count(schema.link) == 0


def _use(here: house.House, number: int, link: str) -> str:
    password, place = f"{NEW} {number}", source(f"10.0.0.{number}")
    outcome = house.patiently(lambda: reset_password.complete(here.services, link, password, place))
    return outcome.reason.name if isinstance(outcome, Refused) else str(number)


def test_rule_31_v2_3_4_fifty_parallel_uses_of_one_link_set_one_password(crowd, home, alice):
    outcomes = crowd.rush(_use, home, 50, link_of(home), GATEHOUSE_THROTTLE="off")
    (winner,) = [outcome for outcome in outcomes if outcome.isdecimal()]
    assert outcomes.count("GONE") == 49
    assert isinstance(home.log_in(password=f"{NEW} {winner}"), Issued)
    assert len(home.events("password.reset")) == 1


def test_a_reset_zeroes_what_kept_the_user_out(home, alice):
    for key in (f"user:{alice}", f"inside:{alice}"):
        values = {"count": 5, "total": 100, "blocked_until": home.clock.now() + 1, "ends_at": home.clock.now() + 1}
        home.change(sa.insert(schema.counter).values(key=key, **values))
    assert use(home, link_of(home)) == alice
    assert home.counter(f"user:{alice}") == home.counter(f"inside:{alice}") == (0, 0, 0)


def test_63b_4_2_2_1_1_v6_4_6_nobody_sets_another_users_password(home, alice):
    digest = home.digest(alice)
    link_of(home)
    assert home.digest(alice) == digest
    temporary = reset_password.make_temporary(home.services, CLI, "alice")
    assert isinstance(temporary, str)
    assert not isinstance(home.log_in(password=temporary), Issued)
