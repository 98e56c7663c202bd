"""How often something may be tried: rules as data, one atomic charge before any secret is checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .counters import Lockout, charge_account, charge_window, clear_account, give_back, purge, refund
from .rules import CHANGE, DENIAL, LOGIN, REGISTER, RESET, STEP_UP, Rule, address_keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from flask_gatehouse.kernel.clock import Instant
    from flask_gatehouse.kernel.database import Database
    from flask_gatehouse.kernel.keys import KeyRing

__all__ = ["CHANGE", "DENIAL", "LOGIN", "REGISTER", "RESET", "STEP_UP", "Charge", "Rule", "Throttle"]


@dataclass(frozen=True, slots=True)
class Charge:
    """One charged attempt.

    Attributes:
        wait: microseconds to wait; 0: go ahead.
        is_first_refusal: whether this refusal is the first of its window, so that it is recorded once.
        is_disabled: whether the account's password is disabled after too many wrong ones.
        has_delayed: whether this attempt, should it be wrong, starts a delay.
        account_key: the account counter that was charged, `""` for none.
        window_keys: the address counters that were charged.
        lockout: the account counter after the charge.
    """

    wait: int = 0
    is_first_refusal: bool = False
    is_disabled: bool = False
    has_delayed: bool = False
    account_key: str = ""
    window_keys: tuple[str, ...] = ()
    lockout: Lockout | None = None


FREE = Charge()


class Throttle:
    """The counters of one app.

    Args:
        database: where they are.
        keys: hides names of users who do not exist: people type passwords there.
        is_on: `GATEHOUSE_THROTTLE`.
    """

    def __init__(self, database: Database, keys: KeyRing, *, is_on: bool) -> None:
        self._database = database
        self._keys = keys
        self._is_on = is_on

    def name_digest(self, name: str) -> str:
        """Return a keyed digest of a login name as typed, for counters and audit rows."""
        return self._keys.digest("throttle-name", name.lower())

    def account_key(self, user_id: int | None, name: str) -> str:
        """Return the account counter's key: by user once found, else by the digest of the name (rule 2)."""
        return f"user:{user_id}" if user_id is not None else f"name:{self.name_digest(name)}"

    def inside_key(self, user_id: int) -> str:
        """Return the key of the budget that people with a live session have to themselves."""
        return f"inside:{user_id}"

    def factor_key(self, method: str, user_id: int) -> str:
        """Return the key of one second factor of one user: each authenticator has its own count."""
        return f"factor:{method}:{user_id}"

    def spend(self, rule: Rule, address: str, now: Instant, *, account_key: str = "", target: str = "") -> Charge:
        """Charge one attempt to address, target and account, in a transaction of its own.

        The first of them that is spent refuses, and what comes after it is not charged.

        Args:
            rule: the limits.
            address: the client's address.
            now: the present instant.
            account_key: from `account_key()` or `inside_key()`, for rules with an account.
            target: what is aimed at, such as a link's digest; never a secret itself.

        Raises:
            DatabaseUnavailableError: the counters cannot be charged; the attempt must not go on.
        """
        if not self._is_on:
            return FREE
        with self._database.unit() as connection:
            charged: list[str] = []
            for key, limit in self._windows(rule, address, target):
                window = charge_window(connection, key, rule.window, now)
                if window.count == 1 and not charged:
                    purge(connection, now)
                if window.count > limit:
                    return Charge(wait=window.ends_at - now, is_first_refusal=window.count == limit + 1)
                charged.append(key)
            if not account_key:
                return Charge(window_keys=tuple(charged))
            return self._charge_account(connection, account_key, tuple(charged), now)

    def _windows(self, rule: Rule, address: str, target: str) -> Iterator[tuple[str, int]]:
        for prefix, factor in address_keys(address):
            yield f"{rule.name}@{prefix}", rule.per_address * factor
        if target:
            yield f"{rule.name}>{target}", rule.per_target

    def _charge_account(self, connection: Connection, key: str, window_keys: tuple[str, ...], now: Instant) -> Charge:
        lockout = charge_account(connection, key, now)
        if lockout.is_refused:
            return Charge(wait=lockout.blocked_until - now)
        return Charge(
            is_disabled=lockout.is_disabled,
            has_delayed=lockout.blocked_until > now,
            account_key=key,
            window_keys=window_keys,
            lockout=lockout,
        )

    def count_denial(self, user_id: int, now: Instant) -> int:
        """Count a refusal of a user and return how many this window has seen, so that a flood is not all recorded."""
        if not self._is_on:
            return 1
        with self._database.unit() as connection:
            return charge_window(connection, f"denied>{user_id}", DENIAL.window, now).count

    def give_back(self, charge: Charge) -> None:
        """Take the account's charge back: nothing was hashed, so nothing was wrong (rule 3)."""
        if charge.account_key and charge.lockout is not None:
            with self._database.unit() as connection:
                give_back(connection, charge.account_key, charge.lockout)

    def settle(self, connection: Connection, charge: Charge, now: Instant) -> None:
        """After a full login: zero the account's counter, give one address charge back (rule 3)."""
        if not charge.account_key:
            return
        if clear_account(connection, charge.account_key, now):
            refund(connection, charge.window_keys, charge.account_key, now)

    def unlock(self, connection: Connection, user_id: int, now: Instant) -> None:
        """Zero a user's counters: an administrator, a command or a completed reset."""
        clear_account(connection, f"user:{user_id}", now)
        clear_account(connection, f"inside:{user_id}", now)
