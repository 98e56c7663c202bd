"""What happens when the database is locked, gone, or full of somebody else: never half a change, and it comes back."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_gatehouse import Gatehouse, migrations, public
from flask_gatehouse.kernel import database as database_module
from flask_gatehouse.kernel import engine as engine_module
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.database import Database, open_engine
from flask_gatehouse.kernel.errors import DatabaseUnavailableError
from tests.support import apps, databases, house
from tests.support.visitor import submit

GUARD = schema.guard
HOLDER = """
    import sys
    from flask_gatehouse.kernel.database import Database, open_engine
    with Database(open_engine(sys.argv[1])).unit() as connection:
        print("held", flush=True)
        sys.stdin.read(1)
"""


@pytest.fixture
def sqlite(run_folder, tmp_path):
    """Return a migrated SQLite database."""
    found = Database(open_engine(databases.sqlite_copy(run_folder, tmp_path / "gatehouse.sqlite3")))
    yield found
    found.close()


@pytest.fixture
def writer_elsewhere(sqlite):
    """Return another process that holds a unit of the database open."""
    command = [sys.executable, "-c", textwrap.dedent(HOLDER), str(sqlite.engine.url)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    let_go(process)
    assert process.returncode == 0


def let_go(process):
    """Let the other process leave its unit."""
    if process.returncode is None:
        process.communicate("x")


# --- SQLite: one writer ------------------------------------------------------------------------------------


def test_rule_35_a_writer_waits_for_one_in_another_process_and_then_goes_on(sqlite, writer_elsewhere):
    with ThreadPoolExecutor(1) as threads:
        pending = threads.submit(_mark, sqlite, "mine")
        time.sleep(0.2)
        assert not pending.done()
        let_go(writer_elsewhere)
        pending.result(60)
    assert _marks(sqlite) == {"last-admin", "mine"}


def test_rule_35_v15_4_3_a_lock_that_is_not_let_go_is_told_as_such_and_the_next_try_works(
    sqlite, writer_elsewhere, monkeypatch
):
    assert database_module.LOCK_WAIT_SECONDS == 5
    monkeypatch.setattr(database_module, "LOCK_WAIT_SECONDS", 0.1)
    with pytest.raises(DatabaseUnavailableError, match="another process"):
        _mark(sqlite, "mine")
    assert _marks(sqlite) == {"last-admin"}  # reading goes on meanwhile
    let_go(writer_elsewhere)
    _mark(sqlite, "mine")
    assert _marks(sqlite) == {"last-admin", "mine"}


def test_rule_35_a_hot_write_waits_behind_the_same_lock(sqlite, writer_elsewhere, monkeypatch):
    monkeypatch.setattr(database_module, "LOCK_WAIT_SECONDS", 0.1)
    statement = sqlite.prepare(sa.update(GUARD).values(at=sa.bindparam("to")))
    with pytest.raises(DatabaseUnavailableError):
        statement.write({"to": 1})
    let_go(writer_elsewhere)
    assert statement.write({"to": 1}) == 1


def test_v15_4_3_a_thread_that_holds_the_unit_lets_others_wait_no_longer_than_told(sqlite, monkeypatch):
    monkeypatch.setattr(database_module, "LOCK_WAIT_SECONDS", 0.1)
    refusal = pytest.raises(DatabaseUnavailableError, match="this process")
    with ThreadPoolExecutor(1) as threads, sqlite.unit(), refusal:
        threads.submit(_mark, sqlite, "mine").result(10)
    _mark(sqlite, "mine")


def test_rule_35_another_program_that_writes_without_our_lock_is_waited_for(sqlite, monkeypatch):
    monkeypatch.setattr(engine_module, "BUSY_MILLISECONDS", 100)
    other = sa.create_engine(sqlite.engine.url, isolation_level="AUTOCOMMIT")
    with other.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        connection.exec_driver_sql("UPDATE gatehouse_guard SET at = 7")
        fresh = Database(open_engine(str(sqlite.engine.url)))
        with pytest.raises(DatabaseUnavailableError, match="does not answer"):
            _mark(fresh, "mine")
        connection.exec_driver_sql("COMMIT")
        _mark(fresh, "mine")
    fresh.close()
    other.dispose()
    assert _marks(sqlite) == {"last-admin", "mine"}


def test_a_database_file_that_cannot_be_made_is_told_as_such(tmp_path):
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    with pytest.raises(DatabaseUnavailableError, match=r"gatehouse\.sqlite3"):
        open_engine(f"sqlite:///{tmp_path / 'file' / 'gatehouse.sqlite3'}")


def _mark(database: Database, name: str) -> None:
    with database.unit() as connection:
        connection.execute(sa.insert(GUARD).values(name=name))


def _marks(database: Database) -> set[str]:
    with database.reading() as connection:
        return set(connection.execute(sa.select(GUARD.c.name)).scalars())


# --- in memory ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:memdb?mode=memory&uri=true"])
def test_rule_35_an_in_memory_database_works_in_tests(url):
    here = house.build(url)
    user_id = _live(here)
    assert here.kinds() == ["user.created", "login.succeeded", "logout"]
    assert here.verified() == 3
    assert here.user(user_id).username == "alice"
    house.close(here)


def _live(here: house.House) -> int:
    here.gate.prepare_database(here.app)
    user_id = here.person()
    client = here.app.test_client()
    assert submit(client, "/login", username="alice", password=house.PASSWORD).status_code == 303
    assert client.get("/protected").text == "inside: alice"
    assert client.get("/remember/five").status_code == 200
    assert client.get("/account").status_code == 200
    assert client.get("/recall").json == {"value": "five"}
    assert submit(client, "/logout", page="/account").status_code == 303
    assert client.get("/protected").status_code == 302
    return user_id


def test_rule_35_an_in_memory_database_is_one_for_all_threads():
    here = house.build("sqlite://", GATEHOUSE_THROTTLE="off")
    here.gate.prepare_database(here.app)
    with ThreadPoolExecutor(4) as threads:  # as many as the hashing pool has places for people inside
        made = list(threads.map(lambda number: here.person(f"user{number}"), range(40)))
    assert len(set(made)) == 40
    assert here.verified() == 40
    house.close(here)


@pytest.fixture
def shop():
    """Return an app whose models live in memory beside ours."""
    app = Flask("shop")
    app.config.update(apps.DEFAULTS, SQLALCHEMY_DATABASE_URI="sqlite://", GATEHOUSE_THROTTLE="off")
    db = SQLAlchemy()
    gate = Gatehouse()

    class Invoice(db.Model):  # type: ignore[name-defined,misc]  # Flask-SQLAlchemy's own way
        id = db.Column(db.Integer, primary_key=True)
        owner_id = db.Column(db.BigInteger, db.ForeignKey("gatehouse_user.id"))

    db.init_app(app)
    gate.init_app(app, db=db)
    with app.app_context():
        migrations.upgrade(gate.services(app).database)
        db.create_all()
        yield app, gate, db, Invoice
    databases.close(app)


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_rule_35_a_hosts_open_transaction_in_memory_is_neither_ended_nor_undone_by_ours(shop, ending):
    _, gate, db, invoice = shop
    db.session.add(invoice(id=1))
    db.session.flush()
    owner = gate.create_user("alice", house.PASSWORD)
    db.session.add(invoice(id=2, owner_id=owner.id))
    getattr(db.session, ending)()
    assert db.session.query(invoice).count() == (2 if ending == "commit" else 0)
    db.session.rollback()


def test_v2_3_3_ours_is_undone_alone_within_a_hosts_open_transaction(shop):
    app, gate, db, invoice = shop
    db.session.add(invoice(id=1))
    db.session.flush()

    def fail():
        with gate.services(app).database.unit() as connection:
            connection.execute(sa.insert(GUARD).values(name="gone"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    db.session.commit()
    assert db.session.query(invoice).count() == 1
    assert _marks(gate.services(app).database) == {"last-admin"}


# --- PostgreSQL: the server is stopped ---------------------------------------------------------------------


@pytest.fixture
def stoppable(own_postgres):
    """Return a house on a PostgreSQL server that may be stopped."""
    url = own_postgres.url(own_postgres.create_database())
    databases.migrate(url)
    here = house.build(url)
    yield here
    house.close(here)


def test_v16_5_2_a_stopped_server_is_told_as_such_everywhere_and_comes_back_by_itself(stoppable, own_postgres):
    stoppable.person()
    client = stoppable.app.test_client()
    assert submit(client, "/login", username="alice", password=house.PASSWORD).status_code == 303
    secret = client.get_cookie("gatehouse").value
    assert client.get("/protected").text == "inside: alice"

    for mode in ("fast", "immediate"):
        own_postgres.stop(mode)
        _require_unavailable(stoppable, client, secret)
        own_postgres.start()
        assert client.get("/protected").text == "inside: alice"
        assert stoppable.log_in()
        assert stoppable.events()[-1].kind == "login.succeeded"
    assert stoppable.verified() == len(stoppable.events())


def _require_unavailable(here, client, secret):
    for attempt in (
        lambda: here.load(secret, agent=""),
        here.log_in,
        here.person,
        here.verified,
        here.record,
        lambda: here.services.sessions.store.touch(bytes(32), 1),
    ):
        with pytest.raises(DatabaseUnavailableError):
            attempt()
    for path in ("/protected", "/account"):
        answer = client.get(path)
        assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
        assert "postgres" not in answer.text.lower()
    assert client.get("/").text == "open"


def test_v16_5_3_an_attempt_that_cannot_be_charged_is_not_hashed(stoppable, own_postgres):
    stoppable.person()
    hashed = house.hashes_of(stoppable)
    own_postgres.stop("immediate")
    with pytest.raises(DatabaseUnavailableError):
        stoppable.log_in()
    own_postgres.start()
    assert hashed == []
    assert stoppable.log_in()
    assert len(hashed) == 1


def test_an_app_may_be_built_before_its_database_is_there(own_postgres):
    name = own_postgres.create_database()
    databases.migrate(own_postgres.url(name))
    own_postgres.stop()
    here = house.build(own_postgres.url(name))
    here.app.add_url_rule("/hello", "hello", public(lambda: "hello"))
    client = here.app.test_client()
    assert client.get("/hello").status_code == 503
    own_postgres.start()
    assert client.get("/hello").text == "hello"
    house.close(here)


@pytest.mark.parametrize("statement", ["SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"])
def test_a_connection_that_the_server_dropped_is_replaced_without_a_word(postgres, postgres_url, statement):
    databases.migrate(postgres_url)
    database = Database(open_engine(postgres_url))
    hot = database.prepare(sa.select(GUARD.c.name))
    assert len(hot.rows({})) == 1
    _mark(database, "before")
    with postgres.admin() as admin:
        admin.execute(statement, (database.engine.url.database,))
    assert len(hot.rows({})) == 2
    _mark(database, "after")
    assert len(hot.rows({})) == 3
    database.close()


def test_v13_2_6_v15_4_3_a_row_lock_that_is_not_let_go_is_told_as_such(postgres_url):
    databases.migrate(postgres_url)
    database = Database(open_engine(postgres_url))
    with database.unit() as connection:
        told = connection.exec_driver_sql("SHOW lock_timeout").scalar_one()
    assert told == "5s"
    with database.unit() as holder, ThreadPoolExecutor(1) as threads:
        holder.execute(sa.update(GUARD).values(at=1))
        with pytest.raises(DatabaseUnavailableError):
            threads.submit(_hurried_update, database).result(10)
    database.close()


def _hurried_update(database):
    with database.unit() as connection:
        connection.exec_driver_sql("SET LOCAL lock_timeout = '100ms'")
        connection.execute(sa.update(GUARD).values(at=2))
