"""A visitor over real HTTP: keeps cookies, sends a form as a browser would, comes from any loopback address.

`submit` works the same on Flask's test client, for tests that need no second process.
"""

from __future__ import annotations

import http.client
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import unescape
from http.cookies import SimpleCookie
from urllib.parse import urlencode, urlsplit

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0"
TIMEOUT_SECONDS = 60.0
_INPUT = re.compile(r"<input\b[^>]*>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r'([a-zA-Z-]+)\s*=\s*"([^"]*)"')


def csrf_token(html: str) -> str:
    """Return the CSRF token of the first form on a page.

    Raises:
        AssertionError: the page has no form with a token.
    """
    for element in _INPUT.findall(html):
        attributes = dict(_ATTRIBUTE.findall(element))
        if attributes.get("name") == "csrf_token":
            return unescape(attributes.get("value", ""))
    message = f"no csrf_token on the page:\n{html[:2000]}"
    raise AssertionError(message)


def submit(client: FlaskClient, path: str, *, page: str | None = None, **fields: str | list[str]) -> TestResponse:
    """Fetch the page with the form (`path` unless told), then post its token and `fields` to `path`."""
    shown = client.get(page or path)
    token = csrf_token(shown.get_data(as_text=True))
    return client.post(path, data={"csrf_token": token, **fields})


@dataclass(frozen=True)
class Answer:
    """A response, read whole."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")

    def header(self, name: str) -> str | None:
        """Return the first header of that name."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    @property
    def location(self) -> str | None:
        """Where a redirect leads."""
        return self.header("Location")


@dataclass
class Visitor:
    """One browser of one person."""

    url: str
    source: str = "127.0.0.1"
    user_agent: str = USER_AGENT
    cookies: dict[str, str] = field(default_factory=dict)

    def copy(self) -> Visitor:
        """Return a thief: the same cookies in another jar, the same browser and address."""
        return Visitor(self.url, self.source, self.user_agent, dict(self.cookies))

    def get(self, path: str, **headers: str) -> Answer:
        """GET a page; redirects are not followed. `Accept_Language=…` names a header."""
        return self.request("GET", path, headers={key.replace("_", "-"): value for key, value in headers.items()})

    def post(self, path: str, fields: Mapping[str, str], headers: Mapping[str, str] | None = None) -> Answer:
        """POST a form exactly as given, with the Origin that a browser sends."""
        sent = {"Origin": self.url, "Content-Type": "application/x-www-form-urlencoded", **(headers or {})}
        return self.request("POST", path, urlencode(fields).encode(), sent)

    def submit(self, path: str, *, page: str | None = None, **fields: str) -> Answer:
        """Fetch the page with the form (`path` unless told), then post its token and `fields` to `path`."""
        token = csrf_token(self.get(page or path).text)
        return self.post(path, {"csrf_token": token, **fields})

    def register(self, username: str, password: str) -> Answer:
        """Fill in the registration form."""
        return self.submit("/register", username=username, password=password, confirm=password)

    def log_in(self, username: str, password: str) -> Answer:
        """Fill in the login form."""
        return self.submit("/login", username=username, password=password)

    def log_out(self, page: str = "/account") -> Answer:
        """Press the log-out button of a page."""
        return self.submit("/logout", page=page)

    def connect(self) -> http.client.HTTPConnection:
        """Return a connection from this visitor's address."""
        place = urlsplit(self.url)
        return http.client.HTTPConnection(
            place.hostname or "", place.port, timeout=TIMEOUT_SECONDS, source_address=(self.source, 0)
        )

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send one request on a connection of its own."""
        connection = self.connect()
        sent = {"User-Agent": self.user_agent, "Accept": "text/html,application/xhtml+xml", "Connection": "close"}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        try:
            connection.request(method, path, body, {**sent, **(headers or {})})
            response = connection.getresponse()
            answer = Answer(response.status, response.getheaders(), response.read())
        finally:
            connection.close()
        self._keep_cookies(answer)
        return answer

    def _keep_cookies(self, answer: Answer) -> None:
        for name, value in answer.headers:
            if name.lower() != "set-cookie":
                continue
            for morsel in SimpleCookie(value).values():
                if morsel["max-age"] == "0" or "1970" in morsel["expires"]:
                    self.cookies.pop(morsel.key, None)
                else:
                    self.cookies[morsel.key] = morsel.value
