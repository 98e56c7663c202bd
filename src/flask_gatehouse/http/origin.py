"""Where a request comes from and where it may lead: Host, Origin, CSRF, proxies, and the one validator of `next`."""

from __future__ import annotations

import ipaddress
import logging
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, unquote_to_bytes, urlsplit, urlunsplit

from flask import g, request
from flask.globals import request_ctx
from flask_wtf.csrf import validate_csrf
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from wtforms import ValidationError

from flask_gatehouse.kernel.settings import is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flask import Request

    from flask_gatehouse.kernel.settings import Network

NEXT_MAX = 2000
ADDRESS_MAX = 64
"""No address is longer, zone and all."""
MAX_DECODINGS = 5
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\xa0\\\u2028\u2029\ud800-\udfff]")
_HOP = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::\d{1,5})?|([0-9.]+):\d{1,5}")
_PATH_SAFE = "/:@!$&'()*+,;=~-._%"
_QUERY_SAFE = _PATH_SAFE + "?"
FORWARDING = frozenset(
    {"HTTP_FORWARDED", "HTTP_VIA", "HTTP_X_REAL_IP", "HTTP_X_CLIENT_IP", "HTTP_CF_CONNECTING_IP", "HTTP_TRUE_CLIENT_IP"}
)
"""What proxies say beside `X-Forwarded-…`."""
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
CSRF_HEADERS = ("X-CSRFToken", "X-CSRF-Token")

log = logging.getLogger("flask_gatehouse.origin")


@dataclass(frozen=True, slots=True)
class Origin:
    """One place the app is served at.

    Attributes:
        text: `https://app.example`.
        is_secure: whether it is https, which decides the cookies' form.
    """

    text: str
    is_secure: bool

    def cookie_name(self, name: str) -> str:
        """Return a cookie's name in the form that fits: `__Host-` wherever there is TLS (ASVS V3.3.1)."""
        return f"__Host-{name}" if self.is_secure else name


