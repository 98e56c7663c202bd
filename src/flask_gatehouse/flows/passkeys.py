"""Enrol, rename and remove passkeys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask_gatehouse.domain import throttle
from flask_gatehouse.domain.audit import Event
from flask_gatehouse.domain.factors import outstanding, passkey_rows
from flask_gatehouse.domain.factors.passkey_challenges import ENROL, Bound
from flask_gatehouse.domain.factors.passkey_rows import MOST, NAME_MAX, Doubt
from flask_gatehouse.kernel.identity import HAS, Actor, Identity, Proof, Source, renewed

from . import ceremonies, revoke
from .ceremonies import METHODS
from .factor_changes import (
    PROVE_BOTH,
    PROVE_OTHER,
    Held,
    first_codes,
    forget_spare_codes,
    has_other_proof,
    hold,
    owes_proof_within,
    record,
)
from .outcomes import Refusal, Refused, refused, refused_value
from .seeds import PASSKEY, Enrolled

if TYPE_CHECKING:
    from flask_gatehouse.domain.factors.passkey_rows import NewPasskey, Passkey
    from flask_gatehouse.domain.sessions import Issued

    from .services import Services, Unit

NOT_TAKEN = "This passkey cannot be taken. Reload the page and try again."
ENOUGH = f"You have {MOST} passkeys already: remove one first."
LONG_NAME = f"A name has 1 to {NAME_MAX} characters."


def offer(services: Services, identity: Identity) -> str:
    """Return what the browser is to make a passkey from, as JSON; `""` where no name of this site has any."""
    factor, party = ceremonies.passkeys_of(services), ceremonies.party_of(services)
    if factor is None or party is None:
        return ""
    with services.reading() as connection:
        known = passkey_rows.of_user(connection, identity.user_id)
    bound = Bound(ENROL, identity.session_id, identity.user_id, factor.handles(known, identity.user_id)[0])
    return factor.ask_new(party, bound, identity.username, known, services.clock.now())


def confirm(
    services: Services, identity: Identity, secret: str, text: str, name: str, source: Source
) -> Enrolled | Refused:
    """Enrol the passkey that an authenticator has made for this session.

    With the first factor all other sessions end, and recovery codes are made. Who has one already proves it first.

    Args:
        services: the app's services.
        identity: who holds the session.
        secret: the session's present secret.
        text: what the browser sent.
        name: what the user calls the passkey.
        source: where the request comes from.
    """
    if not _is_name(name):
        return refused_value("name", LONG_NAME)
    charge = services.throttle.spend(throttle.STEP_UP, source.address, services.clock.now())
    if charge.wait:
        return refused(Refusal.THROTTLED, wait=charge.wait)
    made = _check(services, identity, text)
    with services.unit() as unit:
        held = hold(services, unit, identity, secret)
        if isinstance(held, Refused):
            return held
        if len(passkey_rows.of_user(unit.connection, identity.user_id)) >= MOST:
            return refused_value("passkey", ENOUGH)
        if owes_proof_within(services, unit.connection, identity):
            return refused_value("factor", PROVE_BOTH)
        is_first = not outstanding(unit.connection, services.factors, identity.user_id)
        doubt = made if isinstance(made, Doubt) else _store(unit, identity, made, name)
        if doubt is not None:
            event = Event("factor.refused", Actor.of(identity), identity.user_id, source, identity.session_id)
            ceremonies.record_doubt(unit, event, doubt)
            return refused_value("passkey", NOT_TAKEN)
        gone_on = _go_on(services, unit, identity, held, is_first=is_first)
        if isinstance(gone_on, Refused):
            return gone_on
        issued, ended = gone_on
        record(unit, "factor.enrolled", identity, source, method=PASSKEY, name=name, sessions_ended=list(ended))
        return Enrolled(issued, first_codes(services, unit, identity, source))


def _check(services: Services, identity: Identity, text: str) -> NewPasskey | Doubt:
    factor, party = ceremonies.passkeys_of(services), ceremonies.party_of(services)
    if factor is None or party is None:
        return Doubt.MALFORMED
    with services.reading() as connection:
        known = passkey_rows.of_user(connection, identity.user_id)
    handles = factor.handles(known, identity.user_id)
    bounds = [Bound(ENROL, identity.session_id, identity.user_id, handle) for handle in handles]
    return factor.check_new(party, bounds, text, services.clock.now())


def _store(unit: Unit, identity: Identity, made: NewPasskey, name: str) -> Doubt | None:
    if not passkey_rows.burn(unit.connection, made.question, unit.now):
        return Doubt.USED
    return None if passkey_rows.add(unit.connection, identity.user_id, made, name, unit.now) else Doubt.TAKEN


def _go_on(
    services: Services, unit: Unit, identity: Identity, held: Held, *, is_first: bool
) -> tuple[Issued, tuple[str, ...]] | Refused:
    """Give the acting session a new id; with the first factor the others end, and are returned."""
    epoch: int = held.epoch
    ended: tuple[str, ...] = ()
    if is_first:  # whoever came in by the password alone is to show the factor as well
        epoch, ended = revoke.everything_of(services, unit, identity.user_id, but=held.row.public_id)
    proofs = renewed(identity.proofs, Proof(PASSKEY, unit.now, HAS))  # nothing signed says who was verified
    issued = services.sessions.rotate(unit.connection, held.row, unit.now, proofs=proofs, epoch=epoch)
    return refused(Refusal.GONE) if issued is None else (issued, ended)


def listed(services: Services, identity: Identity) -> list[Passkey]:
    """Return one's own passkeys, oldest first."""
    with services.reading() as connection:
        return passkey_rows.of_user(connection, identity.user_id)


