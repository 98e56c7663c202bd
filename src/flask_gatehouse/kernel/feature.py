"""What an optional part brings. Features are data: off means not imported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from .clock import Instant
    from .identity import Proof
    from .sealing import Sealer


@dataclass(frozen=True, slots=True)
class Resealed:
    """What one batch of a rotation did.

    Attributes:
        number: how many rows were sealed under the present secret.
        lost: user id of each that no secret opens which is set, and the secret's id, `""` where nothing names it.
        last: what to go on after; 0: that was all.
    """

    number: int
    lost: tuple[tuple[int, str], ...]
    last: int


class Factor(Protocol):
    """A kind of second proof that a user may have enrolled.

    Attributes:
        method: the name that its proofs carry, for example `totp`.
        kind: `has` or `knows`; two kinds make two factors.
        field: the form field that bears its answer (`code` or `recovery_code`).
    """

    method: str
    kind: str
    field: str

    def enrolled(self, connection: Connection, user_id: int) -> bool:
        """Tell whether the user has this factor."""

    def verify(self, connection: Connection, user_id: int, answer: str, now: Instant) -> Proof | None:
        """Burn the answer and return the proof, or None. Runs inside the flow's transaction."""

    def forget(self, connection: Connection, user_id: int, since: Instant = 0) -> bool:
        """Forget what the user has enrolled of it since then; False when that was nothing.

        Runs inside the flow's transaction. 0 means all; what does not know when it was enrolled goes in any case.
        """


class SealedFactor(Factor, Protocol):
    """A factor whose rows the root secret seals or vouches for, so that they outlive it only by being sealed anew."""

    def old_seals(self, connection: Connection) -> dict[str, int]:
        """Return how many rows each secret but the present one has sealed, by its id; `""`: none that is set."""

    def reseal(self, connection: Connection, *, after: int = 0, limit: int = 500) -> Resealed:
        """Seal rows of older secrets under the present one, some at a time; what is done already is passed over."""


class SeedFactor(SealedFactor, Protocol):
    """A factor that makes codes from a seed which the user's app keeps as well."""

    sealer: Sealer

    def new_seed(self) -> str:
        """Return a random seed."""

    def link(self, seed: str, *, name: str, issuer: str) -> str:
        """Return what the user's app takes the seed from."""

    def picture(self, link: str) -> tuple[int, str]:
        """Return the link as a QR code: the side in squares, and the SVG path of the dark ones."""

    def step_of(self, seed: str, answer: str, now: Instant) -> int | None:
        """Return the time step whose code this is, None where it is none that counts now."""

    def enrol(self, connection: Connection, user_id: int, seed: str, step: int, now: Instant) -> None:
        """Store a seed that was confirmed by the code of a step."""

    def times(self, connection: Connection, user_id: int) -> tuple[Instant, Instant | None] | None:
        """Return when it was enrolled and when it was last used, or None."""


class CodesFactor(Factor, Protocol):
    """Codes on paper that stand in for a lost factor."""

    def left(self, connection: Connection, user_id: int) -> int:
        """Return how many are left."""

    def renew(self, connection: Connection, user_id: int, now: Instant) -> list[str]:
        """Make new codes in place of all there were, and return them."""

    def replace_used(self, connection: Connection, user_id: int, now: Instant) -> list[str]:
        """Make new codes in place of the used ones alone, and return them."""


@dataclass(frozen=True, slots=True)
class Feature:
    """An optional part, as data.

    Attributes:
        name: the word in `GATEHOUSE_FEATURES`.
        needs: features that must be on as well.
        factors: second proofs it brings.
        permissions: name → meaning. Nothing reads it until the first feature that brings any is built.
        blueprint: factory of its pages, or None. Nothing calls it until then either.
    """

    name: str
    needs: tuple[str, ...] = ()
    factors: tuple[Factor, ...] = ()
    permissions: tuple[tuple[str, str], ...] = ()
    blueprint: Callable[[], object] | None = None
