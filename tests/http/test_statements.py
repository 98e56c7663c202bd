"""What a request costs the database: one statement inside, none outside, a write only now and then."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import flask_login
import pytest
import sqlalchemy as sa
from flask import Flask, session

from flask_gatehouse import can, current_user, login_required, public, requires, role_required
from tests.http.people import (
    GUEST,
    StillClock,
    add_user,
    come_in,
    cookie,
    enter,
    grant,
    services,
    set_cookies,
    withdraw,
)


def pages(app, gate):
    gate.permission("invoice:read", "Read invoices")
    gate.role("clerk", ["invoice:read"])

    def view():
        return f"{current_user.username} {current_user.role} {can('invoice:read')} {session.get('x')}"

    async def coroutine():
        return view()

    app.get("/bare", endpoint="bare")(view)
    app.get("/own", endpoint="own")(login_required(view))
    app.get("/flask-login", endpoint="flask_login")(flask_login.login_required(view))
    app.get("/role", endpoint="role")(role_required("clerk")(view))
    app.get("/permission", endpoint="permission")(requires("invoice:read")(view))
    app.get("/async", endpoint="async")(coroutine)
    app.get("/open", endpoint="open")(public(lambda: "open"))
    app.get("/open-session", endpoint="open_session")(public(lambda: str(session.get("x"))))
    app.get("/open-user", endpoint="open_user")(public(lambda: str(current_user.get_id())))

    @app.get("/keep")
    @public
    def keep():
        session["x"] = "kept"
        return "kept"


GUARDED = ("/bare", "/own", "/flask-login", "/role", "/permission", "/async")


@pytest.fixture
def clock():
    return StillClock()


@pytest.fixture
def app(build, database_url, clock):
    return build(pages, clock=clock)


@contextmanager
def traced(app: Flask, folder) -> Iterator[list[str]]:
    """Collect every statement this thread's requests send to the database, as the driver itself tells them.

    SQLite: its trace callback. PostgreSQL: libpq's trace of the protocol. And what goes another way than the hot one.
    """
    database, found = services(app).database, list[str]()

    def pooled(connection, cursor, statement, parameters, context, executemany):
        found.append(statement)

    def begun(connection):
        found.append("BEGIN")

    sa.event.listen(database.engine, "before_cursor_execute", pooled)
    sa.event.listen(database.engine, "begin", begun)
    kept = database.kept()
    try:
        if database.is_sqlite:
            kept.set_trace_callback(found.append)
            yield found
            kept.set_trace_callback(None)
        else:
            with (folder / "trace").open("w+b") as file:
                kept.pgconn.trace(file.fileno())
                yield found
                kept.pgconn.untrace()
                os.lseek(file.fileno(), 0, os.SEEK_SET)
                found += [
                    line for line in file.read().decode().splitlines() if re.search(r"\bF\b.*\b(Query|Execute)\b", line)
                ]
    finally:
        sa.event.remove(database.engine, "before_cursor_execute", pooled)
        sa.event.remove(database.engine, "begin", begun)


def test_the_trace_sees_statements(app, tmp_path):
    """A trace that sees nothing would prove anything."""
    database = services(app).database
    with traced(app, tmp_path) as found:
        database.run_hot("SELECT 1", [] if database.is_sqlite else {}, is_write=False).fetchall()
        with database.reading() as connection:
            connection.exec_driver_sql("SELECT 2")
        with database.unit():
            pass
    assert (found.count("BEGIN"), found.count("SELECT 2"), len(found)) == (2, 1, 4)


@pytest.mark.parametrize("path", GUARDED)
def test_a_protected_request_costs_one_statement_no_write_and_no_cookie(app, tmp_path, path):
    client = come_in(app, "alice", "clerk")
    client.get(path)  # the first request of a thread opens its connection
    with traced(app, tmp_path) as found:
        answers = [client.get(path) for _ in range(3)]
    assert [answer.text for answer in answers] == ["alice clerk True None"] * 3
    assert len(found) == 3
    assert not any(re.search(r"\b(INSERT|UPDATE|DELETE|BEGIN|COMMIT)\b", statement) for statement in found)
    assert [set_cookies(answer) for answer in answers] == [{}] * 3


def test_many_roles_cost_no_further_statement(build, database_url, clock, tmp_path):
    def setup(app, gate):
        pages(app, gate)
        for number in range(30):
            gate.role(f"role-{number}", ["invoice:read"])

    app = build(setup, clock=clock)
    client = come_in(app, "alice", "clerk", *(f"role-{number}" for number in range(30)))
    client.get("/permission")
    with traced(app, tmp_path) as found:
        assert client.get("/permission").status_code == 200
    assert len(found) == 1


def test_a_public_route_costs_no_statement_whoever_asks(app, tmp_path):
    inside, guest, forger = come_in(app), app.test_client(), app.test_client()
    forger.set_cookie("gatehouse", "A" * 43)
    guest.get("/keep")
    with traced(app, tmp_path) as found:
        for client in (inside, guest, forger):
            answers = [client.get(path) for path in ("/open", "/nowhere", "/logout")]
            assert [answer.status_code for answer in answers] == [200, 404, 405]
            assert [set_cookies(answer) for answer in answers] == [{}] * 3
    assert found == []


def test_a_guest_costs_no_statement_and_no_row(app, tmp_path):
    guest = app.test_client()
    guest.get("/keep")
    assert cookie(guest, GUEST)
    with traced(app, tmp_path) as found:
        assert guest.get("/open-session").text == "kept"
        assert guest.get("/open-user").text == "None"
        assert guest.get("/bare").status_code == 302
        assert guest.get("/login").status_code == 200
    assert found == []


def test_a_public_route_that_asks_costs_one(app, tmp_path):
    client = come_in(app)
    client.get("/open-user")
    with traced(app, tmp_path) as found:
        assert client.get("/open-user").text == "1"
        assert client.get("/open-session").text == "None"
    assert len(found) == 2


@pytest.mark.parametrize("value, cost", [("A" * 43, 1), ("\xe9" * 43, 1), ("A" * 42, 0), ("", 0), ("A" * 4000, 0)])
def test_a_refused_id_costs_one_statement_and_a_malformed_one_none(app, tmp_path, value, cost):
    client = app.test_client(use_cookies=False)  # else it would drop the header
    assert come_in(app).get("/bare").status_code == 200
    with traced(app, tmp_path) as found:
        answer = client.get("/bare", environ_overrides={"HTTP_COOKIE": f"gatehouse={value}"})
    assert answer.status_code == 302
    assert len(found) == cost


def test_rule_16_last_seen_is_written_once_a_minute(app, clock, tmp_path):
    client = come_in(app)
    client.get("/bare")
    with traced(app, tmp_path) as found:
        for _ in range(4):
            clock.move(seconds=20)
            client.get("/bare")
    # The third request comes 60 s after the login: it reads and writes, the others read.
    assert len([line for line in found if "BEGIN" not in line and "COMMIT" not in line]) == 5
    with services(app).reading() as connection:
        (seen_at,) = connection.exec_driver_sql("SELECT seen_at FROM gatehouse_session").scalars()
    assert clock.now() - seen_at == 20_000_000


def test_rule_16_with_a_short_idle_limit_last_seen_is_written_every_tenth_of_it(build, tmp_path):
    clock = StillClock()
    app = build(pages, clock=clock, GATEHOUSE_SESSION_IDLE="100")
    client = come_in(app)
    client.get("/bare")
    with traced(app, tmp_path) as found:
        for _ in range(10):
            clock.move(seconds=5)
            client.get("/bare")
    assert len([line for line in found if line.startswith("UPDATE")]) == 5


def test_v8_3_2_one_statement_is_enough_to_see_a_change_at_the_next_request(app, tmp_path):
    add_user(app, "alice")
    client = enter(app)
    assert client.get("/role").status_code == 403
    grant(app, "alice", "clerk")
    with traced(app, tmp_path) as found:
        assert client.get("/role").status_code == 200
    assert len(found) == 1
    withdraw(app, "alice", "clerk")
    assert client.get("/role").status_code == 403


def test_rule_34_a_grant_that_ends_by_the_clock_counts_no_longer(app, clock):
    add_user(app, "alice")
    client = enter(app)
    grant(app, "alice", "clerk", until_at=clock.now() + 30_000_000)
    assert client.get("/role").status_code == 200
    clock.move(seconds=29)
    assert client.get("/role").status_code == 200
    clock.move(seconds=1)
    assert client.get("/role").status_code == 403
    assert client.get("/bare").text == "alice user False None"
