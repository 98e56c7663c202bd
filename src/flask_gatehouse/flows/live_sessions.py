"""Which sessions count now, of one user or of all, a page at a time. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask_gatehouse.domain.sessions import row_proven_at
from flask_gatehouse.kernel.identity import ADMIN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from flask_gatehouse.domain.sessions import Place, SessionRow
    from flask_gatehouse.domain.users import UserRecord

    from .services import Services

READ_AT_MOST = 2000
"""Rows that one page looks at: those that have ended by time stay in the table for a while, and are passed over."""


@dataclass(frozen=True, slots=True)
class LiveSession:
    """A session that counts now."""

    row: SessionRow
    username: str


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the live sessions, newest first.

    Attributes:
        after: what the next page begins after; None: there is none.
    """

    sessions: list[LiveSession]
    after: Place | None


def of_user(services: Services, connection: Connection, user: UserRecord) -> list[LiveSession]:
    """Return a user's live sessions, newest first."""
    rows = services.sessions.store.of_user(connection, user.id)
    return _live(services, connection, [(row, user.username) for row in rows])


def page(services: Services, connection: Connection, *, after: Place | None = None, limit: int = 50) -> Page:
    """Return live sessions of all users, newest first, paged by key.

    A page takes as long whatever the table holds: it may be short, even empty, and still have a next one.

    Args:
        services: the app's services.
        connection: where to read.
        after: the last one of the page before; None: from the newest.
        limit: at most so many.
    """
    found: list[LiveSession] = []
    read, step = 0, limit + 1
    while read < READ_AT_MOST:
        rows = services.sessions.store.page(connection, after=after, limit=step)
        live = _live(services, connection, rows)
        if len(found) + len(live) > limit:
            found += live[: limit - len(found)]
            return Page(found, found[-1].row.place)
        found += live
        if len(rows) < step:
            return Page(found, None)
        read, step, after = read + step, 2 * step, rows[-1][0].place
    return Page(found, after)


def _live(services: Services, connection: Connection, rows: Iterable[tuple[SessionRow, str]]) -> list[LiveSession]:
    now, life = services.clock.now(), services.sessions.life
    listed = list(rows)
    held = services.roles.names_of(connection, {row.user_id for row, _ in listed}, now)
    return [
        LiveSession(row, username)
        for row, username in listed
        if life.is_live(row, row_proven_at(row), now, is_admin=ADMIN in held.get(row.user_id, ()))
    ]
