"""What flows about passkeys share: what a browser is asked, what its answer proves, what is told of one that fails."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from flask_gatehouse.domain.audit import Event
from flask_gatehouse.domain.factors import passkey_rows
from flask_gatehouse.domain.factors.passkey_rows import Doubt
from flask_gatehouse.domain.factors.relying_party import relying_party
from flask_gatehouse.kernel.identity import HAS, IS, Proof, renewed

from .seeds import PASSKEY, factor_of

if TYPE_CHECKING:
    from flask_gatehouse.domain.factors.passkey import Passkeys
    from flask_gatehouse.domain.factors.passkey_challenges import Bound
    from flask_gatehouse.domain.factors.passkey_rows import Shown
    from flask_gatehouse.domain.factors.relying_party import RelyingParty

    from .services import Services, Unit

VERIFIED = "user_verified"
"""Proof beside that of a passkey: the authenticator itself made sure of its user."""
METHODS = frozenset({PASSKEY, VERIFIED})


def passkeys_of(services: Services) -> Passkeys | None:
    """Return the factor `passkey`, None where the feature is off."""
    return cast("Passkeys | None", factor_of(services, PASSKEY))


def party_of(services: Services) -> RelyingParty | None:
    """Return who the site is to authenticators, from its settings."""
    return relying_party(services.settings.origins)


def ask(services: Services, bound: Bound) -> str:
    """Return what the browser of a user is to ask their passkeys, as JSON; `""` where they have none."""
    factor, party = passkeys_of(services), party_of(services)
    if factor is None or party is None or bound.user_id is None:
        return ""
    with services.reading() as connection:
        known = passkey_rows.of_user(connection, bound.user_id)
    return factor.ask(party, bound, known, services.clock.now()) if known else ""


def check(services: Services, bound: Bound, text: str) -> Shown | Doubt:
    """Check an answer outside any transaction; what is right counts once it was taken.

    Args:
        services: the app's services.
        bound: what was asked.
        text: what the browser sent.
    """
    factor, party = passkeys_of(services), party_of(services)
    name = None if factor is None else factor.credential_id(text)
    if factor is None or party is None or name is None:
        return Doubt.MALFORMED
    with services.reading() as connection:
        passkey = passkey_rows.find(connection, name)
    return factor.check(party, bound, text, passkey, services.clock.now())


def take(unit: Unit, shown: Shown) -> tuple[Proof, ...] | Doubt:
    """Burn the challenge, note the counter and return what was proven, or why it was not.

    The caller holds the user's row.
    """
    if not passkey_rows.burn(unit.connection, shown.question, unit.now):
        return Doubt.USED
    doubt = passkey_rows.use(unit.connection, shown, unit.now)
    if doubt is not None:
        return doubt
    has = Proof(PASSKEY, unit.now, HAS)
    return (has, Proof(VERIFIED, unit.now, IS)) if shown.is_user_verified else (has,)


def all_renewed(proofs: tuple[Proof, ...], shown: tuple[Proof, ...]) -> tuple[Proof, ...]:
    """Return the proofs of a session with what was shown just now."""
    for proof in shown:
        proofs = renewed(proofs, proof)
    return proofs


def without_passkey(proofs: tuple[Proof, ...]) -> tuple[Proof, ...]:
    """Return the proofs of a session without those of a passkey."""
    return tuple(proof for proof in proofs if proof.method not in METHODS)


def doubted(event: Event, doubt: Doubt) -> Event:
    """Return the event of an answer that does not count, with the reason."""
    return replace(event, outcome="refused", detail={"method": PASSKEY, "why": doubt.value})


def record_doubt(unit: Unit, event: Event, doubt: Doubt) -> None:
    """Record an answer that does not count, and an alarm where it is one."""
    told = doubted(event, doubt)
    unit.record(told)
    raise_alarm(unit, told, doubt)


def raise_alarm(unit: Unit, told: Event, doubt: Doubt) -> None:
    """Record by an event of its own that a passkey may have been copied, or that its row was changed."""
    about = (told.actor, told.user_id, told.source, told.session_id, told.outcome, told.detail)
    if doubt is Doubt.COPIED:
        unit.record(Event("passkey.copied", *about))
    if doubt is Doubt.ALTERED:
        unit.record(Event("passkey.altered", *about))
