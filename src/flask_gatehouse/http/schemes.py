"""How a request shows who it is: by the session cookie, and by nothing else yet.

Where a token is borne (`Authorization: Bearer`) the cookie does not count (rule 20).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from flask_gatehouse.domain.sessions import Gone

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flask_gatehouse.domain.sessions import Session
    from flask_gatehouse.flows.services import Services
    from flask_gatehouse.kernel.clock import Instant

_BLANKS = " \t"
"""What RFC 6265 allows around a cookie's name; `str.strip()` would take more, and so make a foreign name ours."""
AGENT_MAX = 256
AGENT_READ = 4 * AGENT_MAX
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
TOKEN_SCHEMES = frozenset({"bearer"})


def identify(
    services: Services, environ: Mapping[str, Any], name: str, agent: str | None, now: Instant
) -> tuple[Session, str] | None:
    """Return the live session that a request shows, and its secret; None for a guest.

    Args:
        services: the wired domain objects.
        environ: the WSGI environment.
        name: the session cookie's whole name under this origin.
        agent: the user agent, cleaned; None where the request says nothing of it and need not.
        now: the present instant.
    """
    header = environ.get("HTTP_COOKIE")
    if not header or has_token_scheme(environ):
        return None
    secret = cookie_value(header, name)
    if not secret:
        return None
    found = services.sessions.load(secret, agent, now)
    return None if isinstance(found, Gone) else (found, secret)


def cookie_value(header: str, name: str) -> str:
    """Return the value of one cookie by its exact name; a duplicated cookie counts as none (rule 17).

    Args:
        header: the `Cookie` header.
        name: the cookie's whole name.
    """
    if f"{name}=" not in header:
        return ""
    found = None
    for part in header.split(";"):
        key, _, value = part.partition("=")
        if key.strip(_BLANKS) == name:
            if found is not None:
                return ""
            found = value.strip(_BLANKS)
    return found or ""


def has_token_scheme(environ: Mapping[str, Any]) -> bool:
    """Tell whether the request bears `Authorization: Bearer`, so that its cookie does not count (rule 20)."""
    authorization = environ.get("HTTP_AUTHORIZATION")
    return authorization is not None and authorization.strip().partition(" ")[0].lower() in TOKEN_SCHEMES


def agent_of(environ: Mapping[str, Any]) -> str:
    """Return the user agent that a request shows, cleaned; of a long one only the beginning is looked at."""
    return clean_agent(environ.get("HTTP_USER_AGENT", "")[:AGENT_READ])  # cut first: the cache keeps its keys


@lru_cache(maxsize=2048)
def clean_agent(agent: str) -> str:
    """Return a user agent without control characters, 256 characters at most (ASVS V1.3.3)."""
    return _CONTROL.sub(" ", agent)[:AGENT_MAX].strip()
