"""The wired domain objects of one app, and `unit()`, which opens the one transaction of a flow."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flask_gatehouse.domain import mail

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection

    from flask_gatehouse.domain.audit import AuditLog, Event
    from flask_gatehouse.domain.mail import Letter, Mailer, Postman, Writer
    from flask_gatehouse.domain.passwords import Hasher, PasswordRules
    from flask_gatehouse.domain.passwords.breached import StolenPasswords
    from flask_gatehouse.domain.policy import Freshness, Policy
    from flask_gatehouse.domain.roles import Roles
    from flask_gatehouse.domain.sessions import Sessions
    from flask_gatehouse.domain.throttle import Throttle
    from flask_gatehouse.kernel.clock import Clock, Instant
    from flask_gatehouse.kernel.database import Database
    from flask_gatehouse.kernel.feature import Factor
    from flask_gatehouse.kernel.keys import KeyRing
    from flask_gatehouse.kernel.settings import Settings


@dataclass(frozen=True, slots=True)
class Unit:
    """An open transaction and the events it will append to the audit chain.

    Attributes:
        connection: where the flow reads and writes.
        now: the instant of the whole flow.
    """

    connection: Connection
    now: Instant
    events: list[Event] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)

    def record(self, event: Event) -> None:
        """Append the event when the transaction commits, in the same transaction (promise 7)."""
        self.events.append(event)

    def post(self, letter: Letter) -> None:
        """Send the mail once the transaction is committed; its row is written in the same transaction."""
        self.letters.append(letter)


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a flow works with. One per app; no module state."""

    settings: Settings
    clock: Clock
    keys: KeyRing
    database: Database
    hasher: Hasher
    password_rules: PasswordRules
    stolen_passwords: StolenPasswords
    sessions: Sessions
    roles: Roles
    throttle: Throttle
    audit: AuditLog
    policy: Policy
    freshness: Freshness
    mailer: Mailer
    postman: Postman
    writer: Writer
    factors: tuple[Factor, ...] = ()

    @contextmanager
    def unit(self) -> Iterator[Unit]:
        """Open the one transaction of a flow; audit rows go in last (rule 29); log and postman hear of it after.

        Raises:
            DatabaseUnavailableError: nothing was changed.
        """
        with self.database.unit() as connection:
            unit = Unit(connection, self.clock.now())
            yield unit
            has_mail = bool(unit.letters) and self.mailer.is_on
            if has_mail:
                mail.queue(connection, unit.letters, unit.now)
            written = self.audit.append(connection, unit.events, unit.now)
        self.audit.stream.tell(written)
        if has_mail:
            self.postman.wake()

    def reading(self) -> AbstractContextManager[Connection]:
        """Open a connection that only reads."""
        return self.database.reading()
