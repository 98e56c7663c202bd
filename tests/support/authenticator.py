"""An authenticator in software, for what no browser would do: answers that are kept, sent twice or to another place.

Chromium's virtual authenticator stands in `tests/browser`; this one speaks WebAuthn's own formats (section 6.1).
"""

from __future__ import annotations

import hashlib
import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

ORIGIN = "http://localhost"
PRESENT, VERIFIED, MAY_BE_BACKED_UP, BACKED_UP, HAS_KEY = 0x01, 0x04, 0x08, 0x10, 0x40


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(f"{text}===")


@dataclass
class Authenticator:
    """One passkey and what keeps it.

    Attributes:
        is_verifying: whether it makes sure of its user.
        is_present: whether it waits for its user to touch it.
        is_synced: whether its passkey lives on several devices; it may where this is not None.
        counts: whether its counter grows.
        origin: of the page that asks.
        count: its counter.
        cose: the public key it shows, where it is not its own.
        handle: what it calls the user, once it has a passkey.
    """

    is_verifying: bool = True
    is_present: bool = True
    is_synced: bool | None = None
    counts: bool = True
    origin: str = ORIGIN
    count: int = 0
    cose: dict[int, Any] | None = None
    handle: bytes = b""
    credential_id: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def create(self, options: str, **changes: Any) -> str:
        """Return what a browser would send after `navigator.credentials.create()`."""
        asked = json.loads(options)
        self.handle = _bytes(asked["user"]["id"])
        length = len(self.credential_id).to_bytes(2, "big")
        attested = bytes(16) + length + self.credential_id + cbor2.dumps(self.cose or self._public_key())
        told = {"fmt": "none", "attStmt": {}, "authData": self._data(asked["rp"]["id"], HAS_KEY) + attested}
        response = {
            "clientDataJSON": _text(self._client_data("webauthn.create", asked["challenge"], changes)),
            "attestationObject": _text(cbor2.dumps(told)),
            "transports": ["usb"],
        }
        return self._credential(response)

    def get(self, options: str, **changes: Any) -> str:
        """Return what a browser would send after `navigator.credentials.get()`.

        Args:
            options: what the page asks.
            changes: of the client data, such as `origin`, `type` or `crossOrigin`.
        """
        asked = json.loads(options)
        self.count += self.counts
        client_data = self._client_data("webauthn.get", asked["challenge"], changes)
        data = self._data(asked["rpId"], 0)
        signature = self.key.sign(data + hashlib.sha256(client_data).digest(), ec.ECDSA(hashes.SHA256()))
        response = {
            "clientDataJSON": _text(client_data),
            "authenticatorData": _text(data),
            "signature": _text(signature),
            "userHandle": _text(self.handle),
        }
        return self._credential(response)

    def _credential(self, response: dict[str, Any]) -> str:
        name = _text(self.credential_id)
        return json.dumps({"id": name, "rawId": name, "type": "public-key", "response": response})

    def _client_data(self, kind: str, challenge: str, changes: dict[str, Any]) -> bytes:
        told = {"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": False}
        return json.dumps(told | changes).encode()

    def _data(self, party: str, flags: int) -> bytes:
        flags |= (PRESENT if self.is_present else 0) | (VERIFIED if self.is_verifying else 0)
        flags |= (MAY_BE_BACKED_UP if self.is_synced is not None else 0) | (BACKED_UP if self.is_synced else 0)
        return hashlib.sha256(party.encode()).digest() + bytes([flags]) + self.count.to_bytes(4, "big")

    def _public_key(self) -> dict[int, Any]:
        numbers = self.key.public_key().public_numbers()
        return {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
