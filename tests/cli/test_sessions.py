"""`gatehouse session`, on both databases."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from flask_gatehouse.domain import devices
from flask_gatehouse.domain.sessions import Gone
from flask_gatehouse.domain.sessions.sql import SqlSessions
from flask_gatehouse.flows import login
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.clock import Clock
from flask_gatehouse.kernel.identity import Source
from tests.cli.conftest import PASSWORD

pytestmark = pytest.mark.usefixtures("database_url")
AGENT = "Mozilla/5.0 Firefox"


def open_session(run, name):
    return login.begin(run.services, name, PASSWORD, login.Attempt(Source("192.0.2.7", AGENT, "r")))


def test_sessions_are_listed_newest_first_by_public_ids(run):
    run.create("alice")
    run.create("bob")
    opened = [open_session(run, name) for name in ("alice", "bob", "alice")]
    listed = run.json("session", "list")
    assert [row["id"] for row in listed] == [issued.public_id for issued in reversed(opened)]
    assert listed[0] | {"created_at": "", "seen_at": "", "expires_at": ""} == {
        "id": opened[2].public_id,
        "username": "alice",
        "created_at": "",
        "seen_at": "",
        "expires_at": "",
        "is_remembered": False,
        "address": "192.0.2.7",
        "agent": AGENT,
    }
    mine = run.json("session", "list", "--user", "ALICE")
    assert [row["id"] for row in mine] == [opened[2].public_id, opened[0].public_id]
    assert all(issued.public_id in run.ok("session", "list") for issued in opened)


def test_no_secret_of_a_session_is_printed(run):
    run.create("alice")
    issued = open_session(run, "alice")
    assert issued.secret not in run.ok("session", "list", "--json") + run.ok("session", "list")


def test_all_sessions_are_listed_whatever_their_number(run, monkeypatch):
    monkeypatch.setattr("flask_gatehouse.cli.sessions.PAGE", 2)
    run.create("alice")
    opened = [open_session(run, "alice").public_id for _ in range(5)]
    assert [row["id"] for row in run.json("session", "list")] == opened[::-1]


def test_v7_4_5_a_revoked_session_is_refused_at_its_next_request(run):
    run.create("alice")
    first, second = open_session(run, "alice"), open_session(run, "alice")
    assert run.json("session", "revoke", first.public_id, "--reason", "stolen laptop") == {
        "id": first.public_id,
        "ended": 1,
    }
    load = run.services.sessions.load
    assert load(first.secret, AGENT, run.services.clock.now()) is Gone.UNKNOWN
    assert load(second.secret, AGENT, run.services.clock.now()) is not Gone.UNKNOWN
    assert [row["id"] for row in run.json("session", "list")] == [second.public_id]
    (event,) = run.events("session.ended")
    assert (event["actor"], event["username"]) == ("cli", "alice")
    assert event["detail"] == {"reason": "stolen laptop", "sessions": [first.public_id]}
    assert "no session" in run.refused("session", "revoke", first.public_id)


def test_a_reason_left_out_by_a_script_that_ends_a_session_is_recorded_as_missing(run):
    run.create("alice")
    run.ok("session", "revoke", open_session(run, "alice").public_id)
    assert run.events("session.ended")[0]["detail"]["reason"] == "none given"


def test_v7_4_5_a_command_ends_the_sessions_of_everybody_at_their_next_request(run, monkeypatch):
    monkeypatch.setitem(SqlSessions.owners.__kwdefaults__, "limit", 2)  # so that there is a second batch
    for name in ("alice", "bob", "carol"):
        run.create(name)
    opened = [open_session(run, name) for name in ("alice", "bob", "carol", "alice")]
    assert run.ok("session", "revoke-all", "--reason", "a stolen backup") == "4 sessions of 3 users ended.\n"
    load = run.services.sessions.load
    assert {load(one.secret, AGENT, run.services.clock.now()) for one in opened} == {Gone.UNKNOWN}
    events = run.events("session.ended")
    assert sorted(event["username"] for event in events) == ["alice", "bob", "carol"]
    assert {(event["actor"], event["detail"]["reason"]) for event in events} == {("cli", "a stolen backup")}
    assert run.json("session", "revoke-all") == {"ended": 0, "users": 0}
    again = open_session(run, "alice")
    assert load(again.secret, AGENT, run.services.clock.now()) is not Gone.UNKNOWN


def test_v7_4_5_links_and_known_browsers_of_who_has_no_session_end_with_the_sessions_of_everybody(run):
    run.create("alice")
    run.ok("user", "reset", "alice", "--reason", "lost")
    run.create("bob")
    with run.services.unit() as unit:
        devices.welcome(unit.connection, "", "a" * 43, 2, unit.now)
    assert run.json("session", "revoke-all") == {"ended": 0, "users": 0}
    with run.services.reading() as connection:
        left = [connection.execute(sa.select(table.c.user_id)).all() for table in (schema.link, schema.device)]
    assert left == [[], []]
    assert [event["username"] for event in run.events("session.ended")] == ["bob", "alice"]


@pytest.mark.parametrize("public_id", ["nothing", "", "%", "\u017f", "0" * 300])
def test_an_id_that_is_no_sessions_is_refused_in_one_line(run, public_id):
    assert "no session" in run.refused("session", "revoke", public_id)


class Later(Clock):
    """Tells a later time."""

    def __init__(self, **parts: float) -> None:
        self._later = int(timedelta(**parts).total_seconds() * 1_000_000)

    def now(self) -> int:
        return super().now() + self._later


@pytest.mark.parametrize("role, minutes, counts", [(None, 59, True), (None, 61, False), ("admin", 31, False)])
def test_v7_3_1_a_session_past_its_idle_limit_is_not_listed(run, make_app, role, minutes, counts):
    run.create("alice", *(["--role", role] if role else []))
    opened = open_session(run, "alice")
    object.__setattr__(run.services, "clock", Later(minutes=minutes))
    assert [row["id"] for row in run.json("session", "list")] == ([opened.public_id] if counts else [])
    assert len(run.json("user", "show", "alice")["sessions"]) == counts


def test_a_hostile_browser_name_cannot_drive_the_terminal(run):
    run.create("alice")
    login.begin(run.services, "alice", PASSWORD, login.Attempt(Source("192.0.2.7", "\x1b[2J\u202eevil\x9b", "r")))
    shown = run.ok("session", "list")
    assert "\\u001b[2J\\u202eevil\\u009b" in shown
    assert run.ok("session", "list", "--json").isascii()
