"""Who may do what. Pure: no database, no Flask, no clock; everything comes in as an argument."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from flask_gatehouse.kernel.errors import SetupError
from flask_gatehouse.kernel.identity import assurance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import timedelta

    from flask_gatehouse.kernel.clock import Instant
    from flask_gatehouse.kernel.identity import Identity


BUILT_IN = {
    "users:read": "See users, their roles and sessions",
    "users:suspend": "Suspend and restore users",
    "users:unlock": "Zero a user's count of wrong passwords",
    "users:factors": "Reset users' second factors, for who has lost them",
    "roles:edit": "Make, change and delete roles",
    "roles:grant": "Grant and withdraw roles",
    "sessions:revoke": "End other users' sessions",
    "audit:read": "Read the audit log",
}
"""Permissions that Gatehouse's own pages ask for, with their meaning."""


class Reason(Enum):
    """Why a decision fell as it did."""

    ALLOWED = "allowed"
    GUEST = "nobody is logged in"
    MISSING_ROLE = "a role is missing"
    MISSING_PERMISSION = "a permission is missing"
    OBJECT_RULE = "the rule of this permission says no for this object"
    STALE = "the last proof is not fresh"
    STEP_UP = "a second factor must be proven"
    ENROL = "a second factor must be enrolled"


@dataclass(frozen=True, slots=True)
class Requirement:
    """What a route's label demands. All parts must hold; an empty one asks for a login only.

    Attributes:
        is_public: nothing is asked, nobody is looked up.
        permissions: every one of them must be held.
        roles_all: every one of them must be held; case-folded.
        roles_any: of each group one must be held; case-folded.
        is_fresh: the last proof must be younger than the set age.
        within: as `is_fresh`, with an age of its own.
        aal: assurance level that the session's proofs must reach.
        listed: permissions whose object rules the view applies itself (`obj=False`).
    """

    is_public: bool = False
    permissions: frozenset[str] = frozenset()
    roles_all: frozenset[str] = frozenset()
    roles_any: tuple[frozenset[str], ...] = ()
    is_fresh: bool = False
    within: timedelta | None = None
    aal: int = 1
    listed: frozenset[str] = frozenset()

    def plus(self, other: Requirement) -> Requirement:
        """Return what stacked labels demand together; a permission is listed where no label demands its object.

        Raises:
            SetupError: one opens the route and the other guards it.
        """
        if self.is_public or other.is_public:
            msg = "@public stands beside another label: a route is open or guarded, not both"
            raise SetupError(msg)
        demanded = (self.permissions - self.listed) | (other.permissions - other.listed)
        ages = [age for age in (self.within, other.within) if age is not None]
        return Requirement(
            permissions=self.permissions | other.permissions,
            roles_all=self.roles_all | other.roles_all,
            roles_any=self.roles_any + other.roles_any,
            is_fresh=self.is_fresh or other.is_fresh,
            within=min(ages, default=None),
            aal=max(self.aal, other.aal),
            listed=(self.listed | other.listed) - demanded,
        )

    def beneath(self, outer: Requirement) -> Requirement:
        """Return what a view's own label and the one around it (of its class, its blueprint) demand together.

        About objects the inner label has the word: an outer `obj=False` never lifts what the view itself demands.

        Raises:
            SetupError: one opens the route and the other guards it.
        """
        return replace(self.plus(outer), listed=self.listed | (outer.listed - self.permissions))

    def __str__(self) -> str:
        """Say it in words, as `gatehouse routes` prints it."""
        if self.is_public:
            return "public"
        parts = [f"permission {name}" for name in sorted(self.permissions)]
        parts += [f"role {name}" for name in sorted(self.roles_all)]
        parts += [f"one role of {', '.join(sorted(group))}" for group in self.roles_any]
        if self.is_fresh or self.within is not None:
            parts.append(f"fresh within {self.within}" if self.within is not None else "fresh")
        if self.aal > 1:
            parts.append(f"AAL{self.aal}")
        return "login" + "".join(f", {part}" for part in parts)


PUBLIC = Requirement(is_public=True)
LOGIN = Requirement()
FRESH = Requirement(is_fresh=True)


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to "may this identity do that", with its reason.

    Attributes:
        reason: why.
        missing: the role or permission that is missing, in words; empty otherwise.
    """

    reason: Reason
    missing: str = ""

    @property
    def allowed(self) -> bool:
        """Whether it may."""
        return self.reason is Reason.ALLOWED

    def __bool__(self) -> bool:
        """Be as true as `allowed`."""
        return self.reason is Reason.ALLOWED


ALLOWED = Decision(Reason.ALLOWED)
GUEST = Decision(Reason.GUEST)


@dataclass(frozen=True, slots=True)
class Freshness:
    """How old the last proof may be, in microseconds.

    Attributes:
        everyone: for users.
        admins: for administrators, and for factor changes.
    """

    everyone: int
    admins: int

    def of(self, identity: Identity) -> int:
        """Return the age that holds for this identity."""
        return self.admins if identity.is_admin else self.everyone


def is_fresh(identity: Identity, freshness: Freshness, now: Instant) -> bool:
    """Tell whether the identity's last proof is young enough."""
    return bool(identity.proven_at) and now - identity.proven_at < freshness.of(identity)


