"""Seal what an older secret has sealed under the present one, so that the older one can go.

Each batch is a transaction of its own and what is done is not looked at again: killed at any moment it goes on where it
was, and people log in meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask_gatehouse.domain import users

from . import acts, seeds
from .outcomes import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from .acts import Act
    from .services import Services

BATCH = 500
NAMED_AT_MOST = 20


@dataclass(frozen=True, slots=True)
class Rotated:
    """What a rotation did.

    Attributes:
        number: how many seeds were sealed under the present secret.
        lost: how many no secret opens that is set.
        names: login names of users whose seeds these are, a few of them, each with the id of the secret.
    """

    number: int
    lost: int = 0
    names: tuple[tuple[str, str], ...] = ()


def due(services: Services) -> int:
    """Return how many seeds an older secret has sealed."""
    factor = seeds.totp_of(services)
    if factor is None:
        return 0
    with services.reading() as connection:
        return sum(factor.old_seals(connection).values())


def rotate(services: Services, act: Act, tell: Callable[[int], None]) -> Rotated | Refused:
    """Seal every seed of an older secret under the present one.

    Args:
        services: the app's services.
        act: who, why.
        tell: is told how many have been looked at.
    """
    factor, reasoned = seeds.totp_of(services), acts.reasoned(act, is_required=False)
    if isinstance(reasoned, Refused):
        return reasoned
    number, lost, after = 0, list[tuple[int, str]](), 0
    while factor is not None:
        with services.unit() as unit:
            batch = factor.reseal(unit.connection, after=after, limit=BATCH)
            if batch.number:
                acts.record(unit, reasoned, "keys.rotated", None, number=batch.number, key=factor.sealer.present_id)
        number, after = number + batch.number, batch.last
        lost += batch.lost
        tell(number + len(lost))
        if not after:
            break
    return Rotated(number, len(lost), _named(services, lost[:NAMED_AT_MOST]))


def _named(services: Services, lost: list[tuple[int, str]]) -> tuple[tuple[str, str], ...]:
    with services.reading() as connection:
        names = users.names_of(connection, [user_id for user_id, _ in lost])
    return tuple((names.get(user_id, str(user_id)), key_id) for user_id, key_id in lost)
