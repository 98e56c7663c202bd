"""One history for all tables: SQLite upgrades itself, PostgreSQL by command, a host's own migrations beside it."""

from __future__ import annotations

import secrets
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import IntegrityError

from flask_gatehouse import migrations
from flask_gatehouse.domain.sessions import row_number
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.database import Database, open_engine
from flask_gatehouse.kernel.errors import SchemaOutdatedError, SetupError
from flask_gatehouse.migrations import history
from tests.support import databases

VERSION = sa.table(schema.VERSION_TABLE, sa.column("version_num"))


@pytest.fixture
def empty(empty_database_url):
    """Return a database without tables."""
    found = Database(open_engine(empty_database_url))
    yield found
    found.close()


@pytest.fixture
def migrated(database_url):
    """Return a database with our tables."""
    found = Database(open_engine(database_url))
    yield found
    found.close()


def _tables(database: Database) -> set[str]:
    with database.reading() as connection:
        return set(sa.inspect(connection).get_table_names())


def _set_revision(database: Database, revision: str) -> None:
    with database.unit() as connection:
        connection.execute(sa.update(VERSION).values(version_num=revision))


def test_the_schema_and_its_history_are_one(migrated):
    with migrated.reading() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"version_table": schema.VERSION_TABLE, "compare_type": True, "compare_server_default": True},
        )
        assert compare_metadata(context, schema.metadata) == []
    assert migrations.current(migrated) == schema.REVISION


def test_the_history_is_one_line_that_ends_at_the_revision_of_the_schema():
    script = ScriptDirectory.from_config(history.config())
    assert script.get_heads() == [schema.REVISION]
    assert script.get_bases() == ["0001"]
    assert all(not isinstance(found.down_revision, tuple) for found in script.walk_revisions())


def test_every_table_and_index_is_ours_by_name(migrated):
    with migrated.reading() as connection:
        inspector = sa.inspect(connection)
        tables = inspector.get_table_names()
        indexes = [found["name"] for table in tables for found in inspector.get_indexes(table)]
    assert set(tables) == {*schema.metadata.tables, schema.VERSION_TABLE}
    assert [name for name in (*tables, *indexes) if "gatehouse_" not in str(name)] == []


def test_rule_29_the_head_of_the_chain_and_the_guard_of_the_last_administrator_are_there_from_the_start(migrated):
    with migrated.reading() as connection:
        assert connection.execute(sa.select(schema.guard.c.name)).scalars().all() == ["last-admin"]
        assert connection.execute(sa.select(schema.chain_head.c.event_id)).scalars().all() == [0]


def test_an_upgrade_makes_every_table_and_a_second_one_changes_nothing(empty):
    assert migrations.current(empty) is None
    migrations.upgrade(empty)
    with empty.unit() as connection:
        connection.execute(sa.insert(schema.guard).values(name="mine"))
    migrations.upgrade(empty)
    migrations.prepare(empty)
    with empty.reading() as connection:
        assert set(connection.execute(sa.select(schema.guard.c.name)).scalars()) == {"last-admin", "mine"}


def test_a_database_without_tables_is_filled_at_start_or_names_the_command(empty):
    if empty.is_sqlite:
        migrations.prepare(empty)
        assert migrations.current(empty) == schema.REVISION
        return
    with pytest.raises(SchemaOutdatedError, match="`gatehouse db upgrade`"):
        migrations.prepare(empty)
    assert _tables(empty) == set()


def test_an_old_schema_of_postgresql_says_so_and_what_to_do(postgres_url):
    databases.migrate(postgres_url)
    database = Database(open_engine(postgres_url))
    _set_revision(database, "0000")
    with pytest.raises(SchemaOutdatedError, match=r"0000.*`gatehouse db upgrade`"):
        migrations.prepare(database)
    database.close()


def test_a_newer_schema_is_never_touched(migrated):
    _set_revision(migrated, "9999")
    with pytest.raises(SchemaOutdatedError, match=r"9999.*newer release"):
        migrations.prepare(migrated)
    assert migrations.current(migrated) == "9999"


def test_an_app_on_an_old_schema_answers_503_until_it_is_upgraded(postgres_url, make_app):
    app = make_app(GATEHOUSE_DATABASE_URL=postgres_url)
    client = app.test_client()
    for _ in range(2):
        answer = client.get("/")
        assert answer.status_code == 503
        assert "Retry-After" in answer.headers
        assert "gatehouse db upgrade" not in answer.text
    databases.migrate(postgres_url)
    assert client.get("/").text == "open"


