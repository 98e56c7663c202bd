"""Session rows in SQL, with the one hot read of a protected request. The only writer of `gatehouse_session`."""

from __future__ import annotations

from functools import lru_cache
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import and_, bindparam, delete, exists, func, insert, or_, select, tuple_, update

from flask_gatehouse.domain.policy import Demands
from flask_gatehouse.kernel.identity import AAL2, ADMIN, FOREVER, NOTHING, Identity, Proof, Withheld, assurance
from flask_gatehouse.kernel.schema import ACTIVE, device, grant, link, mail, role, role_permission, session, user
from flask_gatehouse.kernel.statements import Statement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

    from flask_gatehouse.kernel.clock import Instant
    from flask_gatehouse.kernel.database import Database

PURGED_AT_ONCE = 100
PURGED_EVERY = 8
"""New sessions between two looks for rows past their end."""
KNOWN_RIGHTS = 4096
_POSITIVE = 2**63 - 1


class JoinedRights(NamedTuple):
    """What the grants of a user allow at one level of assurance.

    Attributes:
        granted_until: earliest end of a grant.
    """

    roles: tuple[str, ...]
    permissions: frozenset[str]
    is_admin: bool
    granted_until: Instant
    withheld: Withheld = NOTHING


class SessionRow(NamedTuple):
    """A row of `gatehouse_session`, its digest left out but for the bits that are the row's number."""

    id: int
    public_id: str
    user_id: int
    is_pending: bool
    is_remembered: bool
    epoch: int
    created_at: Instant
    seen_at: Instant
    expires_at: Instant
    proofs: str
    agent: str
    address: str
    data: str

    @property
    def place(self) -> Place:
        """Where it stands in the list of all."""
        return Place(self.created_at, self.public_id)


def row_number(digest: bytes) -> int:
    """Return the number of a session's row, its `id`: the first 63 bits of its digest.

    SQLite keeps rows in the order of their numbers, so that a request finds its session without an index in between.
    What it costs that two could meet is told in decision 0022.

    Args:
        digest: SHA-256 of the session's secret.
    """
    return int.from_bytes(digest[:8], "big") & _POSITIVE


def _bound(digest: bytes) -> dict[str, object]:
    """Return what `_OF_DIGEST` binds."""
    return {"at_id": row_number(digest), "at_digest": digest}


class Place(NamedTuple):
    """Where a session stands in the list of all, which begins with the newest."""

    created_at: Instant
    public_id: str


def _require_row(values: Sequence[Any]) -> SessionRow:
    return SessionRow._make(values)


def _row(values: Sequence[Any] | None) -> SessionRow | None:
    return None if values is None else SessionRow._make(values)


_ROW = (
    session.c.id,
    session.c.public_id,
    session.c.user_id,
    session.c.is_pending,
    session.c.is_remembered,
    session.c.epoch,
    session.c.created_at,
    session.c.seen_at,
    session.c.expires_at,
    session.c.proofs,
    session.c.agent,
    session.c.address,
    session.c.data,
)
_PLACE = (session.c.created_at, session.c.public_id)
_NEWEST_FIRST = tuple(column.desc() for column in _PLACE)
_OF_DIGEST = and_(session.c.id == bindparam("at_id"), session.c.digest == bindparam("at_digest"))
"""The number says where to look, the digest whether it is this session."""
_WIDTH = len(_ROW)
_HELD = _WIDTH + 6

_LIVE = (
    select(*_ROW, user.c.username, user.c.email, user.c.state, user.c.epoch, user.c.aal, user.c.alarm_at)
    .add_columns(grant.c.role, grant.c.until_at, role.c.aal, role_permission.c.permission)
    .select_from(
        session.join(user, user.c.id == session.c.user_id)
        .outerjoin(grant, grant.c.user_id == user.c.id)
        .outerjoin(role, role.c.name == grant.c.role)
        .outerjoin(role_permission, role_permission.c.role == grant.c.role)
    )
    .where(_OF_DIGEST)
)
_LOCKED = {
    is_pending: select(*_ROW).where(_OF_DIGEST, session.c.is_pending.is_(is_pending)).with_for_update()
    for is_pending in (False, True)
}

