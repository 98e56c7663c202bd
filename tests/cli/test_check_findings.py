"""Each finding of `gatehouse check`: what makes it appear, and that its mend makes it go."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from flask_gatehouse import requires
from flask_gatehouse.cli.findings import KINDS, OF_SETTINGS, Severity
from flask_gatehouse.domain import passwords
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.schema import REVISION
from tests.cli.conftest import SAFE, Commands
from tests.support import databases
from tests.support.apps import SECRET

WELL = {
    **SAFE,
    "SECRET_KEY": SECRET,
    "TESTING": False,
    "MAX_CONTENT_LENGTH": 1_000_000,
    "GATEHOUSE_ARGON2": "19456,2,1",
    "GATEHOUSE_TRUSTED_PROXIES": "10.0.0.0/8",
    "GATEHOUSE_MAIL_URL": "smtps://mail.example",
    "GATEHOUSE_MAIL_SENDER": "no-reply@app.example",
    "GATEHOUSE_MAIL_CONTACT": "help@app.example",
}
BARE = ("protected", "protected_async", "change")
Case = Callable[[Commands], Iterator[None]]


def findings(run: Commands, *options: str) -> dict[str, dict[str, Any]]:
    """Return what is found, by kind."""
    result = run("check", "--json", *options)
    told = json.loads(result.stdout)
    grave = [one for one in told["findings"] if one["severity"] != "advice"]
    assert result.exit_code == (1 if grave else 0)
    assert told["is_safe"] is (not grave)
    return {one["finding"]: one for one in told["findings"]}


@pytest.fixture
def well(make_app, caplog) -> Commands:
    """Return commands on an app about which nothing is found."""
    caplog.set_level(logging.INFO, "flask_gatehouse.audit")

    def setup(_app, gate):
        for endpoint in BARE:
            gate.public(endpoint)

    run = Commands(make_app(setup, **WELL))
    for name in ("root", "second"):
        run.create(name, "--role", "admin")
    return run


def test_about_an_app_that_is_well_nothing_is_found(well):
    assert findings(well) == {}
    assert well.ok("check").splitlines()[-2:] == ["users: 2 active, 0 closed, 0 suspended", "All is well."]


# --- one case for each kind --------------------------------------------------------------------------------


def change(run: Commands, statement: sa.Executable) -> None:
    with run.services.database.unit() as connection:
        connection.execute(statement)


def route(run: Commands) -> Iterator[None]:
    run.app.view_functions["open_page"] = requires("report:read")(lambda: "a permission that nobody declared")
    yield
    run.app.extensions["gatehouse"].permission("report:read", "Read reports")


def rule(run: Commands) -> Iterator[None]:
    gate = run.app.extensions["gatehouse"]
    gate.rule("invoice:read")(lambda _identity, _invoice: True)
    yield
    gate.permission("invoice:read", "Read invoices")


def old_schema(run: Commands) -> Iterator[None]:
    revision = sa.table("gatehouse_version", sa.column("version_num"))
    change(run, revision.update().values(version_num="0000"))
    yield
    change(run, revision.update().values(version_num=REVISION))


def audit_chain(run: Commands) -> Iterator[None]:
    first = schema.event.c.id == 1
    change(run, sa.update(schema.event).where(first).values(outcome="refused"))
    yield
    change(run, sa.update(schema.event).where(first).values(outcome="ok"))


def debug(run: Commands) -> Iterator[None]:
    run.app.debug = True
    yield
    run.app.debug = False


def in_tests(run: Commands) -> Iterator[None]:
    run.app.testing = True
    yield
    run.app.testing = False


def shadowed_role(run: Commands) -> Iterator[None]:
    run.app.extensions["gatehouse"].role("clerk", [])
    change(run, sa.insert(schema.role).values(name="clerk", created_at=0))
    yield
    change(run, sa.delete(schema.role).where(schema.role.c.name == "clerk"))


def old_hashes(run: Commands) -> Iterator[None]:
    with run.services.reading() as connection:
        kept = passwords.sample_digests(connection, 1)[0]
    values = schema.password.update().where(schema.password.c.digest == kept)
    change(run, values.values(digest="$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$aGFzaA"))
    yield
    change(run, schema.password.update().where(schema.password.c.digest.contains("m=65536")).values(digest=kept))


def file_mode(run: Commands) -> Iterator[None]:
    folder = sa.make_url(run.services.settings.database_url).database or ""
    path = Path(folder)
    path.chmod(0o644)
    yield
    path.chmod(0o600)


def no_administrator(run: Commands) -> Iterator[None]:
    change(run, sa.delete(schema.grant))
    yield
    for name in ("root", "second"):
        run.ok("role", "grant", name, "admin")


def one_administrator(run: Commands) -> Iterator[None]:
    run.ok("role", "withdraw", "second", "admin", "--reason", "a test")
    yield
    run.ok("role", "grant", "second", "admin")


def temporary_passwords(run: Commands) -> Iterator[None]:
    run.create("third")
    run.ok("user", "reset", "third", "--temporary")
    yield
    change(run, sa.update(schema.password).values(temporary_until=None))


def disabled_passwords(run: Commands) -> Iterator[None]:
    run.create("third")
    values = {"key": "user:3", "count": 100, "total": 100, "ends_at": 0, "blocked_until": 0, "refunded_until": 0}
    change(run, sa.insert(schema.counter).values(**values))
    yield
    run.ok("user", "unlock", "third")


def audit_unheard(_run: Commands) -> Iterator[None]:
    log = logging.getLogger("flask_gatehouse.audit")
    log.setLevel(logging.WARNING)
    yield
    log.setLevel(logging.INFO)


CASES: dict[str, Case] = {
    "route": route,
    "rule": rule,
    "schema": old_schema,
    "audit-chain": audit_chain,
    "debug": debug,
    "testing": in_tests,
    "shadowed-role": shadowed_role,
    "old-hashes": old_hashes,
    "file-mode": file_mode,
    "no-administrator": no_administrator,
    "one-administrator": one_administrator,
    "temporary-passwords": temporary_passwords,
    "disabled-passwords": disabled_passwords,
    "audit-unheard": audit_unheard,
}
OTHERWISE = {  # tests of their own, below
    *("app", "unsafe-setting", "setting", "advised-setting", "unlabelled-routes"),
    *("database", "database-password", "database-tls", "audit-rights"),
    *("old-seals", "lost-seals"),  # in test_keys.py
}


def test_every_kind_of_finding_is_shown_by_a_test():
    assert CASES.keys() | OTHERWISE == KINDS.keys()
    assert [kind.severity for kind in KINDS.values()] == sorted(
        (kind.severity for kind in KINDS.values()), key=list(Severity).index
    )


@pytest.mark.parametrize("kind", CASES)
def test_v13_2_3_a_finding_appears_with_its_cause_and_goes_with_its_mend(well, kind):
    case = CASES[kind](well)
    next(case)
    assert findings(well).keys() == {kind}
    shown = well("check").stdout
    assert KINDS[kind].severity.value in shown
    assert all(requirement in shown for requirement in KINDS[kind].requirements)
    assert next(case, "over") == "over"
    assert findings(well) == {}


def test_rule_27_a_cut_tail_is_found_against_a_head_and_a_head_that_is_none_is_a_usage_error(well):
    kept = well.json("audit", "verify")["head"]
    assert findings(well, "--head", kept) == {}
    number, _, digest = kept.partition(":")
    assert findings(well, "--head", f"{number}:{digest[::-1]}").keys() == {"audit-chain"}
    assert "--head" in well.misused("check", "--head", "nonsense")


def test_routes_without_a_label_are_named(make_app):
    run = Commands(make_app(**WELL))
    assert findings(run)["unlabelled-routes"]["text"].startswith("/async, /change, /protected have no label")
    for endpoint in BARE:
        run.app.extensions["gatehouse"].public(endpoint)
    assert "unlabelled-routes" not in findings(run)


@pytest.mark.parametrize(
    "config, kind, subject, mend",
    [
        ({"GATEHOUSE_SECRET_KEY": "change-me-" * 4}, "unsafe-setting", "GATEHOUSE_SECRET_KEY", {}),
        ({"GATEHOUSE_SECRET_KEY": "x" * 40}, "unsafe-setting", "GATEHOUSE_SECRET_KEY", {}),
        ({"GATEHOUSE_PEPPER": "short"}, "unsafe-setting", "GATEHOUSE_PEPPER", {"GATEHOUSE_PEPPER": ""}),
        ({"GATEHOUSE_TRUSTED_PROXIES": "0.0.0.0/1,128.0.0.0/1"}, "unsafe-setting", "GATEHOUSE_TRUSTED_PROXIES", {}),
        ({"GATEHOUSE_TRUSTED_PROXIES": "2000::/3"}, "unsafe-setting", "GATEHOUSE_TRUSTED_PROXIES", {}),
        (
            {"GATEHOUSE_SESSION_ABSOLUTE": "36500d"},
            "setting",
            "GATEHOUSE_SESSION_ABSOLUTE",
            {"GATEHOUSE_SESSION_ABSOLUTE": "30d"},
        ),
        ({"GATEHOUSE_REMEMBER": "31d"}, "setting", "GATEHOUSE_REMEMBER", {"GATEHOUSE_REMEMBER": "30d"}),
        ({"GATEHOUSE_SESSION_IDLE": "25h"}, "setting", "GATEHOUSE_SESSION_IDLE", {"GATEHOUSE_SESSION_IDLE": "24h"}),
        ({"GATEHOUSE_SESSION_ABSOLUTE": "30m"}, "setting", "GATEHOUSE_SESSION_IDLE", {"GATEHOUSE_SESSION_IDLE": "30m"}),
        ({"GATEHOUSE_ADMIN_IDLE": "61m"}, "setting", "GATEHOUSE_ADMIN_IDLE", {"GATEHOUSE_ADMIN_IDLE": "60m"}),
        ({"GATEHOUSE_FRESH": "61m"}, "setting", "GATEHOUSE_FRESH", {"GATEHOUSE_FRESH": "60m"}),
        ({"GATEHOUSE_MAIL_URL": "console:"}, "unsafe-setting", "GATEHOUSE_MAIL_URL", {}),
        ({"GATEHOUSE_MAIL_URL": "smtp://mail.example?starttls=never"}, "setting", "GATEHOUSE_MAIL_URL", {}),
        ({"GATEHOUSE_MAIL_SENDER": ""}, "unsafe-setting", "GATEHOUSE_MAIL_SENDER", {}),
        ({"GATEHOUSE_MAIL_URL": ""}, "advised-setting", "GATEHOUSE_MAIL_URL", {}),
        ({"GATEHOUSE_MAIL_CONTACT": ""}, "advised-setting", "GATEHOUSE_MAIL_CONTACT", {}),
        ({"GATEHOUSE_MAIL_URL": "", "GATEHOUSE_LOGIN_NAME": "both"}, "unsafe-setting", "GATEHOUSE_LOGIN_NAME", {}),
        (
            {"GATEHOUSE_SECRET_KEY_FALLBACKS": SECRET},
            "advised-setting",
            "GATEHOUSE_SECRET_KEY_FALLBACKS",
            {"GATEHOUSE_SECRET_KEY_FALLBACKS": ""},
        ),
        ({"GATEHOUSE_TRUSTED_PROXIES": "none"}, "advised-setting", "GATEHOUSE_TRUSTED_PROXIES", {}),
        ({"REMEMBER_COOKIE_DURATION": 9}, "advised-setting", "REMEMBER_COOKIE_DURATION", None),
        ({"MAX_CONTENT_LENGTH": None}, "advised-setting", "MAX_CONTENT_LENGTH", {}),
    ],
)
def test_v13_2_3_v7_3_1_v7_3_2_63b_2_1_3_1_63b_2_2_3_2_a_setting_is_named_and_its_mend_makes_it_go(
    make_app, config, kind, subject, mend
):
    found = findings(Commands(make_app(**WELL | config)))
    assert found[kind]["subject"] == subject
    assert found[kind]["requirements"] == list(OF_SETTINGS.get(subject, KINDS[kind].requirements))
    back = {key: WELL[key] for key in config if key in WELL}
    mended = WELL if mend is None else WELL | config | back | mend  # None: the key itself is what has to go
    assert findings(Commands(make_app(**mended))).keys() & {kind} == set()


def test_settings_that_cannot_be_read_are_a_finding(in_folder, make_app, monkeypatch):
    monkeypatch.setenv("GATEHOUSE_FRESH", "soon")
    result = in_folder("check", "--json", app=lambda: make_app(**WELL))
    (finding,) = json.loads(result.stdout)["findings"]
    assert (finding["finding"], finding["severity"], finding["subject"]) == ("app", "unsafe", "settings")


def test_rule_30_a_database_named_by_a_uri_is_looked_at_where_it_is(make_app, tmp_path):
    path = tmp_path / "gatehouse.sqlite3"
    run = Commands(make_app(**WELL, GATEHOUSE_DATABASE_URL=f"sqlite:///file:{path}?uri=true"))
    run.ok("db", "upgrade")
    assert "file-mode" not in findings(run)
    path.chmod(0o644)
    assert findings(run)["file-mode"]["subject"] == str(path)


# --- PostgreSQL --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url, kind, mended",
    [
        ("postgresql+psycopg://gate:gate@{}/x", "database-password", "postgresql+psycopg://gate:eiX0sheph2@{}/x"),
        ("postgresql+psycopg://gate:postgres@{}/x", "database-password", "postgresql+psycopg://gate:eiX0sheph2@{}/x"),
        ("postgresql+psycopg://db.invalid/x", "database-tls", "postgresql+psycopg://db.invalid/x?sslmode=verify-full"),
        (
            "postgresql+psycopg://db.invalid/x?sslmode=require",
            "database-tls",
            "postgresql+psycopg://db.invalid/x?sslmode=verify-ca",
        ),
        ("postgresql+psycopg://db.invalid/x?sslmode=prefer", "database-tls", "postgresql+psycopg://127.0.0.1:9/x"),
        ("postgresql+psycopg:///x?host=db.invalid", "database-tls", "postgresql+psycopg:///x?host=127.0.0.1&port=9"),
        (
            "postgresql+psycopg://127.0.0.1:9/x?host=db.invalid",
            "database-tls",
            "postgresql+psycopg://db.invalid/x?host=127.0.0.1&port=9",
        ),
        ("postgresql+psycopg://127.0.0.1:9/x?hostaddr=0.0.0.0", "database-tls", "postgresql+psycopg://{}/x"),
        (
            "postgresql+psycopg:///x?host=127.0.0.1:9&host=db.invalid:9",
            "database-tls",
            "postgresql+psycopg:///x?host=127.0.0.1:9&host=localhost:9",
        ),
        (
            "postgresql+psycopg://gate@{}/x?password=postgres",
            "database-password",
            "postgresql+psycopg://gate:postgres@{}/x?password=eiX0sheph2",
        ),
    ],
)
def test_v12_3_1_v13_2_1_v13_2_3_how_the_database_is_reached_is_judged(make_app, url, kind, mended):
    before, after = (one.format("127.0.0.1:9") for one in (url, mended))
    found = findings(Commands(make_app(**WELL, GATEHOUSE_DATABASE_URL=before)))
    assert found.keys() >= {kind, "database"}  # nobody answers there, which is told besides
    assert "eiX0sheph2" not in str(found)
    assert kind not in findings(Commands(make_app(**WELL, GATEHOUSE_DATABASE_URL=after)))


def test_rule_29_v16_4_2_a_role_that_may_change_the_log_is_found(make_app, postgres_url):
    may_change = "GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO {role}"
    with databases.role(postgres_url, may_change) as role:
        run = Commands(make_app(**WELL, GATEHOUSE_DATABASE_URL=role.url))
        try:
            assert "audit-rights" in findings(run)
            role.grant("REVOKE UPDATE ON gatehouse_event FROM {role}")
            assert "audit-rights" not in findings(run)
        finally:
            databases.close(run.app)
