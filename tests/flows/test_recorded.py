"""Every change has its audit row and every row its change: one transaction for both (rule 29, promise 7)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from flask_gatehouse.domain.audit import Event
from flask_gatehouse.domain.sessions import Issued
from flask_gatehouse.flows import (
    administer,
    alarm,
    close_account,
    edit_roles,
    login,
    own_addresses,
    own_password,
    register,
    reset_password,
    revoke,
    step_up,
)
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.errors import DatabaseUnavailableError, NameTaken
from flask_gatehouse.kernel.identity import APP, CLI
from tests.support import databases, house
from tests.support.house import BY_COMMAND, HERE, PASSWORD, WRONG

NEW = "another quiet river"
FAULTS = (DatabaseUnavailableError, sa.exc.ProgrammingError)
Stage = dict[str, Any]


def staged(home: house.House) -> Stage:
    """Return people and things that every deed below finds."""
    alice, bob = home.person("alice"), home.person("bob", roles=["clerk"])
    home.person("root", roles=["admin"])
    administer.suspend(home.services, BY_COMMAND, home.person("gone"))
    secret, other = home.session().secret, home.session()
    link = reset_password.make_link(home.services, CLI, "bob")
    word = reset_password.make_temporary(home.services, CLI, "gone2") if home.person("gone2") else ""
    return {
        "alice": alice,
        "bob": bob,
        "gone": alice + 3,
        "secret": secret,
        "other": other.public_id,
        "identity": home.identity(secret),
        "link": link,
        "word": word,
    }


def deeds(home: house.House, on: Stage) -> dict[str, tuple[Callable[[], object], list[str]]]:
    """Return what people do, with the events that it leaves."""
    services, identity, secret = home.services, on["identity"], on["secret"]
    new = register.NewUser("carol", PASSWORD)
    return {
        "register": (lambda: register.register(services, new, HERE, may_claim=False), ["user.registered"]),
        "create": (lambda: register.create(services, new, ["clerk"], CLI), ["user.created", "role.granted"]),
        "log in": (home.log_in, ["login.succeeded"]),
        "fail": (lambda: home.log_in(password=WRONG), ["login.failed"]),
        "log in with a temporary password": (
            lambda: home.log_in("gone2", on["word"]),
            ["login.temporary"],
        ),
        "be vouched for": (
            lambda: login.vouched(services, on["bob"], login.Attempt(HERE), is_fresh=True),
            ["login.succeeded"],
        ),
        "log out": (lambda: login.end(services, identity, HERE), ["logout"]),
        "step up": (lambda: step_up.prove(services, identity, secret, PASSWORD, HERE), ["step_up.succeeded"]),
        "fail to step up": (lambda: step_up.prove(services, identity, secret, WRONG, HERE), ["step_up.failed"]),
        "change the password": (
            lambda: own_password.change(services, identity, secret, PASSWORD, NEW, HERE),
            ["password.changed"],
        ),
        "fail to change it": (
            lambda: own_password.change(services, identity, secret, WRONG, NEW, HERE),
            ["password.change_failed"],
        ),
        "change the address": (
            lambda: own_addresses.change(services, identity, "a@example.org", HERE),
            ["user.email_changed"],
        ),
        "end one": (lambda: revoke.one(services, identity, on["other"], HERE), ["session.ended"]),
        "end others": (lambda: revoke.others(services, identity, HERE), ["session.ended"]),
        "say that it was somebody else": (
            lambda: alarm.raise_alarm(services, identity, HERE),
            ["user.alarm_raised"],
        ),
        "close it": (lambda: close_account.close(services, identity, "alice", HERE), ["user.closed"]),
        "end all": (lambda: revoke.all_own(services, identity, HERE), ["session.ended"]),
        "end by command": (lambda: revoke.by_public_id(services, CLI, on["other"], "why"), ["session.ended"]),
        "make a link": (lambda: reset_password.make_link(services, CLI, "alice"), ["password.reset_link"]),
        "make a temporary password": (
            lambda: reset_password.make_temporary(services, CLI, "alice"),
            ["session.ended", "password.temporary"],
        ),
        "reset": (lambda: reset_password.complete(services, on["link"], NEW, HERE), ["password.reset"]),
        "suspend": (lambda: administer.suspend(services, BY_COMMAND, on["bob"]), ["user.suspended"]),
        "restore": (lambda: administer.restore(services, BY_COMMAND, on["gone"]), ["user.restored"]),
        "unlock": (lambda: administer.unlock(services, BY_COMMAND, on["bob"]), ["user.unlocked"]),
        "close": (lambda: administer.close(services, BY_COMMAND, on["bob"]), ["user.closed"]),
        "end a user's": (lambda: administer.end_sessions(services, BY_COMMAND, on["alice"]), ["session.ended"]),
        "grant": (lambda: administer.grant(services, BY_COMMAND, on["alice"], "clerk"), ["role.granted"]),
        "withdraw": (lambda: administer.withdraw(services, BY_COMMAND, on["bob"], "clerk"), ["role.withdrawn"]),
        "make a role": (
            lambda: edit_roles.create(services, BY_COMMAND, "auditor", ["audit:read"]),
            ["role.created"],
        ),
    }


NAMES = [
    "register",
    "create",
    "log in",
    "fail",
    "log in with a temporary password",
    "be vouched for",
    "log out",
    "step up",
    "fail to step up",
    "change the password",
    "fail to change it",
    "change the address",
    "end one",
    "end others",
    "say that it was somebody else",
    "close it",
    "end all",
    "end by command",
    "make a link",
    "make a temporary password",
    "reset",
    "suspend",
    "restore",
    "unlock",
    "close",
    "end a user's",
    "grant",
    "withdraw",
    "make a role",
]


def rows_of(home: house.House) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row but the counters, which are outside this rule."""
    tables = [table for table in schema.metadata.sorted_tables if table is not schema.counter]
    return {table.name: sorted(map(tuple, home.rows(sa.select(table))), key=repr) for table in tables}


