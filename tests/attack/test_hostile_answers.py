"""Answers of passkeys that no browser sends: every value of JSON and CBOR in every place, and none is a fault."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import cbor2
import pytest
from flask.testing import FlaskClient

from flask_gatehouse.domain.factors.passkey import ANSWER_MAX
from tests.http.test_pages_passkeys import ON, PAGE, asked, owner
from tests.support.authenticator import Authenticator, _bytes, _text
from tests.support.people import logged_in, make_person
from tests.support.visitor import csrf_token

VALUES: list[Any] = [None, True, -1, 1e400, float("nan"), 2**70, "\ud800", "\0", "é", "====", [], {}, [[]], [{}, "usb"]]
FORMS = ("packed", "fido-u2f", "tpm", "apple", "android-key", "android-safetynet")
STATEMENTS: list[Any] = [{"alg": -7, "sig": b"x"}, {"alg": -7, "sig": b"x", "x5c": [b"x"]}, {"x5c": [1]}, {"alg": "x"}]
DEEP, CYCLE = b"\x81" * 8000, bytes.fromhex("d81c81d81d00")
NUMBER = bytes.fromhex("c48201c2591000") + b"\xff" * 4096
TAILS = (b"", b"\xa0", DEEP, CYCLE, NUMBER, bytes.fromhex("9b00000100000000005b0000010000000000"))
KEYS: list[Any] = [{}, [], None, {1: 2, 3: 2**70}, {1: 2, 3: -7, -1: 1, -2: b"", -3: b""}, {1: 3, 3: -257, -1: 1}]


def places(told: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Return the way to every value of an answer."""
    yield path
    for name in told if isinstance(told, dict) else ():
        yield from places(told[name], (*path, name))


def changed(told: Any, path: tuple[str, ...], value: Any) -> Any:
    """Return an answer with another value in one place."""
    if not path:
        return value
    found = copy.deepcopy(told)
    found[path[0]] = changed(found[path[0]], path[1:], value)
    return found


def hostile(answer: str) -> Iterator[Any]:
    """Return what strangers make of an answer that would be right."""
    told = json.loads(answer)
    yield from (changed(told, path, value) for path in places(told) for value in VALUES)
    client_data = json.loads(_bytes(told["response"]["clientDataJSON"]))
    for name in (*client_data, "tokenBinding"):
        for value in VALUES:
            text = json.dumps({**client_data, name: value}).encode()
            yield changed(told, ("response", "clientDataJSON"), _text(text))
    for raw in (b"\xff", b"[]", b"1", b"{", b"[" * 4000):
        yield changed(told, ("response", "clientDataJSON"), _text(raw))


def hostile_data(answer: str) -> Iterator[Any]:
    """Return answers whose authenticator says what none says."""
    told = json.loads(answer)
    data = _bytes(told["response"]["authenticatorData"])
    for flags in (0x40, 0x80, 0xC0, 0xFF):
        head = data[:32] + bytes([data[32] | flags]) + data[33:37]
        attested = bytes(16) + b"\0\x01a" if flags & 0x40 else b""
        for tail in TAILS:
            yield changed(told, ("response", "authenticatorData"), _text(head + attested + tail))
    for end in (0, 1, 31, 32, 36):
        yield changed(told, ("response", "authenticatorData"), _text(data[:end]))


def hostile_attestations(answer: str) -> Iterator[Any]:
    """Return answers to an enrolment in forms that nobody asked for."""
    told = json.loads(answer)
    whole = cbor2.loads(_bytes(told["response"]["attestationObject"]))
    values: tuple[Any, ...] = (None, 1, "x", b"", [], {}, [{}])
    made = [cbor2.dumps({**whole, name: value}) for name in ("fmt", "authData") for value in values]
    made += [cbor2.dumps({**whole, "fmt": form, "attStmt": told}) for form in FORMS for told in STATEMENTS]
    made += [cbor2.dumps({**whole, "authData": whole["authData"][:87] + cbor2.dumps(key)}) for key in KEYS]
    yield from (changed(told, ("response", "attestationObject"), _text(raw)) for raw in (*made, *TAILS))


@pytest.fixture
def app(make_app):
    """Return an app with passkeys on, and alice and bob."""
    app = make_app(**ON, GATEHOUSE_THROTTLE="off")
    for name in ("alice", "bob"):
        make_person(app, name)
    return app


def send(client: FlaskClient, url: str, token: str, answer: Any) -> int:
    """Send an answer from a copy of a browser, and return the status."""
    copied = client.application.test_client()
    for cookie in list((client._cookies or {}).values()):
        copied.set_cookie(cookie.key, cookie.value)
    return copied.post(url, data={"passkey": json.dumps(answer), "csrf_token": token}).status_code


def test_v2_2_1_v16_5_3_a_login_takes_whatever_is_sent_for_an_answer(app):
    _, key = owner(app)
    client = app.test_client()
    question = asked(client, "/login")
    token = csrf_token(client.get("/login").get_data(as_text=True))
    answer = key.get(question)
    statuses = [send(client, "/login/passkey", token, told) for told in (*hostile(answer), *hostile_data(answer))]
    assert set(statuses) <= {401, 303}
    assert statuses.count(303) <= 1  # what is told of no consequence may be anything, and counts once


def test_v2_2_1_v16_5_3_an_enrolment_takes_whatever_is_sent_for_an_answer(app):
    client = logged_in(app, "bob")
    answer = Authenticator().create(asked(client, PAGE))
    token = csrf_token(client.get(PAGE).get_data(as_text=True))
    statuses = [send(client, PAGE, token, told) for told in hostile_attestations(answer)]
    assert set(statuses) == {422}
    statuses = [send(client, PAGE, token, told) for told in hostile(answer)]
    assert set(statuses) <= {422, 302, 303}  # what is no fault enrols, and the session goes on under another id


def test_v15_2_2_an_answer_that_is_far_too_long_is_not_read(app):
    _, key = owner(app)
    client = app.test_client()
    answer = json.loads(key.get(asked(client, "/login")))
    token = csrf_token(client.get("/login").get_data(as_text=True))
    assert send(client, "/login/passkey", token, {**answer, "more": "x" * ANSWER_MAX}) == 401
    assert send(client, "/login/passkey", token, answer) == 303
