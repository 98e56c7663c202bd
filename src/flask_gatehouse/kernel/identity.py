"""Who a request acts as. Frozen data without behaviour that could look anything up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .clock import Instant

ADMIN = "admin"
"""The built-in role: it holds every permission and cannot be edited."""

FOREVER: Instant = 1 << 62
"""An instant that never comes: the end of a grant without end."""

KNOWS = "knows"
HAS = "has"
IS = "is"
"""Kinds of proof. What the host app vouches for (`login_user`, method `app`) counts as `knows`; that an authenticator
itself made sure of its user, by a fingerprint or a PIN that never leaves it, counts as `is`."""
FACTORS = frozenset({KNOWS, HAS, IS})
AAL2 = 2


@dataclass(frozen=True, slots=True)
class Proof:
    """One authenticator that succeeded.

    Attributes:
        method: what was shown, for example `password` or `totp`.
        at: when, in microseconds.
        kind: `knows`, `has` or `is`.
    """

    method: str
    at: Instant
    kind: str


def renewed(proofs: tuple[Proof, ...], proof: Proof) -> tuple[Proof, ...]:
    """Return the proofs with this one in place of the older one of its method, newest last."""
    return (*(old for old in proofs if old.method != proof.method), proof)


def assurance(proofs: tuple[Proof, ...]) -> int:
    """Return the authenticator assurance level (1 or 2) that these proofs give; 0 without any.

    Two factors means two *kinds*: two passwords stay at level 1 (NIST SP 800-63B 2.2.1). A kind that is no factor, such
    as that of a recovery code, counts for nothing.
    """
    return min(len({proof.kind for proof in proofs} & FACTORS), AAL2)


class Withheld(NamedTuple):
    """What a user holds and may not use in this session, because it demands more assurance than the proofs give.

    Attributes:
        is_admin: whether the role `admin` is among the roles.
        is_all: whether a factor is demanded of the user, so that nothing counts but where one is enrolled or proven.
        is_alarmed: whether that is because the user's "this wasn't me" stands: then none is enrolled either (rule 32).
    """

    roles: frozenset[str] = frozenset()
    permissions: frozenset[str] = frozenset()
    is_admin: bool = False
    is_all: bool = False
    is_alarmed: bool = False


NOTHING = Withheld()


class Identity(NamedTuple):
    """The user a request acts as, with proofs and permissions as they stood at the request's one read.

    A named tuple, as it is made once a request: a frozen dataclass costs five times as much to make.

    Attributes:
        user_id: the row of `gatehouse_user`.
        roles: sorted names of the roles that count now.
        permissions: what those roles allow; `is_admin` means all of them.
        proofs: authenticators that succeeded in this session, oldest first.
        proven_at: the instant of the newest proof (0: none).
        granted_until: earliest end of a grant counted here; afterwards it must be read anew.
        session_id: public id of the session, `""` outside one.
        scheme: how the request showed who it is (`session`).
        withheld: what would count besides, had two factors been proven.
    """

    user_id: int
    username: str
    email: str | None
    roles: tuple[str, ...]
    permissions: frozenset[str]
    is_admin: bool
    proofs: tuple[Proof, ...]
    proven_at: Instant
    granted_until: Instant
    session_id: str
    scheme: str
    withheld: Withheld = NOTHING

    def holds(self, permission: str) -> bool:
        """Tell whether the permission is held by role and counts; object rules are the policy's business."""
        if self.is_admin:
            return permission not in self.withheld.permissions
        return permission in self.permissions

    def at_aal2(self) -> Identity:
        """Return who this would be had two factors been proven."""
        held = self.withheld
        if held is NOTHING:
            return self
        return self._replace(
            roles=tuple(sorted({*self.roles, *held.roles})),
            permissions=self.permissions | held.permissions,
            is_admin=self.is_admin or held.is_admin,
            withheld=NOTHING,
        )


@dataclass(frozen=True, slots=True)
class Actor:
    """Whom the audit log names as the doer: a user, or a door such as the command line.

    Attributes:
        user_id: None when no user acts.
        label: the username, or `cli`, `app`, `system`, `guest`.
    """

    user_id: int | None
    label: str

    @classmethod
    def of(cls, identity: Identity) -> Actor:
        """Return the actor that an identity is."""
        return cls(identity.user_id, identity.username)


GUEST = Actor(None, "guest")
CLI = Actor(None, "cli")
APP = Actor(None, "app")
SYSTEM = Actor(None, "system")


@dataclass(frozen=True, slots=True)
class Source:
    """Where an act comes from.

    Attributes:
        address: the client's IP address, proxies resolved; `""` for the command line.
        agent: the user agent, cleaned and cut to 256 characters.
        request_id: ties the events of one request together.
    """

    address: str = ""
    agent: str = ""
    request_id: str = ""
