"""Send the mail that waits: make its link, put it into words, hand it over; later again where that fails (rule 31)."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask_gatehouse.domain import mail, tokens, users
from flask_gatehouse.domain.audit import Event
from flask_gatehouse.domain.mail import Envelope, RejectedError
from flask_gatehouse.kernel.clock import as_text
from flask_gatehouse.kernel.errors import DatabaseUnavailableError
from flask_gatehouse.kernel.identity import SYSTEM

from . import unconfirmed

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask_gatehouse.domain.mail import Courier, Unsent, Waiting
    from flask_gatehouse.domain.users import UserRecord

    from .services import Services, Unit

SECOND = 1_000_000
FAILURES_IN_A_ROW = 3
"""So many times that the server could not be talked to, one after the other, end a round: it is down.

A mail that it does not take now is none of them: whoever names a few such addresses would hold up everybody's mail.
"""
APART = 60 * SECOND
"""Between two mails with a link for a forgotten password to one user."""
AGAIN_SECONDS = 60.0

log = logging.getLogger("flask_gatehouse.mail")


@dataclass(slots=True)
class Delivered:
    """What became of the mails of one round.

    Attributes:
        sent: handed over.
        dropped: not sent, as what they tell of counts no longer, or nobody is to get them.
        failed: not handed over.
        is_down: whether the round ended before all were tried.
    """

    sent: int = 0
    dropped: int = 0
    failed: int = 0
    is_down: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class _Ready:
    """A mail whose link is made.

    Attributes:
        template: the one that is used, perhaps another than was asked for.
        page: where the link leads, `""` for a mail without one.
    """

    waiting: Waiting
    template: str
    username: str
    page: str = ""
    secret: str = ""


def deliver(services: Services, *, is_forced: bool = False, progress: Callable[[int], None] | None = None) -> Delivered:
    """Send what is due.

    Args:
        services: the app's services.
        is_forced: also what waits longer because it could not be handed over before.
        progress: called with the number of mails looked at so far.

    Raises:
        DatabaseUnavailableError: what is not sent yet stays.
    """
    told, after, in_a_row = Delivered(), 0, 0
    with services.mailer.courier() as courier:
        while True:
            with services.reading() as connection:
                found = mail.due(connection, services.clock.now(), after=after, is_forced=is_forced)
            if not found:
                return told
            for unsent in found:
                is_silent = _tried(services, courier, unsent, told, is_forced=is_forced)
                in_a_row = in_a_row + 1 if is_silent else 0
                if progress is not None:
                    progress(told.sent + told.dropped + told.failed)
                if in_a_row == FAILURES_IN_A_ROW:
                    told.is_down = True
                    return told
            after = found[-1].id


def work(services: Services) -> float | None:
    """Send what is due, for the postman; return after how many seconds more will be, None where nothing waits.

    Where people register by mail, this is also when those who never confirmed the address go.
    """
    told = deliver(services)
    unconfirmed.close_batch(services)
    if told.is_down:
        return AGAIN_SECONDS
    with services.reading() as connection:
        due_at = mail.next_due_at(connection)
    return None if due_at is None else (due_at - services.clock.now()) / SECOND


def _tried(services: Services, courier: Courier, unsent: Unsent, told: Delivered, *, is_forced: bool) -> bool:
    """Look after a mail as `_one` does; a row that cannot be read, or a bug that one meets, stops no other."""
    try:
        return _one(services, courier, unsent, told, is_forced=is_forced)
    except DatabaseUnavailableError:
        raise
    except Exception as error:  # noqa: BLE001 - as above: it was rolled back, and would come first again for ever
        log.error("mail %d cannot be looked after: %s", unsent.id, type(error).__name__)
    told.failed += 1
    with services.unit() as unit:
        mail.set_aside(unit.connection, unsent.id, unit.now)
    return False


def _one(services: Services, courier: Courier, unsent: Unsent, told: Delivered, *, is_forced: bool) -> bool:
    """Send a mail, or note why it was not; return whether the server could not be talked to."""
    with services.unit() as unit:
        owner = None if unsent.user_id is None else users.find(unit.connection, unsent.user_id, lock=True)
        waiting = mail.claim(unit.connection, unsent.id, unit.now, is_forced=is_forced)
        if waiting is None:
            return False
        ready = _prepared(services, unit, owner, waiting)
        if ready is None:
            mail.drop(unit.connection, waiting.id)
            told.dropped += 1
            return False
    try:
        courier.send(_envelope(services, ready))
    except Exception as error:  # noqa: BLE001 - a server, a network or a template of the host: none may stop the others
        _failed(services, ready, error)
        told.failed += 1
        return isinstance(error, OSError)
    told.sent += 1
    with services.unit() as unit:
        mail.drop(unit.connection, waiting.id)
    return False


def _failed(services: Services, ready: _Ready, error: Exception) -> None:
    """Try again later, or give up; who was to get it stays out of the log."""
    waiting, why = ready.waiting, type(error.__cause__ or error).__name__
    log.warning("mail %d (%s) was not handed over: %s", waiting.id, waiting.template, why)
    with services.unit() as unit:
        if isinstance(error, RejectedError):
            _give_up(unit, waiting, why)
            return
        mail.postpone(unit.connection, waiting, unit.now)
        if waiting.tries == 1:
            _record(unit, waiting, why, is_given_up=False)


def _give_up(unit: Unit, waiting: Waiting, why: str) -> None:
    mail.drop(unit.connection, waiting.id)
    _record(unit, waiting, why, is_given_up=True)


def _record(unit: Unit, waiting: Waiting, why: str, *, is_given_up: bool) -> None:
    detail = {"template": waiting.template, "why": why, "tries": waiting.tries, "given_up": is_given_up}
    unit.record(Event("mail.failed", SYSTEM, waiting.user_id, outcome="refused", detail=detail))


# --- what is sent ------------------------------------------------------------------------------------------


def _prepared(services: Services, unit: Unit, owner: UserRecord | None, waiting: Waiting) -> _Ready | None:
    """Make the link of a mail, or return None where it is not to be sent any more."""
    if owner is not None and waiting.template == mail.CLOSED and not waiting.is_late(unit.now):
        return _Ready(waiting, waiting.template, str(waiting.facts.get("name", "")))  # the row has no name any more
    if owner is None or not owner.is_active:
        return None
    if waiting.is_late(unit.now):
        _record(unit, waiting, "too late", is_given_up=True)
        return None
    if waiting.template == mail.RESET:
        return _reset(services, unit, owner, waiting)
    if waiting.template == mail.VERIFY:
        return _verification(unit, owner, waiting)
    if waiting.template == mail.VERIFY_SECOND:
        return _second_verification(unit, owner, waiting)
    return _Ready(waiting, waiting.template, owner.username)


def _reset(services: Services, unit: Unit, owner: UserRecord, waiting: Waiting) -> _Ready | None:
    """Make a link for a forgotten password, if name, address and epoch are still those it was asked for."""
    if waiting.address not in owner.verified_addresses or waiting.facts.get("epoch") != owner.epoch:
        return None
    newest = tokens.newest_at(unit.connection, tokens.RESET_PASSWORD, owner.id, waiting.address)
    if waiting.tries == 1 and newest is not None and newest > unit.now - APART:
        return None  # one was sent a moment ago: whoever asks in a row fills nobody's mailbox
    secret = tokens.issue_link(
        unit.connection,
        tokens.Terms(tokens.RESET_PASSWORD, owner.id, owner.epoch, waiting.address),
        now=unit.now,
        ends_at=unit.now + tokens.life_of(services.settings.profile),
    )
    unit.record(Event("password.reset_link", SYSTEM, owner.id, detail={"reason": "asked for by mail"}))
    return _Ready(waiting, waiting.template, owner.username, "reset_password", secret)


def _verification(unit: Unit, owner: UserRecord, waiting: Waiting) -> _Ready | None:
    """Make a link that verifies an address; one that is another user's already hears of it instead."""
    if waiting.facts.get("epoch") != owner.epoch:
        return None
    holder = users.find_by_email(unit.connection, waiting.address)
    if holder is not None and holder.id == owner.id:
        return None
    ready = _with_verifying_link(unit, owner, waiting, tokens.VERIFY_EMAIL)
    if holder is not None:  # nobody is given the secret: but an address that is asked for waits alike, whosever it is
        return _Ready(waiting, "address_taken", holder.username)
    return ready


