"""What each route demands: labels found along `__wrapped__`, blueprints, static files, and faults that open holes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import TYPE_CHECKING, Any

import flask_login
from flask import Blueprint, Flask
from flask.views import MethodView

from flask_gatehouse.domain.policy import FRESH, LOGIN, PUBLIC, Requirement
from flask_gatehouse.kernel.errors import SetupError

from .labels import LABEL, LOST, Label, wrapped_chain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from werkzeug.routing import Rule

    from flask_gatehouse.domain.policy import Policy

View = Callable[..., Any]
MEND_PERMISSION = "mend the name, or call gate.permission(…)"


WELL_KNOWN = "/.well-known/"
"""Where others have fixed the place of a page."""


def _nothing() -> None:
    """Be wrapped, so that the code objects of Flask-Login's wrappers can be recognised."""


_FLASK_LOGIN = {
    flask_login.login_required(_nothing).__code__: Label(LOGIN, "flask_login.login_required"),
    flask_login.fresh_login_required(_nothing).__code__: Label(FRESH, "flask_login.fresh_login_required"),
}


@dataclass(frozen=True, slots=True)
class Guard:
    """What one route demands, ready for the hot path.

    Attributes:
        requirement: of all methods that `methods` does not name.
        labels: those the gate enforces, so that their wrappers need not.
        owed: permissions the view must `authorize()`, because an object rule narrows them (rule 23).
        methods: method → guard, for views with labels on methods: of every method, those without a label too.
        is_labelled: whether the route, in methods that `methods` does not name, has a label of its own.
        is_csrf_exempt: whether it proves itself otherwise.
        words: what it demands, for people, where that is more than its requirement.
    """

    requirement: Requirement
    labels: frozenset[object] = frozenset()
    owed: frozenset[str] = frozenset()
    methods: dict[str, Guard] = field(default_factory=dict)
    is_labelled: bool = False
    is_csrf_exempt: bool = False
    words: str = ""

    def of(self, method: str) -> Guard:
        """Return the guard of a method; HEAD is GET's."""
        if not self.methods:
            return self
        return self.methods.get("GET" if method == "HEAD" and "HEAD" not in self.methods else method, self)

    def __str__(self) -> str:
        """Say it in words."""
        if self.words:
            return self.words
        if self.methods:
            return "; ".join(f"{method}: {guard.requirement}" for method, guard in sorted(self.methods.items()))
        return str(self.requirement)


@dataclass(frozen=True, slots=True)
class RouteRow:
    """One line of `gatehouse routes`."""

    rule: str
    methods: tuple[str, ...]
    endpoint: str
    requirement_text: str
    is_labelled: bool
    error: str


@dataclass
class Openings:
    """What the app said about whole blueprints and endpoints: `gate.protect`, `gate.public`, `gate.csrf_exempt`."""

    protected: list[tuple[Blueprint, Label]] = field(default_factory=list)
    public: list[Blueprint | str] = field(default_factory=list)
    csrf_exempt: list[Blueprint | str] = field(default_factory=list)


