"""The security page: all that protects an account, "this wasn't me", and closing it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import flash, request, url_for
from wtforms.validators import InputRequired

from flask_gatehouse.domain import devices, passwords, users
from flask_gatehouse.flows import alarm, ceremonies, close_account, factor_changes, seeds
from flask_gatehouse.flows.outcomes import Refusal, Refused
from flask_gatehouse.http.context import here, services, wired
from flask_gatehouse.http.flask_login import leave
from flask_gatehouse.http.labels import for_proving, fresh_login_required, step_up_required
from flask_gatehouse.http.origin import next_target
from flask_gatehouse.http.respond import done, invalid, message, page, refused, stale

from . import forms
from .second_factors import FACTOR_CHANGE
from .shown import own_entry, present_identity

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue
    from sqlalchemy import Connection

    from flask_gatehouse.flows.seeds import EnrolledFactor
    from flask_gatehouse.kernel.identity import Identity

NEWEST_SESSIONS, NEWEST_EVENTS = 3, 5
STANDS_ALREADY = "This was said already: nothing but an older second factor or a mailed link opens your account."
ASK_HERE = "Now choose a new password: ask for a link here."
ASK_OTHERS = "Now log in and prove an older second factor, or ask an administrator for a link."


class CloseForm(forms.GatehouseForm):
    """`/account/close`."""

    username = forms.Line("Your login name", [InputRequired(forms.MISSING)], render_kw=forms.PLAIN)


@for_proving
def security() -> ResponseReturnValue:
    """Show what protects the account; who may come from a route that demands a second factor is told so."""
    identity, held = present_identity(), services()
    if identity.withheld.is_alarmed:
        return _show_alarm(identity)
    with held.reading() as connection:
        enrolled = seeds.enrolled_of(held, connection, identity.user_id)
        context = _account(connection, identity, enrolled) | _factors(enrolled) | _traces(connection, identity)
    lacks = not context["has_factor"]
    context |= {"is_owed": identity.withheld.is_all and lacks, "is_demanded": bool(next_target("")) and lacks}
    return page("security.html", **context, next=next_target(""), identity=identity)


def _show_alarm(identity: Identity) -> ResponseReturnValue:
    """Show the password alone what helps, and nothing of the account: it may be a thief who looks."""
    held = services()
    with held.reading() as connection:
        user = users.find(connection, identity.user_id)
        has_factor = seeds.has_factor(held, connection, identity.user_id)
    return page("alarm.html", user=user, has_factor=has_factor, has_mail=held.mailer.is_on, next=next_target(""))


def _account(connection: Connection, identity: Identity, enrolled: list[EnrolledFactor]) -> dict[str, Any]:
    held, user = services(), users.find(connection, identity.user_id)
    stored = passwords.find_credential_of(connection, identity.user_id)
    return {
        "user": user,
        "is_compromised": stored is not None and stored.compromised_at is not None,
        "changed_at": passwords.find_changed_at(connection, identity.user_id),
        "has_mail": held.mailer.is_on,
        "is_fresh": wired().is_fresh(identity),
        "has_way_back": user is not None and alarm.has_way_back(held, user, enrolled),
    }


def _factors(enrolled: list[EnrolledFactor]) -> dict[str, Any]:
    held = services()
    by_method = {one.method: one for one in enrolled}
    totp, codes = by_method.get(seeds.TOTP), by_method.get(seeds.RECOVERY_CODES)
    shown_apart = {seeds.TOTP, seeds.PASSKEY, seeds.RECOVERY_CODES}
    has_codes, has_passkeys = seeds.codes_of(held) is not None, ceremonies.passkeys_of(held) is not None
    return {
        "has_totp": seeds.totp_of(held) is not None,
        "times": (totp.created_at, totp.used_at) if totp else None,
        "passkeys": [one for one in enrolled if one.method == seeds.PASSKEY] if has_passkeys else None,
        "left": (codes.left if codes else 0) if has_codes else None,
        "others": [(one.method, one.method in by_method) for one in held.factors if one.method not in shown_apart],
        "is_offered": bool(held.factors),
        "has_factor": bool(by_method.keys() - {seeds.RECOVERY_CODES}),
    }


def _traces(connection: Connection, identity: Identity) -> dict[str, Any]:
    held, user_id = services(), identity.user_id
    live = held.sessions.live_of_user(connection, user_id, held.clock.now(), is_admin=identity.is_admin)
    entries = held.audit.search(connection, user_id=user_id, limit=NEWEST_EVENTS)
    return {
        "sessions": live[:NEWEST_SESSIONS],
        "session_count": len(live),
        "browser_count": len(devices.of_user(connection, user_id)),
        "entries": [own_entry(entry, user_id) for entry in entries],
    }


# --- "this wasn't me" -------------------------------------------------------------------------------------------


@for_proving
def raise_alarm() -> ResponseReturnValue:
    """End everything at once, without a fresh proof; the one who pressed is out as well."""
    outcome = alarm.raise_alarm(services(), present_identity(), here().source)
    if isinstance(outcome, Refused):
        if outcome.reason is Refusal.THROTTLED:
            return message(429, "Not done again", f"{outcome.text} End all your sessions instead.", wait=outcome.wait)
        return message(410, "This session has ended", outcome.text)
    if not outcome.is_new:
        flash(STANDS_ALREADY, "info")
        return done(url_for("gatehouse.security"), ended=0)
    leave()
    flash(_told(outcome), "info")
    target = url_for("gatehouse.forgot_password" if outcome.is_mailed else "gatehouse.login")
    return done(target, ended=outcome.ended, removed=list(outcome.methods), is_address_back=outcome.is_address_back)


def _told(outcome: alarm.Raised) -> str:
    ended = "1 session has ended." if outcome.ended == 1 else f"{outcome.ended} sessions have ended."
    found = [ended]
    if outcome.methods:
        found.append("What was enrolled within a day is removed.")
    if outcome.is_address_back:
        found.append("The change of your e-mail address is undone.")
    found.append(ASK_HERE if outcome.is_mailed else ASK_OTHERS)
    return " ".join(found)


# --- closing ----------------------------------------------------------------------------------------------------


@fresh_login_required
@step_up_required(within=FACTOR_CHANGE)
def close() -> ResponseReturnValue:
    """Close the account for good, once its name was typed; who has a second factor has proven it."""
    if factor_changes.owes_proof(services(), present_identity()):
        return stale()
    form = CloseForm.of_request()
    context: dict[str, Any] = {"name": present_identity().username}
    if request.method != "POST":
        return page("close.html", form=form, **context)
    if not form.validate():
        return invalid(form, "close.html", **context)
    outcome = close_account.close(services(), present_identity(), form.username.data, here().source)
    if isinstance(outcome, Refused):
        return refused(outcome, "close.html", form=form, **context)
    leave()
    flash("Your account is closed.", "info")
    return done(url_for("gatehouse.login"), ended=outcome)
