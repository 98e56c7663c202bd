"""Floods against real servers: how many passwords are checked, and who still gets in (rules 3, 4, 6 and 7)."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import urlencode

import pytest
import sqlalchemy as sa
from playwright.sync_api import Page

from flask_gatehouse.kernel import schema
from tests.conftest import Serve
from tests.support import house
from tests.support.databases import sqlite_copy
from tests.support.processes import ServerProcess
from tests.support.visitor import Visitor, csrf_token

PASSWORD = house.PASSWORD
PROGRAM = {"Accept": "application/json"}
PATIENCE = 240.0


@pytest.fixture
def town(serve: Serve, run_folder, tmp_path) -> Iterator[tuple[ServerProcess, house.House]]:
    """Return a server of two processes at the real cost of hashing, and a look at its database from below."""
    url = sqlite_copy(run_folder, tmp_path / "flood.sqlite3")
    config = {"GATEHOUSE_DATABASE_URL": url, "GATEHOUSE_ARGON2": "19456,2,1"}
    below = house.build(url, GATEHOUSE_ARGON2="19456,2,1")
    server = serve(config=config, threads=16)
    yield server, below
    house.close(below)


class Program:
    """A program that logs in and obeys `Retry-After`."""

    def __init__(self, server: ServerProcess, name: str, source: str = "127.0.0.1") -> None:
        self.visitor = Visitor(server.url, source)
        self.name = name
        self.token = csrf_token(self.visitor.get("/login").text)
        self.waits: list[int] = []
        self.statuses: Counter[int] = Counter()

    def attempt(self, password: str = PASSWORD, name: str = "") -> int:
        """Send one login and return the status."""
        fields = {"csrf_token": self.token, "username": name or self.name, "password": password}
        answer = self.visitor.post("/login", fields, PROGRAM)
        self.statuses[answer.status] += 1
        if answer.status in {429, 503}:
            self.waits.append(int(answer.header("Retry-After") or 0))
        return answer.status

    def log_in(self) -> int:
        """Come again as told until the answer is another; return the last status."""
        deadline = time.monotonic() + PATIENCE
        while (status := self.attempt()) in {429, 503} and time.monotonic() < deadline:
            time.sleep(self.waits[-1])
        return status


@contextmanager
def flooding(programs: list[Program], name: str = "") -> Iterator[None]:
    """Let each guess without pause, each time another name unless told, while the block runs."""
    over = threading.Event()

    def guess(program: Program) -> None:
        number = 0
        while not over.is_set():
            program.attempt("a wrong password", name or f"nobody{id(program)}.{number}")
            number += 1

    with ThreadPoolExecutor(len(programs)) as threads:
        running = [threads.submit(guess, program) for program in programs]
        try:
            yield
        finally:
            over.set()
        for one in running:
            one.result(PATIENCE)


def checked(programs: list[Program]) -> int:
    """Return how many passwords were judged right or wrong."""
    total = sum((program.statuses for program in programs), Counter[int]())
    assert set(total) <= {200, 401, 429, 503}
    return total[200] + total[401]


def test_rule_03_forty_honest_logins_of_one_address_all_get_in_with_short_waits(town, page: Page):
    server, below = town
    for number in range(40):
        below.person(f"person{number}")
    programs = [Program(server, f"person{number}") for number in range(39)]
    page.goto(f"{server.url}/login?next=/protected")
    page.fill("#username", "person39")
    page.fill("#password", PASSWORD)
    with ThreadPoolExecutor(39) as threads:
        pending = [threads.submit(program.log_in) for program in programs]
        page.click("main button[type=submit]")
        page.wait_for_url("**/protected")
        assert [one.result(PATIENCE) for one in pending] == [200] * 39
    assert max(max(program.waits, default=0) for program in programs) <= 2


def test_rule_03_spraying_from_one_address_gets_twenty_one_passwords_checked(town):
    server, below = town
    below.person("weak")
    programs = [Program(server, "nobody") for _ in range(8)]
    names = [f"nobody{number}" if number % 20 != 19 else "weak" for number in range(200)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda pair: programs[pair[0] % 8].attempt(PASSWORD, pair[1]), enumerate(names)))
    assert checked(programs) <= 21


def test_rule_03_fifty_addresses_get_no_more_guesses_at_one_account_than_one(town):
    server, below = town
    below.person("alice")
    programs = [Program(server, "alice", f"127.0.2.{number}") for number in range(1, 51)]
    with ThreadPoolExecutor(16) as threads:
        for _ in range(3):
            list(threads.map(lambda program: program.attempt("a wrong password"), programs))
    assert 1 <= checked(programs) <= 5
    assert below.counter(f"user:{1}")[:2] == (checked(programs), checked(programs))


@pytest.mark.parametrize("shape", ["one address", "one account", "many addresses"])
def test_rule_04_v15_4_4_owners_and_others_get_in_and_people_inside_are_served_while_it_floods(town, shape):
    server, below = town
    for name in ("alice", "bob", "carol"):
        below.person(name)
    owner, inside = Program(server, "alice", "127.0.0.9"), Program(server, "carol", "127.0.0.10")
    assert owner.log_in() == inside.log_in() == 200
    sources = ["127.0.0.9"] * 16 if shape == "one address" else [f"127.0.3.{number}" for number in range(1, 17)]
    programs = [Program(server, "nobody", source) for source in sources]
    with flooding(programs, "alice" if shape == "one account" else ""):
        time.sleep(0.5)
        again = Program(server, "alice", "127.0.0.9")
        again.visitor.cookies = {"gatehouse-device": owner.visitor.cookies["gatehouse-device"]}
        again.token = csrf_token(again.visitor.get("/login").text)
        assert again.log_in() == 200  # the known browser, from the flooding address too
        assert Program(server, "bob", "127.0.4.1").log_in() == 200
        assert [inside.visitor.get("/protected").status for _ in range(20)] == [200] * 20
    assert checked(programs) <= 20 * len(set(sources))


def cut_off(program: Program, password: str) -> None:
    """Send a whole login and go away at once, as somebody who needs no answer would."""
    fields = {"csrf_token": program.token, "username": program.name, "password": password}
    body = urlencode(fields).encode()
    cookies = "; ".join(f"{name}={value}" for name, value in program.visitor.cookies.items())
    host = program.visitor.url.removeprefix("http://")
    head = f"POST /login HTTP/1.1\r\nHost: {host}\r\nCookie: {cookies}\r\nContent-Length: {len(body)}\r\n"
    head += "Content-Type: application/x-www-form-urlencoded\r\nConnection: close\r\n\r\n"
    address, port = host.split(":")
    with socket.create_connection((address, int(port)), source_address=(program.visitor.source, 0)) as connection:
        connection.sendall(head.encode() + body)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset, no farewell


def judging_of(below: house.House) -> int:
    """Return how many charges wait for their outcome."""
    return int(below.rows(sa.select(sa.func.coalesce(sa.func.sum(schema.counter.c.judging), 0)))[0][0])


def test_rule_03_who_goes_away_in_the_middle_has_no_more_guesses_and_leaves_no_charge_open(town):
    server, below = town
    below.person("alice")
    programs = [Program(server, "alice", f"127.0.5.{number}") for number in range(1, 17)]
    with ThreadPoolExecutor(len(programs)) as threads:
        for _ in range(4):
            list(threads.map(lambda program: cut_off(program, "a wrong password"), programs))
            time.sleep(0.3)
    deadline = time.monotonic() + PATIENCE
    while judging_of(below) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert judging_of(below) == 0
    wrong, total, blocked_until = below.counter("user:1")
    assert (wrong, total, blocked_until > 0) == (5, 5, True)
    assert 1 <= len(below.events("login.failed")) <= 5
