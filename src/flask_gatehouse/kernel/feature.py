"""What an optional part brings. Features are data: off means not imported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from .clock import Instant
    from .identity import Proof


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
