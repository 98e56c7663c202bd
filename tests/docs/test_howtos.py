"""The other how-tos: their commands run, their code does what they say."""

from __future__ import annotations

import importlib
import json
from urllib.parse import parse_qs, urlsplit

import pyotp
import pytest
from flask import Flask, render_template, session, template_rendered
from flask_sqlalchemy import SQLAlchemy
from jinja2 import FileSystemLoader
from sqlalchemy import create_engine, text
from sqlalchemy.exc import ProgrammingError
from werkzeug.security import generate_password_hash

import flask_gatehouse
from flask_gatehouse import Gatehouse
from flask_gatehouse.demo import create_app as create_demo
from flask_gatehouse.flows import reset_password
from flask_gatehouse.kernel.identity import CLI
from tests.docs import pages, shell
from tests.support import SOURCE, databases, modules
from tests.support.people import Elements, confirming_link
from tests.support.visitor import csrf_token, submit

PASSWORD = "correct horse battery"
SECRET = "a secret of the tests, long enough to be taken for one"


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Return a loader of a Python file that a page shows."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def load_one(name: str, file: str):
        (tmp_path / file).write_text(pages.files(pages.page(name))[file], encoding="utf-8")
        return importlib.import_module(file.removesuffix(".py"))

    with modules.forgotten(tmp_path):
        yield load_one


@pytest.fixture
def config(tmp_path):
    """Return settings of an app of its own."""
    return {
        "TESTING": True,
        "SECRET_KEY": SECRET,
        "GATEHOUSE_ARGON2": "1024,1,1",
        "GATEHOUSE_DATABASE_URL": f"sqlite:///{tmp_path / 'gatehouse.sqlite3'}",
    }


def log_in(client, username):
    assert submit(client, "/login", username=username, password=PASSWORD).status_code == 303


# --- commands ----------------------------------------------------------------------------------------------

APP = """
from flask import Flask
from flask_gatehouse import Gatehouse, public

app = Flask(__name__)
Gatehouse(app)


@app.get("/")
@public
def home():
    return "open"
"""


@pytest.mark.parametrize("name", ["deploy", "second-factors", "secrets", "collect-logs"])
def test_the_commands_of_the_page_do_what_it_says(name, tmp_path):
    page = pages.page(f"howto/{name}.md")
    (tmp_path / "app.py").write_text(pages.files(page).get("app.py", APP), encoding="utf-8")
    if name != "deploy":
        shell.run_one("gatehouse init --admin alice", tmp_path, stdin=f"{PASSWORD}\n")
    for block in pages.blocks(page, "console"):
        shell.run(block.text, tmp_path, stdin=f"{PASSWORD}\n")


@pytest.fixture
def older_events(tmp_path, monkeypatch):
    """Return an adder of events to the app in the test's folder, some days old."""

    def add(days: int, count: int) -> None:
        program = (
            "import app; from datetime import timedelta\n"
            "from flask_gatehouse.domain.audit import Event; from flask_gatehouse.kernel.identity import APP\n"
            "from flask_gatehouse.kernel.clock import micros\n"
            "services = app.app.extensions['gatehouse'].services(app.app)\n"
            "with services.database.unit() as connection:\n"
            f"    at = services.clock.now() - micros(timedelta(days={days}))\n"
            f"    services.audit.append(connection, [Event('user.created', APP)] * {count}, at)\n"
        )
        (tmp_path / "add.py").write_text(program, encoding="utf-8")
        shell.run_one("set -a; . ./.env; set +a; python add.py", tmp_path)

    return add


def test_v14_2_7_the_audit_log_is_kept_for_as_long_as_the_page_says(tmp_path, older_events):
    page = pages.page("howto/keep-the-audit-log.md")
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    shell.run_one("gatehouse init", tmp_path)
    shell.run_one("gatehouse db upgrade", tmp_path)
    older_events(400, 3)
    older_events(300, 4)
    older_events(2, 1)
    for block in pages.blocks(page, "console"):
        shell.run(block.text, tmp_path)
    left = json.loads(shell.run_one("gatehouse audit list --json", tmp_path))
    assert [row["id"] for row in left] == list(range(9, 3, -1))


