"""Requests no browser sends, byte for byte over a socket to a real server: the gate stands, and nothing falls over."""

from __future__ import annotations

import socket
from contextlib import suppress

import pytest

from tests.conftest import Serve
from tests.support.databases import sqlite_copy
from tests.support.processes import ServerProcess
from tests.support.visitor import Visitor

PASSWORD = "correct horse battery"


@pytest.fixture
def server(serve: Serve, run_folder, tmp_path) -> ServerProcess:
    """Return a server of two processes that trusts no proxy."""
    return serve(config={"GATEHOUSE_DATABASE_URL": sqlite_copy(run_folder, tmp_path / "raw.sqlite3")})


@pytest.fixture
def alice(server) -> Visitor:
    """Return somebody who has logged in."""
    visitor = Visitor(server.url)
    assert visitor.register("alice", PASSWORD).status == 303
    assert visitor.log_in("alice", PASSWORD).status == 303
    return visitor


def raw(server: ServerProcess, request: bytes) -> bytes:
    """Send bytes and return all that comes back."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(request)
        found = b""
        with suppress(OSError):  # the server may have answered and hung up before we are done
            connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):
            while part := connection.recv(65536):
                found += part
    return found


def ask(
    server: ServerProcess, target: str, *lines: str, method: str = "GET", host: str = "", version: str = "1.1"
) -> str:
    """Send a request with header lines exactly as given."""
    head = [
        f"{method} {target} HTTP/{version}",
        *([] if host == "none" else [f"Host: {host or f'127.0.0.1:{server.port}'}"]),
    ]
    text = "\r\n".join([*head, "Connection: close", *lines, "", ""])
    return raw(server, text.encode("latin-1")).decode("latin-1")


def status(answer: str) -> int:
    """Return the status of an answer."""
    assert answer.startswith("HTTP/1."), answer
    return int(answer.split(" ", 2)[1])


def test_v4_1_4_v13_4_4_no_verb_reaches_a_view_that_did_not_name_it(server, alice):
    cookie = f"Cookie: gatehouse={alice.cookies['gatehouse']}"
    agent = f"User-Agent: {alice.user_agent}"
    assert status(ask(server, "/protected", cookie, agent)) == 200
    for method in ("TRACE", "TRACK", "PUT", "DELETE", "PROPFIND", "BREW", "MOVE"):
        answer = ask(server, "/protected", cookie, agent, "Secret: echo", method=method)
        assert status(answer) in {405, 501}, method
        assert "echo" not in answer
    assert status(ask(server, "/logout", cookie, agent, "X-HTTP-Method-Override: POST")) == 405
    assert alice.get("/protected").status == 200


def test_rule_22_a_foreign_host_is_refused_however_it_is_said(server):
    for host in ("evil.example", "127.0.0.1.evil.example", "evil.example:80", "127.0.0.1@evil.example"):
        answer = ask(server, "/protected", host=host)
        assert status(answer) == 400
        assert "location:" not in answer.lower()
    assert status(ask(server, "http://evil.example/protected", host="evil.example")) == 400
    for answer in (
        ask(server, "/protected", "Host: evil.example"),  # a second Host
        ask(server, "http://evil.example/protected"),
        ask(server, "/protected", "X-Forwarded-Host: evil.example", "Forwarded: host=evil.example"),
        ask(server, "/protected", host="none", version="1.0"),
        ask(server, "/protected", host=" "),
    ):
        assert status(answer) in {302, 400, 404}
        assert "location: http" not in answer.lower()


def test_rule_17_a_cookie_split_over_two_headers_or_sent_twice_is_none(server, alice):
    secret, agent = alice.cookies["gatehouse"], f"User-Agent: {alice.user_agent}"
    for lines in (
        (f"Cookie: gatehouse={secret}; gatehouse={secret}",),
        (f"Cookie: gatehouse={secret}", f"Cookie: gatehouse={secret}"),
        ("Cookie: gatehouse=", f"Cookie: gatehouse={secret}"),
        (f"Cookie: gatehouse={secret[:20]}", f"Cookie: {secret[20:]}"),
        (f"Cookie: \xa0gatehouse={secret}",),
        (f"Cookie: \x85gatehouse={secret}",),
    ):
        assert status(ask(server, "/protected", agent, *lines)) in {302, 400}, lines
    assert status(ask(server, "/protected", agent, f"Cookie: a=1; gatehouse={secret}; b=2")) == 200


def test_rule_20_a_bearer_beside_a_basic_header_does_not_bring_the_cookie_back(server, alice):
    cookie, agent = f"Cookie: gatehouse={alice.cookies['gatehouse']}", f"User-Agent: {alice.user_agent}"
    assert status(ask(server, "/protected", cookie, agent, "Authorization: Basic YTpi")) == 200
    assert status(ask(server, "/protected", cookie, agent, "Authorization: Bearer x")) == 401
    assert status(ask(server, "/protected", cookie, agent, "Authorization: Bearer x", "Authorization: Basic y")) in {
        400,
        401,
    }


def test_v4_1_3_underscores_do_not_smuggle_a_header(server, alice):
    cookie, agent = f"Cookie: gatehouse={alice.cookies['gatehouse']}", f"User-Agent: {alice.user_agent}"
    token = "X_CSRFToken: x"
    for line in (
        "X_Forwarded_For: 203.0.113.9",
        "Remote_User: root",
        "REMOTE-USER: root",
        token,
        "Wsgi.url_scheme: https",
    ):
        assert status(ask(server, "/protected", cookie, agent, line)) in {200, 400}
        assert status(ask(server, "/for-admins", cookie, agent, line)) in {403, 400}
        assert status(ask(server, "/protected", line)) in {302, 400}


HOST = b"Host: 127.0.0.1\r\n"
BROKEN = [
    b"GET /protected HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    b"POST /login HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\naaaaaa",
    b"POST /login HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /login HTTP/1.1\r\n" + HOST + b"Content-Length: -5\r\n\r\n",
    b"POST /login HTTP/1.1\r\n" + HOST + b"Content-Length: 99999\r\n\r\nshort",
    b"GET /protected\r\n\r\n",
    b"GET  /protected HTTP/1.1\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET /\x00protected HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET /protected HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\nCookie: a\r\n\r\n",
    b"GET /protected HTTP/9.9\r\n" + HOST + b"\r\n",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET / HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 2000 + b"\r\n",
]


def test_v2_2_1_broken_requests_open_nothing_and_break_nothing(server):
    for request in BROKEN:
        answer = raw(server, request)
        assert b"inside" not in answer, request[:80]
        assert not answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 500")), request[:80]
        assert Visitor(server.url).get("/").text == "open"
