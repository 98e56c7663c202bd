"""Whole forms made up at random, in every encoding: what is refused has left every table exactly as it was."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote_from_bytes

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flask_gatehouse.flows import reset_password
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.identity import CLI
from tests.support.people import PASSWORD, logged_in, make_person, services_of, session_of
from tests.support.visitor import csrf_token

NEW = "another quiet river"
PATHS = (
    *("/register", "/login", "/login/factor", "/reauthenticate", "/account", "/account/password", "/logout"),
    *("/account/sessions/end-others", "/account/sessions/0123456789abcdef/end", "/account/sessions/x%00/end"),
    *("/admin/users/2/suspend", "/admin/users/2/restore", "/admin/users/2/unlock", "/admin/users/2/grant"),
    *("/admin/users/2/withdraw", "/admin/users/2/end-sessions", "/admin/users/1/suspend", "/admin/users/99/suspend"),
    *(
        "/admin/users/2/reset-factors",
        "/admin/users/2/demand-factor",
        "/admin/users/2/mark-compromised",
        "/reset-password/{link}",
    ),
)
NAMES = ("username", "password", "confirm", "current", "email", "remember", "code", "recovery_code", "next", "role")
names = st.sampled_from([*NAMES, "until", "reason", "reason", "csrf_token", "", "x[]", "username\x00"])
values = st.one_of(
    st.sampled_from([b"alice", b"root", b"carol", PASSWORD.encode(), NEW.encode(), b"admin", b"because", b"/account"]),
    st.sampled_from([b"2999-01-01T00:00:00Z", b"0001-01-01T00:00:00+23:59", b"2024-W01-1", b"", b"\x00", b" ", b"y"]),
    st.binary(max_size=40),
    st.text(max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from([b"x" * 3000, "ß".encode() * 2000, b"%ff", b"\xed\xa0\x80", b"+" * 50, b"a\r\nb: c"]),
)
fields = st.lists(st.tuples(names, values), max_size=7)
encodings = st.sampled_from(["quoted", "quoted", "raw", "multipart", "file", "json-like"])
TABLES = (schema.user, schema.password, schema.grant, schema.role, schema.link, schema.guard)


@pytest.fixture
def app(make_app, database_url) -> Flask:
    """An app with an administrator and a user."""
    made: Flask = make_app(GATEHOUSE_THROTTLE="off", GATEHOUSE_ARGON2="8,1,1", GATEHOUSE_MAX_SESSIONS=1000)
    make_person(made, "root", "admin")
    make_person(made, "alice")
    return made


def tables(app: Flask) -> list[Any]:
    """Return every row of every table that a form may change; sessions without when they were last used."""
    session = [column for column in schema.session.c if column.name not in {"seen_at", "data"}]
    with services_of(app).reading() as connection:
        found = [connection.execute(sa.select(table).order_by(*table.primary_key)).all() for table in TABLES]
        return [*found, connection.execute(sa.select(*session).order_by(schema.session.c.id)).all()]


def body_of(pairs: list[tuple[str, bytes]], encoding: str) -> tuple[bytes, str]:
    """Return a request's body and content type."""
    if encoding in {"multipart", "file"}:
        file = b'; filename="x"\r\nContent-Type: text/plain' if encoding == "file" else b""
        parts = [
            b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n' % (name.encode(), file, value)
            for name, value in pairs
        ]
        return b"".join(parts) + b"--b--\r\n", "multipart/form-data; boundary=b"
    quoted = [(quote_from_bytes(name.encode()), quote_from_bytes(value).encode(), value) for name, value in pairs]
    kind = "application/json" if encoding == "json-like" else "application/x-www-form-urlencoded"
    return b"&".join(b"%s=%s" % (name.encode(), raw if encoding == "raw" else q) for name, q, raw in quoted), kind


def inside_token(app: Flask, client: FlaskClient) -> str:
    """Make sure that an administrator is inside, a new one if need be, and return a token."""
    if client.get("/account").status_code != 200:
        make_person(app, name := f"root{len(tables(app)[0])}", "admin")
        client.set_cookie("gatehouse", session_of(logged_in(app, name)))
    return csrf_token(client.get("/login").get_data(as_text=True))


def test_v2_2_1_v2_3_3_v15_3_5_what_is_refused_has_changed_nothing(app):
    root, guest, seen = logged_in(app, "root"), app.test_client(), dict[int, int]()
    services = services_of(app)

    @settings(max_examples=400, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(PATHS), fields, encodings, st.booleans())
    def attack(path, pairs, encoding, is_inside):
        client = root if is_inside else guest
        token = inside_token(app, root) if is_inside else csrf_token(guest.get("/login").get_data(as_text=True))
        link = reset_password.make_link(services, CLI, "alice")
        body, kind = body_of(pairs, encoding)
        before = tables(app)
        answer = client.post(
            path.replace("{link}", str(link)), data=body, content_type=kind, headers={"X-CSRFToken": token}
        )
        seen[answer.status_code] = seen.get(answer.status_code, 0) + 1
        assert answer.status_code < 500, answer.get_data(as_text=True)
        if answer.status_code >= 400:
            assert tables(app) == before, answer.status_code
            assert len(answer.get_data(as_text=True)) > 20

    attack()
    assert {303, 422} <= seen.keys()  # some were taken, some were not
    with services.reading() as connection:
        assert isinstance(services.audit.verify(connection), int)
        orphans = sa.select(sa.func.count()).select_from(schema.user.outerjoin(schema.password))
        assert connection.execute(orphans.where(schema.password.c.user_id.is_(None))).scalar_one() == 0


def test_v2_3_3_a_whole_form_is_taken_and_changes_what_it_should(app):
    """The other half: the table comparison above would notice a change."""
    root = logged_in(app, "root")
    before = tables(app)
    token = inside_token(app, root)
    answer = root.post("/admin/users/2/suspend", data={"reason": "because", "csrf_token": token})
    assert answer.status_code == 303
    assert tables(app) != before
