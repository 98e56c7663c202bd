"""Argon2id (RFC 9106): digests of one lane by libsodium, which is faster, all others by the reference."""

from __future__ import annotations

import base64
import hmac
import os
import re

from argon2 import PasswordHasher, Type
from argon2.exceptions import HashingError, InvalidHashError, VerificationError
from argon2.low_level import ARGON2_VERSION, error_to_str
from nacl.exceptions import RuntimeError as SodiumError
from nacl.pwhash import argon2id

SALT_BYTES, HASH_BYTES = 16, 32
_ONE_LANE = re.compile(
    rf"\$argon2id\$v={ARGON2_VERSION}\$m=([1-9]\d{{0,8}}),t=([1-9]\d{{0,5}}),p=1"
    r"\$([A-Za-z0-9+/]{22})\$([A-Za-z0-9+/]{43})"
)
_LEAST_KIB = 8
_OUT_OF_MEMORY = error_to_str(-22)
"""What the reference implementation says of `ARGON2_MEMORY_ALLOCATION_ERROR`."""


class Argon2id:
    """Hashes with one cost, and verifies digests of any.

    Both implementations write and read the same digests; which one works follows from the digest alone, so that a dummy
    costs what the digest costs that it stands for.

    Args:
        cost: memory in KiB, passes, lanes.
    """

    def __init__(self, cost: tuple[int, int, int]) -> None:
        self._memory, self._passes, self._lanes = cost
        self._reference = PasswordHasher(self._passes, self._memory, self._lanes, HASH_BYTES, SALT_BYTES, type=Type.ID)

    def hash(self, secret: bytes) -> str:
        """Return a new digest with a salt of its own.

        Raises:
            MemoryError: there is not enough memory.
        """
        if self._lanes == 1:
            salt = os.urandom(SALT_BYTES)
            raw = _by_sodium(secret, salt, self._memory, self._passes)
            cost = f"m={self._memory},t={self._passes},p=1"
            return f"$argon2id$v={ARGON2_VERSION}${cost}${_text(salt)}${_text(raw)}"
        try:
            return self._reference.hash(secret)
        except HashingError as error:
            raise MemoryError from error

    def verify(self, digest: str, secret: bytes) -> bool:
        """Tell whether a digest is the secret's; one of no form that is known is nobody's.

        Raises:
            MemoryError: there is not enough memory; nothing was judged.
        """
        one_lane = _ONE_LANE.fullmatch(digest)
        if one_lane is None or int(one_lane[1]) < _LEAST_KIB:
            return self._verify_by_reference(digest, secret)
        memory, passes, salt, raw = one_lane.groups()
        found = _by_sodium(secret, _bytes(salt), int(memory), int(passes))
        return hmac.compare_digest(found, _bytes(raw))

    def is_outdated(self, digest: str) -> bool:
        """Tell whether a digest of Argon2 has another cost than new ones get; hashes nothing."""
        return self._reference.check_needs_rehash(digest)

    def _verify_by_reference(self, digest: str, secret: bytes) -> bool:
        try:
            return self._reference.verify(digest, secret)
        except (VerificationError, InvalidHashError) as error:
            if str(error) == _OUT_OF_MEMORY:
                raise MemoryError from error
            return False


def _by_sodium(secret: bytes, salt: bytes, memory: int, passes: int) -> bytes:
    try:
        return argon2id.kdf(HASH_BYTES, secret, salt, passes, memory * 1024)
    except SodiumError as error:  # its arguments were checked; what can fail is the memory
        raise MemoryError from error


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4))
