"""Recovery codes: ten, each of 128 random bits, used once. The only writer of `gatehouse_recovery_code`.

A code begins with its slot, so that one try costs one lookup and one digest.
"""

from __future__ import annotations

import re
import secrets
from base64 import b32encode
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, insert, select, update

from flask_gatehouse.kernel.identity import Proof
from flask_gatehouse.kernel.keys import secret_digest
from flask_gatehouse.kernel.schema import recovery_code

from . import RECOVERY

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from flask_gatehouse.kernel.clock import Instant

COUNT = 10
CODE_BYTES = 16
_CODE = re.compile(r"([0-9])([A-Z2-7]{26})")


class RecoveryCodes:
    """The way back in when the second factor is lost."""

    method = "recovery_code"
    kind = RECOVERY
    field = "recovery_code"

    def enrolled(self, connection: Connection, user_id: int) -> bool:
        """Tell whether a code is left."""
        return self.left(connection, user_id) > 0

    def left(self, connection: Connection, user_id: int) -> int:
        """Return how many codes are left."""
        query = select(func.count()).select_from(recovery_code)
        unused = query.where(recovery_code.c.user_id == user_id, recovery_code.c.used_at.is_(None))
        return int(connection.execute(unused).scalar_one())

    def verify(self, connection: Connection, user_id: int, answer: str, now: Instant) -> Proof | None:
        """Burn the code and return the proof, or None."""
        found = _CODE.fullmatch(re.sub(r"[ -]", "", answer).upper())
        if found is None:
            return None
        statement = update(recovery_code).where(
            recovery_code.c.user_id == user_id,
            recovery_code.c.slot == int(found[1]),
            recovery_code.c.digest == secret_digest(found[2]),
            recovery_code.c.used_at.is_(None),
        )
        is_mine = connection.execute(statement.values(used_at=now)).rowcount == 1
        return Proof(self.method, now, self.kind) if is_mine else None

    def renew(self, connection: Connection, user_id: int, now: Instant) -> list[str]:
        """Make ten new codes in place of all there were, and return them: they are shown once."""
        self.forget(connection, user_id)
        made = [_new() for _ in range(COUNT)]
        rows = [
            {"user_id": user_id, "slot": slot, "digest": secret_digest(code), "created_at": now}
            for slot, code in enumerate(made)
        ]
        connection.execute(insert(recovery_code), rows)
        return [_in_groups(f"{slot}{code}") for slot, code in enumerate(made)]

    def replace_used(self, connection: Connection, user_id: int, now: Instant) -> list[str]:
        """Make a new code in the place of each that was used, and return them: they are shown once.

        The caller holds the user's row.
        """
        mine = recovery_code.c.user_id == user_id
        used = select(recovery_code.c.slot).where(mine, recovery_code.c.used_at.is_not(None))
        made = {slot: _new() for slot in connection.execute(used.order_by(recovery_code.c.slot)).scalars()}
        for slot, code in made.items():
            statement = update(recovery_code).where(mine, recovery_code.c.slot == slot)
            connection.execute(statement.values(digest=secret_digest(code), created_at=now, used_at=None))
        return [_in_groups(f"{slot}{code}") for slot, code in made.items()]

    def forget(self, connection: Connection, user_id: int, since: Instant = 0) -> bool:
        """Forget the codes that were made since then, used ones too; False when there were none."""
        mine = delete(recovery_code).where(recovery_code.c.user_id == user_id, recovery_code.c.created_at >= since)
        return connection.execute(mine).rowcount > 0


def _new() -> str:
    return b32encode(secrets.token_bytes(CODE_BYTES)).decode().rstrip("=")


def _in_groups(code: str) -> str:
    return "-".join(code[start : start + 5] for start in range(0, len(code), 5))
