"""`gatehouse check` and `gatehouse db`: they look at an app that may be unfit to serve."""

from __future__ import annotations

import json
import sqlite3

import pytest
from sqlalchemy import insert
from werkzeug.security import generate_password_hash

from flask_gatehouse import migrations
from flask_gatehouse.domain import passwords
from flask_gatehouse.kernel.schema import REVISION, role
from tests.cli.conftest import PASSWORD, SAFE, Commands
from tests.support.apps import SECRET

SOUND = {
    **SAFE,
    "SECRET_KEY": SECRET,
    "TESTING": False,
    "GATEHOUSE_ARGON2": "19456,2,1",
    "GATEHOUSE_MAIL_URL": "smtps://mail.example",
    "GATEHOUSE_MAIL_SENDER": "no-reply@app.example",
    "GATEHOUSE_MAIL_CONTACT": "help@app.example",
}


def check(run, exit_code=1):
    """Return the findings by where they are, advice aside."""
    result = run("check", "--json")
    assert result.exit_code == exit_code, result.output
    findings = json.loads(result.stdout)["findings"]
    return {finding["subject"]: finding["text"] for finding in findings if finding["severity"] != "advice"}


@pytest.fixture
def sound(make_app, database_url):
    """Return commands on an app that has nothing to mend."""
    return Commands(make_app(**SOUND))


def test_an_app_with_nothing_to_mend_is_told_so(sound):
    assert sound.ok("check").splitlines()[-1] == "All is well."
    told = sound.json("check")
    assert (told["is_safe"], told["schema"]) == (True, REVISION)
    assert told["audit_head"] == sound.json("audit", "verify")["head"]
    assert {finding["severity"] for finding in told["findings"]} == {"advice"}


@pytest.mark.parametrize(
    "config, setting, mend",
    [
        ({"GATEHOUSE_SECRET_KEY": "short"}, "GATEHOUSE_SECRET_KEY", "token_urlsafe"),
        ({"GATEHOUSE_SECRET_KEY": "", "SECRET_KEY": ""}, "GATEHOUSE_SECRET_KEY", "token_urlsafe"),
        ({"GATEHOUSE_SECRET_KEY_FALLBACKS": "short"}, "GATEHOUSE_SECRET_KEY_FALLBACKS", "remove it"),
        ({"GATEHOUSE_ORIGINS": ""}, "GATEHOUSE_ORIGINS", "https://app.example"),
        ({"GATEHOUSE_ORIGINS": "http://app.example"}, "GATEHOUSE_ORIGINS", "https://"),
        ({"GATEHOUSE_THROTTLE": "off"}, "GATEHOUSE_THROTTLE", "remove it"),
        ({"GATEHOUSE_ARGON2": "1024,1,1"}, "GATEHOUSE_ARGON2", "19456,2,1"),
        ({"GATEHOUSE_SESSION_IDLE": "5"}, "GATEHOUSE_SESSION_IDLE", "60 or more"),
        ({"WTF_CSRF_ENABLED": False}, "WTF_CSRF_ENABLED", "remove it"),
        ({"SESSION_COOKIE_HTTPONLY": False}, "SESSION_COOKIE_HTTPONLY", "remove it"),
        ({"SESSION_COOKIE_SAMESITE": "None"}, "SESSION_COOKIE_SAMESITE", "remove it"),
    ],
)
def test_v13_2_3_each_unsafe_setting_is_named_with_its_mend(make_app, config, setting, mend):
    found = check(Commands(make_app(**SOUND | config)))
    assert mend in found[setting]


@pytest.mark.parametrize(
    "config, setting, mend",
    [
        ({"GATEHOUSE_VALKEY_URL": "redis://localhost"}, "GATEHOUSE_VALKEY_URL", "not used by this release: remove it"),
        (
            {"GATEHOUSE_MAIL_URL": "smtp://mail.example?starttls=never"},
            "GATEHOUSE_MAIL_URL",
            "without TLS: remove starttls=never",
        ),
        ({"GATEHOUSE_FIRST_USER_ADMIN": True}, "GATEHOUSE_FIRST_USER_ADMIN", "gatehouse init --admin NAME"),
    ],
)
def test_a_setting_that_does_not_do_what_one_might_think_is_named_and_the_app_serves(
    make_app, database_url, config, setting, mend
):
    app = make_app(**SOUND | config)
    found = check(Commands(app))
    assert found.keys() == {setting}
    assert mend in found[setting]
    assert app.test_client().get("/", base_url="https://app.example").status_code == 200


def test_the_first_to_register_may_be_administrator_in_debug_and_tests(make_app, database_url):
    app = make_app(**SOUND | {"GATEHOUSE_FIRST_USER_ADMIN": True})
    app.debug = True
    assert check(Commands(app)).keys() == {"app.debug"}


