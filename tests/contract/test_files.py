"""What lies on the disk is for its owner alone, whatever the umask (rule 30)."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import sqlalchemy as sa

from flask_gatehouse import migrations
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.database import Database, open_engine
from flask_gatehouse.kernel.engine import create_private_file
from flask_gatehouse.kernel.parsing import database_path
from tests.support import apps, databases
from tests.support.visitor import submit


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=["umask 000", "umask 022", "umask 077"])
def _umask(request):
    before = os.umask(request.param)
    yield
    os.umask(before)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _modes(folder: Path) -> dict[str, int]:
    return {path.name: _mode(path) for path in folder.iterdir()}


@pytest.mark.usefixtures("_umask")
def test_rule_30_folder_database_and_the_files_beside_it_are_private(tmp_path):
    folder = tmp_path / "instance"
    database = Database(open_engine(f"sqlite:///{folder / 'gatehouse.sqlite3'}"))
    migrations.upgrade(database)
    with database.reading() as reader, database.unit() as connection:
        reader.execute(sa.select(schema.guard))
        connection.execute(sa.update(schema.guard).values(at=1))
        names = {f"gatehouse.sqlite3{ending}" for ending in ("", "-wal", "-shm", ".lock")}
        assert _modes(folder) == dict.fromkeys(names, 0o600)
    assert _mode(folder) == 0o700
    database.close()


@pytest.mark.usefixtures("_umask")
def test_rule_30_a_database_named_by_a_uri_is_as_private_and_looked_at_by_check(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "in stance"
    database = Database(open_engine(f"sqlite:///file:{folder}/gatehouse.sqlite3?mode=rwc&uri=true"))
    migrations.upgrade(database)
    database.close()
    assert _modes(folder) == dict.fromkeys({"gatehouse.sqlite3", "gatehouse.sqlite3.lock"}, 0o600)
    assert list(tmp_path.iterdir()) == [folder]
    assert database_path(database.engine.url) == f"{folder}/gatehouse.sqlite3"


@pytest.mark.usefixtures("_umask")
def test_rule_30_a_whole_life_of_an_app_leaves_only_private_files(tmp_path):
    folder = tmp_path / "instance"
    app = apps.build({"TESTING": True}, folder=str(folder))
    client = app.test_client()
    answer = submit(client, "/register", username="alice", password="quiet river stone", confirm="quiet river stone")
    assert answer.status_code == 303
    assert _mode(folder) == 0o700
    assert set(_modes(folder).values()) == {0o600}
    databases.close(app)
    assert set(_modes(folder).values()) == {0o600}


def test_rule_30_a_file_that_exists_keeps_its_content_and_its_mode(tmp_path):
    path = tmp_path / "secret"
    path.write_text("mine", encoding="utf-8")
    path.chmod(0o640)
    create_private_file(path)
    assert path.read_text(encoding="utf-8") == "mine"
    assert _mode(path) == 0o640


def test_rule_30_a_dangling_link_is_not_followed_to_make_a_file_elsewhere(tmp_path):
    target, link = tmp_path / "elsewhere", tmp_path / "gatehouse.sqlite3"
    link.symlink_to(target)
    create_private_file(link)
    assert not target.exists()
