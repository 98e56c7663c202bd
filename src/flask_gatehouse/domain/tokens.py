"""One-time links: only their digest is stored, and any password, e-mail or epoch change kills them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import delete, exists, func, insert, or_, select

from flask_gatehouse.kernel.keys import new_secret, secret_digest
from flask_gatehouse.kernel.schema import ACTIVE, link, user

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from flask_gatehouse.kernel.clock import Instant

RESET_PASSWORD = "reset_password"  # noqa: S105 - a purpose, no secret
VERIFY_EMAIL, VERIFY_SECOND = "verify_email", "verify_second"
VERIFYING = (VERIFY_EMAIL, VERIFY_SECOND)
MINUTE = 60 * 1_000_000
LIFE_MICROS, STRICT_LIFE_MICROS = 30 * MINUTE, 10 * MINUTE
VERIFY_MICROS = 24 * 60 * MINUTE
"""How long a link that verifies an address lives (NIST SP 800-63B 4.2.1.2)."""


def life_of(profile: str) -> int:
    """Return how long a one-time link lives, in microseconds: 30 minutes, 10 under the profile `strict`."""
    return STRICT_LIFE_MICROS if profile == "strict" else LIFE_MICROS


_NOT_MAILED_THERE = (link.c.address == "", link.c.purpose.in_(VERIFYING))
"""Links that are not bound to an address their user has: an operator's, and one that is to change an address."""
_AT_OWNER = or_(link.c.address == user.c.email, link.c.address == user.c.second_email)


class Terms(NamedTuple):
    """What a link allows, and what it is bound to.

    Attributes:
        purpose: `RESET_PASSWORD`, `VERIFY_EMAIL` or `VERIFY_SECOND`.
        epoch: the user's; the link dies with it.
        address: where it is mailed to; `""`: an operator hands it over.
    """

    purpose: str
    user_id: int
    epoch: int
    address: str = ""


def issue_link(connection: Connection, terms: Terms, *, now: Instant, ends_at: Instant) -> str:
    """Store the digest of a new secret and return the secret; older links of this purpose die.

    Where one is mailed to each address of a user, they stand beside each other until one is used.
    """
    older = delete(link).where(link.c.user_id == terms.user_id, link.c.purpose == terms.purpose)
    if terms.address and terms.purpose not in VERIFYING:
        older = older.where(link.c.address.in_(("", terms.address)))
    connection.execute(older)
    secret = new_secret()
    values = {**terms._asdict(), "created_at": now, "expires_at": ends_at}
    connection.execute(insert(link).values(digest=secret_digest(secret), **values))
    return secret


class LinkOwner(NamedTuple):
    """Whose link it is, and which address it was mailed to."""

    user_id: int
    username: str
    email: str | None
    address: str


def find_link(connection: Connection, purpose: str, secret: str, now: Instant) -> LinkOwner | None:
    """Return whose live link this is, consuming nothing."""
    query = (
        select(user.c.id, user.c.username, user.c.email, link.c.address)
        .join(link, link.c.user_id == user.c.id)
        .where(
            link.c.digest == secret_digest(secret),
            link.c.purpose == purpose,
            link.c.expires_at > now,
            link.c.epoch == user.c.epoch,
            or_(_AT_OWNER, *_NOT_MAILED_THERE),
            user.c.state == ACTIVE,
        )
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else LinkOwner(*row)


def consume_link(connection: Connection, purpose: str, secret: str, now: Instant) -> Terms | None:
    """Delete a link and return what it allows; exactly one of many callers gets it."""
    at_owner = exists().where(user.c.id == link.c.user_id, _AT_OWNER)
    statement = (
        delete(link)
        .where(link.c.digest == secret_digest(secret), link.c.purpose == purpose, link.c.expires_at > now)
        .where(or_(at_owner, *_NOT_MAILED_THERE))
        .returning(link.c.purpose, link.c.user_id, link.c.epoch, link.c.address)
    )
    row = connection.execute(statement).one_or_none()
    return None if row is None else Terms(*row)


def newest_at(connection: Connection, purpose: str, user_id: int, address: str) -> Instant | None:
    """Return when the newest link of a purpose was made that an address of the user got, or None."""
    query = select(func.max(link.c.created_at)).where(link.c.user_id == user_id, link.c.purpose == purpose)
    query = query.where(link.c.address.in_(("", address)))
    found = connection.execute(query).scalar_one()
    return None if found is None else int(found)


def waiting_address(connection: Connection, user_id: int, now: Instant, purpose: str = VERIFY_EMAIL) -> str | None:
    """Return the address that a live link of the user would verify, or None."""
    mine = (link.c.user_id == user_id, link.c.purpose == purpose, link.c.expires_at > now)
    query = select(link.c.address).join(user, user.c.id == link.c.user_id).where(*mine, link.c.epoch == user.c.epoch)
    return connection.execute(query.limit(1)).scalar_one_or_none()


def drop_links(connection: Connection, user_id: int) -> None:
    """Kill all links of a user."""
    connection.execute(delete(link).where(link.c.user_id == user_id))
