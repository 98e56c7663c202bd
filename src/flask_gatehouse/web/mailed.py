"""Pages that mail leads to or comes from: a forgotten password, an address to be verified."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import flash, request, url_for
from wtforms.validators import InputRequired

from flask_gatehouse.flows import forgot_password, verify_email
from flask_gatehouse.flows.outcomes import Refusal, Refused
from flask_gatehouse.http.context import here, services
from flask_gatehouse.http.labels import public
from flask_gatehouse.http.respond import done, invalid, message, page, refused

from . import forms

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

ASKED = (
    "If there is such an account with a verified e-mail address, a link to choose a new password is on its way there."
)
ENDED = "It was used, or has run out, or something has changed since. Ask for a new one on the page of your account."
NO_MAIL = "This site sends no mail: ask an administrator for a link to choose a new password."


class ForgotForm(forms.GatehouseForm):
    """`/forgot-password`."""

    username = forms.Line("Login name or e-mail address", [InputRequired(forms.MISSING)], render_kw=forms.NAME)


class ConfirmForm(forms.GatehouseForm):
    """`/verify-email/<token>`: a button alone."""


@public
def forgot() -> ResponseReturnValue:
    """Mail a link to choose a new password; the answer is the same for everybody (rule 9)."""
    form, has_mail = ForgotForm.of_request(), services().mailer.is_on
    if request.method != "POST":
        return page("forgot_password.html", form=form, has_mail=has_mail)
    if not form.validate():
        return invalid(form, "forgot_password.html", has_mail=has_mail)
    outcome = forgot_password.ask(services(), form.username.data, here().source)
    if isinstance(outcome, Refused):
        return refused(outcome, "forgot_password.html", form=form, has_mail=has_mail)
    flash(ASKED if has_mail else NO_MAIL, "info")
    return done(url_for("gatehouse.login"), 202)


@public
def verify(token: str) -> ResponseReturnValue:
    """Confirm an e-mail address by a mailed link; looking at the page consumes nothing."""
    form, found = ConfirmForm.of_request(), verify_email.find(services(), token)
    if found is None:
        return message(410, "This link has ended", ENDED)
    context: dict[str, Any] = {"username": found.username, "address": found.address}
    if request.method != "POST":
        return page("verify_email.html", form=form, **context)
    if not form.validate():
        return invalid(form, "verify_email.html", **context)
    outcome = verify_email.confirm(services(), token, here().source)
    if isinstance(outcome, Refused):
        if outcome.reason is Refusal.GONE:
            return message(410, "This link has ended", ENDED)
        return refused(outcome, "verify_email.html", form=form, **context)
    flash("Your e-mail address is confirmed.", "success")
    identity = here().identity
    return done(url_for("gatehouse.account" if identity and identity.user_id == outcome else "gatehouse.login"))
