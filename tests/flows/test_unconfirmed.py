"""Who registered by e-mail and never confirmed the address is closed by time: nobody else is."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from flask_gatehouse.domain import mail, tokens
from flask_gatehouse.domain.mail import Letter
from flask_gatehouse.flows import administer, post, register, reset_password, unconfirmed, verify_email
from flask_gatehouse.flows.outcomes import Refused
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.identity import CLI
from tests.support import house
from tests.support.house import BY_COMMAND, HERE, PASSWORD, source
from tests.support.plans import plans_of
from tests.support.post import token_of

NEW = "new@example.org"


@pytest.fixture
def home(post, open_house):
    """Return a house whose people give a name and log in with their address."""
    return open_house(GATEHOUSE_MAIL_URL=post.url, GATEHOUSE_LOGIN_NAME="both")


def sign_up(home: house.House, name: str = "newcomer", email: str = NEW) -> int:
    """Register, wait until the mail has left, and return the user's id."""
    outcome = register.register(home.services, register.NewUser(name, PASSWORD, email), source(), may_claim=False)
    assert not isinstance(outcome, Refused), outcome
    assert home.rest()
    return outcome.id


def states(home: house.House) -> dict[str, str]:
    """Return the state of each user by login name."""
    return dict(home.rows(sa.select(schema.user.c.username, schema.user.c.state)))


def test_who_never_confirmed_is_closed_a_week_after_the_link_has_run_out_and_the_name_is_free(home):
    user_id = sign_up(home)
    home.later(days=8, minutes=-1)
    assert unconfirmed.close_batch(home.services) == 0
    home.later(minutes=2)
    assert unconfirmed.close_batch(home.services) == 1
    closed = home.user(user_id)
    assert (closed.state, closed.email, home.digest(user_id)) == ("closed", None, None)
    (event,) = home.events("user.expired")
    assert (event.user_id, event.actor) == (user_id, "system")
    assert unconfirmed.close_batch(home.services) == 0
    again = sign_up(home)
    assert again != user_id
    assert states(home)["newcomer"] == "active"


def test_a_link_or_a_mail_that_came_later_gives_another_week(home):
    user_id = sign_up(home)
    home.later(days=7)
    link = reset_password.make_link(home.services, CLI, "newcomer")
    assert isinstance(link, str)
    home.later(days=7)
    assert unconfirmed.close_batch(home.services) == 0
    with home.services.database.unit() as connection:
        mail.queue(connection, [Letter(mail.VERIFY, user_id, NEW)], home.clock.now())
        tokens.drop_links(connection, user_id)
    assert unconfirmed.close_batch(home.services) == 0
    home.change(sa.delete(schema.mail))
    assert unconfirmed.close_batch(home.services) == 1


def test_nobody_is_closed_who_confirmed_or_was_made_by_others_or_holds_a_role_or_is_suspended(home, post):
    home.person("made", email="made@example.org")
    sign_up(home, "confirmed", "confirmed@example.org")
    assert isinstance(verify_email.confirm(home.services, token_of(post.to("confirmed@example.org")[0]), HERE), int)
    assert administer.grant(home.services, BY_COMMAND, sign_up(home, "holder", "holder@example.org"), "clerk")
    assert administer.suspend(home.services, BY_COMMAND, sign_up(home, "barred", "barred@example.org"))
    sign_up(home)
    home.later(days=400)
    assert unconfirmed.close_batch(home.services) == 1
    found = states(home)
    assert {name for name, state in found.items() if state == "active"} == {"made", "confirmed", "holder"}
    assert found["barred"] == "suspended"


@pytest.mark.parametrize("meanwhile", ["confirmed", "granted"])
def test_what_happens_between_the_look_and_the_end_counts(home, post, meanwhile):
    user_id = sign_up(home)
    secret = token_of(post.to(NEW)[0])
    home.later(days=9)
    if meanwhile == "granted":
        assert administer.grant(home.services, BY_COMMAND, user_id, "clerk")
    else:
        home.change(sa.update(schema.link).values(expires_at=home.clock.now() + 1))
        assert verify_email.confirm(home.services, secret, HERE) == user_id
    assert not unconfirmed.close_one(home.services, user_id)
    assert home.user(user_id).is_active


def test_a_link_that_is_opened_after_the_end_says_that_it_has_ended(home, post):
    sign_up(home)
    home.later(days=9)
    home.change(sa.update(schema.link).values(expires_at=home.clock.now() - unconfirmed.UNCONFIRMED_MICROS))
    assert unconfirmed.close_batch(home.services) == 1
    assert isinstance(verify_email.confirm(home.services, token_of(post.to(NEW)[0]), HERE), Refused)


def test_it_is_done_in_batches_when_mail_is_sent(home, monkeypatch):
    for number in range(3):
        sign_up(home, f"user{number}", f"user{number}@example.org")
    home.later(days=9)
    monkeypatch.setattr(unconfirmed, "BATCH", 2)
    post.work(home.services)
    assert sorted(states(home).values()) == ["active", "closed", "closed"]
    post.work(home.services)
    assert sorted(states(home).values()) == ["closed", "closed", "closed"]


def test_they_are_found_by_an_index_of_those_who_wait(home):
    home.person()
    home.change(sa.text("ANALYZE"))
    plans = plans_of(home.services.database, lambda: unconfirmed.close_batch(home.services))
    if home.services.database.is_sqlite:  # PostgreSQL walks through so small a table
        assert "ix_gatehouse_user_unconfirmed" in plans[0]
