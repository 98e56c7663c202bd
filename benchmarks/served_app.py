"""The app that a benchmark's server serves: `benchmarks.served_app:create()`, chosen by environment variables."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Flask

from benchmarks.browser import client_of, submit
from benchmarks.contender import PASSWORD, Contender, hasher
from benchmarks.contenders import gatehouse, notes, plain
from benchmarks.contenders.bare import Bare
from flask_gatehouse.domain.passwords import Hasher

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

CONTENDER, FOLDER, SETTINGS, CHECKS = "BENCH_CONTENDER", "BENCH_FOLDER", "BENCH_SETTINGS", "BENCH_CHECKS"
CONTENDERS = {"plain": plain.create, "gatehouse": gatehouse.create, "notes": notes.create}
BARE = "bare"
WORKER_PATH = "/which-worker"


class Numbered:
    """Tells which process answers, so that a load can be spread over all of them; all else goes through."""

    def __init__(self, inner: WSGIApplication) -> None:
        self._inner = inner

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != WORKER_PATH:
            return self._inner(environ, start_response)
        body = str(os.getpid()).encode()
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]


def contender(name: str, folder: Path, **settings: object) -> Contender:
    """One of the contenders, over the database in a folder."""
    create: Any = CONTENDERS[name]
    made: Contender = create(folder, **settings)
    return made


def create_users(name: str, folder: Path, passwords: Mapping[str, str]) -> None:
    """Make the database of a contender with these users, names with their passwords."""
    made = contender(name, folder)
    for username, password in passwords.items():
        if name == "gatehouse":
            with made.app.app_context():
                made.app.extensions["gatehouse"].create_user(username, password)
        else:
            submit(client_of(made.app), "/register", username=username, password=password)


def count_checks(path: Path) -> None:
    """Write a line for each password that this process compares with a digest: whether it is that of people."""
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def told(password: str) -> None:
        os.write(log, b"own\n" if password == PASSWORD else b"other\n")

    check, check_notes = Hasher._check, notes.check_password_hash  # noqa: SLF001 - where every comparison passes

    def checking(self: Hasher, digest: str, value: str) -> bool:
        told(value)
        return check(self, digest, value)

    def checking_notes(digest: str, value: str) -> bool:
        told(value)
        return check_notes(digest, value)

    Hasher._check = checking  # type: ignore[method-assign]  # noqa: SLF001
    notes.check_password_hash = checking_notes


def create() -> Flask | Bare:
    """The app for a server's worker."""
    if CHECKS in os.environ:
        count_checks(Path(os.environ[CHECKS]))
    app = _chosen(os.environ[CONTENDER])
    app.wsgi_app = Numbered(app.wsgi_app)  # type: ignore[method-assign]  # as Flask's own documentation does
    return app


def _chosen(name: str) -> Flask | Bare:
    if name == BARE:
        return Bare(hasher())
    return contender(name, Path(os.environ[FOLDER]), **json.loads(os.environ.get(SETTINGS, "{}"))).app
