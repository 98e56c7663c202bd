"""Roles, grants and the last administrator. The only writer of the role, grant and guard tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import and_, delete, func, insert, or_, select, update

from flask_gatehouse.domain.policy import require_level
from flask_gatehouse.kernel.errors import SetupError, UnknownRole
from flask_gatehouse.kernel.identity import AAL2, ADMIN
from flask_gatehouse.kernel.schema import ACTIVE, grant, guard, password, role, role_permission, user
from flask_gatehouse.kernel.upsert import insert_into

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import ColumnElement, Connection, FromClause

    from flask_gatehouse.kernel.clock import Instant
    from flask_gatehouse.kernel.identity import Withheld

FIRST_ADMIN, LAST_ADMIN = "first-admin", "last-admin"
ROLE_MAX = 80


@dataclass(frozen=True, slots=True)
class Grant:
    """User holds role.

    Attributes:
        until_at: when it ends; None: never.
        granted_by: id of the user who granted it; None: a command, the app, or `init` did.
        granter: that user's present login name.
    """

    role: str
    until_at: Instant | None
    granted_at: Instant
    granted_by: int | None
    granter: str | None


@dataclass(frozen=True, slots=True)
class Holder:
    """A user who holds a role now, as the role's page lists them."""

    user_id: int
    username: str
    until_at: Instant | None


@dataclass(frozen=True, slots=True)
class Ending:
    """A grant that will end.

    Attributes:
        username: present login name of who holds it.
    """

    user_id: int
    username: str
    role: str
    until_at: Instant


@dataclass(frozen=True, slots=True)
class Rights:
    """What a user may do by role, to compare one user's reach with another's.

    Attributes:
        roles: names of the roles.
        withheld: permissions that do not count in the session, those of an administrator too.
    """

    is_admin: bool
    permissions: frozenset[str]
    roles: frozenset[str] = frozenset()
    withheld: frozenset[str] = frozenset()

    def without(self, withheld: Withheld) -> Rights:
        """Return the rights that count in a session in which two factors have not been proven."""
        is_admin = self.is_admin and not (withheld.is_admin or withheld.is_all)
        permissions, roles = self.permissions - withheld.permissions, self.roles - withheld.roles
        return Rights(is_admin, permissions, roles, withheld.permissions)

    def covers(self, other: Rights) -> bool:
        """Tell whether these rights are a superset of the other's."""
        return self.is_admin or (not other.is_admin and other.permissions <= self.permissions)

    def may_hand_on(self, role: Rights) -> bool:
        """Tell whether a role may be granted: whoever may take it away, and has not one of its permissions withheld."""
        lacks = self.withheld if role.is_admin else self.withheld & role.permissions
        return not lacks and self.may_take_away(role)

    def may_take_away(self, role: Rights) -> bool:
        """Tell whether a role may be withdrawn: its permissions are covered.

        One that permits nothing is asked for by its name alone (`role_required`): its holders hand it on.
        """
        return self.covers(role) and (self.is_admin or bool(role.permissions) or role.roles <= self.roles)


def _counts(grants: FromClause, now: Instant) -> ColumnElement[bool]:
    """Return the condition that a grant counts now."""
    return or_(grants.c.until_at.is_(None), grants.c.until_at > now)


