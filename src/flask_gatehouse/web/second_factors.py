"""Pages of second factors: the authenticator app, recovery codes."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from flask import flash, request, url_for

from flask_gatehouse.flows import enrol, factor_changes
from flask_gatehouse.flows.outcomes import Refusal, Refused
from flask_gatehouse.http.context import here, services
from flask_gatehouse.http.flask_login import renew
from flask_gatehouse.http.labels import for_proving, fresh_login_required, step_up_required
from flask_gatehouse.http.origin import next_target
from flask_gatehouse.http.respond import done, invalid, message, page, refused, stale, wants_program

from . import factor_forms
from .shown import present_identity

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

    from flask_gatehouse.flows.seeds import Offer

FACTOR_CHANGE = timedelta(minutes=5)
"""A change of factors asks for a proof of the last five minutes, however long `GATEHOUSE_FRESH` is."""


def shown(offer: Offer | None) -> dict[str, Any]:
    """Return what a page shows of a seed that waits to be confirmed."""
    if offer is None:
        return {"offer": None}
    groups = " ".join(offer.seed[start : start + 4] for start in range(0, len(offer.seed), 4))
    return {"offer": offer, "groups": groups}


@for_proving
@fresh_login_required
@step_up_required(within=FACTOR_CHANGE)
def totp_page() -> ResponseReturnValue:
    """Show the key of an authenticator app, and enrol it once a code of it was typed."""
    form, state, identity = factor_forms.CodeForm.of_request(), here(), present_identity()
    if factor_changes.owes_proof(services(), identity):
        return stale()
    if request.method != "POST":
        return _totp_form(form)
    if not form.validate():
        offer = enrol.offer_totp(services(), identity)
        return _missing() if isinstance(offer, Refused) else invalid(form, "totp.html", **_offered(offer))
    outcome = enrol.confirm_totp(services(), identity, state.secret, form.code.data, state.source)
    if isinstance(outcome, Refused):
        return _refuse(outcome, form)
    renew(outcome.issued)
    if outcome.codes:
        return shown_once(outcome.codes)
    flash("Your authenticator app is enrolled; your other sessions have ended.", "success")
    return done(next_target(url_for("gatehouse.security")))


def _totp_form(form: factor_forms.CodeForm) -> ResponseReturnValue:
    offer = enrol.offer_totp(services(), present_identity())
    return _missing() if isinstance(offer, Refused) else page("totp.html", form=form, **_offered(offer))


def _offered(offer: Offer) -> dict[str, Any]:
    return {**shown(offer), "next": next_target("")}


def _refuse(outcome: Refused, form: factor_forms.CodeForm) -> ResponseReturnValue:
    offer = enrol.offer_totp(services(), present_identity())
    if outcome.reason is Refusal.NOT_FOUND or isinstance(offer, Refused):
        return _missing()
    return refused(outcome, "totp.html", form=form, **_offered(offer))


def _missing() -> ResponseReturnValue:
    return message(404, "Not found", "There is no authenticator app to enrol: it is enrolled already, or not offered.")


@fresh_login_required
@step_up_required(within=FACTOR_CHANGE, aal=2)
def remove_totp() -> ResponseReturnValue:
    """Remove the authenticator app."""
    state = here()
    outcome = enrol.remove_totp(services(), present_identity(), state.secret, state.source)
    if isinstance(outcome, Refused):
        return message(403 if outcome.field else 404, "Not removed", outcome.text)
    renew(outcome)
    flash("Your authenticator app is removed; your other sessions have ended.", "success")
    return done(url_for("gatehouse.security"))


@fresh_login_required
@step_up_required(within=FACTOR_CHANGE, aal=2)
def make_codes() -> ResponseReturnValue:
    """Make new recovery codes; they are shown once."""
    outcome = enrol.renew_codes(services(), present_identity(), here().source)
    if isinstance(outcome, Refused):
        if outcome.reason is Refusal.THROTTLED:
            return message(429, "No codes were made", outcome.text, wait=outcome.wait)
        return message(403 if outcome.field else 404, "No codes were made", outcome.text)
    return shown_once(outcome)


def shown_once(codes: tuple[str, ...], target: str = "", *, is_replaced: bool = False) -> ResponseReturnValue:
    """Show new recovery codes.

    Args:
        codes: the codes.
        target: where to go on; the page of one's security, unless another was asked for.
        is_replaced: whether they take the place of used ones alone.
    """
    target = target or next_target(url_for("gatehouse.security"))
    if wants_program():
        return done(target, codes=list(codes))
    return page("recovery_codes.html", codes=codes, next=target, is_replaced=is_replaced)
