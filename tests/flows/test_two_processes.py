"""Two server processes over one database: what ends in one is refused in the other, at the next request."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
import sqlalchemy as sa

from flask_gatehouse.kernel import schema
from tests.support import apps, databases, house
from tests.support.house import PASSWORD, WRONG
from tests.support.postgres import PostgresServer
from tests.support.processes import ServerProcess, start_gunicorn
from tests.support.visitor import Answer, Visitor, csrf_token

pytestmark = pytest.mark.xdist_group("two processes")  # the servers of a database are started once

NEW = "another quiet river"
SLOW = "131072,6,1"  # half a second or so


@dataclass
class Town:
    """Two servers, one database, and a look at it from below."""

    first: ServerProcess
    second: ServerProcess
    home: house.House
    folder: Path
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def person(self, *roles: str) -> str:
        """Make a user and return the name."""
        name = f"user{next(self.numbers)}"
        self.home.person(name, roles=roles)
        return name

    def at(self, server: ServerProcess, like: Visitor | None = None) -> Visitor:
        """Return a browser at a server, with a copy of another one's cookies."""
        return Visitor(server.url, f"127.0.1.{next(self.numbers)}", cookies=dict(like.cookies) if like else {})

    def inside(self, name: str, server: ServerProcess | None = None) -> Visitor:
        """Log in, at the first server unless told."""
        visitor = self.at(server or self.first)
        answer = visitor.log_in(name, PASSWORD)
        assert answer.status == 303, answer.text
        return visitor


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def town(request, run_folder, tmp_path_factory):
    """Return two servers of one worker each."""
    folder = tmp_path_factory.mktemp("town")
    server: PostgresServer | None = None
    name = ""
    if request.param == "sqlite":
        url = databases.sqlite_copy(run_folder, folder / "gatehouse.sqlite3")
    else:
        server = request.getfixturevalue("postgres")
        name = databases.postgres_copy(run_folder, server)
        url = server.url(name)
    home = house.build(url)
    first, second = _start(folder, url), _start(folder, url)
    yield Town(first, second, home, folder)
    first.stop()
    second.stop()
    house.close(home)
    if server is not None:
        server.drop_database(name)


def _start(folder: Path, url: str, **config: str) -> ServerProcess:
    told = {"INSTANCE_FOLDER": str(folder), "GATEHOUSE_DATABASE_URL": url, **config}
    environment = {apps.CONFIG_VARIABLE: json.dumps(told)}
    return start_gunicorn("tests.support.apps:create_app()", folder=folder, env=environment, workers=1, threads=8)


def refused(*visitors: Visitor) -> bool:
    """Tell whether the very next request of each is sent to log in."""
    answers = [visitor.get("/protected") for visitor in visitors]
    return all(answer.status == 302 and "/login" in (answer.location or "") for answer in answers)


def welcome(*visitors: Visitor) -> bool:
    """Tell whether the very next request of each is let in."""
    return all(visitor.get("/protected").status == 200 for visitor in visitors)


def thieves_of(town: Town, visitor: Visitor) -> list[Visitor]:
    """Copy a browser's cookies to both servers; each was let in once."""
    found = [town.at(town.first, visitor), town.at(town.second, visitor)]
    assert welcome(*found)
    return found


# --- a copied cookie ---------------------------------------------------------------------------------------


def test_v7_4_1_63b_5_1_4_a_copied_cookie_is_refused_everywhere_after_logout(town):
    owner = town.inside(town.person())
    thieves = thieves_of(town, owner)
    assert owner.log_out().status == 303
    assert refused(*thieves)


def test_v7_4_2_a_copied_cookie_is_refused_everywhere_after_suspension(town):
    name = town.person()
    owner = town.inside(name)
    thieves = thieves_of(town, owner)
    root = town.inside(town.person("admin"))
    page = f"/admin/users/{_id_of(town, name)}"
    assert root.submit(f"{page}/suspend", page=page, reason="left").status == 303
    assert refused(*thieves, owner)
    assert town.at(town.second).log_in(name, PASSWORD).status == 401


def test_v7_4_3_after_a_change_of_password_only_the_new_id_of_that_browser_is_let_in(town):
    name = town.person()
    owner, other = town.inside(name), town.inside(name)
    thieves = thieves_of(town, owner) + thieves_of(town, other)
    change = {"current": PASSWORD, "password": NEW, "confirm": NEW}
    assert owner.submit("/account/password", **change).status == 303
    assert refused(*thieves, other)
    assert welcome(owner, town.at(town.second, owner))
    assert town.at(town.second).log_in(name, PASSWORD).status == 401


def test_v7_4_3_ending_all_refuses_every_copy_everywhere(town):
    name = town.person()
    owner, other = town.inside(name), town.inside(name, town.second)
    thieves = thieves_of(town, owner) + thieves_of(town, other)
    assert owner.submit("/account/sessions/end-all", page="/account/sessions").status == 303
    assert refused(*thieves, other)


def test_v7_5_2_ending_the_others_refuses_them_everywhere_and_spares_the_present_one(town):
    name = town.person()
    owner, other = town.inside(name), town.inside(name, town.second)
    thieves = thieves_of(town, other)
    assert owner.submit("/account/sessions/end-others", page="/account/sessions").status == 303
    assert refused(*thieves, other)
    assert welcome(owner, town.at(town.second, owner))


def test_v7_2_4_a_step_up_leaves_the_old_id_dead_everywhere(town):
    owner = town.inside(town.person())
    thieves = thieves_of(town, owner)
    assert owner.submit("/reauthenticate", password=PASSWORD).status == 303
    assert refused(*thieves)
    assert welcome(owner, town.at(town.second, owner))


