"""The thin layer in front of Flask: what it turns away, what it lets through, what it costs (rules 4, 6 and 7)."""

from __future__ import annotations

import gc
import io
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from flask import current_app
from werkzeug.routing import BaseConverter
from werkzeug.test import EnvironBuilder

import flask_gatehouse as gatehouse
from flask_gatehouse.http.guard import RULES
from tests.http.people import JSON, PASSWORD, StillClock, add_user, cookie, enter, entries, log_in, services
from tests.support.flasks import SlowLoader
from tests.support.statements import sent_to
from tests.support.visitor import csrf_token, submit

FLOODER, OTHER = {"REMOTE_ADDR": "203.0.113.9"}, {"REMOTE_ADDR": "198.51.100.7"}


def pages(app, _gate):
    app.get("/protected")(lambda: "inside")
    reached = app.config["REACHED"] = []
    app.before_request(lambda: reached.append(1))
    app.post("/loginx", endpoint="loginx")(lambda: "hook")


@pytest.fixture
def clock():
    return StillClock()


@pytest.fixture
def app(build, clock):
    app = build(pages, clock=clock, GATEHOUSE_ARGON2="8,1,1")
    add_user(app)
    return app


def guess(client, name, **environ):
    fields = {"username": name, "password": "wrong one here", "csrf_token": client.token}
    return client.post("/login", data=fields, environ_overrides=environ)


@pytest.fixture
def stranger(app):
    client = app.test_client()
    client.token = csrf_token(client.get("/login").text)
    return client


@pytest.fixture
def flooded(app, stranger):
    """Return an app to whose login page an address has sent its twenty guesses and one more."""
    for number in range(21):
        guess(stranger, f"nobody{number}", **FLOODER)
    app.config["REACHED"].clear()
    return app


def test_rule_06_a_spent_address_is_refused_before_flask_and_without_the_database(flooded, stranger):
    with sent_to(services(flooded).database) as asked:
        answer = guess(stranger, "alice", **FLOODER)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "600")
    assert "Nothing was checked and nothing was changed" in answer.text
    assert (flooded.config["REACHED"], asked) == ([], [])
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "script-src 'nonce-'" in answer.headers["Content-Security-Policy"]
    told = stranger.post("/login", headers=JSON, environ_overrides=FLOODER)
    assert (told.status_code, told.content_type) == (429, "application/problem+json")
    assert int(told.headers["Retry-After"]) == 600


def test_rule_06_the_page_of_the_layer_is_compiled_once_however_many_are_refused_at_first(flooded):
    loader = flooded.jinja_env.loader = SlowLoader(flooded.jinja_env.loader)

    def refused(_number):
        return flooded.test_client().post("/login", environ_overrides=FLOODER).status_code

    with ThreadPoolExecutor(8) as many:
        assert set(many.map(refused, range(8))) == {429}
    assert loader.loaded == ["gatehouse/turned_away.html"] * 2  # for itself, and to see what else it needs


def test_rule_06_the_body_is_not_read(flooded, stranger):
    class Unread(io.BytesIO):
        def read(self, *_args):
            raise AssertionError

    answer = stranger.post("/login", input_stream=Unread(), content_length=10, environ_overrides=FLOODER)
    assert answer.status_code == 429


def test_rule_04_others_are_let_through_while_one_address_floods(flooded, stranger):
    assert guess(stranger, "alice", **OTHER).status_code == 401
    other = flooded.test_client()
    fields = {"username": "alice", "password": PASSWORD, "csrf_token": csrf_token(other.get("/login").text)}
    assert other.post("/login", data=fields, environ_overrides=OTHER).status_code == 303


def test_rule_04_a_known_browser_gets_in_from_the_flooding_address(app, stranger):
    own = enter(app)
    own.delete_cookie("gatehouse")
    token = csrf_token(own.get("/login").text)
    for number in range(25):
        guess(stranger, f"nobody{number}", **FLOODER)
    fields = {"username": "alice", "password": PASSWORD, "csrf_token": token}
    assert own.post("/login", data=fields, environ_overrides=FLOODER).status_code == 303


def test_rule_05_the_cookie_is_sent_at_the_first_login_and_reused(app):
    own = app.test_client()
    answer = log_in(own)
    (line,) = [line for line in answer.headers.getlist("Set-Cookie") if line.startswith("gatehouse-device=")]
    assert {"HttpOnly", "SameSite=Lax", "Path=/", f"Max-Age={400 * 86400}"} <= set(line.split("; "))
    first = cookie(own, "gatehouse-device")
    assert f"gatehouse-device={first}; " in " ".join(log_in(own).headers.getlist("Set-Cookie"))  # for 400 days more
    submit(own, "/logout", page="/account")
    assert cookie(own, "gatehouse-device") == first


def test_rule_06_a_made_up_or_overused_cookie_spares_nothing(flooded, stranger):
    stranger.set_cookie("gatehouse-device", "x" * 43 + "." + "0" * 64)
    assert guess(stranger, "alice", **FLOODER).status_code == 429
    own = enter(flooded)
    own.delete_cookie("gatehouse")
    token = csrf_token(own.get("/login").text)
    flooded.config["REACHED"].clear()
    fields = {"username": "somebody", "password": "wrong one here", "csrf_token": token}
    found = {own.post("/login", data=fields, environ_overrides=FLOODER).status_code for _ in range(100)}
    assert found == {429}
    assert len(flooded.config["REACHED"]) <= 60


