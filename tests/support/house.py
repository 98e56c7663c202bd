"""The lower floors without a request: an app's services on a clock that stands still, and people who use the flows."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import sqlalchemy as sa
from flask import Flask

import flask_gatehouse as gatehouse
from flask_gatehouse.domain import passwords, roles, users
from flask_gatehouse.domain.audit import Entry, Event
from flask_gatehouse.domain.sessions import Gone, Issued, Session
from flask_gatehouse.flows import login, register, revoke
from flask_gatehouse.flows.acts import Act
from flask_gatehouse.flows.login import Attempt
from flask_gatehouse.flows.outcomes import FactorDue, MustReplace, Refusal, Refused
from flask_gatehouse.flows.services import Services
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.clock import Instant
from flask_gatehouse.kernel.feature import Factor
from flask_gatehouse.kernel.identity import APP, CLI, HAS, Actor, Identity, Proof, Source
from flask_gatehouse.testing import FrozenClock
from tests.support import apps, databases
from tests.support.flasks import QuickFlask
from tests.support.statements import sent_to

PASSWORD = "quiet river stone"
WRONG = "quiet river sand"
AGENT = "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0"
HERE = Source("192.0.2.1", AGENT, "request")
SECOND = 1_000_000
BY_COMMAND = Act(CLI, None, "a test")

T = TypeVar("T")
LoginOutcome = Issued | FactorDue | MustReplace | Refused


def source(address: str = "192.0.2.1", agent: str = AGENT) -> Source:
    """Return where a request comes from."""
    return Source(address, agent, "request")


@dataclass
class House:
    """One app, looked at from below."""

    app: Flask
    gate: gatehouse.Gatehouse
    clock: FrozenClock

    @property
    def services(self) -> Services:
        """What flows work with."""
        return self.gate.services(self.app)

    def later(self, **duration: float) -> None:
        """Let time pass: `later(minutes=5)`."""
        self.clock.advance(timedelta(**duration))

    # -- people ---------------------------------------------------------------------------------------------------

    def person(
        self, name: str = "alice", password: str = PASSWORD, *, roles: Iterable[str] = (), email: str | None = None
    ) -> int:
        """Make a user and return the id."""
        new = register.NewUser(name, password, email)
        return register.create(self.services, new, roles, APP).id

    def proven(self, name: str = "alice", email: str = "", **told: Any) -> int:
        """Make a user whose address, `NAME@example.org` unless told, is verified; return the id."""
        address = email or f"{name}@example.org"
        user_id = self.person(name, email=address, **told)
        with self.services.database.unit() as connection:
            assert users.verify_email(connection, user_id, address)
        return user_id

    def rest(self) -> bool:
        """Wait until all mail that is due was tried."""
        return self.services.postman.rest(30)

    def log_in(
        self, name: str = "alice", password: str = PASSWORD, *, address: str = HERE.address, **attempt: Any
    ) -> LoginOutcome:
        """Log in and return what the flow says."""
        agent = attempt.pop("agent", AGENT)
        return login.begin(self.services, name, password, Attempt(source(address, agent), **attempt))

    def session(self, name: str = "alice", password: str = PASSWORD, **attempt: Any) -> Issued:
        """Log in, which must succeed, and return the session."""
        outcome = self.log_in(name, password, **attempt)
        assert isinstance(outcome, Issued), outcome
        return outcome

    def load(self, secret: str, agent: str = AGENT) -> Session | Gone:
        """Look a session up as a request does."""
        return self.services.sessions.load(secret, agent, self.clock.now())

    def identity(self, secret: str) -> Identity:
        """Return who a live session is."""
        found = self.load(secret)
        assert isinstance(found, Session), found
        return found.identity

    def by(self, secret: str, reason: str = "a test") -> Act:
        """Return an act of the user who holds a session."""
        identity = self.identity(secret)
        return Act(Actor.of(identity), identity, reason, HERE)

    # -- rows -----------------------------------------------------------------------------------------------------

    def rows(self, query: Any) -> list[Any]:
        """Run a query and return every row."""
        with self.services.reading() as connection:
            return list(connection.execute(query))

    def count(self, table: sa.Table) -> int:
        """Count the rows of a table."""
        return int(self.rows(sa.select(sa.func.count()).select_from(table))[0][0])

    def change(self, statement: Any) -> None:
        """Write past all floors, as somebody at the database's own prompt could."""
        with self.services.database.unit() as connection:
            connection.execute(statement)

    def user(self, user_id: int) -> users.UserRecord:
        """Return a user's row."""
        with self.services.reading() as connection:
            found = users.find(connection, user_id)
        assert found is not None
        return found

    def digest(self, user_id: int) -> str | None:
        """Return a user's password digest."""
        with self.services.reading() as connection:
            found = passwords.find_credential_of(connection, user_id)
        return found.digest if found else None

    def grants(self, user_id: int) -> list[roles.Grant]:
        """Return a user's present grants."""
        with self.services.reading() as connection:
            return self.services.roles.grants_of(connection, user_id, self.clock.now())

    def counter(self, key: str) -> tuple[int, int, Instant]:
        """Return count, total and end of the delay of a counter."""
        counter = schema.counter
        query = sa.select(counter.c.count, counter.c.total, counter.c.blocked_until).where(counter.c.key == key)
        return next((tuple(row) for row in self.rows(query)), (0, 0, 0))

    # -- the log --------------------------------------------------------------------------------------------------

    def events(self, kind: str = "") -> list[Entry]:
        """Return the audit rows, oldest first."""
        with self.services.reading() as connection:
            return self.services.audit.search(connection, kind=kind, limit=10_000)[::-1]

    def kinds(self) -> list[str]:
        """Return the kinds of all events, oldest first."""
        return [entry.kind for entry in self.events()]

    def details(self, kind: str) -> list[dict[str, Any]]:
        """Return what the events of a kind say, oldest first."""
        return [json.loads(entry.detail) if entry.detail else {} for entry in self.events(kind)]

    def verified(self, head: str = "") -> Any:
        """Verify the chain."""
        with self.services.reading() as connection:
            return self.services.audit.verify(connection, head=head)

    def record(self, kind: str = "logout", **changes: Any) -> None:
        """Record an event without any change."""
        with self.services.unit() as unit:
            unit.record(Event(kind, APP, **changes))


