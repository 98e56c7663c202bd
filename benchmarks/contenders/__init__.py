"""The field: one small file a contender."""

from __future__ import annotations

from pathlib import Path

from benchmarks.contender import Contender
from benchmarks.contenders import gatehouse, jwt, notes, plain
from benchmarks.postgres import Postgres


def line_up(folder: Path, postgres: Postgres | None = None) -> list[Contender]:
    """Every contender, new, with empty databases."""
    here = [plain.create, jwt.create, notes.create, gatehouse.create, gatehouse.create_flask_login]
    field = [create(_room(folder, number)) for number, create in enumerate(here)]
    if postgres:
        field.append(notes.create_postgres(_room(folder, "notes-pg"), postgres.new_database()))
        field.append(gatehouse.create_postgres(_room(folder, "gatehouse-pg"), postgres.new_database()))
    return field


def _room(folder: Path, name: int | str) -> Path:
    room = folder / f"contender-{name}"
    room.mkdir(mode=0o700)
    return room
