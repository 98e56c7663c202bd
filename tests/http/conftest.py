"""A bare app behind Gatehouse, for tests that bring their own routes, clock or factor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from flask import Flask
from flask.testing import FlaskClient

import flask_gatehouse as gatehouse
from flask_gatehouse.kernel.clock import Clock
from flask_gatehouse.kernel.feature import Factor
from tests.http.people import Setup
from tests.support import apps, databases
from tests.support.flasks import QuickFlask
from tests.support.people import logged_in


class Build(Protocol):
    """`build(setup, before=…, clock=…, factors=…, flask=…, **config)`."""

    def __call__(
        self,
        setup: Setup | None = None,
        *,
        before: Callable[[Flask], object] | None = None,
        clock: Clock | None = None,
        factors: Iterable[Factor] = (),
        flask: dict[str, Any] | None = None,
        **config: object,
    ) -> Flask:
        """Return an app with no routes but those of `before` and `setup`, and Gatehouse's own."""


@pytest.fixture
def build(request: pytest.FixtureRequest, run_folder: Path, tmp_path: Path) -> Iterator[Build]:
    """Return a factory of bare apps, on the test's `database_url` if it asks for one, else on SQLite.

    `before` runs ahead of Gatehouse, as an extension initialised earlier does; `setup` afterwards.
    """
    made: list[Flask] = []

    def make(
        setup: Setup | None = None,
        *,
        before: Callable[[Flask], object] | None = None,
        clock: Clock | None = None,
        factors: Iterable[Factor] = (),
        flask: dict[str, Any] | None = None,
        **config: object,
    ) -> Flask:
        app = QuickFlask("tests.support.apps", instance_path=str(tmp_path / "instance"), **(flask or {}))
        app.config.update({**apps.DEFAULTS, **config})
        app.config.setdefault("GATEHOUSE_DATABASE_URL", _database_url(request, run_folder, tmp_path))
        if before is not None:
            before(app)
        gate = gatehouse.Gatehouse()
        gate.clock = clock or gate.clock
        gate._factors.extend(factors)  # what a feature would bring
        gate.init_app(app)
        made.append(app)
        if setup is not None:
            setup(app, gate)
        return app

    yield make
    for app in made:
        databases.close(app)


@pytest.fixture
def root(app: Flask) -> FlaskClient:
    """Return the browser of root, whom the `app` of a file of tests has as its administrator."""
    return logged_in(app, "root")


def _database_url(request: pytest.FixtureRequest, run_folder: Path, tmp_path: Path) -> str:
    if "database_url" in request.fixturenames:
        url: str = request.getfixturevalue("database_url")
        return url
    return databases.sqlite_copy_once(run_folder, tmp_path / "bare.sqlite3")
