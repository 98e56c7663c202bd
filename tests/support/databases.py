"""Databases with our tables in them: migrated once in a run, then copied for each test."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock
from flask import Flask

from flask_gatehouse import migrations
from flask_gatehouse.kernel.database import Database, open_engine
from tests.support.postgres import PostgresServer


def migrate(url: str) -> None:
    """Bring a database to the newest schema."""
    database = Database(open_engine(url))
    migrations.upgrade(database)
    database.close()


def sqlite_copy(run_folder: Path, target: Path) -> str:
    """Copy the migrated SQLite file to `target` and return its URL."""

    def make() -> str:
        source = run_folder / "template.sqlite3"
        migrate(f"sqlite:///{source}")
        return str(source)

    shutil.copy(_once(run_folder, "sqlite-template", make), target)
    target.chmod(0o600)
    return f"sqlite:///{target}"


def postgres_copy(run_folder: Path, server: PostgresServer) -> str:
    """Copy the migrated PostgreSQL database and return the name of the copy."""

    def make() -> str:
        name = server.create_database()
        migrate(server.url(name))
        return name

    return server.create_database(template=_once(run_folder, "postgres-template", make))


def close(app: Flask) -> None:
    """Give back the connections of an app that a test has made."""
    app.extensions["gatehouse"].services(app).database.close()


def _once(run_folder: Path, name: str, make: Callable[[], str]) -> str:
    """Return what `make` returned to the first of pytest's workers that asked."""
    marker = run_folder / name
    with FileLock(run_folder / f"{name}.lock"):
        if not marker.exists():
            marker.write_text(make(), encoding="utf-8")
    return marker.read_text(encoding="utf-8")