_INSERT = Statement(insert(session).values({c.name: bindparam(c.name) for c in session.c}))
_SURPLUS = {
    is_pending: Statement(
        select(session.c.id)
        .where(session.c.user_id == bindparam("at_user"), session.c.is_pending.is_(is_pending))
        .order_by(*_NEWEST_FIRST)
        .offset(bindparam("at_keep"))
    )
    for is_pending in (False, True)
}
_HAS_SOMETHING = or_(*(exists().where(table.c.user_id == user.c.id) for table in (session, link, device, mail)))
"""A session, a pending login, a one-time link, a known browser, or a mail whose link is not made yet."""
_EXPIRED = Statement(
    select(session.c.id)
    .where(session.c.expires_at <= bindparam("at_now"))
    .limit(PURGED_AT_ONCE)
    .with_for_update(skip_locked=True)
)


@lru_cache(maxsize=4096)
def decode_proofs(text: str) -> tuple[tuple[Proof, ...], Instant, int]:
    """Return proofs from their stored text, with the newest one's instant and the level that they give.

    They are frozen, so that equal texts share them.
    """
    proofs, newest = [], 0
    for item in text.split(",") if text else ():
        method, kind, at = item.split(":")
        proofs.append(Proof(method, int(at), kind))
        newest = max(newest, int(at))
    return tuple(proofs), newest, assurance(tuple(proofs))


def _all_withheld(proven: JoinedRights, *, is_alarmed: bool) -> JoinedRights:
    """Return what is left to a user who owes a factor, or whose password is doubted: a name, and that rights exist."""
    held = (frozenset(proven.roles), proven.permissions, proven.is_admin)
    withheld = Withheld(*held, is_all=True, is_alarmed=is_alarmed)
    return JoinedRights((), frozenset(), False, proven.granted_until, withheld)


