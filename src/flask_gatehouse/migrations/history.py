"""Alembic at work on our history; apart, because importing it is a fifth of a start that seldom needs it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config

if TYPE_CHECKING:
    from sqlalchemy import Connection

_ALEMBIC = threading.Lock()
"""Alembic's `context` is one for the whole process: two apps that upgrade at once would mix up their databases."""


def config() -> Config:
    """Return Alembic's configuration for this history."""
    found = Config()
    found.set_main_option("script_location", str(Path(__file__).parent))
    found.set_main_option("path_separator", "os")
    return found


def run(connection: Connection) -> None:
    """Run what is missing in the transaction of a connection."""
    setup = config()
    setup.attributes["connection"] = connection
    with _ALEMBIC:
        command.upgrade(setup, "head")
