"""`python -m benchmarks.over_http`: protected requests a second through a real server, by those of plain Flask.

Plain Flask, the notes' stack and Gatehouse stand ready behind servers with the same settings and take turns. The server
has one core to itself and the load another, so that neither takes time from the other.
"""

from __future__ import annotations

import select
import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from benchmarks import report, results
from benchmarks.browser import HEADERS, WrongAnswerError, client_of
from benchmarks.by_server import Part, gathered, turns_command
from benchmarks.contender import GATEHOUSE, NOTES, PLAIN, PROTECTED_PATH, PROTECTED_TEXT
from benchmarks.keep_alive import Connection, request
from benchmarks.promises import at_least
from benchmarks.results import Chart, Result
from benchmarks.served_app import contender
from benchmarks.servers import pinned, serving

NAMES = {"plain": PLAIN, "notes": NOTES, "gatehouse": GATEHOUSE}
CONNECTIONS, THREADS = 4, 4
ABOUT = "protected requests per second over HTTP, over plain Flask"
PROMISE = 0.75
#: A load that uses more of its core than this may have held the server up.
MOST_LOAD = 0.9


@dataclass
class Lane:
    """One contender behind its server, with the connections to it."""

    name: str
    connections: list[Connection]
    request: bytes
    rates: list[float] = field(default_factory=list)
    loads: list[float] = field(default_factory=list)

    def run(self, seconds: float) -> None:
        """Keep every connection busy and count the answers."""
        poll, held, done = select.epoll(), {one.fileno(): one for one in self.connections}, 0
        for number, one in held.items():
            poll.register(number, select.EPOLLIN)
            one.send(self.request)
        begun, cpu = time.perf_counter(), time.process_time()
        while (spent := time.perf_counter() - begun) < seconds:
            for number, _ in poll.poll(1):
                self._check(held[number].receive())
                held[number].send(self.request)
                done += 1
        self.rates.append(done / spent)
        self.loads.append((time.process_time() - cpu) / spent)
        for one in self.connections:
            self._check(one.receive())
        poll.close()

    def _check(self, answer: tuple[int, bytes, bytes]) -> None:
        if answer[0] != 200 or answer[2] != PROTECTED_TEXT.encode():
            raise WrongAnswerError(f"{self.name} answered {answer[0]} while it was timed")


def lane(opened: ExitStack, server: str, name: str) -> Lane:
    """Log a contender in, put it behind a server of one process, and connect."""
    folder = Path(opened.enter_context(TemporaryDirectory(prefix="bench-")))
    made = contender(name, folder)
    headers = HEADERS | dict(made.log_in(client_of(made.app)))
    with pinned(0):
        running = opened.enter_context(serving(server, name, folder, workers=1, threads=THREADS))
    connections = [Connection(running.port) for _ in range(CONNECTIONS)]
    for one in connections:
        opened.callback(one.close)
    return Lane(NAMES[name], connections, request("GET", PROTECTED_PATH, headers))


def measure(console: Console, server: str, rounds: int, seconds: float) -> list[Lane]:
    """All contenders in turn, each round beginning with another one."""
    with ExitStack() as opened:
        lanes = [lane(opened, server, name) for name in NAMES]
        with pinned(1), report.progress(console, f"{server}: {len(lanes)} contenders in turn", rounds) as tick:
            for one in lanes:
                one.run(0.3)
                one.rates.clear()
                one.loads.clear()
            for number in range(rounds):
                first = number % len(lanes)
                for one in (*lanes[first:], *lanes[:first]):
                    one.run(seconds)
                tick()
        return lanes


def lines(console: Console, server: str, lanes: list[Lane]) -> Part:
    """One server's lines of the table; ratios are formed within a round."""
    part = Part()
    for one in lanes:
        ratio = statistics.median(own / floor for own, floor in zip(one.rates, lanes[0].rates, strict=True))
        load = statistics.median(one.loads)
        label, rate = f"{server}, {one.name}", statistics.median(one.rates)
        part.rows.append((label, f"{rate:,.0f}", f"{ratio:.2f}", f"{load:.0%}"))
        part.bars.append((label, rate))
        if one.name == GATEHOUSE:
            part.promises.append(at_least(ABOUT, f"{server}: Gatehouse, by plain Flask,", ratio, PROMISE))
    if max(max(one.loads) for one in lanes) > MOST_LOAD:
        console.print("[bold]The load filled its core: the fastest of them would do more than was measured.[/]")
    return part


@turns_command(rounds=15, seconds=1.0)
def main(*, rounds: int, seconds: float, server: tuple[str, ...], write: bool) -> None:
    """Measure protected requests a second."""
    console = report.console()
    found = gathered(server, lambda name: lines(console, name, measure(console, name, rounds, seconds)))
    result = Result(
        "over_http",
        "Requests over HTTP",
        f"A protected page, asked for without pause on {CONNECTIONS} connections that stay open; one server process of "
        f"{THREADS} threads on a core of its own.",
        ("server, contender", "requests a second", "of plain Flask", "the load's core was busy"),
        found.rows,
        [Chart("Protected requests over HTTP", "a second", found.bars)],
        found.promises,
    )
    results.finish(console, result, write=write)


if __name__ == "__main__":
    main()
