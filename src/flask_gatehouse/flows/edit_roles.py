"""Make, change and delete roles in the database, and what a change would mean for whom.

A role's permissions reach everybody who holds it. So whoever changes one needs what it takes to grant it, before and
after, and to act on each of its holders; and nobody changes a role that they hold themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask_gatehouse.domain import users
from flask_gatehouse.domain.roles import Rights
from flask_gatehouse.kernel.errors import InvalidName
from flask_gatehouse.kernel.identity import AAL2, ADMIN
from flask_gatehouse.kernel.text import has_control

from . import acts, seeds
from .outcomes import Refusal, Refused, refused, refused_value
from .services import Unit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sqlalchemy import Connection

    from flask_gatehouse.kernel.clock import Instant

    from .acts import Act
    from .services import Services

BUILT_IN, IN_CODE, STORED = "built in", "code", "database"
TAKEN = "There is a role of this name already."
READ_ONLY = "A role of the code is changed in the code."
ASKED_FOR = "The app asks for a role of this name: an administrator must make it."
MOST_HOLDERS = 1000
"""A role that more users hold is not deleted: each withdrawal is a row of the audit log of its own."""


@dataclass(frozen=True, slots=True)
class Touched:
    """A holder of a role, and what a change of the role would mean for them.

    Attributes:
        until_at: when the grant ends; None: never.
        gains: permissions that the user has not yet by any role.
        loses: permissions that no other role of the user's has.
    """

    user_id: int
    username: str
    until_at: Instant | None
    gains: tuple[str, ...] = ()
    loses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RoleShown:
    """A role with some of its holders.

    Attributes:
        source: `built in`, `code` or `database`.
        permissions: None: every one.
        seen: names these permissions, so that nobody overwrites a change that they have not seen.
        holders: by user id.
        after: what the next page of holders begins after; 0: there is none.
        is_shadowed: the database has a role of this name as well, which does not count.
        aal: assurance level that the role demands.
    """

    name: str
    source: str
    permissions: frozenset[str] | None
    seen: str
    holders: list[Touched]
    after: int = 0
    is_shadowed: bool = False
    aal: int = 1


def key_of(name: str) -> str:
    """Return the key of a role by its name; one that no database could hold is that of no role."""
    return "" if has_control(name) else name.casefold()


def source_of(services: Services, key: str) -> str:
    """Return where a role is defined."""
    if key == ADMIN:
        return BUILT_IN
    return IN_CODE if key in services.roles.in_code else STORED


def demands_of(services: Services, connection: Connection) -> dict[str, int]:
    """Return the assurance level that each role demands which demands one, wherever it is defined."""
    stored = services.roles.demanded(connection)
    found = {name: aal for name, aal in stored.items() if source_of(services, name) == STORED}
    found |= dict.fromkeys(services.roles.demanding, AAL2)
    found[ADMIN] = AAL2 if services.settings.admin_factor == "demanded" else 1
    return {name: aal for name, aal in found.items() if aal > 1}


def fingerprint(services: Services, permissions: Iterable[str]) -> str:
    """Return a short name of a set of permissions."""
    return services.keys.digest("role-seen", "\n".join(sorted(permissions)))


def look(
    services: Services, name: str, *, wanted: frozenset[str] | None = None, after: int = 0, limit: int = 50
) -> RoleShown | None:
    """Return a role with those who hold it; None: there is no such role.

    Args:
        services: the app's services.
        name: of the role, upper and lower case aside.
        wanted: permissions that the role might get; then the holders say what they would gain and lose.
        after: the last user id of the page of holders before.
        limit: holders, at most so many.
    """
    key, now = key_of(name), services.clock.now()
    source = source_of(services, key)
    with services.reading() as connection:
        stored = services.roles.stored(connection, key)
        if source == STORED and stored is None:
            return None
        permissions = {BUILT_IN: None, IN_CODE: services.roles.in_code.get(key), STORED: stored}[source]
        found = services.roles.holders(connection, key, now, after=after, limit=limit + 1)
        shown = [Touched(holder.user_id, holder.username, holder.until_at) for holder in found[:limit]]
        if wanted is not None and permissions is not None:
            shown = _touched(services, connection, key, shown, wanted)
        aal = demands_of(services, connection).get(key, 1)
    following = shown[-1].user_id if len(found) > limit else 0
    seen = fingerprint(services, permissions or ())
    is_shadowed = source != STORED and stored is not None
    return RoleShown(key, source, permissions, seen, shown, following, is_shadowed, aal)


def _touched(
    services: Services, connection: Connection, key: str, holders: list[Touched], wanted: frozenset[str]
) -> list[Touched]:
    """Say of each holder what the role's new permissions would add to, and take from, what all their roles allow."""
    every = services.roles.all(connection)
    held = services.roles.names_of(connection, [holder.user_id for holder in holders], services.clock.now())
    before = every[key] or frozenset()
    told = []
    for holder in holders:
        others = [every.get(name, frozenset()) for name in held.get(holder.user_id, ()) if name != key]
        if any(permissions is None for permissions in others):  # an administrator: nothing changes
            told.append(holder)
            continue
        rest: frozenset[str] = frozenset().union(*(permissions or () for permissions in others))
        gains, loses = sorted(wanted - before - rest), sorted(before - wanted - rest)
        told.append(Touched(holder.user_id, holder.username, holder.until_at, tuple(gains), tuple(loses)))
    return told


