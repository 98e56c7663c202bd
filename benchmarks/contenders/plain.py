"""Plain Flask: the floor. Its "protected" route is just a route.

It has no SECRET_KEY: with one, Flask prepares a signed session for every request, and that is no longer the floor.
"""

from __future__ import annotations

from pathlib import Path

from flask import Flask

from benchmarks.contender import PLAIN, PROTECTED_PATH, PROTECTED_TEXT, PUBLIC_PATH, PUBLIC_TEXT, Card, Contender


def create(folder: Path) -> Contender:
    """The two routes and nothing else."""
    app = Flask(__name__, instance_path=str(folder))

    @app.get(PUBLIC_PATH)
    def public() -> str:
        return PUBLIC_TEXT

    @app.get(PROTECTED_PATH)
    def protected() -> str:
        return PROTECTED_TEXT

    return Contender(Card(PLAIN, guards=False), app, lambda _client: {})
