"""The log as lines of JSON: one line a record whatever people type, one name a request, and no secret in it."""

from __future__ import annotations

import io
import json
import logging
import logging.handlers
import queue
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from flask import request
from werkzeug.datastructures import MultiDict

from flask_gatehouse import JsonLines, public
from flask_gatehouse.flows import reset_password
from flask_gatehouse.http import logs
from flask_gatehouse.kernel.identity import CLI
from tests.http.people import ACT, PASSWORD, add_user, entries, log_in, reauthenticate, services, user_id
from tests.support.apps import SECRET
from tests.support.visitor import csrf_token, submit

UTC_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
HOSTILE = {
    "forged line": 'a\r\n{"level":"CRITICAL","logger":"forged"}',
    "terminal": "\x1b[31mred\x1b[0m\x07\x00",
    "closed quote": '","level":"CRITICAL","x":"',
    "line ends": "one\u2028two\u2029three\x85four\x0bfive",
    "invisible": "\u202egnp.exe \u200b\ufeff",
    "surrogate": "lone \ud800 surrogate",
    "template": "{0} %s %(name)s {{7*7}}",
    "long": "é\U0001f9d9" * 2000,
}


class Sink(io.StringIO):
    """What was written, and its lines."""

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Return every line, each of them JSON."""
        text = self.getvalue()
        assert text.isascii()
        assert text.replace("\n", "").isprintable()
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def sink() -> Iterator[Sink]:
    """Let every logger write lines of JSON, debug messages too."""
    found, root = Sink(), logging.getLogger()
    handler, level = logging.StreamHandler(found), root.level
    handler.setFormatter(JsonLines())
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield found
    root.removeHandler(handler)
    root.setLevel(level)


def boom(app, _gate):
    app.config["PROPAGATE_EXCEPTIONS"] = False

    @app.get("/boom")
    @public
    def boom() -> str:
        raise ValueError(f"broken at {request.url}")


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_v16_4_1_v16_2_4_hostile_texts_are_one_well_formed_line(text):
    told = {"name": "host", "levelname": "ERROR", "msg": "typed: %s", "args": (text,)}
    line = JsonLines().format(logging.makeLogRecord({**told, "exc_info": (LookupError, LookupError(text), None)}))
    assert line.isascii()
    assert line.isprintable()
    assert len(line) < 12 * (2 * logs.TEXT_MAX + logs.TRACE_MAX)
    found = json.loads(line)
    assert found.keys() == {"at", "level", "logger", "text", "error"}
    assert (found["level"], found["logger"], found["error"]["kind"]) == ("ERROR", "host", "LookupError")


@pytest.mark.parametrize("kind", sorted(HOSTILE.keys() - {"surrogate"}))
def test_v16_4_1_hostile_names_and_browsers_stay_one_line_each(build, sink, kind):
    name = HOSTILE[kind]
    app = build(boom)
    client = app.test_client()
    agent = name.encode("utf-8", "replace").decode("latin-1").replace("\r", " ").replace("\n", " ")
    client.environ_base["HTTP_USER_AGENT"] = agent
    client.environ_base["HTTP_HOST"] = "localhost"
    assert log_in(client, name).status_code in {401, 422}
    client.get("/", headers={"Host": "evil.example"})
    assert {line["level"] for line in sink.lines} <= {"DEBUG", "INFO", "WARNING"}
    assert all(line["logger"] != "forged" for line in sink.lines)


def test_v16_2_2_v16_2_4_every_line_has_one_form_and_says_when_in_utc(build, sink):
    app = build(boom)
    add_user(app)
    log_in(app.test_client(), "alice", "wrong horse battery")
    app.test_client().get("/boom")
    for line in sink.lines:
        assert UTC_TIME.fullmatch(str(line["at"]))
        assert line.keys() - {"request_id", "error"} in (
            {"at", "level", "logger", "text"},
            {"at", "level", "logger", "event"},
            {"at", "level", "logger", "head"},
        )


def test_v16_2_1_the_lines_of_a_request_bear_one_name_and_the_audit_log_the_same(build, sink):
    app = build(boom)
    log_in(app.test_client(), "nobody", "wrong horse battery")
    app.test_client().get("/boom")
    failed = [line for line in sink.lines if "event" in line]
    broken = [line for line in sink.lines if "error" in line]
    assert [line["request_id"] for line in failed] == [entry.request_id for entry in entries(app, "login.failed")]
    assert len(broken) == 1
    assert len(str(broken[0]["request_id"])) == 16
    assert broken[0]["request_id"] != failed[0]["request_id"]
    assert "ValueError" in str(broken[0]["error"])


def test_behind_a_queue_a_line_still_knows_its_request_and_its_event(build, sink):
    lines: queue.Queue[logging.LogRecord] = queue.Queue()
    behind = Sink()
    handler = logging.handlers.QueueHandler(lines)
    handler.setFormatter(JsonLines())
    log = logging.getLogger("flask_gatehouse.audit")
    log.addHandler(handler)
    app = build(boom)
    log_in(app.test_client(), "nobody", "wrong horse battery")
    log.removeHandler(handler)
    listener = logging.handlers.QueueListener(lines, logging.StreamHandler(behind))
    listener.start()  # another thread, which knows of no request
    listener.stop()
    first, *_ = [line for line in behind.lines if "event" in line]
    assert first["event"]["kind"] == "login.failed"
    assert first["request_id"] == entries(app, "login.failed")[0].request_id
    assert [line for line in sink.lines if "event" in line] == [line for line in behind.lines if "event" in line]


def test_lines_outside_of_a_request_and_of_other_apps_bear_no_name(sink, make_app):
    logging.getLogger("host").warning("outside")
    with make_app().test_request_context("/"):
        logging.getLogger("host").warning("before a session is open")
    assert ["request_id" in line for line in sink.lines if line["logger"] == "host"] == [False, True]


GIVEN = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    "peer, given, is_taken",
    [
        ("10.0.0.1", GIVEN, True),
        ("10.0.0.1", "req-1.A_b", True),
        ("10.0.0.1", "x" * 64, True),
        ("192.0.2.5", GIVEN, False),  # no proxy of ours
        ("", GIVEN, False),
        ("10.0.0.1", "short", False),
        ("10.0.0.1", "x" * 65, False),
        ("10.0.0.1", "with space1", False),
        ("10.0.0.1", "line\nbreak", False),
        ("10.0.0.1", "12345678\n", False),
        ("10.0.0.1", "<script>12", False),
        ("10.0.0.1", "é1234567", False),
        ("10.0.0.1", "", False),
    ],
)
def test_v16_4_1_v15_3_4_a_requests_name_is_the_proxys_only_if_trusted_and_plain(build, sink, peer, given, is_taken):
    app = build(boom, GATEHOUSE_TRUSTED_PROXIES="10.0.0.0/8")
    client = app.test_client()
    environ = {"REMOTE_ADDR": peer, "HTTP_X_REQUEST_ID": given}
    data = {"csrf_token": csrf_token(client.get("/login").text), "username": "nobody", "password": "wrong password"}
    client.post("/login", data=data, environ_overrides=environ)
    (entry,) = entries(app, "login.failed")
    assert (entry.request_id == given) is is_taken
    assert is_taken or re.fullmatch(r"[0-9a-f]{16}", entry.request_id)
    answer = client.get("/boom", environ_overrides=environ)
    assert "X-Request-ID" not in answer.headers


def test_v16_2_5_a_whole_story_leaves_no_secret_in_the_log(build, sink, tmp_path):
    pepper = "a pepper that nobody else has, 32 characters"
    app = build(boom, GATEHOUSE_PEPPER=pepper)
    alice, root = app.test_client(), app.test_client()
    new = "a phrase after the reset"
    wrong = "a wrong phrase of hers"
    known = [PASSWORD, SECRET, pepper, new, wrong, "typed into the wrong field"]
    add_user(app, "root", "admin")
    submit(alice, "/register", username="alice", password=PASSWORD, confirm=PASSWORD)
    log_in(alice, "alice", wrong)
    log_in(alice, "typed into the wrong field", PASSWORD)
    log_in(alice, "alice")
    reauthenticate(alice, wrong)
    reauthenticate(alice)
    log_in(root, "root")
    alice_id = user_id(app, "alice")
    page = f"/admin/users/{alice_id}"
    known += [csrf_token(client.get("/account").text) for client in (alice, root)]
    submit(root, f"{page}/grant", page=page, role="admin")
    alice.post("/account/password", data={"csrf_token": "forged", "current": PASSWORD, "password": new})
    with app.app_context():
        link = reset_password.make_link(services(app), CLI, "alice")
        known += [str(link), str(reset_password.make_temporary(services(app), ACT.actor, "root"))]
    logging.getLogger("werkzeug").info('127.0.0.1 - - "%s" %s -', f"GET /reset-password/{link} HTTP/1.1", 200)
    submit(alice, f"/reset-password/{link}", password=new, confirm=new)
    alice.get(f"/boom?password={new.replace(' ', '%20')}&csrf_token={known[6]}")
    for client in (alice, root):
        log_in(client, "alice", new)
        known += [found.value for name in ("", "-device", "-guest") if (found := client.get_cookie(f"gatehouse{name}"))]
    down = build(GATEHOUSE_DATABASE_URL=f"postgresql+psycopg://gate:database-password@/gate?host={tmp_path}")
    assert down.test_client().get("/login").status_code in {200, 500, 503}
    known.append("database-password")
    text = sink.getvalue()
    told = {line["event"]["kind"] for line in sink.lines if "event" in line}
    assert told >= {"user.registered", "login.failed", "login.succeeded", "step_up.succeeded", "step_up.failed"}
    assert told >= {"role.granted", "csrf.refused", "password.reset_link", "password.reset", "password.temporary"}
    assert any("error" in line for line in sink.lines)
    assert "database fault" in text
    assert len(known) >= 14
    assert [secret for secret in known if secret in text or secret.replace(" ", "%20") in text] == []


@pytest.mark.parametrize(
    "text, shown",
    [
        ("GET /auth/reset-password/abcDEF_123-x?y=1", "GET /auth/reset-password/***?y=1"),
        (
            "Cookie: __Host-gatehouse=abc; gatehouse-device=x.y; a=b",
            "Cookie: __Host-gatehouse=***; gatehouse-device=***; a=b",
        ),
        ("Authorization: Bearer gh_0123456789abcdef", "Authorization: Bearer ***"),
        ("username=a&csrf_token=d&password=b+c", "username=a&csrf_token=***&password=***"),
        ("code=123 456&next=/", "code=***&next=/"),
        ("password=open se'same\" & x=y\nnext line", "password=***\nnext line"),
        ("Password=one two", "Password=***"),
        ("current=a&b&username=c", "current=***"),
        ("recovery_code=ABCDE FGHIJ", "recovery_code=***"),
        ("{'password': 'open sesame', 'user': 'a'}", "{'password': '***', 'user': 'a'}"),
        ('{"recovery_code": "1-2-3"}', '{"recovery_code": "***"}'),
        (repr({"password": "it's", "a": 1}), "{'password': \"***\", 'a': 1}"),
        (repr({"password": 'it\'s "so"', "a": 1}), "{'password': '***', 'a': 1}"),
        (json.dumps({"password": 'a"b\\', "a": 1}), '{"password": "***", "a": 1}'),
        (json.dumps({"code": 123456, "a": 1}), '{"code": ***, "a": 1}'),
        (repr({"confirm": ["one two"], "a": ["b"]}), "{'confirm': ['***'], 'a': ['b']}"),
        (repr(MultiDict([("password", 'a"b c'), ("a", "b")])), "MultiDict([('password', '***'), ('a', 'b')])"),
        (repr(b'{"password": "abc", "a": 1}'), 'b\'{"password": "***", "a": 1}\''),
        (json.dumps(json.dumps({"password": "abc"})), '"{\\"password\\": "***"'),
        ("{'password': 'cut off in the mid", "{'password': '***'"),
        ("GATEHOUSE_SECRET_KEY=abc-def", "GATEHOUSE_SECRET_KEY=***"),
        ("{'SECRET_KEY': 'abc', 'PEPPER': 'def'}", "{'SECRET_KEY': '***', 'PEPPER': '***'}"),
        ("otpauth://totp/x:a?secret=ABCDEF&issuer=x", "otpauth://totp/x:a?secret=***&issuer=x"),
        ("postgresql://gate:hun@ter2@db/gate", "postgresql://gate:***@db/gate"),
        ("postgresql://gate:hunter2@db/gate", "postgresql://gate:***@db/gate"),
        ("Basic authentication is not ours", "Basic authentication is not ours"),
    ],
)
def test_v16_2_5_what_looks_like_a_secret_is_masked_in_anybodys_line(sink, text, shown):
    logging.getLogger("some.server").error(text)
    assert sink.lines[0]["text"] == shown


@pytest.mark.parametrize(
    "text", ["'password':" + " " * 60_000, "://a:" + "b@" * 30_000, "'a_" * 20_000, "'password':'" + "\\" * 60_000]
)
def test_v15_2_2_masking_takes_its_time_from_nobody_however_long_a_line_is(text):
    record = logging.LogRecord("host", logging.ERROR, "", 0, text, (), None)
    before = time.process_time()
    JsonLines().format(record)
    assert time.process_time() - before < 1


def test_a_message_of_any_type_is_taken(sink):
    logging.getLogger("host").error({"a": object()}, extra={"gatehouse": "the host's own"})
    assert sink.lines[0]["text"].startswith("{'a': <object")