def test_what_is_unsafe_is_shown_to_people_too(make_app):
    result = Commands(make_app(**SOUND | {"GATEHOUSE_ORIGINS": ""}))("check")
    assert result.exit_code == 1
    assert "GATEHOUSE_ORIGINS" in result.stdout
    assert "All is well" not in result.stdout


@pytest.mark.parametrize(
    "env, said",
    [
        ({"GATEHOUSE_PASWORD_MIN": "8"}, "unknown setting GATEHOUSE_PASWORD_MIN"),
        ({"GATEHOUSE_PASSWORD_MIN": "many"}, "GATEHOUSE_PASSWORD_MIN must be a whole number"),
        (
            {"GATEHOUSE_SECRET_KEY_FILE": "nowhere"},
            "GATEHOUSE_SECRET_KEY_FILE: cannot read nowhere: No such file or directory; mend the path or its mode",
        ),
        ({"GATEHOUSE_FEATURES": "telepathy"}, "telepathy"),
    ],
)
def test_a_setting_that_is_unknown_or_cannot_be_read_is_reported(in_folder, make_app, monkeypatch, env, said):
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    result = in_folder("check", "--json", app=lambda: make_app(TESTING=False, SECRET_KEY=SECRET))
    assert (result.exit_code, result.stderr) == (1, "")
    (finding,) = json.loads(result.stdout)["findings"]
    assert finding["subject"] == "settings"
    assert said in finding["text"]


def test_v13_4_2_debug_is_said_to_hide_what_is_unsafe_elsewhere(make_app, database_url):
    app = make_app(**SOUND | {"GATEHOUSE_ORIGINS": ""})
    app.debug = True
    found = check(Commands(app))
    assert found.keys() == {"app.debug"}
    assert "is not looked for" in found["app.debug"]


def test_a_role_of_the_code_that_the_database_has_too_is_reported(sound):
    sound.app.extensions["gatehouse"].role("clerk", [])
    with sound.services.unit() as unit:
        unit.connection.execute(insert(role).values(name="clerk", created_at=0))
    assert check(sound) == {"roles": "role clerk is declared in code and in the database: the code's permissions count"}


def test_a_label_that_is_lost_is_reported(make_app):
    def setup(app, gate):
        @app.post("/our")
        def theirs():
            return ""

        app.add_url_rule("/login", "theirs", theirs)

    assert "/login" in check(Commands(make_app(setup, **SOUND)))["/login"]


# --- rule 30: modes of files -------------------------------------------------------------------------------


@pytest.fixture
def on_sqlite(make_app, tmp_path):
    """Return commands on an app with a database file in its instance folder."""
    run = Commands(make_app(**SOUND, GATEHOUSE_DATABASE_URL=f"sqlite:///{tmp_path / 'instance' / 'db.sqlite3'}"))
    run.ok("db", "upgrade")
    return run


@pytest.mark.parametrize("ending", ["", "-wal", "-shm"])
def test_rule_30_a_database_file_that_others_can_reach_is_reported(on_sqlite, tmp_path, ending):
    keeper = sqlite3.connect(tmp_path / "instance" / "db.sqlite3")  # keeps -wal and -shm in place
    keeper.execute("SELECT count(*) FROM gatehouse_user").fetchall()
    path = tmp_path / "instance" / f"db.sqlite3{ending}"
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    assert check(on_sqlite) == {str(path): f"others can reach it (mode 0640): chmod 600 instance/{path.name}"}
    keeper.close()


def test_rule_30_an_instance_folder_that_others_can_reach_is_reported(on_sqlite, tmp_path):
    folder = tmp_path / "instance"
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o755)
    assert check(on_sqlite) == {str(folder): "others can reach it (mode 0755): chmod 700 instance"}


def test_rule_30_a_loose_env_file_is_reported(on_sqlite, tmp_path):
    path = tmp_path / ".env"
    path.write_text("FLASK_APP=app\n", encoding="utf-8")
    path.chmod(0o644)
    assert check(on_sqlite) == {str(path): "others can reach it (mode 0644): chmod 600 .env"}
    path.chmod(0o600)
    assert check(on_sqlite, 0) == {}


@pytest.mark.parametrize("place", ["environment", ".env"])
def test_rule_30_a_loose_key_file_is_reported(on_sqlite, tmp_path, monkeypatch, place):
    path = tmp_path / "key"
    path.write_text(SECRET, encoding="utf-8")
    path.chmod(0o604)
    if place == "environment":
        monkeypatch.setenv("GATEHOUSE_SECRET_KEY_FILE", str(path))
    else:
        (tmp_path / ".env").write_text(f"GATEHOUSE_SECRET_KEY_FILE={path}\n", encoding="utf-8")
        (tmp_path / ".env").chmod(0o600)
    assert check(on_sqlite) == {str(path): "others can reach it (mode 0604): chmod 600 key"}


