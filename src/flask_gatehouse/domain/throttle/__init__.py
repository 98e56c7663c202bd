"""How often something may be tried: rules as data, one atomic charge before any secret is checked."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .beside import count_beside, uncount
from .charge import FREE, Charge
from .counters import (
    Lockout,
    charge_account,
    charge_window,
    clear_account,
    clear_rested,
    find_lockout,
    give_back,
    judged,
    refuse_charged,
    settle,
)
from .keys import CounterKeys
from .lockouts import count_disabled, delayed_users, disabled_users
from .rules import (
    ADDRESS,
    ALARM,
    CHANGE,
    DENIAL,
    FORGOT,
    KNOWN_LOGIN,
    KNOWN_PASSKEY,
    LOGIN,
    PASSKEY,
    PAUSE,
    REGISTER,
    RESET,
    STEP_UP,
    STILL_JUDGED,
    VERIFY,
    WINDOW,
    WRONG_BEFORE_DEMOTED,
    Rule,
    address_keys,
)
from .spent import Window
from .tally import Tally
from .told import Counted, Noted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from flask_gatehouse.kernel.clock import Instant
    from flask_gatehouse.kernel.database import Database
    from flask_gatehouse.kernel.keys import KeyRing
    from flask_gatehouse.kernel.statements import Glance

    from .counters import WindowCharge

__all__ = [
    "ADDRESS",
    "ALARM",
    "CHANGE",
    "DENIAL",
    "FORGOT",
    "KNOWN_LOGIN",
    "KNOWN_PASSKEY",
    "LOGIN",
    "PASSKEY",
    "REGISTER",
    "RESET",
    "STEP_UP",
    "VERIFY",
    "WINDOW",
    "WRONG_BEFORE_DEMOTED",
    "Charge",
    "Counted",
    "Lockout",
    "Noted",
    "Rule",
    "Throttle",
    "Window",
    "count_disabled",
    "delayed_users",
    "disabled_users",
]


class Throttle(CounterKeys, Tally):
    """The counters of one app.

    Args:
        database: where they are.
        keys: hides names of users who do not exist: people type passwords there.
        is_on: `GATEHOUSE_THROTTLE`.
        login_name: `GATEHOUSE_LOGIN_NAME`.
        methods: of the second factors, each of which has a count of its own.
    """

    def __init__(
        self, database: Database, keys: KeyRing, *, is_on: bool, login_name: str, methods: tuple[str, ...] = ()
    ) -> None:
        CounterKeys.__init__(self, keys, login_name)
        Tally.__init__(self, database, is_on=is_on)
        self._methods = methods

    # -- before a secret is checked -----------------------------------------------------------------------------

    def spend(self, rule: Rule, address: str, now: Instant, *, account_key: str = "", target: str = "") -> Charge:
        """Charge one attempt to address, target and account, in a transaction of its own.

        The first of them that is spent refuses, and what comes after it is not charged.

        Args:
            rule: the limits.
            address: the client's address.
            now: the present instant.
            account_key: from `account_key()`, `inside_key()` or `device_key()`, for rules with an account.
            target: what is aimed at, such as a link's digest; never a secret itself.

        Raises:
            DatabaseUnavailableError: the counters cannot be charged; the attempt must not go on.
        """
        if not self._is_on:
            return FREE
        windows = sorted(self._windows(rule, address, target))  # locked in one order everywhere
        wait = self._known_wait([key for key, _ in windows], now)
        if wait:
            return Charge(wait=wait)
        with self._database.unit() as connection:
            charged: list[str] = []
            for key, limit in windows:
                window = charge_window(connection, key, limit, rule.window, now, is_judged=rule.is_judged)
                if window.refused:
                    return self._refused(connection, key, window, limit, tuple(charged), now)
                charged.append(key)
            if not account_key:
                return Charge(window_keys=tuple(charged))
            charge = self._charge_account(connection, rule, account_key, tuple(charged), now)
            return self._refused_in_delay(connection, rule, address, charge, now) if charge.wait else charge

    def count_beside(self, charge: Charge, user_id: int | None, typed: str, now: Instant) -> Charge:
        """Count an attempt by address towards the hundred that disable the password, whichever of the two is typed.

        Args:
            charge: what it was charged already.
            user_id: whose address it is; None: nobody's, which costs the same.
            typed: the address.
            now: the present instant.
        """
        if charge.wait or not self._is_on:
            return charge
        key = self.account_key(user_id, f"beside {typed}")
        with self._database.unit() as connection:
            total = count_beside(connection, key, now, is_kept=user_id is not None)
        return replace(charge, beside_key=key, is_disabled=total > LOGIN.wrong_before_disabled)

    def turned_away(self, rule: Rule, address: str, now: Instant, *, target: str = "") -> int:
        """Return the microseconds that this process knows a window to take no charges; 0 where it must be asked.

        Asks nothing of the database and counts the refusal (rule 6).
        """
        if not self._is_on:
            return 0
        return self._known_wait([key for key, _ in self._windows(rule, address, target)], now)

    def _known_wait(self, keys: list[str], now: Instant) -> int:
        return next((wait for key in keys if (wait := self._spent.wait(key, now))), 0)

    def _windows(self, rule: Rule, address: str, target: str) -> Iterator[tuple[str, int]]:
        if rule.per_address:
            for prefix, factor in address_keys(address):
                yield f"{rule.name}@{prefix}", rule.per_address * factor
        if target:
            yield f"{rule.name}>{target}", rule.per_target

    def _refused(
        self, connection: Connection, key: str, window: WindowCharge, limit: int, charged: tuple[str, ...], now: Instant
    ) -> Charge:
        wait = window.wait(limit, now)
        if wait > STILL_JUDGED:
            self._spent.add(key, now + wait, now + wait)
        if charged:
            judged(connection, charged, now, refunded=1)
        return Charge(wait, first_refusal_of=(key, window.ends_at) if window.when_full == 1 else None)

    def _charge_account(
        self, connection: Connection, rule: Rule, key: str, window_keys: tuple[str, ...], now: Instant
    ) -> Charge:
        is_kept, first = self.is_total_kept(key), self.first_delay_of(key)
        lockout = charge_account(connection, key, now, is_kept=is_kept, first=first)
        return Charge(
            wait=max(lockout.blocked_until - now, 1) if lockout.is_refused else 0,  # never 0: that would be a charge
            is_disabled=lockout.is_disabled(rule.wrong_before_disabled),
            would_delay=lockout.blocked_until > now,
            account_key=key,
            window_keys=window_keys,
            lockout=lockout,
        )

    def _refused_in_delay(
        self, connection: Connection, rule: Rule, address: str, charge: Charge, now: Instant
    ) -> Charge:
        """Refuse an attempt at an account in its delay.

        A stranger's address keeps the charge and may be paused; people inside share theirs, and get it back.
        """
        refusal = Charge(charge.wait, lockout=charge.lockout)
        if rule.before_pause is None:
            judged(connection, charge.window_keys, now, refunded=1)
            return refusal
        narrowest = f"{rule.name}@{address_keys(address)[0][0]}"
        refused, ends_at = refuse_charged(connection, narrowest, now)
        judged(connection, (key for key in charge.window_keys if key != narrowest), now)
        if refused > rule.before_pause:
            self._spent.add(narrowest, ends_at, min(now + PAUSE, ends_at))
        return refusal

    # -- after it was checked -----------------------------------------------------------------------------------

    def give_back(self, charge: Charge, now: Instant) -> None:
        """Take the account's charge back: nothing was hashed, so nothing was wrong (rule 3)."""
        if charge.account_key and charge.lockout is not None:
            with self._database.unit() as connection:
                judged(connection, charge.window_keys, now)
                give_back(connection, charge.account_key, charge.lockout, self.first_delay_of(charge.account_key))
        if charge.beside_key:  # apart: only who holds the user's row holds two of a user's counters
            with self._database.unit() as connection:
                uncount(connection, charge.beside_key)

    def judge(self, connection: Connection, charge: Charge, now: Instant) -> None:
        """Say that the attempt was judged and is no full login: its charges stand."""
        if charge.window_keys:
            judged(connection, charge.window_keys, now)

    def refund(self, connection: Connection, charge: Charge, now: Instant) -> None:
        """Take back what address and target were charged: nothing was done."""
        if charge.window_keys:
            judged(connection, charge.window_keys, now, refunded=1)

    def settle(self, connection: Connection, charge: Charge, now: Instant) -> None:
        """After a full login: zero the account's counter, give one address charge back (rule 3).

        The caller holds the lock on the user's row.
        """
        if charge.account_key:
            settle(connection, charge.account_key, charge.window_keys, now)
        if charge.beside_key:
            uncount(connection, charge.beside_key)

    def earlier_login(self, user_id: int, address: str) -> Charge:
        """Return what the first step of a login was charged, to settle it when its second factor was right."""
        keys = sorted(key for key, _ in self._windows(LOGIN, address, ""))
        return Charge(account_key=self.account_key(user_id, ""), window_keys=tuple(keys)) if self._is_on else FREE

    def unlock(self, connection: Connection, user_id: int) -> None:
        """Zero a user's counters: an administrator or a command."""
        for key in (self.account_key(user_id, ""), *self._own_keys(user_id)):
            clear_account(connection, key)

    def unlock_password(self, connection: Connection, user_id: int) -> None:
        """Zero a user's counters of wrong passwords: a completed reset.

        It shows no second factor, so that its wrong answers stay counted: else who reads somebody's mail would guess
        codes for ever, a few after each reset (NIST SP 800-63B 3.2.2).
        """
        for key in (self.account_key(user_id, ""), self.mail_key(user_id, ""), self.inside_key(user_id)):
            clear_account(connection, key)

    def begin_anew(self, connection: Connection, method: str, user_id: int) -> None:
        """Zero the count of a second factor that was just enrolled: what was wrong before was another one's."""
        clear_account(connection, self.factor_key(method, user_id))

    def pardon(self, connection: Connection, user_id: int, now: Instant) -> None:
        """Zero a user's counters after a full login, save a running delay: else each would give guessers five more."""
        for key in (self.account_key(user_id, ""), *self._own_keys(user_id)):
            clear_rested(connection, key, now)

    def _own_keys(self, user_id: int) -> Iterator[str]:
        yield self.mail_key(user_id, "")
        yield self.inside_key(user_id)
        yield from (self.factor_key(method, user_id) for method in self._methods)

    def lockout_of(self, connection: Connection, user_id: int, device_id: int | None = None) -> Lockout:
        """Return the counter of wrong passwords of a known browser, or of a user, as it stands.

        Of a user's two, by name and by address, the one that waits longer.
        """
        if device_id is not None:
            return find_lockout(connection, self.device_key(device_id)) or Lockout(0, 0, 0)
        by_name, by_mail = (
            find_lockout(connection, key) or Lockout(0, 0, 0)
            for key in (self.account_key(user_id, ""), self.mail_key(user_id, ""))
        )
        later = max(by_name, by_mail, key=lambda found: found.blocked_until)
        return replace(later, total=by_name.total)

    def delayed_until(self, glance: Glance, account_key: str) -> Instant:
        """Return until when an account counter refuses, 0 where it does not: so that no place is taken for it."""
        found = find_lockout(glance, account_key) if self._is_on else None
        return found.blocked_until if found else 0
