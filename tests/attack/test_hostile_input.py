"""Malformed, oversized, wrongly typed, wrongly encoded input: a clear 4xx, never a 5xx, never a half-written row.

Two thousand examples and more, over SQLite and PostgreSQL: every field of every form, cookies and headers.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote_from_bytes

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from flask_gatehouse.kernel import schema
from tests.support.visitor import csrf_token

PASSWORD = "correct horse battery"
MEGABYTE = 1_000_000
CHEAP = {"GATEHOUSE_THROTTLE": "off", "GATEHOUSE_ARGON2": "8,1,1", "GATEHOUSE_MAX_SESSIONS": 1000}
FORMS: dict[str, dict[str, str]] = {
    "/register": {
        "username": "newcomer",
        "password": PASSWORD + "!",
        "confirm": PASSWORD + "!",
        "email": "a@b.example",
    },
    "/login": {"username": "admin", "password": PASSWORD, "remember": "y", "next": "/account"},
    "/login/factor": {"code": "123456", "recovery_code": "", "next": "/"},
    "/reauthenticate": {"password": PASSWORD, "next": "/account"},
    "/account": {"email": "a@b.example"},
    "/account/password": {"current": PASSWORD, "password": "another passphrase", "confirm": "another passphrase"},
    "/admin/users/2/suspend": {"reason": "because"},
    "/admin/users/2/restore": {"reason": "because"},
    "/admin/users/2/unlock": {"reason": "because"},
    "/admin/users/2/grant": {"role": "admin", "until": "2030-01-01T00:00:00Z", "reason": "because"},
    "/admin/users/2/withdraw": {"role": "admin", "reason": "because"},
    "/admin/users/2/end-sessions": {"reason": "because"},
    "/admin/users/2/reset-factors": {"reason": "because"},
    "/admin/users/2/mark-compromised": {"reason": "because"},
    "/admin/users/2/demand-factor": {"demanded": "y", "reason": "because"},
}
FIELDS = [(path, name) for path, fields in FORMS.items() for name in fields]

nasty_text = st.one_of(
    st.text(max_size=60),
    st.text(st.characters(categories=("Cc", "Cf", "Zl", "Zp", "Mn", "So")), min_size=1, max_size=20),
    st.sampled_from(
        ["", " ", "\x00", "a\x00b", "\ufeff", "\u202e", "{{7*7}}", "%s%n", "' OR 1=1 --", "../..", "[]", "null"]
    ),
    st.sampled_from(["x" * 5_000, "ß" * 1_025, "9" * 400, "2030-01-01", "9999-12-31T23:59:59-23:59", "1" * 30]),
)
nasty_bytes = st.one_of(nasty_text.map(lambda text: text.encode()), st.binary(max_size=60))
header_text = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=80)


@pytest.fixture
def app(make_app: Any, database_url: str) -> Flask:
    """An app with an administrator and a user."""
    made: Flask = make_app(GATEHOUSE_DATABASE_URL=database_url, **CHEAP)
    gate = made.extensions["gatehouse"]
    with made.app_context():
        gate.create_user("admin", PASSWORD, roles=["admin"])
        gate.create_user("second", PASSWORD)
    return made


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """The administrator's client."""
    made = app.test_client()
    assert made.post("/login", data={**FORMS["/login"], "csrf_token": token(made)}).status_code == 303
    return made


def token(client: FlaskClient) -> str:
    """Return a CSRF token that fits the client's session."""
    return csrf_token(client.get("/login").get_data(as_text=True))


def rows(app: Flask) -> dict[str, int]:
    """Return how many rows each table holds, but those that any refusal may add."""
    services = app.extensions["gatehouse"].services(app)
    tables = (schema.user, schema.password, schema.grant, schema.link)
    with services.reading() as connection:
        return {
            table.name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for table in tables
        }


def is_whole(app: Flask) -> bool:
    """Tell whether every user has a password, and the log its chain."""
    services = app.extensions["gatehouse"].services(app)
    with services.reading() as connection:
        whole = connection.execute(
            sa.select(sa.func.count())
            .select_from(schema.user.outerjoin(schema.password))
            .where(schema.password.c.user_id.is_(None))
        ).scalar_one()
        return whole == 0 and isinstance(services.audit.verify(connection), int)


def clear_answer(answer: TestResponse) -> None:
    """Check that a refusal says something to people."""
    assert answer.status_code < 500, answer.get_data(as_text=True)[:2000]
    if answer.status_code >= 400:
        assert len(answer.get_data(as_text=True)) > 20
        assert "Traceback" not in answer.get_data(as_text=True)


