"""The fixed response headers, prepared once, and the Content-Security-Policy of Gatehouse's own pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from werkzeug.datastructures import Headers

_ALWAYS = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
    ("X-Frame-Options", "DENY"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("X-Permitted-Cross-Domain-Policies", "none"),
)
_TLS_ONLY = (("Strict-Transport-Security", "max-age=63072000; includeSubDomains"),)


class FixedHeaders:
    """The headers of every response of one app; what a view sets itself stays.

    Args:
        csp: policy for the host's pages, or empty.
    """

    def __init__(self, csp: str) -> None:
        plain = _ALWAYS + ((("Content-Security-Policy", csp),) if csp else ())
        self._prepared = {False: plain, True: plain + _TLS_ONLY}

    def add_to(self, headers: Headers, *, is_secure: bool) -> None:
        """Add those that are not there yet."""
        present = {name.lower() for name, _ in headers}
        for name, value in self._prepared[is_secure]:
            if name.lower() not in present:
                headers.add(name, value)


def page_policy(nonce: str) -> str:
    """Return the policy of a page of our own: nothing but our stylesheet, our script and forms to ourselves."""
    return (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "font-src 'self'; form-action 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'"
    )
