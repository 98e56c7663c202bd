"""Sessions: issue, load, rotate, revoke. They live on the server; the cookie is a random id, its digest is stored."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from flask_gatehouse.kernel.clock import micros
from flask_gatehouse.kernel.identity import Identity, Proof
from flask_gatehouse.kernel.keys import new_public_id, new_secret, secret_digest

from .sql import Place, SessionRow, SqlSessions, decode_proofs, row_number

if TYPE_CHECKING:
    from datetime import timedelta

    from sqlalchemy import Connection

    from flask_gatehouse.kernel.clock import Instant
    from flask_gatehouse.kernel.identity import Source

__all__ = [
    "Gone",
    "Issued",
    "Lifetimes",
    "Place",
    "Session",
    "SessionRow",
    "Sessions",
    "SqlSessions",
    "browser_mark",
    "row_number",
    "row_proven_at",
]

SECOND = 1_000_000
SEEN_AT_MOST = 60 * SECOND
SECRET_LENGTH = 43
PENDING_MICROS = 600 * SECOND
"""A pending login waits ten minutes for its second factor."""


class Gone(Enum):
    """Why a session id gives no session."""

    UNKNOWN = "unknown"
    REVOKED = "revoked"
    EXPIRED = "expired"
    CLOSED = "the user is suspended or closed"
    OTHER_BROWSER = "another browser"


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long sessions live, in microseconds.

    Attributes:
        idle: unused for this long, it has ended.
        absolute: this long after its last proof, it has ended, used or not.
        admin_idle: `idle` of administrators.
        admin_absolute: `absolute` of administrators.
        remember: idle and absolute life with "remember me"; 0 when there is none.
    """

    idle: int
    absolute: int
    admin_idle: int
    admin_absolute: int
    remember: int

    @classmethod
    def of(
        cls, idle: timedelta, absolute: timedelta, admin_idle: timedelta, admin_absolute: timedelta, remember: timedelta
    ) -> Lifetimes:
        """Return lifetimes from durations."""
        return cls(*(micros(value) for value in (idle, absolute, admin_idle, admin_absolute, remember)))

    def idle_of(self, row: SessionRow, *, is_admin: bool) -> int:
        """Return the idle limit of a session."""
        if is_admin:
            return min(self.idle, self.admin_idle)
        return self.remember if row.is_remembered and self.remember else self.idle

    def is_live(self, row: SessionRow, proven_at: Instant, now: Instant, *, is_admin: bool) -> bool:
        """Tell whether neither limit has passed (NIST SP 800-63B 5.2).

        Args:
            row: the session.
            proven_at: when its newest proof was shown; 0: never.
            now: the present instant.
            is_admin: administrators have limits of their own, remembered or not.
        """
        if now >= row.expires_at or now >= row.seen_at + self.idle_of(row, is_admin=is_admin):
            return False
        return not is_admin or now < max(row.created_at, proven_at) + min(self.absolute, self.admin_absolute)


class Session(NamedTuple):
    """A live session with the identity it gives.

    Attributes:
        row: what is stored.
        identity: who the request acts as.
        is_seen_due: whether the last-seen time should be written now.
    """

    row: SessionRow
    identity: Identity
    is_seen_due: bool


@dataclass(frozen=True, slots=True, repr=False)
class Issued:
    """A session just issued or rotated; the secret goes into the cookie and nowhere else.

    Attributes:
        secret: 256 random bits.
        public_id: names the session to people.
        ended: public ids of older sessions that made place.
        device: cookie by which the browser is known from now on; `""`: as before.
    """

    secret: str
    public_id: str
    user_id: int
    is_remembered: bool
    ended: tuple[str, ...] = ()
    device: str = ""


_VERSIONS = re.compile(r"[\d._/;:-]+")


@lru_cache(maxsize=2048)
def browser_mark(agent: str) -> str:
    """Return a user agent without its version numbers: an update of the browser is no other browser."""
    return " ".join(_VERSIONS.sub(" ", agent).split())