class RouteTable:
    """The guards of one app.

    Args:
        app: the app.
        openings: what was said about blueprints and endpoints.
        policy: which permissions have object rules.
    """

    def __init__(self, app: Flask, openings: Openings, policy: Policy) -> None:
        self._app = app
        self._openings = openings
        self._policy = policy
        static = app.view_functions.get("static")
        self._static = static if _is_flasks_static(static) else None
        self._guards: dict[str, tuple[View | None, Guard]] = {}

    def guard(self, endpoint: str) -> Guard:
        """Return the guard of an endpoint; unknown views are closed, and a view put in another's place is read anew.

        Raises:
            SetupError: its labels contradict each other, or ask for a permission that nobody declared.
        """
        view = self._app.view_functions.get(endpoint)
        found = self._guards.get(endpoint)
        if found is None or found[0] is not view:
            found = self._guards[endpoint] = view, self._find(endpoint, view)
        return found[1]

    def forget(self) -> None:
        """Read all labels anew, after routes were added."""
        self._guards.clear()

    def _find(self, endpoint: str, view: View | None) -> Guard:
        if view is None:
            return Guard(LOGIN)
        if self._is_static(view):
            return Guard(PUBLIC, is_labelled=True, words="public (static files)")
        inherited = [label for blueprint, label in self._openings.protected if self._is_in(endpoint, blueprint)]
        own = list(_labels(view))
        view_class = getattr(view, "view_class", None)
        if view_class is not None:
            own += _labels(view_class.dispatch_request)  # one view for all methods, wherever these are named
        guard = self._combine(endpoint, [own, inherited])
        methods = self._method_guards(endpoint, view, [own, inherited])
        if not methods:
            return guard
        return replace(guard, methods=methods)

    def _combine(self, endpoint: str, levels: list[list[Label]]) -> Guard:
        """Join the labels of a view: `levels` holds the innermost first, a blueprint's last."""
        labels = list(dict.fromkeys(label for level in levels for label in level))  # `wraps` copies a label outwards
        self._require_declared(endpoint, labels)
        is_exempt = any(self._is_in(endpoint, part) for part in self._openings.csrf_exempt)
        try:
            requirement = _joined(levels)
        except SetupError as error:
            places = ", ".join(label.where for label in labels)
            msg = f"endpoint {endpoint!r}: {error} ({places}): remove one of the labels"
            raise SetupError(msg) from error
        if requirement is None:
            is_open = any(self._is_in(endpoint, part) for part in self._openings.public)
            return Guard(PUBLIC if is_open else LOGIN, is_labelled=is_open, is_csrf_exempt=is_exempt)
        owed = self._policy.ruled(requirement.permissions) - requirement.listed
        if requirement == LOGIN:
            requirement = LOGIN
        passed = frozenset(label for label in labels if not self._is_lifted(label, levels, owed))
        return Guard(requirement, passed, owed, is_labelled=True, is_csrf_exempt=is_exempt)

    def _is_lifted(self, label: Label, levels: list[list[Label]], owed: frozenset[str]) -> bool:
        """Tell whether a blueprint's label asked for objects and the view's own has waived that.

        It counts as passed no longer: a helper under the very same label owes its object still (rule 23).
        """
        if any(label in level for level in levels[:-1]):
            return False
        return not self._policy.ruled(label.requirement.permissions) - label.requirement.listed <= owed

    def _require_declared(self, endpoint: str, labels: list[Label]) -> None:
        for label in labels:
            for name in self._policy.undeclared(label.requirement.permissions):
                msg = f"endpoint {endpoint!r}: nobody declared permission {name!r} ({label.where}): {MEND_PERMISSION}"
                raise SetupError(msg)

    def _method_guards(self, endpoint: str, view: View, outer: list[list[Label]]) -> dict[str, Guard]:
        view_class = getattr(view, "view_class", None)
        if view_class is None or not issubclass(view_class, MethodView):
            return {}
        names = sorted({*(name.upper() for name in view_class.methods or ()), "HEAD"})  # a head() is no part of get()
        views = {name: found for name in names if (found := getattr(view_class, name.lower(), None)) is not None}
        labels = {name: list(_labels(found)) for name, found in views.items()}
        if not any(labels.values()):
            return {}
        return {name: self._combine(endpoint, [own, *outer]) for name, own in labels.items()}

    def _is_static(self, view: View) -> bool:
        """Recognise static files by the very function that Flask registered, never by name (rule 19)."""
        if self._static is not None and view is self._static:
            return True
        owner = getattr(view, "__self__", None)
        return isinstance(owner, Blueprint) and getattr(view, "__func__", None) is Blueprint.send_static_file

    def _is_in(self, endpoint: str, part: Blueprint | str) -> bool:
        if isinstance(part, str):
            if part not in self._app.blueprints:
                return endpoint == part
            if part in self._app.view_functions:
                msg = f"{part!r} is a blueprint and an endpoint: hand over the Blueprint itself, or rename one"
                raise SetupError(msg)
            return endpoint.startswith(f"{part}.")
        names = [name for name, blueprint in self._app.blueprints.items() if blueprint is part]
        return any(endpoint.startswith(f"{name}.") for name in names)

    def rows(self) -> list[RouteRow]:
        """Return every route with what guards it, faults beside it."""
        self.forget()
        lost = dict(self._lost_labels())
        rows = []
        for rule in sorted(self._app.url_map.iter_rules(), key=lambda rule: (rule.rule, rule.endpoint)):
            try:
                guard, error = self.guard(rule.endpoint), lost.get(rule.endpoint, "")
            except SetupError as fault:
                guard, error = Guard(LOGIN), str(fault)
            clash = self._clash(rule)
            methods = tuple(sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}))
            is_labelled = all(guard.of(method).is_labelled for method in methods or ("OPTIONS",))
            rows.append(RouteRow(rule.rule, methods, rule.endpoint, str(guard), is_labelled, error or clash))
        return rows

    def rule_faults(self) -> list[str]:
        """Return what is wrong with the object rules: each narrows a permission that nobody declared."""
        return [
            f"the rule at {_place(rule)} narrows permission {name!r}, which nobody declared: {MEND_PERMISSION}"
            for name, rule in self._policy.stray_rules()
        ]

    def require_sound(self) -> None:
        """Check all routes at once.

        Raises:
            SetupError: a label is lost, contradicts another or asks for a permission that nobody declared, an object
                rule narrows such a one, or a URL of ours is the host's too.
        """
        for fault in self.rule_faults():
            raise SetupError(fault)
        for row in self.rows():
            if row.error:
                raise SetupError(row.error)

    def _clash(self, rule: Rule) -> str:
        if not rule.endpoint.startswith("gatehouse."):
            return ""
        for other in self._app.url_map.iter_rules():
            is_other = not other.endpoint.startswith("gatehouse.") and other.rule == rule.rule
            if is_other and other.subdomain == rule.subdomain and (other.methods or set()) & (rule.methods or set()):
                both = (
                    f"{rule.rule} is both the app's own page ({other.endpoint!r}) and Gatehouse's ({rule.endpoint!r})"
                )
                if rule.rule.startswith(WELL_KNOWN):
                    return f"{both}: remove the app's own"
                return f"{both}: move one, or set GATEHOUSE_URL_PREFIX or GATEHOUSE_ADMIN_PREFIX"
        return ""

    def _lost_labels(self) -> Iterator[tuple[str, str]]:
        """Find labels put above `route()`: the route kept the bare function, so the label would never be seen."""
        chains = {name: list(wrapped_chain(view)) for name, view in self._app.view_functions.items()}
        reached = {id(function) for chain in chains.values() for function in chain}
        for endpoint, chain in chains.items():
            for function in chain:
                for wrapper in getattr(function, "__dict__", {}).get(LOST, ()):
                    if id(wrapper) not in reached and id(function) in reached:
                        label: Label = getattr(wrapper, LABEL)
                        msg = f"the label at {label.where} stands above route() of {endpoint!r} and is lost"
                        yield endpoint, f"{msg}: move it below the route decorator"


def _place(function: View) -> str:
    code = getattr(function, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else repr(function)


def _is_flasks_static(view: View | None) -> bool:
    """Tell whether a view is the lambda that Flask's constructor made for `static_folder`."""
    return getattr(view, "__code__", None) in Flask.__init__.__code__.co_consts


def _labels(view: View) -> Iterator[Label]:
    """Yield the labels of a view, outermost first; Flask-Login's decorators are labels too."""
    for function in wrapped_chain(view):
        for label in (
            _FLASK_LOGIN.get(getattr(function, "__code__", None)),
            getattr(function, "__dict__", {}).get(LABEL),  # its own, or one that `wraps` copied from further in
        ):
            if isinstance(label, Label):
                yield label


def _joined(levels: list[list[Label]]) -> Requirement | None:
    """Return what labels demand together, None where there are none.

    Raises:
        SetupError: they contradict each other.
    """
    joined: Requirement | None = None
    seen: set[Label] = set()
    for level in levels:
        requirements = [label.requirement for label in dict.fromkeys(level) if label not in seen]
        seen.update(level)
        if requirements:
            outer = reduce(Requirement.plus, requirements)
            joined = outer if joined is None else joined.beneath(outer)
    return joined