def test_rule_07_without_a_place_to_hash_strangers_are_turned_away_uncharged_and_a_known_browser_is_not(app, stranger):
    own = enter(app)
    own.delete_cookie("gatehouse")
    token = csrf_token(own.get("/login").text)
    app.config["REACHED"].clear()
    with ExitStack() as places:
        for _ in range(3):
            places.enter_context(services(app).hasher.place())
        answer = guess(stranger, "alice", **OTHER)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert app.config["REACHED"] == []
        fields = {"username": "alice", "password": PASSWORD, "csrf_token": token}
        assert own.post("/login", data=fields).status_code == 303
    assert guess(stranger, "alice", **OTHER).status_code == 401


@pytest.mark.parametrize(
    "path",
    [
        *("/login", "/register", "/reset-password/x", "/reauthenticate", "/account/password"),
        *("/forgot-password", "/verify-email/x"),
    ],
)
def test_rule_06_every_endpoint_that_hashes_is_judged_by_the_url_map(app, path):
    adapter = app.url_map.bind("localhost")
    assert adapter.match(path, method="POST")[0] in RULES
    rule = RULES[adapter.match(path, method="POST")[0]]
    held, now = services(app), services(app).clock.now()
    assert app.test_client().get("/login").status_code == 200  # an app is made ready by its first request
    for _ in range(rule.per_address + 1):
        charge = held.throttle.spend(rule, "203.0.113.9", now)
        with held.unit() as unit:
            held.throttle.judge(unit.connection, charge, now)
    assert app.test_client().post(path, environ_overrides=FLOODER).status_code == 429
    assert app.test_client().post(path, environ_overrides=OTHER).status_code != 429


def test_rule_06_anything_else_is_let_through(flooded, stranger):
    assert stranger.get("/login", environ_overrides=FLOODER).status_code == 200
    assert stranger.post("/loginx", environ_overrides=FLOODER).status_code == 302
    assert stranger.post("/no-such-page", environ_overrides=FLOODER).status_code == 404
    assert stranger.post("/login", base_url="http://evil.example", environ_overrides=FLOODER).status_code == 400


def test_rule_03_when_the_window_has_ended_the_address_may_try_again(flooded, stranger, clock):
    clock.move(minutes=10)
    assert guess(stranger, "alice", **FLOODER).status_code == 401


def test_rule_28_what_was_turned_away_is_told_in_the_summary(flooded, stranger, clock):
    for _ in range(30):
        guess(stranger, "alice", **FLOODER)
    clock.move(minutes=11)
    for _ in range(3):
        enter(flooded)
    (told,) = [entry for entry in entries(flooded, "failures.counted") if entry.address == "203.0.113.9"]
    assert '"number":30' in told.detail


def test_v3_4_1_a_page_of_the_layer_can_be_replaced(flooded, stranger, tmp_path):
    folder = tmp_path / "templates" / "gatehouse"
    folder.mkdir(parents=True)
    (folder / "turned_away.html").write_text("ours, {{ seconds }}", encoding="utf-8")
    flooded.template_folder = str(tmp_path / "templates")
    flooded.jinja_loader.searchpath.append(str(tmp_path / "templates"))
    assert guess(stranger, "alice", **FLOODER).text == "ours, 600"


def test_rule_06_the_hosts_own_converters_are_not_run_by_the_layer(build):
    class Item(BaseConverter):
        def to_python(self, value):
            return current_app.name + value

    def setup(app, _gate):
        app.url_map.converters["item"] = Item
        app.post("/item/<item:one>")(gatehouse.public(lambda one: one))

    app = build(setup, WTF_CSRF_ENABLED=False)
    assert app.test_client().post("/item/x").text == f"{app.name}x"


def test_rule_06_a_method_in_small_letters_is_judged_as_what_flask_takes_it_for(flooded, stranger):
    flooded.config["REACHED"].clear()
    environ = EnvironBuilder(path="/login", method="POST", environ_overrides=FLOODER).get_environ()
    status = []
    body = flooded.wsgi_app(environ | {"REQUEST_METHOD": "post"}, lambda line, *_: status.append(line))
    assert status[0].startswith("429")
    assert b"".join(body)
    assert flooded.config["REACHED"] == []


def test_rule_06_who_goes_on_in_a_delay_is_turned_away_before_flask_for_a_second(app, stranger, clock):
    for _ in range(8):
        guess(stranger, "alice", **FLOODER)
    app.config["REACHED"].clear()
    with sent_to(services(app).database) as asked:
        answer = guess(stranger, "alice", **FLOODER)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
    assert (app.config["REACHED"], asked) == ([], [])
    clock.move(seconds=1)
    assert guess(stranger, "alice", **FLOODER).headers["Retry-After"] == "29"


def test_rule_06_what_the_layer_refuses_leaves_nothing_to_search_for(flooded):
    def refuse():
        environ = EnvironBuilder(path="/login", method="POST", environ_overrides=FLOODER).get_environ()
        status = []
        b"".join(flooded.wsgi_app(environ, lambda line, *_: status.append(line)))
        assert status[0].startswith("429")

    refuse()
    gc.collect()
    gc.disable()
    try:
        for _ in range(50):
            refuse()
        assert gc.collect() < 50
    finally:
        gc.enable()