class SqlSessions:
    """Session rows of one app.

    Args:
        database: where they are.
        code_roles: role name → permissions, for roles declared in code; may grow while the app is built.
        demands: what of it counts only at AAL2.
    """

    def __init__(
        self, database: Database, code_roles: Mapping[str, frozenset[str]], demands: Demands | None = None
    ) -> None:
        self._code_roles = code_roles
        self._issued = count()
        self._demands = demands or Demands()
        self._open_below = 0 if self._demands.is_all_demanded else AAL2
        self._known_rights: dict[tuple[Any, ...], tuple[JoinedRights, JoinedRights]] = {}
        self._live = database.prepare(_LIVE)
        one = update(session).where(_OF_DIGEST)
        self._touch = database.prepare(one.values(seen_at=bindparam("seen_at")))
        self._save = database.prepare(one.values(data=bindparam("data")))

    def find_live(self, digest: bytes, now: Instant) -> tuple[SessionRow, Identity, int, bool] | None:
        """Return row, identity, the user's epoch and whether the user is active. One statement, all rows fetched."""
        rows = self._live.rows(_bound(digest))
        if not rows:
            return None
        first = rows[0]
        row = SessionRow._make(first[:_WIDTH])
        username, email, state, user_epoch, demanded, alarm_at = first[_WIDTH:_HELD]
        proofs, proven_at, level = decode_proofs(row.proofs)
        below, proven = self._rights(tuple([tuple(found[_HELD:]) for found in rows]), now)
        if level >= AAL2:
            rights = proven
        elif alarm_at is not None or demanded >= self._open_below:
            rights = _all_withheld(proven, is_alarmed=alarm_at is not None)
        else:
            rights = below
        identity = Identity(
            row.user_id,
            username,
            email,
            rights.roles,
            rights.permissions,
            rights.is_admin,
            proofs,
            proven_at,
            rights.granted_until,
            row.public_id,
            "session",
            rights.withheld,
        )
        return row, identity, user_epoch, state == ACTIVE

    def _rights(self, held: tuple[Any, ...], now: Instant) -> tuple[JoinedRights, JoinedRights]:
        """Return what the joined grants allow below AAL2, and at it.

        The same grants give the same frozen values, until one has an end.
        """
        found = self._known_rights.get(held)
        if found is None:
            found = self._read_rights(held, now)
            if found[1].granted_until == FOREVER and all(until_at is None for _, until_at, _, _ in held):
                if len(self._known_rights) >= KNOWN_RIGHTS:
                    self._known_rights.clear()
                self._known_rights[held] = found
        return found

    def _read_rights(self, held: tuple[Any, ...], now: Instant) -> tuple[JoinedRights, JoinedRights]:
        roles: dict[str, set[str]] = {}
        demanding: set[str] = set()
        granted_until = FOREVER
        for name, until_at, aal, permission in held:
            if name is None or (until_at is not None and until_at <= now):
                continue
            is_in_code = name in self._code_roles  # of a role in code its rows do not count
            if name not in roles:
                roles[name] = set(self._code_roles.get(name, ()))
                granted_until = min(granted_until, until_at or FOREVER)
                is_fixed = is_in_code or name == ADMIN
                if self._demands.of_role(name) if is_fixed else aal == AAL2:
                    demanding.add(name)
            if permission is not None and not is_in_code:
                roles[name].add(permission)
        every = frozenset().union(*roles.values())
        proven = JoinedRights(tuple(sorted(roles)), every, ADMIN in roles, granted_until)
        return self._below(proven, roles, demanding), proven

    def _below(self, proven: JoinedRights, roles: Mapping[str, set[str]], demanding: set[str]) -> JoinedRights:
        """Return what counts of the rights below AAL2: not the roles that demand it, nor the permissions that do."""
        counting = roles.keys() - demanding
        is_admin = ADMIN in counting
        permissions = frozenset().union(*(roles[name] for name in counting)) - self._demands.permissions
        lost = (proven.permissions - permissions) | (self._demands.permissions if is_admin else frozenset())
        if not demanding and not lost:
            return proven
        withheld = Withheld(frozenset(demanding), lost, proven.is_admin and not is_admin)
        return JoinedRights(tuple(sorted(counting)), permissions, is_admin, proven.granted_until, withheld)

    def touch(self, digest: bytes, now: Instant) -> bool:
        """Write the last-seen time if the session still lives; never an upsert (rule 11)."""
        return self._touch.write({**_bound(digest), "seen_at": now}) == 1

    def save_data(self, digest: bytes, data: str) -> bool:
        """Write the app's session keys if the session still lives (rule 11)."""
        return self._save.write({**_bound(digest), "data": data}) == 1

    def lock_pending(self, connection: Connection, digest: bytes) -> SessionRow | None:
        """Return a pending login's row, locked."""
        return _row(connection.execute(_LOCKED[True], _bound(digest)).one_or_none())

    def lock(self, connection: Connection, digest: bytes) -> SessionRow | None:
        """Return an active session's row, locked."""
        return _row(connection.execute(_LOCKED[False], _bound(digest)).one_or_none())

    @staticmethod
    def proofs_of(row: SessionRow) -> tuple[Proof, ...]:
        """Return what was shown in a session."""
        return decode_proofs(row.proofs)[0]

    def insert(self, connection: Connection, row: SessionRow, digest: bytes) -> None:
        """Insert a row under the number of its digest."""
        _INSERT.write(connection, {**row._asdict(), "id": row_number(digest), "digest": digest})

    def rotate(self, connection: Connection, row: SessionRow, digest: bytes, *, with_data: bool) -> bool:
        """Write a session's new digest, proofs, epoch and times; False when the row is gone (rule 11).

        The caller holds the lock on the user's row: who ends sessions looks for them by their numbers.
        """
        values: dict[str, object] = {
            "id": row_number(digest),
            "digest": digest,
            "proofs": row.proofs,
            "epoch": row.epoch,
            "seen_at": row.seen_at,
            "expires_at": row.expires_at,
            "is_pending": False,
        }
        if with_data:
            values["data"] = row.data
        return connection.execute(update(session).where(session.c.id == row.id).values(**values)).rowcount == 1

    def hold(self, connection: Connection, session_id: int, digest: bytes, proofs: str) -> bool:
        """Write a pending login's new digest and proofs, as `rotate` does; False when it is gone or active."""
        pending = update(session).where(session.c.id == session_id, session.c.is_pending.is_(True))
        return connection.execute(pending.values(id=row_number(digest), digest=digest, proofs=proofs)).rowcount == 1

    def drop_one(self, connection: Connection, user_id: int, public_id: str) -> bool:
        """Delete one session of a user by its public id."""
        statement = delete(session).where(session.c.user_id == user_id, session.c.public_id == public_id)
        return connection.execute(statement).rowcount == 1

    def drop_all(self, connection: Connection, user_id: int, *, but: str = "") -> tuple[str, ...]:
        """Delete a user's sessions, one public id spared; return the public ids of the active ones that ended."""
        statement = delete(session).where(session.c.user_id == user_id, session.c.public_id != but)
        rows = connection.execute(statement.returning(session.c.public_id, session.c.is_pending)).all()
        return tuple(public_id for public_id, is_pending in rows if not is_pending)

    def drop_pending(self, connection: Connection, user_id: int) -> int:
        """Delete a user's pending logins; return how many."""
        statement = delete(session).where(session.c.user_id == user_id, session.c.is_pending.is_(True))
        return connection.execute(statement).rowcount

    def owners(self, connection: Connection, *, after: int = 0, limit: int = 500) -> list[int]:
        """Return ids of users who have something that an end of all sessions ends, in their order, paged by key."""
        query = select(user.c.id).where(user.c.id > after, _HAS_SOMETHING)
        return list(connection.execute(query.order_by(user.c.id).limit(limit)).scalars())

    def count_owners(self, connection: Connection) -> int:
        """Return how many users `owners` returns in all."""
        return int(connection.execute(select(func.count()).select_from(user).where(_HAS_SOMETHING)).scalar_one())

    def drop_oldest(self, connection: Connection, user_id: int, *, keep: int, is_pending: bool) -> tuple[str, ...]:
        """Delete a user's oldest sessions until `keep` are left.

        Pending logins make place among themselves only: who knows just the password cannot push sessions out.
        """
        asked = {"at_user": user_id, "at_keep": keep}
        surplus = [row[0] for row in _SURPLUS[is_pending].rows(connection, asked)]
        if not surplus:
            return ()
        statement = delete(session).where(session.c.id.in_(surplus)).returning(session.c.public_id)
        return tuple(connection.execute(statement).scalars())

    def purge_expired(self, connection: Connection, now: Instant) -> None:
        """Delete some rows past their end, now and then, so that the table stays as small as what lives."""
        if next(self._issued) % PURGED_EVERY:
            return
        expired = [row[0] for row in _EXPIRED.rows(connection, {"at_now": now})]
        if expired:
            connection.execute(delete(session).where(session.c.id.in_(expired)))

    def of_user(self, connection: Connection, user_id: int) -> list[SessionRow]:
        """Return a user's active sessions, newest first; the caller leaves out those whose time has passed."""
        query = (
            select(*_ROW)
            .select_from(session.join(user, and_(user.c.id == session.c.user_id, user.c.epoch == session.c.epoch)))
            .where(session.c.user_id == user_id, session.c.is_pending.is_(False))
            .order_by(*_NEWEST_FIRST)
        )
        return [_require_row(row) for row in connection.execute(query)]

    def page(
        self, connection: Connection, *, after: Place | None = None, limit: int = 50
    ) -> list[tuple[SessionRow, str]]:
        """Return active sessions of all users with their login names, newest first, paged by key."""
        query = (
            select(*_ROW, user.c.username)
            .select_from(session.join(user, and_(user.c.id == session.c.user_id, user.c.epoch == session.c.epoch)))
            .where(session.c.is_pending.is_(False))
            .order_by(*_NEWEST_FIRST)
            .limit(limit)
        )
        if after is not None:
            query = query.where(tuple_(*_PLACE) < tuple_(*after))
        return [(_require_row(row[:_WIDTH]), row[_WIDTH]) for row in connection.execute(query)]

    def find_public(self, connection: Connection, public_id: str) -> SessionRow | None:
        """Return an active session by its public id; a pending login is none."""
        query = select(*_ROW).where(session.c.public_id == public_id, session.c.is_pending.is_(False))
        return _row(connection.execute(query).one_or_none())
