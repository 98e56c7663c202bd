"""Pages of the door: register, log in, second factor, log out, prove again, choose a password by link."""

from __future__ import annotations

import hmac
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flask import flash, redirect, request, url_for

from flask_gatehouse.domain.sessions import Issued
from flask_gatehouse.flows import (
    ceremonies,
    login,
    passkey_login,
    register,
    reset_password,
    second_step,
    seeds,
    step_up,
)
from flask_gatehouse.flows.outcomes import FactorDue, FactorLost, MustReplace, Refusal, Refused, refused_value
from flask_gatehouse.http.context import here, services
from flask_gatehouse.http.flask_login import establish, hold_pending, leave, renew
from flask_gatehouse.http.labels import for_proving, public
from flask_gatehouse.http.origin import is_direct_loopback, next_target
from flask_gatehouse.http.respond import done, invalid, message, page, refused

from . import factor_forms, forms, second_factors
from .asking import asked, browser_place
from .shown import errors_in_words, password_help, present_identity

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

WRONG_CODE = "This is not the code that the program printed."
LOGIN_NAMES = {"username": "Login name", "both": "Login name or e-mail address", "email": "E-mail address"}
"""`GATEHOUSE_LOGIN_NAME` → what the field of the login page is called."""
WRONG_ANSWER = "This code is wrong, used or out of date."
WRONG_PASSKEY = "This passkey was not taken. Try again, or use another way."
NOT_YOURS = "This is not your password."
ENDED_TITLE = "This link has ended"
ENDED = "It was used, or has run out, or something has changed since. Ask for a new one."


@public
def register_page() -> ResponseReturnValue:
    """Make a user of the one who asks; nobody is logged in."""
    login_name = services().settings.login_name
    kind = forms.RegisterForm if login_name == "username" else forms.RegisterWithAddressForm
    form = kind.of_request()
    if login_name == "email":
        del form.username
    is_first, is_here = _is_first_admin_open(), is_direct_loopback(request.environ)
    if not is_first or is_here:
        del form.code
    context: dict[str, Any] = {"is_first": is_first, "login_name": login_name, **password_help()}
    if request.method != "POST":
        return page("register.html", form=form, **context)
    if not form.validate():
        return invalid(form, "register.html", **context)
    code = form.code.data if "code" in form else ""
    if code and not _is_right_code(code):
        form.code.errors = [WRONG_CODE]
        return invalid(form, "register.html", **context)
    name = form.username.data if "username" in form else ""
    new = register.NewUser(name, form.password.data, form.email.data or None)
    may_claim = is_first and (is_here or bool(code))
    outcome = register.register(services(), new, here().source, may_claim=may_claim)
    if isinstance(outcome, Refused):
        return refused(outcome, "register.html", form=form, **context)
    if login_name != "username":
        flash(f"A link was mailed to {form.email.data}: open it to confirm your address, then log in.", "info")
        return done(url_for("gatehouse.login"), 201)
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
    form.username.label.text = LOGIN_NAMES[services().settings.login_name]
    if request.method != "POST":
        return page("login.html", form=form, **_login_context())
    if not form.validate():
        return invalid(form, "login.html", **_login_context())
    attempt = _attempt(is_remembered=form.remember.data)
    outcome = login.begin(services(), form.username.data, form.password.data, attempt)
    if isinstance(outcome, Refused):
        return refused(outcome, "login.html", form=form, **_login_context())
    if isinstance(outcome, FactorDue):
        hold_pending(outcome)
        return done(url_for("gatehouse.factor", next=next_target("") or None), 202)
    if isinstance(outcome, MustReplace):
        flash("This was a temporary password. Choose your own.", "info")
        return done(url_for("gatehouse.reset_password", token=outcome.link_secret))
    return _inside(outcome)


def _login_context() -> dict[str, Any]:
    held = services()
    context: dict[str, Any] = {"next": next_target(""), "can_remember": bool(held.settings.remember)}
    return context | asked(passkey_login.offer(held, browser_place()))


@public
def log_in_by_passkey() -> ResponseReturnValue:
    """Check what a passkey answered and open a session."""
    form = factor_forms.PasskeyLoginForm.of_request()
    if ceremonies.passkeys_of(services()) is None:
        return message(404, "Not found", "This site has no passkeys.")
    if not form.validate():
        return _refuse_passkey(refused_value("passkey", errors_in_words(form)))
    attempt = _attempt(is_remembered=form.remember.data)
    outcome = passkey_login.begin(services(), browser_place(), form.passkey.data, attempt)
    return _refuse_passkey(_worded(outcome, WRONG_PASSKEY)) if isinstance(outcome, Refused) else _inside(outcome)


