"""`gatehouse user`, on both databases."""

from __future__ import annotations

import json
import re

import pytest

from flask_gatehouse.domain import users
from flask_gatehouse.domain.sessions import Issued
from flask_gatehouse.flows import login, reset_password
from flask_gatehouse.flows.outcomes import FactorDue, MustReplace, Refused
from flask_gatehouse.kernel.identity import Source
from tests.cli.conftest import PASSWORD, Commands, add_clerk
from tests.support import phones
from tests.support.apps import SECRET

pytestmark = pytest.mark.usefixtures("database_url")
ANOTHER = "quite another phrase for this"


def log_in(run, name="alice", password=PASSWORD):
    return login.begin(run.services, name, password, login.Attempt(Source("192.0.2.1", "Browser", "r")))


def test_a_user_made_by_a_command_can_log_in(run):
    assert "Alice" in run.ok("user", "create", "Alice", "--email", "a@example.org", stdin=f"{PASSWORD}\n")
    assert log_in(run)


def test_a_user_is_made_with_roles_and_its_events(run):
    made = run.json(
        *("user", "create", "alice", "--role", "ADMIN", "--role", "clerk", "--reason", "new colleague"),
        stdin=f"{PASSWORD}\n",
    )
    assert (made["username"], made["state"], made["roles"]) == ("alice", "active", ["admin", "clerk"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", made["created_at"])
    (event,) = run.events("user.created")
    assert (event["actor"], event["username"], event["detail"]) == ("cli", "alice", {"reason": "new colleague"})
    assert [granted["detail"]["role"] for granted in run.events("role.granted")] == ["clerk", "admin"]


def test_rule_25_creating_a_user_spends_the_claim_of_the_first_administrator(run):
    run.create("alice")
    with run.services.reading() as connection:
        assert not run.services.roles.is_first_admin_open(connection)


@pytest.mark.parametrize("ending", ["\n", "\r\n", ""])
def test_v6_2_8_the_password_is_one_line_of_standard_input_taken_as_it_is(run, ending):
    run.ok("user", "create", "alice", stdin=f"  blank around {ending}")
    assert log_in(run, password="  blank around ")
    assert not log_in(run, password="blank around")


def test_only_the_first_line_of_standard_input_is_the_password(run):
    run.ok("user", "create", "alice", stdin=f"{PASSWORD}\nsecond line\n")
    assert log_in(run)


@pytest.mark.parametrize("password", ["", "admin", "password1", "gatehouse", "alice123456", "1234567", "a\ttab"])
def test_v6_3_2_63b_3_1_1_2_13_a_blank_default_or_listed_password_is_refused(run, password):
    assert run.refused("user", "create", "alice123456", "--role", "admin", stdin=f"{password}\n").startswith(
        "Error: password: "
    )
    assert run.json("user", "list") == []


def test_v6_3_2_a_fresh_database_has_no_users_and_no_default_account(run):
    assert run.json("user", "list") == []


def test_no_password_at_all_is_a_usage_error(run):
    assert "one line of standard input" in run.misused("user", "create", "alice")


@pytest.mark.parametrize("name", ["al", "a" * 81, "al ice", "alice!", "\u017fam"])
def test_rule_2_a_name_that_cannot_be_one_is_refused(run, name):
    assert "username" in run.refused("user", "create", name, stdin=f"{PASSWORD}\n")


def test_a_taken_name_is_refused_in_any_case_of_letters(run):
    run.create("alice")
    assert run.refused("user", "create", "ALICE", stdin=f"{PASSWORD}\n") == "Error: username: This name is taken.\n"


def test_an_unknown_role_makes_no_user(run):
    assert "role" in run.refused("user", "create", "alice", "--role", "nobody", stdin=f"{PASSWORD}\n")
    assert run.json("user", "list") == []
    assert run.json("audit", "list") == []


def test_names_that_people_type_are_not_case_sensitive(run):
    run.create("Alice")
    for command in ("show", "unlock", "suspend", "restore"):
        run.ok("user", command, "aLICE")
    assert run.json("user", "show", "ALICE")["username"] == "Alice"


def test_all_users_are_listed_by_name_whatever_their_number(run, monkeypatch):
    monkeypatch.setattr("flask_gatehouse.cli.users.PAGE", 2)
    names = ["anna", "Bert", "carl", "Dora", "emil"]
    for name in reversed(names):
        run.create(name)
    assert [user["username"] for user in run.json("user", "list")] == names
    assert [user["username"] for user in run.json("user", "list", "--search", "b")] == ["Bert"]
    keys = {"id", "username", "email", "is_email_verified", "state", "roles", "created_at"}
    assert set(run.json("user", "list")[0]) == keys


def test_the_table_for_people_shows_the_same(run):
    run.create("alice", "--role", "admin", "--email", "a@example.org")
    head, _, row = run.ok("user", "list").splitlines()
    assert head.split() == ["ID", "USER", "STATE", "ROLES", "E-MAIL", "CREATED"]
    assert row.split()[1:5] == ["alice", "active", "admin", "a@example.org"]


def test_a_user_is_shown_with_grants_and_live_sessions(run):
    run.create("alice")
    run.ok("role", "grant", "alice", "clerk", "--until", "2100-01-01T00:00:00Z")
    issued = log_in(run)
    shown = run.json("user", "show", "alice")
    assert [session["id"] for session in shown["sessions"]] == [issued.public_id]
    assert [(grant["role"], grant["until"]) for grant in shown["grants"]] == [("clerk", "2100-01-01T00:00:00Z")]
    assert shown["has_password"] is True
    assert issued.public_id in run.ok("user", "show", "alice")


def test_a_user_is_shown_with_the_address_and_whether_it_is_verified(run):
    run.create("alice", "--email", "a@example.org")
    run.create("bob")
    assert run.json("user", "show", "alice")["is_email_verified"] is False
    assert "a@example.org (not verified)" in run.ok("user", "show", "alice")
    with run.services.unit() as unit:
        assert users.verify_email(unit.connection, 1, "a@example.org")
    assert run.json("user", "show", "alice")["is_email_verified"] is True
    assert "a@example.org (verified)" in run.ok("user", "show", "alice")
    bob = run.json("user", "show", "bob")
    assert (bob["email"], bob["is_email_verified"]) == (None, False)


def test_v7_4_2_suspending_ends_every_session_and_restoring_brings_none_back(run):
    run.create("alice")
    log_in(run)
    assert run.json("user", "suspend", "alice", "--reason", "left the company")["state"] == "suspended"
    assert not log_in(run)
    assert run.json("user", "restore", "alice", "--reason", "came back")["state"] == "active"
    assert run.json("session", "list") == []
    assert log_in(run)
    assert run.events("user.suspended")[0]["detail"]["reason"] == "left the company"
    assert run.events("user.restored")[0]["detail"]["reason"] == "came back"


def test_a_reason_left_out_by_a_script_that_deletes_is_recorded_as_missing(run):
    run.create("alice")
    run.ok("user", "delete", "alice", "--yes")
    assert run.events("user.closed")[0]["detail"]["reason"] == "none given"


def test_a_reason_left_out_by_a_script_is_recorded_as_missing(run):
    run.create("alice")
    run.ok("user", "suspend", "alice")
    assert run.events("user.suspended")[0]["detail"]["reason"] == "none given"


def test_rule_4_unlocking_ends_the_delay_of_an_account(make_app, run):
    run.create("alice")
    for _ in range(5):
        assert not log_in(run, password=ANOTHER)
    delayed = log_in(run)
    assert isinstance(delayed, Refused)
    assert delayed.wait > 0
    run.ok("user", "unlock", "alice", "--reason", "asked by phone")
    assert log_in(run)
    assert run.events("user.unlocked")[0]["detail"] == {"reason": "asked by phone"}


def test_v6_4_6_nobody_sets_anothers_password_a_reset_makes_a_link(run):
    run.create("alice")
    result = run("user", "reset", "alice", "--reason", "forgot it")
    (line,) = result.stdout.splitlines()
    secret = line.removeprefix("http://127.0.0.1:5000/reset-password/")
    assert len(secret) == 43
    assert "30 minutes" in result.stderr
    assert log_in(run), "the old password works until the link is used"
    user_id = reset_password.complete(run.services, secret, ANOTHER, Source("192.0.2.1"))
    assert user_id == run.json("user", "show", "alice")["id"]
    assert not log_in(run)
    assert log_in(run, password=ANOTHER)
    assert run.events("password.reset_link")[0]["detail"] == {"reason": "forgot it"}


@pytest.mark.parametrize("option", ["--password", "--set", "--new-password"])
def test_v6_4_6_no_command_takes_a_password_as_an_argument(run, option):
    for command in (("user", "create", "alice"), ("user", "reset", "alice"), ("init",)):
        assert "No such option" in run.misused(*command, option, PASSWORD)


def test_the_link_names_the_first_origin_and_the_prefix(make_app, run):
    own = type(run)(make_app(GATEHOUSE_ORIGINS="https://app.example,https://b.example", GATEHOUSE_URL_PREFIX="/auth"))
    own.create("alice")
    assert own.json("user", "reset", "alice")["link"].startswith("https://app.example/auth/reset-password/")


def test_a_newer_link_kills_the_older(run):
    run.create("alice")
    first, second = (run.json("user", "reset", "alice")["link"].rpartition("/")[2] for _ in range(2))
    assert reset_password.find(run.services, first) is None
    assert reset_password.find(run.services, second) == "alice"


def test_v6_4_1_63b_3_1_1_2_09_63b_3_2_1_1_a_temporary_password_works_once_and_must_be_replaced(run):
    run.create("alice")
    log_in(run)
    temporary = run.json("user", "reset", "alice", "--temporary")["temporary_password"]
    assert len(temporary) == 20
    assert run.json("session", "list") == []
    assert run.json("user", "show", "alice")["temporary_password_until"] is not None
    assert not log_in(run)
    assert isinstance(log_in(run, password=temporary), MustReplace)
    assert isinstance(log_in(run, password=temporary), Refused)
    assert run.json("user", "show", "alice")["has_password"] is False


def test_v6_2_10_63b_3_1_1_2_09_a_password_is_marked_as_compromised_with_a_reason(run):
    run.create("alice")
    log_in(run)
    assert run.json("user", "show", "alice")["password_compromised_at"] is None
    told = run.ok("user", "mark-compromised", "alice", "--reason", "seen in a paste")
    assert told == "alice has a password that opens nothing any more; all sessions have ended.\n"
    assert "marked as compromised" in run.ok("user", "show", "alice")
    assert run.json("user", "show", "alice")["password_compromised_at"] is not None
    assert run.json("session", "list") == []
    assert not log_in(run)
    link = run.json("user", "reset", "alice")["link"].rpartition("/")[2]
    assert not isinstance(reset_password.complete(run.services, link, "another quiet river", Source()), Refused)
    assert isinstance(log_in(run, password="another quiet river"), Issued)
    (event,) = run.events("password.compromised")
    assert (event["actor"], event["detail"]["reason"]) == ("cli", "seen in a paste")


def test_v6_5_6_second_factors_are_shown_and_reset(make_app):
    run = Commands(make_app(add_clerk, SECRET_KEY=SECRET, **phones.ON))
    run.create("alice")
    user_id = run.json("user", "show", "alice")["id"]
    assert run.json("user", "show", "alice")["factors"] == []
    assert "no second factor to reset" in run.refused("user", "reset-factors", "alice", "--reason", "lost")
    seed = phones.enrol(run.services, user_id)
    assert run.json("user", "show", "alice")["factors"] == ["totp"]
    assert isinstance(log_in(run), FactorDue)
    told = run.ok("user", "reset-factors", "alice", "--reason", "phone in the lake")
    assert told == "alice has no second factor any more.\n"
    assert isinstance(log_in(run), Issued)
    (event,) = run.events("factor.reset")
    assert (event["actor"], event["detail"]["reason"]) == ("cli", "phone in the lake")
    assert seed not in str(event)


def test_a_suspended_user_is_not_reset(run):
    run.create("alice")
    run.ok("user", "suspend", "alice")
    assert run.refused("user", "reset", "alice") == "Error: alice is suspended\n"


def test_v16_2_5_no_secret_of_a_reset_stands_in_the_audit_log(run):
    run.create("alice")
    link = run.json("user", "reset", "alice")["link"].rpartition("/")[2]
    temporary = run.json("user", "reset", "alice", "--temporary")["temporary_password"]
    log = json.dumps(run.json("audit", "list"))
    assert link not in log
    assert temporary not in log
    assert PASSWORD not in log


def test_deleting_asks_first_and_erases_name_and_address(run):
    run.create("alice", "--email", "a@example.org")
    answer = run("user", "delete", "alice", stdin="n\n")
    assert (answer.exit_code, run.json("user", "show", "alice")["state"]) == (1, "active")
    assert run("user", "delete", "alice").exit_code == 1, "nobody answered"
    gone = run.json("user", "delete", "alice", "--yes", "--reason", "asked to be forgotten")
    assert (gone["state"], gone["email"], gone["roles"]) == ("closed", None, [])
    assert "alice" not in gone["username"]
    assert "no user is named alice" in run.refused("user", "show", "alice")
    run.create("alice")
    assert run.json("user", "show", "alice")["id"] > gone["id"]


@pytest.mark.parametrize("command", ["suspend", "delete", "mark-compromised"])
def test_rule_24_the_last_administrator_stays(run, command):
    run.create("alice", "--role", "admin")
    arguments = ("user", command, "alice", *(["--yes"] if command == "delete" else []))
    assert "last administrator" in run.refused(*arguments)
    assert run.json("user", "show", "alice")["state"] == "active"
    run.create("bob", "--role", "admin")
    run.ok(*arguments)


@pytest.mark.parametrize("command", ["show", "suspend", "restore", "unlock", "reset", "mark-compromised", "delete"])
@pytest.mark.parametrize("name", ["nobody", "x", "\u017fam", "a" * 300, "%", "'; --"])
def test_a_name_that_is_no_users_is_refused_in_one_line(run, command, name):
    assert run.refused("user", command, name) == f"Error: no user is named {name}\n"


@pytest.mark.parametrize("reason", ["a\nb", "\x1b[31mred", "x" * 501])
def test_a_reason_that_cannot_be_recorded_is_a_usage_error(run, reason):
    run.create("alice")
    assert "--reason" in run.misused("user", "suspend", "alice", "--reason", reason)
    assert run.events("user.suspended") == []
