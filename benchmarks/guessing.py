"""`python -m benchmarks.guessing`: how many passwords an attacker gets checked in a minute, and who gets in meanwhile.

The server's own processes count each password that is really compared with a digest. Whoever guesses never waits;
people log in all the time, the owner of the account from a known browser, others from addresses of their own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlencode

import click
from rich.console import Console

from benchmarks import report, results
from benchmarks.browser import HEADERS, ORIGIN, WrongAnswerError, csrf_token
from benchmarks.by_server import server_option
from benchmarks.contender import PASSWORD
from benchmarks.keep_alive import Connection, cookies_of, request, wait_of
from benchmarks.promises import Promise, at_most
from benchmarks.results import Chart, Result
from benchmarks.served_app import CHECKS, create_users
from benchmarks.servers import SERVERS, serving
from benchmarks.storm import NAMES

OWNER, WEAK = "the.owner", "a weak password 1"
SPRAYED = [f"sprayed{number}" for number in range(200)]
OTHERS = [f"other{number}" for number in range(12)]
MANY = 50
WITHIN_SECONDS = 1.0
FROM_ELSEWHERE = 10


@dataclass(frozen=True)
class Shape:
    """Where guesses come from and at whom they go."""

    name: str
    about: str
    sources: list[str]
    most: int
    names: list[str] = field(default_factory=lambda: [OWNER])
    forged: bool = False


SHAPES = (
    Shape("one client at one account", "guesses of one client at one account in 60 s", ["127.0.1.1"], 10),
    Shape(
        "one client, 50 forged addresses",
        "the same with 50 forged `X-Forwarded-For`, or from 50 real addresses",
        ["127.0.1.1"] * MANY,
        10,
        forged=True,
    ),
    Shape(
        "50 real addresses",
        "the same with 50 forged `X-Forwarded-For`, or from 50 real addresses",
        [f"127.0.2.{number}" for number in range(1, MANY + 1)],
        10,
    ),
    Shape(
        "spraying 200 accounts from one address",
        "passwords checked of one address that sprays 200 accounts in 60 s",
        ["127.0.1.1"],
        21,
        SPRAYED,
    ),
)
GETS_IN = "who gets in meanwhile: the owner from a known browser, others from other addresses"


@dataclass(frozen=True)
class Found:
    """What came of one shape against one contender."""

    contender: str
    shape: Shape
    checked: int
    statuses: dict[str, int]
    owner: list[float]
    others: list[float]


class Person:
    """Somebody with a browser and an address of their own, who logs in and comes again when told to."""

    def __init__(self, port: int, name: str, address: str) -> None:
        self._port, self._name, self._address = port, name, address
        self._device = ""

    def log_in(self) -> float:
        """Log in in a browser without a session; return the seconds from the first try to the end, infinite if out."""
        connection = Connection(self._port, source=self._address)
        try:
            _, head, page = connection.ask(request("GET", "/login", HEADERS))
            cookies = "; ".join(filter(None, (cookies_of(head), self._device)))
            fields = {"csrf_token": csrf_token(page.decode()), "username": self._name, "password": PASSWORD}
            sent = request(
                "POST", "/login", HEADERS | {"Origin": ORIGIN, "Cookie": cookies}, urlencode(fields).encode()
            )
            begun = time.perf_counter()
            while (answer := connection.ask(sent))[0] in {429, 503}:
                if time.perf_counter() - begun > FROM_ELSEWHERE:
                    return float("inf")
                time.sleep(wait_of(answer[1]))
            spent = time.perf_counter() - begun
        finally:
            connection.close()
        if answer[0] not in {302, 303}:
            raise WrongAnswerError(f"{self._name} was answered {answer[0]} for the right password")
        kept = [cookie for cookie in cookies_of(answer[1]).split("; ") if "-device=" in cookie]
        self._device = kept[0] if kept else self._device
        return spent


def guess(server: str, name: str, shape: Shape, seconds: float) -> Found:
    """Let one shape of guessing go at one contender."""
    with TemporaryDirectory(prefix="guess-") as text:
        folder = Path(text)
        create_users(name, folder, dict.fromkeys([OWNER, *OTHERS], PASSWORD) | _sprayed(shape))
        checks = folder / "checks"
        with serving(server, name, folder, **{CHECKS: str(checks)}) as running:
            owner = Person(running.port, OWNER, "127.0.3.1")
            owner.log_in()  # from now on this browser is known
            others = [Person(running.port, one, f"127.0.4.{number + 1}") for number, one in enumerate(OTHERS)]
            plan = {"port": running.port, "sources": shape.sources, "seconds": seconds, "forged": shape.forged}
            plan |= {"names": [shape.names] * len(shape.sources), "password": WEAK if len(shape.names) > 1 else ""}
            command = [sys.executable, "-m", "benchmarks.storm_flood", json.dumps(plan)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as attacker:  # noqa: S603 - our own
                until = time.monotonic() + seconds
                with ThreadPoolExecutor(2) as threads:
                    inside = threads.submit(_log_in, [owner] * len(others), until)
                    outside = threads.submit(_log_in, others, until)
                    waits = inside.result(), outside.result()
                told, _ = attacker.communicate(timeout=120)
        return Found(NAMES[name], shape, _of_attacker(checks), json.loads(told), *waits)


def _sprayed(shape: Shape) -> dict[str, str]:
    """Every twentieth has the password that is tried, the last of its twenty."""
    names = [name for name in shape.names if name != OWNER]
    return {name: WEAK if number % 20 == 19 else PASSWORD for number, name in enumerate(names)}


def _log_in(people: list[Person], until: float) -> list[float]:
    """One after another, spread over the time."""
    waits, pause = [], max(until - time.monotonic(), 0) / (len(people) + 1)
    for one in people:
        time.sleep(pause)
        waits.append(one.log_in())
    return waits


def _of_attacker(checks: Path) -> int:
    """How many passwords were compared that are not those of people."""
    return Counter(checks.read_text(encoding="utf-8").splitlines())["other"]


def judge(server: str, one: Found, seconds: float) -> list[Promise]:
    """What is promised for this shape."""
    text, most = f"{server}, {one.shape.name}", one.shape.most
    owner, others = max(one.owner), max(one.others)
    is_in = owner < float("inf") and others <= WITHIN_SECONDS
    return [
        at_most(one.shape.about, f"{text}: passwords checked in {seconds:g} s", one.checked, most),
        Promise(
            GETS_IN,
            f"{text}: the owner gets in, others within {WITHIN_SECONDS:g} s",
            f"owner {owner:.2f} s, others {others:.2f} s",
            is_in,
        ),
    ]


def cells(server: str, one: Found) -> tuple[str, ...]:
    """One line of the table."""
    asked = sum(one.statuses.values())
    owner, others = max(one.owner), max(one.others)
    return (
        f"{server}, {one.shape.name}, {one.contender}",
        str(asked),
        str(one.checked),
        f"{owner:.2f}",
        f"{others:.2f}",
    )


def measure(console: Console, servers: tuple[str, ...], seconds: float, contenders: list[str]) -> Result:
    """Every shape against every contender behind every server."""
    rows: list[tuple[str, ...]] = []
    bars: list[tuple[str, float]] = []
    promises: list[Promise] = []
    for server in servers:
        for shape in SHAPES:
            for name in contenders:
                console.print(f"{server}: {shape.name}, {NAMES[name]} …")
                found = guess(server, name, shape, seconds)
                rows.append(cells(server, found))
                if name == "gatehouse":
                    promises += judge(server, found, seconds)
                    bars.append((f"{server}, {shape.name}", found.checked))
    about = (
        f"Passwords guessed without pause for {seconds:g} s at two processes of 16 threads; the server counts how many "
        "it compared with a digest. People log in meanwhile."
    )
    columns = ("server, shape, contender", "asked", "checked", "owner at most, s", "others at most, s")
    charts = [Chart("Gatehouse: passwords checked", f"in {seconds:g} s", bars)]
    return Result("guessing", "Guessing", about, columns, rows, charts, promises)


@click.command()
@click.option("--seconds", default=60.0, show_default=True, help="How long each shape goes on.")
@server_option
@click.option("--peers/--no-peers", default=True, show_default=True, help="The notes' stack beside Gatehouse.")
@results.write_option
def main(*, seconds: float, server: tuple[str, ...], peers: bool, write: bool) -> None:
    """Count the passwords that guessers get checked."""
    console = report.console()
    contenders = ["notes", "gatehouse"] if peers else ["gatehouse"]
    results.finish(console, measure(console, server or SERVERS, seconds, contenders), write=write)


if __name__ == "__main__":
    main()
