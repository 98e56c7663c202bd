"""TOTP (RFC 6238): a code from a seed and the time. The only writer of `gatehouse_totp`.

The present time step and the one before it are taken (RFC 6238 section 5.2), each once. ASVS V6.5.5 asks for 30
seconds at most; the step before is taken as well, for a code typed as it runs out.
"""

from __future__ import annotations

import re
from hmac import compare_digest
from typing import TYPE_CHECKING

import pyotp
import segno
from sqlalchemy import bindparam, delete, func, select, update

from flask_gatehouse.kernel.errors import LostKeyError
from flask_gatehouse.kernel.feature import Resealed
from flask_gatehouse.kernel.identity import HAS, Proof
from flask_gatehouse.kernel.schema import totp
from flask_gatehouse.kernel.sealed import Sealed
from flask_gatehouse.kernel.sealing import Sealer
from flask_gatehouse.kernel.upsert import insert_into

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from flask_gatehouse.kernel.clock import Instant

STEP_MICROS = 30 * 1_000_000
_CODE = re.compile(r"[0-9]{6}")


class Totp:
    """The factor `totp`.

    Args:
        sealer: seals the seeds.
    """

    method = "totp"
    kind = HAS
    field = "code"

    def __init__(self, sealer: Sealer) -> None:
        self.sealer = sealer

    def enrolled(self, connection: Connection, user_id: int) -> bool:
        """Tell whether the user has a seed."""
        query = select(totp.c.user_id).where(totp.c.user_id == user_id)
        return connection.execute(query).one_or_none() is not None

    def verify(self, connection: Connection, user_id: int, answer: str, now: Instant) -> Proof | None:
        """Burn the time step whose code this is and return the proof, or None.

        Raises:
            LostKeyError: the secret that sealed the seed is not set.
        """
        query = select(totp.c.key_id, totp.c.sealed, totp.c.last_step).where(totp.c.user_id == user_id)
        row = connection.execute(query).one_or_none()
        if row is None:
            return None
        step = self.step_of(self.sealer.open(Sealed(row[0], bytes(row[1])), str(user_id)).decode(), answer, now)
        if step is None or step <= row[2]:
            return None
        burnt = update(totp).where(totp.c.user_id == user_id, totp.c.last_step < step)
        is_mine = connection.execute(burnt.values(last_step=step, used_at=now)).rowcount == 1
        return Proof(self.method, now, self.kind) if is_mine else None

    def new_seed(self) -> str:
        """Return a seed of 160 random bits in base 32 (RFC 4226 section 4)."""
        return pyotp.random_base32(32)

    def link(self, seed: str, *, name: str, issuer: str) -> str:
        """Return the `otpauth:` link that an authenticator app takes, as text or as a picture."""
        return pyotp.TOTP(seed, name=name, issuer=issuer).provisioning_uri()

    def picture(self, link: str) -> tuple[int, str]:
        """Return the link as a QR code: the side in squares, and the SVG path of the dark ones."""
        rows = segno.make(link, error="m", micro=False).matrix
        dark = ((x, y) for y, row in enumerate(rows) for x, is_dark in enumerate(row) if is_dark)
        return len(rows), "".join(f"M{x} {y}h1v1h-1z" for x, y in dark)

    def step_of(self, seed: str, answer: str, now: Instant) -> int | None:
        """Return the time step, the present one or the one before it, whose code this is; None: neither's."""
        code = answer.replace(" ", "")  # as apps show it, in two groups
        if not _CODE.fullmatch(code):
            return None
        present, generator = now // STEP_MICROS, pyotp.TOTP(seed)
        matching = [step for step in (present, present - 1) if compare_digest(generator.generate_otp(step), code)]
        return matching[0] if matching else None

    def enrol(self, connection: Connection, user_id: int, seed: str, step: int, now: Instant) -> None:
        """Store a seed that was confirmed by the code of a step; it takes the place of an older one."""
        sealed = self.sealer.seal(seed.encode(), str(user_id))
        values = {"key_id": sealed.key_id, "sealed": sealed.text, "last_step": step, "created_at": now, "used_at": now}
        statement = insert_into(connection, totp).values(user_id=user_id, **values)
        connection.execute(statement.on_conflict_do_update(index_elements=[totp.c.user_id], set_=values))

    def forget(self, connection: Connection, user_id: int, since: Instant = 0) -> bool:
        """Forget the seed if it was enrolled since then; False when there was none."""
        mine = delete(totp).where(totp.c.user_id == user_id, totp.c.created_at >= since)
        return connection.execute(mine).rowcount == 1

    def times(self, connection: Connection, user_id: int) -> tuple[Instant, Instant | None] | None:
        """Return when it was enrolled and last used, or None."""
        query = select(totp.c.created_at, totp.c.used_at).where(totp.c.user_id == user_id)
        row = connection.execute(query).one_or_none()
        return None if row is None else (row[0], row[1])

    def old_seals(self, connection: Connection) -> dict[str, int]:
        """Return how many seeds each secret but the present one has sealed, by the secret's id."""
        query = select(totp.c.key_id, func.count()).where(totp.c.key_id != self.sealer.present_id)
        return {key_id: int(count) for key_id, count in connection.execute(query.group_by(totp.c.key_id))}

    def reseal(self, connection: Connection, *, after: int = 0, limit: int = 500) -> Resealed:
        """Seal seeds of older secrets under the present one, some at a time; what is done already is passed over.

        Args:
            connection: the flow's transaction.
            after: the last user id of the batch before.
            limit: at most so many.
        """
        query = select(totp.c.user_id, totp.c.key_id, totp.c.sealed)
        due = query.where(totp.c.user_id > after, totp.c.key_id != self.sealer.present_id)
        rows = connection.execute(due.order_by(totp.c.user_id).limit(limit)).all()
        anew, lost = [], []
        for user_id, key_id, text in rows:
            try:
                new = self.sealer.seal(self.sealer.open(Sealed(key_id, bytes(text)), str(user_id)), str(user_id))
            except LostKeyError:
                lost.append((user_id, key_id))
                continue
            anew.append({"of_user": user_id, "before": text, "key_id": new.key_id, "sealed": new.text})
        if anew:
            mine = update(totp).where(totp.c.user_id == bindparam("of_user"), totp.c.sealed == bindparam("before"))
            connection.execute(mine.values(key_id=bindparam("key_id"), sealed=bindparam("sealed")), anew)
        return Resealed(len(anew), tuple(lost), rows[-1][0] if len(rows) == limit else 0)