def rename(services: Services, identity: Identity, passkey_id: int, name: str, source: Source) -> Refused | None:
    """Give a passkey of one's own another name."""
    if not _is_name(name):
        return refused_value("name", LONG_NAME)
    now, target = services.clock.now(), f"passkey:{identity.user_id}"
    charge = services.throttle.spend(throttle.CHANGE, source.address, now, target=target)
    if charge.wait:  # each time is a row of the log for ever
        return refused(Refusal.THROTTLED, wait=charge.wait)
    with services.unit() as unit:
        if not passkey_rows.rename(unit.connection, identity.user_id, passkey_id, name):
            return refused(Refusal.NOT_FOUND)
        record(unit, "factor.renamed", identity, source, method=PASSKEY, name=name)
        return None


def remove(services: Services, identity: Identity, secret: str, passkey_id: int, source: Source) -> Issued | Refused:
    """Remove a passkey of one's own; all other sessions end, and the recovery codes go with the last factor.

    Asks for a fresh proof of something else: whoever found a key lying about does not remove the others with it.
    """
    if not has_other_proof(services, identity, METHODS):
        return refused_value("factor", PROVE_OTHER)
    with services.unit() as unit:
        held = hold(services, unit, identity, secret)
        if isinstance(held, Refused):
            return held
        name = passkey_rows.remove(unit.connection, identity.user_id, passkey_id)
        if name is None:
            return refused(Refusal.NOT_FOUND)
        forget_spare_codes(services, unit, identity.user_id)
        epoch, ended = revoke.everything_of(services, unit, identity.user_id, but=held.row.public_id)
        proofs = ceremonies.without_passkey(identity.proofs)
        issued = services.sessions.rotate(unit.connection, held.row, unit.now, proofs=proofs, epoch=epoch)
        if issued is None:
            return refused(Refusal.GONE)
        record(unit, "factor.removed", identity, source, method=PASSKEY, name=name, sessions_ended=list(ended))
        return issued


def _is_name(name: str) -> bool:
    return 0 < len(name) <= NAME_MAX
