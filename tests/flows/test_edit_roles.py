"""Roles in the database: what a change would mean for whom, who may make it, and that it is exact in parallel."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from flask_gatehouse.flows import administer, edit_roles
from flask_gatehouse.flows.acts import Act
from flask_gatehouse.flows.outcomes import Refusal, Refused
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.identity import CLI
from tests.support import house
from tests.support.house import BY_COMMAND, SECOND

DAY = 24 * 3600 * SECOND
SILENT = Act(CLI, None)


def refusal(outcome):
    """Return why a flow refused, the field where one is concerned, None where it did not."""
    if not isinstance(outcome, Refused):
        return None
    return outcome.field or outcome.reason


def make(home: house.House, name: str = "auditor", *permissions: str) -> None:
    """Make a role."""
    assert edit_roles.create(home.services, BY_COMMAND, name, list(permissions or ("audit:read",))) == name


def grant(home: house.House, user_id: int, role: str, until: int | None = None) -> None:
    """Grant a role."""
    assert refusal(administer.grant(home.services, BY_COMMAND, user_id, role, until)) is None


def change(home: house.House, act: Act, *permissions: str, name: str = "auditor", seen: str = "") -> object:
    """Change a role and return what the flow says."""
    return edit_roles.change(home.services, act, name, list(permissions), seen)


def permissions_of(home: house.House, name: str = "auditor") -> set[str] | None:
    """Return what a role in the database permits."""
    with home.services.reading() as connection:
        found = home.services.roles.stored(connection, name)
    return None if found is None else set(found)


@pytest.fixture
def editor(home):
    """Return the act of a user who edits roles and may hand on `audit:read` and `users:read`."""
    make(home, "editors", "roles:edit", "audit:read", "users:read")
    grant(home, home.person("editor"), "editors")
    return home.by(home.session("editor").secret)


# --- what a change does -----------------------------------------------------------------------------------


def test_v8_3_2_a_changed_role_counts_at_the_next_look_for_all_who_hold_it(home, open_house):
    make(home)
    grant(home, home.person("plain"), "auditor")
    secret = home.session("plain").secret
    elsewhere = open_house()
    assert elsewhere.identity(secret).permissions == {"audit:read"}
    assert change(home, BY_COMMAND, "users:read", "invoice:read", name="Auditor") == "auditor"
    assert elsewhere.identity(secret).permissions == {"users:read", "invoice:read"}
    told = {"role": "auditor", "added": ["invoice:read", "users:read"], "removed": ["audit:read"], "reason": "a test"}
    assert home.details("role.changed") == [told]


def test_a_change_that_changes_nothing_leaves_no_row(home):
    make(home)
    assert change(home, BY_COMMAND, "audit:read") == "auditor"
    assert home.details("role.changed") == []


def test_what_takes_permissions_away_needs_a_reason_what_adds_some_does_not(home):
    make(home)
    assert refusal(change(home, SILENT, "users:read")) == "reason"
    assert refusal(change(home, SILENT)) == "reason"
    assert refusal(edit_roles.delete(home.services, SILENT, "auditor")) == "reason"
    assert permissions_of(home) == {"audit:read"}
    assert change(home, SILENT, "users:read", "audit:read") == "auditor"
    assert permissions_of(home) == {"audit:read", "users:read"}


def test_a_role_may_come_to_permit_nothing(home):
    make(home)
    assert change(home, BY_COMMAND) == "auditor"
    assert permissions_of(home) == set()


@pytest.mark.parametrize("name", ["admin", "Admin", "clerk", "CLERK"])
def test_what_is_built_in_or_declared_in_code_is_not_changed(home, name):
    assert refusal(change(home, BY_COMMAND, "audit:read", name=name)) == "role"
    assert refusal(edit_roles.delete(home.services, BY_COMMAND, name)) == "role"
    assert home.kinds() == []


def test_a_role_that_is_not_there_is_not_found(home):
    assert refusal(change(home, BY_COMMAND, "audit:read", name="nobody")) is Refusal.NOT_FOUND
    assert refusal(edit_roles.delete(home.services, BY_COMMAND, "nobody")) is Refusal.NOT_FOUND
    assert edit_roles.look(home.services, "nobody") is None


def test_only_declared_permissions_are_added_but_one_that_is_gone_from_the_code_may_stay(home):
    make(home)
    assert refusal(change(home, BY_COMMAND, "audit:read", "audit:burn")) == "permission"
    home.change(sa.insert(schema.role_permission).values(role="auditor", permission="old:thing"))
    assert change(home, BY_COMMAND, "old:thing", "users:read") == "auditor"
    assert permissions_of(home) == {"old:thing", "users:read"}
    assert change(home, BY_COMMAND, "users:read") == "auditor"
    assert refusal(change(home, BY_COMMAND, "old:thing")) == "permission"


# --- deleting ---------------------------------------------------------------------------------------------


def test_a_deleted_role_is_withdrawn_from_all_who_held_it_and_each_of_them_reads_so(home, open_house):
    make(home)
    alice, bob = home.person("alice"), home.person("bob")
    grant(home, alice, "auditor")
    grant(home, bob, "auditor", home.clock.now() + DAY)
    secret = home.session("alice").secret
    assert edit_roles.delete(home.services, BY_COMMAND, "Auditor") == "auditor"
    assert open_house().identity(secret).permissions == frozenset()
    assert home.count(schema.grant) == home.count(schema.role) == home.count(schema.role_permission) == 0
    assert [entry.user_id for entry in home.events("role.withdrawn")] == [alice, bob]
    told = {"role": "auditor", "permissions": ["audit:read"], "holders": 2, "reason": "a test"}
    assert home.details("role.deleted") == [told]
    make(home)  # and whoever makes one of this name again gives it to nobody
    assert home.grants(alice) == home.grants(bob) == []


def test_a_role_that_very_many_hold_is_not_deleted(home, monkeypatch):
    monkeypatch.setattr(edit_roles, "MOST_HOLDERS", 2)
    make(home)
    for name in ("alice", "bob", "carol"):
        grant(home, home.person(name), "auditor")
    assert refusal(edit_roles.delete(home.services, BY_COMMAND, "auditor")) == "role"
    assert home.count(schema.grant) == 3
    assert refusal(administer.withdraw(home.services, BY_COMMAND, 1, "auditor")) is None
    assert edit_roles.delete(home.services, BY_COMMAND, "auditor") == "auditor"


def test_a_leftover_that_the_code_overrules_is_deleted_and_nobody_loses_the_role_of_the_code(home):
    home.change(sa.insert(schema.role).values(name="clerk", created_at=0))
    home.change(sa.insert(schema.role_permission).values(role="clerk", permission="users:suspend"))
    alice = home.person("alice", roles=["clerk"])
    shown = edit_roles.look(home.services, "clerk")
    assert shown is not None
    assert shown.is_shadowed
    assert shown.permissions == frozenset({"invoice:read"})
    assert edit_roles.delete(home.services, BY_COMMAND, "clerk") == "clerk"
    assert [held.role for held in home.grants(alice)] == ["clerk"]
    assert home.details("role.withdrawn") == []
    assert home.count(schema.role_permission) == 0


# --- what would change for whom ---------------------------------------------------------------------------


def test_what_a_change_would_mean_is_told_of_each_holder_by_all_their_roles(home):
    make(home, "auditor", "audit:read", "users:read")
    names = ("plain", "clerk", "reader", "root")
    plain, clerk, reader, root = (home.person(name) for name in names)
    make(home, "readers", "users:read")
    for user_id in (plain, clerk, reader, root):
        grant(home, user_id, "auditor")
    grant(home, clerk, "clerk")
    grant(home, reader, "readers")
    grant(home, root, "admin")
    shown = edit_roles.look(home.services, "auditor", wanted=frozenset({"audit:read", "invoice:read"}))
    assert shown is not None
    assert {holder.username: (holder.gains, holder.loses) for holder in shown.holders} == {
        "plain": (("invoice:read",), ("users:read",)),
        "clerk": ((), ("users:read",)),
        "reader": (("invoice:read",), ()),
        "root": ((), ()),
    }


def test_who_holds_no_longer_is_not_touched_and_holders_come_a_page_at_a_time(home):
    make(home)
    ids = [home.person(f"user{number}") for number in range(5)]
    for user_id in ids:
        grant(home, user_id, "auditor", home.clock.now() + DAY if user_id == ids[0] else None)
    home.later(days=2)
    first = edit_roles.look(home.services, "auditor", limit=3)
    assert first is not None
    assert [holder.user_id for holder in first.holders] == ids[1:4]
    second = edit_roles.look(home.services, "auditor", after=first.after, limit=3)
    assert second is not None
    assert ([holder.user_id for holder in second.holders], second.after) == (ids[4:], 0)


# --- who may ----------------------------------------------------------------------------------------------


def test_v8_2_3_nobody_changes_a_role_to_or_from_more_than_they_hold(home, editor):
    make(home, "auditor", "audit:read")
    make(home, "strong", "audit:read", "sessions:revoke")
    assert refusal(change(home, editor, "audit:read", "sessions:revoke")) is Refusal.FORBIDDEN
    assert refusal(change(home, editor, "audit:read", name="strong")) is Refusal.FORBIDDEN
    assert refusal(edit_roles.delete(home.services, editor, "strong")) is Refusal.FORBIDDEN
    assert refusal(edit_roles.hindrance(home.services, editor, "strong")) is Refusal.FORBIDDEN
    assert change(home, editor, "audit:read", "users:read") == "auditor"
    assert edit_roles.hindrance(home.services, editor, "auditor") is None
    assert edit_roles.delete(home.services, editor, "auditor") == "auditor"


def test_v8_2_2_nobody_changes_the_role_of_somebody_who_may_do_more(home, editor):
    make(home)
    strong = home.person("strong", roles=["cashier"])
    grant(home, strong, "auditor")
    for outcome in (change(home, editor, "users:read"), edit_roles.delete(home.services, editor, "auditor")):
        assert refusal(outcome) is Refusal.FORBIDDEN
    assert permissions_of(home) == {"audit:read"}


def test_nobody_changes_a_role_that_they_hold_themselves(home, editor):
    assert refusal(change(home, editor, "roles:edit", name="editors")) is Refusal.SELF
    assert refusal(edit_roles.delete(home.services, editor, "editors")) is Refusal.SELF
    home.person("root", roles=["admin", "editors"])
    root = home.by(home.session("root").secret)
    assert refusal(change(home, root, "roles:edit", name="editors")) is Refusal.SELF
    assert refusal(edit_roles.hindrance(home.services, root, "editors")) is Refusal.SELF


def test_v8_2_3_what_is_added_to_a_role_does_not_outlast_who_added_it(home, editor):
    make(home)
    grant(home, home.person("plain"), "auditor")
    grant(home, editor.identity.user_id, "editors", home.clock.now() + DAY)  # the editor's own right ends tomorrow
    assert refusal(change(home, editor, "audit:read", "users:read")) == "permission"
    assert permissions_of(home) == {"audit:read"}
    make(home, "unheld")
    assert change(home, editor, "audit:read", "users:read", name="unheld") == "unheld"  # a grant of it ends in time


def test_v8_2_2_a_role_that_permits_nothing_is_not_changed_by_who_does_not_hold_it(home, editor):
    make(home, "boss", "audit:read")
    assert change(home, BY_COMMAND, name="boss") == "boss"  # asked for by its name alone from now on
    assert refusal(change(home, editor, "audit:read", name="boss")) is Refusal.FORBIDDEN
    assert refusal(edit_roles.delete(home.services, editor, "boss")) is Refusal.FORBIDDEN


def test_a_role_made_where_one_is_gone_from_the_code_gives_its_holders_no_more_than_its_maker_may(home, open_house):
    strong = home.person("strong", roles=["cashier", "clerk"])
    make(home, "editors", "roles:edit", "audit:read")
    grant(home, home.person("editor"), "editors")
    grant(home, 2, "clerk")
    secret = home.session("editor").secret
    later = open_house()
    del later.gate._roles.in_code["clerk"]
    editor = later.by(secret)
    assert refusal(edit_roles.create(later.services, editor, "clerk", ["audit:read"])) is Refusal.SELF
    assert refusal(administer.withdraw(later.services, BY_COMMAND, 2, "clerk")) is None
    assert refusal(edit_roles.create(later.services, editor, "clerk", ["audit:read"])) is Refusal.FORBIDDEN
    assert refusal(administer.withdraw(later.services, BY_COMMAND, strong, "clerk")) is None
    assert edit_roles.create(later.services, editor, "clerk", ["audit:read"]) == "clerk"


def test_v8_3_2_who_was_ended_meanwhile_changes_nothing(home, editor):
    make(home)
    assert refusal(administer.end_sessions(home.services, BY_COMMAND, editor.identity.user_id)) is None
    for outcome in (change(home, editor, "users:read"), edit_roles.delete(home.services, editor, "auditor")):
        assert refusal(outcome) is Refusal.FORBIDDEN


# --- in parallel ------------------------------------------------------------------------------------------


def test_a_change_of_what_was_changed_meanwhile_is_refused(home):
    make(home)
    looked = edit_roles.look(home.services, "auditor")
    assert looked is not None
    assert change(home, BY_COMMAND, "users:read") == "auditor"
    late = change(home, BY_COMMAND, "audit:read", "invoice:read", seen=looked.seen)
    assert refusal(late) == "permission"
    assert refusal(edit_roles.delete(home.services, BY_COMMAND, "auditor", looked.seen)) == "permission"
    assert permissions_of(home) == {"users:read"}


def _change_as_seen(here: house.House, number: int, seen: str) -> bool:
    wanted = ("audit:read", "users:read") if number % 2 else ("audit:read", "invoice:read")
    return not isinstance(change(here, BY_COMMAND, *wanted, seen=seen), Refused)


def test_v15_4_2_of_many_who_change_what_they_saw_at_once_one_does(crowd, home):
    make(home)
    looked = edit_roles.look(home.services, "auditor")
    assert looked is not None
    assert crowd.rush(_change_as_seen, home, 20, looked.seen).count(True) == 1
    assert len(home.details("role.changed")) == 1
    assert home.verified() == len(home.events())


def _grant_or_delete(here: house.House, number: int, user_id: int) -> str:
    if number % 5:
        outcome: object = administer.grant(here.services, BY_COMMAND, user_id + number, "auditor")
    else:
        outcome = edit_roles.delete(here.services, BY_COMMAND, "auditor")
    return str(refusal(outcome))


def test_v15_4_2_nobody_is_granted_a_role_that_is_deleted_at_that_moment(crowd, home):
    make(home)
    first = home.person("user0")
    for number in range(1, 20):
        home.person(f"user{number}")
    crowd.rush(_grant_or_delete, home, 20, first)
    assert home.count(schema.role) == home.count(schema.grant) == 0
    assert len(home.events("role.granted")) == len(home.events("role.withdrawn"))
