"""`python -m benchmarks.recovery_timing`: does the time of an answer tell whose e-mail address has an account?

A forgotten password, and a registration where people log in with their address: for an address that is somebody's and
one that is nobody's, in turn and in changing order; while a mail server takes the mail, and while it is down. The mail
itself is sent in the background; the next form is sent when that has ended.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Sink
from flask import Flask

from benchmarks import pairs as turns
from benchmarks import report, results
from benchmarks.browser import WrongAnswerError
from benchmarks.contender import PASSWORD
from benchmarks.contenders import gatehouse
from benchmarks.results import Result
from flask_gatehouse.domain import users

KNOWN, UNKNOWN = "known@bench.example", "nobody@bench.example"
ABOUT = (
    "time of an answer to a forgotten password or a registration by e-mail, known by unknown address, mail up and down"
)
FORMS: dict[str, dict[str, str]] = {
    "/forgot-password": {},
    "/register": {"password": PASSWORD, "confirm": PASSWORD},
}
REST_SECONDS = 30
#: What hashes nothing is short, so that a busy machine shows more: it is sent more often.
TIMES = {"/forgot-password": 5, "/register": 1}


def build(folder: Path, port: int) -> Flask:
    """An app whose people log in with their address, one of them with a verified one."""
    mail_url = f"smtp://127.0.0.1:{port}"
    told = {"GATEHOUSE_LOGIN_NAME": "email", "GATEHOUSE_MAIL_URL": mail_url, "GATEHOUSE_THROTTLE": "off"}
    app = gatehouse.build(folder, gatehouse.sqlite(folder), TESTING=True, **told)
    gate = app.extensions["gatehouse"]
    with app.app_context():
        made = gate.create_user("known", PASSWORD, KNOWN)
    with gate.services(app).unit() as unit:
        users.verify_email(unit.connection, made.id, KNOWN)
    return app


def compare(app: Flask, path: str, pairs: int, tick: Callable[[], None]) -> float:
    """The time of an answer about the known address by that about the unknown one."""
    field = "email" if path == "/register" else "username"
    known, unknown = (turns.attempt(app, path, 303, **{field: who}, **FORMS[path]) for who in (KNOWN, UNKNOWN))
    return turns.compare(known, unknown, pairs, tick, rest=partial(_rest, app))


def _rest(app: Flask) -> None:
    """Wait until the mail of the last form has left: what it costs stands in no answer."""
    if not app.extensions["gatehouse"].services(app).postman.rest(REST_SECONDS):
        raise WrongAnswerError("the mail never left")


def free_port() -> int:
    """A port of loopback where nobody answers."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@click.command()
@click.option("--pairs", default=300, show_default=True, type=click.IntRange(1), help="Answers about either address.")
@results.write_option
def main(*, pairs: int, write: bool) -> None:
    """Compare answers about a known and an unknown address."""
    logging.getLogger("flask_gatehouse.mail").setLevel(logging.CRITICAL)  # half of the mails cannot be handed over
    console, ratios = report.console(), {}
    port = free_port()
    server = Controller(Sink(), hostname="127.0.0.1", port=port)
    for is_up in (True, False):
        if is_up:
            server.start()
        with TemporaryDirectory(prefix="bench-") as folder:
            app = build(Path(folder), port)
            for path in FORMS:
                name = f"{path}, mail {'up' if is_up else 'down'}"
                number = pairs * TIMES[path]
                with report.progress(console, name, number + turns.WARM_UP) as tick:
                    ratios[name] = compare(app, path, number, tick)
            app.extensions["gatehouse"].services(app).postman.retire(REST_SECONDS)
        if is_up:
            server.stop()
    result = Result(
        "recovery_timing",
        "Known and unknown addresses",
        f"The time of an answer about somebody's address by that about nobody's, median of {pairs} pairs; of five "
        "times as many for a forgotten password, which hashes nothing.",
        ("form", "known by unknown"),
        [(name, f"{ratio:.3f}") for name, ratio in ratios.items()],
        promises=[turns.judged(ABOUT, name, ratio) for name, ratio in ratios.items()],
    )
    results.finish(console, result, write=write)


if __name__ == "__main__":
    main()
