"""Administrators' pages: overview, users, and what may be done to one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import flash, request, url_for

from flask_gatehouse.domain import devices, users
from flask_gatehouse.flows import administer, seeds, standing
from flask_gatehouse.flows import overview as flow
from flask_gatehouse.flows.acts import Act
from flask_gatehouse.flows.outcomes import Refusal, Refused
from flask_gatehouse.http.context import here, services, wired
from flask_gatehouse.http.labels import requires
from flask_gatehouse.http.respond import done, invalid, message, page, refused
from flask_gatehouse.http.rights import can
from flask_gatehouse.kernel.identity import Actor

from . import console_forms
from .forms import GatehouseForm
from .picture import picture_of
from .shown import PER_PAGE, errors_in_words, full_entry, present_identity

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask.typing import ResponseReturnValue

    from flask_gatehouse.domain.users import UserRecord

RECENT = 20

FORMS: dict[str, type[GatehouseForm]] = {
    "suspend": console_forms.TakingForm,
    "restore": console_forms.ReasonForm,
    "unlock": console_forms.ReasonForm,
    "mark_compromised": console_forms.TakingForm,
    "grant": console_forms.GrantForm,
    "withdraw": console_forms.WithdrawForm,
    "end_sessions": console_forms.TakingForm,
    "reset_factors": console_forms.TakingForm,
    "demand_factor": console_forms.DemandForm,
}


@requires("users:read")
def overview() -> ResponseReturnValue:
    """Show counts, what needs attention, what happened in the last day, and the users with their roles."""
    held, may_read_log = services(), can("audit:read")
    now = held.clock.now()
    with held.reading() as connection:
        counts = users.count_by_state(connection)
        matters = list(flow.chain_matters(connection, now)) if may_read_log else []
        matters += flow.matters(held, connection, now)
        picture = picture_of(flow.activity(held, connection, now)) if may_read_log else None
    return page("admin.html", counts=counts, matters=matters, picture=picture, **_listed("", ""))


@requires("users:read")
def list_users() -> ResponseReturnValue:
    """Show users by name, those whose name begins with what was searched for."""
    form = console_forms.SearchForm(request.args)
    if not form.validate():
        return page("admin_users.html", 422, users=[], search="", search_error=errors_in_words(form))
    return page("admin_users.html", **_listed(form.search.data, form.after.data))


def _listed(search: str, after: str) -> dict[str, Any]:
    held = services()
    with held.reading() as connection:
        found = users.page(connection, search=search, after=users.name_key(after) or "", limit=PER_PAGE + 1)
        shown = found[:PER_PAGE]
        roles = held.roles.names_of(connection, [user.id for user in shown], held.clock.now())
    following = shown[-1].username if len(found) > PER_PAGE else ""
    return {"users": shown, "roles": roles, "search": search, "after": following}


@requires("users:read")
def show_user(user_id: int) -> ResponseReturnValue:
    """Show one user: what keeps them out, grants, sessions, known browsers, recent activity, and what may be done."""
    context = _context(user_id)
    return page("admin_user.html", **context) if context else _unknown()


def _unknown() -> ResponseReturnValue:
    return message(404, "Not found", "There is no such user.")


def _context(user_id: int, acted: str = "", form: GatehouseForm | None = None) -> dict[str, Any] | None:
    held, identity = services(), present_identity()
    now = held.clock.now()
    with held.reading() as connection:
        user = users.find(connection, user_id)
        if user is None:
            return None
        grants = held.roles.grants_of(connection, user_id, now)
        is_admin = held.roles.rights_of(connection, user_id, now).is_admin
        obstacles = standing.obstacles_of(held, connection, user, now)
        entries = held.audit.search(connection, user_id=user_id, limit=RECENT) if can("audit:read") else None
        return {
            "user": user,
            "identity": identity,
            "is_fresh": wired().is_fresh(identity),
            "obstacles": obstacles,
            "has_password": not standing.WITHOUT_PASSWORD & {obstacle.hindrance for obstacle in obstacles},
            "grants": grants,
            "browsers": devices.of_user(connection, user_id),
            "all_roles": list(held.roles.all(connection)),
            "factors": seeds.enrolled_of(held, connection, user_id),
            "offers_factor": seeds.offers_factor(held),
            "is_demanded_of_all": held.settings.demands_factor,
            "sessions": held.sessions.live_of_user(connection, user_id, now, is_admin=is_admin),
            "entries": None if entries is None else [full_entry(entry, user_id) for entry in entries],
            "forms": _forms(user, acted, form),
            "acted": acted,
        }


def _forms(user: UserRecord, acted: str, form: GatehouseForm | None) -> dict[str, GatehouseForm]:
    """Return every action's form: the one that was sent as it came."""
    found = {name: form if form and name == acted else made() for name, made in FORMS.items()}
    if acted != "demand_factor":
        found["demand_factor"].demanded.data = user.aal > 1
    return found