def test_the_tests_of_the_page_pass(tmp_path):
    for name, shown in pages.files(pages.page("howto/test-your-app.md")).items():
        (tmp_path / name).write_text(shown, encoding="utf-8")
    assert "4 passed" in shell.run_one("python -m pytest -q -p no:cacheprovider", tmp_path)


# --- code --------------------------------------------------------------------------------------------------


def test_object_rules_decide_as_the_page_says(load, config):
    module = load("howto/object-rules.md", "invoices.py")
    app = module.create_app(config)
    with app.app_context():
        for name, roles in (("anna", ["customer"]), ("bert", ["customer", "clerk"]), ("chef", ["admin"])):
            module.gate.create_user(name, PASSWORD, roles=roles)
    clients = {name: app.test_client() for name in ("anna", "bert", "chef")}
    for name, client in clients.items():
        log_in(client, name)
    anna, bert, chef = clients.values()
    assert anna.get("/invoices/1").json == {"id": 1, "may_refund": False}
    assert anna.get("/invoices/2").status_code == 403
    assert bert.get("/invoices/1").json == {"id": 1, "may_refund": True}
    assert bert.get("/invoices/2").json == {"id": 2, "may_refund": False}
    assert chef.get("/invoices/1").json == {"id": 1, "may_refund": True}
    assert [client.get("/invoices").json for client in (anna, bert, chef)] == [[1], [1, 2], [1, 2]]
    databases.close(app)


def test_v6_3_3_what_demands_a_second_factor_does_so_as_the_page_says(load, config):
    module = load("howto/second-factors.md", "payments.py")
    app = module.create_app(config)
    people = (("anna", ["payer"]), ("bert", ["auditor"]), ("chef", ["admin"]))
    with app.app_context():
        for name, roles in people:
            module.gate.create_user(name, PASSWORD, roles=roles)
    anna, bert, chef = clients = [app.test_client() for _ in people]
    for client, (name, _) in zip(clients, people, strict=True):
        log_in(client, name)
    assert anna.get("/payments").json == {"may_approve": False}
    assert bert.get("/payments").location == "/account/security?next=/payments"
    assert chef.get("/payments").json == {"may_approve": False}
    for client in (anna, chef):
        assert client.get("/payments/approve").location == "/account/security?next=/payments/approve"
        assert client.get("/payments/limits").status_code == 302
    for client in clients:
        shown = client.get("/account/security/totp").get_data(as_text=True)
        seed = shown.partition("secret=")[2].partition("&")[0]
        assert submit(client, "/account/security/totp", code=pyotp.TOTP(seed).now()).status_code == 200
    assert [client.get("/payments").json for client in clients] == [{"may_approve": yes} for yes in (True, False, True)]
    assert [client.get("/payments/approve").status_code for client in clients] == [200, 403, 200]
    assert anna.get("/payments/limits").text == "limits"


def test_a_route_demands_a_second_factor_as_the_page_says(load, config, monkeypatch):
    for name, value in config.items():
        monkeypatch.setenv(name if name.startswith("GATEHOUSE_") else f"GATEHOUSE_{name}", str(value))
    monkeypatch.setenv("GATEHOUSE_FEATURES", "totp,recovery_codes")
    monkeypatch.setenv("GATEHOUSE_ORIGINS", "http://localhost")
    monkeypatch.delenv("GATEHOUSE_TESTING")
    monkeypatch.delenv("GATEHOUSE_ARGON2")
    app = load("howto/second-factors.md", "app.py").app
    with app.app_context():
        app.extensions["gatehouse"].create_user("alice", PASSWORD)
    client = app.test_client()
    log_in(client, "alice")
    assert client.get("/vault").location == "/account/security?next=/vault"
    refused = client.get("/vault", headers={"Accept": "application/json"})
    assert (refused.status_code, refused.json["type"].rpartition("/")[2]) == (403, "enrol")
    shown = Elements(client.get("/account/security/totp").text)
    link = next(a["href"] for a in shown.named("a") if a["href"].startswith("otpauth:"))
    code = pyotp.TOTP(parse_qs(urlsplit(link).query)["secret"][0]).now()
    enrolled = submit(client, "/account/security/totp", code=code)
    assert len(Elements(enrolled.text).named("li")) >= 10
    assert client.get("/vault").text == "gold"
    assert submit(app.test_client(), "/login", username="alice", password=PASSWORD).location == "/login/factor"
    databases.close(app)