def test_v8_3_2_a_withdrawn_role_counts_for_nothing_in_the_other_process(town):
    name = town.person()
    town.home.person("clerkmaker" + name, roles=["admin"])
    root, user_id = town.inside("clerkmaker" + name), _id_of(town, name)
    elsewhere = town.inside(name, town.second)
    assert elsewhere.get("/for-admins").status == 403
    page = f"/admin/users/{user_id}"
    assert root.submit(f"{page}/grant", page=page, role="admin").status == 303
    assert elsewhere.get("/for-admins").text == "admin"
    assert root.submit(f"{page}/withdraw", page=page, role="admin", reason="no more").status == 303
    assert elsewhere.get("/for-admins").status == 403
    assert welcome(elsewhere)  # only the role has gone


def _id_of(town: Town, name: str) -> int:
    return int(town.home.rows(sa.select(schema.user.c.id).where(schema.user.c.username == name))[0][0])


# --- a planted cookie --------------------------------------------------------------------------------------


def test_63b_5_1_1_an_id_planted_before_the_login_is_never_a_session(town):
    planted = "A" * 43
    victim = town.at(town.first)
    victim.cookies["gatehouse"] = planted
    assert victim.log_in(town.person(), PASSWORD).status == 303
    assert victim.cookies["gatehouse"] != planted
    for server in (town.first, town.second):
        attacker = town.at(server)
        attacker.cookies["gatehouse"] = planted
        assert refused(attacker)


def test_v7_2_4_a_live_session_planted_before_the_login_is_dead_after_it(town):
    mallory = town.inside(town.person())
    attacker = town.at(town.second, mallory)
    assert welcome(attacker)
    victim, name = town.at(town.first, mallory), town.person()
    assert victim.log_in(name, PASSWORD).status == 303
    assert refused(mallory, attacker)
    assert victim.get("/protected").text == f"inside: {name}"


# --- a login that was hashing ------------------------------------------------------------------------------


@pytest.fixture
def slow(town):
    """Return a third server that takes half a second to renew a digest at login."""
    found = _start(town.folder, town.home.app.config["GATEHOUSE_DATABASE_URL"], GATEHOUSE_ARGON2=SLOW)
    yield found
    found.stop()


def test_rule_01_a_login_that_was_hashing_in_the_other_process_does_not_survive_a_change(town, slow):
    deadline = time.monotonic() + 120
    while (answer := change_while_hashing(town, slow)).status == 503:  # a busy machine hashed for 5 s: shows nothing
        assert time.monotonic() < deadline, "always busy"
    assert answer.status == 401, answer.text


def change_while_hashing(town: Town, slow: ServerProcess) -> Answer:
    """Let somebody's password be changed while a login with the old one hashes; return what that login got."""
    name = town.person()
    owner, guest = town.inside(name), town.at(slow)
    token = csrf_token(owner.get("/account/password").text)
    with ThreadPoolExecutor(1) as threads:
        pending = threads.submit(guest.log_in, name, PASSWORD)
        key = f"user:{_id_of(town, name)}"
        deadline = time.monotonic() + 60
        while not town.home.counter(key)[0]:  # charged, so about to hash: the renewal takes half a second
            assert time.monotonic() < deadline
            time.sleep(0.005)
        change = {"csrf_token": token, "current": PASSWORD, "password": NEW, "confirm": NEW}
        assert owner.post("/account/password", change).status == 303
        answer = pending.result(60)
    assert refused(guest)
    assert welcome(owner)
    assert town.at(town.first).log_in(name, PASSWORD).status == 401
    return answer


# --- many at once ------------------------------------------------------------------------------------------


def patient(visitor: Visitor, path: str, **fields: str) -> Answer:
    """Send a form, again after a 503, as the page does by itself."""
    deadline = time.monotonic() + 60
    while (answer := visitor.submit(path, **fields)).status == 503:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return answer


def test_rule_03_v6_3_1_wrong_logins_over_two_servers_are_counted_exactly(town):
    name = town.person()
    visitors = [town.at(town.first if number % 2 else town.second) for number in range(50)]
    with ThreadPoolExecutor(25) as threads:
        answers = list(threads.map(lambda visitor: visitor.submit("/login", username=name, password=WRONG), visitors))
    statuses = [answer.status for answer in answers]
    assert set(statuses) <= {401, 429, 503}
    assert town.home.counter(f"user:{_id_of(town, name)}")[:2] == (statuses.count(401),) * 2
    assert statuses.count(401) <= 5
    assert all(answer.header("Retry-After") for answer in answers if answer.status != 401)


def test_rule_25_rule_02_fifty_registrations_at_once_make_one_administrator_and_one_user_of_a_name(
    serve, database_url, open_house
):
    config = {"GATEHOUSE_DATABASE_URL": database_url, "GATEHOUSE_THROTTLE": "off", "GATEHOUSE_FIRST_USER_ADMIN": True}
    url = serve(config=config, workers=2, threads=8).url

    def join(name: str) -> int:
        word = {"password": PASSWORD, "confirm": PASSWORD}
        return patient(Visitor(url), "/register", username=name, **word).status

    spellings = [
        "".join(letter.upper() if number >> place & 1 else letter for place, letter in enumerate("concurrent"))
        for number in range(50)
    ]
    with ThreadPoolExecutor(25) as threads:
        assert list(threads.map(join, [f"first{number}" for number in range(50)])) == [303] * 50
        statuses = list(threads.map(join, spellings))
    assert (statuses.count(303), statuses.count(422)) == (1, 49)
    home = open_house()
    admins = home.rows(sa.select(schema.grant.c.user_id).where(schema.grant.c.role == "admin"))
    assert len(admins) == 1
    assert home.count(schema.user) == 51
    assert home.kinds().count("user.registered") == 51
    assert home.kinds().count("admin.claimed") == 1
    assert home.verified() == 53
