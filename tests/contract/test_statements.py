"""Statements that the driver runs: values, errors and transactions as through SQLAlchemy, on both databases."""

from __future__ import annotations

import multiprocessing
import os
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.process_lock import ProcessLock
from flask_gatehouse.kernel.statements import Statement
from flask_gatehouse.kernel.upsert import insert_for

GUARD = schema.guard
NAMED = Statement(sa.select(GUARD.c.name, GUARD.c.at).where(GUARD.c.name == sa.bindparam("at_name")))
ALL = Statement(sa.select(GUARD.c.name).order_by(GUARD.c.name))
ADD = Statement(lambda dialect: insert_for(dialect, GUARD).values(name=sa.bindparam("at_name"), at=sa.literal(7)))
CHANGE = Statement(sa.update(GUARD).where(GUARD.c.name == sa.bindparam("at_name")).values(at=sa.bindparam("to")))


def test_a_statement_gives_rows_one_row_and_how_many_it_changed(home):
    database = home.services.database
    with database.unit() as connection:
        ADD.write(connection, {"at_name": "one"})
        assert NAMED.row(connection, {"at_name": "one"}) == ("one", 7)
        assert NAMED.row(connection, {"at_name": "none"}) is None
        assert CHANGE.write(connection, {"at_name": "one", "to": 8}) == 1
        assert connection.execute(sa.select(GUARD.c.at).where(GUARD.c.name == "one")).scalar_one() == 8
    glance = database.glance()
    assert [row[0] for row in ALL.rows(glance, {})] == ["last-admin", "one"]


def test_v2_3_3_what_the_driver_ran_is_rolled_back_with_the_transaction(home):
    database = home.services.database

    def fail():
        with database.unit() as connection:
            ADD.write(connection, {"at_name": "half"})
            connection.execute(sa.insert(GUARD).values(name="other half"))
            raise LookupError

    for _ in range(2):
        with pytest.raises(LookupError):
            fail()
        with database.unit() as connection:
            assert [row[0] for row in ALL.rows(connection, {})] == ["last-admin"]


def test_v16_2_5_a_drivers_error_is_told_as_sqlalchemys_and_without_the_values(home):
    database = home.services.database
    with database.unit() as connection:
        ADD.write(connection, {"at_name": "a secret"})
    with pytest.raises(sa.exc.IntegrityError) as told, database.unit() as connection:
        ADD.write(connection, {"at_name": "a secret"})
    assert told.value.params is None
    with database.unit() as connection:
        assert len(ALL.rows(connection, {})) == 2


def test_a_default_that_sqlalchemy_would_fill_in_is_an_error_and_no_null(home):
    lazy = Statement(sa.insert(schema.user).values(username=sa.bindparam("username")))
    with pytest.raises(LookupError, match="default"), home.services.database.unit() as connection:
        lazy.write(connection, {"username": "alice"})


def test_rule_12_a_result_left_open_in_a_flow_pins_no_hot_read(home):
    database = home.services.database
    hot = database.prepare(sa.select(GUARD.c.at).where(GUARD.c.name == "last-admin"))
    with database.unit() as connection:
        for number in range(200):
            connection.execute(sa.insert(GUARD).values(name=f"row {number:03d}"))
    with database.unit() as connection:
        left_open = connection.execute(sa.select(GUARD.c.name))
        assert left_open.fetchone() is not None
    changing = threading.Thread(target=_set, args=(database, 99))
    changing.start()
    changing.join(20)
    assert hot.rows({}) == [(99,)]
    left_open.close()


def _set(database, value):
    with database.unit() as connection:
        CHANGE.write(connection, {"at_name": "last-admin", "to": value})


# --- the lock between processes ----------------------------------------------------------------------------


def test_rule_35_the_lock_is_its_own_processs_and_is_let_go_when_that_dies(tmp_path):
    path = str(tmp_path / "a.lock")
    mine = ProcessLock(path)
    assert mine.acquire(0)
    assert Path(path).stat().st_mode & 0o777 == 0o600
    assert not ProcessLock(path).acquire(0.02)
    mine.release()
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    other = context.Process(target=_hold_and_die, args=(path, ready))
    other.start()
    assert ready.wait(30)
    other.join(30)
    assert mine.acquire(1)
    mine.close()


def _hold_and_die(path, ready):
    lock = ProcessLock(path)
    assert lock.acquire(1)
    ready.set()
    os._exit(9)


def test_rule_35_a_child_that_forgets_the_lock_does_not_let_its_parents_go(tmp_path):
    path = str(tmp_path / "a.lock")
    mine = ProcessLock(path)
    assert mine.acquire(0)
    child = os.fork()
    if child == 0:
        mine.close()
        os._exit(0 if not ProcessLock(path).acquire(0.02) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not ProcessLock(path).acquire(0.02)
    mine.release()
    assert ProcessLock(path).acquire(0)


def test_rule_30_a_link_in_the_locks_place_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").write_text("precious", encoding="utf-8")
    (tmp_path / "a.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"a\.lock"):
        ProcessLock(str(tmp_path / "a.lock")).acquire(0)
