"""What is recorded of failures, and what a window that has ended tells of those that were only counted (rule 28)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from .counters import ASIDE, SEEN, Closed
from .keys import BY_MAIL, NAME, USER
from .rules import DENIAL, FIRSTS_KEY, KNOWN_LOGIN, KNOWN_PASSKEY, LOGIN, PASSKEY, REST, TOLD_KEY

if TYPE_CHECKING:
    from flask_gatehouse.kernel.clock import Instant


FIRST_RECORDED = (
    *(f"{rule.name}@" for rule in (LOGIN, PASSKEY)),
    *(f"{rule.name}>" for rule in (KNOWN_LOGIN, KNOWN_PASSKEY, DENIAL)),
)
"""Begin the keys of windows whose first refusal is recorded one by one."""


class Noted(Enum):
    """What to record of a failure (rule 28)."""

    FIRST = "the first of its window: record it"
    REPEATED = "counted beside the first"
    OVERFLOWED = "the first that is not recorded by itself: record that more follow"
    COUNTED = "counted with all others that are not recorded by themselves"


@dataclass(frozen=True, slots=True)
class Counted:
    """What a window that has ended counted beside what was recorded.

    Attributes:
        kind: the kind of event that was counted.
        number: how many.
        user_id: whom it concerned, if somebody.
        name_digest: the keyed digest of the name, where nobody has it.
        address: where it came from, if that was counted.
        is_total: whether it sums up what is not told one by one.
        ends_at: when the window ended.
    """

    kind: str
    number: int
    ends_at: Instant
    user_id: int | None = None
    name_digest: str = ""
    address: str = ""
    is_total: bool = False


def beside_the_first(closed: Closed) -> int:
    """Return how much a window counted that was not recorded by itself."""
    if closed.key.startswith(SEEN):
        return closed.count - 1
    return closed.refused - int(closed.key.startswith(FIRST_RECORDED) and closed.when_full > 0)


def told_of(key: str, number: int, ends_at: Instant) -> Counted | None:
    """Return what a window has to tell, or None."""
    if number <= 0:
        return None
    key = key.partition(ASIDE)[0]
    if key.startswith(SEEN):
        kind, _, who = key.removeprefix(SEEN).partition(">")
        return _about(kind, who, number, ends_at)
    if key.startswith(REST):
        return Counted(key.removeprefix(REST), number, ends_at, is_total=True)
    if key in {FIRSTS_KEY, TOLD_KEY}:
        return Counted("login.failed", number, ends_at, is_total=True) if key == FIRSTS_KEY else None
    name, separator, address = key.partition("@")
    if separator:
        return Counted(f"{name}.throttled", number, ends_at, address=address)
    name, _, target = key.partition(">")
    if name == DENIAL.name:
        return Counted("access.denied", number, ends_at, user_id=int(target))
    return Counted(f"{name}.throttled", number, ends_at)


def _about(kind: str, who: str, number: int, ends_at: Instant) -> Counted:
    if who.startswith("@"):
        return Counted(kind, number, ends_at, address=who[1:])
    if who.startswith((USER, BY_MAIL)):
        return Counted(kind, number, ends_at, user_id=int(who.partition(":")[2]))
    return Counted(kind, number, ends_at, name_digest=who.removeprefix(NAME))
