"""One-time links: only their digest is stored, and any password, e-mail or epoch change kills them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import delete, insert, select

from flask_gatehouse.kernel.keys import new_secret, secret_digest
from flask_gatehouse.kernel.schema import ACTIVE, link, user

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from flask_gatehouse.kernel.clock import Instant

RESET_PASSWORD = "reset_password"  # noqa: S105 - a purpose, no secret
MINUTE = 60 * 1_000_000
LIFE_MICROS, STRICT_LIFE_MICROS = 30 * MINUTE, 10 * MINUTE


def life_of(profile: str) -> int:
    """Return how long a one-time link lives, in microseconds: 30 minutes, 10 under the profile `strict`."""
    return STRICT_LIFE_MICROS if profile == "strict" else LIFE_MICROS


def issue_link(
    connection: Connection, purpose: str, user_id: int, epoch: int, *, now: Instant, ends_at: Instant
) -> str:
    """Store the digest of a new secret and return the secret; older links of this purpose die."""
    connection.execute(delete(link).where(link.c.user_id == user_id, link.c.purpose == purpose))
    secret = new_secret()
    values = {"purpose": purpose, "user_id": user_id, "epoch": epoch, "created_at": now, "expires_at": ends_at}
    connection.execute(insert(link).values(digest=secret_digest(secret), **values))
    return secret


class LinkOwner(NamedTuple):
    """Whose link it is."""

    user_id: int
    username: str
    email: str | None


def find_link(connection: Connection, purpose: str, secret: str, now: Instant) -> LinkOwner | None:
    """Return whose live link this is, consuming nothing."""
    query = (
        select(user.c.id, user.c.username, user.c.email)
        .join(link, link.c.user_id == user.c.id)
        .where(
            link.c.digest == secret_digest(secret),
            link.c.purpose == purpose,
            link.c.expires_at > now,
            link.c.epoch == user.c.epoch,
            user.c.state == ACTIVE,
        )
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else LinkOwner(*row)


def consume_link(connection: Connection, purpose: str, secret: str, now: Instant) -> tuple[int, int] | None:
    """Delete a link and return user id and epoch it was made for; exactly one of many callers gets it."""
    statement = (
        delete(link)
        .where(link.c.digest == secret_digest(secret), link.c.purpose == purpose, link.c.expires_at > now)
        .returning(link.c.user_id, link.c.epoch)
    )
    row = connection.execute(statement).one_or_none()
    return None if row is None else (row[0], row[1])


def drop_links(connection: Connection, user_id: int) -> None:
    """Kill all links of a user."""
    connection.execute(delete(link).where(link.c.user_id == user_id))
