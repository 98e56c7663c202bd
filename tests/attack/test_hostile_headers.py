"""A hostile cookie or header: 4xx, or exactly the answer without it; raw bytes, as careless servers hand them over."""

from __future__ import annotations

import re

import pytest
import sqlalchemy as sa
from flask.sessions import SecureCookieSessionInterface
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from flask_gatehouse.kernel import schema
from tests.support.apps import SECRET
from tests.support.people import PASSWORD, logged_in, make_person, services_of, session_of
from tests.support.visitor import csrf_token

MEGABYTE = 1_000_000
PATHS = ("/", "/protected", "/labelled", "/recall", "/login", "/account", "/nothing", "/logout")
COOKIES = (
    "gatehouse",
    "gatehouse-guest",
    "gatehouse-pending",
    "__Host-gatehouse",
    "session",
    "remember_token",
    "",
    "a b",
)

# What may change an answer by design is not here: Accept, Host, a Bearer token, a browser's name when inside.
HEADERS = (
    *(
        "X_FORWARDED_FOR",
        "X_FORWARDED_PROTO",
        "X_FORWARDED_HOST",
        "X_FORWARDED_PREFIX",
        "X_REAL_IP",
        "FORWARDED",
        "VIA",
    ),
    *("REFERER", "ORIGIN", "SEC_FETCH_SITE", "SEC_FETCH_MODE", "SEC_FETCH_DEST", "X_CSRFTOKEN", "X_CSRF_TOKEN"),
    *("AUTHORIZATION", "PROXY_AUTHORIZATION", "X_API_KEY", "X_REMOTE_USER", "X_FORWARDED_USER", "FROM", "DATE"),
    *("ACCEPT_LANGUAGE", "ACCEPT_CHARSET", "ACCEPT_ENCODING", "IF_NONE_MATCH", "IF_MODIFIED_SINCE", "IF_MATCH"),
    *("RANGE", "IF_RANGE", "TE", "UPGRADE", "EXPECT", "CONNECTION", "TRANSFER_ENCODING", "COOKIE2", "MAX_FORWARDS"),
    *("X_HTTP_METHOD_OVERRIDE", "X_HTTP_METHOD", "X_METHOD_OVERRIDE", "X_ORIGINAL_URL", "X_REWRITE_URL"),
    *("X_SCRIPT_NAME", "X_REQUEST_ID", "X_REQUESTED_WITH", "X_GATEHOUSE", "CLIENT_IP", "TRUE_CLIENT_IP"),
)
bytes_as_text = st.one_of(
    st.binary(max_size=60).map(lambda value: value.decode("latin-1")),
    st.text(max_size=30).map(lambda value: value.encode("utf-8", "surrogatepass").decode("latin-1")),
    st.sampled_from(["", ",", ";", "=", "%00", '"', "\\", "null", "*", "0", "-1", "bytes=0-", "9" * 400, "a" * 9000]),
    st.sampled_from(["127.0.0.1", "::1", "admin", "POST", "Basic YTpi", "http://evil.example", "cross-site", "cors"]),
)
few = settings(max_examples=120, suppress_health_check=list(HealthCheck))


def answer_of(answer: TestResponse) -> tuple[int, str, str]:
    """Return status, headers and body, what is random in them aside."""
    random = r"nonce[-=]\"?[\w-]+|name=\"csrf_token\" value=\"[^\"]+\"|gatehouse-guest=[\w.-]+;"
    headers = re.sub(random, "", str(sorted(answer.headers)))
    return answer.status_code, headers, re.sub(random, "", answer.get_data(as_text=True))


@pytest.fixture
def app(make_app, database_url):
    made = make_app(GATEHOUSE_THROTTLE="off", GATEHOUSE_ARGON2="8,1,1", GATEHOUSE_MAX_SESSIONS=1000)
    make_person(made, "alice")
    return made


@pytest.fixture
def secret(app):
    """The id of somebody's session."""
    return session_of(logged_in(app, "alice"))


def usual_answers(client: FlaskClient, cookie: str) -> dict[str, tuple[int, str, str]]:
    return {path: answer_of(client.get(path, environ_overrides={"HTTP_COOKIE": cookie})) for path in PATHS}


@pytest.mark.parametrize("who", ["guest", "inside"])
def test_v2_2_1_a_hostile_cookie_is_as_none(app, secret, who):
    client = app.test_client(use_cookies=False)
    own = f"gatehouse={secret}" if who == "inside" else ""
    usual = usual_answers(client, own)
    assert usual["/protected"][0] == (200 if who == "inside" else 302)
    names = st.sampled_from([name for name in COOKIES if who == "guest" or name != "gatehouse"])

    @few
    @given(st.lists(st.tuples(names, bytes_as_text), min_size=1, max_size=3), st.sampled_from(PATHS), st.booleans())
    def attack(cookies, path, first):
        hostile = ";".join(f"{name}={re.sub(r'[;]', '', value)}" for name, value in cookies)
        header = "; ".join(filter(None, (hostile, own) if first else (own, hostile)))
        answer = client.get(path, environ_overrides={"HTTP_COOKIE": header})
        assert answer_of(answer) == usual[path]

    attack()
    for value in ("x" * MEGABYTE, "=" * 1000, ";" * MEGABYTE, "\x00" * 1000, "\xff" * 1000):
        for name in ("gatehouse-guest", "gatehouse-pending", "other"):
            header = f"{own}; {name}={value}"
            assert answer_of(client.get("/protected", environ_overrides={"HTTP_COOKIE": header})) == usual["/protected"]


