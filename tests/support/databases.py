"""Databases with our tables in them: migrated once in a run, then copied for each test."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from flask import Flask
from sqlalchemy import Engine, create_engine

from flask_gatehouse import migrations
from flask_gatehouse.kernel import schema
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


def sqlite_copy_once(run_folder: Path, target: Path) -> str:
    """Copy the migrated SQLite file to `target`, unless a file is there already, and return its URL."""
    return f"sqlite:///{target}" if target.exists() else sqlite_copy(run_folder, target)


def postgres_copy(run_folder: Path, server: PostgresServer) -> str:
    """Copy the migrated PostgreSQL database and return the name of the copy."""

    def make() -> str:
        name = server.create_database()
        migrate(server.url(name))
        return name

    return server.create_database(template=_once(run_folder, "postgres-template", make))


@dataclass(frozen=True)
class Role:
    """A database role that a test has made, the URL that connects as it, and the owner's connections."""

    name: str
    url: str
    owner: Engine

    def grant(self, *statements: str) -> None:
        """Run statements as the owner of the tables; `{role}` in them is this role."""
        with self.owner.connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement.format(role=self.name))


@contextmanager
def role(owners_url: str, *grants: str) -> Iterator[Role]:
    """Make a role with these grants on migrated tables, and take it away afterwards."""
    migrate(owners_url)
    name = f"app_{secrets.token_hex(6)}"
    owner = create_engine(owners_url, isolation_level="AUTOCOMMIT")
    made = Role(name, owners_url.replace("postgres@", f"{name}@"), owner)
    made.grant("CREATE ROLE {role} LOGIN", *grants)
    try:
        yield made
    finally:
        made.grant("DROP OWNED BY {role}", "DROP ROLE {role}")
        owner.dispose()


def least_role(owners_url: str) -> AbstractContextManager[Role]:
    """Make a role that may do what an app needs, and of its log read and insert only."""
    narrow = {"gatehouse_event", "gatehouse_chain_head", "gatehouse_audit_segment"}
    others = [name for name in schema.metadata.tables if name.startswith(schema.PREFIX) and name not in narrow]
    return role(
        owners_url,
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {', '.join(others)} TO {{role}}",
        "GRANT SELECT, INSERT ON gatehouse_event TO {role}",
        "GRANT SELECT, INSERT, UPDATE ON gatehouse_chain_head TO {role}",
        "GRANT SELECT ON gatehouse_version, gatehouse_audit_segment TO {role}",
        "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}",
    )


def close(app: Flask) -> None:
    """Give back the connections of an app that a test has made."""
    services = app.extensions["gatehouse"].services(app)
    services.postman.retire(30)  # else it would work on, with neither database nor mail server
    services.database.close()


def _once(run_folder: Path, name: str, make: Callable[[], str]) -> str:
    """Return what `make` returned to the first of pytest's workers that asked."""
    marker = run_folder / name
    with FileLock(run_folder / f"{name}.lock"):
        if not marker.exists():
            marker.write_text(make(), encoding="utf-8")
    return marker.read_text(encoding="utf-8")
