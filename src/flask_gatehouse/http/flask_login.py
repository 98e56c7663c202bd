"""Flask-Login on our sessions: a LoginManager subclass, so that code written for Flask-Login keeps working.

It overrides private names of Flask-Login 0.6.3, which is therefore pinned; its behaviour has tests of its own.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from flask import abort, current_app, g, request, url_for
from flask_login import LoginManager, UserMixin, logout_user
from flask_login.mixins import AnonymousUserMixin
from flask_login.signals import user_accessed, user_logged_in, user_needs_refresh, user_unauthorized

from flask_gatehouse.domain.policy import STEP_UP
from flask_gatehouse.flows import login, second_step
from flask_gatehouse.flows.outcomes import FactorDue, FactorLost, Refused
from flask_gatehouse.kernel.errors import SetupError
from flask_gatehouse.kernel.identity import ADMIN

from . import decisions, respond
from .context import here, services

if TYPE_CHECKING:
    from flask import Flask
    from flask.typing import ResponseReturnValue

    from flask_gatehouse.domain.sessions import Issued
    from flask_gatehouse.kernel.identity import Identity

    from .cookie import GuardedSession

NO_LOADER = (
    "login_manager.{kind} would never be asked, and whom it turns away would be inside: remove {name}(). Suspend or "
    "close a user instead (`gatehouse user suspend NAME`), or ask in a before_request of your own"
)

log = logging.getLogger("flask_gatehouse.login")


class User(UserMixin):  # type: ignore[misc]  # Flask-Login has no types
    """`current_user`: the identity of a request, or a user just made, as Flask-Login's code expects one."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity

    @property
    def is_authenticated(self) -> bool:
        """Whether anything counts here: not while all is withheld, as what asks in an open view would let them in."""
        return not self.identity.withheld.is_all

    @property
    def id(self) -> int:
        """Id of the row in `gatehouse_user`; never reused."""
        return self.identity.user_id

    @property
    def username(self) -> str:
        """The login name."""
        return self.identity.username

    @property
    def email(self) -> str | None:
        """The e-mail address, unverified."""
        return self.identity.email

    @property
    def roles(self) -> tuple[str, ...]:
        """Names of the roles held, sorted."""
        return self.identity.roles

    @property
    def role(self) -> str:
        """`admin`, else the first role, else `user`."""
        if self.identity.is_admin:
            return ADMIN
        return self.identity.roles[0] if self.identity.roles else "user"

    def get_id(self) -> str:
        """Return the id as text."""
        return str(self.identity.user_id)

    def has_role(self, name: str) -> bool:
        """Tell whether the role is held; names are compared case-folded."""
        return name.casefold() in self.identity.roles

    def can(self, permission: str, obj: object = None) -> bool:
        """Tell whether this user may do something; see `flask_gatehouse.can`."""
        held = services()
        return held.policy.decide_object(self.identity, permission, obj, held.clock.now()).allowed

    def __repr__(self) -> str:
        """Name the user."""
        return f"<User {self.id} {self.username}>"


class Anonymous(AnonymousUserMixin):  # type: ignore[misc]  # Flask-Login has no types
    """`current_user` of a guest."""

    id = None
    username = ""
    email = None
    roles: tuple[str, ...] = ()
    role = ""

    def has_role(self, name: str) -> bool:
        """Return False: a guest holds no role."""
        del name
        return False

    def can(self, permission: str, obj: object = None) -> bool:
        """Return False: a guest may do nothing."""
        del permission, obj
        return False


