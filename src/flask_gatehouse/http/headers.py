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
_CONSULTED: tuple[Pair, ...] = (("Vary", "Cookie"),)
_LOGGED_IN: tuple[Pair, ...] = (("Cache-Control", "no-store"),)
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
        self._prepared = {
            (is_secure, who): _ALWAYS + (_TLS_ONLY if is_secure else ()) + follows
            for is_secure in (False, True)
            for who, follows in enumerate(((), _CONSULTED, _CONSULTED + _LOGGED_IN))
        }
        longest = self._prepared[True, 2]
        self._ours = frozenset(name.lower() for name, _ in longest) | {"content-security-policy"}

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Run the app with a `start_response` that completes the headers."""

        def start(status: str, headers: list[Pair], *exc_info: Any) -> Any:
            self._complete(environ.get(KEY), headers)
            return start_response(status, headers, *exc_info)

        answer: Iterable[bytes] = self._inner(environ, start)
        return answer

    def _complete(self, state: GuardedSession | None, headers: list[Pair]) -> None:
        origin = state.origin if state is not None else None
        prepared = self._prepared[origin is not None and origin.is_secure, _who(state)]
        present = {name for pair in headers if (name := pair[0].lower()) in self._ours}
        if self._csp and "content-security-policy" not in present:
            nonce = state.nonce if state is not None else ""
            headers.append(("Content-Security-Policy", self._csp.replace("{nonce}", nonce)))
        if present:
            _merge(headers, prepared, present)
        else:
            headers.extend(prepared)


def _who(state: GuardedSession | None) -> int:
    """Return whom the answer depends on: 0 nobody, 1 a cookie that was asked for, 2 a user or a form's token."""
    if state is None or not state.is_consulted:
        return 0
    # the secret first: of a session just issued it says "somebody" without reading the row
    return 2 if state.is_token_read or state.may_ask_late or state.secret or state.identity is not None else 1


def _merge(headers: list[Pair], prepared: tuple[Pair, ...], present: set[str]) -> None:
    """Add what is not there yet; `Vary` grows by the cookie, and nothing weakens `no-store` (rule 18)."""
    for name, value in prepared:
        if name.lower() not in present:
            headers.append((name, value))
        elif name == "Cache-Control":
            headers[:] = [pair for pair in headers if pair[0].lower() != "cache-control"]
            headers.append((name, value))
        elif name == "Vary":
            said = ", ".join(pair[1] for pair in headers if pair[0].lower() == "vary")
            if not {word.strip().lower() for word in said.split(",")} & {"cookie", "*"}:
                headers[:] = [pair for pair in headers if pair[0].lower() != "vary"]
                headers.append((name, f"{said}, {value}"))


def page_policy(nonce: str) -> str:
    """Return the policy of a page of our own: nothing but our stylesheet, our script and forms to ourselves."""
    return (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "font-src 'self'; form-action 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'"
    )
