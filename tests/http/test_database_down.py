"""The database is gone: 503 with `Retry-After`, nothing half done, and all is well as soon as it is back."""

from __future__ import annotations

import logging

import pytest
from filelock import FileLock
from flask import session

from flask_gatehouse import migrations, public
from flask_gatehouse.kernel import database as database_module
from flask_gatehouse.kernel.database import Database, open_engine
from tests.http.people import (
    JSON,
    PASSWORD,
    add_user,
    come_in,
    cookie,
    count,
    entries,
    is_inside,
    log_in,
    problem,
    services,
    token_of,
)


def pages(app, gate):
    app.get("/protected", endpoint="protected")(lambda: "inside")
    app.get("/open", endpoint="open")(public(lambda: "open"))

    @app.get("/keep")
    def keep():
        session["value"] = "kept"
        return "kept"


@pytest.fixture
def fallen(build, own_postgres):
    """Return an app on a PostgreSQL server of the test's own, with somebody inside."""
    url = own_postgres.url(own_postgres.create_database())
    database = Database(open_engine(url))
    migrations.upgrade(database)
    database.close()
    app = build(pages, GATEHOUSE_DATABASE_URL=url)
    app.extensions["alice"] = come_in(app)
    return app


def is_unavailable(answer):
    """Tell whether an answer is the 503 of a database that is gone."""
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in answer.headers
    assert not any(word in answer.text for word in ("psycopg", "Traceback", "socket", "SELECT"))
    return True


def test_v16_3_4_v16_5_2_v16_5_3_a_stopped_server_is_503_for_all_that_need_it_and_recovers_by_itself(
    fallen, own_postgres, caplog
):
    alice, guest = fallen.extensions["alice"], fallen.test_client()
    token, own_token = token_of(guest), token_of(alice, "/account")
    login = {"csrf_token": token, "username": "alice", "password": PASSWORD}
    own_postgres.stop("immediate")
    with caplog.at_level(logging.ERROR):
        for _ in range(2):
            assert is_unavailable(alice.get("/protected"))
            assert is_unavailable(guest.post("/login", data=login))
            assert is_unavailable(guest.post("/register", data={**login, "confirm": PASSWORD}))
            assert is_unavailable(alice.post("/logout", data={"csrf_token": own_token}))
    assert problem(alice.get("/protected", headers=JSON))["title"] == "unavailable"
    assert guest.get("/open").text == "open"  # nobody is looked up
    assert guest.get("/login").status_code == 200
    assert guest.get("/protected").status_code == 302
    assert "database fault" in caplog.text
    own_postgres.start()
    assert alice.get("/protected").text == "inside"
    assert guest.post("/login", data=login).status_code == 303
    assert count(fallen) == 2


def test_a_connection_cut_between_requests_is_replaced_without_a_fault(fallen, own_postgres):
    alice = fallen.extensions["alice"]
    assert is_inside(alice)
    with own_postgres.admin() as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname LIKE 't\\_%'")
    assert is_inside(alice)
    own_postgres.stop()
    own_postgres.start()
    assert is_inside(alice)
    assert log_in(fallen.test_client()).status_code == 303


def test_what_a_view_wanted_to_keep_is_503_when_the_database_goes_while_it_runs(build, own_postgres):
    def setup(app, gate):
        pages(app, gate)

        @app.get("/keep-late")
        def keep_late():
            session["value"] = "kept"
            own_postgres.stop("immediate")
            return "a body that was never stored"

    url = own_postgres.url(own_postgres.create_database())
    database = Database(open_engine(url))
    migrations.upgrade(database)
    database.close()
    app = build(setup, GATEHOUSE_DATABASE_URL=url)
    alice = come_in(app)
    answer = alice.get("/keep-late")
    assert is_unavailable(answer)
    assert "never stored" not in answer.text
    own_postgres.start()
    assert is_inside(alice)
    told = alice.get("/keep-late", headers=JSON)
    assert is_unavailable(told)
    assert problem(told)["title"] == "unavailable"
    assert "stored" not in told.text
    own_postgres.start()
    assert is_inside(alice)
    assert alice.get("/keep").text == "kept"


def test_an_app_that_starts_while_the_database_is_down_serves_once_it_is_up(build, own_postgres):
    url = own_postgres.url(own_postgres.create_database())
    database = Database(open_engine(url))
    migrations.upgrade(database)
    database.close()
    own_postgres.stop()
    app = build(pages, GATEHOUSE_DATABASE_URL=url)
    guest = app.test_client()
    for path in ("/open", "/protected", "/login"):
        assert is_unavailable(guest.get(path))
    own_postgres.start()
    assert guest.get("/open").text == "open"
    assert guest.get("/protected").status_code == 302


def test_an_old_schema_is_503_and_the_log_names_the_command(build, postgres_url, caplog):
    app = build(pages, GATEHOUSE_DATABASE_URL=postgres_url)
    assert is_unavailable(app.test_client().get("/login"))
    assert "run `gatehouse db upgrade`" in caplog.text


# --- SQLite -------------------------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch):
    """Wait a tenth of a second for the writers' lock instead of five."""
    monkeypatch.setattr(database_module, "LOCK_WAIT_SECONDS", 0.1)


@pytest.mark.usefixtures("impatient")
def test_v15_4_3_sqlite_that_stays_locked_is_503_for_writers_and_serves_readers(build):
    app = build(pages)
    alice, guest = come_in(app), app.test_client()
    token = token_of(guest)
    login = {"csrf_token": token, "username": "alice", "password": PASSWORD}
    before = cookie(alice)
    with FileLock(f"{services(app).database.engine.url.database}.lock"):
        assert is_unavailable(guest.post("/login", data=login))
        assert is_unavailable(alice.get("/keep"))
        assert is_inside(alice)
        assert cookie(alice) == before
    assert guest.post("/login", data=login).status_code == 303
    assert alice.get("/keep").text == "kept"
    assert [entry.kind for entry in entries(app)].count("login.succeeded") == 2


def test_sqlite_that_is_gone_is_503_and_comes_back(build, tmp_path):
    app = build(pages)
    alice = come_in(app)
    path = tmp_path / "bare.sqlite3"
    moved = path.with_suffix(".moved")
    database = services(app).database
    database.close()
    with database.reading() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    path.rename(moved)
    path.mkdir()
    assert is_unavailable(alice.get("/protected"))
    assert is_unavailable(alice.get("/keep"))
    path.rmdir()
    moved.rename(path)
    assert is_inside(alice)


def test_v16_5_3_a_lookup_that_fails_opens_nothing(build):
    """The table of sessions is gone: an error of the database, not of the network."""
    app = build(pages)
    alice = come_in(app)
    add_user(app, "bob")
    with services(app).database.unit() as connection:
        connection.exec_driver_sql("ALTER TABLE gatehouse_session RENAME TO gone")
    assert alice.get("/protected").status_code == 503
    with services(app).database.unit() as connection:
        connection.exec_driver_sql("ALTER TABLE gone RENAME TO gatehouse_session")
    assert is_inside(alice)
