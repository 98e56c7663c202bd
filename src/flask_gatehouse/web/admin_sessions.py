"""Administrators' page of all live sessions, where any but one's own can be ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import flash, request, url_for

from flask_gatehouse.domain import users
from flask_gatehouse.flows import administer, live_sessions
from flask_gatehouse.flows.acts import Act
from flask_gatehouse.flows.outcomes import Refusal, Refused
from flask_gatehouse.http.context import here, services, wired
from flask_gatehouse.http.labels import requires
from flask_gatehouse.http.respond import done, invalid, message, page, refused
from flask_gatehouse.kernel.identity import Actor

from . import console_forms
from .shown import PER_PAGE, PUBLIC_ID, errors_in_words, present_identity

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

NONE = live_sessions.Page([], None)


@requires("users:read")
def list_sessions() -> ResponseReturnValue:
    """Show live sessions of all users, newest first, or those of one."""
    listed, form = console_forms.SessionsForm(request.args), console_forms.TakingForm()
    if not listed.validate():
        context = _context(console_forms.SessionsForm(), NONE)
        return page("admin_sessions.html", 422, form=form, search_error=errors_in_words(listed), **context)
    return page("admin_sessions.html", form=form, **_context(listed, _found(listed)))


def _found(listed: console_forms.SessionsForm) -> live_sessions.Page:
    held = services()
    with held.reading() as connection:
        if not listed.username.data:
            return live_sessions.page(held, connection, after=listed.after.place, limit=PER_PAGE)
        user = users.find_by_name(connection, listed.username.data)
        return NONE if user is None else live_sessions.Page(live_sessions.of_user(held, connection, user), None)


def _context(listed: console_forms.SessionsForm, found: live_sessions.Page, acted: str = "") -> dict[str, Any]:
    identity = present_identity()
    return {
        "sessions": found.sessions,
        "after": console_forms.place_text(found.after),
        "username": listed.username.data or "",
        "query": _query(listed),
        "identity": identity,
        "is_fresh": wired().is_fresh(identity),
        "acted": acted,
        "blank": console_forms.TakingForm(),
    }


def _query(listed: console_forms.SessionsForm) -> dict[str, Any]:
    return {"username": listed.username.data or None, "after": console_forms.place_text(listed.after.place) or None}


@requires("sessions:revoke", fresh=True)
def end_session(public_id: str) -> ResponseReturnValue:
    """End one session of another user, and show the list again that it was done on."""
    listed, form = console_forms.SessionsForm(request.args), console_forms.TakingForm.of_request()
    if not listed.validate():
        listed = console_forms.SessionsForm()
    if not PUBLIC_ID.fullmatch(public_id):
        return _unknown()
    if not form.validate():
        return invalid(form, "admin_sessions.html", **_context(listed, _found(listed), public_id))
    identity = present_identity()
    act = Act(Actor.of(identity), identity, form.reason.data, here().source)
    outcome = administer.end_session(services(), act, public_id)
    if isinstance(outcome, Refused):
        if outcome.reason is Refusal.NOT_FOUND:
            return _unknown()
        return refused(outcome, "admin_sessions.html", form=form, **_context(listed, _found(listed), public_id))
    flash(f"A session of {outcome.username} has ended.", "success")
    return done(url_for("gatehouse.admin_sessions", **_query(listed)))


def _unknown() -> ResponseReturnValue:
    return message(404, "Not found", "There is no such session: it may have ended meanwhile.")