def _run(
    name: str,
    user_id: int,
    flow: Callable[[Act, Any], UserRecord | int | Refused],
    told: Callable[[UserRecord | int], str],
) -> ResponseReturnValue:
    """Parse the form of an action, run its flow, and show the user again."""
    form = FORMS[name].of_request()
    if not form.validate():
        context = _context(user_id, name, form)
        return invalid(form, "admin_user.html", **context) if context else _unknown()
    identity = present_identity()
    act = Act(Actor.of(identity), identity, form.reason.data, here().source)
    outcome = flow(act, form)
    if isinstance(outcome, Refused):
        context = _context(user_id, name, form)
        if context is None or outcome.reason is Refusal.NOT_FOUND:
            return _unknown()
        return refused(outcome, "admin_user.html", form=form, **context)
    flash(told(outcome), "success")
    return done(url_for("gatehouse.admin_user", user_id=user_id))


@requires("users:suspend", fresh=True)
def suspend(user_id: int) -> ResponseReturnValue:
    """Suspend a user; every session is refused at its next request."""
    return _run("suspend", user_id, lambda act, _: administer.suspend(services(), act, user_id), _told("Suspended."))


@requires("users:suspend", fresh=True)
def restore(user_id: int) -> ResponseReturnValue:
    """Let a suspended user log in again."""
    return _run("restore", user_id, lambda act, _: administer.restore(services(), act, user_id), _told("Restored."))


@requires("users:unlock", fresh=True)
def unlock(user_id: int) -> ResponseReturnValue:
    """Zero the counts of wrong passwords."""
    return _run("unlock", user_id, lambda act, _: administer.unlock(services(), act, user_id), _told("Unlocked."))


@requires("users:suspend", fresh=True)
def mark_compromised(user_id: int) -> ResponseReturnValue:
    """Let a user's password prove nothing any more."""
    told = _told("Marked: the password opens nothing any more. All sessions have ended.")
    return _run("mark_compromised", user_id, lambda act, _: administer.mark_compromised(services(), act, user_id), told)


@requires("roles:grant", fresh=True)
def grant(user_id: int) -> ResponseReturnValue:
    """Grant a role, or change when a grant ends."""

    def flow(act: Act, form: console_forms.GrantForm) -> UserRecord | Refused:
        return administer.grant(services(), act, user_id, form.role.data, form.until.at)

    return _run("grant", user_id, flow, _told("Granted; it counts from the next request on."))


@requires("roles:grant", fresh=True)
def withdraw(user_id: int) -> ResponseReturnValue:
    """Withdraw a role; it stops counting at the next request."""

    def flow(act: Act, form: console_forms.WithdrawForm) -> UserRecord | Refused:
        return administer.withdraw(services(), act, user_id, form.role.data)

    return _run("withdraw", user_id, flow, _told("Withdrawn; it no longer counts."))


@requires("sessions:revoke", fresh=True)
def end_sessions(user_id: int) -> ResponseReturnValue:
    """End all sessions of a user."""

    def told(ended: UserRecord | int) -> str:
        return "1 session ended." if ended == 1 else f"{ended} sessions ended."

    return _run("end_sessions", user_id, lambda act, _: administer.end_sessions(services(), act, user_id), told)


@requires("users:factors", fresh=True)
def reset_factors(user_id: int) -> ResponseReturnValue:
    """Remove all second factors of a user who has lost them."""
    told = _told("Reset: the password alone logs in until another factor is enrolled. All sessions have ended.")
    return _run("reset_factors", user_id, lambda act, _: administer.reset_factors(services(), act, user_id), told)


@requires("users:factors", fresh=True)
def demand_factor(user_id: int) -> ResponseReturnValue:
    """Demand a second factor of a user, or no longer."""

    def flow(act: Act, form: console_forms.DemandForm) -> UserRecord | Refused:
        return administer.demand_factor(services(), act, user_id, is_demanded=form.demanded.data)

    return _run("demand_factor", user_id, flow, _told("Saved; it counts from the next request on."))


def _told(text: str) -> Callable[[UserRecord | int], str]:
    return lambda _: text
