"""For the tests of an app behind Gatehouse: a client that logs in, a clock that stands still, an attack on all routes.

Everything here refuses to work unless the app is TESTING.
"""

from __future__ import annotations

import re
from itertools import islice, product
from typing import TYPE_CHECKING, Any

from flask.testing import FlaskClient
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from .kernel.clock import Clock, micros
from .kernel.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import timedelta

    from flask import Flask
    from werkzeug.routing import MapAdapter, Rule
    from werkzeug.test import TestResponse

    from .kernel.clock import Instant

_TOKEN = re.compile(r'name="csrf_token"[^>]* value="([^"]+)"|value="([^"]+)"[^>]* name="csrf_token"')
_PARAMETER = re.compile(r"<(?:\w+(?:\((.*?)\))?:)?\w+>")
_SAMPLES = ("1", "1.5", "00000000-0000-4000-8000-000000000001", "a", "2030-01-31")
_SAMPLES_AT_MOST = 5000
REFUSALS = frozenset({302, 401, 403})


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


def open_routes(app: Flask, samples: Mapping[str, str] | None = None) -> list[str]:
    """Ask for every route that is not public, as a guest, and return those that did not refuse.

    Args:
        app: the app, with TESTING on.
        samples: rule → a path that reaches it, for rules with converters of the app's own:
            `{"/parts/<ean:code>": "/parts/4006381333931"}`.

    Returns:
        `METHOD rule` for each guarded route that was answered with anything but 302, 401 or 403, and
        `METHOD rule (not tried: …)` for each that no path was found for; an empty list is what a test wants to see.
    """
    _require_testing(app)
    client, found = app.test_client(), []
    table = app.extensions["gatehouse_routes"]
    adapter = app.url_map.bind("localhost")
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: (rule.rule, rule.endpoint)):
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            if table.guard(rule.endpoint).of(method).requirement.is_public:
                continue
            path = _path_to(rule, method, adapter, samples or {})
            if not path:
                found.append(f"{method} {rule.rule} (not tried: give a path that reaches it in `samples`)")
            elif client.open(path, method=method, follow_redirects=False).status_code not in REFUSALS:
                found.append(f"{method} {rule.rule}")
    return found


def _path_to(rule: Rule, method: str, adapter: MapAdapter, samples: Mapping[str, str]) -> str:
    """Return a path that reaches a rule and no other, or `""`."""
    candidates = iter([samples[rule.rule]]) if rule.rule in samples else _paths(rule.rule)
    return next((path for path in candidates if _reaches(adapter, path, method, rule)), "")


def _paths(rule: str) -> Iterator[str]:
    """Yield the rule with values in place of its parameters: what its converters may take is found by trying."""
    pieces = _PARAMETER.split(rule)  # text, arguments of a converter, text, …
    texts, arguments = pieces[::2], pieces[1::2]
    for chosen in islice(product(*(_values(given or "") for given in arguments)), _SAMPLES_AT_MOST):
        yield "".join(text + value for text, value in zip(texts, (*chosen, ""), strict=True))


def _values(arguments: str) -> list[str]:
    """Return values for a converter: words and numbers it is given (`any(a,b)`, `min=5`, `length=2`), then others."""
    words = re.findall(r"[\w.-]+", arguments)
    numbers = [word for word in words if word.isdecimal() and len(word) < len("1000")]
    return [*words, *("1" * int(number) for number in numbers if int(number)), *_SAMPLES]


def _reaches(adapter: MapAdapter, path: str, method: str, rule: Rule) -> bool:
    try:
        return adapter.match(path, method=method, return_rule=True)[0] is rule
    except (HTTPException, RequestRedirect):
        return False
