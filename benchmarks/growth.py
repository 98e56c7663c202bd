"""`python -m benchmarks.growth`: what a request costs with a thousand users and with a million.

Two databases, filled in bulk, and the same app over each, in a process of its own; they take turns. Passwords are
hashed as cheaply as Argon2 can: at its real cost no growth of a login could be seen. Everything else is on.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import random
import re
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import click
from argon2 import PasswordHasher
from flask import Flask
from rich.console import Console
from werkzeug.test import EnvironBuilder

from benchmarks import fill, postgres, report, results
from benchmarks.browser import HEADERS, ORIGIN, WrongAnswerError, client_of, csrf_token, get
from benchmarks.contender import PASSWORD, PROTECTED_PATH, PROTECTED_TEXT, SECRET
from benchmarks.contenders import gatehouse
from benchmarks.promises import Promise, at_most
from benchmarks.results import Chart, Result
from benchmarks.wsgi import ask, environ_of
from flask_gatehouse import migrations
from flask_gatehouse.domain.audit import AuditLog
from flask_gatehouse.domain.roles import Roles
from flask_gatehouse.kernel.clock import Clock
from flask_gatehouse.kernel.database import Database, open_engine
from flask_gatehouse.kernel.keys import KeyRing

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

COST = (8, 1, 1)
ABOUT = "1,000 to 1,000,000 users and sessions"
PROMISE = 1.1
#: PostgreSQL's own advice is a quarter of the machine's memory; its default holds a quarter of these tables.
MEMORY = "1GB"
COOKIE = "__Host-gatehouse"
#: The administrator is the first user; the pages of one user are those of the one with a long history.
ADMIN = 1
PERSON = re.compile(r"person\d{7}")
#: Stands in each row of a login, and nowhere else on the page of the audit log.
LOGIN_ROW = 'aria-label="Only login.succeeded"'


@dataclass(frozen=True)
class Shape:
    """A request that is measured: how it is made for one user after another, and what its answer must hold."""

    name: str
    path: str
    text: str
    status: int = 200
    #: Whose session asks; None: everybody in turn.
    who: int | None = ADMIN
    #: The one person whom the rows of the answer may be about; empty: anybody.
    only: str = ""

    def is_answered_by(self, status: int, page: str) -> bool:
        """Whether this is the answer that was to be measured."""
        if status != self.status or self.text not in page:
            return False
        rows = page.partition("<tbody")[2].partition("</tbody>")[0]
        return not self.only or set(PERSON.findall(rows)) == {self.only}


def shapes(users: int, place: str) -> list[Shape]:
    """All that is measured. Pages show as much in either database: fifty of a list, sixty events.

    Args:
        users: how many there are.
        place: of a session in the middle, as the page of all sessions takes it.
    """
    one = fill.history_of(users)
    name = fill.username(one, users)
    later = f"person{users // 3:07d}"
    return [
        Shape("a protected page, one person", PROTECTED_PATH, PROTECTED_TEXT, who=2),
        Shape("a protected page, everybody in turn", PROTECTED_PATH, PROTECTED_TEXT, who=None),
        Shape("a login, everybody in turn", "/login", "", 303, who=None),
        Shape("own sessions", "/account/sessions", "Sessions", who=one),
        Shape("own activity", "/account/activity", "activity", who=one),
        Shape("admin: overview", "/admin", "person"),
        Shape("admin: users", "/admin/users", "person"),
        Shape("admin: users, a page in the middle", f"/admin/users?after={later}", "person"),
        Shape("admin: users, a search", "/admin/users?search=person00005", "person00005"),
        Shape("admin: one user", f"/admin/users/{one}", "person"),
        Shape("admin: all sessions", "/admin/sessions", "person"),
        Shape("admin: all sessions, a page in the middle", f"/admin/sessions?after={place}", "person"),
        Shape("admin: sessions of one user", f"/admin/sessions?username={name}", "person", only=name),
        Shape("admin: audit", "/admin/audit", LOGIN_ROW),
        Shape("admin: audit, one user", f"/admin/audit?username={name}", LOGIN_ROW, only=name),
    ]


class House:
    """The app over one filled database."""

    def __init__(self, folder: Path, url: str, users: int) -> None:
        self._users = users
        self.app = build(folder, url)
        routes = {rule.rule for rule in self.app.url_map.iter_rules()}
        self.shapes = {
            shape.name: shape
            for shape in shapes(users, fill.place_of(url, users // 3))
            if not shape.path.startswith("/admin/audit") or "/admin/audit" in routes
        }
        self._random = random.Random(7)  # noqa: S311 - the same people in each run
        client = client_of(self.app)
        self._token = csrf_token(get(client, "/login").text)
        self._guest = get(client, "/login").request.headers["Cookie"]

    def requests(self, shape: Shape, count: int) -> list[WSGIEnvironment]:
        """So many requests, made before any is timed."""
        if shape.path == "/login":
            return [self._login(self._anyone()) for _ in range(count)]
        return [environ_of(shape.path, _cookie(shape.who or self._anyone())) for _ in range(count)]

    def _anyone(self) -> int:
        # Not the first few, who are asked for by name.
        return self._random.randrange(10, self._users + 1)

    def _login(self, user_id: int) -> WSGIEnvironment:
        fields = {"csrf_token": self._token, "username": fill.username(user_id, self._users), "password": PASSWORD}
        address = ".".join(str(self._random.randrange(1, 255)) for _ in range(4))
        return EnvironBuilder(
            "/login",
            method="POST",
            base_url=ORIGIN,
            headers=[*HEADERS.items(), ("Origin", ORIGIN), ("Cookie", self._guest)],
            input_stream=BytesIO(urlencode(fields).encode()),
            content_type="application/x-www-form-urlencoded",
            content_length=len(urlencode(fields)),
            environ_overrides={"REMOTE_ADDR": address},
        ).get_environ()

    def time(self, name: str, count: int) -> float:
        """The median of so many requests, in microseconds; every answer is checked, outside the measured span."""
        shape, spent = self.shapes[name], []
        made = self.requests(shape, count)
        gc.collect()
        for environ in made:
            begun = time.perf_counter_ns()
            answer = ask(self.app, environ)
            spent.append(time.perf_counter_ns() - begun)
            if not shape.is_answered_by(answer.status, answer.body.decode()):
                raise WrongAnswerError(f"{name} answered {answer.status}")
        return statistics.median(spent) / 1000


def build(folder: Path, url: str) -> Flask:
    """Gatehouse with cheap hashes, which it takes in tests only."""
    cost = ",".join(map(str, COST))
    return gatehouse.build(folder, url, TESTING=True, GATEHOUSE_ARGON2=cost)


def _cookie(user_id: int) -> dict[str, str]:
    return {"Cookie": f"{COOKIE}={fill.secret(user_id)}"}


@dataclass(frozen=True)
class Plan:
    """How often both take their turn, and how many requests one is."""

    rounds: int
    requests: int


#: For each shape: microseconds with few users, with many, and the ratio.
Found = dict[str, tuple[float, float, float]]

_houses: list[House] = []


def _open(folder: Path, url: str, users: int) -> list[str]:
    _houses.append(House(folder, url, users))
    gc.collect()
    gc.freeze()
    return list(_houses[0].shapes)


def _time(name: str, count: int) -> float:
    return _houses[0].time(name, count)


class Stall:
    """A house in a process of its own."""

    def __init__(self, folder: Path, url: str, users: int) -> None:
        self._process = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
        self.shapes = self._process.submit(_open, folder, url, users).result()

    def time(self, name: str, count: int) -> float:
        """As `House.time`."""
        return self._process.submit(_time, name, count).result()

    def close(self) -> None:
        """End the process."""
        self._process.shutdown()


def filled(console: Console, folder: Path, url: str, users: int) -> Stall:
    """Fill an empty database and open it."""
    folder.mkdir(mode=0o700, parents=True)
    memory, passes, lanes = COST
    digest = PasswordHasher(time_cost=passes, memory_cost=memory, parallelism=lanes).hash(PASSWORD)
    with (
        closing(Database(open_engine(url))) as database,
        report.progress(console, f"Filling in {users:,} users and events", 2 * -(-users // fill.AT_ONCE)) as tick,
    ):
        migrations.upgrade(database)
        database.use_wal()
        fill.people(database, users, digest, HEADERS["User-Agent"], tick)
        with database.unit() as connection:
            Roles().add_grant(connection, ADMIN, "admin", Clock().now(), by=None, until_at=None)
        fill.history(database, AuditLog(KeyRing(SECRET)), users, tick)
    os.sync()  # else the first requests would share the disk with what filling left to be written
    if url.startswith("sqlite"):
        _read_whole(Path(url.removeprefix("sqlite:///")))
    return Stall(folder, url, users)


def _read_whole(file: Path) -> None:
    """Bring a file into the system's memory, where one that is served every day stands: else the disk is measured."""
    with file.open("rb") as opened:
        while opened.read(1 << 24):
            pass


