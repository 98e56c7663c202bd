"""The keys of counters, and what follows from a key: its first delay, and whether its total is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .rules import FIRST_DELAY, first_delay

if TYPE_CHECKING:
    from flask_gatehouse.kernel.keys import KeyRing

USER, BY_MAIL, NAME = "user:", "by-mail:", "name:"
"""Begin the keys of a user's counters, by name and by address, and of what nobody has."""
_DEVICE = "device:"


class CounterKeys:
    """The keys of one app's counters.

    Args:
        keys: hides names of users who do not exist: people type passwords there.
        login_name: `GATEHOUSE_LOGIN_NAME`.
    """

    def __init__(self, keys: KeyRing, login_name: str) -> None:
        self._keys = keys
        self._first_delay = first_delay(login_name)

    def name_digest(self, name: str) -> str:
        """Return a keyed digest of a login name, for counters and audit rows.

        Only what could be a name is folded: else a letter that folds to another would share its counter (rule 2).
        """
        return self._keys.digest("throttle-name", name.lower() if name.isascii() else name)

    def account_key(self, user_id: int | None, name: str) -> str:
        """Return the account counter's key: by user once found, else by the digest of the name (rule 2)."""
        return f"{USER}{user_id}" if user_id is not None else f"{NAME}{self.name_digest(name)}"

    def mail_key(self, user_id: int | None, address: str) -> str:
        """Return the account counter's key where an e-mail address was typed.

        It delays nobody who types the name, nor the other way round: else a stranger learns whose address it is.
        """
        return f"{BY_MAIL}{user_id}" if user_id is not None else self.account_key(None, address)

    def inside_key(self, user_id: int) -> str:
        """Return the key of the budget that people with a live session have to themselves."""
        return f"inside:{user_id}"

    def device_key(self, device_id: int) -> str:
        """Return the key of the budget that one known browser has for its user."""
        return f"{_DEVICE}{device_id}"

    def factor_key(self, method: str, user_id: int) -> str:
        """Return the key of one second factor of one user: each authenticator has its own count."""
        return f"factor:{method}:{user_id}"

    def first_delay_of(self, key: str) -> int:
        """Return how long whoever guesses at this counter waits at first, in microseconds."""
        return self._first_delay if key.startswith((USER, NAME, BY_MAIL)) else FIRST_DELAY

    @staticmethod
    def is_total_kept(key: str) -> bool:
        """Tell whether the count to disable outlives the streak: not that of a name nobody has, or of a typed address.

        Nor that of a known browser, which is known no longer before it comes to that.
        """
        return not key.startswith((NAME, _DEVICE, BY_MAIL))
