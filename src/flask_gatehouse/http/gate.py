"""The gate: before every view, identify, decide, let through or refuse. And the end of every response."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from flask import current_app, request
from werkzeug.exceptions import RequestEntityTooLarge

from flask_gatehouse.domain.policy import decide
from flask_gatehouse.kernel.errors import DatabaseUnavailableError

from . import respond
from .context import here
from .cookie import KEY
from .decisions import answer, record_refusal, shown_path
from .flask_login import end_session, judge_claims
from .origin import csrf_fault, is_well_encoded

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask
    from flask.typing import ResponseReturnValue
    from flask.wrappers import Request, Response

    from .context import Wired
    from .cookie import GuardedSession
    from .routes import Guard, RouteTable

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
OWN_BODY_MAX = 64 * 1024
HOST_SHOWN = 100

log = logging.getLogger("flask_gatehouse.gate")


class Gate:
    """The gate of one app.

    Args:
        wired: the app's wiring.
        table: what each route demands.
        prepare: run once before the first request is let through; returns False when the app must not serve.
    """

    def __init__(self, wired: Wired, table: RouteTable, prepare: Callable[[Flask], bool]) -> None:
        self._wired = wired
        self._table = table
        self._prepare = prepare
        self._is_ready = False
        self._has_warned_of_host = False
        self._lock = threading.Lock()
        self._freshness = wired.services.freshness
        self._clock = wired.services.clock

    def before_request(self) -> ResponseReturnValue | None:
        """Let the request through (None) or answer it. Order: Host, size, identity and gate, CSRF."""
        if not self._is_ready and not self._make_ready():
            return respond.plain(500, "Internal Server Error")
        incoming: Request = request._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001 - werkzeug's documented way
        state: GuardedSession = incoming.environ[KEY]
        if state.origin is None:
            self._warn_of_host(incoming)
            return respond.plain(400, "Bad Request: unknown host")
        rule = incoming.url_rule
        if rule is None:
            return None
        guard = self._table.guard(rule.endpoint)
        method = incoming.method
        if guard.methods:
            guard = guard.of(method)
        if method not in SAFE:
            fault = _body_fault(incoming, is_ours=rule.endpoint.startswith("gatehouse."))
            if fault is not None:
                return fault
        if not guard.requirement.is_public:
            if method == "OPTIONS" and getattr(rule, "provide_automatic_options", False):
                return None
            decision = decide(state.identity, guard.requirement, self._freshness, self._clock.now())
            if not decision:
                return answer(decision)
            state.owed = guard.owed
        state.passed = guard.labels
        return None if method in SAFE else self._check_csrf(guard)

    def _warn_of_host(self, incoming: Request) -> None:
        """Say once a process why requests get 400: to who forgot an origin nothing else would."""
        if self._has_warned_of_host:
            return
        self._has_warned_of_host = True
        host = incoming.environ.get("HTTP_HOST", "")[:HOST_SHOWN]
        text = "400 for the Host %a, which is not ours: if it should be, add it to GATEHOUSE_ORIGINS (said once)"
        log.warning(text, host)  # %a: whatever a stranger sends, the line stays one line of ASCII

    def _make_ready(self) -> bool:
        """Prepare once, before any request is let through."""
        with self._lock:
            if not self._is_ready:
                app = current_app._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001 - werkzeug's documented way
                self._is_ready = self._prepare(app)
        return self._is_ready

    def stand_first(self, app: Flask) -> None:
        """Run before every other before_request, those of extensions initialised earlier too (rule 19).

        The list is replaced, never changed: a request in another thread may be walking through it.
        """
        others = [function for function in app.before_request_funcs.get(None, ()) if function != self.before_request]
        app.before_request_funcs[None] = [self.before_request, *others]

    def _check_csrf(self, guard: Guard) -> ResponseReturnValue | None:
        if guard.is_csrf_exempt or (current_app.testing and current_app.config.get("WTF_CSRF_ENABLED") is False):
            return None
        fault = csrf_fault(self._wired.origins, self._wired.csrf_keys)
        if fault is None:
            return None
        state = here()
        record_refusal(state, "csrf.refused", {"why": fault, "path": shown_path()})
        text = f"This form cannot be taken: {fault}. Reload the page and send it again."
        return respond.message(403, "Forbidden", text)

    def finish(self, app: Flask, state: GuardedSession, response: Response) -> None:
        """End a response: withhold what was not authorised, store the session."""
        del app
        if state.owed and response.status_code < 400 and not state.owed <= state.authorized:  # noqa: PLR2004
            self._withhold(state, response)
        state.is_answered = True
        if response.status_code < 300 and response.is_streamed and not response.direct_passthrough:  # noqa: PLR2004
            state.expect_late_questions()
        try:
            self._settle(state, response)
        except DatabaseUnavailableError:
            _turn_into(response, respond.unavailable())

    @staticmethod
    def _settle(state: GuardedSession, response: Response) -> None:
        if state.claims:
            if "_user_id" in state.claims:
                Gate._judge_unvouched(state)
            state.claims.clear()
        if state.is_leaving:
            end_session(state)
        state.store(response)

    @staticmethod
    def _judge_unvouched(state: GuardedSession) -> None:
        """Judge a `_user_id` that no `login_user()` wrote: only a test's `session_transaction()` may (rule 15)."""
        if current_app.testing and not state.has_passed:
            judge_claims(state, may_abort=False)
        else:
            log.warning("_user_id was written into the session without login_user(): nobody is logged in by that")

    @staticmethod
    def _withhold(state: GuardedSession, response: Response) -> None:
        """Keep back an answer whose view forgot to ask about its object (rule 23)."""
        forgotten = ", ".join(sorted(state.owed - state.authorized))
        log.error("withheld the answer of %s: call authorize(%s, obj) in the view", request.endpoint, forgotten)
        _turn_into(response, respond.plain(500, "Internal Server Error"))


def _body_fault(incoming: Request, *, is_ours: bool) -> Response | None:
    """Return the answer to a body that the app, or none of our own forms, takes: too large, or not UTF-8.

    Raises:
        RequestEntityTooLarge: more than the host's `MAX_CONTENT_LENGTH`, so that the host's own handler can win.
    """
    told = incoming.content_length or 0
    if not is_ours:
        if incoming.max_content_length is not None and told > incoming.max_content_length:
            raise RequestEntityTooLarge
        return None
    incoming.max_content_length = OWN_BODY_MAX + 1  # a body that does not say its length is cut there, not refused
    if told > OWN_BODY_MAX or len(incoming.get_data(cache=True)) > OWN_BODY_MAX:
        return respond.message(413, "Too large", "This is more than the form takes.")
    if not is_well_encoded(incoming):
        return respond.message(400, "Bad request", "The form is not UTF-8.")
    return None


def _turn_into(response: Response, other: Response) -> None:
    response.status = other.status
    response.headers.clear()
    response.headers.extend(other.headers)
    if hasattr(response.response, "close"):  # a file or a generator that nobody will read to its end
        response.response.close()
    response.set_data(other.get_data())
