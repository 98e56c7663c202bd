"""Labels: decorators that say what a route demands. They are read by the gate, and enforced when called elsewhere."""

from __future__ import annotations

import inspect
import sys
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

import flask_login

from flask_gatehouse.domain.policy import FOR_PROVING, FRESH, LOGIN, PUBLIC, Requirement, require_level
from flask_gatehouse.kernel.errors import ForgottenObjectError, SetupError

from .context import here
from .decisions import enforce

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import timedelta
    from types import FrameType

V = TypeVar("V", bound="Callable[..., Any]")
R = TypeVar("R")
LABEL = "__gatehouse_label__"
LOST = "__gatehouse_labelled_by__"
_ASKED: set[str] = set()
"""Roles that labels of this process name. Not kept by app: a guarded helper is no part of one before it is called, and
all that hangs on it is who may make a role of such a name. Of several apps in a process each is the stricter."""


class Label:
    """One label of one view, or of a whole blueprint (`gate.protect`).

    Attributes:
        requirement: what it demands.
        where: file and line of the decorator, for errors that name it.
    """

    __slots__ = ("requirement", "where")

    def __init__(self, requirement: Requirement, where: str) -> None:
        self.requirement = requirement
        self.where = where
        _ASKED.update(requirement.roles_all, *requirement.roles_any)

    def __repr__(self) -> str:
        """Say what and where."""
        return f"<Label {self.requirement} at {self.where}>"

    def __call__(self, view: V) -> V:
        """Return a wrapper that carries the label and enforces it where the gate has not.

        Raises:
            SetupError: a class was labelled; labels go on its methods or into `decorators`.
        """
        if inspect.isclass(view):
            msg = f"{self.where}: put the label into `decorators` of {view.__name__} or on its methods"
            raise SetupError(msg)
        label = self
        if inspect.iscoroutinefunction(view):

            @wraps(view)
            async def guarded_async(*args: Any, **kwargs: Any) -> Any:
                if label in here().passed:
                    return await view(*args, **kwargs)
                owed = _owe(label.requirement)
                return _paid(await view(*args, **kwargs), owed)

            return cast("V", self._mark(view, guarded_async))

        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            if label in here().passed:
                return view(*args, **kwargs)
            owed = _owe(label.requirement)
            return _paid(view(*args, **kwargs), owed)

        return cast("V", self._mark(view, guarded))

    def _mark(self, view: Callable[..., Any], wrapper: Any) -> Any:
        setattr(wrapper, LABEL, self)
        wrapper.__dict__.pop(LOST, None)  # `wraps` copied the inner function's own mark
        for function in wrapped_chain(view):  # `route()` may have kept any of them
            if hasattr(function, "__dict__"):
                function.__dict__.setdefault(LOST, []).append(wrapper)
        return wrapper


def asked_roles() -> frozenset[str]:
    """Return the names of all roles that labels of this process ask for, those of guarded helpers included."""
    return frozenset(_ASKED)


def _owe(requirement: Requirement) -> frozenset[str]:
    """Enforce a requirement, and remember that an object rule narrows what a guarded helper was asked for (rule 23)."""
    enforce(requirement)
    state = here()
    owed = state.wired.services.policy.ruled(requirement.permissions) - requirement.listed
    state.owed = state.owed | owed
    return owed


def _paid(found: R, owed: frozenset[str]) -> R:
    """Hand on what a guarded helper returned; in a body that is streaming nothing else could withhold it (rule 23).

    Raises:
        ForgottenObjectError: the helper owes its object still.
    """
    state = here()
    if state.is_answered and not owed <= state.authorized:
        forgotten = ", ".join(sorted(owed - state.authorized))
        msg = f"a streamed body was cut off: call authorize({forgotten}, obj) before or in the helper"
        raise ForgottenObjectError(msg)
    return found


def wrapped_chain(view: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Yield a view and what it wraps, outermost first; of a bound method its function, which carries the labels."""
    seen: set[int] = set()
    current: Callable[..., Any] | None = getattr(view, "__func__", view)
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = getattr(current, "__wrapped__", None)
        current = getattr(current, "__func__", current)


def _caller(above: int = 2) -> str:
    frame: FrameType | None = sys._getframe(above)  # noqa: SLF001 - the cheap way to name the decorator's line
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else "?"


def public(view: V) -> V:
    """Open a route to everyone.

    Args:
        view: the view; put the label below the route decorator.
    """
    return Label(PUBLIC, _caller())(view)


def login_required(view: V) -> V:
    """Demand a login, which is what a route without a label demands too.

    Args:
        view: the view, or a helper that is to be guarded wherever it is called.
    """
    return Label(LOGIN, _caller())(view)


def fresh_login_required(view: V) -> V:
    """Demand a proof younger than `GATEHOUSE_FRESH`, for administrators than five minutes at most.

    Args:
        view: the view, or a helper that is to be guarded wherever it is called.
    """
    return Label(FRESH, _caller())(view)


def role_required(name: str) -> Label:
    """Demand a role.

    Args:
        name: the role's name, upper and lower case aside. It need not exist yet.
    """
    return Label(Requirement(roles_all=frozenset({name.casefold()})), _caller())


def roles_required(*names: str) -> Label:
    """Demand all of these roles.

    Args:
        names: the roles' names, upper and lower case aside.
    """
    return Label(Requirement(roles_all=frozenset(name.casefold() for name in names)), _caller())


def roles_accepted(*names: str) -> Label:
    """Demand one of these roles.

    Args:
        names: the roles' names, upper and lower case aside.
    """
    return Label(Requirement(roles_any=(frozenset(name.casefold() for name in names),)), _caller())


def requires(permission: str, *, obj: bool = True, fresh: bool = False) -> Label:
    """Demand a permission.

    Args:
        permission: such as `invoice:read`; declared with `gate.permission()` before the first request.
        obj: False marks a list or create view that filters by itself, where the permission has an object rule.
        fresh: demand a fresh proof as well.
    """
    held = frozenset({permission})
    return Label(Requirement(permissions=held, is_fresh=fresh, listed=frozenset() if obj else held), _caller())


def for_proving(view: V) -> V:
    """Open a page of our own to a user who owes a factor: it is enrolled or proven there.

    Args:
        view: the view, or what another label made of it.
    """
    return Label(FOR_PROVING, _caller())(view)


def step_up_required(*, within: timedelta | None = None, aal: int = 1) -> Label:
    """Demand a proof of the given age and assurance.

    Args:
        within: age of the last proof; None: `GATEHOUSE_FRESH`.
        aal: assurance level, 1 or 2. Who has not proven two factors is asked to, who has enrolled none is led to it.

    Raises:
        SetupError: there is no such level.
    """
    where = _caller()
    require_level(aal, where)
    return Label(Requirement(is_fresh=within is None, within=within, aal=aal), where)


def as_label(given: Label | Callable[..., Any]) -> Label:
    """Return the label that a whole blueprint gets: one made by a call, or one of those that need no call.

    Args:
        given: what `gate.protect` was handed.

    Raises:
        SetupError: it is `public`, or no label; the text names the line and the mend.
    """
    where = _caller(3)
    if isinstance(given, Label):
        return given
    if given in (login_required, flask_login.login_required):
        return Label(LOGIN, where)
    if given in (fresh_login_required, flask_login.fresh_login_required):
        return Label(FRESH, where)
    mend = "call gate.public(blueprint)" if given is public else 'give it a label such as requires("reports:read")'
    msg = f"{where}: gate.protect() closes a blueprint and cannot take {getattr(given, '__name__', given)!r}: {mend}"
    raise SetupError(msg)
