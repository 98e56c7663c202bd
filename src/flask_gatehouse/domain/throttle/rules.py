"""The limits, as data."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import lru_cache

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE

WRONG_BEFORE_DELAY = 5
FIRST_DELAY = 30 * SECOND
LONGEST_DELAY = HOUR
WRONG_BEFORE_DISABLED = 100
"""NIST SP 800-63B 3.2.2: at most 100 consecutive failures on one account."""
WRONG_BEFORE_DEMOTED = 10
"""Wrong answers in a row after which a known browser is known no longer."""
STREAK_LIFE = 24 * HOUR
NAT64 = ipaddress.ip_network("64:ff9b::/96")
"""RFC 6052: all of IPv4 behind one /64."""
STILL_JUDGED = SECOND
"""What to wait while a window is full only of attempts that have not been judged yet."""
WINDOW = 10 * MINUTE
PAUSE = SECOND
"""How long a process takes no login from an address that went on in an account's delay (see `Rule.before_pause`).

Else many addresses at one account fill the app with what it must refuse.
"""


@dataclass(frozen=True, slots=True)
class Rule:
    """Limits of one endpoint.

    Attributes:
        name: part of the counters' keys.
        per_address: charges an IPv4 address or an IPv6 /64 has in one window; 0: addresses are not charged.
        per_target: charges one target has in one window.
        window: its length in microseconds.
        wrong_before_disabled: wrong answers in a row after which an account answers no more.
        is_judged: whether a charge counts as being judged until its outcome is told.
        before_pause: refusals of an address in one window before an attempt in an account's delay pauses it; None:
            such an attempt costs the address nothing.
    """

    name: str
    per_address: int = 20
    per_target: int = 10
    window: int = WINDOW
    wrong_before_disabled: int = WRONG_BEFORE_DISABLED
    is_judged: bool = False
    before_pause: int | None = None


LOGIN = Rule("login", is_judged=True, before_pause=2)
KNOWN_LOGIN = Rule("known", per_address=0, per_target=20, wrong_before_disabled=WRONG_BEFORE_DEMOTED)
"""Logins from a browser that the user has logged in with before: a budget of its own, whatever the address (rule 4)."""
PASSKEY = Rule("passkey", per_address=100)
"""Logins by passkey: no password's counter is asked (rule 4), and nobody guesses a signature."""
KNOWN_PASSKEY = Rule("known-passkey", per_address=0, per_target=20)
"""The same from a browser that somebody has logged in with before, whatever its address."""
REGISTER = Rule("register")
STEP_UP = Rule("step-up", per_address=60)
CHANGE = Rule("change", per_address=60)
RESET = Rule("reset")
FORGOT = Rule("forgot", per_target=3)
"""Links for a forgotten password; the target is what was typed, somebody's or not."""
VERIFY = Rule("verify")
ADDRESS = Rule("address", per_target=3)
"""Mails that are to verify an address; the target is the address, whoever names it."""
ALARM = Rule("alarm", per_address=0, per_target=5, window=STREAK_LIFE, is_judged=True)
"""Alarms of one user; what raises none costs nothing: else a thief's presses would use up the owner's."""
DENIAL = Rule("denied", per_target=20)
"""Refusals of one user that are recorded one by one; the next says that more follow."""
FIRSTS = Rule("firsts", per_target=100)
"""First failures of a window that are recorded one by one, whoever they concern; it bounds spraying (rule 28)."""
FIRSTS_KEY, TOLD_KEY = f"{FIRSTS.name}>all", f"{FIRSTS.name}>told"
"""Counters of what was recorded one by one, with the rest as refusals, and of what was told one by one."""
REST = "rest>"
"""Begins the key of what was not told one by one: a number for each kind."""


def first_delay(login_name: str) -> int:
    """Return how long an account waits after the fifth wrong password in a row, in microseconds (ASVS V6.3.1).

    Where a name and an address lead to one account, each has a row of its own and a guesser has both: each waits twice
    as long, so that both together are good for no more than ten guesses a minute.

    Args:
        login_name: `GATEHOUSE_LOGIN_NAME`.
    """
    return FIRST_DELAY if login_name == "username" else 2 * FIRST_DELAY


def delay_after(wrong: int, first: int) -> int:
    """Return how long an account waits after so many wrong answers in a row, in microseconds: doubling, up to 1 h.

    Args:
        wrong: how many.
        first: the delay after the fifth, in microseconds.
    """
    if wrong < WRONG_BEFORE_DELAY:
        return 0
    doublings = min(wrong - WRONG_BEFORE_DELAY, 16)
    return min(first << doublings, LONGEST_DELAY)


@lru_cache(maxsize=1024)  # bounded, for strangers choose the addresses
def address_keys(address: str) -> tuple[tuple[str, int], ...]:
    """Return the prefixes an address is charged to, narrowest first, each with the factor of its limit.

    IPv6 charges its /64, /56 and /48; an address that maps an IPv4 one, by `::ffff:` or by NAT64, is that one.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return (("unknown", 1),)
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    if parsed in NAT64:
        parsed = ipaddress.IPv4Address(parsed.packed[-4:])
    if isinstance(parsed, ipaddress.IPv4Address):
        return ((str(parsed), 1),)
    prefixes = ((64, 1), (56, 4), (48, 16))
    return tuple((str(ipaddress.ip_network((parsed, length), strict=False)), factor) for length, factor in prefixes)
