"""Pages of one's own account: profile, password, sessions, activity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import flash, request, url_for

from flask_gatehouse.domain import users
from flask_gatehouse.flows import own_addresses, own_data, own_password, revoke
from flask_gatehouse.flows.outcomes import Refused, refused_value
from flask_gatehouse.http.context import here, services, wired
from flask_gatehouse.http.flask_login import leave, renew
from flask_gatehouse.http.labels import fresh_login_required, login_required
from flask_gatehouse.http.respond import done, download, invalid, message, page, refused

from . import forms
from .shown import (
    BIGGEST_ID,
    PER_PAGE,
    PUBLIC_ID,
    errors_in_words,
    lacks_factor,
    own_entry,
    password_help,
    present_identity,
)

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue


@login_required
def profile() -> ResponseReturnValue:
    """Show the account."""
    form = forms.EmailForm()
    form.email.data = present_identity().email or ""
    return page("account.html", form=form, **_profile_context())


def _profile_context() -> dict[str, Any]:
    identity, second = present_identity(), forms.SecondEmailForm()
    with services().reading() as connection:
        user = users.find(connection, identity.user_id)
    second.second_email.data = (user.second_email if user else None) or ""
    asked, asked_second = own_addresses.asked(services(), identity.user_id)
    told = {"user": user, "identity": identity, "is_fresh": wired().is_fresh(identity), "asked": asked}
    told |= {"lacks_factor": lacks_factor(), "has_mail": services().mailer.is_on}
    return told | {"second": second, "asked_second": asked_second, "acted": ""}


@fresh_login_required
def change_email() -> ResponseReturnValue:
    """Change the e-mail address; where mail is sent, it counts once it is confirmed."""
    form = forms.EmailForm.of_request()
    if not form.validate():
        return invalid(form, "account.html", **_profile_context())
    outcome = own_addresses.change(services(), present_identity(), form.email.data, here().source)
    if isinstance(outcome, Refused):
        return refused(outcome, "account.html", form=form, **_profile_context())
    if isinstance(outcome, own_addresses.AddressAsked):
        flash(f"A link was mailed to {outcome.address}: the address counts once you have opened it.", "info")
        return done(url_for("gatehouse.account"), 202, asked=outcome.address)
    flash("Your e-mail address is saved." if outcome else "Your e-mail address is removed.", "success")
    return done(url_for("gatehouse.account"), email=outcome)


@fresh_login_required
def change_second_email() -> ResponseReturnValue:
    """Change the second address; it counts once it is confirmed."""
    second = forms.SecondEmailForm.of_request()
    told = errors_in_words(second) if not second.validate() else ""
    outcome = refused_value(own_addresses.SECOND, told) if told else _change_second(second.second_email.data)
    if isinstance(outcome, Refused):
        form = forms.EmailForm()
        form.email.data = present_identity().email or ""
        return refused(
            outcome, "account.html", form=form, **(_profile_context() | {"second": second, "acted": "second"})
        )
    if isinstance(outcome, own_addresses.AddressAsked):
        flash(f"A link was mailed to {outcome.address}: the address counts once you have opened it.", "info")
        return done(url_for("gatehouse.account"), 202, asked=outcome.address)
    flash("Your second address is saved." if outcome else "Your second address is removed.", "success")
    return done(url_for("gatehouse.account"), second_email=outcome)


def _change_second(address: str) -> own_addresses.AddressAsked | Refused | str | None:
    return own_addresses.change_second(services(), present_identity(), address, here().source)


@fresh_login_required
def take_data() -> ResponseReturnValue:
    """Hand over everything that is stored about the user, as a file of JSON."""
    outcome = own_data.collect(services(), present_identity(), here().source)
    if isinstance(outcome, Refused):
        return message(429, "Not made", outcome.text, wait=outcome.wait)
    return download(f"{present_identity().username}.json", outcome)


@login_required
def change_password() -> ResponseReturnValue:
    """Replace the password; this session goes on under a new id, all others end."""
    form, state = forms.ChangePasswordForm.of_request(), here()
    context = password_help()
    if request.method != "POST":
        return page("password.html", form=form, **context)
    if not form.validate():
        return invalid(form, "password.html", **context)
    present, new = form.current.data, form.password.data
    outcome = own_password.change(services(), present_identity(), state.secret, present, new, state.source)
    if isinstance(outcome, Refused):
        return refused(outcome, "password.html", form=form, **context)
    renew(outcome)
    flash("Your password is changed; your other sessions have ended.", "success")
    return done(url_for("gatehouse.account"))


@login_required
def list_sessions() -> ResponseReturnValue:
    """Show where the user is logged in."""
    identity, held = present_identity(), services()
    with held.reading() as connection:
        sessions = held.sessions.live_of_user(
            connection, identity.user_id, held.clock.now(), is_admin=identity.is_admin
        )
    return page("sessions.html", sessions=sessions, identity=identity, is_fresh=wired().is_fresh(identity))


@fresh_login_required
def end_session(public_id: str) -> ResponseReturnValue:
    """End one session of one's own; ending the present one is a log-out."""
    identity = present_identity()
    if public_id == identity.session_id:
        return _left("This session has ended.")
    is_known = bool(PUBLIC_ID.fullmatch(public_id))
    if not is_known or isinstance(revoke.one(services(), identity, public_id, here().source), Refused):
        return message(404, "Not found", "You have no such session: perhaps it has ended already.")
    flash("The session has ended.", "success")
    return done(url_for("gatehouse.sessions"), ended=1)


@fresh_login_required
def end_others() -> ResponseReturnValue:
    """End all sessions of one's own but the present one."""
    ended = revoke.others(services(), present_identity(), here().source)
    flash(f"{_sessions(ended)} ended.", "success")
    return done(url_for("gatehouse.sessions"), ended=ended)


@fresh_login_required
def end_all() -> ResponseReturnValue:
    """End all sessions of one's own, the present one too."""
    ended = revoke.all_own(services(), present_identity(), here().source, device=here().device)
    return _left(f"{_sessions(ended)} ended. Log in again.", ended)


def _left(text: str, ended: int = 1) -> ResponseReturnValue:
    leave()
    flash(text, "info")
    return done(url_for("gatehouse.login"), ended=ended)


def _sessions(count: int) -> str:
    return "1 session" if count == 1 else f"{count} sessions"


@login_required
def activity() -> ResponseReturnValue:
    """Show what the audit log says about one's own account, newest first."""
    text = request.args.get("before", "0")
    before = int(text) if text.isascii() and text.isdecimal() and len(text) < len(str(BIGGEST_ID)) else -1
    if before < 0:
        return message(422, "Not understood", "The number after which the page begins is no number.")
    held, user_id = services(), present_identity().user_id
    with held.reading() as connection:
        found = held.audit.search(connection, user_id=user_id, before=before, limit=PER_PAGE + 1)
    shown = found[:PER_PAGE]
    older = shown[-1].id if len(found) > PER_PAGE else 0
    return page("activity.html", entries=[own_entry(entry, user_id) for entry in shown], before=older)
