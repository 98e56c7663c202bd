"""Log records as lines of JSON: one record, one line, whatever people typed, and no secret in it."""

from __future__ import annotations

import json
import logging
import re
import traceback
from typing import Any

from flask import has_request_context, request

from flask_gatehouse.domain.audit import FIELDS
from flask_gatehouse.kernel.clock import as_datetime

from .cookie import KEY

TEXT_MAX = 4_000
TRACE_MAX = 16_000
_READ_MAX = 64_000
_TYPED = "password|confirm|current|recovery_code"
_SHORT = "csrf_token|code|secret|[a-z_]*secret_key(?:_fallbacks)?|[a-z_]*pepper(?:_fallbacks)?"
_SIGN = r"\s{0,9}[:,]\s{0,9}"
_VALUE = r"\\*([\"'])(?:\\.|(?!\2)[^\\])*(?:\\*\2|$)"
_SECRETS = (
    (re.compile(r"(/(?:reset-password|verify-email)/)[^\s/?#\"'\]]+"), r"\1***"),  # one-time links, in any access log
    (re.compile(r"(gatehouse(?:-[a-z]+)?=)[^\s;,\"']+"), r"\1***"),  # our cookies
    (re.compile(r"(\b(?:Bearer|Basic)\s+)[A-Za-z0-9._~+/=-]{16,}", re.IGNORECASE), r"\1***"),
    # a field of JSON, of a dict or of a form as Python shows them: to the quote that ends it, whatever stands within
    (
        re.compile(rf"([\"'](?:{_TYPED}|{_SHORT})\\*[\"']{_SIGN}[\[(]?[bu]?){_VALUE}", re.IGNORECASE | re.DOTALL),
        r"\1\2***\2",
    ),
    (re.compile(rf"([\"'](?:{_TYPED}|{_SHORT})\\*[\"']{_SIGN})[^\s\"'\[('\\,}}\]]+", re.IGNORECASE), r"\1***"),
    # the same unquoted: what people choose may hold a quote, a blank or `&`, and nothing says where it ends
    (re.compile(rf"(\b(?:{_TYPED})=)[^\r\n]+", re.IGNORECASE), r"\1***"),
    (re.compile(rf"(\b(?:{_SHORT})=)[^\s&,;\"']+(?: [0-9]{{3}}\b)?", re.IGNORECASE), r"\1***"),
    (re.compile(r"(://[^\s/:@]*:)[^\s/]+(?=@)"), r"\1***"),  # the password of a database's URL
)
"""What looks like a secret, and what stands in its place."""


class JsonLines(logging.Formatter):
    """Formats a record of any logger as one line of JSON in ASCII (ASVS V16.2.4, V16.4.1).

    A line has `at` (ISO 8601, UTC), `level`, `logger`, during a request its `request_id`, and what is told: `text`, or
    of the audit log `event` or `head`; of an exception `error` with `kind`, `text` and `trace`. Control characters are
    escaped, lengths bounded. Passwords, cookies, tokens and one-time links are masked where their form tells them: a
    second line of defence, for what an app or a server writes.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "at": as_datetime(int(record.created * 1_000_000)).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "level": record.levelname,
            "logger": record.name,
        }
        if name := _request_id():
            line["request_id"] = name
        told = getattr(record, FIELDS, None)
        line |= told if isinstance(told, dict) else {"text": _shown(record.getMessage())}
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = _error(record.exc_info[1])
        return json.dumps(line, separators=(",", ":"), default=str)


def write_to_stderr() -> None:
    """Send warnings, and of Gatehouse what happens too, to standard error as lines of JSON; for a program of ours.

    An app that has set up logging already is left as it is.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("flask_gatehouse").setLevel(logging.INFO)


def _request_id() -> str:
    state = request.environ.get(KEY) if has_request_context() else None
    return "" if state is None else str(state.request_id)


def _error(error: BaseException) -> dict[str, str]:
    trace = "".join(traceback.format_exception(error))
    trace = _masked(trace[-_READ_MAX:])[-TRACE_MAX:]  # its end says what happened
    return {"kind": type(error).__name__, "text": _shown(str(error)), "trace": trace}


def _shown(text: str) -> str:
    return _masked(text[:_READ_MAX])[:TEXT_MAX]


def _masked(text: str) -> str:
    """Return a text without what looks like a secret, and without lone surrogates, which are no text."""
    text = text.encode("utf-8", "backslashreplace").decode()
    for secret, shown in _SECRETS:
        text = secret.sub(shown, text)
    return text
