"""Outcome → page, redirect or problem+json. The only file that asks "HTML or JSON?"."""

from __future__ import annotations

import json
import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlencode

from flask import Request, Response, abort, current_app, make_response, redirect, render_template, request, url_for
from werkzeug.datastructures import MIMEAccept
from werkzeug.exceptions import Forbidden
from werkzeug.http import parse_accept_header

from flask_gatehouse.domain.policy import Decision, Reason
from flask_gatehouse.flows.outcomes import Refusal, Refused
from flask_gatehouse.flows.outcomes import refused as refused_by

from .context import WIRED, here, wired
from .headers import page_policy
from .origin import present_target
from .schemes import has_token_scheme

if TYPE_CHECKING:
    from flask import Flask
    from flask_wtf import FlaskForm
    from jinja2 import Template

SECOND = 1_000_000
PROBLEM = "urn:flask-gatehouse:problem"
DATABASE_RETRY_SECONDS = 5
DATA_POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"
"""Content-Security-Policy of what programs get: opened as a page it runs and loads nothing (ASVS V3.2.1)."""

STATUS = {
    Refusal.CREDENTIALS: 401,
    Refusal.UNVERIFIED: 401,
    Refusal.THROTTLED: 429,
    Refusal.BUSY: 503,
    Refusal.FIELD: 422,
    Refusal.FORBIDDEN: 403,
    Refusal.ALARMED: 403,
    Refusal.SELF: 403,
    Refusal.LAST_ADMIN: 403,
    Refusal.NOT_FOUND: 404,
    Refusal.GONE: 410,
}


def wants_program() -> bool:
    """Tell whether the present request is a program's."""
    return is_program(request)


def is_program(incoming: Request) -> bool:
    """Tell whether a request is a program's: it prefers JSON, bears a token, is under `/api`, or is a fetch."""
    if incoming.headers.get("Sec-Fetch-Mode", "navigate") != "navigate":
        return True
    if incoming.path == "/api" or incoming.path.startswith("/api/"):
        return True
    if has_token_scheme(incoming.environ):
        return True
    return _prefers_json(incoming.headers.get("Accept", ""))


@lru_cache(maxsize=64)
def _prefers_json(header: str) -> bool:
    accept = parse_accept_header(header, MIMEAccept)
    if not accept:
        return False
    best = max(accept["application/json"], accept["application/problem+json"])
    return best > max(accept["text/html"], accept["application/xhtml+xml"])


def nonce() -> str:
    """Return the script nonce of this response (ASVS V3.4.3)."""
    return here().nonce


def page(template: str, status: int = 200, **context: object) -> Response:
    """Render one of our pages, with its Content-Security-Policy.

    Args:
        template: file under `templates/gatehouse/`; the host's own file of that name wins.
        status: the HTTP status.
        context: what the template shows.
    """
    found = wired().templates.get(current_app.jinja_env, f"gatehouse/{template}")
    response = make_response(render_template(found, **context), status)
    response.headers["Content-Security-Policy"] = page_policy(nonce())
    response.headers["Cache-Control"] = "no-store"
    return response


def problem(
    status: int,
    title: str,
    *,
    kind: str = "",
    detail: str = "",
    wait: int = 0,
    errors: dict[str, list[str]] | None = None,
) -> Response:
    """Return an RFC 9457 problem.

    Args:
        status: the HTTP status.
        title: what happened.
        kind: last part of its `type`; empty for `about:blank`.
        detail: a sentence for people.
        wait: microseconds until trying again makes sense.
        errors: field → texts.
    """
    body: dict[str, object] = {"type": f"{PROBLEM}/{kind}" if kind else "about:blank", "title": title, "status": status}
    body |= {"detail": detail} if detail else {}
    body |= {"errors": errors} if errors else {}
    response = _data(body, status, "application/problem+json")
    if status == 401:  # noqa: PLR2004 - RFC 9110: a 401 names its challenge
        response.headers["WWW-Authenticate"] = 'Session realm="gatehouse"'
    return _with_wait(response, wait)


def _data(body: dict[str, object], status: int, content_type: str) -> Response:
    response = Response(json.dumps(body), status, content_type=content_type)
    response.headers["Content-Security-Policy"] = DATA_POLICY
    return response


def _seconds(wait: int) -> int:
    """Return a wait in whole seconds, rounded up; 0 when there is none."""
    return math.ceil(wait / SECOND)


def _with_wait(response: Response, wait: int) -> Response:
    if wait:
        response.headers["Retry-After"] = str(_seconds(wait))
    return response


def done(target: str, status_program: int = 200, **data: object) -> Response:
    """Answer a success: a page goes to the target, a program gets it as `next`."""
    if not wants_program():
        return make_response(redirect(target, 303))
    if status_program == 204:  # noqa: PLR2004 - No Content
        return Response(status=204)
    return _data({"next": target, **data}, status_program, "application/json")


def data(body: dict[str, object]) -> Response:
    """Answer with data alone, whoever asks."""
    return _data(body, 200, "application/json")


def download(name: str, body: dict[str, object]) -> Response:
    """Answer with a file of JSON, which a browser saves; `name` is ASCII without quotes."""
    response = _data(body, 200, "application/json")
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["Cache-Control"] = "no-store"
    return response


def answered(template: str, data: dict[str, object], **context: object) -> Response:
    """Answer a question that a form asked: a page that tells it, or data for a program."""
    return _data(data, 200, "application/json") if wants_program() else page(template, 200, **context)


