"""What an attempt was charged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .counters import Lockout


@dataclass(frozen=True, slots=True)
class Charge:
    """One charged attempt.

    Attributes:
        wait: microseconds to wait; 0: go ahead.
        is_first_refusal: whether this refusal is the first of its window, so that it is recorded once.
        is_disabled: whether the account answers no more after too many wrong passwords.
        would_delay: whether this attempt, should it be wrong, starts a delay.
        account_key: the account counter that was charged, `""` for none.
        beside_key: the counter that was charged beside it, which delays nobody.
        window_keys: the address counters that were charged.
        lockout: the account counter after the charge, or as it refused one.
    """

    wait: int = 0
    is_first_refusal: bool = False
    is_disabled: bool = False
    would_delay: bool = False
    account_key: str = ""
    window_keys: tuple[str, ...] = ()
    lockout: Lockout | None = None
    beside_key: str = ""


FREE = Charge()
