"""How a request shows who it is: the session cookie, or a token scheme that a feature registers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_BLANKS = " \t"
"""What RFC 6265 allows around a cookie's name; `str.strip()` would take more, and so make a foreign name ours."""
TOKEN_SCHEMES = frozenset({"bearer"})


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