@pytest.mark.parametrize("name", NAMES)
def test_rule_29_v16_3_1_a_deed_is_recorded_and_without_its_row_nothing_is_changed(home, name):
    act, kinds = deeds(home, staged(home))[name]
    before = rows_of(home)
    home.change(sa.text("ALTER TABLE gatehouse_event RENAME TO taken_away"))
    with pytest.raises(FAULTS):
        act()
    home.change(sa.text("ALTER TABLE taken_away RENAME TO gatehouse_event"))
    assert rows_of(home) == before

    recorded = len(home.events())
    act()
    assert home.kinds()[recorded:] == kinds
    assert home.verified() == recorded + len(kinds)
    assert rows_of(home) != before


def test_every_deed_is_tried(home):
    assert list(deeds(home, staged(home))) == NAMES


def test_rule_29_v2_3_3_what_raises_within_a_unit_leaves_neither_change_nor_row(home):
    alice = home.person()
    before = rows_of(home)

    def fail() -> None:
        with home.services.unit() as unit:
            home.services.roles.add_grant(unit.connection, alice, "clerk", unit.now, by=None, until_at=None)
            unit.record(Event("role.granted", APP, alice))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert rows_of(home) == before
    assert home.verified() == len(home.events())


def test_v16_2_5_v14_2_4_no_row_and_no_line_of_any_deed_holds_a_secret(open_house, caplog):
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "sqlalchemy.engine")  # before the engine is made, so that it logs its statements
    home = open_house()
    stage = staged(home)
    known = [PASSWORD, WRONG, NEW, stage["secret"], stage["link"], stage["word"]]
    for act, _ in deeds(home, stage).values():
        try:
            made = act()
        except NameTaken:
            continue
        known += [made] if isinstance(made, str) and len(made) > 15 else []
        known += [made.secret] if isinstance(made, Issued) else []
    text = str(home.rows(sa.select(schema.event))) + caplog.text
    assert len(known) >= 10
    assert "INSERT INTO gatehouse_user" in text
    assert [secret for secret in known if secret in text] == []


# --- the database's own word -------------------------------------------------------------------------------


@pytest.fixture
def least(postgres_url):
    """Return a house whose database role may only read and insert events."""
    with databases.least_role(postgres_url) as role:
        here = house.build(role.url)
        yield here
        house.close(here)


def test_rule_29_v13_2_2_the_app_works_with_select_and_insert_alone_on_its_log(least):
    stage = staged(least)
    done = []
    for name, (act, kinds) in deeds(least, stage).items():
        if name in {"create", "log out", "end all", "make a temporary password", "reset", "close"}:
            continue
        before = len(least.events())
        act()
        done += least.kinds()[before:]
        assert set(least.kinds()[before:]) <= set(kinds)
    assert len(set(done)) >= 15
    for name in ("make a temporary password", "reset", "close"):
        deeds(least, stage)[name][0]()
    assert least.verified() == len(least.events())


@pytest.mark.parametrize(
    "statement",
    ["UPDATE gatehouse_event SET kind = 'logout'", "DELETE FROM gatehouse_event", "TRUNCATE gatehouse_event"],
)
def test_rule_29_v16_4_2_and_its_role_can_rewrite_nothing(least, statement):
    least.person()
    with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
        least.change(sa.text(statement))
    assert least.verified() == 1
