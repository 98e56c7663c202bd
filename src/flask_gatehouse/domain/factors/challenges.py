"""What a session was asked and has not answered yet. The only writer of `gatehouse_challenge`.

A challenge belongs to one session and one purpose, is answered once, and says nothing to whoever reads the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import and_, delete, select, tuple_, update

from flask_gatehouse.kernel.schema import challenge
from flask_gatehouse.kernel.upsert import insert_into

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

    from flask_gatehouse.kernel.clock import Instant
    from flask_gatehouse.kernel.sealed import Sealed

LIFE_MICROS = 600 * 1_000_000
"""A challenge waits ten minutes for its answer."""
WRONG_BEFORE_VOID = 5
PURGED_AT_ONCE = 20


@dataclass(frozen=True, slots=True)
class Asked:
    """Who is asked, where, and what for.

    Attributes:
        session_id: public id of the session; no other can answer.
        purpose: what the answer will be taken for, and nothing else.
    """

    session_id: str
    purpose: str
    user_id: int


def find(connection: Connection, asked: Asked, now: Instant) -> tuple[str, bytes] | None:
    """Return key id and sealed text of what is open, or None."""
    query = select(challenge.c.key_id, challenge.c.sealed).where(_is(asked), challenge.c.expires_at > now)
    row = connection.execute(query).one_or_none()
    return None if row is None else (row[0], bytes(row[1]))


def ask(connection: Connection, asked: Asked, sealed: Sealed, now: Instant) -> None:
    """Ask anew: what the session was asked before for this purpose is void. Some old ones of all sessions go."""
    _purge(connection, now)
    values = {"key_id": sealed.key_id, "sealed": sealed.text, "wrong": 0, "expires_at": now + LIFE_MICROS}
    keys = {"session_id": asked.session_id, "purpose": asked.purpose}
    statement = insert_into(connection, challenge).values(**keys, user_id=asked.user_id, **values)
    columns = [challenge.c.session_id, challenge.c.purpose]
    changed = {**values, "user_id": asked.user_id}
    connection.execute(statement.on_conflict_do_update(index_elements=columns, set_=changed))


def _purge(connection: Connection, now: Instant) -> None:
    """Delete some challenges past their end; those that somebody else holds are passed over: nobody waits in a ring."""
    old = select(challenge.c.session_id, challenge.c.purpose).where(challenge.c.expires_at <= now).limit(PURGED_AT_ONCE)
    keys = [tuple(row) for row in connection.execute(old.with_for_update(skip_locked=True))]
    if keys:
        connection.execute(delete(challenge).where(tuple_(challenge.c.session_id, challenge.c.purpose).in_(keys)))


def consume(connection: Connection, asked: Asked, sealed: bytes, now: Instant) -> bool:
    """Use the challenge up; of many who answer the same one, exactly one is told True."""
    statement = delete(challenge).where(_is(asked), challenge.c.sealed == sealed, challenge.c.expires_at > now)
    return connection.execute(statement).rowcount == 1


def forget_all(connection: Connection, user_id: int) -> None:
    """Void whatever a user was asked, in all sessions: who was in one of them may have seen what waits there."""
    connection.execute(delete(challenge).where(challenge.c.user_id == user_id))


def count_wrong(connection: Connection, asked: Asked) -> bool:
    """Count a wrong answer; True when it was the last that this challenge stands."""
    statement = update(challenge).where(_is(asked)).values(wrong=challenge.c.wrong + 1).returning(challenge.c.wrong)
    wrong = connection.execute(statement).scalar_one_or_none()
    if wrong is None or wrong < WRONG_BEFORE_VOID:
        return wrong is None
    connection.execute(delete(challenge).where(_is(asked)))
    return True


def _is(asked: Asked) -> ColumnElement[bool]:
    return and_(
        challenge.c.session_id == asked.session_id,
        challenge.c.purpose == asked.purpose,
        challenge.c.user_id == asked.user_id,
    )
