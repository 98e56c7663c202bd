"""`gatehouse role`, on both databases."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.usefixtures("database_url")


def test_roles_are_listed_with_their_permissions_and_where_they_are_defined(run):
    run.ok("role", "create", "Cashier", "invoice:refund", "invoice:read")
    assert run.json("role", "list") == [
        {"name": "admin", "permissions": None, "is_admin": True, "source": "built in"},
        {
            "name": "cashier",
            "permissions": ["invoice:read", "invoice:refund"],
            "is_admin": False,
            "source": "database",
        },
        {"name": "clerk", "permissions": ["invoice:read"], "is_admin": False, "source": "code"},
    ]
    assert "every permission" in run.ok("role", "list")


def test_making_a_role_is_recorded_with_its_reason(run):
    assert run.json("role", "create", "cashier", "invoice:refund", "--reason", "shop opens")["name"] == "cashier"
    (event,) = run.events("role.created")
    assert event["detail"] == {"permissions": ["invoice:refund"], "reason": "shop opens", "role": "cashier"}


@pytest.mark.parametrize("name", ["admin", "ADMIN", "clerk", "Clerk", "a b", "x"])
def test_a_role_that_exists_or_has_no_name_is_not_made(run, name):
    assert "role" in run.refused("role", "create", name, "invoice:read")
    assert run.events("role.created") == []


def test_a_role_needs_permissions_that_are_declared(run):
    assert "invoice:burn" in run.refused("role", "create", "cashier", "invoice:burn")
    run.misused("role", "create", "cashier")


def test_a_role_is_granted_and_withdrawn_whatever_the_case_of_the_letters(run):
    run.create("alice")
    assert run.json("role", "grant", "ALICE", "Clerk", "--reason", "new task")["roles"] == ["clerk"]
    assert run.json("role", "withdraw", "Alice", "CLERK", "--reason", "task is done")["roles"] == []
    assert run.events("role.granted")[0]["detail"] == {"reason": "new task", "role": "clerk", "until": None}
    assert run.events("role.withdrawn")[0]["detail"] == {"reason": "task is done", "role": "clerk"}


def test_v8_3_2_a_role_counts_from_the_next_look_and_no_longer_after_it_is_withdrawn(run):
    run.create("alice")
    user_id = run.json("user", "show", "alice")["id"]

    def permissions():
        with run.services.reading() as connection:
            return run.services.roles.rights_of(connection, user_id, run.services.clock.now()).permissions

    run.ok("role", "grant", "alice", "clerk")
    assert permissions() == {"invoice:read"}
    run.ok("role", "withdraw", "alice", "clerk")
    assert permissions() == frozenset()


def test_a_grant_may_end_by_itself(run):
    run.create("alice")
    run.ok("role", "grant", "alice", "clerk", "--until", "2100-01-31T12:00:00+01:00")
    (grant,) = run.json("user", "show", "alice")["grants"]
    assert grant["until"] == "2100-01-31T11:00:00Z"
    assert "clerk until 2100-01-31T11:00:00Z" in run.ok("user", "show", "alice")


@pytest.mark.parametrize("until", ["tomorrow", "2100-01-31", "2100-01-31T12:00:00", "30d", "0001-01-01T00:00:00", ""])
def test_the_end_of_a_grant_names_a_moment(run, until):
    run.create("alice")
    assert "2030-01-31T12:00:00Z" in run.misused("role", "grant", "alice", "clerk", "--until", until)


@pytest.mark.parametrize("until", ["9999-12-31T23:59:59-14:00", "9999-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_a_grant_that_could_not_be_shown_again_is_not_kept(run, until):
    run.create("alice")
    assert "9998" in run.misused("role", "grant", "alice", "clerk", "--until", until)
    assert run.json("user", "show", "alice")["grants"] == []
    run.ok("role", "grant", "alice", "clerk", "--until", "9998-12-31T23:59:59Z")
    assert "9998-12-31T23:59:59Z" in run.ok("user", "show", "alice")


@pytest.mark.parametrize("until", ["2020-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59"])
def test_the_end_of_a_grant_lies_in_the_future(run, until):
    run.create("alice")
    assert "future" in run.refused("role", "grant", "alice", "clerk", "--until", until)


@pytest.mark.parametrize("command", ["grant", "withdraw"])
@pytest.mark.parametrize("role", ["nobody", "invoice:read", "", "%", "\u017f", "x" * 300])
def test_an_unknown_role_is_refused_in_one_line(run, command, role):
    run.create("alice")
    assert run.refused("role", command, "alice", role) == "Error: role: There is no role of this name.\n"


def test_a_role_that_is_not_held_cannot_be_withdrawn(run):
    run.create("alice")
    assert "does not hold" in run.refused("role", "withdraw", "alice", "clerk")


def test_rule_24_the_last_administrator_keeps_the_role(run):
    run.create("alice", "--role", "admin")
    assert "last administrator" in run.refused("role", "withdraw", "alice", "admin")
    assert "last administrator" in run.refused("role", "grant", "alice", "admin", "--until", "2100-01-01T00:00:00Z")
    run.create("bob", "--role", "admin")
    run.ok("role", "withdraw", "alice", "admin")


# --- show, edit, delete -----------------------------------------------------------------------------------


@pytest.fixture
def cashier(run):
    """Make a role that alice holds for ever and bob until 2030."""
    run.ok("role", "create", "cashier", "invoice:read", "invoice:refund")
    run.create("alice")
    run.create("bob", "--role", "clerk")
    run.ok("role", "grant", "alice", "cashier")
    run.ok("role", "grant", "bob", "cashier", "--until", "2099-01-31T12:00:00Z")


@pytest.mark.usefixtures("cashier")
def test_a_role_is_shown_with_who_holds_it(run):
    assert run.json("role", "show", "Cashier") == {
        "name": "cashier",
        "source": "database",
        "permissions": ["invoice:read", "invoice:refund"],
        "is_admin": False,
        "holders": [
            {"username": "alice", "until": None},
            {"username": "bob", "until": "2099-01-31T12:00:00Z"},
        ],
        "has_more_holders": False,
    }
    shown = run.ok("role", "show", "admin")
    assert "every permission" in shown
    assert "Nobody holds it." in shown
    assert "no role named nobody" in run.refused("role", "show", "nobody")


@pytest.mark.usefixtures("cashier")
def test_a_dry_run_says_what_would_change_for_whom_and_changes_nothing(run):
    told = run.json("role", "edit", "cashier", "invoice:refund", "audit:read", "--dry-run")
    assert (told["added"], told["removed"]) == (["audit:read"], ["invoice:read"])
    assert told["for"] == [
        {"username": "alice", "gains": ["audit:read"], "loses": ["invoice:read"]},
        {"username": "bob", "gains": ["audit:read"], "loses": []},  # the role clerk has it as well
    ]
    assert "alice" in run.ok("role", "edit", "cashier", "invoice:refund", "--dry-run")
    assert "Nothing changes" in run.ok("role", "edit", "cashier", "invoice:read", "invoice:refund", "--dry-run")
    assert run.events("role.changed") == []


@pytest.mark.usefixtures("cashier")
def test_a_role_is_edited_and_deleted_with_the_reason_on_record(run):
    assert run.json("role", "edit", "CASHIER", "invoice:read", "--reason", "no refunds")["permissions"] == [
        "invoice:read"
    ]
    (event,) = run.events("role.changed")
    assert event["detail"]["reason"] == "no refunds"
    assert "changed" in run.ok("role", "edit", "cashier", "audit:read")  # a script need not have a reason
    assert run.events("role.changed")[0]["detail"]["reason"] == "none given"
    assert "was deleted" in run.ok("role", "delete", "cashier", "--reason", "shop closed")
    assert run.json("user", "show", "alice")["roles"] == []
    assert len(run.events("role.withdrawn")) == 2


def test_roles_of_the_code_and_unknown_ones_are_neither_edited_nor_deleted(run):
    for name in ("admin", "clerk"):
        assert "changed in the code" in run.refused("role", "edit", name, "audit:read")
        assert "changed in the code" in run.refused("role", "delete", name)
    assert "no role named nobody" in run.refused("role", "edit", "nobody", "audit:read")
    run.ok("role", "create", "cashier", "invoice:read")
    assert "audit:burn" in run.refused("role", "edit", "cashier", "audit:burn")
    run.misused("role", "edit", "cashier")
