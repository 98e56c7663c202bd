"""Who may do what, as a pure function of identity, requirement and now."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_gatehouse import step_up_required
from flask_gatehouse.domain.policy import (
    ALLOWED,
    FOR_PROVING,
    FRESH,
    GUEST,
    LOGIN,
    PUBLIC,
    Decision,
    Freshness,
    Policy,
    Reason,
    Requirement,
    decide,
    is_fresh,
)
from flask_gatehouse.domain.roles import Rights, Roles
from flask_gatehouse.flows.outcomes import Refusal, refused
from flask_gatehouse.kernel.errors import SetupError
from flask_gatehouse.kernel.identity import FOREVER, HAS, KNOWS, Actor, Identity, Proof, Withheld, assurance

SECOND = 1_000_000
NOW = 2_000_000_000 * SECOND
FRESHNESS = Freshness(everyone=600 * SECOND, admins=300 * SECOND)
PASSWORD = Proof("password", NOW, KNOWS)


def someone(**changes) -> Identity:
    """Return an identity that logged in just now."""
    given_roles = changes.get("roles", ())
    plain = Identity(
        user_id=1,
        username="alice",
        email=None,
        roles=given_roles,
        permissions=frozenset(),
        is_admin="admin" in given_roles,
        proofs=(PASSWORD,),
        proven_at=NOW,
        granted_until=FOREVER,
        session_id="abc",
        scheme="session",
    )
    return plain._replace(**changes)


def reason(identity: Identity | None, requirement: Requirement, now: int = NOW) -> Reason:
    """Decide and return why."""
    return decide(identity, requirement, FRESHNESS, now).reason


def test_a_public_route_asks_nothing_and_everything_else_a_login():
    assert decide(None, PUBLIC, FRESHNESS, NOW) is ALLOWED
    for requirement in (LOGIN, Requirement(), FRESH, Requirement(roles_all=frozenset({"clerk"}))):
        assert decide(None, requirement, FRESHNESS, NOW) is GUEST
    assert reason(someone(), LOGIN) is reason(someone(), Requirement()) is Reason.ALLOWED


def test_roles_all_must_all_be_held_and_the_missing_one_is_named():
    requirement = Requirement(roles_all=frozenset({"clerk", "auditor"}))
    assert reason(someone(roles=("auditor", "clerk")), requirement) is Reason.ALLOWED
    assert decide(someone(roles=("clerk",)), requirement, FRESHNESS, NOW) == Decision(Reason.MISSING_ROLE, "auditor")


def test_of_each_group_one_role_must_be_held():
    requirement = Requirement(roles_any=(frozenset({"clerk", "auditor"}), frozenset({"staff"})))
    assert reason(someone(roles=("auditor", "staff")), requirement) is Reason.ALLOWED
    assert reason(someone(roles=("auditor", "clerk")), requirement) is Reason.MISSING_ROLE
    assert reason(someone(roles=("staff",)), requirement) is Reason.MISSING_ROLE


def test_permissions_must_all_be_held_and_an_administrator_holds_every_one():
    requirement = Requirement(permissions=frozenset({"invoice:read", "invoice:refund"}))
    reader = someone(permissions=frozenset({"invoice:read"}))
    assert decide(reader, requirement, FRESHNESS, NOW) == Decision(Reason.MISSING_PERMISSION, "invoice:refund")
    assert reason(someone(roles=("admin",)), requirement) is Reason.ALLOWED


def test_an_administrator_holds_no_role_that_was_not_granted():
    assert reason(someone(roles=("admin",)), Requirement(roles_all=frozenset({"clerk"}))) is Reason.MISSING_ROLE


def test_what_is_missing_is_told_before_a_proof_is_asked_for():
    stale = someone(proven_at=0)
    assert reason(stale, Requirement(permissions=frozenset({"a:b"}), is_fresh=True)) is Reason.MISSING_PERMISSION


@pytest.mark.parametrize("roles, age", [((), 600), (("admin",), 300)])
def test_v7_5_1_a_proof_is_fresh_for_its_set_age_and_not_a_microsecond_longer(roles, age):
    identity = someone(roles=roles)
    assert reason(identity, FRESH, NOW + age * SECOND - 1) is Reason.ALLOWED
    assert reason(identity, FRESH, NOW + age * SECOND) is Reason.STALE
    assert is_fresh(identity, FRESHNESS, NOW)


def test_rule_16_a_session_without_a_proof_is_never_fresh():
    assert not is_fresh(someone(proofs=(), proven_at=0), FRESHNESS, 1)
    assert reason(someone(proofs=(), proven_at=0), Requirement(within=timedelta(days=36500)), 1) is Reason.STALE


def test_a_session_the_host_vouched_for_without_a_proof_passes_all_that_asks_for_none():
    identity = someone(proofs=(), proven_at=0, roles=("clerk",))
    for requirement in (LOGIN, Requirement(), Requirement(roles_all=frozenset({"clerk"}))):
        assert reason(identity, requirement) is Reason.ALLOWED
    assert reason(identity, Requirement(aal=2)) is Reason.STEP_UP


def test_v7_5_3_a_step_up_has_an_age_of_its_own():
    requirement = Requirement(within=timedelta(seconds=30))
    assert reason(someone(), requirement, NOW + 30 * SECOND - 1) is Reason.ALLOWED
    assert reason(someone(), requirement, NOW + 30 * SECOND) is Reason.STALE


def test_63b_2_2_1_1_two_factors_are_two_kinds():
    again, code = Proof("app", NOW, KNOWS), Proof("totp", NOW, HAS)
    assert [assurance(proofs) for proofs in ((), (PASSWORD,), (PASSWORD, again), (code, code))] == [0, 1, 1, 1]
    assert assurance((PASSWORD, code)) == assurance((code, again, PASSWORD)) == 2
    requirement = Requirement(aal=2)
    assert reason(someone(proofs=(PASSWORD, again)), requirement) is Reason.STEP_UP
    assert reason(someone(proofs=(PASSWORD, code)), requirement) is Reason.ALLOWED


def test_63b_2_2_1_1_a_recovery_code_is_no_factor_and_the_apps_word_is_what_one_knows():
    recovery, app, code = Proof("recovery_code", NOW, "recovery"), Proof("app", NOW, KNOWS), Proof("totp", NOW, HAS)
    assert [assurance((one,)) for one in (recovery, app, code)] == [0, 1, 1]
    assert assurance((PASSWORD, recovery)) == assurance((code, recovery)) == 1
    assert assurance((PASSWORD, app)) == assurance((PASSWORD, app, recovery)) == 1
    assert assurance((app, code)) == 2


CLERK = frozenset({"clerk"})
REFUND = frozenset({"invoice:refund"})


def test_v6_3_3_a_role_that_demands_a_factor_is_held_and_does_not_count_before_it_is_proven():
    holder = someone(withheld=Withheld(CLERK, REFUND))
    for requirement in (Requirement(roles_all=CLERK), Requirement(roles_any=(CLERK,)), Requirement(permissions=REFUND)):
        assert reason(holder, requirement) is Reason.STEP_UP
        assert reason(holder.at_aal2(), requirement) is Reason.ALLOWED
        assert reason(someone(), requirement) in {Reason.MISSING_ROLE, Reason.MISSING_PERMISSION}
    assert reason(holder, Requirement(roles_all=frozenset({"clerk", "boss"}))) is Reason.MISSING_ROLE
    assert reason(holder, LOGIN) is Reason.ALLOWED
    assert (holder.roles, holder.holds("invoice:refund")) == ((), False)
    asked = Policy().decide_object(holder, "invoice:refund", None, NOW)
    assert (asked.reason, asked.allowed) == (Reason.STEP_UP, False)


def test_v6_3_3_a_permission_that_demands_a_factor_does_so_of_administrators_too():
    root = someone(roles=("admin",), withheld=Withheld(permissions=REFUND))
    assert reason(root, Requirement(permissions=REFUND)) is Reason.STEP_UP
    assert reason(root, Requirement(permissions=frozenset({"users:read"}))) is Reason.ALLOWED
    assert Policy().decide_object(root, "invoice:refund", None, NOW).reason is Reason.STEP_UP
    assert reason(root.at_aal2(), Requirement(permissions=REFUND)) is Reason.ALLOWED


def test_v6_3_3_of_whom_a_factor_is_demanded_nothing_is_open_but_where_it_is_proven():
    owing = someone(withheld=Withheld(CLERK, REFUND, is_all=True))
    for requirement in (LOGIN, Requirement(), FRESH, Requirement(roles_all=CLERK)):
        assert reason(owing, requirement) is Reason.STEP_UP
    assert reason(owing, PUBLIC) is Reason.ALLOWED
    assert reason(owing, FOR_PROVING) is Reason.ALLOWED
    assert reason(owing, FOR_PROVING.plus(FRESH), NOW + 601 * SECOND) is Reason.STALE
    assert reason(owing, FOR_PROVING.plus(Requirement(roles_all=CLERK))) is Reason.STEP_UP
    assert reason(owing, Requirement(roles_all=frozenset({"boss"}))) is Reason.MISSING_ROLE
    assert reason(owing, LOGIN, owing.granted_until) is Reason.GUEST


def test_rule_32_while_an_alarm_stands_what_enrols_is_shut_and_what_explains_is_open():
    doubted = someone(withheld=Withheld(CLERK, REFUND, is_all=True, is_alarmed=True))
    within = Requirement(within=timedelta(minutes=5))
    assert reason(doubted, FOR_PROVING) is Reason.ALLOWED
    for requirement in (LOGIN, FRESH, FOR_PROVING.plus(FRESH), FOR_PROVING.plus(within)):
        assert reason(doubted, requirement) is Reason.STEP_UP


@pytest.mark.parametrize("aal", [0, 3, -1, "2", None])
def test_a_level_that_does_not_exist_cannot_be_demanded(aal):
    with pytest.raises(SetupError, match="say 1 or 2"):
        Policy().declare("a:b", "meaning", aal)
    with pytest.raises(SetupError, match="say 1 or 2"):
        Roles().declare("clerk", [], aal)
    with pytest.raises(SetupError, match="say 1 or 2"):
        step_up_required(aal=aal)


def test_rule_34_a_record_whose_grant_has_ended_decides_nothing_any_more():
    identity = someone(roles=("clerk",), granted_until=NOW + 1)
    requirement = Requirement(roles_all=frozenset({"clerk"}))
    assert reason(identity, requirement, NOW) is Reason.ALLOWED
    assert decide(identity, requirement, FRESHNESS, NOW + 1) is GUEST
    assert Policy().decide_object(identity, "a:b", None, NOW + 1) is GUEST


def test_v8_2_2_where_a_rule_exists_permission_and_rule_must_both_be_true():
    policy = Policy()
    policy.declare("invoice:read", "Read")
    policy.add_rule("invoice:read", lambda identity, owner: owner == identity.user_id)
    reader = someone(permissions=frozenset({"invoice:read"}))

    def asked(identity, obj):
        return policy.decide_object(identity, "invoice:read", obj, NOW).reason

    assert asked(reader, 1) is Reason.ALLOWED
    assert asked(reader, 2) is Reason.OBJECT_RULE
    assert asked(reader, None) is Reason.OBJECT_RULE
    assert asked(someone(), 1) is Reason.MISSING_PERMISSION
    assert asked(someone(roles=("admin",)), 2) is Reason.OBJECT_RULE
    assert asked(None, 1) is Reason.GUEST
    assert policy.ruled({"invoice:read", "invoice:refund"}) == {"invoice:read"}


@pytest.mark.parametrize("answer", [1, "yes", None, 0, object()])
def test_v16_5_3_a_rule_that_answers_anything_but_true_refuses(answer):
    policy = Policy()
    policy.add_rule("a:b", lambda _identity, _obj: answer)
    held = someone(permissions=frozenset({"a:b"}))
    assert policy.decide_object(held, "a:b", object(), NOW).reason is Reason.OBJECT_RULE


def test_a_permission_without_a_rule_needs_only_to_be_held():
    held = someone(permissions=frozenset({"a:b"}))
    assert Policy().decide_object(held, "a:b", None, NOW).allowed
    assert Policy().decide_object(held, "a:c", None, NOW) == Decision(Reason.MISSING_PERMISSION, "a:c")


def test_a_permission_has_one_rule_and_a_name_of_two_parts():
    policy = Policy()
    policy.add_rule("a:b", lambda *_: True)
    with pytest.raises(SetupError, match="two rules"):
        policy.add_rule("a:b", lambda *_: True)
    for name in ("", "a", ":", "a b:c", "a:b!"):
        with pytest.raises(SetupError, match="resource:action"):
            policy.declare(name, "meaning")


def test_v2_2_3_a_route_that_is_open_and_guarded_is_an_error():
    for one, other in ((PUBLIC, LOGIN), (FRESH, PUBLIC), (PUBLIC, PUBLIC)):
        with pytest.raises(SetupError, match="open or guarded"):
            one.plus(other)


SETS = st.frozensets(st.sampled_from("abc"), max_size=2)
REQUIREMENTS = st.builds(
    Requirement,
    permissions=SETS,
    roles_all=SETS,
    roles_any=st.lists(st.frozensets(st.sampled_from("abc"), min_size=1), max_size=2).map(tuple),
    is_fresh=st.booleans(),
    within=st.none() | st.timedeltas(timedelta(0), timedelta(hours=1)),
    aal=st.sampled_from([1, 2]),
)


@given(REQUIREMENTS, REQUIREMENTS, SETS, SETS, st.integers(0, 4000), st.booleans())
def test_stacked_labels_allow_exactly_what_each_of_them_allows(one, other, roles, permissions, age, has_two):
    proofs = (PASSWORD, Proof("totp", NOW, HAS)) if has_two else (PASSWORD,)
    identity = someone(roles=tuple(roles), permissions=permissions, proofs=proofs)
    now = NOW + age * SECOND
    alone = [decide(identity, requirement, FRESHNESS, now).allowed for requirement in (one, other)]
    assert decide(identity, one.plus(other), FRESHNESS, now).allowed is all(alone)


def test_a_requirement_says_in_words_what_it_demands():
    everything = Requirement(
        permissions=frozenset({"a:b"}),
        roles_all=frozenset({"clerk"}),
        roles_any=(frozenset({"x", "y"}),),
        within=timedelta(minutes=5),
        aal=2,
    )
    assert str(everything) == "login, permission a:b, role clerk, one role of x, y, fresh within 0:05:00, AAL2"
    assert [str(requirement) for requirement in (PUBLIC, LOGIN, FRESH)] == ["public", "login", "login, fresh"]


def test_a_decision_and_a_refusal_are_as_true_as_they_allow():
    assert bool(ALLOWED) is True
    assert bool(GUEST) is bool(Decision(Reason.STALE)) is False
    for why in Refusal:
        assert not refused(why)


def test_only_a_superset_of_rights_covers_others():
    admin, nothing = Rights(is_admin=True, permissions=frozenset()), Rights(is_admin=False, permissions=frozenset())
    some, more = (Rights(is_admin=False, permissions=frozenset(names)) for names in ("a", "ab"))
    assert all(admin.covers(other) for other in (admin, nothing, some, more))
    assert more.covers(some)
    assert more.covers(nothing)
    assert not some.covers(more)
    assert not more.covers(admin)


def test_the_actor_of_an_identity_is_its_user():
    assert Actor.of(someone()) == Actor(1, "alice")


WITHHELD = st.builds(Withheld, SETS, SETS, st.booleans(), st.booleans())


@given(REQUIREMENTS, SETS, SETS, WITHHELD)
def test_v6_3_3_nothing_that_is_withheld_opens_more_than_two_factors_would(requirement, roles, permissions, withheld):
    identity = someone(roles=tuple(sorted(roles)), permissions=permissions, withheld=withheld)
    if decide(identity, requirement, FRESHNESS, NOW):
        assert decide(identity.at_aal2(), requirement, FRESHNESS, NOW)
    for name in "abc":
        if identity.holds(name):
            assert identity.at_aal2().holds(name)
    if not decide(identity.at_aal2(), requirement, FRESHNESS, NOW):
        assert not decide(identity, requirement, FRESHNESS, NOW)
