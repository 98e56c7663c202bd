"""What every text that comes from outside must be free of."""

from __future__ import annotations

import re

_REFUSED = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Unicode's categories Cc and Cs, which never change."""


def has_control(text: str) -> bool:
    """Tell whether a text holds control characters, or lone surrogates, which no database could store (rule 10)."""
    return _REFUSED.search(text) is not None
