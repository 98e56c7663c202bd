"""What counts only once two factors have been proven: read with the session, in one statement, on both databases."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from flask_gatehouse.domain.sessions import Issued
from flask_gatehouse.flows import administer, edit_roles
from flask_gatehouse.flows.acts import Act
from flask_gatehouse.flows.outcomes import Refusal
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.identity import CLI, NOTHING, Withheld
from tests.flows.test_totp import ON, Phone, answer, begin, code_of, refusal
from tests.support import house
from tests.support.house import BY_COMMAND, statements_of

DEMANDED = {"GATEHOUSE_ADMIN_FACTOR": "demanded"}
REFUND = frozenset({"invoice:refund"})


@pytest.fixture
def home(open_house):
    """Return a house with both features on, where `teller` and `vault:open` demand a factor in code."""
    made = open_house(**ON)
    made.gate.permission("vault:open", "Open the vault", aal=2)
    made.gate.role("teller", ["invoice:refund"], aal=2)
    return made


def held(identity):
    """Return what counts and what is withheld."""
    return identity.roles, identity.permissions, identity.is_admin, identity.withheld


def proven(home: house.House, phone: Phone, name: str = "alice"):
    """Return who a session with both factors is."""
    opened = answer(home, begin(home, name), code_of(home, phone.seed))
    assert isinstance(opened, Issued)
    return home.identity(opened.secret)


def test_v6_3_3_a_role_declared_in_code_counts_from_two_factors_on(home):
    phone = Phone(home)
    for role in ("teller", "clerk"):
        administer.grant(home.services, BY_COMMAND, phone.user_id, role)
    plain = home.person("bob", roles=["teller", "clerk"])
    below = home.identity(home.session("bob").secret)
    assert below.user_id == plain
    assert held(below) == (("clerk",), {"invoice:read"}, False, Withheld(frozenset({"teller"}), REFUND))
    assert held(proven(home, phone)) == (("clerk", "teller"), {"invoice:read", "invoice:refund"}, False, NOTHING)


def test_what_another_role_allows_as_well_is_not_withheld(home):
    home.person("bob", roles=["teller", "cashier"])
    identity = home.identity(home.session("bob").secret)
    assert identity.permissions == {"invoice:read", "invoice:refund"}
    assert identity.withheld == Withheld(frozenset({"teller"}))


def test_v6_3_3_a_role_in_the_database_demands_from_the_next_request_on_and_no_longer(home):
    phone = Phone(home)
    edit_roles.create(home.services, BY_COMMAND, "payer", ["invoice:refund"])
    home.person("bob", roles=["payer"])
    administer.grant(home.services, BY_COMMAND, phone.user_id, "payer")
    secret = home.session("bob").secret
    assert home.identity(secret).permissions == REFUND
    assert edit_roles.demand_factor(home.services, BY_COMMAND, "Payer", is_demanded=True) == "payer"
    assert held(home.identity(secret)) == ((), frozenset(), False, Withheld(frozenset({"payer"}), REFUND))
    assert proven(home, phone).permissions == REFUND
    assert edit_roles.demand_factor(home.services, BY_COMMAND, "payer", is_demanded=False) == "payer"
    assert home.identity(secret).permissions == REFUND
    assert [detail["demanded"] for detail in home.details("role.demand_changed")] == [True, False]


def test_a_role_can_be_made_so_that_it_demands_a_factor(home):
    made = edit_roles.create(home.services, BY_COMMAND, "payer", ["invoice:refund"], is_factor_demanded=True)
    assert made == "payer"
    home.person("bob", roles=["payer"])
    assert home.identity(home.session("bob").secret).permissions == frozenset()
    assert home.details("role.created")[-1]["demanded"] is True


def test_v6_3_3_a_permission_that_demands_a_factor_counts_in_no_role_before(home):
    phone = Phone(home)
    edit_roles.create(home.services, BY_COMMAND, "keeper", ["vault:open", "audit:read"])
    for user_id in (phone.user_id, home.person("bob")):
        administer.grant(home.services, BY_COMMAND, user_id, "keeper")
    root = home.person("root", roles=["admin"])
    below = home.identity(home.session("bob").secret)
    assert held(below) == (("keeper",), {"audit:read"}, False, Withheld(permissions=frozenset({"vault:open"})))
    assert proven(home, phone).permissions == {"vault:open", "audit:read"}
    admin = home.identity(home.session("root").secret)
    assert (admin.user_id, admin.is_admin) == (root, True)
    assert [admin.holds(name) for name in ("vault:open", "audit:read")] == [False, True]


def test_v6_3_3_the_role_admin_counts_without_a_factor_unless_a_setting_demands_one(home, open_house):
    phone = Phone(home)
    home.person("second", roles=["admin"])
    administer.grant(home.services, BY_COMMAND, phone.user_id, "admin")
    assert home.identity(home.session("second").secret).is_admin
    for config in (DEMANDED, {"GATEHOUSE_PROFILE": "strict"}):
        strict = open_house(**ON, **config)
        below = strict.identity(strict.session("second").secret)
        assert held(below) == ((), frozenset(), False, Withheld(frozenset({"admin"}), is_admin=True))
        strict.later(minutes=1)
        assert proven(strict, phone).is_admin


def test_the_limits_of_an_administrators_session_hold_before_the_role_counts(home, open_house):
    home.person("root", roles=["admin"])
    strict = open_house(**ON, **DEMANDED)
    secret = strict.session("root").secret
    strict.later(minutes=31)
    assert strict.load(secret).name == "EXPIRED"


def test_v6_3_3_of_whom_a_factor_is_demanded_nothing_counts_before_it_is_proven(home):
    phone = Phone(home)
    home.person("root", roles=["admin"])
    bob = home.person("bob", roles=["clerk"])
    secret, act = home.session("bob").secret, home.by(home.session("root").secret, "pays invoices")
    assert administer.demand_factor(home.services, act, bob, is_demanded=True)
    wanted = Withheld(frozenset({"clerk"}), frozenset({"invoice:read"}), is_all=True)
    assert held(home.identity(secret)) == ((), frozenset(), False, wanted)
    assert administer.demand_factor(home.services, act, phone.user_id, is_demanded=True)
    assert proven(home, phone).withheld is NOTHING
    assert administer.demand_factor(home.services, act, bob, is_demanded=False)
    assert home.identity(secret).roles == ("clerk",)
    told = [(detail["demanded"], detail["reason"]) for detail in home.details("user.demand_changed")]
    assert told == [(True, "pays invoices"), (True, "pays invoices"), (False, "pays invoices")]


def test_a_demand_that_stands_already_is_not_recorded_again(home):
    bob = home.person("bob")
    for _ in range(2):
        assert administer.demand_factor(home.services, BY_COMMAND, bob, is_demanded=True)
    assert len(home.events("user.demand_changed")) == 1


def test_where_no_factor_is_offered_none_can_be_demanded(open_house):
    bare = open_house()
    bob = bare.person("bob")
    edit_roles.create(bare.services, BY_COMMAND, "payer", ["invoice:refund"])
    for outcome in (
        administer.demand_factor(bare.services, BY_COMMAND, bob, is_demanded=True),
        edit_roles.demand_factor(bare.services, BY_COMMAND, "payer", is_demanded=True),
        edit_roles.create(bare.services, BY_COMMAND, "other", ["invoice:read"], is_factor_demanded=True),
    ):
        assert refusal(outcome) == "demanded"
    assert administer.demand_factor(bare.services, BY_COMMAND, bob, is_demanded=False)


@pytest.mark.parametrize("name, why", [("admin", "role"), ("teller", "role"), ("nobody", Refusal.NOT_FOUND)])
def test_only_a_role_of_the_database_is_told_what_to_demand(home, name, why):
    assert refusal(edit_roles.demand_factor(home.services, BY_COMMAND, name, is_demanded=True)) == why


def test_a_demand_needs_a_reason_and_the_rights_to_change_the_role(home):
    edit_roles.create(home.services, BY_COMMAND, "payer", ["invoice:refund"])
    edit_roles.create(home.services, BY_COMMAND, "editor", ["roles:edit"])
    home.person("eve", roles=["editor"])
    home.person("pam", roles=["payer", "editor"])
    by_eve, by_pam = (home.by(home.session(name).secret) for name in ("eve", "pam"))
    nothing = Act(CLI, None, " ")
    assert refusal(edit_roles.demand_factor(home.services, nothing, "payer", is_demanded=True)) == "reason"
    assert refusal(edit_roles.demand_factor(home.services, by_eve, "payer", is_demanded=True)) is Refusal.FORBIDDEN
    assert refusal(edit_roles.demand_factor(home.services, by_pam, "payer", is_demanded=True)) is Refusal.SELF


def test_v8_3_1_nobody_hands_on_what_is_withheld_from_them(home):
    edit_roles.create(home.services, BY_COMMAND, "editor", ["roles:edit", "roles:grant"])
    home.person("eve", roles=["editor", "teller"])
    bob = home.person("bob")
    eve = home.by(home.session("eve").secret)
    assert eve.identity is not None
    assert eve.identity.withheld.permissions == REFUND
    assert refusal(edit_roles.create(home.services, eve, "free", ["invoice:refund"])) is Refusal.FORBIDDEN
    assert refusal(administer.grant(home.services, eve, bob, "teller")) is Refusal.FORBIDDEN
    assert edit_roles.create(home.services, eve, "other", ["roles:edit"]) == "other"


def test_the_hot_read_is_one_statement_whatever_is_demanded(home):
    bob = home.person("bob", roles=["teller", "clerk"])
    secret = home.session("bob").secret
    administer.demand_factor(home.services, BY_COMMAND, bob, is_demanded=True)
    with statements_of(home) as noted:
        home.identity(secret)
    assert noted.verbs == ["SELECT"]


def test_a_role_of_the_code_is_not_softened_by_a_row_of_its_name(home):
    home.person("bob", roles=["teller"])
    secret = home.session("bob").secret
    home.change(sa.insert(schema.role).values(name="teller", created_at=0, aal=1))
    home.change(sa.insert(schema.role).values(name="admin", created_at=0, aal=2))
    assert home.identity(secret).withheld.roles == {"teller"}
    home.person("root", roles=["admin"])
    assert home.identity(home.session("root").secret).is_admin
