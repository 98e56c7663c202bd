"""`python -m benchmarks.storm`: how long people inside wait while 64 connections guess passwords.

Gatehouse and the notes' stack in turn, on the same server, in three shapes: one address at one account, 64 addresses at
one account, 64 addresses spraying 64 accounts. Guessers and people are spread evenly over the server's workers: where
chance gives one worker the guessers and another the people, nobody waits, whatever is served.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from benchmarks import report, results
from benchmarks.browser import HEADERS, WrongAnswerError, client_of
from benchmarks.by_server import server_option
from benchmarks.contender import PASSWORD, PROTECTED_PATH, USERNAME
from benchmarks.keep_alive import Connection, request, spread
from benchmarks.promises import Promise
from benchmarks.results import Chart, Result
from benchmarks.served_app import contender, create_users
from benchmarks.servers import SERVERS, serving

ACCOUNTS = [USERNAME, *(f"person{number}" for number in range(63))]
SHAPES = ("one address", "one account", "spraying")
PEOPLE = 4
WORKERS = 2
PAUSE_SECONDS = 0.02
PROMISE = 1 / 20
ABOUT = "p99 of people inside while 64 connections guess"
NAMES = {"notes": "notes' stack", "gatehouse": "Gatehouse"}


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
    create_users(name, folder, dict.fromkeys(ACCOUNTS[1:], PASSWORD))
    return HEADERS | headers


def person(connection: Connection, page: bytes, until: float) -> list[float]:
    """Use the protected page as a person does; return how long each answer took."""
    waits = []
    while time.monotonic() < until:
        begun = time.perf_counter()
        if connection.ask(page)[0] != 200:
            raise WrongAnswerError("somebody inside was put out")
        waits.append((time.perf_counter() - begun) * 1000)
        time.sleep(PAUSE_SECONDS)
    return waits


def storm(server: str, name: str, shape: str, connections: int, seconds: float) -> Waits:
    """Let one storm blow over one contender."""
    with TemporaryDirectory(prefix="storm-") as text:
        folder = Path(text)
        page = request("GET", PROTECTED_PATH, prepare(name, folder))
        with serving(server, name, folder, workers=WORKERS) as running:
            port = running.port
            many = [f"127.0.{1 + number // 250}.{1 + number % 250}" for number in range(connections)]
            sources = ["127.0.1.1"] * connections if shape == "one address" else many
            names = [ACCOUNTS if shape == "spraying" else [USERNAME]] * connections
            plan = {"port": port, "sources": sources, "names": names, "seconds": seconds, "workers": WORKERS}
            command = [sys.executable, "-m", "benchmarks.storm_flood", json.dumps(plan)]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            with subprocess.Popen(command, **pipes, text=True) as attacker:  # noqa: S603 - our own
                if attacker.stdout.readline() != "ready\n":
                    raise WrongAnswerError("the attacker did not get ready")
                inside = spread(port, WORKERS, ["127.0.0.1"] * PEOPLE)
                attacker.stdin.write("\n")
                attacker.stdin.flush()
                until = time.monotonic() + seconds
                with ThreadPoolExecutor(PEOPLE) as threads:
                    people = [threads.submit(person, one, page, until) for one in inside]
                    served = [wait for one in people for wait in one.result()]
                told, _ = attacker.communicate(timeout=120)
    return Waits(name, shape, served, json.loads(told))


def of_server(server: str, found: list[Waits]) -> tuple[list[tuple[str, ...]], list[Promise]]:
    """Lines of the table, and whether the promise is kept in every shape."""
    peers = {one.shape: one for one in found if one.contender == "notes"}
    rows, promises = [], []
    for one in found:
        if one.contender == "notes":
            continue
        peer, text = peers[one.shape], f"{server}, {one.shape}"
        ratio = one.p99 / peer.p99
        checked = one.statuses.get("401", 0) + one.statuses.get("200", 0) + one.statuses.get("303", 0)
        p99s = f"{peer.p99:.0f} ms", f"{one.p99:.0f} ms", f"1/{1 / ratio:.0f}"
        rows.append((text, f"{peer.median:.0f} ms", f"{one.median:.0f} ms", *p99s, str(len(one.served)), str(checked)))
        promises.append(Promise(ABOUT, f"{text}: p99 <= 1/20 of the notes' stack's", p99s[2], ratio <= PROMISE))
    return rows, promises


COLUMNS = (
    "server, shape",
    "median, notes' stack",
    "Gatehouse",
    "p99, notes' stack",
    "Gatehouse",
    "part",
    "pages served",
    "passwords checked",
)


@click.command()
@click.option("--seconds", default=15.0, show_default=True, help="How long each storm lasts.")
@click.option("--connections", default=64, show_default=True, type=click.IntRange(1, 500), help="Guessers at once.")
@server_option
@results.write_option
def main(*, seconds: float, connections: int, server: tuple[str, ...], write: bool) -> None:
    """Measure the wait of people inside while others guess."""
    console = report.console()
    rows: list[tuple[str, ...]] = []
    promises: list[Promise] = []
    bars: list[tuple[str, float]] = []
    for one in server or SERVERS:
        found = []
        for shape in SHAPES:
            for name in ("notes", "gatehouse"):
                console.print(f"{one}: {shape}, {name} …")
                found.append(storm(one, name, shape, connections, seconds))
                bars.append((f"{one}, {shape}, {NAMES[name]}", found[-1].p99))
        more, judged = of_server(one, found)
        rows, promises = rows + more, promises + judged
    result = Result(
        "storm",
        "A storm",
        f"What people inside wait for a page while {connections} connections guess passwords for {seconds:g} s.",
        COLUMNS,
        rows,
        [Chart("p99 of people inside", "ms", bars)],
        promises,
    )
    results.finish(console, result, write=write)


if __name__ == "__main__":
    main()
