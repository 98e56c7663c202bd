"""A seed that waits in one session to be confirmed by a code of it, before it is enrolled."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from flask_gatehouse.kernel.errors import LostKeyError
from flask_gatehouse.kernel.sealed import Sealed

from . import challenges

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from flask_gatehouse.kernel.clock import Instant
    from flask_gatehouse.kernel.feature import SeedFactor

    from .challenges import Asked


class Unconfirmed(Enum):
    """Why a code confirmed nothing."""

    GONE = "no seed waits in this session any more"
    WRONG = "the code is of another seed or time"
    VOID = "it was wrong for the last time that this seed stands"


@dataclass(frozen=True, slots=True, repr=False)
class Confirmed:
    """A seed that the user's app has, as the code of a time step has shown."""

    seed: str
    step: int


def waiting(connection: Connection, factor: SeedFactor, asked: Asked, now: Instant) -> str | None:
    """Return the seed that waits, or None."""
    found = challenges.find(connection, asked, now)
    return None if found is None else _opened(factor, found, asked)


def _opened(factor: SeedFactor, found: tuple[str, bytes], asked: Asked) -> str | None:
    """Return a seed that waits; None where the secret that sealed it is gone: then another is made."""
    try:
        return factor.sealer.open(Sealed(*found), asked.session_id).decode()
    except LostKeyError:
        return None


def make(connection: Connection, factor: SeedFactor, asked: Asked, now: Instant) -> str:
    """Return the seed that waits, a new one where none does; the caller holds the user's row."""
    found = waiting(connection, factor, asked, now)  # two tabs at once: both show the same
    if found is not None:
        return found
    seed = factor.new_seed()
    challenges.ask(connection, asked, factor.sealer.seal(seed.encode(), asked.session_id), now)
    return seed


def confirm(
    connection: Connection, factor: SeedFactor, asked: Asked, code: str, now: Instant
) -> Confirmed | Unconfirmed:
    """Use the seed that waits up if the code is of it; count a wrong code."""
    found = challenges.find(connection, asked, now)
    seed = None if found is None else _opened(factor, found, asked)
    if found is None or seed is None:
        return Unconfirmed.GONE
    step = factor.step_of(seed, code, now)
    if step is None:
        return Unconfirmed.VOID if challenges.count_wrong(connection, asked) else Unconfirmed.WRONG
    return Confirmed(seed, step) if challenges.consume(connection, asked, found[1], now) else Unconfirmed.GONE
