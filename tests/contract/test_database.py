"""One write transaction, hot statements on kept connections, readers beside a writer: on both databases alike."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.database import Database, open_engine
from flask_gatehouse.kernel.errors import SetupError

GUARD = schema.guard


@pytest.fixture
def database(database_url):
    """Return a database of ours."""
    found = Database(open_engine(database_url))
    yield found
    found.close()


def mark(connection: sa.Connection, name: str) -> None:
    """Write a row."""
    connection.execute(sa.insert(GUARD).values(name=name))


def marks(database: Database) -> set[str]:
    """Return the rows that others see."""
    with database.reading() as connection:
        return set(connection.execute(sa.select(GUARD.c.name)).scalars()) - {"last-admin"}


def test_leaving_a_unit_commits(database):
    with database.unit() as connection:
        mark(connection, "one")
        mark(connection, "two")
        assert marks_from_elsewhere(database) == set()
    assert marks(database) == marks_from_elsewhere(database) == {"one", "two"}


def marks_from_elsewhere(database: Database) -> set[str]:
    """Return the rows that another connection sees."""
    other = Database(open_engine(database.engine.url.render_as_string(hide_password=False)))
    found = marks(other)
    other.close()
    return found


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_v2_3_3_raising_in_a_unit_leaves_nothing_behind(database, error):
    def fail():
        with database.unit() as connection:
            mark(connection, "one")
            raise error

    with pytest.raises(error):
        fail()
    assert marks(database) == set()
    with database.unit() as connection:
        mark(connection, "two")
    assert marks(database) == {"two"}


def test_a_statement_that_fails_in_a_unit_takes_the_others_with_it(database):
    def twice():
        with database.unit() as connection:
            mark(connection, "one")
            mark(connection, "last-admin")

    with pytest.raises(sa.exc.IntegrityError):
        twice()
    assert marks(database) == set()


def test_a_snapshot_sees_one_moment_while_others_write(database):
    with database.snapshot() as connection:
        before = connection.execute(sa.select(GUARD.c.name)).scalars().all()
        with database.unit() as other:
            mark(other, "one")
        assert connection.execute(sa.select(GUARD.c.name)).scalars().all() == before
    assert marks(database) == {"one"}


def test_rule_12_a_hot_read_sees_what_was_committed_a_moment_ago_on_any_connection(database):
    statement = database.prepare(sa.select(GUARD.c.name).where(GUARD.c.name == sa.bindparam("name")))
    assert statement.rows({"name": "one"}) == []
    for name in ("one", "two", "three"):
        other = Database(open_engine(database.engine.url.render_as_string(hide_password=False)))
        with other.unit() as connection:
            mark(connection, name)
        other.close()
        assert [tuple(row) for row in statement.rows({"name": name})] == [(name,)]


def test_rule_12_a_hot_read_of_many_rows_leaves_no_cursor_that_would_pin_the_snapshot(database):
    with database.unit() as connection:
        for number in range(50):
            mark(connection, f"mark {number}")
    statement = database.prepare(sa.select(GUARD.c.name))
    assert len(statement.rows({})) == 51
    with database.unit() as connection:
        connection.execute(sa.delete(GUARD).where(GUARD.c.name != "last-admin"))
    assert [tuple(row) for row in statement.rows({})] == [("last-admin",)]


def test_a_hot_write_says_how_many_rows_it_changed(database):
    statement = database.prepare(
        sa.update(GUARD).where(GUARD.c.name == sa.bindparam("wanted")).values(at=sa.bindparam("to"))
    )
    assert statement.write({"wanted": "last-admin", "to": 5}) == 1
    assert statement.write({"wanted": "nobody", "to": 5}) == 0


def test_parameters_are_bound_by_name_in_whatever_order_they_are_used(database):
    query = sa.select(GUARD.c.name).where(
        GUARD.c.name == sa.bindparam("name"),
        sa.bindparam("low", type_=sa.Integer) < sa.bindparam("high", type_=sa.Integer),
    )
    statement = database.prepare(query)
    assert len(statement.rows({"high": 2, "low": 1, "name": "last-admin"})) == 1
    assert len(statement.rows({"name": "last-admin", "low": 2, "high": 1})) == 0


def test_v1_2_4_a_value_is_never_part_of_a_statement(database):
    statement = database.prepare(sa.select(GUARD.c.name).where(GUARD.c.name == sa.bindparam("name")))
    for value in ("' OR '1'='1", "x'; DELETE FROM gatehouse_guard; --", "%", "last-admin' --"):
        assert statement.rows({"name": value}) == []
    assert len(statement.rows({"name": "last-admin"})) == 1


def test_each_thread_keeps_one_connection_of_its_own(database):
    ready = threading.Barrier(4)

    def kept(_number: int) -> tuple[int, bool]:
        first = database.kept()
        ready.wait(60)
        return id(first), database.kept() is first

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(kept, range(4)))
    assert len({number for number, _ in found}) == 4
    assert all(is_same for _, is_same in found)


def test_kept_connections_do_not_empty_the_pool(database):
    def read(_number: int) -> int:
        ready.wait(60)
        return len(database.prepare(sa.select(GUARD.c.name)).rows({}))

    ready = threading.Barrier(20)
    with ThreadPoolExecutor(20) as threads:
        assert list(threads.map(read, range(20))) == [1] * 20
    assert database.engine.pool.checkedout() == 0


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_after_a_fork_parent_and_child_have_connections_of_their_own(database):
    statement = database.prepare(sa.select(GUARD.c.name))
    assert len(statement.rows({})) == 1
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with database.unit() as connection:
            mark(connection, "child")
        os.write(writing, str(len(statement.rows({}))).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    assert os.read(reading, 10) == b"2"
    os.close(reading)
    assert len(statement.rows({})) == 2
    with database.unit() as connection:
        mark(connection, "parent")
    assert marks(database) == {"child", "parent"}


def test_another_database_is_refused_by_name():
    engine = sa.create_engine("sqlite://")
    engine.dialect.name = "mysql"
    with pytest.raises(SetupError, match="mysql is not supported: use SQLite or PostgreSQL"):
        Database(engine)
    engine.dispose()


def _add_one(house, _number):
    with house.services.database.unit() as connection:
        query = sa.select(GUARD.c.user_id).where(GUARD.c.name == "last-admin")
        found = connection.execute(query.with_for_update()).scalar_one() or 0
        connection.execute(sa.update(GUARD).where(GUARD.c.name == "last-admin").values(user_id=found + 1))


def test_rule_35_v15_4_2_read_and_write_in_one_unit_is_exact_over_processes(crowd, home):
    crowd.rush(_add_one, home, 100)
    assert home.rows(sa.select(GUARD.c.user_id)) == [(100,)]
