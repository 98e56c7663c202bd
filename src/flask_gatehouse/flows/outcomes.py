"""What a flow gives back besides a result: a refusal, as a value with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask_gatehouse.domain.sessions import Issued
    from flask_gatehouse.kernel.errors import InvalidFieldError

BUSY_WAIT_MICROS = 1_000_000
"""A place to hash is free again before long: who comes back in a second most often finds one."""


class Refusal(Enum):
    """Why a flow refused."""

    CREDENTIALS = "wrong name or password"
    UNVERIFIED = "a single factor"
    THROTTLED = "too many attempts"
    BUSY = "the server is busy"
    FIELD = "a field cannot be taken"
    FORBIDDEN = "not allowed"
    NOT_FOUND = "there is no such thing"
    GONE = "the link or session has ended"
    ALARMED = "the account is on alarm"
    SELF = "nobody acts on themselves"
    LAST_ADMIN = "the last administrator stays"


_TEXTS = {
    Refusal.CREDENTIALS: "Wrong name or password.",
    Refusal.UNVERIFIED: "Your passkey did not check who uses it, by a PIN or a fingerprint. Log in with your password.",
    Refusal.THROTTLED: "Too many attempts. Try again a little later.",
    Refusal.BUSY: "The server is busy. Try again in a moment.",
    Refusal.FORBIDDEN: "You are not allowed to do this: it needs all the permissions of the role or user concerned.",
    Refusal.NOT_FOUND: "There is no such user, role or session.",
    Refusal.GONE: "Your session has ended meanwhile. Log in again.",
    Refusal.ALARMED: "“This wasn't me” was pressed for this account: prove an older second factor, or choose a new "
    "password by a mailed link.",
    Refusal.SELF: "Nobody can do this to themselves: ask another administrator.",
    Refusal.LAST_ADMIN: "This is the last administrator who can log in: grant the role to another user first.",
}


@dataclass(frozen=True, slots=True)
class Refused:
    """A refusal.

    Attributes:
        reason: why.
        wait: microseconds after which trying again makes sense; 0: it does not.
        field: the form field concerned, for `FIELD`.
        text: a sentence for people, without secrets.
    """

    reason: Refusal
    wait: int = 0
    field: str = ""
    text: str = ""

    def __bool__(self) -> bool:
        """Be false, so that `if result` reads as success."""
        return False


def refused(reason: Refusal, *, wait: int = 0) -> Refused:
    """Return a refusal with its standard sentence."""
    return Refused(reason, wait, "", _TEXTS.get(reason, ""))


def refused_value(field: str, text: str) -> Refused:
    """Return the refusal of what stands in a field, with a sentence of its own."""
    return Refused(Refusal.FIELD, 0, field, text)


def refused_field(error: InvalidFieldError) -> Refused:
    """Return the refusal that a bad value is."""
    return refused_value(error.field, str(error))


@dataclass(frozen=True, slots=True)
class FactorDue:
    """The password was right; a second factor is due before there is a session.

    Attributes:
        pending: the short session that only the next step knows.
        fields: form fields that may answer.
    """

    pending: Issued
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FactorLost:
    """A recovery code was right: the lost factor is to be replaced before there is a session (rule 32).

    Attributes:
        pending: the short session, which can do this and nothing else.
    """

    pending: Issued


@dataclass(frozen=True, slots=True, repr=False)
class MustReplace:
    """The password was a temporary one and is used up.

    Attributes:
        link_secret: opens the page where a new one is chosen.
    """

    link_secret: str
