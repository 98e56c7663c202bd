"""`kill -9` of a worker amid logins, password changes and logouts: each change has its row, each row its change."""

from __future__ import annotations

import http.client
import json
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import sqlalchemy as sa
from flask import Flask

from flask_gatehouse.flows.services import Services
from flask_gatehouse.kernel import schema
from tests.support.processes import ServerProcess
from tests.support.visitor import Visitor

PEOPLE, ACTS, KILLS = 8, 200, 10
PASSWORDS = ("correct horse battery", "a gnome on a bicycle", "nine lives of a teapot")
SETTINGS = {"GATEHOUSE_THROTTLE": "off", "GATEHOUSE_ARGON2": "8,1,1", "GATEHOUSE_MAX_SESSIONS": 5}
CUT_OFF = (OSError, http.client.HTTPException, AssertionError)  # a page that never came holds no form either


@dataclass
class Person:
    """Somebody who logs in, changes the password and logs out, whatever becomes of the answer."""

    name: str
    url: str
    dice: random.Random
    known: list[str] = field(default_factory=lambda: [PASSWORDS[0]])
    done: int = 0

    def live(self, acts: int) -> None:
        """Act so many times."""
        visitor = Visitor(self.url)
        for _ in range(acts):
            try:
                self._act(visitor)
                self.done += 1
            except CUT_OFF:
                visitor = Visitor(self.url)

    def _act(self, visitor: Visitor) -> None:
        if "gatehouse" not in visitor.cookies:
            answer = visitor.log_in(self.name, self.known[0])
            if answer.status == 401:  # the change of before was cut off: it may have been made, or not
                self.known.append(self.known.pop(0))
        elif self.dice.random() < 0.5:
            new = self.dice.choice([word for word in PASSWORDS if word != self.known[0]])
            fields = {"current": self.known[0], "password": new, "confirm": new}
            self.known.insert(1, new)
            if visitor.submit("/account/password", **fields).status == 303:
                self.known = [new]
        else:
            visitor.log_out()


def test_rule_01_v2_3_3_v15_4_2_every_change_has_its_row_and_every_row_its_change(make_app, database_url, serve):
    app = make_app(GATEHOUSE_DATABASE_URL=database_url, **SETTINGS)
    gate = app.extensions["gatehouse"]
    with app.app_context():
        for number in range(PEOPLE):
            gate.create_user(f"person{number}", PASSWORDS[0])
    server = serve(config={"GATEHOUSE_DATABASE_URL": database_url, **SETTINGS}, workers=2, threads=4)
    dice = [random.Random(number) for number in range(PEOPLE + KILLS)]  # noqa: S311 - dice, no secrets
    people = [Person(f"person{number}", server.url, dice[number]) for number in range(PEOPLE)]
    for kill in range(KILLS):
        _live_through_a_kill(server, people, dice[PEOPLE + kill])
        _agree(app)
    assert sum(person.done for person in people) > KILLS * ACTS // 2  # most acts came to an end


def _live_through_a_kill(server: ServerProcess, people: list[Person], dice: random.Random) -> None:
    over = threading.Event()

    def kill_once() -> None:
        over.wait(dice.uniform(0.1, 0.8))
        victim = server.kill_worker(dice.choice(server.worker_pids()))
        server.wait_for_workers(2, without=victim)

    killer = threading.Thread(target=kill_once)
    killer.start()
    with ThreadPoolExecutor(len(people)) as threads:
        list(threads.map(lambda person: person.live(ACTS // len(people)), people))
    over.set()
    killer.join()


def _agree(app: Flask) -> None:
    """Hold the log against the tables: sessions and passwords are exactly what the events say."""
    services: Services = app.extensions["gatehouse"].services(app)
    with services.database.snapshot() as connection:
        checked = services.audit.verify(connection)
        assert isinstance(checked, int), checked
        events = connection.execute(sa.select(schema.event).order_by(schema.event.c.id)).all()
        live = set(connection.execute(sa.select(schema.session.c.public_id)).scalars())
        changed = dict(connection.execute(sa.select(schema.password.c.user_id, schema.password.c.changed_at)).all())
    assert checked == len(events)
    begun: set[str] = set()
    last_change: dict[int, int] = {}
    for event in events:
        detail = json.loads(event.detail) if event.detail else {}
        if event.kind == "login.succeeded":
            begun.add(event.session_id)
        elif event.kind == "logout":
            begun.remove(event.session_id)
        elif event.kind == "session.ended":
            begun -= set(detail["sessions"])
        elif event.kind == "password.changed":
            begun -= set(detail["sessions_ended"])
        if event.kind in {"password.changed", "user.created"}:
            last_change[event.user_id] = event.at
    assert live == begun
    assert changed == last_change
