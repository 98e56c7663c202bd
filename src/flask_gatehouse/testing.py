"""For the tests of an app behind Gatehouse: a client that logs in, a clock that stands still, an attack on all routes.

Everything here refuses to work unless the app is TESTING.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from flask.testing import FlaskClient

from .kernel.clock import Clock, micros
from .kernel.errors import SetupError

if TYPE_CHECKING:
    from datetime import timedelta

    from flask import Flask
    from werkzeug.test import TestResponse

    from .kernel.clock import Instant

_TOKEN = re.compile(r'name="csrf_token"[^>]* value="([^"]+)"|value="([^"]+)"[^>]* name="csrf_token"')
_PARAMETER = re.compile(r"<(?:[^:<>]+:)?[^<>]+>")
REFUSALS = frozenset({302, 401, 403, 404, 405})


def _require_testing(app: Flask) -> None:
    if not app.testing:
        msg = "flask_gatehouse.testing works only on an app with TESTING = True"
        raise SetupError(msg)


class FrozenClock(Clock):
    """A clock that stands still until it is told to go on: `gate.clock = FrozenClock()` before `init_app`."""

    def __init__(self, start: Instant | None = None) -> None:
        self._now = super().now() if start is None else start

    def now(self) -> Instant:
        """Return the instant the clock stands at."""
        return self._now

    def advance(self, duration: timedelta) -> None:
        """Go on by a duration."""
        self._now += micros(duration)


class GatehouseClient(FlaskClient):
    """A test client that fills in CSRF tokens and logs in as a browser would.

    `app.test_client_class = GatehouseClient`, then `app.test_client().log_in("alice", "…")`.
    """

    def __init__(self, application: Flask, *args: Any, **kwargs: Any) -> None:
        _require_testing(application)
        super().__init__(application, *args, **kwargs)

    def token(self, path: str = "/login") -> str:
        """Return the CSRF token of a page with a form.

        Raises:
            LookupError: the page holds none.
        """
        found = _TOKEN.search(self.get(path).get_data(as_text=True))
        if found is None:
            msg = f"{path} shows no CSRF token"
            raise LookupError(msg)
        return found[1] or found[2]

    def submit(self, path: str, page: str = "", **fields: str) -> TestResponse:
        """Post a form with its CSRF token.

        Args:
            path: where to.
            page: where the form is shown, if elsewhere.
            fields: the form's fields.
        """
        return self.post(path, data={**fields, "csrf_token": self.token(page or path)})

    def log_in(self, username: str, password: str, **fields: str) -> TestResponse:
        """Log in through the login page."""
        return self.submit("/login", username=username, password=password, **fields)


def open_routes(app: Flask) -> list[str]:
    """Ask for every route that is not public, as a guest, and return those that answered.

    Args:
        app: the app, with TESTING on.

    Returns:
        `METHOD rule` for each guarded route that did not refuse; an empty list is what a test wants to see.
    """
    _require_testing(app)
    client, found = app.test_client(), []
    for row in app.extensions["gatehouse"].route_table(app):
        if row.requirement_text.startswith("public"):
            continue
        for method in row.methods:
            answer = client.open(_PARAMETER.sub("1", row.rule), method=method, follow_redirects=False)
            if answer.status_code not in REFUSALS:
                found.append(f"{method} {row.rule}")
    return found
