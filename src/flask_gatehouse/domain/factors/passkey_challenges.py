"""What a passkey is asked to sign. Nothing is stored of a question: it carries its end and a MAC over what it is for.

So a page that is only looked at writes nothing, a guest's neither. That a question was answered is stored
(`passkey_rows.burn`): each is answered once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask_gatehouse.kernel.keys import new_secret

if TYPE_CHECKING:
    from flask_gatehouse.kernel.clock import Instant
    from flask_gatehouse.kernel.keys import KeyRing

LIFE_MICROS = 300 * 1_000_000
"""A challenge waits five minutes for its answer."""
ENROL, LOGIN, FACTOR, STEP_UP = "enrol", "login", "factor", "step-up"


@dataclass(frozen=True, slots=True)
class Bound:
    """What a challenge is for; an answer counts for exactly this.

    Attributes:
        purpose: `ENROL`, `LOGIN`, `FACTOR` or `STEP_UP`.
        place: public id of the session that is asked, pending ones too; for `LOGIN` what its browser's CSRF tokens are
            made of, so that nobody is logged in by an answer that was given elsewhere.
        user_id: who must answer; None for `LOGIN`: whoever it is.
        handle: for `ENROL`: what the authenticator is to call the user.
    """

    purpose: str
    place: str
    user_id: int | None = None
    handle: bytes = b""

    def covered(self, nonce: str, expires_at: Instant) -> bytes:
        """Return what the MAC covers; no part holds the separator."""
        parts = (self.purpose, self.place, str(self.user_id), self.handle.hex(), nonce, str(expires_at))
        return "\n".join(parts).encode()


@dataclass(frozen=True, slots=True)
class Question:
    """A challenge that came back and is ours.

    Attributes:
        nonce: 256 random bits that name it.
        expires_at: its end.
    """

    nonce: str
    expires_at: Instant


def make(keys: KeyRing, bound: Bound, now: Instant) -> bytes:
    """Return a challenge; 256 bits of it are random (WebAuthn section 13.4.3 asks for 128)."""
    nonce, expires_at = new_secret(), now + LIFE_MICROS
    mac = keys.mac("passkey-challenge", bound.covered(nonce, expires_at)).hex()
    return f"{nonce}.{expires_at}.{mac}".encode()


def read(keys: KeyRing, bound: Bound, challenge: bytes, now: Instant) -> Question | None:
    """Return what a challenge asked, or None: it is not ours, not for this, or has run out."""
    parts = challenge.decode("ascii", "replace").split(".")
    if len(parts) != 3 or not (parts[1].isascii() and parts[1].isdecimal() and len(parts[1]) < 20):  # noqa: PLR2004
        return None
    nonce, expires_at, mac = parts[0], int(parts[1]), _unhex(parts[2])
    if not keys.verify("passkey-challenge", bound.covered(nonce, expires_at), mac) or now >= expires_at:
        return None
    return Question(nonce, expires_at)


def _unhex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""
