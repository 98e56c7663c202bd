"""How far an administrator's rights reach: in time, by name, and where a role's permissions are written down."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from flask_gatehouse.flows import administer, own_addresses, revoke
from flask_gatehouse.flows.outcomes import Refusal, Refused
from flask_gatehouse.kernel import schema
from tests.support.house import BY_COMMAND, HERE, SECOND

HOUR = 3600 * SECOND


def refusal(outcome):
    """Return the field or else the reason of a refusal, None where there is none."""
    return (outcome.field or outcome.reason) if isinstance(outcome, Refused) else None


# --- in time -----------------------------------------------------------------------------------------------


def test_v8_2_3_who_is_administrator_for_an_hour_makes_nobody_one_for_longer(home):
    home.person("root", roles=["admin"])
    brief, puppet = home.person("brief"), home.person("puppet")
    end = home.clock.now() + HOUR
    assert refusal(administer.grant(home.services, BY_COMMAND, brief, "admin", end)) is None
    act = home.by(home.session("brief").secret)
    assert refusal(administer.grant(home.services, act, puppet, "admin")) == "until"
    assert refusal(administer.grant(home.services, act, puppet, "admin", end + 1)) == "until"
    assert refusal(administer.grant(home.services, act, puppet, "clerk")) == "until"
    assert home.grants(puppet) == []
    assert refusal(administer.grant(home.services, act, puppet, "admin", end)) is None
    back = home.by(home.session("puppet").secret)
    assert refusal(administer.grant(home.services, back, brief, "admin")) == "until"
    home.later(hours=1)
    assert home.grants(puppet) == home.grants(brief) == []


def test_v8_2_3_of_several_rights_the_one_that_lasts_longest_counts(home):
    home.person("root", roles=["admin"])
    both, other = home.person("both", roles=["clerk"]), home.person("other")
    end = home.clock.now() + HOUR
    assert refusal(administer.grant(home.services, BY_COMMAND, both, "admin", end)) is None
    act = home.by(home.session("both").secret)
    assert refusal(administer.grant(home.services, act, other, "clerk")) is None
    assert refusal(administer.grant(home.services, act, other, "cashier")) == "until"
    assert refusal(administer.grant(home.services, BY_COMMAND, both, "admin", None)) is None
    assert refusal(administer.grant(home.services, act, other, "cashier")) is None


def test_v16_2_1_a_grant_that_ends_sooner_than_before_asks_for_a_reason_as_a_withdrawal_does(home):
    user, end = home.person("alice", roles=["clerk"]), home.clock.now() + HOUR
    silent = replace(BY_COMMAND, reason="")
    assert refusal(administer.grant(home.services, silent, user, "clerk", end)) == "reason"
    assert refusal(administer.grant(home.services, BY_COMMAND, user, "clerk", end)) is None
    assert refusal(administer.grant(home.services, silent, user, "clerk", end + 1)) is None  # longer, and for ever
    assert refusal(administer.grant(home.services, silent, user, "clerk")) is None


# --- by name -----------------------------------------------------------------------------------------------


def test_v8_2_3_a_role_that_permits_nothing_is_granted_by_its_holders_only(open_house):
    home = open_house()
    home.gate.role("boss", [])
    home.gate.role("helpdesk", ["roles:grant", "users:read"])
    home.person("help", roles=["helpdesk"])
    home.person("chief", roles=["helpdesk", "boss"])
    plain = home.person("plain")
    help_, chief = (home.by(home.session(name).secret) for name in ("help", "chief"))
    assert refusal(administer.grant(home.services, help_, plain, "boss")) is Refusal.FORBIDDEN
    assert refusal(administer.grant(home.services, chief, plain, "boss")) is None
    assert refusal(administer.withdraw(home.services, help_, plain, "boss")) is Refusal.FORBIDDEN
    assert [held.role for held in home.grants(plain)] == ["boss"]
    assert refusal(administer.suspend(home.services, help_, plain)) is None  # who acts on a user covers permissions


def test_a_role_that_is_gone_from_the_code_can_be_withdrawn(home, open_house):
    alice = home.person("alice", roles=["clerk"])
    home.person("weak", roles=["cashier"])
    later = open_house()
    del later.gate._roles.in_code["clerk"]
    weak = later.by(later.session("weak").secret)
    assert refusal(administer.withdraw(later.services, weak, alice, "clerk")) is Refusal.FORBIDDEN
    assert refusal(administer.grant(later.services, BY_COMMAND, alice, "clerk")) == "role"
    assert refusal(administer.withdraw(later.services, BY_COMMAND, alice, "Clerk")) is None
    assert later.grants(alice) == []
    again = administer.withdraw(later.services, BY_COMMAND, alice, "clerk")
    assert isinstance(again, Refused)
    assert again.text == "There is no role of this name."


# --- where it is written down ------------------------------------------------------------------------------


@pytest.fixture
def shadowed(home):
    """Return a house whose code declares a role that stands in its database with more permissions."""
    home.change(sa.insert(schema.role).values(name="clerk", created_at=0))
    rows = [{"role": "clerk", "permission": permission} for permission in ("roles:grant", "users:suspend")]
    home.change(sa.insert(schema.role_permission).values(rows))
    return home


def test_v8_2_1_a_role_in_code_has_the_permissions_of_the_code_alone(shadowed):
    shadowed.person("alice", roles=["clerk"])
    identity = shadowed.identity(shadowed.session("alice").secret)
    assert identity.permissions == {"invoice:read"}
    roles = shadowed.services.roles
    with shadowed.services.reading() as connection:
        assert roles.all(connection)["clerk"] == {"invoice:read"}
        assert roles.rights_of(connection, identity.user_id, shadowed.clock.now()).permissions == {"invoice:read"}
        assert roles.shadowed(connection) == ["clerk"]


# --- what changes nothing is not recorded ------------------------------------------------------------------


def test_v16_2_1_what_changes_nothing_of_ones_own_leaves_no_row(home):
    home.person("alice", email="alice@example.org")
    identity = home.identity(home.session("alice").secret)
    before = home.kinds()
    assert revoke.others(home.services, identity, HERE) == 0
    assert own_addresses.change(home.services, identity, "alice@example.org", HERE) == "alice@example.org"
    assert home.kinds() == before
    home.session("alice")
    assert revoke.others(home.services, identity, HERE) == 1
    assert own_addresses.change(home.services, identity, "a@example.org", HERE) == "a@example.org"
    assert home.kinds()[-2:] == ["session.ended", "user.email_changed"]
