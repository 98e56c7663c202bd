"""The key ring: one secret in, a key per purpose out, rotated through the fallbacks."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SECRET_BYTES = 32
"""256 bits for every secret we make (ASVS V7.2.3, V11.5.1)."""

PURPOSES: Mapping[str, str] = {
    "audit-export": "MAC of first and last line of an exported file",
    "audit-head": "MAC of the audit chain's head",
    "audit-segment": "MAC of a deleted stretch of the chain",
    "csrf": "signing CSRF tokens",
    "csrf-seed": "what CSRF tokens of a session are made of",
    "device": "MAC in the cookie of a known browser",
    "first-admin-code": "the demo's one-time code off loopback",
    "guest-cookie": "signing the cookie of a guest's session",
    "key-id": "naming the secret beside what it sealed",
    "passkey-challenge": "MAC of what a passkey is asked",
    "passkey-handle": "what authenticators call a user",
    "passkey-row": "MAC over whose a passkey is and its public key",
    "role-seen": "naming the permissions of a role as they were looked at",
    "throttle-name": "hiding unknown login names in counters and events",
    "totp-seed": "sealing the seed of an authenticator app",
}
"""What keys are made for, for who operates the app; `docs/reference/keys.md` says more of each."""


def new_secret() -> str:
    """Return a fresh 256-bit secret as 43 URL-safe characters."""
    return secrets.token_urlsafe(SECRET_BYTES)


def new_public_id() -> str:
    """Return an id that may be shown and logged; knowing it opens nothing."""
    return secrets.token_hex(8)


def secret_digest(secret: str) -> bytes:
    """Return what is stored in place of a secret of 256 random bits: its SHA-256."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


class KeyRing:
    """Derives a key for each purpose from `SECRET_KEY`, so that no two uses share one.

    Args:
        secret: the present `SECRET_KEY`.
        fallbacks: older ones; they still verify, and never sign anything new.
    """

    def __init__(self, secret: str, fallbacks: tuple[str, ...] = ()) -> None:
        self._secrets = tuple(s.encode("utf-8", "surrogatepass") for s in (secret, *fallbacks))
        self._derived: dict[str, tuple[bytes, ...]] = {}

    def __repr__(self) -> str:
        """Hide the keys: objects end up in logs and tracebacks (ASVS V11.7.2)."""
        return f"<KeyRing of {len(self._secrets)}>"

    def keys(self, purpose: str) -> tuple[bytes, ...]:
        """Return the present key of a purpose, then those of the fallbacks."""
        found = self._derived.get(purpose)
        if found is None:
            label = f"flask-gatehouse/1/{purpose}".encode()
            found = tuple(hmac.digest(secret, label, "sha256") for secret in self._secrets)
            self._derived[purpose] = found
        return found

    def ids(self) -> tuple[str, ...]:
        """Return what names each secret beside what it sealed, in the order of `keys()`; it says nothing about it."""
        return tuple(key.hex()[:16] for key in self.keys("key-id"))

    def mac(self, purpose: str, data: bytes) -> bytes:
        """Return the HMAC-SHA-256 of the data under the present key of the purpose."""
        return hmac.digest(self.keys(purpose)[0], data, "sha256")

    def macs(self, purpose: str, data: bytes) -> list[bytes]:
        """Return the HMAC-SHA-256 of the data under each key of the purpose, the present one first."""
        return [hmac.digest(key, data, "sha256") for key in self.keys(purpose)]

    def verify(self, purpose: str, data: bytes, mac: bytes) -> bool:
        """Tell whether the MAC was made by the present or a fallback key, in constant time (ASVS V11.2.4)."""
        matches = [hmac.compare_digest(made, mac) for made in self.macs(purpose, data)]
        return any(matches)

    def maker(self, purpose: str, data: bytes, mac: bytes) -> str:
        """Return the id of the secret that made a MAC, `""` where none that is set did; timed as `verify`."""
        matches = [hmac.compare_digest(made, mac) for made in self.macs(purpose, data)]
        return next((key_id for key_id, is_made in zip(self.ids(), matches, strict=True) if is_made), "")

    def digest(self, purpose: str, text: str) -> str:
        """Return a keyed digest that hides the text, 32 hex characters long."""
        return self.mac(purpose, text.encode("utf-8", "surrogatepass")).hex()[:32]
