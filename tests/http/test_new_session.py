"""The session that a login has just opened is read when somebody asks for it, and no sooner."""

from __future__ import annotations

import pytest
from flask import g, request, session
from flask_login import user_logged_in

from flask_gatehouse import current_user
from tests.http.people import add_user, is_inside, log_in, services
from tests.support.statements import sent_to


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
