"""`gatehouse audit`, on both databases."""

from __future__ import annotations

import json
import threading

import pytest
from sqlalchemy import delete, select, update

from flask_gatehouse.domain.audit import Event, rows
from flask_gatehouse.kernel.identity import SYSTEM, Source
from flask_gatehouse.kernel.schema import chain_head, event

pytestmark = pytest.mark.usefixtures("database_url")


def add_events(run, count):
    with run.services.unit() as unit:
        for number in range(count):
            unit.record(Event("logout", SYSTEM, detail={"number": number}))


def tamper(run, statement):
    with run.services.database.unit() as connection:
        connection.execute(statement)


def test_events_are_listed_newest_first_a_page_at_a_time(run):
    add_events(run, 5)
    assert [row["id"] for row in run.json("audit", "list", "--limit", "2")] == [5, 4]
    assert [row["id"] for row in run.json("audit", "list", "--limit", "2", "--before", "4")] == [3, 2]
    result = run("audit", "list", "--limit", "2")
    assert result.stderr == "Older events: --before 4\n"


def test_v16_2_4_an_event_has_the_same_fields_each_time(run):
    run.create("alice", "--reason", "new colleague")
    (row,) = run.json("audit", "list")
    assert list(row) == [
        *("id", "at", "kind", "outcome", "actor", "actor_id", "user_id", "username", "address", "agent"),
        *("request_id", "session_id", "detail"),
    ]
    assert (row["kind"], row["outcome"], row["actor"], row["username"]) == ("user.created", "ok", "cli", "alice")
    assert row["at"].endswith("Z")
    assert row["detail"] == {"reason": "new colleague"}


def test_events_are_found_by_user_and_by_kind(run):
    run.create("alice")
    run.create("bob")
    run.ok("user", "suspend", "bob")
    assert {row["username"] for row in run.json("audit", "list", "--user", "BOB")} == {"bob"}
    assert [row["kind"] for row in run.json("audit", "list", "--user", "bob")] == ["user.suspended", "user.created"]
    assert [row["username"] for row in run.json("audit", "list", "--event", "user.created")] == ["bob", "alice"]
    assert run.json("audit", "list", "--user", "alice", "--event", "user.suspended") == []
    assert "no user" in run.refused("audit", "list", "--user", "nobody")


def test_events_are_found_by_address_and_by_time(run):
    for second, address in enumerate(("192.0.2.1", "192.0.2.2", "2001:db8::7")):
        with run.services.database.unit() as connection:
            run.services.audit.append(connection, [Event("logout", SYSTEM, source=Source(address))], second * 1_000_000)
    listed = {row["id"] for row in run.json("audit", "list", "--address", "2001:0db8:0::7")}
    assert listed == {3}
    assert [row["id"] for row in run.json("audit", "list", "--address", "::ffff:192.0.2.1")] == [1]
    span = ("--since", "1970-01-01T00:00:01Z", "--until", "1970-01-01T01:00:02+01:00")
    assert [row["id"] for row in run.json("audit", "list", *span)] == [2]


@pytest.mark.parametrize(
    "options, mend",
    [
        (("--event", "user.suspnded"), "did you mean user.suspended"),
        (("--event", "reset"), "password.reset"),
        (("--event", "xyzzy"), "there are access.denied"),
        (("--event", ""), "there are access.denied"),
        (("--address", "192.0.2.0/24"), "write one address"),
        (("--since", "yesterday"), "ISO 8601"),
        (("--until", "2030-01-31T12:00:00"), "with its offset"),
        (("--since", "2030-01-31T12:00:00Z", "--until", "2030-01-31T12:00:00Z"), "before --until"),
    ],
)
def test_what_cannot_be_searched_for_is_a_usage_error_that_names_the_mend(run, options, mend):
    assert mend in run.misused("audit", "list", *options)


@pytest.mark.parametrize("option", [("--limit", "0"), ("--limit", "x"), ("--before", "0"), ("--before", "-1")])
def test_a_page_that_cannot_be_is_a_usage_error(run, option):
    run.misused("audit", "list", *option)


def test_a_number_beyond_64_bits_is_a_usage_error(run):
    run.misused("audit", "list", "--before", str(1 << 70))


def test_rule_27_a_chain_that_agrees_prints_its_head(run):
    add_events(run, 3)
    head = run.json("audit", "verify")["head"]
    assert run.json("audit", "verify", "--head", head) == {"agrees": True, "rows": 3, "head": head}
    assert run.ok("audit", "verify").splitlines() == ["The chain agrees: 3 rows.", f"Head: {head}"]
    add_events(run, 2)
    assert run.json("audit", "verify", "--head", head)["rows"] == 5, "an older head is part of the chain"


def test_rule_27_an_empty_chain_agrees(run):
    assert run.json("audit", "verify")["rows"] == 0


@pytest.mark.parametrize("row", [1, 3, 5])
def test_rule_27_a_changed_row_is_named(run, row):
    add_events(run, 5)
    tamper(run, update(event).where(event.c.id == row).values(actor="someone else"))
    result = run("audit", "verify", "--json")
    assert (result.exit_code, json.loads(result.stdout)["row"]) == (1, row)
    shown = run("audit", "verify")
    assert shown.exit_code == 1
    assert f"row {row}" in shown.stdout


def test_rule_27_a_deleted_row_is_named(run):
    add_events(run, 5)
    tamper(run, delete(event).where(event.c.id == 4))
    result = run("audit", "verify")
    assert (result.exit_code, "row 4 is missing" in result.stdout) == (1, True)


def test_rule_27_a_cut_tail_with_a_genuine_older_head_is_found_against_a_head_kept_outside(run):
    add_events(run, 3)
    with run.services.reading() as connection:
        older = dict(connection.execute(select(chain_head)).mappings().one())
    add_events(run, 2)
    kept = run.json("audit", "verify")["head"]
    tamper(run, delete(event).where(event.c.id > 3))
    tamper(run, update(chain_head).values(**older))
    assert run("audit", "verify").exit_code == 0, "nobody can tell without the head kept outside"
    result = run("audit", "verify", "--head", kept)
    assert (result.exit_code, "ends at 3" in result.stdout) == (1, True)


def test_rule_27_a_head_written_without_the_key_ring_is_found(run):
    add_events(run, 3)
    tamper(run, update(chain_head).values(mac=bytes(32)))
    result = run("audit", "verify")
    assert (result.exit_code, "key ring" in result.stdout) == (1, True)


@pytest.mark.parametrize("head", ["x", "1", "1:zz", ":", "1:2:3", "-1:00", "9" * 5000 + ":00"])
def test_a_head_that_is_none_is_a_usage_error(run, head):
    assert "--head" in run.misused("audit", "verify", "--head", head)


def test_the_chain_agrees_while_others_write(run, monkeypatch):
    monkeypatch.setattr(rows, "BATCH", 7)
    add_events(run, 100)
    has_ended = threading.Event()

    def write():
        while not has_ended.is_set():
            add_events(run, 3)
        run.services.database.discard_kept()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(5):
            assert run("audit", "verify").exit_code == 0
    finally:
        has_ended.set()
        writer.join()


def test_v16_4_1_an_event_cannot_forge_lines_or_drive_the_terminal(run):
    with run.services.unit() as unit:
        unit.record(Event("logout", SYSTEM, detail={"text": "a\r\nb\x1b[2J\u202e"}))
    assert len(run.ok("audit", "list").splitlines()) == 3
    assert "\x1b" not in run.ok("audit", "list")
    assert run.json("audit", "list")[0]["detail"] == {"text": "a\r\nb\x1b[2J\u202e"}
