"""What a user can prove beside the password, and what is still owed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from flask_gatehouse.kernel.feature import Factor


RECOVERY = "recovery"
"""The kind of a recovery code's proof: neither `knows` nor `has`, so that it never counts as a factor (promise 8)."""


def outstanding(connection: Connection, factors: Iterable[Factor], user_id: int) -> tuple[Factor, ...]:
    """Return what a user may answer with after the password; nothing is due where no second factor is enrolled.

    Recovery codes alone are no second factor: they stand in for one.
    """
    found = tuple(factor for factor in factors if factor.enrolled(connection, user_id))
    return found if any(factor.kind != RECOVERY for factor in found) else ()
