"""Users, their passwords, sessions and history in bulk: rows as the flows would have left them, written straight."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

from sqlalchemy import Table, insert, select, update

from flask_gatehouse.domain.audit import AuditLog, Event
from flask_gatehouse.domain.sessions import Place, encode_proofs, row_number
from flask_gatehouse.kernel.clock import Clock
from flask_gatehouse.kernel.database import Database, open_engine
from flask_gatehouse.kernel.identity import KNOWS, Actor, Proof, Source
from flask_gatehouse.kernel.keys import secret_digest
from flask_gatehouse.kernel.schema import ACTIVE, password, session, user, user_count
from flask_gatehouse.web.console_forms import place_text

AT_ONCE = 10_000
DAY, QUIET = 86_400_000_000, 1_800_000_000
#: The one user whose own pages are looked at has the same history however many others there are.
HISTORY = 60
#: A prime: its multiples meet each remainder once.
SPREAD = 611_953

Row = dict[str, Any]


def username(user_id: int, users: int) -> str:
    """The login name of a user; people do not come in the order of their names."""
    return f"person{user_id * SPREAD % users:07d}"


def secret(user_id: int) -> str:
    """The cookie's value of a user's session: as long as a real one, and the same in each run."""
    return f"{user_id:043d}"


def place_of(url: str, user_id: int) -> str:
    """Where a user's session stands in the list of all, as its page takes it."""
    query = select(session.c.created_at, session.c.public_id).where(session.c.public_id == _public_id(user_id))
    with closing(Database(open_engine(url))) as database, database.reading() as connection:
        return place_text(Place(*connection.execute(query).one()))


def _public_id(user_id: int) -> str:
    return f"{user_id:016x}"


def history_of(users: int) -> int:
    """Whose history is looked at: somebody in the middle."""
    return users // 2


def people(database: Database, count: int, digest: str, agent: str, tick: Callable[[], None] = lambda: None) -> None:
    """Make so many users with one password and one live session each, in an empty database."""
    now = Clock().now()
    proofs = encode_proofs((Proof("password", now, KNOWS),))
    for start in range(0, count, AT_ONCE):
        some = range(start + 1, min(start + AT_ONCE, count) + 1)
        with database.unit() as connection:
            _insert(connection, user, [_user(user_id, count, now) for user_id in some])
            _insert(connection, password, [_password(user_id, digest, now) for user_id in some])
            _insert(connection, session, [_session(user_id, now, proofs, agent) for user_id in some])
            counted = update(user_count).where(user_count.c.state == ACTIVE)
            connection.execute(counted.values(count=user_count.c.count + len(some)))
        tick()
    _go_on_counting(database, count)


def _user(user_id: int, users: int, now: int) -> Row:
    name = username(user_id, users)
    made = {"created_at": now - DAY, "state": ACTIVE, "epoch": 0, "email": None}
    return {"id": user_id, "username": name, "username_key": name} | made


def _password(user_id: int, digest: str, now: int) -> Row:
    return {"user_id": user_id, "digest": digest, "changed_at": now - DAY, "temporary_until": None}


def _session(user_id: int, now: int, proofs: str, agent: str) -> Row:
    # No two began at one instant, as it is with people.
    # Seen a little later than now: a session's first request of a minute writes, and would be measured as growth.
    times = {"created_at": now + user_id, "seen_at": now + QUIET, "expires_at": now + DAY}
    kind = {"is_pending": False, "is_remembered": False, "epoch": 0, "data": ""}
    shown = {"proofs": proofs, "agent": agent, "address": "192.0.2.1"}
    digest = secret_digest(secret(user_id))
    named = {"id": row_number(digest), "public_id": _public_id(user_id), "digest": digest}
    return named | times | kind | shown | {"user_id": user_id}


def _insert(connection: Any, table: Table, rows: Sequence[Row]) -> None:
    """COPY on PostgreSQL, many times as fast as INSERT; SQLite's INSERT is quick enough."""
    if connection.dialect.name != "postgresql":
        connection.execute(insert(table), rows)
        return
    names = list(rows[0])  # the other columns have defaults
    cursor = connection.connection.dbapi_connection.cursor()
    with cursor.copy(f"COPY {table.name} ({', '.join(names)}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row([row[name] for name in names])


def _go_on_counting(database: Database, count: int) -> None:
    """Rows that brought their ids along did not move PostgreSQL's counters on."""
    if database.is_sqlite:
        return
    with database.unit() as connection:
        connection.exec_driver_sql(f"SELECT setval(pg_get_serial_sequence('{user.name}', 'id'), {count})")
    tidied(database)


def tidied(database: Database) -> None:
    """Do what PostgreSQL's own autovacuum, which is off in the tests' server, does within a minute."""
    if database.is_sqlite:
        return
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")


def history(database: Database, log: AuditLog, users: int, tick: Callable[[], None] = lambda: None) -> None:
    """Append a login of each user to the chain, some at one instant, about a second apart on the whole."""
    begin = Clock().now() - users * 1_000_000
    for start in range(0, users, AT_ONCE):
        batch = list(_events(start, min(start + AT_ONCE, users), users))
        with database.unit() as connection:
            log.append(connection, batch, begin + start * 1_000_000)
        tick()


def _events(first: int, last: int, users: int) -> Iterator[Event]:
    chosen, spread = history_of(users), max(users // HISTORY, 1)
    for number in range(first, last):
        about = chosen if number % spread == 0 else number % users + 1
        source = Source(f"192.0.2.{number % 250}", "", f"{number:016x}")
        actor, detail = Actor(about, username(about, users)), {"methods": ["password"]}
        yield Event("login.succeeded", actor, about, source, f"{number:016x}", detail=detail)