def build(url: str, *, clock: FrozenClock | None = None, factors: Iterable[Factor] = (), **config: object) -> House:
    """Return a house on a migrated database; the tiny app's routes stand in it too."""
    app = QuickFlask("tests.support.house")
    app.config.update({**apps.DEFAULTS, "GATEHOUSE_DATABASE_URL": url, **config})
    gate = gatehouse.Gatehouse()
    gate.clock = clock = clock or FrozenClock()
    gate._factors.extend(factors)  # what a feature would bring
    gate.permission("invoice:read", "Read invoices")
    gate.permission("invoice:refund", "Refund an invoice")
    gate.role("clerk", ["invoice:read"])
    gate.role("cashier", ["invoice:read", "invoice:refund"])
    gate.init_app(app)
    apps.add_routes(app)
    return House(app, gate, clock)


def close(house: House) -> None:
    """Give back the connections of a house."""
    databases.close(house.app)


class Statements:
    """What was sent to the database, in order."""

    def __init__(self, sent: list[tuple[str, Any]]) -> None:
        self._sent = sent

    @property
    def texts(self) -> list[str]:
        """The statements."""
        return [text for text, _ in self._sent]

    @property
    def verbs(self) -> list[str]:
        """The first word of each statement."""
        return [text.split(None, 1)[0].upper() for text in self.texts]


@contextmanager
def statements_of(house: House) -> Iterator[Statements]:
    """Note every statement of a house."""
    with sent_to(house.services.database) as sent:
        yield Statements(sent)


def hashes_of(house: House) -> list[str]:
    """Note every hash and every check from now on, the dummy's too; a list that grows."""
    noted: list[str] = []
    hasher = house.services.hasher
    check, make = hasher._check, hasher._hash

    def checking(digest: str, value: str) -> bool:
        noted.append("check")
        return check(digest, value)

    def making(value: str) -> str:
        noted.append("hash")
        return make(value)

    hasher._check, hasher._hash = checking, making  # type: ignore[method-assign]  # seen from outside
    return noted


