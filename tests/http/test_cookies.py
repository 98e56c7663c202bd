"""Cookies: names, flags and forms, when they are sent, how they are read (rules 13, 17)."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

import pytest
from flask import session

from flask_gatehouse import fresh_login_required, public
from tests.http.people import (
    CODE,
    GUEST,
    PASSWORD,
    PENDING,
    SESSION,
    CodeFactor,
    StillClock,
    add_user,
    answer_factor,
    come_in,
    cookie,
    grant,
    is_inside,
    log_in,
    log_out,
    set_cookies,
    suspend,
    token_of,
)
from tests.support.visitor import csrf_token

SECURE = "https://app.example"
FLAGS = {"Secure", "HttpOnly", "SameSite=Lax", "Path=/"}


def pages(app, gate):
    app.get("/protected", endpoint="protected")(lambda: "inside")
    app.get("/open", endpoint="open")(public(lambda: "open"))

    @app.get("/keep/<int:size>")
    @public
    def keep(size):
        session["text"] = base64.b64encode(hashlib.shake_128(b"").digest(size)).decode()  # does not compress
        return "kept"


@pytest.fixture
def served(build):
    """Return an app served over TLS only."""
    factor = CodeFactor()
    app = build(pages, factors=[factor], GATEHOUSE_ORIGINS=SECURE, GATEHOUSE_REMEMBER="7d")
    app.extensions["factor"] = factor
    return app


def over_tls(client, method, path, **options):
    options.setdefault("headers", {"Origin": SECURE})
    return client.open(path, method=method, base_url=SECURE, **options)


def secure_token(client, page="/login"):
    return csrf_token(over_tls(client, "GET", page).text)


def secure_login(client, name="alice", **fields):
    data = {"csrf_token": secure_token(client), "username": name, "password": PASSWORD, **fields}
    return over_tls(client, "POST", "/login", data=data)


def secure_cookie(client):
    found = client.get_cookie("__Host-gatehouse", "app.example")
    assert found is not None
    return found.value


def attributes(line):
    """Return the attributes of a `Set-Cookie` line, the expiry of a deletion aside."""
    parts = {part.strip() for part in line.split(";")[1:]}
    return {part for part in parts if not part.startswith(("Expires=", "Max-Age="))}


def crawl(app):
    """Return every `Set-Cookie` line of a life: guest, pending, session, step-up, logout."""
    client = app.test_client()
    lines = []
    add_user(app)
    app.extensions["factor"].holders.add(add_user(app, "bob").id)
    for answer in (
        over_tls(client, "GET", "/keep/9"),
        secure_login(client, "bob"),
        over_tls(client, "POST", "/login/factor", data={"csrf_token": secure_token(client), "code": CODE}),
        over_tls(client, "POST", "/logout", data={"csrf_token": secure_token(client)}),
        secure_login(client, "alice", remember="y"),
        over_tls(client, "POST", "/reauthenticate", data={"csrf_token": secure_token(client), "password": PASSWORD}),
    ):
        assert answer.status_code in {200, 303}, answer.text
        lines += answer.headers.getlist("Set-Cookie")
    return lines


# --- names and flags ----------------------------------------------------------------------------------------


def test_v3_3_1_v3_3_3_v3_3_4_63b_5_1_1_1_63b_5_1_1_2_every_cookie_over_tls_is_of_the_host_alone(served):
    lines = crawl(served)
    names = {line.partition("=")[0] for line in lines}
    assert names == {f"__Host-gatehouse{part}" for part in ("", "-guest", "-pending", "-device")}
    assert [line for line in lines if attributes(line) != FLAGS] == []


def test_on_plain_http_loopback_cookies_have_neither_prefix_nor_secure(build):
    app = build(pages, GATEHOUSE_ORIGINS="http://127.0.0.1:8000")
    add_user(app)
    client = app.test_client()
    base = {"base_url": "http://127.0.0.1:8000"}
    token = csrf_token(client.get("/login", **base).text)
    answer = client.post("/login", data={"csrf_token": token, "username": "alice", "password": PASSWORD}, **base)
    lines = set_cookies(answer)
    assert attributes(lines[SESSION]) == FLAGS - {"Secure"}


def test_the_form_of_the_cookie_follows_the_origin_that_was_asked(build):
    app = build(pages, GATEHOUSE_ORIGINS=f"{SECURE}, http://localhost:5000")
    add_user(app)
    client = app.test_client()
    assert set(set_cookies(over_tls(client, "GET", "/keep/9"))) == {"__Host-gatehouse-guest"}
    assert set(set_cookies(client.get("/keep/9", base_url="http://localhost:5000"))) == {GUEST}


def test_v3_3_1_a_cookie_without_the_prefix_means_nothing_over_tls(served):
    add_user(served)
    client = served.test_client()
    secure_login(client)
    secret = secure_cookie(client)
    for name, is_in in (("gatehouse", False), ("__Secure-gatehouse", False), ("__Host-gatehouse", True)):
        thief = served.test_client(use_cookies=False)
        answer = over_tls(thief, "GET", "/protected", headers={"Cookie": f"{name}={secret}"})
        assert (answer.status_code == 200) is is_in


def test_63b_5_1_5_a_tls_session_is_worth_nothing_on_plain_http(build):
    app = build(pages, GATEHOUSE_ORIGINS=f"{SECURE}, http://localhost:5000")
    add_user(app)
    client = app.test_client()
    secure_login(client)
    secret = secure_cookie(client)
    answer = app.test_client(use_cookies=False).get(
        "/protected", base_url="http://localhost:5000", headers={"Cookie": f"__Host-gatehouse={secret}"}
    )
    assert answer.status_code == 302


WEAKER = {
    "SESSION_COOKIE_NAME": "mine",
    "SESSION_COOKIE_SECURE": False,
    "SESSION_COOKIE_PATH": "/elsewhere",
    "SESSION_COOKIE_PARTITIONED": True,
    "SESSION_COOKIE_SAMESITE": None,
    "SESSION_REFRESH_EACH_REQUEST": True,
    "PERMANENT_SESSION_LIFETIME": 1,
}


def test_v3_3_2_flasks_own_cookie_settings_are_overruled(build):
    factor = CodeFactor()
    app = build(pages, factors=[factor], GATEHOUSE_ORIGINS=SECURE, GATEHOUSE_REMEMBER="7d", **WEAKER)
    app.extensions["factor"] = factor
    lines = crawl(app)
    assert {line.partition("=")[0] for line in lines} >= {"__Host-gatehouse", "__Host-gatehouse-guest"}
    assert [line for line in lines if attributes(line) != FLAGS] == []


@pytest.mark.parametrize(
    "config",
    [
        {"SESSION_COOKIE_HTTPONLY": False},
        {"SESSION_COOKIE_DOMAIN": ".example"},
        {"SESSION_COOKIE_SAMESITE": "None"},
    ],
    ids=lambda config: next(iter(config)),
)
def test_v3_3_2_settings_that_would_weaken_the_cookie_refuse_to_serve(build, config, caplog):
    app = build(pages, **config)
    assert app.test_client().get("/open").status_code == 500
    assert f"refusing to serve: {next(iter(config))}" in caplog.text


# --- when they are sent -------------------------------------------------------------------------------------


def test_no_cookie_is_set_on_a_steady_request(build):
    app = build(pages)
    alice, guest = come_in(app), app.test_client()
    guest.get("/login")
    for client in (alice, guest):
        for path in ("/protected", "/open", "/login", "/account", "/nowhere"):
            assert [client.get(path).headers.getlist("Set-Cookie") for _ in range(2)] == [[], []]


def test_no_cookie_is_set_for_a_guest_who_keeps_nothing(build):
    guest = build(pages).test_client()
    for path in ("/open", "/protected", "/nowhere"):
        assert set_cookies(guest.get(path)) == {}


def test_63b_5_1_8_the_session_cookie_ends_with_the_browser_unless_asked_to_be_remembered(served):
    add_user(served)
    plain, kept = served.test_client(), served.test_client()
    assert "Max-Age" not in set_cookies(secure_login(plain))["__Host-gatehouse"]
    line = set_cookies(secure_login(kept, remember="y"))["__Host-gatehouse"]
    assert f"Max-Age={7 * 86400}" in line


def test_without_the_setting_nobody_is_remembered(build):
    app = build(pages)
    add_user(app)
    client = app.test_client()
    assert "Max-Age" not in set_cookies(log_in(client, remember="y"))[SESSION]
    assert 'name="remember"' not in client.get("/login").text


def test_63b_5_1_1_4_the_server_ends_a_session_whatever_the_cookie_says(build):
    clock = StillClock()
    app = build(pages, clock=clock)
    alice = come_in(app)
    clock.move(minutes=61)
    assert cookie(alice)
    assert not is_inside(alice)


# --- what they hold -----------------------------------------------------------------------------------------


def test_v3_3_5_cookies_stay_small_whatever_a_user_holds(build):
    def setup(app, gate):
        pages(app, gate)
        for number in range(100):
            gate.role(f"role-{number}-{'x' * 50}", [])

    app = build(setup)
    name = "a" * 80
    add_user(app, name)
    for number in range(100):
        grant(app, name, f"role-{number}-{'x' * 50}")
    client = app.test_client()
    lines = log_in(client, name).headers.getlist("Set-Cookie")
    assert max(len(line.partition(";")[0]) for line in lines) < 200
    assert len(client.get("/account").text) > 5000


def test_v3_3_5_a_guests_session_beyond_a_cookies_size_is_not_stored_and_said_so(build, caplog):
    guest = build(pages).test_client()
    guest.get("/keep/1500")
    stored = cookie(guest, GUEST)
    assert 1500 < len(stored) < 4096
    answer = guest.get("/keep/5000")
    assert answer.status_code == 200
    assert set_cookies(answer) == {}
    assert cookie(guest, GUEST) == stored
    assert "too large for its cookie" in caplog.text


def test_63b_5_1_1_3_the_session_cookie_says_nothing(build):
    client = come_in(build(pages), "alice.in.wonderland")
    value = cookie(client)
    decoded = base64.urlsafe_b64decode(value + "=")
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", value)
    assert len(decoded) == 32
    with pytest.raises((UnicodeDecodeError, json.JSONDecodeError)):
        json.loads(decoded)


def test_v3_3_4_the_session_id_is_nowhere_but_in_its_cookie(build):
    app = build(pages)
    client = app.test_client()
    add_user(app, "root", "admin")
    answer = log_in(client, "root")
    secret = cookie(client)
    assert secret not in answer.text
    assert [name for name, value in answer.headers if secret in value] == ["Set-Cookie"]
    for path in (
        "/account",
        "/account/sessions",
        "/account/activity",
        "/account/password",
        "/account/security",
        "/admin",
        "/admin/users/1",
    ):
        shown = client.get(path)
        assert shown.status_code == 200
        assert secret not in f"{shown.headers}{shown.text}"


def test_v7_2_1_a_guests_cookie_that_was_changed_or_signed_by_another_key_is_none(build):
    app = build(pages)
    guest = app.test_client()
    guest.get("/keep/9")
    value = cookie(guest, GUEST)
    body, dot, rest = value.partition(".")
    for changed in (f"{body[:-1]}A{dot}{rest}", value[:-1], f"{value}x", body, "", ".", "..", "a.b.c"):
        forger = app.test_client()
        forger.set_cookie(GUEST, changed)
        with forger.session_transaction() as found:
            assert "text" not in found
    stranger = build(pages, SECRET_KEY="another secret of the tests, just as long").test_client()
    stranger.set_cookie(GUEST, value)
    with stranger.session_transaction() as found:
        assert "text" not in found


def test_a_guests_cookie_survives_the_rotation_of_the_key_through_fallbacks(build):
    guest = build(pages).test_client()
    guest.get("/keep/9")
    old = build(pages).config["SECRET_KEY"]
    rotated = build(pages, SECRET_KEY="the next secret of the tests, just as long", SECRET_KEY_FALLBACKS=[old])
    later = rotated.test_client()
    later.set_cookie(GUEST, cookie(guest, GUEST))
    with later.session_transaction() as found:
        assert "text" in found


# --- how they are read (rule 17) ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header, is_in",
    [
        ("gatehouse={}", True),
        ("a=1; gatehouse={}; b=2", True),
        ("gatehouse={};", True),
        ("gatehouse={}; gatehouse={}", False),
        ("gatehouse={}; gatehouse=", False),
        ("gatehouse=; gatehouse={}", False),
        ("gatehouse={}; gatehouse=other", False),
        ("Gatehouse={}", False),
        ("__Host-gatehouse={}", False),
        ("gatehouse ={}", False),
        ('gatehouse="{}"', False),
        ("gatehouse={}x", False),
        ("xgatehouse={}", False),
        ("gatehouse-guest={}", False),
        ("\xa0gatehouse={}", False),
        ("\x85gatehouse={}", False),
        ("\x1cgatehouse={}", False),
        ("\x0bgatehouse={}", False),
        ("gatehouse=\xa0{}", False),
        ("gatehouse={}\x85", False),
        ("$Version=1; gatehouse={}", True),
        ("a={}, gatehouse={}", False),
    ],
)
def test_rule_17_v15_3_7_the_cookie_is_known_by_its_exact_name_and_counts_once(build, header, is_in):
    app = build(pages)
    secret = cookie(come_in(app))
    answer = app.test_client(use_cookies=False).get(
        "/protected", environ_overrides={"HTTP_COOKIE": header.replace("{}", secret)}
    )
    assert answer.status_code == (200 if is_in else 302)


@pytest.mark.parametrize("name", [GUEST, PENDING])
def test_rule_17_duplicates_of_the_other_cookies_count_as_none_too(build, name):
    factor = CodeFactor()
    app = build(pages, factors=[factor])
    factor.holders.add(add_user(app).id)
    client = app.test_client()
    log_in(client)
    token = token_of(client)
    values = {found: cookie(client, found) for found in (GUEST, PENDING)}
    header = "; ".join(f"{found}={value}" for found, value in values.items())
    stranger = app.test_client(use_cookies=False)
    data = {"csrf_token": token, "code": CODE}
    doubled = stranger.post("/login/factor", data=data, headers={"Cookie": f"{header}; {name}={values[name]}"})
    assert doubled.status_code == (403 if name == GUEST else 410)
    assert stranger.post("/login/factor", data=data, headers={"Cookie": header}).status_code == 303


def test_rule_17_strong_protection_refuses_another_browser_and_keeps_the_row(build):
    app = build(pages)
    alice = come_in(app)
    assert not is_inside(alice, headers={"User-Agent": "Mozilla/5.0 Other"})
    assert not is_inside(alice, headers={"User-Agent": ""})
    assert is_inside(alice)
    agent = alice.environ_base["HTTP_USER_AGENT"]
    assert is_inside(alice, headers={"User-Agent": re.sub(r"[\d.]+", "99.1", agent)})


def test_rule_17_strong_is_no_excuse_for_another_check(build):
    app = build(pages)
    alice = come_in(app)
    suspend(app, "alice")
    assert not is_inside(alice)


def test_rule_17_basic_protection_takes_freshness_away_and_none_takes_nothing(build):
    def setup(app, gate):
        pages(app, gate)
        app.get("/fresh", endpoint="fresh")(fresh_login_required(lambda: "fresh"))

    other: dict[str, Any] = {"headers": {"User-Agent": "Mozilla/5.0 Other"}}
    for protection, is_fresh in (("basic", False), ("none", True)):
        app = build(setup, GATEHOUSE_SESSION_PROTECTION=protection)
        name = f"user.{protection}"
        client = come_in(app, name)
        assert is_inside(client, **other)
        assert is_inside(client, "/fresh", **other) is is_fresh
        assert is_inside(client, "/fresh")


def test_the_address_is_never_pinned(build):
    alice = come_in(build(pages))
    assert is_inside(alice, environ_overrides={"REMOTE_ADDR": "203.0.113.9"})


def test_answer_factor_and_log_out_leave_no_cookie_behind_but_that_of_the_browser(build):
    factor = CodeFactor()
    app = build(pages, factors=[factor])
    factor.holders.add(add_user(app).id)
    client = app.test_client()
    log_in(client)
    answer_factor(client)
    log_out(client)
    client.get("/login")
    assert client._cookies is not None
    assert {found.key for found in client._cookies.values()} == {GUEST, "gatehouse-device"}