def _refuse_passkey(outcome: Refused) -> ResponseReturnValue:
    return refused(outcome, "login.html", form=forms.LoginForm(), **_login_context())


def _inside(issued: Issued) -> ResponseReturnValue:
    establish(issued)
    here().know_browser(issued.device)
    return done(next_target(services().settings.after_login))


def _back_inside(issued: Issued) -> ResponseReturnValue:
    """Go on after a lost factor was replaced: the code that was used for it has a successor, which is shown once."""
    codes = second_step.replace_codes(services(), issued, here().source)
    response = _inside(issued)
    if not codes:
        return response
    return second_factors.shown_once(codes, next_target(services().settings.after_login), is_replaced=True)


def _attempt(*, is_remembered: bool = False) -> login.Attempt:
    state = here()
    known = {"device": state.device, "spare": state.spare_device}
    return login.Attempt(state.source, state.carried(), state.previous, is_remembered, **known)


@public
def answer_factor() -> ResponseReturnValue:
    """Answer the second factor of a login whose password was right."""
    form, pending = factor_forms.FactorForm.of_request(), here().pending
    offer = second_step.offer(services(), pending) if pending else None
    choices = second_step.choices(services(), pending) if pending else second_step.Choices()
    context: dict[str, Any] = {"next": next_target(""), **second_factors.shown(offer), "fields": choices.fields}
    context |= asked(choices.passkey)
    if request.method != "POST":
        if not pending:
            return redirect(url_for("gatehouse.login", next=context["next"] or None))
        return page("factor.html", form=form, **context)
    if not form.validate():
        return invalid(form, "factor.html", **context)
    outcome = _answer(form, pending, is_lost=offer is not None)
    if offer is not None and isinstance(outcome, Issued):
        return _back_inside(outcome)
    return _answered(form, outcome, context)


def _answer(form: factor_forms.FactorForm, pending: str, *, is_lost: bool) -> Issued | FactorLost | Refused:
    """Take a code as that of the new key where the factor was lost, else as an answer."""
    if is_lost:
        return second_step.replace_factor(services(), pending, form.code.data, _attempt())
    return second_step.answer(services(), pending, *form.answer(), _attempt())


def _answered(
    form: factor_forms.FactorForm, outcome: Issued | FactorLost | Refused, context: dict[str, Any]
) -> ResponseReturnValue:
    if isinstance(outcome, FactorLost):
        hold_pending(outcome)
        return done(url_for("gatehouse.factor", next=context["next"] or None), 202)
    if isinstance(outcome, Refused):
        if outcome.reason is Refusal.GONE:
            return message(410, "This login has ended", "It waited too long for its second factor. Log in again.")
        text = WRONG_PASSKEY if form.passkey.data and not form.code.data else WRONG_ANSWER
        return refused(_worded(outcome, text), "factor.html", form=form, **context)
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
    form = factor_forms.ReauthenticateForm.of_request()
    target = next_target("")
    context: dict[str, Any] = {"next": target, "has_code": _has_code()}
    context |= asked(step_up.ask_passkey(services(), present_identity()))
    if request.method != "POST":
        return page("reauthenticate.html", form=form, **context)
    if not form.validate():
        return invalid(form, "reauthenticate.html", **context)
    outcome = _prove(form)
    if isinstance(outcome, Refused):
        text = NOT_YOURS if form.password.data else WRONG_ANSWER if form.code.data else WRONG_PASSKEY
        return refused(_worded(outcome, text), "reauthenticate.html", form=form, **context)
    renew(outcome)
    return done(target or url_for("gatehouse.account"))


def _has_code() -> bool:
    held = services()
    with held.reading() as connection:
        return "code" in seeds.fields_of(held, connection, present_identity().user_id)


def _prove(form: factor_forms.ReauthenticateForm) -> Issued | Refused:
    state, identity = here(), present_identity()
    if form.password.data:
        return step_up.prove(services(), identity, state.secret, form.password.data, state.source)
    if form.passkey.data and not form.code.data:
        return step_up.prove_passkey(services(), identity, state.secret, form.passkey.data, state.source)
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
    browser = {"device": state.spare_device, "shown": state.device}
    outcome = reset_password.complete(services(), token, form.password.data, state.source, **browser)
    if isinstance(outcome, Refused):
        if outcome.reason is Refusal.GONE:
            return message(410, ENDED_TITLE, ENDED)
        return refused(outcome, "reset_password.html", form=form, **context)
    state.know_browser(state.spare_device)
    flash("Your new password is saved. Please log in.", "success")
    return done(url_for("gatehouse.login"))
