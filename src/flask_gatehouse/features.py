"""One factory per optional part; off means not imported."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from .kernel.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .kernel.feature import Feature
    from .kernel.keys import KeyRing


def _totp(keys: KeyRing) -> Feature:
    from .domain.factors.totp import Totp
    from .kernel.feature import Feature
    from .kernel.sealing import Sealer

    return Feature("totp", factors=(Totp(Sealer(keys, "totp-seed")),))


def _recovery_codes(_keys: KeyRing) -> Feature:
    from .domain.factors.recovery_codes import RecoveryCodes
    from .kernel.feature import Feature

    return Feature("recovery_codes", needs=NEEDS["recovery_codes"], factors=(RecoveryCodes(),))


def _passkeys(keys: KeyRing) -> Feature:
    from .domain.factors.passkey import Passkeys
    from .kernel.feature import Feature

    return Feature("passkeys", factors=(Passkeys(keys),))


FACTORIES: dict[str, Callable[[KeyRing], Feature]] = {
    "totp": _totp,
    "recovery_codes": _recovery_codes,
    "passkeys": _passkeys,
}
"""Word in `GATEHOUSE_FEATURES` → factory."""
EXTRAS = {"totp": "totp", "passkeys": "passkeys"}
"""Word in `GATEHOUSE_FEATURES` → the extra that brings what it imports."""
NEEDS = {"recovery_codes": ("totp",)}
"""Word in `GATEHOUSE_FEATURES` → features that must be on as well."""
IMPORTS = {"totp": ("cryptography", "pyotp", "segno"), "passkeys": ("webauthn",)}
"""Word in `GATEHOUSE_FEATURES` → packages that are not there without its extra."""


def installed() -> list[str]:
    """Return the features that this installation can switch on: what they import is there, and what they need too."""
    there = {name for name in FACTORIES if all(find_spec(package) for package in IMPORTS.get(name, ()))}
    return [name for name in FACTORIES if {name, *NEEDS.get(name, ())} <= there]


def switched_on(names: tuple[str, ...], keys: KeyRing) -> tuple[Feature, ...]:
    """Return the features of these names.

    Args:
        names: from `GATEHOUSE_FEATURES`.
        keys: for what a feature seals.

    Raises:
        SettingsError: there is none of a name, it needs another that is off, or what it imports is not installed.
    """
    unknown = sorted(set(names) - FACTORIES.keys())
    if unknown:
        msg = f"GATEHOUSE_FEATURES: there is no feature {unknown[0]!r} in this release; remove it"
        raise SettingsError(msg)
    found = tuple(_made(name, keys) for name in dict.fromkeys(names))
    for feature in found:
        missing = sorted(set(feature.needs) - set(names))
        if missing:
            msg = f"GATEHOUSE_FEATURES: {feature.name!r} needs {missing[0]!r}; add it"
            raise SettingsError(msg)
    return found


def _made(name: str, keys: KeyRing) -> Feature:
    try:
        return FACTORIES[name](keys)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(name, name)
        msg = f"GATEHOUSE_FEATURES: {name!r} needs {error.name}: pip install 'flask-gatehouse[{extra}]'"
        raise SettingsError(msg) from error
