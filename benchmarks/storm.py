"""`python -m benchmarks.storm`: how long people inside wait while 64 connections guess passwords.

Gatehouse and the notes' stack in turn, on the same server, in three shapes: one address at one account, 64 addresses at
one account, 64 addresses spraying 64 accounts.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from rich.console import Console
from rich.table import Table

from benchmarks import report
from benchmarks.browser import HEADERS, WrongAnswerError, client_of, submit
from benchmarks.contender import PASSWORD, PROTECTED_PATH, USERNAME
from benchmarks.storm_app import CONTENDER, FOLDER, contender
from benchmarks.storm_flood import HOST

ACCOUNTS = [USERNAME, *(f"person{number}" for number in range(63))]
SHAPES = ("one address", "one account", "spraying")
PEOPLE = 4
PAUSE_SECONDS = 0.02
PROMISE = 1 / 20


@dataclass(frozen=True)
class Waits:
    """What people inside waited in milliseconds, and what the attacker was answered."""

    contender: str
    shape: str
    served: list[float]
    statuses: dict[str, int]

    @property
    def median(self) -> float:
        """Half of them waited less."""
        return statistics.median(self.served)

    @property
    def p99(self) -> float:
        """One in a hundred waited longer."""
        return statistics.quantiles(self.served, n=100)[98]


def prepare(name: str, folder: Path) -> dict[str, str]:
    """Make the database with its users; return the headers of somebody inside."""
    held = contender(name, folder)
    headers = dict(held.log_in(client_of(held.app)))
    if name == "gatehouse":
        with held.app.app_context():
            for account in ACCOUNTS[1:]:
                held.app.extensions["gatehouse"].create_user(account, PASSWORD)
    else:
        for account in ACCOUNTS[1:]:
            submit(client_of(held.app), "/register", username=account, password=PASSWORD)
    return HEADERS | headers | {"Host": HOST}


@contextmanager
def serving(server: str, name: str, folder: Path) -> Iterator[int]:
    """Serve the app from two processes of 16 threads; yield the port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    app = "benchmarks.storm_app:create()"
    commands = {
        "gunicorn": [
            *(sys.executable, "-m", "gunicorn", app, "--bind", f"127.0.0.1:{port}", "--worker-class", "gthread"),
            *("--workers", "2", "--threads", "16", "--keep-alive", "75", "--log-level", "error", "--no-control-socket"),
        ],
        "granian": [
            *(sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port)),
            *(
                "--workers",
                "2",
                "--blocking-threads",
                "16",
                "--log-level",
                "error",
                "--factory",
                app.removesuffix("()"),
            ),
        ],
    }
    env = os.environ | {CONTENDER: name, FOLDER: str(folder)}
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(commands[server], env=env, stdout=log, stderr=log)  # noqa: S603 - a server of ours
        try:
            _wait(port)
            yield port
        finally:
            process.terminate()
            process.wait(20)


def _wait(port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with suppress(OSError, http.client.HTTPException):
            _ask(http.client.HTTPConnection("127.0.0.1", port, timeout=5), {"Host": HOST}, "/login")
            return
        time.sleep(0.05)
    raise WrongAnswerError("the server does not answer")


def _ask(connection: http.client.HTTPConnection, headers: dict[str, str], path: str) -> int:
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def person(port: int, headers: dict[str, str], until: float) -> list[float]:
    """Use the protected page as a person does; return how long each answer took."""
    connection, waits = http.client.HTTPConnection("127.0.0.1", port, timeout=60), []
    while time.monotonic() < until:
        begun = time.perf_counter()
        if _ask(connection, headers, PROTECTED_PATH) != 200:
            raise WrongAnswerError("somebody inside was put out")
        waits.append((time.perf_counter() - begun) * 1000)
        time.sleep(PAUSE_SECONDS)
    return waits


def storm(server: str, name: str, shape: str, connections: int, seconds: float) -> Waits:
    """Let one storm blow over one contender."""
    with TemporaryDirectory(prefix="storm-") as text:
        folder = Path(text)
        headers = prepare(name, folder)
        with serving(server, name, folder) as port:
            many = [f"127.0.{1 + number // 250}.{1 + number % 250}" for number in range(connections)]
            sources = ["127.0.1.1"] * connections if shape == "one address" else many
            names = [ACCOUNTS if shape == "spraying" else [USERNAME]] * connections
            plan = {"port": port, "sources": sources, "names": names, "seconds": seconds}
            command = [sys.executable, "-m", "benchmarks.storm_flood", json.dumps(plan)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as attacker:  # noqa: S603 - our own
                until = time.monotonic() + seconds
                with ThreadPoolExecutor(PEOPLE) as threads:
                    people = [threads.submit(person, port, headers, until) for _ in range(PEOPLE)]
                    served = [wait for one in people for wait in one.result()]
                told, _ = attacker.communicate(timeout=120)
    return Waits(name, shape, served, json.loads(told))


def show(console: Console, server: str, found: list[Waits]) -> bool:
    """Print the table; tell whether the promise is kept in every shape."""
    table = Table(title=f"{server}: people inside while it storms, ms")
    for column in ("shape", "contender", "median", "p99", "of the notes' p99", "served", "what the attacker got"):
        table.add_column(column)
    peers = {one.shape: one.p99 for one in found if one.contender == "notes"}
    kept = True
    for one in found:
        ratio = one.p99 / peers[one.shape]
        kept = kept and (one.contender == "notes" or ratio <= PROMISE)
        got = ", ".join(f"{status}: {number}" for status, number in one.statuses.items())
        share = "1" if one.contender == "notes" else f"1/{1 / ratio:.1f}"
        table.add_row(one.shape, one.contender, f"{one.median:.1f}", f"{one.p99:.0f}", share, str(len(one.served)), got)
    console.print(table)
    return kept


@click.command()
@click.option("--seconds", default=15.0, show_default=True, help="How long each storm lasts.")
@click.option("--connections", default=64, show_default=True, type=click.IntRange(1, 500), help="Guessers at once.")
@click.option("--server", type=click.Choice(["gunicorn", "granian"]), multiple=True, help="Both unless told.")
def main(*, seconds: float, connections: int, server: tuple[str, ...]) -> None:
    """Measure the wait of people inside while others guess."""
    console, kept = report.console(), True
    for one in server or ("gunicorn", "granian"):
        found = []
        for shape in SHAPES:
            for name in ("notes", "gatehouse"):
                console.print(f"{one}: {shape}, {name} …")
                found.append(storm(one, name, shape, connections, seconds))
        kept = show(console, one, found) and kept
    console.print(
        f"{'kept' if kept else 'BROKEN'}   p99 of people inside <= 1/20 of the notes' stack's, in every shape"
    )
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
