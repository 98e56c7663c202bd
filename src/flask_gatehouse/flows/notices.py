"""What users hear about their account by mail, and of which login they hear what (ASVS V6.3.5, V6.3.7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask_gatehouse.domain.mail import Letter
from flask_gatehouse.kernel.clock import as_text

if TYPE_CHECKING:
    from flask_gatehouse.kernel.clock import Instant
    from flask_gatehouse.kernel.identity import Source

DORMANT_MICROS = 90 * 24 * 60 * 60 * 1_000_000
"""A login after so long without one is told, from a known browser too."""
NEW_BROWSER, AFTER_WRONG, AFTER_LONG = "new_browser", "login_after_wrong", "login_after_long"
UNFINISHED = "login_unfinished"


def notice(
    template: str, user_id: int | None, source: Source, *, address: str | None = None, **facts: object
) -> Letter:
    """Return a mail that says from where something was done, besides when.

    Args:
        template: the mail's name.
        user_id: whom it is about; None: nobody, and it is never sent.
        source: where the request comes from.
        address: where it goes; None: where the user is told of things.
        facts: more that the mail tells, never a secret.
    """
    told = {"browser": source.agent, "ip": source.address, **facts}
    return Letter(template, user_id, address, {key: value for key, value in told.items() if value != ""})


def unfinished(user_id: int, source: Source, public_id: str, after: int) -> Letter:
    """Return a mail about a login that got no further than the password; it waits, and is withdrawn where it does.

    Args:
        user_id: whose password was right.
        source: where the request comes from.
        public_id: of the pending login.
        after: microseconds until it has ended.
    """
    told = notice(UNFINISHED, user_id, source, session=public_id)
    return Letter(told.template, told.user_id, None, told.facts, after)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What makes a login worth a mail.

    Attributes:
        wrong: logins in a row that failed before it, so many that further ones had to wait; 0: fewer.
        is_new: whether the browser was not known.
        last_at: when the user had last logged in with a browser that is still known; None: with none, or unknown.
    """

    wrong: int = 0
    is_new: bool = False
    last_at: Instant | None = None


def of_login(user_id: int, source: Source, now: Instant, found: Circumstances) -> Letter | None:
    """Return the one mail that a login is worth, the gravest reason first (ASVS V6.3.5); None: it is an everyday one.

    Args:
        user_id: who logged in.
        source: where the request comes from.
        now: the time of the login.
        found: what is known of it and of those before.
    """
    if found.wrong:
        return notice(AFTER_WRONG, user_id, source, wrong=found.wrong)
    if found.is_new:
        return notice(NEW_BROWSER, user_id, source)
    if found.last_at is not None and now - found.last_at >= DORMANT_MICROS:
        return notice(AFTER_LONG, user_id, source, last=as_text(found.last_at))
    return None
