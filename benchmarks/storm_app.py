"""The app that a storm's server serves: `benchmarks.storm_app:create()`, chosen by two environment variables."""

from __future__ import annotations

import os
from pathlib import Path

from flask import Flask

from benchmarks.contender import Contender
from benchmarks.contenders import gatehouse, notes

CONTENDER, FOLDER = "STORM_CONTENDER", "STORM_FOLDER"
CONTENDERS = {"gatehouse": gatehouse.create, "notes": notes.create}


def contender(name: str, folder: Path) -> Contender:
    """One of the contenders, over the database in a folder."""
    return CONTENDERS[name](folder)


def create() -> Flask:
    """The app for a server's worker."""
    return contender(os.environ[CONTENDER], Path(os.environ[FOLDER])).app
