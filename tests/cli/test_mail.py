"""`gatehouse mail flush`: what waits is sent now; what cannot be is told."""

from __future__ import annotations

import pytest

from flask_gatehouse.domain import users
from flask_gatehouse.domain.mail import Letter
from flask_gatehouse.flows import unconfirmed
from tests.cli.conftest import Commands
from tests.support.apps import SECRET


@pytest.fixture
def run(post, make_app, database_url):
    """Return a runner of commands on an app that sends mail."""
    return Commands(make_app(SECRET_KEY=SECRET, GATEHOUSE_MAIL_URL=post.url))


@pytest.fixture
def waiting(run, post):
    """Let three mails wait, one of them for nobody."""
    post.close()
    run.create("alice", "--email", "alice@example.org")
    with run.services.unit() as unit:
        found = users.find_by_name(unit.connection, "alice")
        assert found is not None
        users.verify_email(unit.connection, found.id, "alice@example.org")
        unit.post(Letter("new_browser", found.id))
        unit.post(Letter("password_changed", found.id))
        unit.post(Letter("reset_password", None, ""))
    run.services.postman.rest(30)


def test_a_flush_sends_what_waits_whenever_it_would_be_tried_again(run, waiting, post):
    result = run("mail", "flush", "--json")
    assert (result.exit_code, '"failed": 2' in result.stdout) == (1, True)
    post.open()
    assert run.json("mail", "flush") == {"sent": 2, "dropped": 0, "failed": 0, "waiting": 0, "closed": 0}
    assert len(post.mails) == 2
    assert run.ok("mail", "flush") == "0 sent, 0 not needed any more, 0 failed, 0 waiting.\n"


def test_a_flush_without_a_mail_server_says_what_to_set(make_app):
    silent = Commands(make_app(SECRET_KEY=SECRET))
    assert "set GATEHOUSE_MAIL_URL" in silent.refused("mail", "flush")


def test_a_command_that_tells_somebody_by_mail_ends_after_the_mail_has_left(run, waiting, post):
    post.open()
    run.json("mail", "flush")
    run.ok("user", "list")
    assert len(post.mails) == 2


def test_a_flush_closes_users_who_never_confirmed_their_address(make_app, post):
    run = Commands(make_app(SECRET_KEY=SECRET, GATEHOUSE_MAIL_URL=post.url, GATEHOUSE_LOGIN_NAME="email"))
    run.ok("user", "list")
    with run.services.unit() as unit:
        for number in range(unconfirmed.BATCH + 1):
            users.create(unit.connection, f"user{number}", "bob@example.org", 1, must_verify=True)
    assert run.json("mail", "flush")["closed"] == unconfirmed.BATCH + 1
    assert {user["state"] for user in run.json("user", "list")} == {"closed"}
