"""Which name passkeys are made for, and where they may be used: from the app's settings, never from a Host header."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

LOOPBACK_NAME = "localhost"


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """The site as authenticators know it (WebAuthn section 4, "Relying Party").

    Attributes:
        id: a host name; passkeys made for it work on it and below it, on no other site.
        origins: where an answer may come from; empty in debug and tests: `localhost` on any port.
    """

    id: str
    origins: tuple[str, ...] = ()

    def accepts(self, origin: str) -> bool:
        """Tell whether an answer may come from a page of this origin."""
        if self.origins:
            return origin in self.origins
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        return parts.scheme in {"http", "https"} and parts.hostname == self.id and not parts.path


def relying_party(origins: tuple[str, ...]) -> RelyingParty | None:
    """Return who the site is to authenticators: the first of its origins that has a name, as an address is none.

    Args:
        origins: `GATEHOUSE_ORIGINS`; empty in debug and tests alone.

    Returns:
        None where every origin is an address: browsers make no passkeys for those.
    """
    if not origins:
        return RelyingParty(LOOPBACK_NAME)
    named = [(origin, host) for origin in origins if (host := _name_of(origin))]
    if not named:
        return None
    first = named[0][1]
    return RelyingParty(first, tuple(origin for origin, host in named if host == first or host.endswith(f".{first}")))


def _name_of(origin: str) -> str:
    host = urlsplit(origin).hostname or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host
    return ""