def hindrance(services: Services, act: Act, name: str) -> Refused | None:
    """Return why an actor could not change a role, whatever they made of it; None: they could."""
    with services.reading() as connection:
        unit, key = Unit(connection, services.clock.now()), key_of(name)
        present = services.roles.stored(connection, key)
        return _hindrance(services, unit, act, key, present)


def create(
    services: Services,
    act: Act,
    name: str,
    permissions: list[str],
    asked: frozenset[str] = frozenset(),
    *,
    is_factor_demanded: bool = False,
) -> str | Refused:
    """Make a role of declared permissions, none of which the actor lacks; return its key.

    Args:
        services: the app's services.
        act: who, why.
        name: of the role, upper and lower case aside.
        permissions: all that the role shall have.
        asked: roles that the app asks for by name. Administrators alone make them: what a name opens is not compared.
        is_factor_demanded: whether it shall count only once two factors have been proven.
    """
    try:
        users.require_name(name)
    except InvalidName as error:
        return refused_value("role", str(error))
    key, wanted = key_of(name), frozenset(permissions)

    def make(unit: Unit, act: Act) -> Refused | None:
        if source_of(services, key) != STORED:
            return refused_value("role", TAKEN)
        refusal = _refuse_permissions(services, unit, act, key, None, wanted)
        if refusal is not None:
            return refusal
        if key in asked and not acts.rights_of(services, unit, act).is_admin:
            return refused_value("role", ASKED_FOR)
        if is_factor_demanded and not seeds.offers_factor(services):
            return refused_value("demanded", seeds.NONE_OFFERED)
        aal = AAL2 if is_factor_demanded else 1
        if not services.roles.create(unit.connection, name, permissions, unit.now, aal=aal):
            return refused_value("role", TAKEN)
        more = {"demanded": True} if is_factor_demanded else {}
        acts.record(unit, act, "role.created", None, role=key, permissions=sorted(wanted), **more)
        return None

    return _within(services, act, key, make, needs_reason=False)


def change(services: Services, act: Act, name: str, permissions: list[str], seen: str = "") -> str | Refused:
    """Give a role in the database these permissions and no others; return its key.

    They count from the next request on, for everybody who holds it. Needs a reason where it takes something away.

    Args:
        services: the app's services.
        act: who, why.
        name: of the role, upper and lower case aside.
        permissions: all that the role shall have.
        seen: fingerprint of those it had when the change was looked at; empty: whatever it has.
    """
    key, wanted = key_of(name), frozenset(permissions)

    def save(unit: Unit, act: Act) -> Refused | None:
        if source_of(services, key) != STORED:
            return refused_value("role", READ_ONLY)
        present = _require_stored(services, unit, key, seen)
        if isinstance(present, Refused):
            return present
        refusal = _refuse_permissions(services, unit, act, key, present, wanted)
        if refusal is not None:
            return refusal
        added, removed = sorted(wanted - present), sorted(present - wanted)
        if removed and not act.reason:
            return refused_value("reason", "This takes permissions away: give a reason, it is recorded.")
        if added or removed:
            services.roles.change(unit.connection, key, wanted)
            acts.record(unit, act, "role.changed", None, role=key, added=added, removed=removed)
        return None

    return _within(services, act, key, save, needs_reason=False)


def demand_factor(services: Services, act: Act, name: str, *, is_demanded: bool) -> str | Refused:
    """Let a role in the database count only once two factors have been proven, or without; return its key.

    Needs a reason: one way it takes something from who has no factor, the other way it takes a safeguard away.
    """
    key = key_of(name)

    def save(unit: Unit, act: Act) -> Refused | None:
        if source_of(services, key) != STORED:
            return refused_value("role", READ_ONLY)
        present = _require_stored(services, unit, key, "")
        if isinstance(present, Refused):
            return present
        refusal = _hindrance(services, unit, act, key, present)
        if refusal is not None:
            return refusal
        if is_demanded and not seeds.offers_factor(services):
            return refused_value("demanded", seeds.NONE_OFFERED)
        if services.roles.set_aal(unit.connection, key, AAL2 if is_demanded else 1):
            acts.record(unit, act, "role.demand_changed", None, role=key, demanded=is_demanded)
        return None

    return _within(services, act, key, save, needs_reason=True)