def _second_verification(unit: Unit, owner: UserRecord, waiting: Waiting) -> _Ready | None:
    """Make a link that verifies a second address; whose first one it may be makes no difference."""
    is_there = waiting.address in owner.verified_addresses
    if is_there or waiting.facts.get("epoch") != owner.epoch:
        return None
    return _with_verifying_link(unit, owner, waiting, tokens.VERIFY_SECOND)


def _with_verifying_link(unit: Unit, owner: UserRecord, waiting: Waiting, purpose: str) -> _Ready:
    terms = tokens.Terms(purpose, owner.id, owner.epoch, waiting.address)
    secret = tokens.issue_link(unit.connection, terms, now=unit.now, ends_at=unit.now + tokens.VERIFY_MICROS)
    return _Ready(waiting, waiting.template, owner.username, "verify_email", secret)


def _envelope(services: Services, ready: _Ready) -> Envelope:
    waiting = ready.waiting
    facts = {**waiting.facts, "username": ready.username, "address": waiting.address}
    facts |= {"when": as_text(waiting.created_at)}
    life = tokens.VERIFY_MICROS if ready.page == "verify_email" else tokens.life_of(services.settings.profile)
    if ready.page:
        facts |= {"link": services.writer.link(ready.page, ready.secret), "minutes": life // tokens.MINUTE}
    written = services.writer.write(ready.template, facts)
    return Envelope(waiting.address, written.subject, written.text, written.html)
