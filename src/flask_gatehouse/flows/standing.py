"""What keeps a user from logging in at present, and what mends it. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from flask_gatehouse.domain import passwords
from flask_gatehouse.kernel.schema import CLOSED, SUSPENDED

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from flask_gatehouse.domain.users import UserRecord
    from flask_gatehouse.kernel.clock import Instant

    from .services import Services


class Mend(Enum):
    """What mends an obstacle."""

    RESTORE = "restore"
    UNLOCK = "unlock"
    RESET = "reset"
    NOTHING = "nothing"


class Hindrance(Enum):
    """Why a login fails, or asks for more than the password."""

    CLOSED = "closed for good"
    SUSPENDED = "suspended"
    UNVERIFIED = "the e-mail address is not confirmed"
    NO_PASSWORD = "there is no password"  # noqa: S105 - a reason, no password
    COMPROMISED = "the password is marked as compromised"
    TEMPORARY = "the password is a temporary one"
    TEMPORARY_ENDED = "the temporary password has run out"
    DISABLED = "the password is disabled after too many wrong ones"
    ALARMED = "the user has said that it was not them"
    DELAYED = "in a delay after wrong passwords"


MENDS = {
    Hindrance.CLOSED: Mend.NOTHING,
    Hindrance.SUSPENDED: Mend.RESTORE,
    Hindrance.UNVERIFIED: Mend.NOTHING,
    Hindrance.NO_PASSWORD: Mend.RESET,
    Hindrance.COMPROMISED: Mend.RESET,
    Hindrance.TEMPORARY: Mend.NOTHING,
    Hindrance.TEMPORARY_ENDED: Mend.RESET,
    Hindrance.DISABLED: Mend.UNLOCK,
    Hindrance.ALARMED: Mend.RESET,
    Hindrance.DELAYED: Mend.UNLOCK,
}


WITHOUT_PASSWORD = frozenset({Hindrance.CLOSED, Hindrance.NO_PASSWORD, Hindrance.COMPROMISED})
"""Where there is no password that could prove anything."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One reason why a user cannot log in at present.

    Attributes:
        until_at: when it ends by itself; None: never.
        wrong: wrong passwords in a row that led to it.
        since_at: since when, of an alarm.
    """

    hindrance: Hindrance
    until_at: Instant | None = None
    wrong: int = 0
    since_at: Instant | None = None

    @property
    def name(self) -> str:
        """The hindrance as one lower-case word, for templates."""
        return self.hindrance.name.lower()

    @property
    def mend(self) -> str:
        """What mends it, as one word."""
        return MENDS[self.hindrance].value


def obstacles_of(services: Services, connection: Connection, user: UserRecord, now: Instant) -> list[Obstacle]:
    """Return what keeps a user from logging in, the gravest first; nobody else than administrators may be told.

    Args:
        services: the app's services.
        connection: where to read.
        user: whom it is about.
        now: the present instant.
    """
    if user.state == CLOSED:
        return [Obstacle(Hindrance.CLOSED)]
    found = [Obstacle(Hindrance.SUSPENDED)] if user.state == SUSPENDED else []
    found += [Obstacle(Hindrance.UNVERIFIED)] if user.must_verify else []
    found += [Obstacle(Hindrance.ALARMED, since_at=user.alarm_at)] if user.alarm_at is not None else []
    found += _of_password(passwords.find_credential_of(connection, user.id), now)
    return found + _of_throttle(services, connection, user.id, now)


def _of_password(credential: passwords.Credential | None, now: Instant) -> list[Obstacle]:
    if credential is None or credential.digest is None:
        return [Obstacle(Hindrance.NO_PASSWORD)]
    if credential.compromised_at is not None:
        return [Obstacle(Hindrance.COMPROMISED)]
    until_at = credential.temporary_until
    if until_at is None:
        return []
    return [Obstacle(Hindrance.TEMPORARY if now < until_at else Hindrance.TEMPORARY_ENDED, until_at)]


def _of_throttle(services: Services, connection: Connection, user_id: int, now: Instant) -> list[Obstacle]:
    """Return the delay, or that the password is disabled: then the end of a delay would mend nothing."""
    lockout = services.throttle.lockout_of(connection, user_id)
    if lockout.answers_no_more:
        return [Obstacle(Hindrance.DISABLED, wrong=lockout.total)]
    if lockout.blocked_until > now:
        return [Obstacle(Hindrance.DELAYED, lockout.blocked_until, lockout.wrong)]
    return []
