"""What a password may be. Whole values are compared; nothing is trimmed; no composition rules."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from zxcvbn.frequency_lists import FREQUENCY_LISTS

from flask_gatehouse.kernel.errors import WeakPassword
from flask_gatehouse.kernel.text import has_control

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_LENGTH = 1024
LONGEST_TYPED = 3 * MAX_LENGTH
"""Code points as typed: NFC makes one of three at most."""
SHORTEST_EVER = 8
GUIDANCE = (
    "Use a phrase of several words, or let your password manager make one. "
    "Every character counts, blanks too; common passwords and your own name are refused."
)


def normalised(password: str) -> str:
    """Return the password in NFC, the form that is hashed and compared (NIST SP 800-63B 3.1.1.2).

    One that is far too long becomes another that is too long: composing many marks takes time by the square of their
    number, and all threads wait for it.
    """
    if len(password) > LONGEST_TYPED:
        return "x" * (MAX_LENGTH + 1)
    return unicodedata.normalize("NFC", password)


@cache
def common_passwords() -> frozenset[str]:
    """Return the common passwords of policy length, case-folded.

    They come from the frequency list of the package zxcvbn (MIT), extended by the same words with the endings
    people add to reach a length.
    """
    listed = FREQUENCY_LISTS["passwords"]
    found = {normalised(word).casefold() for word in listed}
    found |= {word + ending for word in listed[:2000] for ending in ("1", "12", "123", "1234", "!", "123!")}
    return frozenset(word for word in found if len(word) >= SHORTEST_EVER)


_READINGS = (str.maketrans("0134578@$!|+", "oieastbasiit"), str.maketrans("0134578", "oieastb"))
"""Signs and digits that stand for letters; digits alone, where the signs stand between letters."""
SHORTEST_NAME = 3


def _is_made_of(folded: str, names: Iterable[str]) -> bool:
    """Tell whether a password is a name, or easily made of one: `Acme-Portal-2025!`, `4cm3p0rtal`, `aliceALICE1`."""
    return any(folded == name or any(_is_repeated(name, folded, signs) for signs in _READINGS) for name in names)


def _letters(text: str, signs: dict[int, int]) -> str:
    return "".join(one for one in text.translate(signs) if one.isalnum())


def _is_repeated(own: str, folded: str, signs: dict[int, int]) -> bool:
    """Tell whether a text is a name, once or more often, with no letter before or behind it."""
    name, read = _letters(own, signs), _letters(folded, signs)
    typed = [one for one in folded if one.translate(signs).isalnum()]
    if len(name) < SHORTEST_NAME:
        return False
    start = read.find(name)
    while start >= 0 and not any(one.isalpha() for one in typed[:start]):
        end = start
        while read.startswith(name, end):
            end += len(name)
        if not any(one.isalpha() for one in typed[end:]):
            return True
        start = read.find(name, start + 1)
    return False


@dataclass(frozen=True, slots=True)
class PasswordRules:
    """The rules of one app.

    Attributes:
        shortest: fewest code points (ASVS V6.2.1).
        context_words: names of the service, refused as passwords like one's own name.
    """

    shortest: int
    context_words: frozenset[str] = frozenset()

    def require(self, password: str, username: str, email: str | None = None) -> str:
        """Return the password in the form that is hashed.

        Raises:
            WeakPassword: it breaks a rule; the text says which, and never repeats the password.
        """
        value = normalised(password)
        if has_control(value):
            msg = "Control characters cannot be part of a password."
            raise WeakPassword(msg)
        if len(value) < self.shortest:
            msg = f"Too short: use {self.shortest} characters or more. {GUIDANCE}"
            raise WeakPassword(msg)
        if len(value) > MAX_LENGTH:
            msg = f"Too long: {MAX_LENGTH} characters at most."
            raise WeakPassword(msg)
        folded = value.casefold()
        if _is_made_of(folded, self.context_words):
            msg = f"This is the name of this service: choose another. {GUIDANCE}"
            raise WeakPassword(msg)
        if folded in common_passwords():
            msg = f"This is a commonly used password: choose another. {GUIDANCE}"
            raise WeakPassword(msg)
        own = {username.casefold(), (email or "").casefold(), (email or "").partition("@")[0].casefold()} - {""}
        if _is_made_of(folded, own):
            msg = f"This is your own name: choose another. {GUIDANCE}"
            raise WeakPassword(msg)
        return value
