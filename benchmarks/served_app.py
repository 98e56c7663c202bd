"""The app that a benchmark's server serves: `benchmarks.served_app:create()`, chosen by environment variables."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Flask

from benchmarks.contender import Contender
from benchmarks.contenders import gatehouse, notes, plain

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

CONTENDER, FOLDER, SETTINGS, CHECKS = "BENCH_CONTENDER", "BENCH_FOLDER", "BENCH_SETTINGS", "BENCH_CHECKS"
CONTENDERS = {"plain": plain.create, "gatehouse": gatehouse.create, "notes": notes.create}
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


def create() -> Flask:
    """The app for a server's worker."""
    settings = json.loads(os.environ.get(SETTINGS, "{}"))
    app = contender(os.environ[CONTENDER], Path(os.environ[FOLDER]), **settings).app
    app.wsgi_app = Numbered(app.wsgi_app)  # type: ignore[method-assign]  # as Flask's own documentation does
    return app
