"""What administrators see first: what happened in the last day, and what needs attention. Reads only.

Everything here costs the same however many users, grants and events there are: each question is answered along an
index and cut short.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from itertools import islice
from typing import TYPE_CHECKING

from flask_gatehouse.domain import passwords, throttle, users
from flask_gatehouse.domain.audit import counts
from flask_gatehouse.kernel.clock import micros
from flask_gatehouse.kernel.identity import ADMIN

from . import seeds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import Connection

    from flask_gatehouse.kernel.clock import Instant

    from .services import Services

HOURS = 24
SOON = micros(timedelta(days=7))
LATELY = micros(timedelta(days=30))
NAMED_AT_MOST = 5
"""Of one matter so many names are shown; then that there are more."""
LOOKED_AT_MOST = 50
"""Counters of one matter that are looked at: some are of users who are not active."""
ENOUGH_ADMINS = 2

SERIES = {
    "logins": ("login.succeeded",),
    "failures": ("login.failed", "step_up.failed", "password.change_failed"),
    "refusals": ("login.throttled", "access.denied", "csrf.refused"),
}
"""What is counted together. A delay is no failure of its own: it begins with one that is recorded or counted."""
_SERIES_OF = {kind: name for name, kinds in SERIES.items() for kind in kinds}


@dataclass(frozen=True, slots=True)
class Activity:
    """How often somebody logged in, failed or was refused, hour by hour.

    Attributes:
        hours: when each begins.
        numbers: of each series of `SERIES`, one number an hour.
    """

    hours: tuple[Instant, ...]
    numbers: dict[str, list[int]]


class Concern(Enum):
    """What a matter is about, the gravest first."""

    UNSEALED = "the chain's head was not written by this key ring"
    DISAGREES = "a verification found that the chain does not agree"
    FEW_ADMINS = "fewer than two administrators can log in without end"
    UNPROTECTED = "administrators have no second factor"
    ALARMED = "users have said that it was not them"
    DISABLED = "passwords are disabled"
    DELAYED = "accounts are in a delay"
    ENDING = "grants end soon"
    SHADOWED = "roles of the database are declared in code too"
    OUTDATED = "passwords are hashed by an older scheme or cost"


@dataclass(frozen=True, slots=True)
class Subject:
    """What a matter names.

    Attributes:
        name: of a user, a role or a scheme.
        user_id: where it is a user.
        role: of a grant that ends.
        at: when something ends by itself, or happened last.
    """

    name: str
    user_id: int | None = None
    role: str = ""
    at: Instant | None = None


@dataclass(frozen=True, slots=True)
class Matter:
    """Something that needs attention.

    Attributes:
        concern: what it is.
        subjects: whom or what it names, a few of them.
        has_more: whether there are others.
    """

    concern: Concern
    subjects: tuple[Subject, ...] = ()
    has_more: bool = False

    @property
    def name(self) -> str:
        """The concern as one lower-case word, for templates."""
        return self.concern.name.lower()


def activity(services: Services, connection: Connection, now: Instant) -> Activity:
    """Count the 24 hours that end with the present ten minutes; repeats are there once their window has been told.

    Args:
        services: the app's services.
        connection: where to read.
        now: the present instant.
    """
    end = now - now % counts.TEN_MINUTES + counts.TEN_MINUTES
    since = end - HOURS * counts.HOUR
    numbers = {name: [0] * HOURS for name in SERIES}
    for kind, at, number in (
        *services.audit.counts.by_ten_minutes(connection, _SERIES_OF, since, now),
        *counts.counted(connection, since, throttle.WINDOW),
    ):
        name = _SERIES_OF.get(kind, "refusals" if kind.endswith(".throttled") else "")
        if name and since <= at < end:
            numbers[name][(at - since) // counts.HOUR] += number
    return Activity(tuple(range(since, end, counts.HOUR)), numbers)


def chain_matters(connection: Connection, now: Instant) -> Iterator[Matter]:
    """Yield what was recorded of late about a chain that does not agree.

    Args:
        connection: where to read.
        now: the present instant.
    """
    concerns = {"audit.unsealed": Concern.UNSEALED, counts.VERIFIED: Concern.DISAGREES}
    for kind, at in counts.troubles(connection, now - LATELY):
        yield Matter(concerns[kind], (Subject(kind, at=at),))


def matters(services: Services, connection: Connection, now: Instant) -> Iterator[Matter]:
    """Yield what needs attention beside the chain, the gravest first; what is as it should be is left out.

    Args:
        services: the app's services.
        connection: where to read.
        now: the present instant.
    """
    if len(services.roles.lasting_admins(connection, now)) < ENOUGH_ADMINS:
        yield Matter(Concern.FEW_ADMINS)
    yield from _unprotected(services, connection, now)
    alarmed = users.alarmed(connection, NAMED_AT_MOST + 1)
    yield from _some(Concern.ALARMED, [Subject(one.username, one.id) for one in alarmed])
    yield from _shut_out(connection, now)
    ending = services.roles.ending(connection, now, now + SOON, NAMED_AT_MOST + 1)
    yield from _some(Concern.ENDING, [Subject(one.username, one.user_id, one.role, one.until_at) for one in ending])
    yield from _some(Concern.SHADOWED, [Subject(name) for name in services.roles.shadowed(connection)])
    digests = passwords.sample_digests(connection)
    outdated = {passwords.scheme_of(digest) for digest in digests if services.hasher.is_outdated(digest)}
    yield from _some(Concern.OUTDATED, [Subject(scheme.lstrip("$")) for scheme in sorted(outdated)])


def _unprotected(services: Services, connection: Connection, now: Instant) -> Iterator[Matter]:
    """Yield administrators without a second factor, where the site offers one; of many the first are looked at."""
    if not seeds.offers_factor(services):
        return
    holders = services.roles.holders(connection, ADMIN, now, limit=LOOKED_AT_MOST)
    names = users.active_names(connection, [holder.user_id for holder in holders])
    lacking = (one for one in sorted(names) if not seeds.has_factor(services, connection, one))
    yield from _some(Concern.UNPROTECTED, [Subject(names[one], one) for one in islice(lacking, NAMED_AT_MOST + 1)])


def _shut_out(connection: Connection, now: Instant) -> Iterator[Matter]:
    disabled = throttle.disabled_users(connection, LOOKED_AT_MOST)
    delayed = throttle.delayed_users(connection, now, LOOKED_AT_MOST)
    names = users.active_names(connection, [*disabled, *delayed])
    yield from _some(Concern.DISABLED, [Subject(names[one], one) for one in disabled if one in names])
    yield from _some(Concern.DELAYED, [Subject(names[one], one, at=delayed[one]) for one in delayed if one in names])


def _some(concern: Concern, subjects: Iterable[Subject]) -> Iterator[Matter]:
    found = tuple(subjects)
    if found:
        yield Matter(concern, found[:NAMED_AT_MOST], len(found) > NAMED_AT_MOST)
