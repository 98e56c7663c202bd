"""The session that a login has just opened is read when somebody asks for it, and no sooner."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from flask import Flask, g, jsonify, request, session
from flask_login import user_logged_in

from flask_gatehouse import current_user, login_required, public
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.errors import DatabaseUnavailableError
from tests.http.people import PASSWORD, add_user, come_in, is_inside, log_in, services
from tests.support.statements import sent_to
from tests.support.visitor import submit


def read_of(sent):
    """Return the reads of whole sessions, with their users, among what was sent."""
    return [sql for sql, _ in sent if "gatehouse_session.digest" in sql and "JOIN gatehouse_user" in sql]


def asking(app, ask):
    """Ask at the end of each login; what is found out is told in a header."""

    @app.after_request
    def told(response):
        if request.path == "/login" and request.method == "POST":
            response.headers["X-Told"] = ask()
        return response


def test_a_login_does_not_read_the_session_that_it_opens(build):
    app = build()
    add_user(app)
    client = app.test_client()
    with sent_to(services(app).database) as sent:
        answer = log_in(client)
    assert answer.status_code == 303
    assert read_of(sent) == []
    assert answer.headers["Cache-Control"] == "no-store"
    assert is_inside(client, "/account")


ASKED = {
    "current_user": lambda: current_user.username,
    "flask-login's keys": lambda: current_user.username if session["_fresh"] and "_user_id" in session else "",
    "the session": lambda: session.setdefault("name", current_user.username),
}


@pytest.mark.parametrize("asked", ASKED)
def test_rule_15_whoever_asks_after_a_login_meets_the_new_user_and_reads_once(build, asked):
    app = build(lambda app, _: asking(app, ASKED[asked]))
    add_user(app)
    client = app.test_client()
    with sent_to(services(app).database) as sent:
        assert log_in(client).headers["X-Told"] == "alice"
    assert len(read_of(sent)) == 1


def test_rule_15_a_receiver_of_the_signal_gets_the_user_itself(build):
    app, heard = build(), []
    add_user(app)

    def hear(_app, user):
        heard.append((type(user).__name__, user.username, g._login_user is user))

    with user_logged_in.connected_to(hear, app):
        log_in(app.test_client())
    assert heard == [("User", "alice", True)]


Act = Callable[[Flask], None]


def keeping(app: Flask, happens: list[Act]) -> None:
    """Keep something in the session of who is inside, and let something happen at the end of each POST."""

    @app.before_request
    def read():
        session.get("language")

    @app.get("/keep")
    @login_required
    def keep():
        session["kept"] = current_user.username
        return "kept"

    @app.get("/kept")
    @public
    def kept():
        return jsonify(who=current_user.username, kept=session.get("kept"), note=session.get("note"))

    @app.after_request
    def end(response):
        if request.method == "POST" and response.status_code == 303:
            for act in happens:
                act(app)
        return response


def end_all(app):
    with services(app).unit() as unit:
        unit.connection.execute(sa.update(schema.user).values(epoch=schema.user.c.epoch + 1))


def write(_app):
    session["note"] = "written at the end"


def who_kept(client):
    answer = client.get("/kept").get_json()
    return answer["who"], answer["kept"]


@pytest.mark.parametrize("is_ended", [False, True])
def test_rule_13_a_login_that_is_ended_at_once_hands_nothing_from_user_to_user(build, is_ended):
    happens: list[Act] = []
    app = build(lambda app, _: keeping(app, happens))
    for name in ("bob", "carol"):
        add_user(app, name)
    client = come_in(app)
    client.get("/keep")
    assert who_kept(client) == ("alice", "alice")
    happens += [end_all, write] if is_ended else [write]
    log_in(client, "bob")
    assert who_kept(client) == (("", None) if is_ended else ("bob", None))
    happens.clear()
    log_in(client, "carol")
    assert who_kept(client) == ("carol", None)


def test_rule_13_what_a_session_holds_that_ends_while_it_is_rotated_reaches_no_guest(build):
    happens: list[Act] = []
    app = build(lambda app, _: keeping(app, happens))
    add_user(app, "bob")
    client = come_in(app)
    client.get("/keep")
    happens += [write, end_all]
    new = "another long passphrase"
    assert submit(client, "/account/password", current=PASSWORD, password=new, confirm=new).status_code == 303
    assert who_kept(client) == ("", None)
    happens.clear()
    log_in(client, "bob")
    assert who_kept(client) == ("bob", None)


def test_rule_15_a_login_stands_though_the_database_is_gone_when_somebody_asks_for_it(build, caplog):
    app = build(lambda app, _: asking(app, lambda: current_user.username or "guest"))
    add_user(app)
    client, store = app.test_client(), services(app).sessions.store

    def gone(*_told):
        raise DatabaseUnavailableError

    store.find_live = gone  # type: ignore[method-assign]  # it fails once
    answer = log_in(client)
    del store.find_live
    assert (answer.status_code, answer.headers["X-Told"]) == (303, "guest")
    assert "who has just logged in cannot be read" in caplog.text
    assert is_inside(client, "/account")
