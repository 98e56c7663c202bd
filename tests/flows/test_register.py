"""Register, and create users by command or code; the first administrator is made once (rules 2, 10, 25)."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from flask_gatehouse import InvalidEmail, InvalidName, NameTaken, UnknownRole, WeakPassword
from flask_gatehouse.domain.sessions import Issued
from flask_gatehouse.domain.users import UserRecord
from flask_gatehouse.flows import register
from flask_gatehouse.flows.outcomes import Refusal, Refused
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.identity import CLI
from tests.support import house
from tests.support.house import HERE, PASSWORD, source


def join(
    home: house.House,
    name: str = "alice",
    password: str = PASSWORD,
    email: str | None = None,
    *,
    may_claim: bool = False,
) -> UserRecord | Refused:
    """Register."""
    return register.register(home.services, register.NewUser(name, password, email), HERE, may_claim=may_claim)


def joined(home: house.House, name: str = "alice", *, may_claim: bool = True) -> int:
    """Register, which must succeed, and return the id."""
    made = join(home, name, may_claim=may_claim)
    assert isinstance(made, UserRecord), made
    return made.id


def test_a_user_registers_and_is_not_logged_in(home):
    made = join(home, email="alice@example.org")
    assert isinstance(made, UserRecord)
    assert (made.username, made.email, made.state) == ("alice", "alice@example.org", "active")
    assert home.count(schema.session) == 0
    (entry,) = home.events()
    assert (entry.kind, entry.actor_id, entry.actor, entry.user_id) == ("user.registered", made.id, "alice", made.id)
    assert (entry.address, entry.agent) == (HERE.address, HERE.agent)
    assert isinstance(home.log_in(), Issued)


@pytest.mark.parametrize(
    "name, password, email, field",
    [
        ("alice\n", PASSWORD, None, "username"),
        ("\u017falice", PASSWORD, None, "username"),
        ("al", PASSWORD, None, "username"),
        ("alice", "qzvkwp", None, "password"),
        ("alice", "password1", None, "password"),
        ("alice-liddell", "Alice-Liddell", None, "password"),
        ("alice", "alice.liddell", "alice.liddell@example.org", "password"),
        ("alice", "tests.support.house", None, "password"),
        ("alice", "flask-gatehouse", None, "password"),
        ("alice", "quiet\x00river", None, "password"),
        ("alice", PASSWORD, "nonsense", "email"),
    ],
)
def test_rule_10_v2_2_1_63b_3_1_1_2_13_a_field_that_cannot_be_taken_is_named_and_nothing_is_made(
    home, name, password, email, field
):
    outcome = join(home, name, password, email)
    assert isinstance(outcome, Refused)
    assert (outcome.reason, outcome.field) == (Refusal.FIELD, field)
    assert password not in outcome.text
    assert home.count(schema.user) == home.count(schema.event) == 0


def test_63b_3_1_1_2_15_a_listed_password_stays_refused(home):
    assert join(home, password="password1") == join(home, password="password1")


def test_v6_2_1_63b_3_1_1_2_01_the_strict_profile_asks_for_fifteen_characters(open_house):
    strict = open_house(GATEHOUSE_PROFILE="strict", GATEHOUSE_ARGON2="64,1,1", GATEHOUSE_PEPPER="p" * 32)
    assert not join(strict, password="fourteen chars")
    assert join(strict, password="\U0001f9d9" * 15)
    assert isinstance(strict.log_in(password="\U0001f9d9" * 15), Issued)


@pytest.mark.parametrize("name", ["alice", "ALICE", "aLiCe"])
def test_a_taken_name_is_refused_beside_its_field_upper_and_lower_case_aside(home, name):
    join(home, "Alice")
    outcome = join(home, name)
    assert isinstance(outcome, Refused)
    assert (outcome.reason, outcome.field) == (Refusal.FIELD, "username")
    assert home.count(schema.user) == 1
    assert home.kinds() == ["user.registered"]


def _join(here: house.House, number: int) -> str:
    name = "".join(letter.upper() if number >> place & 1 else letter for place, letter in enumerate("concurrent"))
    new, place = register.NewUser(name, PASSWORD), source(f"10.0.0.{number}")
    outcome = house.patiently(lambda: register.register(here.services, new, place, may_claim=True))
    return outcome.field if isinstance(outcome, Refused) else "made"


def test_rule_02_v15_4_2_fifty_of_one_name_in_mixed_case_make_one_user(crowd, home):
    outcomes = crowd.rush(_join, home, 50, GATEHOUSE_THROTTLE="off")
    assert (outcomes.count("made"), outcomes.count("username")) == (1, 49)
    assert home.count(schema.user) == home.count(schema.password) == 1
    assert home.kinds() == ["user.registered"]


def _join_as_first(here: house.House, number: int) -> bool:
    new = register.NewUser(f"user{number}", PASSWORD)
    return bool(house.patiently(lambda: register.register(here.services, new, source(), may_claim=True)))


FIRST = {"GATEHOUSE_FIRST_USER_ADMIN": True, "GATEHOUSE_THROTTLE": "off"}


def test_rule_25_v15_4_2_fifty_parallel_first_registrations_make_one_administrator(crowd, home):
    assert crowd.rush(_join_as_first, home, 50, **FIRST) == [True] * 50
    admins = home.rows(sa.select(schema.grant.c.user_id).where(schema.grant.c.role == "admin"))
    (claim,) = home.rows(sa.select(schema.guard.c.user_id).where(schema.guard.c.name == "first-admin"))
    assert admins == [(claim.user_id,)]
    assert home.kinds().count("user.registered") == 50
    assert [entry.user_id for entry in home.events("admin.claimed")] == [claim.user_id]
    assert [entry.user_id for entry in home.events("role.granted")] == [claim.user_id]
    assert home.verified() == 52


def test_rule_25_only_who_may_claim_becomes_the_first_administrator(open_house):
    first = open_house(**FIRST)
    made = [joined(first, name, may_claim=may) for name, may in (("a1a", False), ("b2b", True), ("c3c", True))]
    assert [bool(first.grants(user_id)) for user_id in made] == [False, True, False]


def test_rule_25_without_the_setting_nobody_does(home):
    assert home.grants(joined(home)) == []
    with home.services.reading() as connection:
        assert home.services.roles.is_first_admin_open(connection)


def test_rule_25_a_user_made_by_code_or_command_spends_the_claim_for_ever(open_house):
    first = open_house(**FIRST)
    assert first.grants(first.person("operator")) == []
    assert first.grants(joined(first)) == []
    first.change(sa.delete(schema.password))
    first.change(sa.delete(schema.user))
    assert first.grants(joined(first, "another")) == []


# --- by command or code ------------------------------------------------------------------------------------


def test_create_makes_a_user_with_roles_and_records_who_did_it_and_why(home):
    new = register.NewUser("Alice", PASSWORD, "alice@example.org")
    made = register.create(home.services, new, ["Clerk", "ADMIN", "clerk"], CLI, reason="first day")
    assert [grant.role for grant in home.grants(made.id)] == ["admin", "clerk"]
    assert home.kinds() == ["user.created", "role.granted", "role.granted"]
    assert home.details("user.created") == [{"reason": "first day"}]
    assert home.details("role.granted") == [{"role": "admin"}, {"role": "clerk"}]
    assert {entry.actor for entry in home.events()} == {"cli"}


@pytest.mark.parametrize(
    "new, roles, error",
    [
        (register.NewUser("al", PASSWORD), [], InvalidName),
        (register.NewUser("ALICE", PASSWORD), [], NameTaken),
        (register.NewUser("bob", "password1"), [], WeakPassword),
        (register.NewUser("bob", ""), [], WeakPassword),
        (register.NewUser("bob", PASSWORD, "nonsense"), [], InvalidEmail),
        (register.NewUser("bob", PASSWORD), ["clerk", "nobody"], UnknownRole),
    ],
)
def test_v6_3_2_v2_3_3_create_makes_all_of_it_or_nothing(home, new, roles, error):
    home.person("alice")
    before = (home.count(schema.user), home.count(schema.grant), home.count(schema.event))
    with pytest.raises(error):
        register.create(home.services, new, roles, CLI)
    assert (home.count(schema.user), home.count(schema.grant), home.count(schema.event)) == before


def test_v6_3_2_a_new_database_has_no_accounts(home):
    assert home.count(schema.user) == home.count(schema.password) == home.count(schema.grant) == 0