class Sessions:
    """The sessions of one app.

    Args:
        store: where they are kept.
        life: how long they live.
        protection: `strong`, `basic` or `none`.
        most: live sessions of one user.
    """

    def __init__(self, store: SqlSessions, life: Lifetimes, protection: str, most: int) -> None:
        self.store = store
        self.life = life
        self._protection = protection
        self._most = most

    def load(self, secret: str, agent: str | None, now: Instant) -> Session | Gone:
        """Return the active session of a secret, or why there is none. One statement; reads only.

        Args:
            secret: the cookie's value.
            agent: the request's user agent, cleaned; None where it says nothing of the browser.
            now: the present instant.
        """
        found = self.store.find_live(secret_digest(secret), now) if len(secret) == SECRET_LENGTH else None
        if found is None:
            return Gone.UNKNOWN
        row, identity, user_epoch, is_active = found
        if row.is_pending:
            return Gone.UNKNOWN
        if row.epoch != user_epoch:
            return Gone.REVOKED
        if not is_active:
            return Gone.CLOSED
        is_admin = identity.is_admin or identity.withheld.is_admin  # its limits hold before it counts
        if not self.life.is_live(row, identity.proven_at, now, is_admin=is_admin):
            return Gone.EXPIRED
        if agent is not None and row.agent != agent and self._is_other_browser(row.agent, agent):
            if self._protection == "strong":
                return Gone.OTHER_BROWSER
            identity = identity._replace(proven_at=0)
        idle = self.life.idle_of(row, is_admin=is_admin)
        return Session(row, identity, now - row.seen_at >= min(SEEN_AT_MOST, idle // 10))

    def _is_other_browser(self, issued_to: str, agent: str) -> bool:
        """Tell whether the browser differs; a session issued without a user agent is pinned to none."""
        return bool(issued_to) and self._protection != "none" and browser_mark(issued_to) != browser_mark(agent)

    def live_of_user(self, connection: Connection, user_id: int, now: Instant, *, is_admin: bool) -> list[SessionRow]:
        """Return a user's sessions that have not ended by time either, newest first."""
        rows = self.store.of_user(connection, user_id)
        return [row for row in rows if self.life.is_live(row, row_proven_at(row), now, is_admin=is_admin)]

    def load_pending(self, connection: Connection, secret: str, now: Instant) -> SessionRow | None:
        """Return the pending login of a secret, locked, or None. Only the login flow asks for it (rule 14)."""
        row = self.store.lock_pending(connection, secret_digest(secret)) if len(secret) == SECRET_LENGTH else None
        return row if row is not None and now < row.expires_at else None

    def issue(  # noqa: PLR0913 - one record of a login; the flow names each part
        self,
        connection: Connection,
        user_id: int,
        epoch: int,
        now: Instant,
        *,
        source: Source,
        proofs: tuple[Proof, ...],
        data: str = "",
        is_remembered: bool = False,
        is_pending: bool = False,
    ) -> Issued:
        """Insert a session; the caller holds the lock on the user row, so the cap is exact (rule 11).

        Args:
            connection: the flow's transaction.
            user_id: whose.
            epoch: the user's epoch, read under lock.
            now: the present instant.
            source: address and user agent, shown in the list of sessions.
            proofs: what was shown.
            data: the app's own session keys, as JSON text.
            is_remembered: whether it lives as long as "remember me" says.
            is_pending: whether a second factor is still due.
        """
        ended = self.store.drop_oldest(connection, user_id, keep=self._most - 1, is_pending=is_pending)
        is_remembered = is_remembered and bool(self.life.remember)
        secret = new_secret()
        row = SessionRow(
            id=0,  # the store makes it of the digest
            public_id=new_public_id(),
            user_id=user_id,
            is_pending=is_pending,
            is_remembered=is_remembered,
            epoch=epoch,
            created_at=now,
            seen_at=now,
            expires_at=now + self._life_of(is_remembered=is_remembered, is_pending=is_pending),
            proofs=encode_proofs(proofs),
            agent=source.agent,
            address=source.address,
            data=data,
        )
        self.store.insert(connection, row, secret_digest(secret))
        self.store.purge_expired(connection, now)  # last: nothing is waited for while strangers' rows are held
        return Issued(secret, row.public_id, user_id, is_remembered, ended)

    def _life_of(self, *, is_remembered: bool, is_pending: bool) -> int:
        if is_pending:
            return PENDING_MICROS
        return self.life.remember if is_remembered else self.life.absolute

    def rotate(
        self,
        connection: Connection,
        session: SessionRow,
        now: Instant,
        *,
        proofs: tuple[Proof, ...],
        epoch: int,
        data: str | None = None,
    ) -> Issued | None:
        """Give a session a new secret, proofs and end; None when it was revoked meanwhile (ASVS V7.2.4).

        Args:
            connection: the flow's transaction.
            session: the row, locked; a pending one becomes active, and the oldest session makes place for it.
            now: the present instant.
            proofs: all proofs of the session from now on.
            epoch: the user's epoch, read under lock.
            data: new session keys of the app; None leaves them.
        """
        secret = new_secret()
        changed = session._replace(
            proofs=encode_proofs(proofs),
            epoch=epoch,
            seen_at=now,
            expires_at=now + self._life_of(is_remembered=session.is_remembered, is_pending=False),
            data=session.data if data is None else data,
        )
        ended: tuple[str, ...] = ()
        if session.is_pending:
            ended = self.store.drop_oldest(connection, session.user_id, keep=self._most - 1, is_pending=False)
        if not self.store.rotate(connection, changed, secret_digest(secret), with_data=data is not None):
            return None
        return Issued(secret, session.public_id, session.user_id, session.is_remembered, ended)

    def hold(self, connection: Connection, session: SessionRow, proofs: tuple[Proof, ...]) -> Issued | None:
        """Give a pending login a new secret and proofs; it stays pending and ends when it would have ended.

        None when it ended meanwhile.
        """
        secret = new_secret()
        if not self.store.hold(connection, session.id, secret_digest(secret), encode_proofs(proofs)):
            return None
        return Issued(secret, session.public_id, session.user_id, session.is_remembered)


def row_proven_at(row: SessionRow) -> Instant:
    """Return when the newest proof of a session was shown; 0: never."""
    return decode_proofs(row.proofs)[1]


def encode_proofs(proofs: tuple[Proof, ...]) -> str:
    """Return proofs as `method:kind:instant` joined by commas."""
    return ",".join(f"{proof.method}:{proof.kind}:{proof.at}" for proof in proofs)
