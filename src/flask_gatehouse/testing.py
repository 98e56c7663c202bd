"""For the tests of an app behind Gatehouse: a client that logs in, a still clock, a mail box, an attack on all routes.

Everything here refuses to work unless the app is TESTING.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice, product
from typing import TYPE_CHECKING, Any

from flask.testing import FlaskClient
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from .flows import post
from .kernel.clock import Clock, micros
from .kernel.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import timedelta
    from email.message import EmailMessage

    from flask import Flask
    from werkzeug.routing import MapAdapter, Rule
    from werkzeug.test import TestResponse

    from .kernel.clock import Instant

_TOKEN = re.compile(r'name="csrf_token"[^>]* value="([^"]+)"|value="([^"]+)"[^>]* name="csrf_token"')
_URL = re.compile(r"https?://[^\s/]+/[^\s<>\"]+")
_PARAMETER = re.compile(r"<(?:\w+(?:\((.*?)\))?:)?\w+>")
_SAMPLES = ("1", "1.5", "00000000-0000-4000-8000-000000000001", "a", "2030-01-31")
_SAMPLES_AT_MOST = 5000
_POSTMAN_SECONDS = 30
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


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail as it would have left.

    Attributes:
        to: the address it goes to.
        text: its plain part.
        html: its HTML part.
        links: URLs of pages in its plain part, in order; a test client takes them as they are.
    """

    to: str
    subject: str
    text: str
    html: str
    links: tuple[str, ...]


class MailBox:
    """Gets every mail of an app in place of a mail server: `box = MailBox(app)` after `init_app`.

    From then on mail is on, whatever `GATEHOUSE_MAIL_URL` says, and none leaves the process. It waits in the app's
    outbox until the box is looked into: what a change that rolled back would have sent never comes.

    Args:
        app: the app, with TESTING on.

    Raises:
        SetupError: the app is not TESTING.
    """

    def __init__(self, app: Flask) -> None:
        _require_testing(app)
        self._services = app.extensions["gatehouse"].services(app)
        self._services.mailer.divert(self._take)
        self._services.postman.retire(_POSTMAN_SECONDS)  # no thread sends behind the test's back
        self._mails: list[Mail] = []

    def _take(self, message: EmailMessage) -> None:
        text, html = (str(part.get_content()) for part in message.iter_parts())
        links = tuple(found.rstrip(".,;:!?)") for found in _URL.findall(text))
        self._mails.append(Mail(str(message["To"]), str(message["Subject"]), text, html, links))

    @property
    def mails(self) -> tuple[Mail, ...]:
        """All mails so far, oldest first; what waits and is due by the app's clock is sent first.

        Raises:
            LookupError: a mail could not be put into words, by a template of the app; its log says which.
        """
        told = post.deliver(self._services)
        if told.failed:
            msg = f"{told.failed} mails were not sent: see the warnings of the logger flask_gatehouse.mail"
            raise LookupError(msg)
        return tuple(self._mails)

    def to(self, address: str) -> tuple[Mail, ...]:
        """Return the mails to one address, oldest first."""
        return tuple(mail for mail in self.mails if mail.to == address)


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
