"""Who is asking: what a request's headers and cookies say of it, looked up at first need and never twice."""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING, Any

from flask_gatehouse.domain import devices
from flask_gatehouse.kernel.errors import DatabaseUnavailableError
from flask_gatehouse.kernel.identity import Identity, Source
from flask_gatehouse.kernel.keys import secret_digest

from .schemes import agent_of, cookie_value, identify

if TYPE_CHECKING:
    from .context import Wired
    from .origin import Origin

log = logging.getLogger("flask_gatehouse.session")


class Asking:
    """What a request knows of who is asking. Nothing is read before it is asked for.

    Args:
        wired: the app's wiring.
        environ: the request, as WSGI hands it over.

    Attributes:
        secret: secret of the active session that identifies the request, `""` for a guest.
        is_consulted: whether identity or session was asked for, found or not (rule 18).
        is_agent_told: whether the user agent says which browser asks.
        may_ask_late: whether a streamed body may still ask who is there, and a cookie is there to answer it.
    """

    secret = ""
    is_consulted = False
    is_agent_told = True
    may_ask_late = False
    _is_origin_known = False
    _origin: Origin | None = None
    _is_loaded = False
    _identity: Identity | None = None
    _row_data = ""
    _source: Source | None = None
    _request_id = ""
    _nonce = ""
    _pending_secret: str | None = None
    _device: str | None = None
    _spare = ""

    def __init__(self, wired: Wired, environ: dict[str, Any]) -> None:
        self.wired = wired
        self.environ = environ

    @property
    def origin(self) -> Origin | None:
        """The origin the request was sent to; None for a foreign Host."""
        if not self._is_origin_known:
            self._origin, self._is_origin_known = self.wired.origins.of(self.environ), True
        return self._origin

    @property
    def identity(self) -> Identity | None:
        """Who the request acts as, read once; None for a guest."""
        return self._identity if self._is_loaded else self._load()

    def _load(self) -> Identity | None:
        self._is_loaded = self.is_consulted = True
        services = self.wired.services
        now = services.clock.now()
        agent = self.agent if self.is_agent_told else None
        found = identify(services, self.environ, self.cookie_name("gatehouse"), agent, now)
        if found is None:
            return None
        session, self.secret = found
        self._identity, self._row_data = session.identity, session.row.data
        if session.is_seen_due:
            self._touch(self.secret, now)
        return session.identity

    def expect_late_questions(self) -> None:
        """Answer for a streamed body: it may ask who is there after its headers have left. Looks nobody up."""
        self.is_consulted = True
        header = self.environ.get("HTTP_COOKIE") or ""
        self.may_ask_late = bool(cookie_value(header, self.cookie_name("gatehouse")))

    def _touch(self, secret: str, now: int) -> None:
        try:
            self.wired.services.sessions.store.touch(secret_digest(secret), now)
        except DatabaseUnavailableError:
            log.warning("the last-seen time was not written: the database is busy")

    def cookie_name(self, name: str) -> str:
        """Return a cookie's name in the form that fits the origin."""
        origin = self.origin
        return origin.cookie_name(name) if origin is not None else name

    @property
    def agent(self) -> str:
        """The user agent, cleaned."""
        return agent_of(self.environ)

    @property
    def source(self) -> Source:
        """Where the request comes from, for the audit log and the throttle."""
        if self._source is None:
            address = self.wired.origins.address(self.environ)
            self._source = Source(address, self.agent, self.request_id)
        return self._source

    @property
    def request_id(self) -> str:
        """The request's name in log and audit log: a trusted proxy's, else made when something is first told of it."""
        if not self._request_id:
            self._request_id = self.wired.origins.request_id(self.environ) or secrets.token_hex(8)
        return self._request_id

    @property
    def nonce(self) -> str:
        """The script nonce of this response, made at first use (ASVS V3.4.3)."""
        if not self._nonce:
            self._nonce = secrets.token_urlsafe(16)
        return self._nonce

    @property
    def pending(self) -> str:
        """Secret of this browser's pending login, or `""`."""
        if self._pending_secret is None:
            self.is_consulted = True
            header = self.environ.get("HTTP_COOKIE") or ""
            self._pending_secret = cookie_value(header, self.cookie_name("gatehouse-pending"))
        return self._pending_secret

    @property
    def device(self) -> str:
        """Cookie by which this browser is known, genuine; `""` where it shows none."""
        if self._device is None:
            header, keys = self.environ.get("HTTP_COOKIE") or "", self.wired.services.keys
            self._device = devices.genuine(keys, cookie_value(header, self.cookie_name("gatehouse-device")))
        return self._device

    @property
    def spare_device(self) -> str:
        """A new cookie for this browser, the same all through the request; nothing is sent before `know_browser()`."""
        self._spare = self._spare or devices.new(self.wired.services.keys)
        return self._spare

    @property
    def previous(self) -> Identity | None:
        """Whose session a login in this browser replaces, or None."""
        return self.identity
