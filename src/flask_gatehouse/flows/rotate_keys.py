"""Seal what an older secret has sealed under the present one, so that the older one can go.

Each batch is a transaction of its own and what is done is not looked at again: killed at any moment it goes on where it
was, and people log in meanwhile.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask_gatehouse.domain import users

from . import acts, seeds
from .outcomes import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sqlalchemy import Connection

    from flask_gatehouse.kernel.clock import Instant
    from flask_gatehouse.kernel.feature import Resealed, SealedFactor

    from .acts import Act
    from .services import Services

BATCH = 500
NAMED_AT_MOST = 20
ROTATIONS_READ = 10_000


@dataclass(frozen=True, slots=True)
class Rotated:
    """What a rotation did.

    Attributes:
        number: how many seeds and passkeys were sealed under the present secret.
        passkeys: how many of them are passkeys.
        lost: how many no secret opens that is set.
        names: login names of users whose these are, a few of them, each with the id of the secret, where that is known.
    """

    number: int
    passkeys: int = 0
    lost: int = 0
    names: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Secret:
    """A root secret, by what names it.

    Attributes:
        id: says nothing about it; `""` where nobody can tell which one it was.
        is_set: whether it is among the settings.
        is_present: whether new keys are made of it.
        needed_by: method of a factor → rows that need it still, for all but the present one.
        since: when something was first sealed anew under it by `rotate`, None where that is not known.
    """

    id: str
    is_set: bool
    is_present: bool
    needed_by: Mapping[str, int]
    since: Instant | None


def listed(services: Services) -> list[Secret]:
    """Return the root secrets, the present one first, then its fallbacks, then those that are missing."""
    with services.reading() as connection:
        needed = {factor.method: factor.old_seals(connection) for factor in seeds.sealed_of(services)}
        since = _first_used(services, connection)
    ring = services.keys.ids()
    missing = sorted({key_id for counts in needed.values() for key_id in counts} - {*ring})
    return [
        Secret(
            key_id,
            key_id in ring,
            key_id == ring[0],
            {method: counts[key_id] for method, counts in needed.items() if key_id in counts},
            since.get(key_id),
        )
        for key_id in dict.fromkeys((*ring, *missing))
    ]


def _first_used(services: Services, connection: Connection) -> dict[str, Instant]:
    entries = services.audit.search(connection, kind="keys.rotated", limit=ROTATIONS_READ)  # newest first
    return {str(json.loads(entry.detail or "{}").get("key", "")): entry.at for entry in entries}


def due(services: Services) -> int:
    """Return how many seeds and passkeys an older secret has sealed."""
    with services.reading() as connection:
        return sum(sum(factor.old_seals(connection).values()) for factor in seeds.sealed_of(services))


def rotate(services: Services, act: Act, tell: Callable[[int], None]) -> Rotated | Refused:
    """Seal every seed of an older secret under the present one, and let it vouch for every passkey.

    Args:
        services: the app's services.
        act: who, why.
        tell: is told how many are done or lost.
    """
    reasoned = acts.reasoned(act, is_required=False)
    if isinstance(reasoned, Refused):
        return reasoned
    done: dict[str, int] = {}
    lost: list[tuple[int, str]] = []
    for factor in seeds.sealed_of(services):
        for batch in _batches(services, reasoned, factor):
            done[factor.method] = done.get(factor.method, 0) + batch.number
            lost += batch.lost
            tell(sum(done.values()) + len(lost))
    names = _named(services, lost[:NAMED_AT_MOST])
    return Rotated(sum(done.values()), done.get(seeds.PASSKEY, 0), len(lost), names)


def _batches(services: Services, act: Act, factor: SealedFactor) -> Iterator[Resealed]:
    after = 0
    while True:
        with services.unit() as unit:
            batch = factor.reseal(unit.connection, after=after, limit=BATCH)
            if batch.number:
                detail = {"method": factor.method, "number": batch.number, "key": services.keys.ids()[0]}
                acts.record(unit, act, "keys.rotated", None, **detail)
        yield batch
        after = batch.last
        if not after:
            return


def _named(services: Services, lost: list[tuple[int, str]]) -> tuple[tuple[str, str], ...]:
    with services.reading() as connection:
        names = users.names_of(connection, [user_id for user_id, _ in lost])
    return tuple((names.get(user_id, str(user_id)), key_id) for user_id, key_id in lost)
