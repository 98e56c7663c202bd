"""Administrators' page of the audit log: what is looked for, a page at a time, and whether its chain agrees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flask import request

from flask_gatehouse.domain import users
from flask_gatehouse.domain.audit import KINDS, Entry, Finding, Found, Verified, Wanted, address_of
from flask_gatehouse.flows import verify_log
from flask_gatehouse.flows.outcomes import Refused
from flask_gatehouse.http.context import here, services, wired
from flask_gatehouse.http.labels import requires
from flask_gatehouse.http.respond import answered, invalid, page, refused
from flask_gatehouse.kernel.clock import as_text
from flask_gatehouse.kernel.identity import Actor

from . import console_forms
from .shown import PER_PAGE, facts_of, in_words, present_identity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask.typing import ResponseReturnValue

LISTED_AT_MOST = 3
LONGEST = 200
NOBODY = "No user has this login name."
NONE = Found([], 0)


@dataclass(frozen=True, slots=True)
class LogRow:
    """A row of the log as its page shows it.

    Attributes:
        entry: what stands in the database.
        text: what happened, in a sentence.
        about: the present login name of whom it is about; empty: of nobody, or of somebody who is no longer there.
        reason: what was given as the reason.
        facts: other small facts, each with its name.
        network: its address where that can be looked for; empty: it cannot.
    """

    entry: Entry
    text: str
    about: str
    reason: str
    facts: tuple[tuple[str, str], ...]
    network: str


@requires("audit:read")
def show_log() -> ResponseReturnValue:
    """Show events, newest first."""
    listed = console_forms.AuditForm(request.args)
    status = 200 if listed.validate() else 422
    return page("admin_audit.html", status, form=console_forms.VerifyForm(), **_context(listed))


@requires("audit:read", fresh=True)
def verify() -> ResponseReturnValue:
    """Verify the newest part of the chain, and show what came of it above the list that it was asked from."""
    listed, form = console_forms.AuditForm(request.args), console_forms.VerifyForm.of_request()
    listed.validate()
    if not form.validate():
        return invalid(form, "admin_audit.html", **_context(listed))
    actor = Actor.of(present_identity())
    outcome = verify_log.verify_newest(services(), actor, form.head.data, here().source)
    if isinstance(outcome, Refused):
        return refused(outcome, "admin_audit.html", form=form, **_context(listed))
    return answered("admin_audit.html", _told(outcome), form=form, outcome=outcome, **_context(listed))


def _told(outcome: Verified | Finding) -> dict[str, object]:
    """Return what `gatehouse audit verify --json` prints, and how much of the chain it is about."""
    if isinstance(outcome, Finding):
        return {"agrees": False, "row": outcome.event_id, "finding": outcome.text}
    first, is_whole = outcome.before.id + 1, outcome.is_whole
    return {"agrees": True, "rows": outcome.rows, "head": str(outcome.end), "first": first, "is_whole": is_whole}


def _context(listed: console_forms.AuditForm) -> dict[str, Any]:
    found, names, note = _found(listed)
    query = {} if listed.errors else {field.name: field.data for field in listed if field.data}
    return {
        "listed": listed,
        "query": query,
        "is_filtered": bool(query.keys() - {"before"}),
        "rows": [_row(entry, names) for entry in found.entries],
        "before": found.before,
        "note": note,
        "kinds": sorted(KINDS),
        "rows_at_most": verify_log.ROWS_AT_MOST,
        "is_fresh": wired().is_fresh(present_identity()),
    }


def _found(listed: console_forms.AuditForm) -> tuple[Found, dict[int, str], str]:
    """Return a page of events, names of whom they are about, and why there are none where that can be told."""
    if listed.errors:
        return NONE, {}, ""
    name, user = listed.username.data, None
    with services().reading() as connection:
        if name:
            user = users.find_by_name(connection, name)
            if user is None:
                return NONE, {}, NOBODY
        wanted = Wanted(
            user.id if user else None, listed.kind.data, listed.address.canonical, listed.since.at, listed.until.at
        )
        found = services().audit.page(connection, wanted, before=listed.before.number, limit=PER_PAGE)
        about = {entry.user_id for entry in found.entries if entry.user_id is not None}
        return found, users.names_of(connection, about), ""


def _row(entry: Entry, names: dict[int, str]) -> LogRow:
    facts = facts_of(entry)
    reason = str(facts.pop("reason", ""))
    about = names.get(entry.user_id, "") if entry.user_id is not None else ""
    return LogRow(entry, in_words(entry), about, reason, tuple(_shown(facts)), _network(entry.address))


def _shown(facts: dict[str, object]) -> Iterator[tuple[str, str]]:
    """Yield facts as text, long ones cut short: the command `gatehouse audit list` has them whole."""
    for name, value in facts.items():
        if value is None:
            continue
        values = [str(one) for one in value] if isinstance(value, list) else [_value(name, value)]
        text = ", ".join(values[:LISTED_AT_MOST])
        more = len(values) - LISTED_AT_MOST
        text = f"{text} and {more} more" if more > 0 else text
        if text:
            yield name.replace("_", " "), text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _value(name: str, value: object) -> str:
    """Return a fact as text; older rows hold the end of a grant as an instant."""
    return as_text(value) if name == "until" and type(value) is int else str(value)


def _network(text: str) -> str:
    try:
        return address_of(text)
    except ValueError:
        return ""
