"""A guest's `flask.session`: a signed cookie that costs no row."""

from __future__ import annotations

import hashlib
from typing import Any

from flask.json.tag import TaggedJSONSerializer
from itsdangerous import BadData, URLSafeTimedSerializer

GUEST_SECONDS = 31 * 86400
GUEST_MAX = 3896
"""Longest value: browsers drop a cookie of more than 4096 bytes, name and attributes included."""
tagged = TaggedJSONSerializer()


class GuestCookies:
    """Signs and reads guests' cookies.

    Args:
        keys: the present key first; it signs, the others still verify.
    """

    def __init__(self, keys: tuple[bytes, ...]) -> None:
        self._serializer = URLSafeTimedSerializer(
            list(reversed(keys)),
            salt="gatehouse-guest",
            serializer=tagged,
            signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
        )

    def load(self, value: str) -> dict[str, Any]:
        """Return what a cookie holds; nothing for one that is forged, too old, or of another shape."""
        if not value:
            return {}
        try:
            found = self._serializer.loads(value, max_age=GUEST_SECONDS)
        except BadData:
            return {}
        return found if isinstance(found, dict) else {}

    def dump(self, data: dict[str, Any]) -> str | None:
        """Return the cookie's value, or None where it would be too large."""
        text = str(self._serializer.dumps(data))
        return None if len(text) > GUEST_MAX else text