class Roles:
    """The roles of one app: built in, declared in code, or made at run time in the database."""

    def __init__(self) -> None:
        self.in_code: dict[str, frozenset[str]] = {}
        self.demanding: set[str] = set()

    def declare(self, name: str, permissions: Iterable[str], aal: int = 1) -> None:
        """Declare a role in code; at `aal` 2 it counts only once two factors have been proven.

        Raises:
            SetupError: it is the built-in one, declared twice, has no name, or there is no such level.
        """
        key = name.casefold()
        if not key or len(key) > ROLE_MAX:
            msg = f"role {name!r}: give it a name of 1 to {ROLE_MAX} characters"
            raise SetupError(msg)
        if key == ADMIN:
            msg = f"role {name!r} is built in and holds every permission: choose another name"
            raise SetupError(msg)
        if key in self.in_code:
            msg = f"role {name!r} is declared twice: join the two calls of gate.role()"
            raise SetupError(msg)
        if require_level(aal, f"role {name!r}") == AAL2:
            self.demanding.add(key)
        self.in_code[key] = frozenset(permissions)

    def require(self, connection: Connection, name: str) -> str:
        """Return the role's key.

        Raises:
            UnknownRole: there is none of this name.
        """
        key = name.casefold()
        if key == ADMIN or key in self.in_code:
            return key
        if connection.execute(select(role.c.name).where(role.c.name == key)).one_or_none() is None:
            msg = "There is no role of this name."
            raise UnknownRole(msg)
        return key

    def create(
        self, connection: Connection, name: str, permissions: Iterable[str], now: Instant, *, aal: int = 1
    ) -> bool:
        """Make a role at run time; False when the name is taken."""
        key = name.casefold()
        if key == ADMIN or key in self.in_code:
            return False
        statement = insert_into(connection, role).values(name=key, created_at=now, aal=aal).on_conflict_do_nothing()
        if connection.execute(statement.returning(role.c.name)).one_or_none() is None:
            return False
        rows = [{"role": key, "permission": permission} for permission in sorted(set(permissions))]
        if rows:
            connection.execute(insert(role_permission), rows)
        return True

    def stored(self, connection: Connection, key: str) -> frozenset[str] | None:
        """Return the permissions of a role in the database, also where the code has one of this name; None: no role."""
        query = (
            select(role_permission.c.permission)
            .select_from(role.outerjoin(role_permission, role_permission.c.role == role.c.name))
            .where(role.c.name == key)
        )
        found = connection.execute(query).scalars().all()
        return frozenset(found) - {None} if found else None

    def change(self, connection: Connection, key: str, permissions: frozenset[str]) -> None:
        """Give a role in the database these permissions and no others; they count from the next request on."""
        of_role = role_permission.c.role == key
        connection.execute(delete(role_permission).where(of_role, role_permission.c.permission.not_in(permissions)))
        rows = [{"role": key, "permission": permission} for permission in sorted(permissions)]
        if rows:
            connection.execute(insert_into(connection, role_permission).on_conflict_do_nothing(), rows)

    def demanded(self, connection: Connection) -> dict[str, int]:
        """Return the assurance level that each role in the database demands."""
        return {row.name: row.aal for row in connection.execute(select(role.c.name, role.c.aal))}

    def set_aal(self, connection: Connection, key: str, aal: int) -> bool:
        """Let a role in the database demand an assurance level; False when it does already, or there is no such role.

        It counts from the next request on.
        """
        statement = update(role).where(role.c.name == key, role.c.aal != aal)
        return connection.execute(statement.values(aal=aal)).rowcount == 1

    def delete(self, connection: Connection, key: str) -> None:
        """Delete a role from the database. Its grants go with it, unless they are those of a role in code."""
        connection.execute(delete(role_permission).where(role_permission.c.role == key))
        connection.execute(delete(role).where(role.c.name == key))
        if key not in self.in_code and key != ADMIN:
            connection.execute(delete(grant).where(grant.c.role == key))

    def all(self, connection: Connection) -> dict[str, frozenset[str] | None]:
        """Return every role with its permissions, by name; None stands for every permission."""
        found: dict[str, frozenset[str] | None] = {ADMIN: None, **self.in_code}
        query = select(role.c.name, role_permission.c.permission).outerjoin(
            role_permission, role_permission.c.role == role.c.name
        )
        stored: dict[str, set[str]] = {}
        for name, permission in connection.execute(query):
            stored.setdefault(name, set()).update({permission} - {None})
        return dict(sorted(({name: frozenset(held) for name, held in stored.items()} | found).items()))

    def shadowed(self, connection: Connection) -> list[str]:
        """Return names of roles in the database that the code has as well: the code's counts, their rows do not."""
        names = connection.execute(select(role.c.name).order_by(role.c.name)).scalars()
        return [name for name in names if name == ADMIN or name in self.in_code]

    def rights_of_role(self, connection: Connection, key: str) -> Rights:
        """Return what a role allows; one in code has no other permissions than the code says."""
        if key == ADMIN:
            return Rights(is_admin=True, permissions=frozenset(), roles=frozenset({key}))
        held = self.in_code.get(key)
        if held is None:
            query = select(role_permission.c.permission).where(role_permission.c.role == key)
            held = frozenset(connection.execute(query).scalars())
        return Rights(is_admin=False, permissions=held, roles=frozenset({key}))

    def rights_of(self, connection: Connection, user_id: int, now: Instant) -> Rights:
        """Return what a user's present grants allow."""
        keys = [held.role for held in self.grants_of(connection, user_id, now)]
        rights = [self.rights_of_role(connection, key) for key in keys]
        everything: frozenset[str] = frozenset().union(*(right.permissions for right in rights))
        return Rights(any(right.is_admin for right in rights), everything, frozenset(keys))

    def covered_until(self, connection: Connection, user_id: int, wanted: Rights, now: Instant) -> Instant | None:
        """Return when a user may hand a role on no longer, as grants of theirs end; None: never by themselves."""
        ends = {held.until_at for held in self.grants_of(connection, user_id, now)} - {None}
        for end in sorted(end for end in ends if end is not None):
            if not self.rights_of(connection, user_id, end).may_hand_on(wanted):
                return end
        return None

    def grants_of(self, connection: Connection, user_id: int, now: Instant) -> list[Grant]:
        """Return a user's present grants, by role name."""
        columns = (grant.c.role, grant.c.until_at, grant.c.granted_at, grant.c.granted_by, user.c.username)
        query = (
            select(*columns)
            .select_from(grant.outerjoin(user, user.c.id == grant.c.granted_by))
            .where(grant.c.user_id == user_id, _counts(grant, now))
        )
        return [Grant(*row) for row in connection.execute(query.order_by(grant.c.role))]

    def holders(
        self, connection: Connection, key: str, now: Instant, *, after: int = 0, limit: int = 50
    ) -> list[Holder]:
        """Return who holds a role now, by user id: paged by key, however many there are.

        Args:
            connection: where to read.
            key: the role.
            now: the present instant.
            after: the last user id of the page before.
            limit: at most so many.
        """
        query = (
            select(grant.c.user_id, user.c.username, grant.c.until_at)
            .join(user, user.c.id == grant.c.user_id)
            .where(grant.c.role == key, grant.c.user_id > after, _counts(grant, now))
            .order_by(grant.c.user_id)
            .limit(limit)
        )
        return [Holder(*row) for row in connection.execute(query)]

    def held_beside(self, connection: Connection, key: str, now: Instant) -> frozenset[str]:
        """Return every role that some present holder of a role holds, that role among them."""
        beside = grant.alias()
        query = (
            select(beside.c.role)
            .join(grant, grant.c.user_id == beside.c.user_id)
            .where(grant.c.role == key, _counts(grant, now), _counts(beside, now))
        )
        return frozenset(connection.execute(query.distinct()).scalars())

    def names_of(self, connection: Connection, user_ids: Iterable[int], now: Instant) -> dict[int, list[str]]:
        """Return the role names of several users at once."""
        query = select(grant.c.user_id, grant.c.role).where(grant.c.user_id.in_(list(user_ids)), _counts(grant, now))
        found: dict[int, list[str]] = {}
        for user_id, name in connection.execute(query.order_by(grant.c.role)):
            found.setdefault(user_id, []).append(name)
        return found

    def ending(self, connection: Connection, now: Instant, until: Instant, limit: int) -> list[Ending]:
        """Return grants of active users that end between two instants, the first ones first.

        Args:
            connection: where to read.
            now: after this instant, in microseconds.
            until: at this instant at the latest.
            limit: at most so many.
        """
        query = (
            select(grant.c.user_id, user.c.username, grant.c.role, grant.c.until_at)
            .join(user, and_(user.c.id == grant.c.user_id, user.c.state == ACTIVE))
            .where(grant.c.until_at > now, grant.c.until_at <= until)
        )
        rows = connection.execute(query.order_by(grant.c.until_at, grant.c.user_id).limit(limit))
        return [Ending(*row) for row in rows]

    def add_grant(
        self, connection: Connection, user_id: int, key: str, now: Instant, *, by: int | None, until_at: Instant | None
    ) -> None:
        """Grant a role, or change when a grant ends."""
        values = {"until_at": until_at, "granted_by": by, "granted_at": now}
        statement = insert_into(connection, grant).values(user_id=user_id, role=key, **values)
        columns = [grant.c.user_id, grant.c.role]
        connection.execute(statement.on_conflict_do_update(index_elements=columns, set_=values))

    def drop_grant(self, connection: Connection, user_id: int, key: str) -> bool:
        """Withdraw a role, one that no longer exists too; False when it was not held."""
        statement = delete(grant).where(grant.c.user_id == user_id, grant.c.role == key)
        return connection.execute(statement).rowcount == 1

    def lock_admins(self, connection: Connection) -> None:
        """Let one change at a time through that could take the last administrator away (rule 24)."""
        connection.execute(update(guard).where(guard.c.name == LAST_ADMIN).values(at=guard.c.at))

    def lasting_admins(self, connection: Connection, now: Instant) -> frozenset[int]:
        """Return users who are active, can log in and hold `admin` without end.

        A temporary password that has run out lets nobody in, nor does one that is marked as compromised, nor an address
        that is to be confirmed first.
        """
        can_log_in = and_(
            or_(password.c.temporary_until.is_(None), password.c.temporary_until > now),
            password.c.compromised_at.is_(None),
        )
        query = (
            select(grant.c.user_id)
            .join(user, and_(user.c.id == grant.c.user_id, user.c.state == ACTIVE))
            .join(password, password.c.user_id == grant.c.user_id)
            .where(grant.c.role == ADMIN, grant.c.until_at.is_(None), can_log_in, user.c.must_verify.is_(False))
        )
        return frozenset(connection.execute(query).scalars())

    def is_last_admin(self, connection: Connection, user_id: int, now: Instant) -> bool:
        """Tell whether nobody else is an administrator who can log in, without end; the caller holds the guard row."""
        return self.lasting_admins(connection, now) == {user_id}

    def claim_first_admin(self, connection: Connection, user_id: int | None, now: Instant) -> bool:
        """Spend the claim to be the first administrator; True for exactly one caller, ever (rule 25)."""
        statement = (
            insert_into(connection, guard)
            .values(name=FIRST_ADMIN, user_id=user_id, at=now)
            .on_conflict_do_nothing(index_elements=[guard.c.name])
            .returning(guard.c.name)
        )
        return connection.execute(statement).one_or_none() is not None

    def is_first_admin_open(self, connection: Connection) -> bool:
        """Tell whether the claim is unspent."""
        query = select(func.count()).select_from(guard).where(guard.c.name == FIRST_ADMIN)
        return connection.execute(query).scalar_one() == 0