def test_rule_35_many_that_start_at_once_on_one_database_upgrade_it_once(empty_database_url):
    program = (
        "import sys\n"
        "from flask_gatehouse import migrations\n"
        "from flask_gatehouse.kernel.database import Database, open_engine\n"
        "sys.stdin.readline()\n"
        "migrations.upgrade(Database(open_engine(sys.argv[1])))\n"
    )
    command = [sys.executable, "-c", program, empty_database_url]
    started = [subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        errors = list(threads.map(lambda process: process.communicate("go\n", timeout=60)[1], started))
    assert errors == [""] * 4
    assert [process.returncode for process in started] == [0] * 4
    database = Database(open_engine(empty_database_url))
    assert migrations.current(database) == schema.REVISION
    database.close()


def test_an_upgrade_that_fails_leaves_no_table_behind(empty, monkeypatch):
    def fail(*_given, **_told):
        raise ZeroDivisionError

    monkeypatch.setattr("alembic.op.bulk_insert", fail)
    with pytest.raises(ZeroDivisionError):
        migrations.upgrade(empty)
    assert _tables(empty) <= {schema.VERSION_TABLE}
    monkeypatch.undo()
    migrations.upgrade(empty)
    assert migrations.current(empty) == schema.REVISION


# --- a host's own tables -----------------------------------------------------------------------------------


@pytest.fixture
def host():
    """Return a host app's metadata: one table of its own, ours mirrored."""
    found = sa.MetaData()
    schema.mirror(found)
    sa.Table(
        "invoice",
        found,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("owner_id", sa.BigInteger, sa.ForeignKey("gatehouse_user.id")),
    )
    return found


def test_rule_35_create_all_before_our_migrations_names_the_mend_and_makes_no_table_of_ours(empty, host):
    with pytest.raises(SchemaOutdatedError, match="`gatehouse db upgrade`"):
        host.create_all(empty.engine)
    assert not {name for name in _tables(empty) if name.startswith("gatehouse_")}


def test_rule_35_create_all_after_our_migrations_finds_the_table_and_leaves_it(migrated, host):
    before = _tables(migrated)
    host.create_all(migrated.engine)
    assert _tables(migrated) == before | {"invoice"}
    (key,) = sa.inspect(migrated.engine).get_foreign_keys("invoice")
    assert key["referred_table"] == "gatehouse_user"


def test_our_user_table_is_mirrored_once(host):
    schema.mirror(host)
    assert [name for name in host.tables if name.startswith("gatehouse_")] == ["gatehouse_user"]


def test_rule_35_a_hosts_autogenerate_sees_its_own_tables_alone(migrated, host):
    def include_object(_object, name, type_, _reflected, _compare_to):
        return schema.include_name(name, type_)

    with migrated.reading() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": include_object})
        (found,) = compare_metadata(context, host)
    assert (found[0], found[1].name) == ("add_table", "invoice")
    host.create_all(migrated.engine)
    with migrated.reading() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": include_object})
        assert compare_metadata(context, host) == []


@pytest.mark.parametrize(
    "name, kind, is_theirs",
    [
        ("invoice", "table", True),
        ("gatehouse", "table", True),
        ("my_gatehouse_user", "table", True),
        ("gatehouse_user", "table", False),
        ("gatehouse_version", "table", False),
        ("gatehouse_id", "column", True),
        (None, "schema", True),
    ],
)
def test_rule_35_only_our_tables_are_left_out(name, kind, is_theirs):
    assert schema.include_name(name, kind, {}) is is_theirs


def test_rule_35_a_host_without_our_user_table_in_its_metadata_needs_the_name_filter_alone(migrated):
    host = sa.MetaData()
    sa.Table("invoice", host, sa.Column("id", sa.Integer, primary_key=True))
    host.create_all(migrated.engine)
    with migrated.reading() as connection:
        context = MigrationContext.configure(connection, opts={"include_name": schema.include_name})
        assert compare_metadata(context, host) == []


def test_rule_35_drop_all_of_a_host_names_the_mend_and_drops_nothing(migrated, host):
    with migrated.unit() as connection:
        host.create_all(connection)
    with pytest.raises(SetupError, match=r"drop your own tables by name.*drop_all"), migrated.unit() as connection:
        host.drop_all(connection)
    with pytest.raises(SetupError, match="gatehouse_user"), migrated.unit() as connection:
        host.tables["gatehouse_user"].drop(connection)
    assert {"invoice", "gatehouse_user"} <= _tables(migrated)
    with migrated.unit() as connection:
        host.drop_all(connection, [table for table in host.sorted_tables if not table.name.startswith("gatehouse_")])
    assert "gatehouse_user" in _tables(migrated)
    assert "invoice" not in _tables(migrated)


# --- revision 0010 -----------------------------------------------------------------------------------------

TRIGGER = """
TRIGGER ended AFTER UPDATE OF state ON gatehouse_user
BEGIN DELETE FROM gatehouse_session WHERE user_id = NEW.id; END
"""
NO_SEQUENCE = "ALTER TABLE gatehouse_session ALTER COLUMN id DROP DEFAULT; DROP SEQUENCE gatehouse_session_id_seq"
BEFORE = sa.table("gatehouse_session", *(sa.column(column.name) for column in schema.session.c))


def fill_old(database, digests):
    """Bring a database to revision 0009, with one user and a session of each digest; return what it holds."""
    with database.unit() as connection:
        setup = history.config()
        setup.attributes["connection"] = connection
        command.upgrade(setup, "0009")
        connection.execute(sa.insert(schema.user).values(id=7, username="a", username_key="a", created_at=1))
        for number, digest in enumerate(digests):
            values = {"public_id": f"{number:016x}", "digest": digest, "user_id": 7, "epoch": 0}
            values |= {"created_at": number, "seen_at": 2, "expires_at": 3, "proofs": "p", "agent": "a", "address": "b"}
            values |= {"data": f"{number}", "is_pending": number == 3, "is_remembered": number == 4}
            connection.execute(sa.insert(BEFORE).values(values))
    return sessions_in(database)


def sessions_in(database):
    with database.reading() as connection:
        return connection.execute(sa.select(BEFORE).order_by(BEFORE.c.created_at)).all()


def test_sessions_of_before_go_on_where_their_digest_puts_them(empty):
    """Each has a new number; digests, owners and all else stay."""
    digests = [b"\x7f" * 32, b"\xff" * 32, bytes(7) + b"\1" + bytes(24), *(secrets.token_bytes(32) for _ in range(20))]
    told = fill_old(empty, digests)
    migrations.upgrade(empty)
    found = sessions_in(empty)
    assert [row.id for row in found] == [row_number(digest) for digest in digests]
    assert [tuple(row)[1:] for row in found] == [tuple(row)[1:] for row in told]
    with empty.unit() as connection, pytest.raises(IntegrityError):
        connection.execute(sa.insert(schema.session).values({**found[0]._mapping, "id": 5}))  # its public id is taken


@pytest.fixture
def old_file(tmp_path):
    """Return a SQLite file at revision 0009 with five sessions, as somebody's own connection sees it."""
    database = Database(open_engine(f"sqlite:///{tmp_path / 'old.sqlite3'}"))
    fill_old(database, [secrets.token_bytes(32) for _ in range(5)])
    with closing(sqlite3.connect(tmp_path / "old.sqlite3", isolation_level=None)) as raw:
        yield database, raw
    database.close()


def test_sessions_of_nobody_stay_behind(old_file):
    database, raw = old_file
    raw.execute("UPDATE gatehouse_session SET user_id = 8 WHERE created_at < 2")  # without foreign keys
    migrations.upgrade(database)
    assert [row.created_at for row in sessions_in(database)] == [2, 3, 4]


@pytest.mark.parametrize(
    "made, asked",
    [
        ("VIEW report AS SELECT * FROM dropped_long_ago", "UPDATE gatehouse_user SET state = 'suspended'"),
        ("VIEW inside AS SELECT user_id FROM gatehouse_session", "SELECT * FROM inside"),
        (TRIGGER, "UPDATE gatehouse_user SET state = 'suspended'"),
    ],
    ids=["broken", "view", "trigger"],
)
def test_views_and_triggers_of_a_host_are_left_as_they_were(old_file, made, asked):
    database, raw = old_file
    raw.execute(f"CREATE {made}")
    told = raw.execute("SELECT sql FROM sqlite_master WHERE type IN ('view', 'trigger')").fetchall()
    migrations.upgrade(database)
    assert raw.execute("SELECT sql FROM sqlite_master WHERE type IN ('view', 'trigger')").fetchall() == told
    raw.execute(asked)


def test_a_table_of_a_host_that_refers_to_sessions_is_named_and_keeps_its_rows(old_file):
    database, raw = old_file
    raw.execute("CREATE TABLE basket (of TEXT REFERENCES gatehouse_session(public_id) ON DELETE CASCADE)")
    raw.execute("INSERT INTO basket SELECT public_id FROM gatehouse_session")
    with pytest.raises(
        SchemaOutdatedError, match=r"basket refers to gatehouse_session.*let it refer to gatehouse_user"
    ):
        migrations.upgrade(database)
    assert raw.execute("SELECT count(*) FROM basket").fetchall() == [(5,)]
    assert migrations.current(database) == "0009"


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE gatehouse_session DROP CONSTRAINT uq_gatehouse_session_digest",
        NO_SEQUENCE,
        f"{NO_SEQUENCE}; ALTER TABLE gatehouse_session ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY",
    ],
    ids=["no constraint", "no sequence", "identity"],
)
def test_sessions_move_whatever_gave_them_their_numbers(postgres_url, change):
    database = Database(open_engine(postgres_url))
    digests = [secrets.token_bytes(32) for _ in range(5)]
    fill_old(database, digests)
    with database.unit() as connection:
        connection.exec_driver_sql(change)
    migrations.upgrade(database)
    assert [row.id for row in sessions_in(database)] == [row_number(digest) for digest in digests]
    database.close()


# --- many at once ------------------------------------------------------------------------------------------


def test_several_apps_of_one_process_upgrade_at_once(tmp_path):
    found = [Database(open_engine(f"sqlite:///{tmp_path / str(number)}.sqlite3")) for number in range(6)]
    start = threading.Barrier(len(found))

    def upgrade(database):
        start.wait()
        migrations.upgrade(database)

    with ThreadPoolExecutor(len(found)) as pool:
        list(pool.map(upgrade, found))
    assert [migrations.current(database) for database in found] == [schema.REVISION] * len(found)
    assert len({frozenset(_tables(database)) for database in found}) == 1
    for database in found:
        database.close()
