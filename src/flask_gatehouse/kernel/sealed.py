"""A sealed text as it is stored; what seals and opens it stands in `sealing`, which needs an optional package."""

from __future__ import annotations

from typing import NamedTuple


class Sealed(NamedTuple):
    """A sealed text.

    Attributes:
        key_id: names the secret it was sealed under; says nothing about it.
        text: nonce and ciphertext.
    """

    key_id: str
    text: bytes