def test_no_secret_is_printed(make_app):
    canary = "canary-canary-canary-canary"
    names = ("GATEHOUSE_SECRET_KEY", "GATEHOUSE_SECRET_KEY_FALLBACKS", "GATEHOUSE_PEPPER")
    run = Commands(make_app(**SOUND | dict.fromkeys(names, canary)))
    for arguments in (("check",), ("check", "--json"), ("db", "upgrade"), ("routes",), ("audit", "verify")):
        assert canary not in run(*arguments).output


# --- the database ------------------------------------------------------------------------------------------


@pytest.fixture
def bare(make_app, empty_database_url):
    """Return commands on an app whose database has no tables yet."""
    return Commands(make_app(**SOUND | {"GATEHOUSE_DATABASE_URL": empty_database_url}))


def test_tables_are_made_by_db_upgrade_and_only_looked_at_by_check(bare):
    assert "gatehouse db upgrade" in check(bare)["database"]
    assert bare.json("db", "current") == {"schema": None, "newest": REVISION}
    assert "no tables yet" in bare.ok("db", "current")
    assert bare.json("db", "upgrade") == {"before": None, "schema": REVISION}
    assert "newest already" in bare.ok("db", "upgrade")
    assert bare.ok("db", "current") == f"{REVISION} (newest)\n"
    assert check(bare, 0) == {}


def test_postgresql_without_tables_sends_to_db_upgrade(make_app, postgres_url):
    bare = Commands(make_app(**SOUND | {"GATEHOUSE_DATABASE_URL": postgres_url}))
    assert "gatehouse db upgrade" in bare.refused("user", "list")


def test_sqlite_makes_its_tables_by_itself(make_app, tmp_path):
    bare = Commands(make_app(**SOUND | {"GATEHOUSE_DATABASE_URL": f"sqlite:///{tmp_path / 'new.sqlite3'}"}))
    assert bare.json("user", "list") == []


@pytest.mark.parametrize("revision, mend", [("0000", "gatehouse db upgrade"), ("9999", "install that release")])
def test_the_age_of_the_schema_is_reported(sound, monkeypatch, revision, mend):
    monkeypatch.setattr(migrations, "current", lambda _database: revision)
    assert mend in check(sound)["database"]
    assert sound.ok("db", "current") == f"{revision} (this release needs {REVISION})\n"


@pytest.fixture
def down(make_app, tmp_path):
    """Return commands on an app whose database does not answer."""
    return Commands(make_app(**SOUND | {"GATEHOUSE_DATABASE_URL": f"postgresql+psycopg://gate@/gate?host={tmp_path}"}))


@pytest.mark.parametrize("command", ["user list", "db current", "db upgrade", "audit verify", "init --admin root"])
def test_a_database_that_does_not_answer_is_one_line(down, command):
    result = down(*command.split(), stdin=f"{PASSWORD}\n")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: the database does not answer: ")
    assert result.stderr.count("\n") == 1


def test_a_database_that_does_not_answer_is_a_finding(down):
    assert "does not answer" in check(down)["database"]


def test_a_fault_is_told_once(program, app_file, tmp_path):
    env = {**SAFE, "GATEHOUSE_DATABASE_URL": f"postgresql+psycopg://gate@/gate?host={tmp_path}"}
    result = program("user", "list", env=env)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (1, "", 1)


def test_rule_9_passwords_left_over_from_slower_old_schemes_are_reported(sound):
    for number, digest in enumerate(
        [
            generate_password_hash("old", method="scrypt:1024:8:1"),
            generate_password_hash("old", method="scrypt:1024:8:1"),
            "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$aGFzaA",
        ]
    ):
        sound.create(f"user{number}")
        with sound.services.unit() as unit:
            user_id = sound.json("user", "show", f"user{number}")["id"]
            passwords.store(unit.connection, user_id, digest, unit.now)
    sound.create("present")
    result = sound("check")
    assert result.exit_code == 1
    assert "2 hashed by scrypt:1024:8:1" in result.stdout
    assert "1 hashed by argon2id$v=19$m=65536,t=3,p=4" in result.stdout
    assert "m=19456" not in result.stdout


def test_peppered_passwords_are_of_the_present_scheme(make_app, database_url):
    run = Commands(make_app(**SOUND, GATEHOUSE_PEPPER="a pepper that is long enough for anybody"))
    run.create("alice")
    assert check(run, 0) == {}
