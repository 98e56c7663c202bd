"""Known browsers: those that a user has logged in with before. The only writer of `gatehouse_device`.

A browser shows itself by a cookie that carries a secret and a MAC over it, so that a made-up one is told without the
database; which users the browser is known for stands in the rows. It means nothing for any other name (rule 5).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import bindparam, delete, select, update

from flask_gatehouse.kernel.keys import new_secret, secret_digest
from flask_gatehouse.kernel.schema import device
from flask_gatehouse.kernel.statements import Statement
from flask_gatehouse.kernel.upsert import insert_for

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from flask_gatehouse.kernel.clock import Instant
    from flask_gatehouse.kernel.keys import KeyRing
    from flask_gatehouse.kernel.statements import Glance

PER_USER = 10
LIFE_SECONDS = 400 * 86400
"""How long a browser keeps the cookie: the longest that browsers allow."""
_COOKIE = re.compile(r"[A-Za-z0-9_-]{43}\.[0-9a-f]{64}")

_OF_USER = device.c.user_id == bindparam("at_user")
_FIND = Statement(
    select(device.c.id, device.c.created_at, device.c.seen_at).where(
        device.c.digest == bindparam("at_digest"), _OF_USER
    )
)
_BY_LAST_USE = select(device.c.id).where(_OF_USER).order_by(device.c.seen_at.desc(), device.c.id.desc())
_FIND_SURPLUS = Statement(_BY_LAST_USE.offset(PER_USER))


@dataclass(frozen=True, slots=True)
class Device:
    """A browser that is known for one user.

    Attributes:
        created_at: when the user first logged in with it.
        seen_at: when the user last did.
    """

    id: int
    created_at: Instant
    seen_at: Instant


def new(keys: KeyRing) -> str:
    """Return the cookie's value for a browser that has none."""
    secret = new_secret()
    return f"{secret}.{_mac(keys, secret)}"


def genuine(keys: KeyRing, cookie: str) -> str:
    """Return the cookie if its MAC is of this key ring, else `""`. Asks no database."""
    if not _COOKIE.fullmatch(cookie):  # one spelling only: each other one would have counters of its own
        return ""
    secret, _, mac = cookie.partition(".")
    return cookie if keys.verify("device", secret.encode(), bytes.fromhex(mac)) else ""


def _mac(keys: KeyRing, secret: str) -> str:
    return keys.mac("device", secret.encode()).hex()


def target(cookie: str) -> str:
    """Return what the throttle calls this browser: it says nothing of the secret."""
    return secret_digest(cookie).hex()[:32]


def find(connection: Connection | Glance, cookie: str, user_id: int | None) -> Device | None:
    """Return the browser if it is known for this user; a user who does not exist costs the same statement."""
    row = _FIND.row(connection, {"at_digest": secret_digest(cookie), "at_user": user_id or 0})
    return None if row is None else Device(*row)


class Welcomed(NamedTuple):
    """A browser in which a user has just logged in.

    Attributes:
        cookie: what it is to hold from now on.
        known: what was known of it before; None: nothing, for this user.
    """

    cookie: str
    known: Device | None


def welcome(connection: Connection, cookie: str, spare: str, user_id: int, now: Instant) -> Welcomed:
    """Know the browser in which a user has just logged in; return the cookie that it is to hold from now on.

    Whoever used the browser before may have copied its cookie, or put it there. So the first login of a user in it
    brings a new cookie, and those it is known for are known by that one alone.

    Args:
        connection: where to write.
        cookie: what the browser shows, genuine; `""`: nothing.
        spare: a new cookie, for when it is to have one.
        user_id: who has logged in.
        now: the present instant.
    """
    known = find(connection, cookie, user_id) if cookie else None
    if known is not None:
        remember(connection, cookie, user_id, now)
        return Welcomed(cookie, known)
    if cookie:
        moved = update(device).where(device.c.digest == secret_digest(cookie))
        connection.execute(moved.values(digest=secret_digest(spare)))
    remember(connection, spare, user_id, now)
    return Welcomed(spare, None)


def remember(connection: Connection, cookie: str, user_id: int, now: Instant) -> None:
    """Know whoever holds this cookie for the user; of more than 10 browsers the one not used for longest goes."""
    new = {"digest": secret_digest(cookie), "user_id": user_id, "created_at": now, "seen_at": now}
    _REMEMBER.write(connection, new)
    # looked for first: there is seldom any, and a DELETE that finds nothing costs as much as one that does
    surplus = [row[0] for row in _FIND_SURPLUS.rows(connection, {"at_user": user_id})]
    if surplus:
        connection.execute(delete(device).where(device.c.id.in_(surplus)))


def _remembering(dialect: str) -> Any:
    new: dict[str, Any] = {column.name: bindparam(column.name) for column in device.c if not column.primary_key}
    statement = insert_for(dialect, device).values(**new)
    seen = {"seen_at": statement.excluded.seen_at}
    return statement.on_conflict_do_update(index_elements=[device.c.digest, device.c.user_id], set_=seen)


_REMEMBER = Statement(_remembering)


def of_user(connection: Connection, user_id: int) -> list[Device]:
    """Return the browsers known for a user, the one used last first."""
    query = select(device.c.id, device.c.created_at, device.c.seen_at).where(device.c.user_id == user_id)
    return [Device(*row) for row in connection.execute(query.order_by(device.c.seen_at.desc()))]


def forget(connection: Connection, device_id: int) -> None:
    """Know this browser no longer for its user: too many wrong passwords came from it (rule 5)."""
    connection.execute(delete(device).where(device.c.id == device_id))


def forget_all(connection: Connection, user_id: int, *, but: str = "") -> None:
    """Know no browser of the user any longer, save the one with this cookie."""
    statement = delete(device).where(device.c.user_id == user_id)
    connection.execute(statement.where(device.c.digest != secret_digest(but)) if but else statement)