@pytest.mark.parametrize("path, name", FIELDS)
def test_v2_2_1_v15_3_5_a_field_takes_any_bytes_or_refuses_them(
    app: Flask, client: FlaskClient, path: str, name: str
) -> None:
    @settings(max_examples=24, suppress_health_check=list(HealthCheck))
    @given(nasty_bytes, st.sampled_from(["quoted", "raw"]))
    def attack(value: bytes, sent: str) -> None:
        seal = quote_from_bytes(token(client).encode())  # anew each time: a success may have rotated the session
        shown = (
            quote_from_bytes(value).encode() if sent == "quoted" else value.replace(b"&", b"%26").replace(b"=", b"%3D")
        )
        others = "&".join(
            f"{key}={quote_from_bytes(text.encode())}" for key, text in FORMS[path].items() if key != name
        )
        body = f"csrf_token={seal}&{others}&{name}=".encode() + shown
        before = rows(app)
        answer = client.post(path, data=body, content_type="application/x-www-form-urlencoded")
        clear_answer(answer)
        assert answer.status_code != 403 or path.startswith("/admin")  # it was the field that was judged
        if answer.status_code >= 400:
            assert rows(app) == before

    attack()
    assert is_whole(app)


@pytest.mark.parametrize("path", list(FORMS))
def test_v2_2_2_v15_3_3_other_shapes_of_a_form_are_refused_whole(app: Flask, client: FlaskClient, path: str) -> None:
    before = rows(app)
    fields = {**FORMS[path], "is_admin": "1", "id": "1"}
    headers = {"X-CSRFToken": token(client)}
    shapes: list[dict[str, Any]] = [
        {"json": {key: [text] for key, text in fields.items()}},
        {"json": [1, None, {}]},
        {"data": b"{", "content_type": "application/json"},
        {"data": b"\xff\xfe\x00", "content_type": "application/x-www-form-urlencoded"},
        {"data": b"--x\r\nbroken", "content_type": "multipart/form-data; boundary=x"},
        {"data": b"--x\r\n", "content_type": "multipart/form-data"},
        {"data": b"", "content_type": "text/plain"},
        {"data": {next(iter(fields)): "x" * MEGABYTE}},
        {"data": b"a" * MEGABYTE, "content_type": "application/x-www-form-urlencoded"},
    ]
    for shape in shapes:
        answer = client.post(path, headers=headers, **shape)
        clear_answer(answer)
        if not path.endswith(("restore", "unlock")) and path != "/account":  # these need no field at all
            assert answer.status_code >= 400, shape.keys()
        assert rows(app) == before
    assert is_whole(app)


HEADERS = (
    "User-Agent",
    "Accept",
    "Origin",
    "Referer",
    "Authorization",
    "X-Forwarded-For",
    "X-CSRFToken",
    "Sec-Fetch-Mode",
)


def test_v2_2_1_v4_1_3_a_header_changes_nothing_or_is_refused(app: Flask, client: FlaskClient) -> None:
    @settings(max_examples=300, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(HEADERS), header_text, st.sampled_from(["/", "/account", "/login", "/nothing", "/admin"]))
    def attack(name: str, value: str, path: str) -> None:
        answer = client.get(path, headers={name: value})
        clear_answer(answer)
        assert answer.status_code in {200, 302, 401, 403, 404}

    attack()
    assert client.get("/account").status_code == 200
    assert is_whole(app)


def test_v2_2_1_rule_17_a_cookie_is_refused_or_counts_as_none(app: Flask) -> None:
    guest = app.test_client(use_cookies=False)
    usual = {path: guest.get(path).status_code for path in ("/", "/account", "/recall", "/login")}
    names = st.sampled_from(["gatehouse", "gatehouse-guest", "gatehouse-pending", "session", "remember_token", ""])

    @settings(max_examples=300, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.tuples(names, header_text), max_size=4), st.sampled_from(sorted(usual)))
    def attack(cookies: list[tuple[str, str]], path: str) -> None:
        header = ";".join(f"{name}={value}" for name, value in cookies)
        answer = guest.get(path, headers={"Cookie": header})
        assert answer.status_code == usual[path]
        assert not any(line.startswith("gatehouse=") for line in answer.headers.getlist("Set-Cookie"))

    attack()
    large = guest.get("/account", headers={"Cookie": "gatehouse=" + "x" * MEGABYTE})
    assert large.status_code == usual["/account"]
    assert is_whole(app)


def test_v2_2_1_paths_and_queries_of_any_kind_get_a_clear_answer(app: Flask, client: FlaskClient) -> None:
    places = ("/admin/users?search=", "/admin/users?after=", "/account/activity?before=", "/login?next=")
    paths = ("/reset-password/", "/admin/users/", "/account/sessions/")

    @settings(max_examples=200, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(places + paths), nasty_bytes)
    def attack(place: str, value: bytes) -> None:
        answer = client.get(place + quote_from_bytes(value)[:4000])
        clear_answer(answer)

    attack()
    assert is_whole(app)