class PaperCodes:
    """A second factor for tests alone: codes on paper, each burnt when used."""

    method = "paper"
    kind = HAS
    field = "code"
    table = sa.Table(
        "paper_code",
        sa.MetaData(),
        sa.Column("user_id", sa.BigInteger, primary_key=True),
        sa.Column("code", sa.String(20), primary_key=True),
    )

    def give(self, house: House, user_id: int, *codes: str) -> None:
        """Enrol a user."""
        with house.services.database.unit() as connection:
            self.table.create(connection, checkfirst=True)
            connection.execute(sa.insert(self.table), [{"user_id": user_id, "code": code} for code in codes])

    def enrolled(self, connection: sa.Connection, user_id: int) -> bool:
        """Tell whether the user ever got codes; a used one leaves its row, blank."""
        if not sa.inspect(connection).has_table(self.table.name):
            return False
        query = sa.select(sa.func.count()).select_from(self.table).where(self.table.c.user_id == user_id)
        return bool(connection.execute(query).scalar_one())

    def verify(self, connection: sa.Connection, user_id: int, answer: str, now: Instant) -> Proof | None:
        """Burn the code and return the proof, or None."""
        mine = (self.table.c.user_id == user_id, self.table.c.code == answer)
        burnt = connection.execute(sa.update(self.table).where(*mine).values(code=f"used {answer}"))
        return Proof(self.method, now, self.kind) if answer and burnt.rowcount == 1 else None

    def forget(self, connection: sa.Connection, user_id: int, since: Instant = 0) -> bool:
        """Take the paper away."""
        if not self.enrolled(connection, user_id):
            return False
        return connection.execute(sa.delete(self.table).where(self.table.c.user_id == user_id)).rowcount > 0


def while_hashing(home: House, act: Callable[[], T], change: Callable[[], object]) -> T:
    """Let `act` wait in the hashing pool of its process while `change` happens, and return what it got."""
    pool, release = home.services.hasher._pool, threading.Event()
    with ThreadPoolExecutor(2) as threads:
        blocker = threads.submit(pool.run, lambda: release.wait(30))
        try:
            wait_for_places(home, 1)
            pending = threads.submit(act)
            wait_for_places(home, 2)
            change()
        finally:
            release.set()
        blocker.result(30)
        return pending.result(30)


@contextmanager
def places_taken(home: House, count: int) -> Iterator[None]:
    """Take places of the hashing pool; four are all, three all but the one for people inside."""
    pool, release = home.services.hasher._pool, threading.Event()
    with ThreadPoolExecutor(count) as threads:
        taken = []
        try:
            for number in range(count):
                taken.append(threads.submit(pool.run, lambda: release.wait(30), is_inside=True))
                wait_for_places(home, number + 1)
            yield
        finally:
            release.set()
        for one in taken:
            one.result(30)


def end_all(home: House, user_id: int) -> None:
    """End all sessions of a user, by command."""
    with home.services.unit() as unit:
        revoke.all_within(home.services, unit, CLI, user_id, "a test", HERE)


def start(act: Callable[[], T]) -> Callable[[], T]:
    """Let an act begin in a thread; the function returned waits for what it got."""
    threads = ThreadPoolExecutor(1)
    pending = threads.submit(act)
    threads.shutdown(wait=False)
    return lambda: pending.result(30)


def wait_for_places(home: House, count: int) -> None:
    """Return once so many places of the hashing pool are taken."""
    deadline = time.monotonic() + 30
    while home.services.hasher._pool._taken != count:
        assert time.monotonic() < deadline, "the hashing pool was never so full"
        time.sleep(0.001)


def patiently(act: Callable[[], T]) -> T:
    """Come again until the hashing pool has a place, as a page does on `Retry-After`."""
    deadline = time.monotonic() + 60
    while isinstance(outcome := act(), Refused) and outcome.reason is Refusal.BUSY:
        assert time.monotonic() < deadline, "always busy"
        time.sleep(0.01)
    return outcome