def test_a_view_that_forgets_to_ask_about_its_object_is_withheld(load, config):
    module = load("howto/object-rules.md", "invoices.py")
    app = module.create_app(config)

    @app.get("/careless")
    @flask_gatehouse.requires("invoice:read")
    def careless() -> str:
        return "somebody else's invoice"

    with app.app_context():
        module.gate.create_user("anna", PASSWORD, roles=["customer"])
    client = app.test_client()
    log_in(client, "anna")
    answer = client.get("/careless")
    assert answer.status_code == 500
    assert "invoice" not in answer.get_data(as_text=True)
    databases.close(app)


def test_users_move_with_their_werkzeug_passwords(load, config):
    app, db, gate = Flask("old"), SQLAlchemy(), Gatehouse()
    app.config.update(config, SQLALCHEMY_DATABASE_URI=config["GATEHOUSE_DATABASE_URL"])
    db.init_app(app)
    gate.init_app(app, db=db)
    move_users = load("howto/from-flask-login.md", "move_users.py").move_users
    old = [
        ("alice", "a@example.org", generate_password_hash(PASSWORD)),
        ("no name", None, "x"),
        ("bob", "not an address", "x"),
        ("Alice", None, "x"),
    ]
    old.append(("carol", None, generate_password_hash(PASSWORD)))
    with app.app_context():
        left = move_users(gate, db, old)
    assert [line.partition(": ")[0] for line in left] == ["no name", "bob", "Alice"]
    assert "address" in left[1]
    client = app.test_client()
    log_in(client, "alice")
    log_in(app.test_client(), "carol")
    with app.app_context():
        digests = db.session.execute(text("SELECT digest FROM gatehouse_password")).scalars().all()
        assert ["$argon2id$" in digest for digest in digests] == [True, True]
        db.session.remove()
        db.engine.dispose()
    databases.close(app)


def test_the_hosts_own_answer_to_403_wins(load, config):
    module = load("howto/templates.md", "refusals.py")
    app = module.create_app(config)
    with app.app_context():
        app.extensions["gatehouse"].create_user("alice", PASSWORD)
    client = app.test_client()
    log_in(client, "alice")
    assert "Ask your manager" in client.get("/safe").get_data(as_text=True)
    refused = client.get("/safe", headers={"Accept": "application/json"})
    assert (refused.status_code, refused.mimetype) == (403, "application/problem+json")
    databases.close(app)