def measure(console: Console, small: Stall, big: Stall, plan: Plan) -> Found:
    """For each shape the medians of both, and that of the ratios formed within a round."""
    found: Found = {}
    with report.progress(console, "Small and big in turn", plan.rounds * len(small.shapes)) as tick:
        for name in small.shapes:
            for stall in (small, big):
                stall.time(name, plan.requests)  # fills the caches
            pairs = []
            for number in range(plan.rounds):
                one, two = (small, big) if number % 2 else (big, small)
                pair = one.time(name, plan.requests), two.time(name, plan.requests)
                pairs.append(pair if number % 2 else pair[::-1])
                tick()
            sides = [statistics.median(side) for side in zip(*pairs, strict=True)]
            found[name] = sides[0], sides[1], statistics.median(two / one for one, two in pairs)
    return found


def compare(console: Console, folder: Path, urls: tuple[str, str], sizes: tuple[int, int], plan: Plan) -> Found:
    """Fill both databases, open both, measure."""
    with ExitStack() as opened:
        stalls = []
        for number, (url, users) in enumerate(zip(urls, sizes, strict=True)):
            stalls.append(filled(console, folder / f"{number}", url, users))
            opened.callback(stalls[-1].close)
        return measure(console, stalls[0], stalls[1], plan)


def lines(database: str, found: Found) -> tuple[list[tuple[str, ...]], list[Promise]]:
    """Lines of the table."""
    rows, promises = [], []
    for name, (small, big, ratio) in found.items():
        rows.append((f"{database}, {name}", f"{small:,.0f}", f"{big:,.0f}", f"{ratio:.2f}"))
        promises.append(at_most(ABOUT, f"{database}, {name}: the big by the small", ratio, PROMISE))
    return rows, promises


