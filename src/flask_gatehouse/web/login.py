"""Pages of the door: register, log in, second factor, log out, prove again, choose a password by link."""

from __future__ import annotations

import hmac
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flask import flash, redirect, request, url_for

from flask_gatehouse.flows import login, register, reset_password, second_step, seeds, step_up
from flask_gatehouse.flows.outcomes import FactorDue, FactorLost, MustReplace, Refusal, Refused
from flask_gatehouse.http.context import here, services
from flask_gatehouse.http.flask_login import establish, hold_pending, leave, renew
from flask_gatehouse.http.labels import for_proving, public
from flask_gatehouse.http.origin import is_direct_loopback, next_target
from flask_gatehouse.http.respond import done, invalid, message, page, refused

from . import forms, second_factors
from .shown import password_help, present_identity

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

    from flask_gatehouse.domain.sessions import Issued

WRONG_CODE = "This is not the code that the program printed."
WRONG_ANSWER = "This code is wrong, used or out of date."
NOT_YOURS = "This is not your password."
ENDED_TITLE = "This link has ended"
ENDED = "It was used, or has run out. Ask an administrator for a new one."


@public
def register_page() -> ResponseReturnValue:
    """Make a user of the one who asks; nobody is logged in."""
    form = forms.RegisterForm.of_request()
    is_first, is_here = _is_first_admin_open(), is_direct_loopback(request.environ)
    if not is_first or is_here:
        del form.code
    context: dict[str, Any] = {"is_first": is_first, **password_help()}
    if request.method != "POST":
        return page("register.html", form=form, **context)
    if not form.validate():
        return invalid(form, "register.html", **context)
    code = form.code.data if "code" in form else ""
    if code and not _is_right_code(code):
        form.code.errors = [WRONG_CODE]
        return invalid(form, "register.html", **context)
    new = register.NewUser(form.username.data, form.password.data, form.email.data or None)
    may_claim = is_first and (is_here or bool(code))
    outcome = register.register(services(), new, here().source, may_claim=may_claim)
    if isinstance(outcome, Refused):
        return refused(outcome, "register.html", form=form, **context)
    flash("Registered. Please log in.", "success")
    return done(url_for("gatehouse.login"), 201, id=outcome.id, username=outcome.username)


def _is_first_admin_open() -> bool:
    held = services()
    if not held.settings.first_user_admin:
        return False
    with held.reading() as connection:
        return held.roles.is_first_admin_open(connection)


def _is_right_code(code: str) -> bool:
    return hmac.compare_digest(code.encode(), register.first_admin_code(services()).encode())


@public
def log_in() -> ResponseReturnValue:
    """Check name and password and open a session."""
    form = forms.LoginForm.of_request()
    context: dict[str, Any] = {"next": next_target(""), "can_remember": bool(services().settings.remember)}
    if request.method != "POST":
        return page("login.html", form=form, **context)
    if not form.validate():
        return invalid(form, "login.html", **context)
    attempt = _attempt(is_remembered=form.remember.data)
    outcome = login.begin(services(), form.username.data, form.password.data, attempt)
    if isinstance(outcome, Refused):
        return refused(outcome, "login.html", form=form, **context)
    if isinstance(outcome, FactorDue):
        hold_pending(outcome)
        return done(url_for("gatehouse.factor", next=context["next"] or None), 202)
    if isinstance(outcome, MustReplace):
        flash("This was a temporary password. Choose your own.", "info")
        return done(url_for("gatehouse.reset_password", token=outcome.link_secret))
    return _inside(outcome)


def _inside(issued: Issued) -> ResponseReturnValue:
    establish(issued)
    here().know_browser(issued.device)
    return done(next_target(services().settings.after_login))


def _attempt(*, is_remembered: bool = False) -> login.Attempt:
    state = here()
    known = {"device": state.device, "spare": state.spare_device}
    return login.Attempt(state.source, state.carried(), state.previous, is_remembered, **known)


