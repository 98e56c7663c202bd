"""Flask's session interface over `domain.sessions`: cookies, their flags, and when to re-issue.

A user's `flask.session` lives in the session row; a guest's is a signed cookie and costs no row.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from flask.sessions import SessionInterface, SessionMixin

from flask_gatehouse.domain import devices
from flask_gatehouse.domain.sessions import Gone, Issued
from flask_gatehouse.kernel.errors import DatabaseUnavailableError
from flask_gatehouse.kernel.identity import Identity
from flask_gatehouse.kernel.keys import secret_digest

from .asking import Asking
from .guest import tagged
from .schemes import cookie_value

if TYPE_CHECKING:
    from flask import Flask, Request
    from flask.wrappers import Response

    from flask_gatehouse.domain.sessions import Session

    from .context import Wired
    from .gate import Gate

KEY = "flask_gatehouse"
CARRIED_MAX = 8192
OURS = frozenset({"_user_id", "_fresh", "_id", "_remember", "_remember_seconds"})
"""Keys Flask-Login writes: they count only when written in this process, and are never stored (rule 15)."""
NOT_CARRIED = OURS | {"csrf_token", "_permanent"}

log = logging.getLogger("flask_gatehouse.session")


class GuardedSession(Asking, SessionMixin):
    """`flask.session`, and what this request knows of who is asking. Nothing is read before it is asked for.

    Attributes:
        is_answered: whether the response is finished, but for a body that is still streaming.
        passed: labels the gate has let this request through.
        authorized: permissions asked for by `authorize()`.
        owed: permissions the view must ask for, because an object rule narrows them (rule 23).
    """

    modified = False
    is_answered = False
    is_token_read = False
    has_left = False
    is_leaving = False
    passed: frozenset[object] = frozenset()
    owed: frozenset[str] = frozenset()
    _data: dict[str, Any] | None = None
    _issued: Issued | None = None
    _pending_cookie: Issued | None = None
    _drops_pending = False
    _device_cookie = ""

    def __init__(self, wired: Wired, environ: dict[str, Any]) -> None:
        super().__init__(wired, environ)
        self.claims: dict[str, Any] = {}
        self.authorized: set[str] = set()

    @property
    def has_passed(self) -> bool:
        """Whether the gate has let the request through to a view; never in a test's `session_transaction()`."""
        return "passed" in vars(self)

    # -- what changes it ----------------------------------------------------------------------------------------

    def begin(self, issued: Issued) -> None:
        """Go on as the session just issued; its row is read when somebody asks. Nothing of this request is kept."""
        self._take(issued)
        self._is_loaded, self._identity = False, None
        self._row_data, self._data, self.modified = "", None, False

    def adopt(self, issued: Issued) -> Identity | None:
        """Go on as the session just issued or rotated. Read at once: a rotated one keeps what was written before."""
        self._take(issued)
        before, found = self._identity, self._present()
        self._is_loaded = True
        self._identity = None if found is None else found.identity
        self._row_data = "" if found is None else found.row.data
        if before is None or self._identity is None or before.session_id != self._identity.session_id:
            self._data, self.modified = None, False
        return self._identity

    def _take(self, issued: Issued) -> None:
        """Put a session's secret into the cookie."""
        self._issued, self._drops_pending = issued, True
        self.secret, self.has_left, self.is_leaving = issued.secret, False, False
        self.is_consulted = True
        self.claims.clear()

    def _present(self) -> Session | None:
        """Read the row of the session that the cookie will hold; None: it has ended again."""
        services = self.wired.services
        found = services.sessions.load(self.secret, self.agent, services.clock.now())
        return None if isinstance(found, Gone) else found

    def _load(self) -> Identity | None:
        if self._issued is None:
            return super()._load()
        self._is_loaded = True
        try:
            found = self._present()
        except DatabaseUnavailableError:  # the login stands, and may be asked for outside of any view
            log.error("who has just logged in cannot be read: the rest of this request is a guest's")
            return None
        if found is not None:
            self._identity, self._row_data = found.identity, found.row.data
        return self._identity

    def know_browser(self, cookie: str) -> None:
        """Let the browser keep a device cookie: a login or a reset has just succeeded in it (rule 5)."""
        self._device_cookie = cookie

    def hold(self, pending: Issued) -> None:
        """Keep a pending login in its own cookie; nothing else learns of it (rule 14)."""
        self._pending_cookie = pending
        self.claims.clear()

    def drop_pending(self) -> None:
        """Clear the cookie of a pending login that was given up."""
        self._pending_secret, self._pending_cookie, self._drops_pending = "", None, True

    def leave(self) -> None:
        """Go on as a guest with nothing carried over; the cookie is cleared."""
        self._issued, self._identity, self.secret = None, None, ""
        self._is_loaded = self.is_consulted = self.has_left = self._drops_pending = True
        self._data, self._row_data, self.modified = {}, "", True
        self.is_leaving = False
        self.claims.clear()

    def carried(self) -> str:
        """Return the guest's own keys as JSON text, to be carried into a new session; nothing from user to user."""
        if self.identity is not None:
            return ""
        kept = {key: value for key, value in self._mapping().items() if key not in NOT_CARRIED}
        text = tagged.dumps(kept) if kept else ""
        if len(text) > CARRIED_MAX:
            log.warning("a guest's session of %s bytes was not carried over: the cap is %s", len(text), CARRIED_MAX)
            return ""
        return text

    # -- the mapping --------------------------------------------------------------------------------------------

    def _mapping(self) -> dict[str, Any]:
        if self._data is None:
            text = self._row_data if self.identity is not None else ""
            self._data = (tagged.loads(text) if text else {}) if self.identity is not None else self._guest_data()
        return self._data

    def _guest_data(self) -> dict[str, Any]:
        cookie = cookie_value(self.environ.get("HTTP_COOKIE") or "", self.cookie_name("gatehouse-guest"))
        return {key: value for key, value in self.wired.guests.load(cookie).items() if key not in OURS}

    def _computed(self, key: str) -> Any:
        if key in self.claims and (key != "_fresh" or "_user_id" in self.claims):
            return self.claims[key]  # of freshness only together with a user: nobody is fresh by saying so
        identity = None if self.is_leaving else self.identity
        if identity is not None and key == "_user_id":
            return str(identity.user_id)
        if identity is not None and key == "_fresh":
            return self.wired.is_fresh(identity)
        raise KeyError(key)

    def __getitem__(self, key: str) -> Any:
        """Return a value; Flask-Login's keys are computed, never stored."""
        if key in OURS:
            return self._computed(key)
        if key == "csrf_token":
            self.is_token_read = True
            if self.identity is not None:
                return self.wired.csrf_seed(self.secret)
        return self._mapping()[key]

    def __setitem__(self, key: str, value: Any) -> None:
        """Set a value; what Flask-Login writes is a claim until the login manager has judged it."""
        if key in OURS:
            self.claims[key] = value
            return
        self._mapping()[key] = value
        self.modified = True

    def __delitem__(self, key: str) -> None:
        """Delete a value; without `_user_id` the user leaves."""
        if key in OURS:
            was_claimed = self.claims.pop(key, None) is not None
            if key == "_user_id" and not was_claimed:
                self.is_leaving = self.identity is not None
            return
        del self._mapping()[key]
        self.modified = True

    def __contains__(self, key: object) -> bool:
        """Tell whether a value is there."""
        if key in OURS:
            try:
                self._computed(str(key))
            except KeyError:
                return False
            return True
        return (key == "csrf_token" and self.identity is not None) or key in self._mapping()

    def __iter__(self) -> Iterator[str]:
        """Iterate over the app's own keys."""
        return iter(self._mapping())

    def __len__(self) -> int:
        """Count the app's own keys."""
        return len(self._mapping())

    def clear(self) -> None:
        """Forget everything; a user leaves with it, as under Flask-Login."""
        if self.identity is not None:
            self.is_leaving = True
        self._mapping().clear()
        self.modified = True

    # -- at the end of the request ------------------------------------------------------------------------------

    def store(self, response: Response) -> None:
        """Write what changed: the row of a user, the cookie of a guest, and a new session id."""
        if self._issued is not None:
            self._set(response, "gatehouse", self._issued.secret, self._max_age(self._issued))
            self._clear(response, "gatehouse-guest")
        if self._pending_cookie is not None:
            self._set(response, "gatehouse-pending", self._pending_cookie.secret, None)
        elif self._drops_pending:
            self._clear(response, "gatehouse-pending")
        if self._device_cookie:
            self._set(response, "gatehouse-device", self._device_cookie, devices.LIFE_SECONDS)
        if self.has_left and self._issued is None:
            self._clear(response, "gatehouse", is_forced=True)
            response.headers["Clear-Site-Data"] = '"cache", "storage"'
        if self.modified:
            self._store_data(response)

    def _max_age(self, issued: Issued) -> int | None:
        life = self.wired.services.sessions.life.remember
        return life // 1_000_000 if issued.is_remembered and life else None

    def _store_data(self, response: Response) -> None:
        data = {key: value for key, value in self._mapping().items() if key not in OURS}
        if self.identity is not None:
            data.pop("csrf_token", None)
            text = tagged.dumps(data) if data else ""
            self.wired.services.sessions.store.save_data(secret_digest(self.secret), text)
        elif data:
            cookie = self.wired.guests.dump(data)
            if cookie is None:
                log.error("a guest's session is too large for its cookie and was not stored: keep less in it")
                return
            self._set(response, "gatehouse-guest", cookie, None)
        else:
            self._clear(response, "gatehouse-guest")

    def _set(self, response: Response, name: str, value: str, max_age: int | None) -> None:
        is_secure = self.origin is not None and self.origin.is_secure
        response.set_cookie(
            self.cookie_name(name), value, max_age=max_age, secure=is_secure, httponly=True, samesite="Lax", path="/"
        )

    def _clear(self, response: Response, name: str, *, is_forced: bool = False) -> None:
        full = self.cookie_name(name)
        if is_forced or f"{full}=" in (self.environ.get("HTTP_COOKIE") or ""):
            is_secure = self.origin is not None and self.origin.is_secure
            response.delete_cookie(full, secure=is_secure, httponly=True, samesite="Lax", path="/")


class GatehouseSessionInterface(SessionInterface):
    """Opens a lazy session for each request and stores what changed.

    Args:
        wired: the app's wiring.
        gate: put before all else at the first request, and asked to end every response.
    """

    def __init__(self, wired: Wired, gate: Gate) -> None:
        self._wired = wired
        self._gate = gate
        self._stands_first = False

    def open_session(self, app: Flask, request: Request) -> GuardedSession:
        """Return the request's session; nothing is read yet."""
        if not self._stands_first:
            self._gate.stand_first(app)
            self._stands_first = app._got_first_request  # noqa: SLF001 - until then extensions may still come in front
        session = GuardedSession(self._wired, request.environ)
        if "HTTP_USER_AGENT" not in request.environ and app.testing:  # Flask's session_transaction() sends none
            session.is_agent_told = False
        request.environ[KEY] = session
        return session

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Store what changed and finish the response; a fault of the database answers 503, never half a login."""
        if not isinstance(session, GuardedSession):
            return
        self._gate.finish(app, session, response)
