"""`python -m benchmarks.logins`: how many logins a second, of what the cores could hash at the same cost.

The limit is the same Argon2 in as many plain processes as there are cores: by the reference implementation, with which
the peers hash, and by what Gatehouse hashes with. Behind the same server stands a bare app that does nothing but hash
with the reference: no app that hashes with it does more there. All take turns. The load shares the cores with the
server; what it uses of them is measured and told.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from urllib.parse import urlencode

from rich.console import Console

from benchmarks import fill, report, results
from benchmarks.browser import HEADERS, ORIGIN, WrongAnswerError, csrf_token
from benchmarks.by_server import Part, gathered, turns_command
from benchmarks.contender import COST, PASSWORD, hasher
from benchmarks.contenders import gatehouse
from benchmarks.keep_alive import Connection, cookies_of, request, spread, wait_of
from benchmarks.promises import at_least, at_most
from benchmarks.results import Chart, Result
from benchmarks.served_app import BARE, SETTINGS
from benchmarks.servers import CORES, Server, serving
from flask_gatehouse import migrations
from flask_gatehouse.domain.passwords.argon2id import Argon2id
from flask_gatehouse.kernel.database import Database, open_engine

USERS = 20_000
#: Of each worker: one login hashes, one is before or behind its hash.
CONNECTIONS = 2
PROXY = {"GATEHOUSE_TRUSTED_PROXIES": "127.0.0.1/32"}
SPEED, REST = "logins per second at equal Argon2 cost, over the limit of the cores", "all of a login but its hash"
BESIDE_BARE = "logins per second, over a bare app behind the same server that hashes with the reference"


@dataclass(frozen=True)
class Turn:
    """What one turn did in its seconds: hashes or logins, and the processor time they took."""

    done: int
    seconds: float
    cpu: float
    load_cpu: float = 0.0
    busy: int = 0

    @property
    def rate(self) -> float:
        """So many a second."""
        return self.done / self.seconds


Verify = Callable[[str, bytes], bool]


def reference() -> Verify:
    """What the peers verify with."""
    return hasher().verify


def own() -> Verify:
    """What Gatehouse verifies with."""
    return Argon2id(COST).verify


def _verify(made: Callable[[], Verify], digest: str, seconds: float) -> tuple[int, float, float]:
    verify, done, begun, cpu = made(), 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - begun < seconds:
        verify(digest, PASSWORD.encode())
        done += 1
    return done, time.perf_counter() - begun, time.process_time() - cpu


def limit(pool: multiprocessing.pool.Pool, made: Callable[[], Verify], digest: str, seconds: float) -> Turn:
    """Hash in plain processes."""
    found = pool.starmap(_verify, [(made, digest, seconds)] * CORES)
    # Each by its own time: none of them waits for the last hash of another.
    rate = sum(done / spent for done, spent, _ in found)
    return Turn(
        sum(done for done, _, _ in found), sum(done for done, _, _ in found) / rate, sum(cpu for *_, cpu in found)
    )


class Client:
    """One connection on which people log in one after another, each from an address of their own, through a proxy."""

    def __init__(self, connection: Connection, users: Iterator[int]) -> None:
        self._connection = connection
        self._users = users
        status, head, page = connection.ask(request("GET", "/login", HEADERS))
        if status != 200:
            raise WrongAnswerError(f"the login page answered {status}")
        self._token = csrf_token(page.decode())
        self._headers = HEADERS | {"Origin": ORIGIN, "Cookie": cookies_of(head)}
        self.statuses: Counter[int] = Counter()

    def run(self, until: float) -> None:
        """Log in, the next and the next, and wait where one is told to."""
        while time.perf_counter() < until:
            user = next(self._users)
            sent = self._login(user)
            while (answer := self._connection.ask(sent))[0] == 503 and time.perf_counter() < until:
                self.statuses[503] += 1
                time.sleep(wait_of(answer[1]))
            self.statuses[answer[0]] += 1
            if answer[0] not in {303, 503}:
                raise WrongAnswerError(f"a right password was answered {answer[0]}")

    def _login(self, user: int) -> bytes:
        fields = {"csrf_token": self._token, "username": fill.username(user, USERS), "password": PASSWORD}
        address = f"10.{user >> 16 & 255}.{user >> 8 & 255}.{user & 255}"
        return request("POST", "/login", self._headers | {"X-Forwarded-For": address}, urlencode(fields).encode())


def logins(server: Server, clients: list[Client], seconds: float) -> Turn:
    """Let all clients log people in at once."""
    for client in clients:
        client.statuses.clear()
    cpu, own, begun = server.cpu_seconds(), time.process_time(), time.perf_counter()
    with ThreadPoolExecutor(len(clients)) as threads:
        for one in [threads.submit(client.run, begun + seconds) for client in clients]:
            one.result()
    spent = time.perf_counter() - begun
    total = sum((client.statuses for client in clients), Counter[int]())
    return Turn(total[303], spent, server.cpu_seconds() - cpu, time.process_time() - own, total[503])


class Numbers:
    """Everybody in turn, whichever thread asks."""

    def __init__(self) -> None:
        self._numbers = count()
        self._lock = threading.Lock()

    def __iter__(self) -> Numbers:
        return self

    def __next__(self) -> int:
        with self._lock:
            return next(self._numbers) % USERS + 1


@contextmanager
def town(folder: Path) -> Iterator[None]:
    """People with passwords of the real cost, in the database that a contender of this folder opens."""
    with closing(Database(open_engine(gatehouse.sqlite(folder)))) as database:
        migrations.upgrade(database)
        fill.people(database, USERS, hasher().hash(PASSWORD), HEADERS["User-Agent"])
    yield


class Round(NamedTuple):
    """The turns of one round."""

    reference: Turn
    own: Turn
    bare: Turn
    server: Turn


def measure(console: Console, name: str, rounds: int, seconds: float) -> list[Round]:
    """Let both limits and the server take turns, each round in another order."""
    with ExitStack() as opened:
        folder = Path(opened.enter_context(TemporaryDirectory(prefix="bench-")))
        opened.enter_context(town(folder))
        settings = {SETTINGS: json.dumps(PROXY)}
        server, bare = (
            opened.enter_context(serving(name, app, folder, workers=CORES, threads=8, **settings))
            for app in ("gatehouse", BARE)
        )
        pool = opened.enter_context(multiprocessing.get_context("spawn").Pool(CORES))
        digest, users = hasher().hash(PASSWORD), Numbers()
        here = ["127.0.0.1"] * CORES * CONNECTIONS
        clients, bare_clients = (
            [Client(connection, users) for connection in spread(one.port, CORES, here)] for one in (server, bare)
        )
        turns: list[Callable[[float], Turn]] = [  # in the order of the fields of `Round`
            lambda span: limit(pool, reference, digest, span),
            lambda span: limit(pool, own, digest, span),
            lambda span: logins(bare, bare_clients, span),
            lambda span: logins(server, clients, span),
        ]
        for turn in turns:
            turn(0.5)
        found: list[Round] = []
        with report.progress(console, f"{name}: limits and logins in turn", rounds) as tick:
            for number in range(rounds):
                # each a place later than before: none rests so long that the server closes its connections
                order = [(step - number) % len(turns) for step in range(len(turns))]
                taken = {which: turns[which](seconds) for which in order}
                found.append(Round(*(taken[which] for which in range(len(turns)))))
                tick()
        return found


def line(name: str, rounds: list[Round]) -> Part:
    """One server's line of the table; ratios are formed within a round."""
    load = statistics.median(one.server.load_cpu / (one.server.seconds * CORES) for one in rounds)
    left = [1 - one.server.load_cpu / (one.server.seconds * CORES) for one in rounds]
    beside_bare = statistics.median(one.server.rate / one.bare.rate for one in rounds)
    share, of_own = (
        statistics.median(one.server.rate / one[which].rate / part for one, part in zip(rounds, left, strict=True))
        for which in (0, 1)
    )
    rest = statistics.median(1 - (one.own.cpu / one.own.done) / (one.server.cpu / one.server.done) for one in rounds)
    rates = [statistics.median(one[which].rate for one in rounds) for which in range(len(Round._fields))]
    shares = (f"{load:.1%}", f"{share:.3f}", f"{of_own:.3f}", f"{beside_bare:.3f}", f"{rest:.1%}")
    cells = (*(f"{rate:.1f}" for rate in rates), *shares)
    promises = [
        at_least(SPEED, f"{name}: logins over the limit, less what the load took,", share, 0.95),
        at_least(BESIDE_BARE, f"{name}: logins over those of the bare app", beside_bare, 0.95),
        at_most(REST, f"{name}: share of a login's processor time that is no hash", rest, 0.05),
    ]
    row = (name, *cells, str(sum(one.server.busy for one in rounds)))
    names = ("Argon2 alone, the reference", "Argon2 alone, libsodium", "a bare app", "Gatehouse")
    return Part([row], promises, [(f"{name}, {what}", rate) for what, rate in zip(names, rates, strict=True)])


@turns_command(rounds=9, seconds=5.0)
def main(*, rounds: int, seconds: float, server: tuple[str, ...], write: bool) -> None:
    """Measure logins a second over real server processes."""
    console = report.console()
    found = gathered(server, lambda name: line(name, measure(console, name, rounds, seconds)))
    result = Result(
        "logins",
        "Logins",
        f"Right passwords of {USERS:,} people from as many addresses, sent to {CORES} server processes, throttle on; "
        f"beside it Argon2 alone in {CORES} processes, by the reference implementation and by libsodium. The limit is "
        "the reference, with which the peers hash; the bare app does nothing but hash with it, behind the same server.",
        (
            "server",
            "the reference alone, a second",
            "libsodium alone, a second",
            "a bare app, a second",
            "logins a second",
            "the load's share of the cores",
            "part of the limit",
            "part of libsodium's",
            "of the bare app's",
            "no hash",
            "told to come again",
        ),
        found.rows,
        [Chart("Logins, and what the cores could hash", "a second", found.bars)],
        found.promises,
    )
    results.finish(console, result, write=write)


if __name__ == "__main__":
    main()
