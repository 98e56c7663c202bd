"""What `gatehouse check` finds in the database: its age, how it is reached, who may write, what waits for somebody."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from flask_gatehouse import migrations
from flask_gatehouse.domain import passwords, throttle, users
from flask_gatehouse.domain.audit import Finding
from flask_gatehouse.flows import seeds
from flask_gatehouse.kernel.errors import DatabaseUnavailableError
from flask_gatehouse.kernel.parsing import database_path
from flask_gatehouse.kernel.schema import REVISION

from .app import in_words
from .files import loose
from .findings import CheckFinding
from .output import SlowBar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

    from flask_gatehouse.flows.services import Services

KNOWN_PASSWORDS = frozenset({"postgres", "password", "secret", "admin", "root", "gatehouse", "changeme", "test"})
VERIFIED_TLS = frozenset({"verify-full", "verify-ca"})
LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
FEW = 1


def of_database(services: Services, facts: dict[str, object], head: str) -> Iterator[CheckFinding]:
    """Look at the database and what is in it.

    Args:
        services: the app's services; the database may be down or old.
        facts: schema, users by state and the head of the audit log are added to it.
        head: one kept from before, which the audit log must hold; it vouches for the rows up to it.

    Raises:
        ValueError: the head is none.
    """
    yield from _files(services)
    yield from _link(services.database.engine)
    try:
        revision = migrations.current(services.database)
        facts["schema"] = revision
        if revision != REVISION:
            yield CheckFinding("schema", "database", _age(revision))
            return
        with services.database.snapshot() as connection:
            found = list(_rows(services, connection, facts, head))
    except DatabaseUnavailableError as error:
        yield CheckFinding("database", "database", in_words(error))
        return
    yield from found


def _files(services: Services) -> Iterator[CheckFinding]:
    name = database_path(services.database.engine.url)
    if services.database.is_sqlite and name and name != ":memory:":
        for ending in ("", "-wal", "-shm"):
            yield from loose(Path(name + ending), 0o600)


def _link(engine: Engine) -> Iterator[CheckFinding]:
    """Judge how PostgreSQL is reached, by what the driver gets: a query of the URL outdoes what stands before it."""
    if engine.dialect.name != "postgresql":
        return
    told = engine.dialect.create_connect_args(engine.url)[1]
    if told.get("password") and told["password"] in {told.get("user"), *KNOWN_PASSWORDS}:
        text = "its password is one that anybody would try: ALTER ROLE … PASSWORD, and GATEHOUSE_DATABASE_URL after it"
        yield CheckFinding("database-password", "database", text)
    named = [*str(told.get("hostaddr") or "").split(","), *str(told.get("host") or "").split(",")]
    remote = [host for host in named if host and not host.startswith("/") and host.lower() not in LOCAL]
    if remote and told.get("sslmode") not in VERIFIED_TLS:
        text = f"{remote[0]} is reached without verified TLS: add ?sslmode=verify-full to GATEHOUSE_DATABASE_URL"
        yield CheckFinding("database-tls", "database", text)


def _age(revision: str | None) -> str:
    if revision is None:
        return "it has no tables yet: gatehouse db upgrade"
    if revision < REVISION:
        return f"its schema is {revision}, this release needs {REVISION}: gatehouse db upgrade"
    return f"its schema {revision} is of a newer release than this one ({REVISION}): install that release"


def _rows(services: Services, connection: Connection, facts: dict[str, object], head: str) -> Iterator[CheckFinding]:
    facts["audit_head"] = services.audit.head(connection)
    facts["users"] = users.count_by_state(connection)
    yield from _audit(services, connection, head)
    for name in services.roles.shadowed(connection):
        text = f"role {name} is declared in code and in the database: the code's permissions count"
        yield CheckFinding("shadowed-role", "roles", text)
    yield from _old_schemes(services, connection)
    yield from _seals(services, connection)
    yield from _administrators(services, connection)
    yield from _waiting(connection)


def _audit(services: Services, connection: Connection, head: str) -> Iterator[CheckFinding]:
    with SlowBar("Verifying", services.audit.length(connection)) as bar:
        told = services.audit.verify(connection, head=head, progress=bar)
    if isinstance(told, Finding):
        text = f"{told.text}; where you do not know why, keep a copy of the database and find out who could write to it"
        yield CheckFinding("audit-chain", "audit log", text)
    if services.audit.may_rewrite(connection):
        text = "the app's role in the database may change it: give it SELECT and INSERT alone, as the manual shows"
        yield CheckFinding("audit-rights", "audit log", text)


def _old_schemes(services: Services, connection: Connection) -> Iterator[CheckFinding]:
    for scheme, count in passwords.count_schemes(connection).most_common():
        if not services.hasher.is_current(scheme):
            text = (
                f"{count} hashed by {scheme.lstrip('$')}: each is renewed at its user's next login; "
                "for those who do not come back: gatehouse user reset NAME"
            )
            yield CheckFinding("old-hashes", "passwords", text)


def _seals(services: Services, connection: Connection) -> Iterator[CheckFinding]:
    """Find seeds and passkeys that need an older secret, and those that nobody can open."""
    counted: Counter[str] = Counter()
    for factor in seeds.sealed_of(services):
        counted.update(factor.old_seals(connection))
    known = services.keys.ids()
    lost = {key_id: count for key_id, count in counted.items() if key_id not in known}
    if lost:
        text = f"{sum(lost.values())} sealed under a secret that is not set: gatehouse keys rotate names the users"
        yield CheckFinding("lost-seals", "second factors", text)
    if old := sum(counted.values()) - sum(lost.values()):
        yield CheckFinding("old-seals", "second factors", f"{old} sealed under an older secret: gatehouse keys rotate")


def _administrators(services: Services, connection: Connection) -> Iterator[CheckFinding]:
    count = len(services.roles.lasting_admins(connection, services.clock.now()))
    if not count:
        text = "nobody who can log in holds admin without end: gatehouse user create NAME --role admin"
        yield CheckFinding("no-administrator", "administrators", text)
    elif count == FEW:
        text = "there is one: a second can let the first back in: gatehouse role grant USER admin"
        yield CheckFinding("one-administrator", "administrators", text)


def _waiting(connection: Connection) -> Iterator[CheckFinding]:
    if count := passwords.count_temporary(connection):
        text = f"{count} temporary, not replaced yet: ask their users to log in, or gatehouse user reset NAME"
        yield CheckFinding("temporary-passwords", "passwords", text)
    if count := throttle.count_disabled(connection):
        text = f"{count} disabled after 100 wrong ones: look who, then gatehouse user unlock NAME"
        yield CheckFinding("disabled-passwords", "passwords", text)