class GatehouseLoginManager(LoginManager):  # type: ignore[misc]  # Flask-Login has no types
    """Flask-Login's manager with our sessions underneath.

    It reads no cookie, keeps no remember-me cookie and no identifier of address and browser: those stand in
    `domain.sessions`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.anonymous_user = Anonymous
        self.session_protection = None
        self._strangers: set[str] = set()
        self._session_identifier_generator = _no_identifier

    def init_app(self, app: Flask, add_context_processor: bool = False) -> None:  # noqa: FBT001, FBT002 - Flask-Login's signature
        """Become the app's login manager, without the after-request hook and the eager context processor.

        Raises:
            SetupError: the app has a login manager already.
        """
        del add_context_processor
        if getattr(app, "login_manager", None) is not None:
            msg = "the app has a LoginManager already: remove it, Gatehouse brings its own (app.login_manager)"
            raise SetupError(msg)
        app.login_manager = self  # type: ignore[attr-defined]

    def _load_user(self) -> None:
        if user_accessed.receivers:
            user_accessed.send(current_app._get_current_object())  # type: ignore[attr-defined]  # noqa: SLF001 - werkzeug's documented way
        g._login_user = as_user(here().identity)  # noqa: SLF001 - where Flask-Login keeps it

    def _update_request_context_with_user(self, user: Any = None) -> None:
        """Judge what `flask_login.login_user` and `logout_user` wrote into the session (rule 15)."""
        state = here()
        if user is not None and "_user_id" in state.claims:
            self._warn_of_strangers(user)
            judge_claims(state)
        elif state.is_leaving:
            end_session(state)
        elif user is None:
            _give_up_pending(state)
        g._login_user = as_user(state.identity)  # noqa: SLF001 - where Flask-Login keeps it

    def _warn_of_strangers(self, user: Any) -> None:
        """Say once that an object of the host's own class was logged in: its id is read as a Gatehouse user's."""
        kind = type(user).__name__
        if not isinstance(user, User) and kind not in self._strangers:
            self._strangers.add(kind)
            log.warning("login_user() got a %s: its get_id() is taken for a gatehouse_user.id", kind)

    def user_loader(self, callback: Any) -> Any:
        """Refuse: users are read with the session, so a loader of the host would never be asked.

        Raises:
            SetupError: always.
        """
        raise SetupError(NO_LOADER.format(kind="user_loader", name=getattr(callback, "__name__", "it")))

    def request_loader(self, callback: Any) -> Any:
        """Refuse: who a request acts as is the gate's business alone.

        Raises:
            SetupError: always.
        """
        raise SetupError(NO_LOADER.format(kind="request_loader", name=getattr(callback, "__name__", "it")))

    def require_unchanged(self) -> None:
        """Look, before the first request, for what an app set on Flask-Login's manager and nothing here would ask.

        Raises:
            SetupError: a loader was put in place.
        """
        for kind, callback in (("user_loader", self._user_callback), ("request_loader", self._request_callback)):
            if callback is not None:
                raise SetupError(NO_LOADER.format(kind=kind, name=getattr(callback, "__name__", "it")))
        if self.session_protection is not None:
            log.warning("login_manager.session_protection is not used: set GATEHOUSE_SESSION_PROTECTION")

    def unauthorized(self) -> ResponseReturnValue:
        """Answer a guest: the host's handler, its login view, or our own page; who owes a factor as the gate does."""
        identity = here().identity
        if identity is not None and identity.withheld.is_all:
            return decisions.answer(STEP_UP)
        user_unauthorized.send(current_app._get_current_object())  # type: ignore[attr-defined]  # noqa: SLF001 - werkzeug's documented way
        if self.unauthorized_callback:
            answer: ResponseReturnValue = self.unauthorized_callback()
            return answer
        view = self.blueprint_login_views.get(request.blueprint) or self.login_view
        return respond.guest(view) if view else respond.guest()

    def needs_refresh(self) -> ResponseReturnValue:
        """Answer an identity that is not fresh: the host's handler, its refresh view, or our own page."""
        user_needs_refresh.send(current_app._get_current_object())  # type: ignore[attr-defined]  # noqa: SLF001 - werkzeug's documented way
        if self.needs_refresh_callback:
            answer: ResponseReturnValue = self.needs_refresh_callback()
            return answer
        return respond.stale(self.refresh_view) if self.refresh_view else respond.stale()


