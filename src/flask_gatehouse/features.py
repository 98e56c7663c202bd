"""One factory per optional part; off means not imported. None is built yet: the first come with the second factors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .kernel.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .kernel.feature import Feature

FACTORIES: dict[str, Callable[[], Feature]] = {}
"""Word in `GATEHOUSE_FEATURES` → factory."""


def switched_on(names: tuple[str, ...]) -> tuple[Feature, ...]:
    """Return the features of these names.

    Raises:
        SettingsError: there is none of a name, or one needs another that is off.
    """
    unknown = sorted(set(names) - FACTORIES.keys())
    if unknown:
        msg = f"GATEHOUSE_FEATURES: there is no feature {unknown[0]!r} in this release; remove it"
        raise SettingsError(msg)
    found = tuple(FACTORIES[name]() for name in dict.fromkeys(names))
    for feature in found:
        missing = sorted(set(feature.needs) - set(names))
        if missing:
            msg = f"GATEHOUSE_FEATURES: {feature.name!r} needs {missing[0]!r}; add it"
            raise SettingsError(msg)
    return found
