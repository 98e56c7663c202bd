"""Pages of passkeys: enrol, rename, remove; and the two addresses that password managers ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import flash, redirect, request, url_for

from flask_gatehouse.domain.factors import passkey_rows
from flask_gatehouse.flows import ceremonies, factor_changes, passkeys
from flask_gatehouse.flows.outcomes import Refusal, Refused
from flask_gatehouse.http.browsers import browser_name
from flask_gatehouse.http.context import here, services
from flask_gatehouse.http.flask_login import renew
from flask_gatehouse.http.labels import for_proving, fresh_login_required, public, step_up_required
from flask_gatehouse.http.origin import next_target
from flask_gatehouse.http.respond import data, done, invalid, message, page, refused, stale

from . import factor_forms, second_factors
from .asking import asked
from .second_factors import FACTOR_CHANGE
from .shown import present_identity

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue


@for_proving
@fresh_login_required
@step_up_required(within=FACTOR_CHANGE)
def passkeys_page() -> ResponseReturnValue:
    """Show one's own passkeys, and enrol one that the browser has made."""
    if ceremonies.passkeys_of(services()) is None:
        return _missing()
    if factor_changes.owes_proof(services(), present_identity()):
        return stale()
    form, state = factor_forms.PasskeyForm.of_request(), here()
    if request.method != "POST":
        return page("passkeys.html", form=form, **_context())
    if not form.validate():
        return invalid(form, "passkeys.html", **_context())
    name = form.name.data or browser_name(state.agent)
    outcome = passkeys.confirm(services(), present_identity(), state.secret, form.passkey.data, name, state.source)
    if isinstance(outcome, Refused):
        return refused(outcome, "passkeys.html", form=form, **_context())
    renew(outcome.issued)
    if outcome.codes:
        return second_factors.shown_once(outcome.codes)
    flash("Your passkey is enrolled.", "success")
    return done(next_target(url_for("gatehouse.passkeys")))


def _context() -> dict[str, Any]:
    held, identity = services(), present_identity()
    own = passkeys.listed(held, identity)
    context: dict[str, Any] = {"passkeys": own, "is_full": len(own) >= passkey_rows.MOST, "next": next_target("")}
    return context | asked(passkeys.offer(held, identity))


def _missing() -> ResponseReturnValue:
    return message(404, "Not found", "There is no such passkey, or this site has none.")


@fresh_login_required
@step_up_required(within=FACTOR_CHANGE)
def rename_passkey(passkey_id: int) -> ResponseReturnValue:
    """Give a passkey another name."""
    form = factor_forms.NameForm.of_request()
    if not form.validate():
        return invalid(form, "passkeys.html", **_context())
    outcome = passkeys.rename(services(), present_identity(), passkey_id, form.name.data, here().source)
    if isinstance(outcome, Refused):
        if outcome.reason is Refusal.NOT_FOUND:
            return _missing()
        return refused(outcome, "passkeys.html", form=factor_forms.PasskeyForm(), **_context())
    flash("Your passkey has its new name.", "success")
    return done(url_for("gatehouse.passkeys"))


@fresh_login_required
@step_up_required(within=FACTOR_CHANGE, aal=2)
def remove_passkey(passkey_id: int) -> ResponseReturnValue:
    """Remove a passkey."""
    state = here()
    outcome = passkeys.remove(services(), present_identity(), state.secret, passkey_id, state.source)
    if isinstance(outcome, Refused):
        return message(403 if outcome.field else 404, "Not removed", outcome.text)
    renew(outcome)
    flash("Your passkey is removed; your other sessions have ended.", "success")
    return done(url_for("gatehouse.passkeys"))


# --- what password managers ask for ---------------------------------------------------------------------------


@public
def change_password_url() -> ResponseReturnValue:
    """Lead to where a password is changed (W3C, "A Well-Known URL for Changing Passwords")."""
    return redirect(url_for("gatehouse.password"))


@public
def passkey_endpoints() -> ResponseReturnValue:
    """Say where passkeys are enrolled and managed (W3C, "A Well-Known URL for Relying Party Passkey Endpoints")."""
    origin = here().origin
    if ceremonies.passkeys_of(services()) is None or origin is None:
        return message(404, "Not found", "This site has no passkeys.")
    where = origin.text + url_for("gatehouse.passkeys")
    return data({"enroll": where, "manage": where})