def refused(refusal: Refused, template: str, **context: object) -> Response:
    """Answer a flow's refusal: the form again with the reason, or a problem."""
    status = STATUS[refusal.reason]
    errors = {refusal.field: [refusal.text]} if refusal.field else {}
    if wants_program():
        title = refusal.reason.value
        return problem(status, title, detail=refusal.text, wait=refusal.wait, errors=errors)
    context |= {"refusal": refusal, "errors": errors, "retry_after": _seconds(refusal.wait)}
    return _with_wait(page(template, status, **context), refusal.wait)


def invalid(form: FlaskForm, template: str, **context: object) -> Response:
    """Answer fields that cannot be taken: 422, the texts beside the fields."""
    errors = {name: [str(text) for text in texts] for name, texts in form.errors.items() if name}
    if wants_program():
        return problem(422, Refusal.FIELD.value, detail=" ".join(map(str, form.form_errors)), errors=errors)
    return page(template, 422, form=form, errors=errors, **context)


def message(status: int, title: str, text: str, *, wait: int = 0) -> Response:
    """Answer with a page that says one thing, or a problem."""
    if wants_program():
        return problem(status, title, detail=text, wait=wait)
    return _with_wait(page("message.html", status, title=title, text=text, retry_after=_seconds(wait)), wait)


def plain(status: int, text: str, *, wait: int = 0) -> Response:
    """Answer without a template, an identity or a session: for a foreign Host or a database that is gone."""
    response = Response(f"{text}\n", status, content_type="text/plain; charset=utf-8")
    response.headers["Cache-Control"] = "no-store"
    return _with_wait(response, wait)


def unavailable() -> Response:
    """Answer 503: the database does not answer. It works again by itself once it does."""
    text, wait = "The service is not available at the moment. Try again in a few seconds.", DATABASE_RETRY_SECONDS
    if wants_program():
        return problem(503, "unavailable", detail=text, wait=wait * SECOND)
    return plain(503, text, wait=wait * SECOND)


def turned_away(app: Flask, environ: dict[str, Any], status: int, wait: int) -> Response:
    """Answer in front of Flask, without an identity, a session or the database (rule 6).

    Args:
        app: whose page it is; the host's own file `gatehouse/turned_away.html` wins.
        environ: the request.
        status: 429 or 503.
        wait: microseconds until trying again makes sense.
    """
    refusal = refused_by(Refusal.THROTTLED if status == 429 else Refusal.BUSY)  # noqa: PLR2004 - Too Many Requests
    # not put into its environ: that is a cycle, which only the garbage collector frees; and it reads no body
    if is_program(Request(environ, populate_request=False, shallow=True)):
        return problem(status, refusal.reason.value, detail=refusal.text, wait=wait)
    prefix = environ.get("SCRIPT_NAME", "") + (app.blueprints["gatehouse"].url_prefix or "")
    template = app.extensions[WIRED].templates.get(app.jinja_env, "gatehouse/turned_away.html")
    text = _static_page(template, refusal.text, _seconds(wait), prefix)
    response = Response(text, status, content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = page_policy("")
    response.headers["Cache-Control"] = "no-store"
    return _with_wait(response, wait)


@lru_cache(maxsize=1024)
def _static_page(template: Template, text: str, seconds: int, prefix: str) -> str:
    return template.render(text=text, seconds=seconds, prefix=prefix)


def lead_to(endpoint: str) -> Response:
    """Lead to a page that asks for more, with the way back."""
    target = present_target()
    if "/" in endpoint:  # Flask-Login takes a URL for a view as well
        joint = "&" if "?" in endpoint else "?"
        return make_response(redirect(f"{endpoint}{joint}{urlencode({'next': target})}" if target else endpoint))
    return make_response(redirect(url_for(endpoint, next=target) if target else url_for(endpoint)))


def guest(endpoint: str = "gatehouse.login") -> Response:
    """Answer a guest on a guarded route."""
    if wants_program():
        return problem(401, "log in first", kind="login", detail="This needs a login.")
    return lead_to(endpoint)


def stale(endpoint: str = "gatehouse.reauthenticate") -> Response:
    """Answer an identity that must prove again."""
    if wants_program():
        return problem(401, "prove again", kind="step-up", detail="This needs a fresh proof: send the password again.")
    return lead_to(endpoint)


def enrol() -> Response:
    """Answer an identity that lacks the factor a route demands: lead to where one is enrolled, with the way back."""
    if wants_program():
        detail = "This needs a second factor, and none is enrolled."
        return problem(403, "enrol a second factor", kind="enrol", detail=detail)
    return lead_to("gatehouse.security")


def alarmed() -> Response:
    """Answer a session that has shown the password alone while an alarm stands: lead to what helps."""
    if wants_program():
        refusal = refused_by(Refusal.ALARMED)
        return problem(403, refusal.reason.value, kind="alarm", detail=refusal.text)
    return lead_to("gatehouse.security")


def forbidden(decision: Decision, *, explain: bool) -> NoReturn:
    """Refuse; the host's `errorhandler(403)` wins over our page.

    Args:
        decision: why.
        explain: whether the page may say what is missing: only in debug and to a loopback peer (rule 26).
    """
    text = "You do not have permission to do this."
    if explain and decision.missing:
        kind = "The rule of permission" if decision.reason is Reason.OBJECT_RULE else "Missing"
        text = f"{text} {kind}: {decision.missing}."
    if wants_program():
        abort(problem(403, "forbidden", kind="forbidden", detail=text))
    raise Forbidden(text, response=page("forbidden.html", 403, text=text))