@click.command()
@click.option("--users", default=1_000_000, show_default=True, type=click.IntRange(1000), help="In the big database.")
@click.option("--small", default=1000, show_default=True, type=click.IntRange(1000), help="In the small one.")
@click.option("--rounds", default=20, show_default=True, type=click.IntRange(1), help="How often both take their turn.")
@click.option("--requests", default=50, show_default=True, type=click.IntRange(1), help="Requests in one turn.")
@click.option("--postgres", "with_postgres", is_flag=True, help="PostgreSQL too.")
@results.write_option
def main(*, users: int, small: int, rounds: int, requests: int, with_postgres: bool, write: bool) -> None:
    """Compare a small and a big database."""
    console, plan, sizes = report.console(), Plan(rounds, requests), (small, users)
    found: dict[str, Found] = {}
    with TemporaryDirectory(prefix="bench-") as text:
        folder = Path(text)
        files = f"sqlite:///{folder / 'small.sqlite3'}", f"sqlite:///{folder / 'big.sqlite3'}"
        found["SQLite"] = compare(console, folder / "sqlite", files, sizes, plan)
        if with_postgres:
            with postgres.server(folder) as server:
                if server:
                    server.use_memory(MEMORY)
                    urls = server.new_database(), server.new_database()
                    found["PostgreSQL"] = compare(console, folder / "postgresql", urls, sizes, plan)
    told = [lines(database, figures) for database, figures in found.items()]
    charts = [
        Chart(f"Cost with {users:,} users, by that with {small:,}: {database}", "times", _bars(figures), PROMISE)
        for database, figures in found.items()
    ]
    result = Result(
        "growth",
        "Growth",
        f"One request in process, median microseconds, with {small:,} and with {users:,} users, sessions and events; "
        "passwords hashed as cheaply as can be, so that a login's own cost is seen; files of SQLite stand in the "
        "system's memory, as those that are served every day.",
        ("database, request", f"{small:,} users, µs", f"{users:,} users, µs", "times"),
        [row for rows, _ in told for row in rows],
        charts,
        [promise for _, promises in told for promise in promises],
    )
    results.finish(console, result, write=write)


def _bars(found: Found) -> list[tuple[str, float]]:
    return [(name, ratio) for name, (_, _, ratio) in found.items()]


if __name__ == "__main__":
    main()
