"""Administrators' pages of roles: what each permits and who holds it; make, change and delete those of the database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import flash, request, url_for

from flask_gatehouse.flows import edit_roles, seeds
from flask_gatehouse.flows.acts import Act
from flask_gatehouse.flows.outcomes import Refusal, Refused
from flask_gatehouse.http.context import here, services, wired
from flask_gatehouse.http.labels import asked_roles, requires
from flask_gatehouse.http.respond import done, invalid, message, page, refused
from flask_gatehouse.kernel.identity import Actor

from . import console_forms
from .forms import GatehouseForm
from .shown import PER_PAGE, errors_in_words, present_identity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flask.typing import ResponseReturnValue

    from flask_gatehouse.flows.edit_roles import RoleShown

UNDECLARED = "No longer declared by the app"


@requires("users:read")
def list_roles() -> ResponseReturnValue:
    """Show every role with what it permits and where it is defined."""
    return page("admin_roles.html", **_list_context(console_forms.NewRoleForm()))


@requires("roles:edit", fresh=True)
def create() -> ResponseReturnValue:
    """Make a role."""
    form = console_forms.NewRoleForm.of_request()
    if not form.validate():
        return invalid(form, "admin_roles.html", **_list_context(form))
    act, asked = _act(form.reason.data), asked_roles()
    outcome = edit_roles.create(
        services(), act, form.role.data, form.permission.data, asked, is_factor_demanded=form.demanded.data
    )
    if isinstance(outcome, Refused):
        return refused(outcome, "admin_roles.html", **_list_context(form), form=form)
    flash(f"The role {outcome} was made.", "success")
    return done(_url(outcome), 201)


@requires("users:read")
def show_role(name: str) -> ResponseReturnValue:
    """Show one role and who holds it, and what would change for whom, where permissions are tried on."""
    form = console_forms.RoleForm(request.args)
    if not form.validate():
        context = _context(name, None)
        return page("admin_role.html", 422, search_error=errors_in_words(form), **context) if context else _unknown()
    is_trying = "seen" in request.args
    context = _context(name, form.permission.data if is_trying else None, after=form.after.number)
    return page("admin_role.html", **context) if context else _unknown()


@requires("roles:edit", fresh=True)
def edit(name: str) -> ResponseReturnValue:
    """Save what a role permits from now on."""
    form = console_forms.EditRoleForm.of_request()
    if not form.validate():
        context = _context(name, form.permission.data, edit=form)
        return invalid(form, "admin_role.html", **context) if context else _unknown()
    act = _act(form.reason.data)
    outcome = edit_roles.change(services(), act, name, form.permission.data, form.seen.data)
    if isinstance(outcome, Refused):
        return _refuse(outcome, _context(name, form.permission.data, edit=form), form)
    flash("Saved; it counts from the next request on.", "success")
    return done(_url(outcome))


@requires("roles:edit", fresh=True)
def demand_factor(name: str) -> ResponseReturnValue:
    """Let a role count only once two factors have been proven, or without."""
    form = console_forms.DemandForm.of_request()
    if not form.validate():
        context = _context(name, None, demand=form)
        return invalid(form, "admin_role.html", **context) if context else _unknown()
    outcome = edit_roles.demand_factor(services(), _act(form.reason.data), name, is_demanded=form.demanded.data)
    if isinstance(outcome, Refused):
        return _refuse(outcome, _context(name, None, demand=form), form)
    flash("Saved; it counts from the next request on.", "success")
    return done(_url(outcome))


@requires("roles:edit", fresh=True)
def delete(name: str) -> ResponseReturnValue:
    """Delete a role, and withdraw it from all who hold it."""
    form = console_forms.DeleteRoleForm.of_request()
    if not form.validate():
        context = _context(name, None, drop=form)
        return invalid(form, "admin_role.html", **context) if context else _unknown()
    outcome = edit_roles.delete(services(), _act(form.reason.data), name, form.seen.data)
    if isinstance(outcome, Refused):
        return _refuse(outcome, _context(name, None, drop=form), form)
    flash(f"The role {outcome} was deleted.", "success")
    return done(url_for("gatehouse.admin_roles"))


def _refuse(outcome: Refused, context: dict[str, Any] | None, form: GatehouseForm) -> ResponseReturnValue:
    if context is None or outcome.reason is Refusal.NOT_FOUND:
        return _unknown()
    return refused(outcome, "admin_role.html", **context, form=form)


def _act(reason: str = "") -> Act:
    identity = present_identity()
    return Act(Actor.of(identity), identity, reason, here().source)


def _url(name: str) -> str:
    return url_for("gatehouse.admin_role", name=name)


def _unknown() -> ResponseReturnValue:
    return message(404, "Not found", "There is no such role.")


def _list_context(form: console_forms.NewRoleForm) -> dict[str, Any]:
    held, identity = services(), present_identity()
    with held.reading() as connection:
        found, demands = held.roles.all(connection), edit_roles.demands_of(held, connection)
    rows = [(name, edit_roles.source_of(held, name), permissions) for name, permissions in found.items()]
    permissions = _meanings(())
    shown = _asked(identity) | {"roles": rows, "permissions": permissions, "new": form, "can_stand_in_url": _is_segment}
    shown |= {"demands": demands, "offers_factor": seeds.offers_factor(held)}
    return shown


def _context(
    name: str,
    wanted: Iterable[str] | None,
    *,
    after: int = 0,
    edit: console_forms.EditRoleForm | None = None,
    drop: console_forms.DeleteRoleForm | None = None,
    demand: console_forms.DemandForm | None = None,
) -> dict[str, Any] | None:
    """Return what the page of one role shows; None: there is no such role."""
    held, identity = services(), present_identity()
    chosen = None if wanted is None else frozenset(wanted)
    role = edit_roles.look(held, name, wanted=chosen, after=after, limit=PER_PAGE)
    if role is None:
        return None
    is_stored = role.source == edit_roles.STORED
    present = role.permissions or frozenset()
    return _asked(identity) | {
        "role": role,
        "ticked": present if chosen is None else chosen,
        "wanted": chosen if is_stored else None,
        "added": sorted((chosen or frozenset()) - present),
        "removed": sorted(present - (present if chosen is None else chosen)),
        "touched": [holder for holder in role.holders if holder.gains or holder.loses],
        "permissions": _meanings(present),
        "hindrance": edit_roles.hindrance(held, _act(), name) if is_stored else None,
        "edit": edit or console_forms.EditRoleForm(),
        "drop": drop or console_forms.DeleteRoleForm(),
        "demand": demand or _demand_form(role),
        "offers_factor": seeds.offers_factor(held),
        "is_demanded_of_all": held.settings.demands_factor,
        "acted": "edit" if edit else "delete" if drop else "demand" if demand else "",
        "is_stored": is_stored,
        "query": _query(role, chosen),
    }


def _demand_form(role: RoleShown) -> console_forms.DemandForm:
    form = console_forms.DemandForm()
    form.demanded.data = role.aal > 1
    return form


def _query(role: RoleShown, chosen: frozenset[str] | None) -> dict[str, Any]:
    """Return what brings the same page again."""
    return {} if chosen is None else {"seen": role.seen, "permission": sorted(chosen)}


def _asked(identity: Any) -> dict[str, Any]:
    return {"identity": identity, "is_fresh": wired().is_fresh(identity)}


def _meanings(present: Iterable[str]) -> list[tuple[str, str]]:
    """Return every declared permission with its meaning, and those that a role has all the same."""
    declared = services().policy.permissions
    return sorted({**dict.fromkeys(present, UNDECLARED), **declared}.items())


def _is_segment(name: str) -> bool:
    """Tell whether a role's name can stand in a URL: one declared in code may be anything."""
    return "/" not in name and name not in {".", ".."}
