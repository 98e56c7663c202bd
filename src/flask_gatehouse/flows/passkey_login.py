"""Log in by a passkey alone, without a name: the authenticator has made sure of its user (rule 32).

It asks nothing of the password's counters: a passkey gets in while strangers guess (rule 4), and says nothing about
their guesses, so that none of them is forgiven.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask_gatehouse.domain import devices, passwords, throttle
from flask_gatehouse.domain.audit import Event
from flask_gatehouse.domain.factors.passkey_challenges import LOGIN, Bound
from flask_gatehouse.domain.factors.passkey_rows import Doubt
from flask_gatehouse.kernel.identity import GUEST

from . import ceremonies, failures, opening
from .outcomes import Refusal, Refused, refused

if TYPE_CHECKING:
    from flask_gatehouse.domain.factors.passkey_rows import Shown
    from flask_gatehouse.domain.sessions import Issued

    from .opening import Attempt
    from .services import Services, Unit


def offer(services: Services, place: str) -> str:
    """Return what a guest's browser is to ask, as JSON; `""` where this site has no passkeys.

    Args:
        services: the app's services.
        place: what the CSRF tokens of the browser are made of.
    """
    factor, party = ceremonies.passkeys_of(services), ceremonies.party_of(services)
    if factor is None or party is None:
        return ""
    return factor.ask(party, Bound(LOGIN, place), [], services.clock.now())


def begin(services: Services, place: str, text: str, attempt: Attempt) -> Issued | Refused:
    """Check the answer of a passkey and open a session.

    Args:
        services: the app's services.
        place: what the CSRF tokens of the browser are made of.
        text: what the browser sent.
        attempt: what comes along.

    Returns:
        The session; or a refusal that says nothing about who has an account (rule 9).
    """
    now, source = services.clock.now(), attempt.source
    rule = throttle.KNOWN_PASSKEY if attempt.device else throttle.PASSKEY
    charge = services.throttle.spend(rule, source.address, now, target=_target(attempt))
    if charge.wait:
        event = Event("login.throttled", GUEST, source=source, outcome="refused")
        failures.record_throttled(services, charge, _concerned(services, event), event)
        return refused(Refusal.THROTTLED, wait=charge.wait)
    shown = ceremonies.check(services, Bound(LOGIN, place), text)
    with services.unit() as unit:
        if isinstance(shown, Doubt):
            return _failed(services, unit, shown, None, attempt)
        return _decide(services, unit, shown, attempt)


def _target(attempt: Attempt) -> str:
    return devices.target(attempt.device) if attempt.device else ""


def _decide(services: Services, unit: Unit, shown: Shown, attempt: Attempt) -> Issued | Refused:
    user_id, previous = shown.passkey.user_id, attempt.previous
    stored = passwords.lock_credential(unit.connection, user_id, previous.user_id if previous else None)
    proofs = ceremonies.take(unit, shown)  # burnt whatever comes of it
    if isinstance(proofs, Doubt):
        return _failed(services, unit, proofs, user_id, attempt)
    if not shown.is_user_verified:  # a thing that somebody has, and nothing more
        return _failed(services, unit, Doubt.UNVERIFIED, user_id, attempt)
    if stored is None or not stored.is_active:
        return _failed(services, unit, Doubt.CLOSED, user_id, attempt)
    return opening.open_session(services, unit, stored, proofs, attempt)


def _failed(services: Services, unit: Unit, doubt: Doubt, user_id: int | None, attempt: Attempt) -> Refused:
    told = ceremonies.doubted(Event("login.failed", GUEST, user_id, attempt.source), doubt)
    ceremonies.raise_alarm(unit, told, doubt)
    failures.record(services, unit, _concerned(services, told), told)
    return refused(Refusal.UNVERIFIED if doubt is Doubt.UNVERIFIED else Refusal.CREDENTIALS)


def _concerned(services: Services, event: Event) -> str:
    """Return by what a failure is counted: whom it concerns, where that is known, else where it came from."""
    return f"@{event.source.address}" if event.user_id is None else services.throttle.account_key(event.user_id, "")