def test_the_hosts_own_layout_frames_every_page(tmp_path, config):
    page = pages.page("howto/templates.md")
    for name, shown in pages.files(page).items():
        if name.startswith("templates/"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(shown, encoding="utf-8")
    app = create_demo(config)
    app.jinja_loader = FileSystemLoader(tmp_path / "templates")

    @app.get("/hello")
    def hello() -> str:
        return render_template("hello.html")

    client = app.test_client()
    fields = {"username": "alice", "password": PASSWORD, "confirm": PASSWORD}
    assert submit(client, "/register", **fields).status_code == 303
    assert "<header>My app </header>" in client.get("/login").get_data(as_text=True)
    log_in(client, "alice")
    for path in ("/account", "/hello", "/admin"):
        shown = client.get(path).get_data(as_text=True)
        assert "<header>My app <form" in shown
        assert csrf_token(shown)
    assert "<h1>Hello alice</h1>" in client.get("/hello").get_data(as_text=True)
    databases.close(app)


def test_every_page_is_given_what_the_manual_says(config):
    text_of_page = pages.page("howto/templates.md")
    rows = pages.table(pages.section(text_of_page, "What each page is given"))
    told = {row["page"].strip("`"): set(pages.code_words(row["is given"].partition(";")[0])) for row in rows}
    frames = {"layout.html", "macros.html", "users_table.html"}
    assert told.keys() == {path.name for path in (SOURCE / "templates" / "gatehouse").glob("*.html")} - frames
    app, given = create_demo(config), {}
    of_flask = {*app.jinja_env.globals, "g", "request", "session", "current_user", "config"}

    def note(_sender, template, context, **_):
        given[template.name.removeprefix("gatehouse/")] = context.keys() - of_flask

    with app.app_context():
        gate = app.extensions["gatehouse"]
        gate.create_user("root", PASSWORD, roles=["admin"])
        gate.create_user("alice", PASSWORD)
        gate.create_user("bob", PASSWORD)
        link = reset_password.make_link(gate.services(app), CLI, "alice")
        confirm = confirming_link(gate.services(app), "alice")
    guest, root, alice, bob = (app.test_client() for _ in range(4))
    for client, name in ((root, "root"), (alice, "alice"), (bob, "bob")):
        log_in(client, name)
    with template_rendered.connected_to(note, app):
        for path in ("/login", "/register", f"/reset-password/{link}", "/reset-password/ended"):
            guest.get(path)
        for path in ("/forgot-password", f"/verify-email/{confirm}"):
            guest.get(path)
        for path in ("/reauthenticate", "/account", "/account/password", "/account/security", "/account/sessions"):
            alice.get(path)
        for path in (
            "/account/activity",
            "/admin",
            "/admin/users",
            "/admin/users/2",
            "/admin/sessions",
            "/admin/audit",
        ):
            root.get(path)
        for path in ("/admin/roles", "/admin/roles/admin"):
            root.get(path)
        alice.get("/admin")
        alice.get("/account/security/passkeys")
        alice.get("/account/close")
        submit(bob, "/account/security/not-me", page="/account/security")
        log_in(bob, "bob")
        bob.get("/account/security")
        shown = Elements(alice.get("/account/security/totp").text)
        seed = parse_qs(urlsplit(next(a["href"] for a in shown.named("a") if a["href"].startswith("otpauth:"))).query)
        code = pyotp.TOTP(seed["secret"][0]).now()
        assert submit(alice, "/account/security/totp", code=code).status_code == 200
    elsewhere = {"factor.html", "turned_away.html"}  # they need a factor, and a flood
    assert given == {name: names for name, names in told.items() if name not in elsewhere}
    ours = [name for name in {**app.jinja_env.globals, **app.jinja_env.filters} if name.startswith("gatehouse_")]
    assert sorted(ours) == [
        "gatehouse_asks_factor",
        "gatehouse_browser",
        "gatehouse_known_browser",
        "gatehouse_nonce",
        "gatehouse_registration",
        "gatehouse_support",
        "gatehouse_time",
    ]
    assert [name for name in ours if name not in pages.section(text_of_page, "What templates know")] == []
    databases.close(app)


def test_v13_3_4_a_rotation_does_what_the_page_says(config):
    app = create_demo(config)

    @app.get("/remember")
    @flask_gatehouse.public
    def remember() -> str:
        return str(session.setdefault("value", "kept"))

    gate = app.extensions["gatehouse"]
    with app.app_context():
        gate.create_user("alice", PASSWORD)
    alice, guest = app.test_client(), app.test_client()
    log_in(alice, "alice")
    guest.get("/remember")
    held_cookies = [("gatehouse", alice), ("gatehouse-guest", guest)]
    cookies = [cookie for name, client in held_cookies if (cookie := client.get_cookie(name))]
    token = csrf_token(alice.get("/account").text)
    databases.close(app)

    for secrets, is_guest_known in (({"SECRET_KEY_FALLBACKS": [SECRET]}, True), ({}, False)):
        rotated = create_demo({**config, "SECRET_KEY": "another secret, as long as the one before it", **secrets})

        @rotated.get("/recall")
        @flask_gatehouse.public
        def recall() -> str:
            return str(session.get("value"))

        client = rotated.test_client()
        for cookie in cookies:
            client.set_cookie(cookie.key, cookie.value)
        assert client.get("/account").status_code == 200
        assert client.post("/logout", data={"csrf_token": token}).status_code == 403  # the form must be reloaded
        client.delete_cookie("gatehouse")
        assert client.get("/recall").text == str("kept" if is_guest_known else None)
        with rotated.app_context():
            held = rotated.extensions["gatehouse"].services(rotated)
            with held.reading() as connection:
                assert isinstance(held.audit.verify(connection), int)  # the refusal above renewed the head
        databases.close(rotated)


# --- PostgreSQL --------------------------------------------------------------------------------------------


def test_v13_2_2_the_app_works_under_the_rights_of_the_page_and_cannot_rewrite_the_log(postgres, postgres_url, config):
    shown = pages.files(pages.page("howto/postgresql.md"))
    owner = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    databases.migrate(postgres_url)
    with owner.connect() as connection:
        connection.execute(text("DROP ROLE IF EXISTS gatehouse_app; DROP ROLE IF EXISTS shop_owner"))
        for name in ("roles.sql", "grants.sql", "references.sql"):
            connection.execute(text(shown[name]))
    try:
        url = postgres_url.replace("postgres@", "gatehouse_app@")
        app = create_demo({**config, "GATEHOUSE_DATABASE_URL": url})
        _require_that_people_can_work(app)
        _require_that_the_log_stands(url)
        databases.close(app)
    finally:
        with owner.connect() as connection:
            connection.execute(text("DROP OWNED BY gatehouse_app, shop_owner; DROP ROLE gatehouse_app, shop_owner"))
        owner.dispose()


def _require_that_people_can_work(app):
    alice, bob = app.test_client(), app.test_client()
    for client, name in ((alice, "alice"), (bob, "bob")):
        submit(client, "/register", username=name, password=PASSWORD, confirm=PASSWORD)
        log_in(client, name)
    user = "/admin/users/2"
    assert submit(alice, f"{user}/grant", page=user, role="admin").status_code == 303
    assert submit(alice, f"{user}/withdraw", page=user, role="admin", reason="a try").status_code == 303
    assert submit(alice, f"{user}/suspend", page=user, reason="a try").status_code == 303
    assert bob.get("/protected").status_code == 302
    assert submit(bob, "/login", username="bob", password="wrong").status_code == 401
    assert submit(alice, f"{user}/restore", page=user).status_code == 303
    fields = {"current": PASSWORD, "password": "another good phrase", "confirm": "another good phrase"}
    assert submit(alice, "/account/password", **fields).status_code == 303


def _require_that_the_log_stands(url):
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    forbidden = (
        "UPDATE gatehouse_event SET kind = 'x'",
        "DELETE FROM gatehouse_event",
        "TRUNCATE gatehouse_event",
        "DELETE FROM gatehouse_chain_head",
        "DELETE FROM gatehouse_audit_segment",
        "INSERT INTO gatehouse_audit_segment VALUES (1, 1, '', 1, '')",
        "ALTER TABLE gatehouse_user ADD COLUMN x INTEGER",
        "CREATE TABLE x (id INTEGER)",
    )
    with engine.connect() as connection:
        for statement in forbidden:
            with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"):
                connection.execute(text(statement))
    engine.dispose()