def test_v2_2_1_a_second_session_cookie_of_any_value_counts_as_none(app, secret):
    client = app.test_client(use_cookies=False)
    usual = usual_answers(client, "")

    @few
    @given(bytes_as_text, st.sampled_from(PATHS))
    def attack(value, path):
        header = f"gatehouse={value.replace(';', '')}; gatehouse={secret}"
        assert answer_of(client.get(path, environ_overrides={"HTTP_COOKIE": header})) == usual[path]

    attack()


@pytest.mark.parametrize("who", ["guest", "inside"])
def test_v2_2_1_v4_1_3_a_hostile_header_is_refused_or_as_none(app, secret, who):
    client = app.test_client(use_cookies=False)
    own = f"gatehouse={secret}" if who == "inside" else ""
    usual = usual_answers(client, own)
    names = st.sampled_from([*HEADERS, *(["USER_AGENT"] if who == "guest" else [])])

    @settings(few, max_examples=300)
    @given(st.dictionaries(names, bytes_as_text, min_size=1, max_size=3), st.sampled_from(PATHS))
    def attack(headers, path):
        environ = {"HTTP_COOKIE": own, **{f"HTTP_{name}": value for name, value in headers.items()}}
        answer = client.get(path, environ_overrides=environ)
        assert 400 <= answer.status_code < 500 or answer_of(answer) == usual[path]

    attack()
    for name in HEADERS:
        environ = {"HTTP_COOKIE": own, f"HTTP_{name}": "x" * MEGABYTE}
        answer = client.get("/protected", environ_overrides=environ)
        assert 400 <= answer.status_code < 500 or answer_of(answer) == usual["/protected"], name


@pytest.mark.parametrize("name", ["CONTENT_TYPE", "CONTENT_LENGTH", "HTTP_ACCEPT", "HTTP_HOST", "HTTP_USER_AGENT"])
def test_v2_2_1_headers_with_a_meaning_of_their_own_never_end_in_a_fault(app, secret, name):
    client = app.test_client(use_cookies=False)

    @few
    @given(bytes_as_text, st.sampled_from(PATHS), st.sampled_from(["GET", "POST", "HEAD", "OPTIONS"]))
    def attack(value, path, method):
        environ = {"HTTP_COOKIE": f"gatehouse={secret}", name: value}
        answer = client.open(path, method=method, environ_overrides=environ)
        assert answer.status_code < 500, (value, path, method)
        assert "gatehouse" not in {line.partition("=")[0] for line in answer.headers.getlist("Set-Cookie")}

    attack()


def test_v16_4_1_v1_3_3_hostile_headers_at_login_are_recorded_clean_and_whole(app):
    """The user agent is stored with the session and in the log: on PostgreSQL a NUL could not even be."""
    guest = app.test_client()
    token = csrf_token(guest.get("/login").get_data(as_text=True))
    held = services_of(app)

    @few
    @given(bytes_as_text, bytes_as_text, st.sampled_from(["alice", "nobody"]))
    def attack(agent, forwarded, name):
        environ = {"HTTP_USER_AGENT": agent, "HTTP_X_FORWARDED_FOR": forwarded, "HTTP_FORWARDED": forwarded}
        client = app.test_client()
        client.set_cookie("gatehouse-guest", session_of_guest(guest))
        data = {"csrf_token": token, "username": name, "password": PASSWORD}
        answer = client.post("/login", data=data, environ_overrides=environ)
        assert answer.status_code == (303 if name == "alice" else 401)

    attack()
    with held.reading() as connection:
        agents = [*connection.execute(sa.select(schema.event.c.agent)).scalars()]
        agents += connection.execute(sa.select(schema.session.c.agent)).scalars()
        addresses = set(connection.execute(sa.select(schema.event.c.address)).scalars())
        assert isinstance(held.audit.verify(connection), int)
    assert len(agents) > 100
    assert not any(re.search(r"[\x00-\x1f\x7f-\x9f]", agent) or len(agent) > 256 for agent in agents)
    assert addresses == {"", "127.0.0.1"}


def session_of_guest(client: FlaskClient) -> str:
    """Return the guest's cookie, which the CSRF token belongs to."""
    found = client.get_cookie("gatehouse-guest")
    assert found is not None
    return found.value


def test_v7_2_1_a_forged_guest_cookie_of_any_shape_is_none(app):
    """Signed with the right secret for another purpose, or by plain Flask: still none of ours."""
    guest = app.test_client()
    usual = answer_of(guest.get("/recall"))
    signer = SecureCookieSessionInterface().get_signing_serializer(app)
    assert signer is not None
    for forged in (signer.dumps({"value": "forged", "_user_id": "1"}), SECRET, f"{SECRET}.{SECRET}.{SECRET}"):
        guest.set_cookie("gatehouse-guest", str(forged))
        assert answer_of(guest.get("/recall")) == usual
