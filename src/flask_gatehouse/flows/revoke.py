"""End sessions: one, all others, all. The only flow that other flows call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask_gatehouse.domain import devices, tokens, users
from flask_gatehouse.domain.audit import Event
from flask_gatehouse.domain.factors import challenges
from flask_gatehouse.kernel.identity import Actor, Identity, Source

from .outcomes import Refusal, Refused, refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from .services import Services, Unit


def everything_of(
    services: Services, unit: Unit, user_id: int, *, but: str = "", device: str = ""
) -> tuple[int, tuple[str, ...]]:
    """End all sessions and links of a user, for other flows, within their transaction.

    Args:
        services: the app's services.
        unit: the transaction.
        user_id: whose.
        but: public id of a session that is spared; then known browsers stay known as well.
        device: cookie of the browser that stays known, where no session is spared (rule 5).

    Returns:
        The new epoch, which the spared session must be rotated to, and the public ids that ended.
    """
    epoch = users.bump_epoch(unit.connection, user_id)
    ended = services.sessions.store.drop_all(unit.connection, user_id, but=but)
    challenges.forget_all(unit.connection, user_id)  # a seed that waits in the spared session too
    tokens.drop_links(unit.connection, user_id)
    if not but:
        devices.forget_all(unit.connection, user_id, but=device)
    return epoch, ended


def one(services: Services, identity: Identity, public_id: str, source: Source) -> Refused | int:
    """End one of one's own sessions by its public id."""
    with services.unit() as unit:
        if not services.sessions.store.drop_one(unit.connection, identity.user_id, public_id):
            return refused(Refusal.NOT_FOUND)
        _record(unit, Actor.of(identity), identity.user_id, source, (public_id,), "")
        return 1


def others(services: Services, identity: Identity, source: Source) -> int:
    """End one's own sessions but the present one; return how many."""
    with services.unit() as unit:
        users.find(unit.connection, identity.user_id, lock=True)  # before any session row: one order everywhere
        ended = services.sessions.store.drop_all(unit.connection, identity.user_id, but=identity.session_id)
        if ended:  # what changes nothing leaves no row: rows of no consequence would bury others
            _record(unit, Actor.of(identity), identity.user_id, source, ended, "")
        return len(ended)


def all_own(services: Services, identity: Identity, source: Source, *, device: str = "") -> int:
    """End all of one's own sessions, the present one too; return how many.

    Args:
        services: the app's services.
        identity: who.
        source: where the request comes from.
        device: cookie of the browser that asks: it stays known, all others do not.
    """
    with services.unit() as unit:
        _, ended = everything_of(services, unit, identity.user_id, device=device)
        _record(unit, Actor.of(identity), identity.user_id, source, ended, "")
        return len(ended)


def all_within(services: Services, unit: Unit, actor: Actor, user_id: int, reason: str, source: Source) -> int:
    """End all sessions of a user within another flow's transaction; return how many."""
    _, ended = everything_of(services, unit, user_id)
    _record(unit, actor, user_id, source, ended, reason)
    return len(ended)


def of_everybody(services: Services, actor: Actor, reason: str, tell: Callable[[int], None]) -> tuple[int, int]:
    """End all sessions, pending logins, links and known browsers of all users, from the command line.

    Each user is a transaction of its own, so that people log in meanwhile; killed at any moment, the next run goes on.

    Args:
        services: the app's services.
        actor: who.
        reason: why; recorded with each user.
        tell: is told how many users are done.

    Returns:
        How many sessions of how many users ended.
    """
    ended = people = done = after = 0
    while True:
        with services.reading() as connection:
            owners = services.sessions.store.owners(connection, after=after)
        for user_id in owners:
            with services.unit() as unit:
                number = all_within(services, unit, actor, user_id, reason, Source())
            ended, people, done = ended + number, people + bool(number), done + 1
            tell(done)
        if not owners:
            return ended, people
        after = owners[-1]


def owners(services: Services) -> int:
    """Return how many users have something that ends with all sessions."""
    with services.reading() as connection:
        return services.sessions.store.count_owners(connection)


def by_public_id(services: Services, actor: Actor, public_id: str, reason: str) -> int | Refused:
    """End any session by its public id, from the command line."""
    with services.unit() as unit:
        row = services.sessions.store.find_public(unit.connection, public_id)
        if row is None or not services.sessions.store.drop_one(unit.connection, row.user_id, public_id):
            return refused(Refusal.NOT_FOUND)
        _record(unit, actor, row.user_id, Source(), (public_id,), reason)
        return 1


def _record(unit: Unit, actor: Actor, user_id: int, source: Source, ended: tuple[str, ...], reason: str) -> None:
    detail: dict[str, object] = {"sessions": list(ended)}
    if reason:
        detail["reason"] = reason
    unit.record(Event("session.ended", actor, user_id, source, detail=detail))
