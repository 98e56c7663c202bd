"""The field: one small file a contender."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from benchmarks.contender import Recipe
from benchmarks.contenders import gatehouse, jwt, notes, plain
from benchmarks.postgres import Postgres


def line_up(folder: Path, postgres: Postgres | None = None) -> list[Recipe]:
    """A recipe for every contender, each with a folder or a database of its own."""
    here = [plain.create, jwt.create, notes.create, gatehouse.create, gatehouse.create_flask_login]
    recipes: list[Recipe] = [partial(create, _room(folder, number)) for number, create in enumerate(here)]
    if postgres:
        for create in (notes.create_postgres, gatehouse.create_postgres):
            recipes.append(partial(create, _room(folder, len(recipes)), postgres.new_database()))
    return recipes


def _room(folder: Path, number: int) -> Path:
    room = folder / f"contender-{number}"
    room.mkdir(mode=0o700)
    return room
