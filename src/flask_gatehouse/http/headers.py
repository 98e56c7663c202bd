"""The response headers that are fixed or follow from who was asked for, and the policy of Gatehouse's own pages.

They are added where a response leaves Flask, as plain pairs: Werkzeug's `Headers` would check and copy each of
them twice (measured: two thirds of a public page's overhead).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .cookie import KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .cookie import GuardedSession

Pair = tuple[str, str]

_ALWAYS: tuple[Pair, ...] = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
    ("X-Frame-Options", "DENY"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("X-Permitted-Cross-Domain-Policies", "none"),
)
_TLS_ONLY: tuple[Pair, ...] = (("Strict-Transport-Security", "max-age=63072000; includeSubDomains"),)


class HeaderLayer:
    """A WSGI layer that completes the headers of every response; what a view sets itself stays.

    Args:
        inner: Flask's own WSGI app.
        csp: policy for the host's pages, or empty; `{nonce}` in it stands for the response's script nonce.
    """

    def __init__(self, inner: Any, csp: str) -> None:
        self._inner = inner
        self._csp = csp
        self._prepared = {False: _ALWAYS, True: _ALWAYS + _TLS_ONLY}
        self._names = frozenset(name.lower() for name, _ in _ALWAYS + _TLS_ONLY) | {"content-security-policy"}

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Run the app with a `start_response` that completes the headers."""

        def start(status: str, headers: list[Pair], *exc_info: Any) -> Any:
            self._complete(environ.get(KEY), headers)
            return start_response(status, headers, *exc_info)

        answer: Iterable[bytes] = self._inner(environ, start)
        return answer

    def _complete(self, state: GuardedSession | None, headers: list[Pair]) -> None:
        if state is not None and state.is_consulted:
            _vary_by_cookie(headers)
            if state.is_token_read or state.identity is not None:
                headers[:] = [pair for pair in headers if pair[0].lower() != "cache-control"]
                headers.append(("Cache-Control", "no-store"))
        origin = state.origin if state is not None else None
        prepared = self._prepared[origin is not None and origin.is_secure]
        present = self._names.intersection([name.lower() for name, _ in headers])
        headers.extend(prepared if not present else [pair for pair in prepared if pair[0].lower() not in present])
        if self._csp and "content-security-policy" not in present:
            nonce = state.nonce if state is not None else ""
            headers.append(("Content-Security-Policy", self._csp.replace("{nonce}", nonce)))


def _vary_by_cookie(headers: list[Pair]) -> None:
    """Say that the answer depends on the cookie, found or not (rule 18)."""
    for index, (name, value) in enumerate(headers):
        if name.lower() == "vary":
            if "cookie" not in value.lower() and value.strip() != "*":
                headers[index] = (name, f"{value}, Cookie")
            return
    headers.append(("Vary", "Cookie"))


def page_policy(nonce: str) -> str:
    """Return the policy of a page of our own: nothing but our stylesheet, our script and forms to ourselves."""
    return (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "font-src 'self'; form-action 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'"
    )
