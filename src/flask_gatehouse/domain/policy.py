"""Who may do what. Pure: no database, no Flask, no clock; everything comes in as an argument."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from flask_gatehouse.kernel.errors import SetupError
from flask_gatehouse.kernel.identity import AAL2, ADMIN, NOTHING, assurance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from collections.abc import Set as AbstractSet
    from datetime import timedelta

    from flask_gatehouse.kernel.clock import Instant
    from flask_gatehouse.kernel.identity import Identity


BUILT_IN = {
    "users:read": "See users, their roles and sessions",
    "users:suspend": "Suspend and restore users, and mark their passwords as compromised",
    "users:unlock": "Zero a user's count of wrong passwords",
    "users:factors": "Demand second factors of users, and reset lost ones",
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
        is_for_proving: a factor is enrolled or proven here, so that it is open to who owes one.
    """

    is_public: bool = False
    permissions: frozenset[str] = frozenset()
    roles_all: frozenset[str] = frozenset()
    roles_any: tuple[frozenset[str], ...] = ()
    is_fresh: bool = False
    within: timedelta | None = None
    aal: int = 1
    listed: frozenset[str] = frozenset()
    is_for_proving: bool = False

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
            is_for_proving=self.is_for_proving or other.is_for_proving,
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
        if self.is_for_proving:
            parts.append("also while a factor is owed")
        return "login" + "".join(f", {part}" for part in parts)


PUBLIC = Requirement(is_public=True)
LOGIN = Requirement()
FRESH = Requirement(is_fresh=True)
FOR_PROVING = Requirement(is_for_proving=True)


def require_level(aal: int, what: str) -> int:
    """Return an assurance level that can be demanded.

    Raises:
        SetupError: it is neither 1 nor 2.
    """
    if aal not in {1, AAL2}:
        msg = f"{what}: aal={aal!r} cannot be demanded: say 1 or 2"
        raise SetupError(msg)
    return aal


@dataclass(frozen=True, slots=True)
class Demands:
    """What counts only in a session at AAL2, beside the roles in the database that say so themselves.

    Attributes:
        roles: names of roles; the set may grow while the app is built.
        permissions: whichever role they come from; the set may grow as well.
        is_admin_demanded: whether the role `admin` is among them, by a setting.
        is_all_demanded: whether that is everything, of everybody, by a setting.
    """

    roles: AbstractSet[str] = frozenset()
    permissions: AbstractSet[str] = frozenset()
    is_admin_demanded: bool = False
    is_all_demanded: bool = False

    def of_role(self, name: str) -> bool:
        """Tell whether a role that is built in or declared in code demands AAL2."""
        return self.is_admin_demanded if name == ADMIN else name in self.roles


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
STEP_UP = Decision(Reason.STEP_UP)


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
    if requirement is LOGIN and not identity.withheld.is_all:
        return ALLOWED
    missing = _missing_right(identity.at_aal2(), requirement)  # a refusal is falsy: `or` would pass it over
    if missing is None and _is_withheld(identity, requirement):
        missing = STEP_UP
    if missing is None:
        missing = _missing_proof(identity, requirement, freshness, now)
    return ALLOWED if missing is None else missing


def _is_withheld(identity: Identity, requirement: Requirement) -> bool:
    """Tell whether what is asked for is held, and counts only once two factors have been proven."""
    if identity.withheld is NOTHING:
        return False
    if identity.withheld.is_all and not _is_open_to_who_owes(identity, requirement):
        return True
    return _missing_right(identity, requirement) is not None


def _is_open_to_who_owes(identity: Identity, requirement: Requirement) -> bool:
    """Tell whether a page is open to who owes a factor; while an alarm stands, only where none is enrolled."""
    asks_proof = requirement.is_fresh or requirement.within is not None
    return requirement.is_for_proving and not (asks_proof and identity.withheld.is_alarmed)


def _missing_right(identity: Identity, requirement: Requirement) -> Decision | None:
    roles = frozenset(identity.roles)
    for name in sorted(requirement.roles_all - roles):
        return Decision(Reason.MISSING_ROLE, name)
    for group in requirement.roles_any:
        if not group & roles:
            return Decision(Reason.MISSING_ROLE, " or ".join(sorted(group)))
    for name in sorted(name for name in requirement.permissions if not identity.holds(name)):
        return Decision(Reason.MISSING_PERMISSION, name)
    return None


def _missing_proof(identity: Identity, requirement: Requirement, freshness: Freshness, now: Instant) -> Decision | None:
    if requirement.aal > 1 and requirement.aal > assurance(identity.proofs):  # level 1 is to be logged in at all
        return STEP_UP
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
        self.demanding: set[str] = set()
        self._rules: dict[str, Callable[[Identity, object], bool]] = {}

    def declare(self, name: str, meaning: str, aal: int = 1) -> None:
        """Declare a permission such as `invoice:refund`; at `aal` 2 it counts only once two factors have been proven.

        Raises:
            SetupError: the name is not `resource:action`, or there is no such level.
        """
        if not name.replace(":", "").replace("-", "").replace("_", "").replace(".", "").isalnum() or ":" not in name:
            msg = f"permission {name!r}: name it resource:action, such as invoice:refund"
            raise SetupError(msg)
        if require_level(aal, f"permission {name!r}") == AAL2:
            self.demanding.add(name)
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
            is_held = identity.at_aal2().holds(permission)
            return STEP_UP if is_held else Decision(Reason.MISSING_PERMISSION, permission)
        rule = self._rules.get(permission)
        if rule is None:
            return ALLOWED
        if obj is None or rule(identity, obj) is not True:
            return Decision(Reason.OBJECT_RULE, permission)
        return ALLOWED
