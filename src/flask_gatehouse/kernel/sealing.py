"""Seal what must be read again, such as the seed of a TOTP: AES-256-GCM under a key of the ring (ASVS V11.3.2).

Needs the package `cryptography`, which the extras that seal anything bring along.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .errors import LostKeyError
from .sealed import Sealed

if TYPE_CHECKING:
    from .keys import KeyRing

NONCE_BYTES = 12


class Sealer:
    """Seals and opens for one purpose.

    Args:
        keys: the key ring; what an older secret sealed is opened while that is among the fallbacks.
        purpose: names the derived key, and is bound into every text.
    """

    def __init__(self, keys: KeyRing, purpose: str) -> None:
        self._keys = keys
        self._purpose = purpose

    def seal(self, text: bytes, owner: str) -> Sealed:
        """Seal a text for its owner alone: moved to another's row it opens no more.

        Args:
            text: what to hide.
            owner: whose it is, such as a user id.
        """
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = AESGCM(self._keys.keys(self._purpose)[0]).encrypt(nonce, text, self._bound(owner))
        return Sealed(self._keys.ids()[0], nonce + sealed)

    def open(self, sealed: Sealed, owner: str) -> bytes:
        """Return the text.

        Raises:
            LostKeyError: no secret that is set sealed it, or it is not this owner's: the message names the key id.
        """
        known = dict(zip(self._keys.ids(), self._keys.keys(self._purpose), strict=True))
        key = known.get(sealed.key_id)
        if key is None:
            msg = f"sealed under secret {sealed.key_id}, which is not set: add it to GATEHOUSE_SECRET_KEY_FALLBACKS"
            raise LostKeyError(msg)
        try:
            return AESGCM(key).decrypt(sealed.text[:NONCE_BYTES], sealed.text[NONCE_BYTES:], self._bound(owner))
        except (InvalidTag, ValueError) as error:  # the latter where so much is missing that it cannot be read
            msg = f"what secret {sealed.key_id} sealed for {self._purpose} of {owner} was changed or is another's"
            raise LostKeyError(msg) from error

    @property
    def present_id(self) -> str:
        """What names the present secret: for what it sealed no older one is needed."""
        return self._keys.ids()[0]

    def _bound(self, owner: str) -> bytes:
        return f"{self._purpose}:{owner}".encode()
