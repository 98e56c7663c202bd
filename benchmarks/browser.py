"""A browser as far as a server sees one: its headers, its cookies, and forms filled in as they were served."""

from __future__ import annotations

from html.parser import HTMLParser

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from benchmarks.contender import PROTECTED_PATH

ORIGIN = "https://bench.example"

HEADERS = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-US,en;q=0.5",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "same-origin",
}


class WrongAnswerError(Exception):
    """A contender did not do what the benchmark would compare: its numbers would mean nothing."""


class _Token(HTMLParser):
    value: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        fields = dict(attrs)
        if tag == "input" and fields.get("name") == "csrf_token":
            self.value = fields.get("value")


def csrf_token(page: str) -> str:
    """The token of the form in a page."""
    parser = _Token()
    parser.feed(page)
    if not parser.value:
        raise WrongAnswerError("the form has no csrf_token")
    return parser.value


def client_of(app: Flask) -> FlaskClient:
    """A client with a cookie jar of its own."""
    return app.test_client()


def get(client: FlaskClient, path: str) -> TestResponse:
    """Fetch a page."""
    return client.get(path, base_url=ORIGIN, headers=HEADERS)


def submit(client: FlaskClient, path: str, **fields: str) -> TestResponse:
    """Open the form at `path`, fill it in and send it back with the token it came with."""
    form = get(client, path)
    if form.status_code != 200:
        raise WrongAnswerError(f"GET {path} answered {form.status}")
    answer = client.post(
        path,
        base_url=ORIGIN,
        headers=HEADERS | {"Origin": ORIGIN, "Referer": ORIGIN + path},
        data=fields | {"csrf_token": csrf_token(form.text)},
    )
    if answer.status_code not in (302, 303):
        raise WrongAnswerError(f"POST {path} answered {answer.status}")
    return answer


def cookie_header(client: FlaskClient) -> dict[str, str]:
    """The Cookie header that the client sends to the protected route."""
    return {"Cookie": get(client, PROTECTED_PATH).request.headers["Cookie"]}