@public
def answer_factor() -> ResponseReturnValue:
    """Answer the second factor of a login whose password was right."""
    form, pending = forms.FactorForm.of_request(), here().pending
    offer = second_step.offer(services(), pending) if pending else None
    context: dict[str, Any] = {"next": next_target(""), **second_factors.shown(offer)}
    if request.method != "POST":
        if not pending:
            return redirect(url_for("gatehouse.login", next=context["next"] or None))
        return page("factor.html", form=form, **context)
    if not form.validate():
        return invalid(form, "factor.html", **context)
    return _answered(form, _answer(form, pending, is_lost=offer is not None), context)


def _answer(form: forms.FactorForm, pending: str, *, is_lost: bool) -> Issued | FactorLost | Refused:
    """Take a code as that of the new key where the factor was lost, else as an answer."""
    if is_lost:
        return second_step.replace_factor(services(), pending, form.code.data, _attempt())
    return second_step.answer(services(), pending, *form.answer(), _attempt())


def _answered(
    form: forms.FactorForm, outcome: Issued | FactorLost | Refused, context: dict[str, Any]
) -> ResponseReturnValue:
    if isinstance(outcome, FactorLost):
        hold_pending(outcome)
        return done(url_for("gatehouse.factor", next=context["next"] or None), 202)
    if isinstance(outcome, Refused):
        if outcome.reason is Refusal.GONE:
            return message(410, "This login has ended", "It waited too long for its second factor. Log in again.")
        return refused(_worded(outcome, WRONG_ANSWER), "factor.html", form=form, **context)
    return _inside(outcome)


def _worded(outcome: Refused, text: str) -> Refused:
    """Say what was wrong where it was not a name and a password."""
    return replace(outcome, text=text) if outcome.reason is Refusal.CREDENTIALS else outcome


@public
def log_out() -> ResponseReturnValue:
    """End the session; a guest has none, and that is no fault."""
    leave()
    flash("You have logged out.", "info")
    return done(next_target(url_for("gatehouse.login")))


@for_proving
def reauthenticate() -> ResponseReturnValue:
    """Prove the password again; the session goes on under a new id."""
    form = forms.ReauthenticateForm.of_request()
    target = next_target("")
    context: dict[str, Any] = {"next": target, "has_code": _has_code()}
    if request.method != "POST":
        return page("reauthenticate.html", form=form, **context)
    if not form.validate():
        return invalid(form, "reauthenticate.html", **context)
    outcome = _prove(form)
    if isinstance(outcome, Refused):
        text = NOT_YOURS if form.password.data else WRONG_ANSWER
        return refused(_worded(outcome, text), "reauthenticate.html", form=form, **context)
    renew(outcome)
    return done(target or url_for("gatehouse.account"))


def _has_code() -> bool:
    held = services()
    with held.reading() as connection:
        return seeds.has_factor(held, connection, present_identity().user_id)


def _prove(form: forms.ReauthenticateForm) -> Issued | Refused:
    state, identity = here(), present_identity()
    if form.password.data:
        return step_up.prove(services(), identity, state.secret, form.password.data, state.source)
    return step_up.prove_factor(services(), identity, state.secret, form.code.data, state.source)


@public
def choose_password(token: str) -> ResponseReturnValue:
    """Choose a new password by a one-time link; looking at the page consumes nothing."""
    form = forms.NewPasswordForm.of_request()
    name = reset_password.find(services(), token)
    if name is None:
        return message(410, ENDED_TITLE, ENDED)
    context: dict[str, Any] = {"username": name, **password_help()}
    if request.method != "POST":
        return page("reset_password.html", form=form, **context)
    if not form.validate():
        return invalid(form, "reset_password.html", **context)
    state = here()
    outcome = reset_password.complete(services(), token, form.password.data, state.source, device=state.spare_device)
    if isinstance(outcome, Refused):
        if outcome.reason is Refusal.GONE:
            return message(410, ENDED_TITLE, ENDED)
        return refused(outcome, "reset_password.html", form=form, **context)
    state.know_browser(state.spare_device)
    flash("Your new password is saved. Please log in.", "success")
    return done(url_for("gatehouse.login"))
