"""Passwords: what one may be, how it is hashed, where its digest stands. The only writer of `gatehouse_password`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, func, select, update

from flask_gatehouse.kernel.schema import ACTIVE, password, user
from flask_gatehouse.kernel.statements import Statement
from flask_gatehouse.kernel.upsert import insert_into

from .hashing import Hasher, Hashing, HashingPool, Verdict, scheme_of
from .rules import PasswordRules, normalised

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from flask_gatehouse.kernel.clock import Instant
    from flask_gatehouse.kernel.statements import Glance

__all__ = [
    "Credential",
    "Hasher",
    "Hashing",
    "HashingPool",
    "PasswordRules",
    "Verdict",
    "count_schemes",
    "count_temporary",
    "find_changed_at",
    "find_credential",
    "find_credential_of",
    "forget",
    "lock_credential",
    "mark_compromised",
    "normalised",
    "replace_digest",
    "sample_digests",
    "scheme_of",
    "store",
]

BATCH = 2000


@dataclass(frozen=True, slots=True)
class Credential:
    """A user with the digest of the password, read in one statement.

    Attributes:
        digest: None when the user has no password.
        temporary_until: set when the password must be replaced at login, and dies then.
        must_verify: whether there is no login before the e-mail address is confirmed.
        compromised_at: set when somebody else is known to know the password, which then proves nothing.
    """

    user_id: int
    username: str
    state: str
    epoch: int
    digest: str | None
    temporary_until: Instant | None
    must_verify: bool
    compromised_at: Instant | None

    @property
    def proving_digest(self) -> str | None:
        """The digest whose password proves who its user is; None where no password does."""
        return None if self.compromised_at is not None else self.digest

    @property
    def is_active(self) -> bool:
        """Whether the user may log in."""
        return self.state == ACTIVE and not self.must_verify


_QUERY = select(
    *(user.c.id, user.c.username, user.c.state, user.c.epoch, password.c.digest, password.c.temporary_until),
    *(user.c.must_verify, password.c.compromised_at),
).select_from(user.outerjoin(password, password.c.user_id == user.c.id))
_BY_NAME = Statement(_QUERY.where(user.c.username_key == bindparam("at_name")))
_BY_EMAIL = Statement(_QUERY.where(user.c.email_key == bindparam("at_name")))
_BY_ID = Statement(_QUERY.where(user.c.id == bindparam("at_id")))
_LOCK = Statement(
    select(user.c.id)
    .where(user.c.id.in_([bindparam("at_id"), bindparam("at_also")]))
    .order_by(user.c.id)
    .with_for_update(key_share=True)  # as `users.find`
)


def find_credential(connection: Connection | Glance, name_key: str | None) -> Credential | None:
    """Return user and digest by name key, or by the key of a verified address, which alone holds an `@`.

    A name or address that nobody can have costs the same statement.
    """
    statement = _BY_EMAIL if name_key and "@" in name_key else _BY_NAME
    row = statement.row(connection, {"at_name": name_key or ""})
    return None if row is None else Credential(*row)


def find_credential_of(connection: Connection | Glance, user_id: int) -> Credential | None:
    """Return user and digest by id."""
    row = _BY_ID.row(connection, {"at_id": user_id})
    return None if row is None else Credential(*row)


def find_changed_at(connection: Connection, user_id: int) -> Instant | None:
    """Return when the user's password was last chosen, or None where there is none."""
    query = select(password.c.changed_at).where(password.c.user_id == user_id)
    return connection.execute(query).scalar_one_or_none()


def lock_credential(connection: Connection, user_id: int, also: int | None = None) -> Credential | None:
    """Return user and digest by id, the user row locked until the transaction ends.

    Locked first and read then: in one statement PostgreSQL would show the digest as it was before the wait. On SQLite
    the transaction itself is the lock.

    Args:
        connection: the flow's transaction.
        user_id: whose.
        also: another user whose sessions the flow ends; both are locked in one order, so that no two flows wait for
            each other.
    """
    if connection.dialect.name != "sqlite":
        _LOCK.rows(connection, {"at_id": user_id, "at_also": user_id if also is None else also})
    return find_credential_of(connection, user_id)


def store(
    connection: Connection, user_id: int, digest: str, now: Instant, temporary_until: Instant | None = None
) -> None:
    """Set the user's password digest, whatever stood there."""
    values = {"digest": digest, "changed_at": now, "temporary_until": temporary_until, "compromised_at": None}
    statement = insert_into(connection, password).values(user_id=user_id, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=[password.c.user_id], set_=values))


def replace_digest(connection: Connection, user_id: int, verified: str, digest: str) -> bool:
    """Rehash: replace the digest only while it is still the one that was verified (rule 1)."""
    statement = update(password).where(password.c.user_id == user_id, password.c.digest == verified)
    return connection.execute(statement.values(digest=digest)).rowcount == 1


def mark_compromised(connection: Connection, user_id: int, now: Instant) -> bool:
    """Let the password prove nothing until another is stored; False where there is none, or it is marked already."""
    statement = update(password).where(password.c.user_id == user_id, password.c.compromised_at.is_(None))
    return connection.execute(statement.values(compromised_at=now)).rowcount == 1


def forget(connection: Connection, user_id: int) -> None:
    """Leave the user without a password; only a reset gives a new one."""
    connection.execute(delete(password).where(password.c.user_id == user_id))


def sample_digests(connection: Connection, limit: int = 200) -> list[str]:
    """Return the newest and the oldest digests, to see which scheme and cost most rows have."""
    newest = select(password.c.digest).order_by(password.c.user_id.desc()).limit(limit)
    oldest = select(password.c.digest).order_by(password.c.user_id).limit(limit)
    return [*connection.execute(newest).scalars(), *connection.execute(oldest).scalars()]


def count_temporary(connection: Connection) -> int:
    """Return how many users have a temporary password, used up or not, and none of their own yet."""
    query = select(func.count()).select_from(password).where(password.c.temporary_until.is_not(None))
    return int(connection.execute(query).scalar_one())


def count_schemes(connection: Connection) -> Counter[str]:
    """Return how many digests there are of each scheme and cost. Reads every row."""
    found: Counter[str] = Counter()
    after = 0
    while True:
        query = select(password.c.user_id, password.c.digest).where(password.c.user_id > after)
        rows = connection.execute(query.order_by(password.c.user_id).limit(BATCH)).all()
        found.update(scheme_of(digest) for _, digest in rows)
        if len(rows) < BATCH:
            return found
        after = rows[-1][0]
