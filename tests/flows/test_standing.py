"""What keeps a user from logging in at present: it is told exactly when a login fails, with what mends it."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from flask_gatehouse.domain import passwords
from flask_gatehouse.domain.sessions import Issued
from flask_gatehouse.flows import administer, reset_password, standing
from flask_gatehouse.flows.outcomes import MustReplace, Refused
from flask_gatehouse.flows.standing import Hindrance, Mend, Obstacle
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.identity import CLI
from tests.support import house
from tests.support.house import BY_COMMAND, SECOND, WRONG

FAR = "198.51.100.9"


def obstacles(home: house.House, user_id: int) -> list[Obstacle]:
    """Return what keeps a user out."""
    with home.services.reading() as connection:
        return standing.obstacles_of(home.services, connection, home.user(user_id), home.clock.now())


def hindrances(home: house.House, user_id: int) -> list[Hindrance]:
    """Return why a user is kept out."""
    return [obstacle.hindrance for obstacle in obstacles(home, user_id)]


def test_nothing_stands_in_the_way_of_who_can_log_in(home):
    alice = home.person()
    assert obstacles(home, alice) == []
    home.log_in(password=WRONG)
    assert obstacles(home, alice) == []
    assert isinstance(home.log_in(), Issued)


def test_who_is_suspended_is_mended_by_restoring(home):
    alice = home.person()
    administer.suspend(home.services, BY_COMMAND, alice)
    (obstacle,) = obstacles(home, alice)
    assert (obstacle.name, obstacle.mend, obstacle.until_at) == ("suspended", "restore", None)
    assert isinstance(home.log_in(), Refused)
    administer.restore(home.services, BY_COMMAND, alice)
    assert obstacles(home, alice) == []
    assert isinstance(home.log_in(), Issued)


def test_of_who_is_closed_nothing_else_is_told(home):
    alice = home.person()
    administer.close(home.services, BY_COMMAND, alice)
    (obstacle,) = obstacles(home, alice)
    assert (obstacle.name, obstacle.mend) == ("closed", "nothing")


def test_who_has_no_password_needs_a_link(home):
    alice = home.person()
    with home.services.database.unit() as connection:
        passwords.forget(connection, alice)
    (obstacle,) = obstacles(home, alice)
    assert (obstacle.name, obstacle.mend) == ("no_password", "reset")
    assert isinstance(home.log_in(), Refused)


def test_a_temporary_password_is_told_until_it_runs_out_and_then_needs_a_link(home):
    alice = home.person()
    secret = reset_password.make_temporary(home.services, CLI, "alice")
    (obstacle,) = obstacles(home, alice)
    assert (obstacle.name, obstacle.mend) == ("temporary", "nothing")
    assert obstacle.until_at is not None
    home.later(microseconds=obstacle.until_at - home.clock.now())
    (ended,) = obstacles(home, alice)
    assert (ended.name, ended.mend, ended.until_at) == ("temporary_ended", "reset", obstacle.until_at)
    assert isinstance(home.log_in(password=str(secret)), Refused)


def test_a_temporary_password_that_was_used_leaves_none(home):
    alice = home.person()
    secret = reset_password.make_temporary(home.services, CLI, "alice")
    assert isinstance(home.log_in(password=str(secret)), MustReplace)
    assert hindrances(home, alice) == [Hindrance.NO_PASSWORD]


def test_a_delay_is_told_while_it_lasts_and_ends_by_unlocking(home):
    alice = home.person()
    for _ in range(5):
        home.log_in(password=WRONG)
    (obstacle,) = obstacles(home, alice)
    assert obstacle == Obstacle(Hindrance.DELAYED, home.clock.now() + 30 * SECOND, 5)
    assert isinstance(home.log_in(address=FAR), Refused)
    home.later(seconds=30)
    assert obstacles(home, alice) == []
    home.log_in(password=WRONG, address=FAR)
    assert hindrances(home, alice) == [Hindrance.DELAYED]
    administer.unlock(home.services, BY_COMMAND, alice)
    assert obstacles(home, alice) == []
    assert isinstance(home.log_in(address=FAR), Issued)


@pytest.mark.parametrize("wrong, is_disabled", [(99, False), (100, True), (101, True)])
def test_a_password_is_told_to_be_disabled_from_the_hundredth_wrong_one_on(home, wrong, is_disabled):
    alice = home.person()
    home.log_in(password=WRONG)
    key = home.services.throttle.account_key(alice, "")
    statement = sa.update(schema.counter).where(schema.counter.c.key == key)
    home.change(statement.values(total=wrong, blocked_until=home.clock.now() + SECOND))
    expected = Obstacle(Hindrance.DISABLED, wrong=wrong) if is_disabled else None
    assert (obstacles(home, alice)[0] == expected) is is_disabled
    home.later(seconds=2)
    assert isinstance(home.log_in(address=FAR), Refused) is is_disabled
    administer.unlock(home.services, BY_COMMAND, alice)
    assert obstacles(home, alice) == []
    assert isinstance(home.log_in(address=FAR), Issued)


def test_several_obstacles_are_told_together(home):
    alice = home.person()
    for _ in range(5):
        home.log_in(password=WRONG)
    with home.services.database.unit() as connection:
        passwords.forget(connection, alice)
    administer.suspend(home.services, BY_COMMAND, alice)
    assert hindrances(home, alice) == [Hindrance.SUSPENDED, Hindrance.NO_PASSWORD, Hindrance.DELAYED]


def test_every_hindrance_has_its_mend():
    assert standing.MENDS.keys() == set(Hindrance)
    assert set(standing.MENDS.values()) == set(Mend)
