"""What several pages show: who is asking, what a password may be, rows of the audit log."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from flask_gatehouse.domain.audit import KINDS
from flask_gatehouse.domain.passwords.rules import GUIDANCE
from flask_gatehouse.flows import seeds
from flask_gatehouse.http.context import here, services
from flask_gatehouse.kernel.identity import AAL2, Identity, assurance

if TYPE_CHECKING:
    from flask_wtf import FlaskForm

    from flask_gatehouse.domain.audit import Entry
    from flask_gatehouse.kernel.clock import Instant

PER_PAGE = 50
PUBLIC_ID = re.compile(r"[0-9a-f]{16}")
"""What the public id of a session looks like: nothing else is asked for."""
BIGGEST_ID = 2**63 - 1
"""The largest id that both databases can hold."""


@dataclass(frozen=True, slots=True)
class ShownEntry:
    """A row of the audit log as a page shows it.

    Attributes:
        text: what happened, in a sentence.
        actor: who did it, where that is somebody else.
        reason: what was given as the reason.
    """

    at: Instant
    text: str
    actor: str
    address: str
    agent: str
    reason: str = ""


def errors_in_words(form: FlaskForm) -> str:
    """Return what cannot be taken of a form that stands in the query, in one text."""
    return " ".join(str(text) for texts in form.errors.values() for text in texts)


def present_identity() -> Identity:
    """Return who is asking, on a page whose label demands a login."""
    return cast("Identity", here().identity)


def asks_factor() -> bool:
    """Tell whether the administrator who looks at a page is to be asked to enrol a second factor."""
    identity = here().identity
    return identity is not None and identity.is_admin and lacks_factor()


def lacks_factor() -> bool:
    """Tell whether who looks at a page has no second factor and could enrol one (NIST SP 800-63B 2.1)."""
    identity, held = here().identity, services()
    if identity is None or assurance(identity.proofs) >= AAL2 or not seeds.offers_factor(held):
        return False
    with held.reading() as connection:
        return not seeds.has_factor(held, connection, identity.user_id)


def password_help() -> dict[str, Any]:
    """Return what pages that choose a password say about it (NIST SP 800-63B 3.1.1.2)."""
    return {"guidance": GUIDANCE, "password_min": services().settings.password_min}


def own_entry(entry: Entry, user_id: int) -> ShownEntry:
    """Leave out where somebody else was when they acted on this account, and why they say they did."""
    if entry.is_anothers_deed(user_id):
        return ShownEntry(entry.at, in_words(entry), "an administrator", "", "")
    actor = "" if entry.actor_id == user_id or entry.actor == "guest" else entry.actor
    return ShownEntry(entry.at, in_words(entry), actor, entry.address, entry.agent)


def full_entry(entry: Entry, user_id: int) -> ShownEntry:
    """Return a row as administrators see it."""
    actor = "" if entry.actor_id == user_id or entry.actor == "guest" else entry.actor
    reason = str(facts_of(entry).get("reason", ""))
    return ShownEntry(entry.at, in_words(entry), actor, entry.address, entry.agent, reason)


def in_words(entry: Entry) -> str:
    """Return what happened, in a sentence; somebody at the database's own prompt may have written a kind of theirs."""
    return KINDS.get(entry.kind, "An event that this release does not know.")


def facts_of(entry: Entry) -> dict[str, object]:
    """Return what a row says beside its columns; whatever cannot be read stands there as it came."""
    try:
        found = json.loads(entry.detail) if entry.detail else {}
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"detail": entry.detail}
