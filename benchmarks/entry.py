"""A contender that has logged in and shown that it guards its route."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.browser import WrongAnswerError, client_of
from benchmarks.contender import PROTECTED_PATH, PROTECTED_TEXT, PUBLIC_PATH, PUBLIC_TEXT, Contender
from benchmarks.wsgi import Question, ask, environ_of


@dataclass(frozen=True)
class Entry:
    """Both questions, ready to be asked."""

    contender: Contender
    public: Question
    protected: Question


def enter(contender: Contender) -> Entry:
    """Log the contender in; refuse one whose numbers would mean nothing."""
    app = contender.app
    credentials = contender.log_in(client_of(app))
    entry = Entry(
        contender,
        # The public page is asked for by someone who is logged in: only then is there something to look up needlessly.
        Question(app, environ_of(PUBLIC_PATH, credentials), PUBLIC_TEXT.encode()),
        Question(app, environ_of(PROTECTED_PATH, credentials), PROTECTED_TEXT.encode()),
    )
    try:
        entry.public.ask()
        Question(app, environ_of(PUBLIC_PATH, {}), PUBLIC_TEXT.encode()).ask()
        entry.protected.ask()
        if contender.card.guards:
            _must_refuse(contender, {})
            _must_refuse(contender, {name: _forged(value) for name, value in credentials.items()})
    except WrongAnswerError as wrong:
        raise WrongAnswerError(f"{contender.card.name}: {wrong}") from wrong
    return entry


def _must_refuse(contender: Contender, credentials: dict[str, str]) -> None:
    status = ask(contender.app, environ_of(PROTECTED_PATH, credentials)).status
    if status not in (302, 401, 422):
        raise WrongAnswerError(f"{PROTECTED_PATH} answered {status} without a valid login")


def _forged(credentials: str) -> str:
    """Every token or cookie with another end."""
    return "; ".join(part[:-8] + "AAAAAAAA" for part in credentials.split("; "))