class Origins:
    """The origins an app accepts.

    Args:
        allowed: from `GATEHOUSE_ORIGINS`.
        proxies: networks whose forwarding headers are believed; `unix`: a peer without an address is believed too.
    """

    def __init__(self, allowed: tuple[str, ...], proxies: tuple[Network | str, ...]) -> None:
        self._texts = frozenset(allowed)
        self._proxies = tuple(proxy for proxy in proxies if not isinstance(proxy, str))
        self._trusts_unix = "unix" in proxies
        self._hosts: dict[str, Origin] = {}
        self._has_warned = False
        self.accepts_loopback = False
        for text in allowed:
            scheme, _, netloc = text.partition("://")
            origin = Origin(text, scheme == "https")
            self._hosts[netloc] = origin
            if ":" not in netloc.rpartition("]")[2]:
                self._hosts[f"{netloc}:{443 if origin.is_secure else 80}"] = origin

    def relax(self) -> None:
        """Accept this machine's loopback names on any port: debug and tests without `GATEHOUSE_ORIGINS`."""
        self.accepts_loopback = not self._texts

    def of(self, environ: Mapping[str, str]) -> Origin | None:
        """Return the origin a request was sent to, or None for a Host that is not ours."""
        host = environ["HTTP_HOST"] if "HTTP_HOST" in environ else _server_name(environ)
        found = self._hosts.get(host) or self._hosts.get(host.lower())
        if found is None and self.accepts_loopback and is_loopback(host):
            scheme = environ.get("wsgi.url_scheme", "http")
            return Origin(f"{scheme}://{host.lower()}", scheme == "https")
        return found

    def accepts(self, origin: str) -> bool:
        """Tell whether an `Origin` header names one of ours; `null` never does."""
        if origin in self._texts:
            return True
        scheme, separator, netloc = origin.partition("://")
        return self.accepts_loopback and bool(separator) and scheme in {"http", "https"} and is_loopback(netloc)

    def address(self, environ: Mapping[str, str]) -> str:
        """Return the client's address, proxies that we trust resolved from the right (ASVS V15.3.4)."""
        peer = environ.get("REMOTE_ADDR") or ""
        forwarded = environ.get("HTTP_X_FORWARDED_FOR")
        is_none = not self._proxies and not self._trusts_unix
        if not self._trusts_unix and not _is_parsed(peer):
            self._warn("requests come without an address: name the word unix in GATEHOUSE_TRUSTED_PROXIES")
        elif is_none and (forwarded or environ.get("HTTP_FORWARDED")):
            self._warn("a forwarding header arrived, but GATEHOUSE_TRUSTED_PROXIES is none: it is ignored")
        if is_none:
            return peer[:64]
        hops = [_bare(hop.strip()) for hop in (forwarded or "").split(",") if hop.strip()]
        while hops and self._is_proxy(peer) and _is_address(hops[-1]):
            peer = hops.pop()
        return peer[:64]

    def request_id(self, environ: Mapping[str, str]) -> str:
        """Return what a proxy that we trust calls this request, or `""`; whatever else claims a name has none."""
        given = environ.get("HTTP_X_REQUEST_ID") or ""
        is_taken = _REQUEST_ID.fullmatch(given) and self._is_proxy(environ.get("REMOTE_ADDR") or "")
        return given if is_taken else ""

    def _warn(self, text: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            log.warning(text)

    def _is_proxy(self, address: str) -> bool:
        if not _is_address(address):
            return self._trusts_unix and not _is_parsed(address)
        parsed = _parsed(address)
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
            parsed = parsed.ipv4_mapped
        return parsed is not None and any(parsed in network for network in self._proxies)


def _server_name(environ: Mapping[str, str]) -> str:
    return f"{environ.get('SERVER_NAME', '')}:{environ.get('SERVER_PORT', '')}"


@lru_cache(maxsize=4096)
def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _is_parsed(text: str) -> bool:
    return len(text) <= ADDRESS_MAX and _parsed(text) is not None


def _is_address(text: str) -> bool:
    """Tell whether a text is an IP address; one with a zone (`fe80::1%…`) names nobody beyond its own machine."""
    return "%" not in text and _is_parsed(text)


def _bare(hop: str) -> str:
    """Return a hop without the port and brackets that some proxies write: `203.0.113.5:4711`, `[2001:db8::1]:443`."""
    found = _HOP.fullmatch(hop)
    return (found[1] or found[2]) if found else hop


def is_direct_loopback(environ: Mapping[str, str]) -> bool:
    """Tell whether the peer is this machine itself, asking for a loopback name, with no proxy that says it is between.

    A proxy on this machine may add no header at all: what it serves has a name of its own, though.
    """
    peer = environ.get("REMOTE_ADDR") or ""
    if not _is_address(peer) or not ipaddress.ip_address(peer).is_loopback:
        return False
    if any(environ[key] for key in environ if key.startswith("HTTP_X_FORWARDED") or key in FORWARDING):
        return False
    return is_loopback(environ.get("HTTP_HOST") or _server_name(environ))


def csrf_fault(origins: Origins, keys: tuple[bytes, ...]) -> str | None:
    """Return why the present request may be forged, or None (ASVS V3.5.1).

    The token always counts; `Origin` and `Sec-Fetch-Site` may refuse, and never excuse it.

    Args:
        origins: what the app accepts.
        keys: keys that tokens may be signed with, the present one first.
    """
    sent = request.headers.get("Origin")
    if sent is not None and not origins.accepts(sent):
        return "the request comes from another origin"
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        return "the request comes from another site"
    token = next((value for name in CSRF_HEADERS if (value := request.headers.get(name))), None)
    token = token or request.form.get("csrf_token")
    if not token:
        return "the CSRF token is missing"
    if not token.isascii() or not any(_is_valid(token, key) for key in keys):
        return "the CSRF token is not valid for this session"
    g.csrf_valid = True  # Flask-WTF's own mark: forms of the host skip their second look
    return None


def is_well_encoded(incoming: Request) -> bool:
    """Tell whether a form's body is UTF-8, before Werkzeug replaces what is not without a trace.

    Args:
        incoming: a request to one of our own forms, its size checked.
    """
    body = incoming.get_data(cache=True)
    if incoming.mimetype == "application/x-www-form-urlencoded":
        body += unquote_to_bytes(body.replace(b"+", b" "))
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _is_valid(token: str, key: bytes) -> bool:
    try:
        validate_csrf(token, secret_key=key.hex())
    except ValidationError:
        return False
    return True


def safe_next(value: str | None) -> str | None:
    """Return a place within this app, re-serialised, or None for anything else (ASVS V3.7.2).

    Args:
        value: what came as `next`: a path with an optional query, parsed as a browser would. Nothing that decodes,
            however often, to a backslash, a control character or `//` in its path passes.
    """
    if not value or len(value) > NEXT_MAX or not value.startswith("/") or value.startswith("//"):
        return None
    if _FORBIDDEN.search(value):
        return None
    try:
        parts = urlsplit(value)
    except ValueError:
        return None
    if parts.scheme or parts.netloc or not _is_plain_path(parts.path):
        return None
    path, query = quote(parts.path, safe=_PATH_SAFE), quote(parts.query, safe=_QUERY_SAFE)
    return urlunsplit(("", "", path, query, ""))


def _is_plain_path(path: str) -> bool:
    for _ in range(MAX_DECODINGS):
        if not path.startswith("/") or "//" in path or _FORBIDDEN.search(path.replace(" ", "")):
            return False
        decoded = unquote(path, errors="surrogateescape")
        if decoded == path:
            return True
        path = decoded
    return False


def next_target(default: str) -> str:
    """Return where to go on success: form `next`, else query `next`, else the default; GET targets only."""
    wanted = safe_next(request.form.get("next") or request.args.get("next"))
    return wanted if wanted and _answers_get(wanted) else default


def _answers_get(target: str) -> bool:
    adapter = request_ctx.url_adapter
    path = urlsplit(target).path
    if adapter is None:
        return True
    if request.script_root:
        path = path.removeprefix(request.script_root) or "/"
    try:
        adapter.match(unquote(path), method="GET")
    except MethodNotAllowed:
        return False
    except HTTPException:
        return True
    return True


def present_target() -> str | None:
    """Return the present request as a `next`, for GET and HEAD only."""
    if request.method not in {"GET", "HEAD"}:
        return None
    query = f"?{quote(request.query_string, safe=_QUERY_SAFE)}" if request.query_string else ""
    return safe_next(quote(request.script_root + request.path, safe=_PATH_SAFE) + query)