def decide(identity: Identity | None, requirement: Requirement, freshness: Freshness, now: Instant) -> Decision:
    """Decide whether an identity meets a requirement.

    Args:
        identity: None for a guest.
        requirement: the label of the route.
        freshness: how old a proof may be.
        now: the present instant.

    Returns:
        `ALLOWED`, or a decision that names the first thing missing: login, role or permission, then proof.
    """
    if requirement.is_public:
        return ALLOWED
    if identity is None or now >= identity.granted_until:
        return GUEST
    if requirement is LOGIN:
        return ALLOWED
    missing = _missing_right(identity, requirement)  # a refusal is falsy: `or` would pass it over
    if missing is None:
        missing = _missing_proof(identity, requirement, freshness, now)
    return ALLOWED if missing is None else missing


def _missing_right(identity: Identity, requirement: Requirement) -> Decision | None:
    roles = frozenset(identity.roles)
    for name in sorted(requirement.roles_all - roles):
        return Decision(Reason.MISSING_ROLE, name)
    for group in requirement.roles_any:
        if not group & roles:
            return Decision(Reason.MISSING_ROLE, " or ".join(sorted(group)))
    if not identity.is_admin:
        for name in sorted(requirement.permissions - identity.permissions):
            return Decision(Reason.MISSING_PERMISSION, name)
    return None


def _missing_proof(identity: Identity, requirement: Requirement, freshness: Freshness, now: Instant) -> Decision | None:
    if requirement.aal > 1 and requirement.aal > assurance(identity.proofs):  # level 1 is to be logged in at all
        return Decision(Reason.STEP_UP)
    if requirement.is_fresh and not is_fresh(identity, freshness, now):
        return Decision(Reason.STALE)
    if requirement.within is not None:
        age = requirement.within.total_seconds() * 1_000_000
        if not identity.proven_at or now - identity.proven_at >= age:
            return Decision(Reason.STALE)
    return None


class Policy:
    """The permissions of one app and the object rules that narrow them."""

    def __init__(self) -> None:
        self.permissions = dict(BUILT_IN)
        self._rules: dict[str, Callable[[Identity, object], bool]] = {}

    def declare(self, name: str, meaning: str) -> None:
        """Declare a permission such as `invoice:refund`.

        Raises:
            SetupError: the name is not `resource:action`.
        """
        if not name.replace(":", "").replace("-", "").replace("_", "").replace(".", "").isalnum() or ":" not in name:
            msg = f"permission {name!r}: name it resource:action, such as invoice:refund"
            raise SetupError(msg)
        self.permissions[name] = meaning

    def add_rule(self, permission: str, rule: Callable[[Identity, object], bool]) -> None:
        """Narrow a permission by a rule over the object; it holds for administrators too.

        Raises:
            SetupError: the permission has a rule already.
        """
        if permission in self._rules:
            msg = f"permission {permission!r} has two rules: join them in one function"
            raise SetupError(msg)
        self._rules[permission] = rule

    def undeclared(self, permissions: Iterable[str]) -> list[str]:
        """Return those of the permissions that nobody declared, sorted: misspelt, most likely."""
        return sorted(set(permissions) - self.permissions.keys())

    def stray_rules(self) -> list[tuple[str, Callable[[Identity, object], bool]]]:
        """Return the rules that narrow a permission nobody declared, by its name."""
        return [(name, self._rules[name]) for name in self.undeclared(self._rules)]

    def ruled(self, permissions: Iterable[str]) -> frozenset[str]:
        """Return those of the permissions that have an object rule."""
        return frozenset(permissions) & self._rules.keys()

    def decide_object(self, identity: Identity | None, permission: str, obj: object, now: Instant) -> Decision:
        """Decide on one object: the permission must be held **and** its rule, where one exists, be true.

        Without an object a permission that has a rule is refused.
        """
        if identity is None or now >= identity.granted_until:
            return GUEST
        if not identity.holds(permission):
            return Decision(Reason.MISSING_PERMISSION, permission)
        rule = self._rules.get(permission)
        if rule is None:
            return ALLOWED
        if obj is None or rule(identity, obj) is not True:
            return Decision(Reason.OBJECT_RULE, permission)
        return ALLOWED
