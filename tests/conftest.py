"""Fixtures over real parts: both databases, server processes, a browser, a tiny app."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest
from filelock import FileLock
from flask import Flask
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis.database import DirectoryBasedExampleDatabase
from playwright.sync_api import Browser, Page, expect

from flask_gatehouse.kernel.feature import Factor
from tests.support import ROOT, apps, databases, house
from tests.support.browser import Complaints, launched_browser
from tests.support.crowd import Crowd
from tests.support.memory import use_memory
from tests.support.post import PostOffice
from tests.support.postgres import PostgresServer
from tests.support.processes import ServerProcess, start_command, start_gunicorn

RUN_FOLDER = pytest.StashKey[Path]()
BROWSER_MILLISECONDS = 30_000

expect.set_options(timeout=BROWSER_MILLISECONDS)

hypothesis_settings.register_profile(
    "gatehouse",
    database=DirectoryBasedExampleDatabase(ROOT / ".hypothesis"),
    deadline=None,  # an example may meet a hash or a busy core
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # examples are requests to one app, as in life
)
hypothesis_settings.load_profile("gatehouse")


# --- one folder and one PostgreSQL for a whole run, whatever the number of pytest's workers ----------------


def pytest_configure(config: pytest.Config) -> None:
    """Make the folder of this run, or learn it from the controlling process."""
    given = getattr(config, "workerinput", {}).get("run_folder")
    use_memory()
    folder = Path(given) if given else Path(tempfile.mkdtemp(prefix="gatehouse-tests-"))
    folder.chmod(0o711)  # under root, PostgreSQL's account has to walk through it
    config.stash[RUN_FOLDER] = folder
    if not given:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # a run that is ended ends its servers too


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Let Python search for garbage seldom: not while tests are collected, and never among what collecting has made.

    Searching is a third of collecting, and a fifth of what the tests cost.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(10_000, 10, 10)
        gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist the folder."""
    node.workerinput["run_folder"] = str(node.config.stash[RUN_FOLDER])


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the server, in the controlling process, after all workers have ended."""
    if hasattr(config, "workerinput"):
        return
    folder = config.stash[RUN_FOLDER]
    if (folder / "postgres").exists():
        PostgresServer(folder / "postgres").remove()
    shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep settings of the developer's shell, and a `.env` of the working directory, out of every test."""
    for name in list(os.environ):
        if name.startswith(("GATEHOUSE_", "FLASK_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def run_folder(pytestconfig: pytest.Config) -> Path:
    """Return the folder that all workers of this run share."""
    return pytestconfig.stash[RUN_FOLDER]


@pytest.fixture(scope="session")
def postgres(run_folder: Path) -> Iterator[PostgresServer]:
    """Return the PostgreSQL server of this run; whoever asks first starts it."""
    server = PostgresServer(run_folder / "postgres")
    with FileLock(run_folder / "postgres.lock"):
        if not server.is_running():
            PostgresServer.create(server.directory)
    yield server
    server.disconnect()


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """Return a server of the test's own, to be stopped and started."""
    with tempfile.TemporaryDirectory(prefix="gatehouse-pg-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        server = PostgresServer.create(folder / "postgres")
        yield server
        server.remove()


# --- databases ---------------------------------------------------------------------------------------------


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """Return the URL of an empty PostgreSQL database."""
    name = postgres.create_database()
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of a database without tables, on SQLite and on PostgreSQL in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'gatehouse.sqlite3'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, run_folder: Path, tmp_path: Path) -> Iterator[str]:
    """Return the URL of a database with our tables and no rows, on SQLite and on PostgreSQL in turn."""
    if request.param == "sqlite":
        yield databases.sqlite_copy(run_folder, tmp_path / "gatehouse.sqlite3")
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    name = databases.postgres_copy(run_folder, server)
    yield server.url(name)
    server.drop_database(name)


# --- apps --------------------------------------------------------------------------------------------------


class MakeApp(Protocol):
    """`make_app(setup=None, **config)`."""

    def __call__(self, setup: apps.Setup | None = None, **config: object) -> Flask:
        """Return a tiny app behind Gatehouse."""


@pytest.fixture
def make_app(request: pytest.FixtureRequest, run_folder: Path, tmp_path: Path) -> Iterator[MakeApp]:
    """Return a factory of tiny apps, on the test's `database_url` if it asks for one, else on a migrated SQLite."""
    made: list[Flask] = []

    def make(setup: apps.Setup | None = None, **config: object) -> Flask:
        if "database_url" in request.fixturenames:
            config.setdefault("GATEHOUSE_DATABASE_URL", request.getfixturevalue("database_url"))
        if "GATEHOUSE_DATABASE_URL" not in config:
            config["GATEHOUSE_DATABASE_URL"] = databases.sqlite_copy_once(run_folder, tmp_path / "gatehouse.sqlite3")
        app = apps.build(config, setup, folder=str(tmp_path / "instance"))
        made.append(app)
        return app

    yield make
    for app in made:
        databases.close(app)


# --- mail --------------------------------------------------------------------------------------------------


@pytest.fixture
def post() -> Iterator[PostOffice]:
    """Return a mail server that is up."""
    office = PostOffice()
    office.open()
    yield office
    office.close()


# --- flows without requests --------------------------------------------------------------------------------


class OpenHouse(Protocol):
    """`open_house(factors=…, **config)`."""

    def __call__(self, *, factors: Iterable[Factor] = (), **config: object) -> house.House:
        """Return the services of an app, on a clock that stands still."""


@pytest.fixture
def open_house(database_url: str) -> Iterator[OpenHouse]:
    """Return a factory of houses; a second one is another process's view of the same database."""
    opened: list[house.House] = []

    def build(*, factors: Iterable[Factor] = (), **config: object) -> house.House:
        clock = opened[0].clock if opened else None
        opened.append(house.build(database_url, clock=clock, factors=factors, **config))
        return opened[-1]

    yield build
    for one in opened:
        house.close(one)


@pytest.fixture
def home(open_house: OpenHouse) -> house.House:
    """Return a house with every default."""
    return open_house()


@pytest.fixture(scope="session")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd]:
    """Return two processes whose threads act at once."""
    found = Crowd(tmp_path_factory.mktemp("crowd"))
    yield found
    found.close()


# --- servers -----------------------------------------------------------------------------------------------


class Serve(Protocol):
    """`serve(app, config=…, env=…, workers=2, threads=4)`."""

    def __call__(
        self,
        app: str = "tests.support.apps:create_app()",
        *,
        config: Mapping[str, object] | None = None,
        env: Mapping[str, str] | None = None,
        workers: int = 2,
        threads: int = 4,
        ready_path: str = "/",
    ) -> ServerProcess:
        """Serve an app from several processes and return once it answers."""


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Return a starter of gunicorn servers; all are ended after the test."""
    started: list[ServerProcess] = []

    def start(
        app: str = "tests.support.apps:create_app()",
        *,
        config: Mapping[str, object] | None = None,
        env: Mapping[str, str] | None = None,
        workers: int = 2,
        threads: int = 4,
        ready_path: str = "/",
    ) -> ServerProcess:
        told = {"INSTANCE_FOLDER": str(tmp_path / "instance"), **(config or {})}
        environment = {apps.CONFIG_VARIABLE: json.dumps(told), **(env or {})}
        server = start_gunicorn(
            app, folder=tmp_path, env=environment, workers=workers, threads=threads, ready_path=ready_path
        )
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()


class RunServer(Protocol):
    """`run_server(command, port=…, env=…)`."""

    def __call__(
        self,
        command: Sequence[str | Path],
        *,
        port: int,
        env: Mapping[str, str] | None = None,
        ready_path: str = "/",
    ) -> ServerProcess:
        """Start a command that serves on a loopback port and return once it answers."""


@pytest.fixture
def run_server(tmp_path: Path) -> Iterator[RunServer]:
    """Return a starter of any server command, such as `gatehouse demo`; all are ended after the test."""
    started: list[ServerProcess] = []

    def start(
        command: Sequence[str | Path],
        *,
        port: int,
        env: Mapping[str, str] | None = None,
        ready_path: str = "/",
    ) -> ServerProcess:
        server = start_command(command, port=port, folder=tmp_path, env=env or {}, ready_path=ready_path)
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()


# --- the browser -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return a running Chromium.

    One for each module, not for the whole run: while Playwright runs, its event loop counts as running in this
    thread, and Flask's async views refuse to start another.
    """
    with launched_browser() as running:
        yield running


class OpenPage(Protocol):
    """`open_page(**context_options)`."""

    def __call__(self, **options: Any) -> Page:
        """Return a page of a new person: empty cookie jar, own window."""


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Return an opener of pages; a script error or a breach of the CSP fails the test."""
    opened: list[tuple[Page, Complaints]] = []

    def open_one(**options: Any) -> Page:
        page = browser.new_context(**options).new_page()
        page.set_default_timeout(BROWSER_MILLISECONDS)
        opened.append((page, Complaints(page)))
        return page

    yield open_one
    for page, _ in opened:
        page.context.close()
    assert [line for _, complaints in opened for line in complaints.found] == []


@pytest.fixture
def page(open_page: OpenPage) -> Page:
    """Return the page of one person."""
    return open_page()