def delete(services: Services, act: Act, name: str, seen: str = "") -> str | Refused:
    """Delete a role from the database, and withdraw it from everybody who holds it; return its key. Needs a reason.

    Where the code has a role of the same name, what is deleted is the one that does not count, and nobody loses it.
    """
    key = key_of(name)

    def drop(unit: Unit, act: Act) -> Refused | None:
        is_shadowed = source_of(services, key) != STORED
        present = _require_stored(services, unit, key, seen)
        if isinstance(present, Refused):
            return present
        refusal = None if is_shadowed else _hindrance(services, unit, act, key, present)
        if refusal is not None:
            return refusal
        most = 0 if is_shadowed else MOST_HOLDERS + 1
        holders = services.roles.holders(unit.connection, key, unit.now, limit=most)
        if len(holders) > MOST_HOLDERS:
            return refused_value("role", f"More than {MOST_HOLDERS} users hold this role: withdraw it from them first.")
        services.roles.delete(unit.connection, key)
        for holder in holders:
            acts.record(unit, act, "role.withdrawn", holder.user_id, role=key)
        acts.record(unit, act, "role.deleted", None, role=key, permissions=sorted(present), holders=len(holders))
        return None

    return _within(services, act, key, drop, needs_reason=True)


def _within(
    services: Services, act: Act, key: str, change: Callable[[Unit, Act], Refused | None], *, needs_reason: bool
) -> str | Refused:
    """Run a change of a role in one transaction, one such change at a time, and return the role's key."""
    reasoned = acts.reasoned(act, is_required=needs_reason)
    if isinstance(reasoned, Refused):
        return reasoned
    with services.unit() as unit:
        services.roles.lock_admins(unit.connection)
        if not acts.is_still_in(services, unit, act):
            return refused(Refusal.FORBIDDEN)
        refusal = change(unit, reasoned)
        return key if refusal is None else refusal


def _require_stored(services: Services, unit: Unit, key: str, seen: str) -> frozenset[str] | Refused:
    present = services.roles.stored(unit.connection, key)
    if present is None:
        return refused_value("role", READ_ONLY) if source_of(services, key) != STORED else refused(Refusal.NOT_FOUND)
    if seen and seen != fingerprint(services, present):
        return refused_value("permission", "The role was changed meanwhile: look again at what your change would do.")
    return present


def _refuse_permissions(
    services: Services, unit: Unit, act: Act, key: str, present: frozenset[str] | None, wanted: frozenset[str]
) -> Refused | None:
    """Return why a role may not come to these permissions; `present` is None for one that is to be made."""
    added = wanted - (present or frozenset())
    unknown = services.policy.undeclared(added)
    if unknown:
        return refused_value("permission", f"Unknown permission {unknown[0]}: declare it with gate.permission().")
    refusal = _hindrance(services, unit, act, key, present)
    if refusal is not None:
        return refusal
    mine = acts.rights_of(services, unit, act)
    if mine.withheld & added or not mine.covers(Rights(is_admin=False, permissions=wanted)):
        return refused(Refusal.FORBIDDEN)
    if _outlasts_actor(services, unit, act, key, added):
        return refused_value("permission", "Your own right to one of these ends some day: somebody else must add it.")
    return None


def _hindrance(services: Services, unit: Unit, act: Act, key: str, present: frozenset[str] | None) -> Refused | None:
    """Return why the actor may not touch a role of these permissions, whatever they make of it.

    A role that is to be made (None) may have holders: one of this name was declared in code and is gone.
    """
    if act.identity is None:
        return None
    mine = acts.rights_of(services, unit, act)
    if key in mine.roles:
        return refused(Refusal.SELF)
    if mine.is_admin:
        return None
    beside = services.roles.held_beside(unit.connection, key, unit.now)
    reached = all(mine.covers(services.roles.rights_of_role(unit.connection, name)) for name in beside)
    itself = None if present is None else Rights(is_admin=False, permissions=present, roles=frozenset({key}))
    return None if reached and (itself is None or mine.may_take_away(itself)) else refused(Refusal.FORBIDDEN)


def _outlasts_actor(services: Services, unit: Unit, act: Act, key: str, added: frozenset[str]) -> bool:
    """Tell whether holders would keep what is added for longer than the actor has it."""
    if act.identity is None or not added or not services.roles.holders(unit.connection, key, unit.now, limit=1):
        return False
    wanted = Rights(is_admin=False, permissions=added, roles=frozenset({key}))
    return services.roles.covered_until(unit.connection, act.identity.user_id, wanted, unit.now) is not None
