"""The thin WSGI layer that refuses a flood before Flask: it reads no body and asks no database (rule 6).

It knows which endpoints hash, which windows of the throttle are spent or paused, whether the hashing pool has a place,
and whether a browser shows a genuine device cookie. All that is charged and decided stands in the flows.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, RequestRedirect

from flask_gatehouse.domain import devices, throttle
from flask_gatehouse.flows.outcomes import BUSY_WAIT_MICROS

from . import respond
from .schemes import cookie_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from flask import Flask, Response

    from flask_gatehouse.domain.throttle import Rule

    from .context import Wired
    from .origin import Origin

READING = frozenset({"GET", "HEAD", "OPTIONS"})
KNOWN_USES = 60
"""Requests of one device cookie in a window that are spared the address's; more than a person makes."""
MOST_KNOWN = 10_000
RULES: dict[str, Rule] = {
    "gatehouse.login": throttle.LOGIN,
    "gatehouse.register": throttle.REGISTER,
    "gatehouse.reset_password": throttle.RESET,
    "gatehouse.forgot_password": throttle.FORGOT,
    "gatehouse.verify_email": throttle.VERIFY,
    "gatehouse.reauthenticate": throttle.STEP_UP,
    "gatehouse.password": throttle.CHANGE,
}
"""Endpoint that hashes, or that mail leads to or comes from → what it is charged to."""
FROM_OUTSIDE = frozenset({"gatehouse.login", "gatehouse.register", "gatehouse.reset_password"})
"""Those of strangers; people inside have a place in the pool that is kept for them."""


class GuardLayer:
    """Turns away what the flows would refuse anyway.

    Args:
        inner: the WSGI app behind.
        app: the Flask app, for its URL map.
        wired: the app's wiring.
    """

    def __init__(self, inner: Any, app: Flask, wired: Wired) -> None:
        self._inner: Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]] = inner
        self._app = app
        self._wired = wired
        self._lock = threading.Lock()
        self._uses: dict[str, tuple[int, int]] = {}
        self._hashing: Map | None = None
        self._fixed: dict[str, str] = {}

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer by itself or let the request through."""
        if environ["REQUEST_METHOD"] in READING:
            return self._inner(environ, start_response)
        refusal = self._judge(environ) if environ["REQUEST_METHOD"].upper() == "POST" else None
        return (refusal or self._inner)(environ, start_response)

    def _judge(self, environ: dict[str, Any]) -> Response | None:
        if self._app.subdomain_matching:  # whose page a path names depends on more than the path: Flask sees to it
            return None
        endpoint = self._endpoint(environ)
        origin = self._wired.origins.of(environ) if endpoint in RULES else None
        if origin is None:
            return None
        held = self._wired.services
        now, address = held.clock.now(), self._wired.origins.address(environ)
        cookie = self._known(environ, origin, now) if endpoint == "gatehouse.login" else ""
        if cookie:
            wait = held.throttle.turned_away(throttle.KNOWN_LOGIN, address, now, target=devices.target(cookie))
        else:
            wait = held.throttle.turned_away(RULES[endpoint], address, now)
        if wait:
            return respond.turned_away(self._app, environ, 429, wait)
        if endpoint in FROM_OUTSIDE and held.hasher.is_busy(is_inside=bool(cookie)):
            return respond.turned_away(self._app, environ, 503, BUSY_WAIT_MICROS)
        return None

    def _endpoint(self, environ: dict[str, Any]) -> str:
        """Return which of the endpoints that hash is asked for, or `""`; the host's own converters are not run."""
        if self._hashing is None:
            rules = [rule for rule in self._app.url_map.iter_rules() if rule.endpoint in RULES]
            self._fixed = {rule.rule: rule.endpoint for rule in rules if not rule.arguments}
            default = self._app.url_map.default_subdomain
            self._hashing = Map([rule.empty() for rule in rules], default_subdomain=default)
        if (fixed := self._fixed.get(environ.get("PATH_INFO") or "")) is not None:
            return fixed
        try:
            found = self._hashing.bind_to_environ(environ).match(method="POST")
        except (HTTPException, RequestRedirect):
            return ""
        return str(found[0])

    def _known(self, environ: dict[str, Any], origin: Origin, now: int) -> str:
        """Return the browser's device cookie if it is genuine and not used more often than a person would."""
        header = environ.get("HTTP_COOKIE") or ""
        shown = cookie_value(header, origin.cookie_name("gatehouse-device"))
        cookie = devices.genuine(self._wired.services.keys, shown)
        if not cookie:
            return ""
        return cookie if self._count(devices.target(cookie), now) <= KNOWN_USES else ""

    def _count(self, browser: str, now: int) -> int:
        with self._lock:
            count, ends_at = self._uses.pop(browser, (0, 0))
            count, ends_at = (1, now + throttle.KNOWN_LOGIN.window) if ends_at <= now else (count + 1, ends_at)
            self._uses[browser] = count, ends_at
            while len(self._uses) > MOST_KNOWN:
                del self._uses[next(iter(self._uses))]
        return count
