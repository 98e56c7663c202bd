"""One's own account, closed for good: as `gatehouse user delete` does it, and never the last administrator's."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from flask_gatehouse.domain import devices
from flask_gatehouse.domain.sessions import Session
from flask_gatehouse.flows import administer, close_account
from flask_gatehouse.flows.outcomes import Refusal, Refused
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.schema import ACTIVE, CLOSED
from tests.flows.test_totp import refusal
from tests.support import house, phones
from tests.support.house import BY_COMMAND, HERE
from tests.support.post import part

ALICE = "alice@example.org"
KEPT = (schema.password, schema.session, schema.device, schema.grant, schema.totp, schema.recovery_code, schema.link)


@pytest.fixture
def home(post, open_house):
    """Return a house that sends mail and has second factors."""
    return open_house(GATEHOUSE_MAIL_URL=post.url, GATEHOUSE_FEATURES="totp,recovery_codes")


def close(home: house.House, secret: str, name: str = "alice") -> int | Refused:
    """Close the account of who holds a session."""
    return close_account.close(home.services, home.identity(secret), name, HERE)


def left_of(home: house.House, user_id: int) -> list[object]:
    """Return what is left of a user besides the log."""
    row = home.user(user_id)
    parts = (row.state, row.email, row.email_key, row.email_before, row.username.split(".", maxsplit=1)[0])
    return [*parts, *(home.count(table) for table in KEPT)]


def test_63b_4_5_1_who_closes_the_account_leaves_as_little_as_who_is_closed(home):
    secrets = {}
    for name in ("alice", "bob"):
        home.proven(name, roles=["clerk"])
        secrets[name] = home.session(name, spare=devices.new(home.services.keys)).secret
    assert close(home, secrets["alice"]) == 1
    assert administer.close(home.services, BY_COMMAND, 2)
    assert left_of(home, 1) == left_of(home, 2)
    assert left_of(home, 1) == [CLOSED, None, None, None, "closed", *([0] * len(KEPT))]
    assert not isinstance(home.load(secrets["alice"]), Session)
    assert refusal(home.log_in()) is Refusal.CREDENTIALS
    (own, others) = home.events("user.closed")
    assert (own.actor_id, own.user_id, own.actor) == (1, 1, "alice")
    assert (others.actor_id, others.user_id) == (None, 2)


@pytest.mark.parametrize("is_own", [True, False])
def test_v6_3_7_the_address_of_before_hears_of_it(home, post, is_own):
    alice = home.proven()
    assert close(home, home.session().secret) if is_own else administer.close(home.services, BY_COMMAND, alice)
    assert home.rest()
    assert post.subjects(ALICE)[-1] == "Your account at localhost:5000 was closed"
    assert "the account alice at localhost:5000 was closed for good" in part(post.mails[-1], "plain")
    assert home.count(schema.mail) == 0  # with it the address and the name are gone from the last table


def test_an_address_that_was_never_verified_hears_nothing(home, post):
    home.person("alice", email=ALICE)
    assert close(home, home.session().secret) == 1
    assert home.rest()
    assert post.mails == []


def test_rule_24_the_last_administrator_stays(home):
    root = home.person("root", roles=["admin"])
    assert refusal(close(home, home.session("root").secret, "root")) is Refusal.LAST_ADMIN
    assert home.user(root).state == ACTIVE
    assert home.events("user.closed") == []


def test_who_was_ended_meanwhile_closes_nothing(home):
    alice = home.person("alice")
    identity = home.identity(home.session().secret)
    house.end_all(home, alice)
    assert refusal(close_account.close(home.services, identity, "alice", HERE)) is Refusal.GONE
    assert home.user(alice).state == ACTIVE


def test_v7_5_1_a_factor_that_is_enrolled_must_have_been_proven(home):
    alice = home.person("alice")
    secret = home.session().secret
    phones.enrol(home.services, alice)
    assert refusal(close(home, secret)) is Refusal.FORBIDDEN
    assert home.user(alice).state == ACTIVE


def _close_or_withdraw(here: house.House, number: int, secret: str, second: int) -> str:
    if number % 2:
        outcome: object = administer.withdraw(here.services, BY_COMMAND, second, "admin")
    else:
        found = here.load(secret)
        if not isinstance(found, Session):
            return "gone"
        outcome = close_account.close(here.services, found.identity, "root", HERE)
    return outcome.reason.name if isinstance(outcome, Refused) else "done"


def test_rule_24_v15_4_2_closing_ones_own_against_a_withdrawal_of_the_other_leaves_one(crowd, home):
    ids = [home.person(name, roles=["admin"]) for name in ("root", "second")]
    outcomes = crowd.rush(_close_or_withdraw, home, 20, home.session("root").secret, ids[1])
    assert outcomes.count("done") == 1
    with home.services.reading() as connection:
        (left,) = home.services.roles.lasting_admins(connection, home.clock.now())
    assert left in ids
    assert home.rows(sa.select(schema.user_count.c.count).where(schema.user_count.c.state == CLOSED)) == [
        (1 if left == ids[1] else 0,)
    ]
    assert home.verified() == len(home.events())
