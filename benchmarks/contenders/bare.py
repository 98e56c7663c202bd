"""A bare app: it reads the form, checks the password with what the peers check with, and answers. Nothing else.

What it does not reach behind a server, nobody reaches there who hashes with the reference implementation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from argon2 import PasswordHasher

from benchmarks.contender import PASSWORD

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

PAGE = b'<form method="post"><input name="csrf_token" value="none"></form>'


class Bare:
    """The app, shaped as Flask's.

    Args:
        hasher: at the cost to be measured.
    """

    def __init__(self, hasher: PasswordHasher) -> None:
        self._verify = hasher.verify
        self._digest = hasher.hash(PASSWORD)
        self.wsgi_app: Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]] = self._answer

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        return self.wsgi_app(environ, start_response)

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "GET":
            start_response("200 OK", [("Content-Length", str(len(PAGE))), ("Set-Cookie", "guest=1")])
            return [PAGE]
        form = parse_qs(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        self._verify(self._digest, form[b"password"][0])
        start_response("303 See Other", [("Content-Length", "0"), ("Location", "/")])
        return [b""]
