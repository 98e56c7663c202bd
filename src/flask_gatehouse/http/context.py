"""What belongs to one app, and how a request finds it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from flask import current_app, session

from flask_gatehouse.domain import policy

from .compiling import Compiling
from .cookie import GuardedSession
from .guest import GuestCookies

if TYPE_CHECKING:
    from flask_gatehouse.flows.services import Services
    from flask_gatehouse.kernel.identity import Identity

    from .origin import Origins

WIRED = "gatehouse_wired"


@dataclass(slots=True, eq=False)
class Wired:
    """The wiring of one app.

    Attributes:
        services: what flows work with.
        origins: where the app is served.
        templates: which of our templates are compiled.
    """

    services: Services
    origins: Origins
    templates: Compiling = field(init=False, default_factory=Compiling)
    guests: GuestCookies = field(init=False)
    csrf_keys: tuple[bytes, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Derive the keys of cookies and CSRF tokens."""
        self.guests = GuestCookies(self.services.keys.keys("guest-cookie"))
        self.csrf_keys = self.services.keys.keys("csrf")

    def csrf_seed(self, secret: str) -> str:
        """Return what CSRF tokens of a session are made of: new with every new session id, and never stored."""
        return self.services.keys.digest("csrf-seed", secret)

    def is_fresh(self, identity: Identity) -> bool:
        """Tell whether the identity's last proof is young enough now."""
        return policy.is_fresh(identity, self.services.freshness, self.services.clock.now())


def wired() -> Wired:
    """Return the wiring of the current app."""
    return cast("Wired", current_app.extensions[WIRED])


def services() -> Services:
    """Return the services of the current app."""
    return wired().services


def here() -> GuardedSession:
    """Return the present request's own record of who is asking."""
    return cast("GuardedSession", session._get_current_object())  # type: ignore[attr-defined]  # noqa: SLF001 - werkzeug's documented way
