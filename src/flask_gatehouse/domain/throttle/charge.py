"""What an attempt was charged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .counters import Lockout
    from .spent import Window


@dataclass(frozen=True, slots=True)
class Charge:
    """One charged attempt.

    Attributes:
        wait: microseconds to wait; 0: go ahead.
        first_refusal_of: the window whose first refusal for being full this is, so that it is recorded once.
        is_disabled: whether the account answers no more after too many wrong passwords.
        would_delay: whether this attempt, should it be wrong, starts a delay.
        account_key: the account counter that was charged, `""` for none.
        beside_key: the counter that was charged beside it, which delays nobody.
        window_keys: the address counters that were charged.
        lockout: the account counter after the charge, or as it refused one.
    """

    wait: int = 0
    first_refusal_of: Window | None = None
    is_disabled: bool = False
    would_delay: bool = False
    account_key: str = ""
    window_keys: tuple[str, ...] = ()
    lockout: Lockout | None = None
    beside_key: str = ""


FREE = Charge()
