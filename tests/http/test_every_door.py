"""What holds at every door alike: equal strength, uniform failures, nothing sent or shown to others."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
import threading

import pytest
import sqlalchemy as sa
from flask import session
from flask_login import UserMixin

import flask_gatehouse as gatehouse
from flask_gatehouse.flows import reset_password
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.identity import CLI
from tests.http.people import (
    JSON,
    PASSWORD,
    CodeFactor,
    StillClock,
    add_user,
    answer_factor,
    come_in,
    enter,
    log_in,
    reauthenticate,
    services,
)
from tests.support import ROOT
from tests.support.visitor import csrf_token, submit

DAMAGES = {
    "cut": lambda text: text[:-3],
    "changed at the end": lambda text: text[:-1] + ("A" if text[-1] != "A" else "Q"),  # the last two bits seal nothing
    "changed in the middle": lambda text: text[: len(text) // 2] + "~" + text[len(text) // 2 + 1 :],
    "another scheme": lambda text: text.replace("argon2id", "argon2x") if "argon2id" in text else f"v2.{text}",
    "empty": lambda _: "",
    "twice": lambda text: text + text,
}


class Member(UserMixin):  # type: ignore[misc]  # Flask-Login has no types
    """What a host app has of a user of its own."""

    id = 1


def pages(app, _gate):
    @app.get("/protected")
    def protected():
        return "inside"

    @app.get("/by-app")
    @gatehouse.public
    def by_app():
        return str(gatehouse.login_user(Member()))

    @app.get("/keep/<word>")
    @gatehouse.public
    def keep(word):
        session["word"] = word
        return "ok"

    @app.get("/kept")
    @gatehouse.public
    def kept():
        return str(session.get("word"))


@pytest.fixture
def guarded(build):
    """Return an app whose one user, alice, has enrolled a second factor."""
    factor = CodeFactor()
    app = build(pages, factors=[factor])
    factor.holders.add(add_user(app).id)
    return app


# --- no door is weaker than another -------------------------------------------------------------------------


def by_form(app, client):
    assert log_in(client).location == "/login/factor"


def by_program(app, client):
    fields = {"username": "alice", "password": PASSWORD, "csrf_token": csrf_token(client.get("/login").text)}
    assert client.post("/login", data=fields, headers=JSON).status_code == 202


def by_reset_link(app, client):
    link = reset_password.make_link(services(app), CLI, "alice")
    submit(client, f"/reset-password/{link}", password="my own river", confirm="my own river")
    assert log_in(client, password="my own river").location == "/login/factor"


def by_temporary_password(app, client):
    temporary = reset_password.make_temporary(services(app), CLI, "alice")
    assert isinstance(temporary, str)
    link = log_in(client, password=temporary).location
    submit(client, link, password="my own river", confirm="my own river")
    assert log_in(client, password="my own river").location == "/login/factor"


def by_the_hosts_code(app, client):
    assert client.get("/by-app").location == "/login/factor"


def by_remembering(app, client):
    log_in(client, remember="1")
    assert answer_factor(client).status_code == 303
    client.delete_cookie("gatehouse")
    log_in(client, remember="1")


@pytest.mark.parametrize(
    "door", [by_form, by_program, by_reset_link, by_temporary_password, by_the_hosts_code, by_remembering]
)
def test_v6_3_4_63b_5_1_7_every_door_owes_the_second_factor(guarded, door):
    client = guarded.test_client()
    door(guarded, client)
    assert client.get("/protected").status_code == 302
    assert client.get("/protected", headers=JSON).status_code == 401
    assert answer_factor(client).status_code == 303
    assert client.get("/protected").text == "inside"


def test_63b_5_1_7_a_remembered_session_that_has_ended_leaves_nothing_that_spares_the_factor(build):
    factor, clock = CodeFactor(), StillClock()
    app = build(pages, factors=[factor], clock=clock, GATEHOUSE_REMEMBER="30d")
    factor.holders.add(add_user(app).id)
    client = app.test_client()
    log_in(client, remember="1")
    answer_factor(client)
    clock.move(days=29)
    assert client.get("/protected").text == "inside"
    clock.move(days=2)
    assert client.get("/protected").status_code == 302
    assert log_in(client).location == "/login/factor"
    assert client.get("/protected").status_code == 302


def test_v8_4_2_an_administrators_act_needs_a_right_and_a_proof_of_the_last_minutes_wherever_it_comes_from(build):
    clock = StillClock()
    app = build(pages, clock=clock)
    root = come_in(app, "root", "admin")
    bob = add_user(app, "bob").id
    page, act = f"/admin/users/{bob}", f"/admin/users/{bob}/suspend"
    clock.move(minutes=6)
    assert submit(root, act, page=page, reason="a test").location == "/reauthenticate"
    reauthenticate(root)
    assert submit(root, act, page=page, reason="a test").status_code == 303
    carol = come_in(app, "carol")
    assert submit(carol, act, page="/account", reason="a test").status_code == 403


# --- failures are uniform -----------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", DAMAGES)
def test_v11_2_5_a_stored_digest_that_is_broken_is_a_wrong_password_and_no_more(build, damage):
    app = build(pages)
    add_user(app)
    wrong = log_in(app.test_client(), password="wrong one here")
    with services(app).unit() as unit:
        digest = unit.connection.execute(sa.select(schema.password.c.digest)).scalar_one()
        unit.connection.execute(sa.update(schema.password).values(digest=DAMAGES[damage](digest)))
    answer = log_in(app.test_client())
    assert (answer.status_code, len(answer.text)) == (401, len(wrong.text))
    assert app.test_client().get("/protected").status_code == 302
    with services(app).reading() as connection:
        newest = services(app).audit.search(connection, limit=1)[0]
    assert (newest.kind, newest.outcome) == ("login.failed", "refused")


@pytest.mark.parametrize("damage", DAMAGES)
def test_v11_2_5_broken_seals_say_no_more_than_missing_ones(build, damage):
    app = build(pages)
    add_user(app)
    client = app.test_client()
    client.get("/keep/kept")
    assert client.get("/kept").text == "kept"
    client.set_cookie("gatehouse-guest", DAMAGES[damage](client.get_cookie("gatehouse-guest").value))
    assert client.get("/kept").text == "None"
    inside = enter(app)
    token = DAMAGES[damage](csrf_token(inside.get("/account").text))
    broken = inside.post("/logout", data={"csrf_token": token}, headers=JSON)
    made_up = inside.post("/logout", data={"csrf_token": "made.up.token"}, headers=JSON)
    assert (broken.status_code, made_up.status_code) == (403, 403)
    if token:
        assert broken.get_json() == made_up.get_json()
    link = reset_password.make_link(services(app), CLI, "alice")
    answers = [client.get(f"/reset-password/{name}") for name in ("A" * 43, DAMAGES[damage](link) or "B")]
    assert [answer.status_code for answer in answers] == [410, 410]
    assert len({re.sub(r'nonce="[^"]*"', "", answer.text) for answer in answers}) == 1


# --- what is shown and sent ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/protected", "/account", "/admin", "/login", "/reset-password/gone"])
def test_v3_2_1_what_programs_get_cannot_be_rendered_as_a_page(build, path):
    person = come_in(build(pages))
    answer = person.get(path, headers=JSON) if path != "/login" else person.post(path, headers=JSON)
    if path in {"/protected", "/account"}:
        answer = person.application.test_client().get(path, headers=JSON)
    assert answer.content_type == "application/problem+json"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "sandbox" in answer.headers["Content-Security-Policy"]


def test_v13_4_5_nothing_for_documentation_or_monitoring_is_there(build):
    root = come_in(build(pages), "root", "admin")
    paths = ("/api/v1/openapi.json", "/api/v1", "/metrics", "/healthz", "/health", "/debug", "/console", "/docs")
    for client in (root, root.application.test_client()):
        assert {path: client.get(path).status_code for path in paths} == dict.fromkeys(paths, 404)


def test_v12_2_1_63b_2_1_2_2_plain_http_off_loopback_is_not_served(build, tmp_path):
    app = build(pages, TESTING=False, GATEHOUSE_ORIGINS="http://app.example")
    answer = app.test_client().get("/login", base_url="http://app.example")
    assert (answer.status_code, answer.headers.getlist("Set-Cookie")) == (500, [])
    assert "csrf_token" not in answer.text


def test_63b_3_1_1_2_11_nothing_asks_a_question_whose_answer_others_may_know(build):
    app = build(pages)
    words = {"question", "hint", "answer", "mother", "maiden", "pet", "birth"}
    columns = {column.name for table in schema.metadata.tables.values() for column in table.columns}
    assert not {name for name in columns if words & set(name.split("_"))}
    assert not [rule.rule for rule in app.url_map.iter_rules() if words & set(rule.rule.strip("/").split("/"))]
    client = app.test_client()
    for path in ("/register", "/login"):
        assert not words & set(client.get(path).text.replace('name="', " ").replace('"', " ").split())


STORY = """
    import os, sys, threading
    reached = []
    def watch(event, arguments):
        if event in {"socket.connect", "socket.sendto", "subprocess.Popen"} or event.startswith("socket.get"):
            reached.append((event, arguments))
    sys.addaudithook(watch)
    from flask_gatehouse.demo import create_app
    from tests.support.visitor import submit
    app = create_app({"TESTING": True, "GATEHOUSE_DATABASE_URL": "sqlite:///story.sqlite3", "SECRET_KEY": "s" * 40})
    client = app.test_client()
    word = "quiet river stone"
    for name in ("alice", "bobby"):
        assert submit(client, "/register", username=name, password=word, confirm=word, email=f"{name}@example.org")
    for path in ("/protected", "/admin", "/admin/users/2", "/account", "/account/security", "/account/sessions"):
        submit(client, "/login", username="alice", password=word) if path == "/protected" else None
        assert client.get(path).status_code == 200, path
    submit(client, "/admin/users/2/suspend", page="/admin/users/2", reason="a test")
    submit(client, "/account/password", current=word, password="another river", confirm="another river")
    submit(client, "/logout", page="/account")
    import socket
    assert not reached, reached
    try:
        socket.create_connection(("127.0.0.1", 9), timeout=0.1)
    except OSError:
        pass
    assert reached  # the watch itself works
"""


def test_v14_2_3_a_whole_story_reaches_no_other_machine(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(STORY)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# --- nobody starves -----------------------------------------------------------------------------------------


def test_v15_4_4_people_inside_are_served_while_fifty_logins_hash(build, tmp_path):
    app = build(pages, GATEHOUSE_ARGON2="19456,20,1", GATEHOUSE_THROTTLE="off")
    inside = come_in(app)
    forms = [app.test_client() for _ in range(50)]
    tokens = [csrf_token(client.get("/login").text) for client in forms]
    ended, started = [], threading.Barrier(51)

    def attempt(client, token):
        started.wait(30)
        fields = {"username": "alice", "password": PASSWORD, "csrf_token": token}
        ended.append(client.post("/login", data=fields).status_code)

    threads = [threading.Thread(target=attempt, args=pair) for pair in zip(forms, tokens, strict=True)]
    for thread in threads:
        thread.start()
    started.wait(30)
    served_meanwhile = 0
    while ended.count(303) == 0 and any(thread.is_alive() for thread in threads):
        assert inside.get("/protected").text == "inside"
        served_meanwhile += 1
    for thread in threads:
        thread.join(60)
    assert served_meanwhile > 1
    assert set(ended) <= {303, 503}
    assert 303 in ended
