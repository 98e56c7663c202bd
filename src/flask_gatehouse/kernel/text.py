"""What every text that comes from outside must be free of."""

from __future__ import annotations

import unicodedata

_REFUSED = {"Cc", "Cs"}


def has_control(text: str) -> bool:
    """Tell whether a text holds control characters, or lone surrogates, which no database could store (rule 10)."""
    return any(unicodedata.category(character) in _REFUSED for character in text)