def _no_identifier() -> str:
    """Stand in for Flask-Login's identifier, which trusts `X-Forwarded-For`."""
    return ""


def as_user(identity: Identity | None) -> User | Anonymous:
    """Return what `current_user` is for an identity."""
    return User(identity) if identity is not None else Anonymous()


def _attempt(state: GuardedSession, *, is_remembered: bool) -> login.Attempt:
    return login.Attempt(state.source, state.carried(), state.previous, is_remembered)


def judge_claims(state: GuardedSession, *, may_abort: bool = True) -> None:
    """Open the session that the host app asked for by `login_user`, or what is due before it.

    Args:
        state: the session object that was written to.
        may_abort: whether a refusal may end the request; not while a response is being finished.
    """
    text = str(state.claims.get("_user_id"))
    is_fresh, is_remembered = bool(state.claims.get("_fresh")), _is_remembered(state)
    attempt = _attempt(state, is_remembered=is_remembered)
    state.claims.clear()
    user_id = int(text) if text.isdecimal() and len(text) < 19 else 0  # noqa: PLR2004 - digits of a 64-bit integer
    outcome = login.vouched(state.wired.services, user_id, attempt, is_fresh=is_fresh)
    if isinstance(outcome, FactorDue):
        state.hold(outcome.pending)
        if may_abort:
            abort(respond.done(url_for("gatehouse.factor"), 202))
    elif isinstance(outcome, Refused):
        log.warning("login_user was refused for user %s", user_id)
        if may_abort:
            abort(respond.message(401, outcome.reason.value, outcome.text))
    else:
        state.adopt(outcome)


def _is_remembered(state: GuardedSession) -> bool:
    """Tell whether `login_user(remember=True)` was asked for; a shorter `duration` than ours gets a usual session."""
    seconds = state.claims.get("_remember_seconds")
    is_long = seconds is None or seconds * 1_000_000 >= state.wired.services.sessions.life.remember
    return state.claims.get("_remember") == "set" and is_long


def end_session(state: GuardedSession) -> None:
    """End the present session on the server, and a login that waits for its second factor; go on as a guest."""
    _give_up_pending(state)
    identity = state.identity
    if identity is not None and state.secret:
        login.end(state.wired.services, identity, state.source)
    state.leave()


def _give_up_pending(state: GuardedSession) -> None:
    """Leave nothing to resume of a login that waits for its second factor in this browser (rule 14)."""
    if state.pending:
        second_step.cancel(state.wired.services, state.pending, state.source)
        state.drop_pending()


def establish(issued: Issued) -> None:
    """Go on as the user whose login just succeeded: cookie, `current_user`, signal."""
    state = here()
    state.begin(issued)
    g.pop("csrf_token", None)
    g.pop("_login_user", None)  # Flask-Login asks again when `current_user` is read
    if user_logged_in.receivers:  # else nobody asks for the user, and the session's row is not read
        user = g._login_user = as_user(state.identity)  # noqa: SLF001 - where Flask-Login keeps it
        user_logged_in.send(current_app._get_current_object(), user=user)  # type: ignore[attr-defined]  # noqa: SLF001 - werkzeug's documented way


def renew(issued: Issued) -> None:
    """Go on under the new id of the same session."""
    identity = here().adopt(issued)
    g._login_user = as_user(identity)  # noqa: SLF001 - where Flask-Login keeps it
    g.pop("csrf_token", None)


def hold_pending(due: FactorDue | FactorLost) -> None:
    """Keep a pending login in its own cookie."""
    here().hold(due.pending)


def leave() -> None:
    """Log out: the session ends on the server, the cookie is cleared, Flask-Login's signal fires."""
    logout_user()
    state = here()
    if not state.has_left:  # the session was over already: its cookie goes all the same
        state.leave()
