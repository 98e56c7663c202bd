"""Mail that waits: written in the transaction of the change it tells of. The only writer of `gatehouse_mail`.

A row holds a template's name, whom it is about, an address and small facts, never a secret: the link in a mail is made
when the mail is sent (rule 31). What is sent and when stands in `flows.post`; how, in `transport`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from sqlalchemy import bindparam, case, cast, delete, func, insert, literal, or_, select, update
from sqlalchemy.types import BigInteger, String, Text

from flask_gatehouse.kernel.schema import ACTIVE, mail, user

from .postman import Postman
from .transport import Courier, DeferredError, Envelope, Mailer, RejectedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy import ColumnElement, Connection, Select

    from flask_gatehouse.kernel.clock import Instant

__all__ = [
    "Courier",
    "DeferredError",
    "Envelope",
    "Letter",
    "Mailer",
    "Postman",
    "RejectedError",
    "Unsent",
    "Waiting",
    "Writer",
    "Written",
    "claim",
    "count",
    "drop",
    "drop_links_of",
    "due",
    "next_due_at",
    "postpone",
    "queue",
    "set_aside",
    "waiting_address",
    "withdraw",
]

MINUTE = 60 * 1_000_000
LEASE = 5 * MINUTE
"""How long a mail belongs to the process that has begun to send it."""
LONGEST_PAUSE = 60 * MINUTE
BATCH = 100
LINK_LIFE, NOTICE_LIFE = 24 * 60 * MINUTE, 72 * 60 * MINUTE
"""How long it is tried to hand a mail over: one that holds a link, any other."""
RESET, VERIFY, VERIFY_SECOND = "reset_password", "verify_email", "verify_second"
CLOSED = "account_closed"
WITH_LINK = frozenset({RESET, VERIFY, VERIFY_SECOND})
"""Templates whose mail holds a link."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail that a change asks for.

    Attributes:
        template: the name of its template.
        user_id: whom it is about; None: nobody, a row that costs the same and is never sent (rule 9).
        address: where it goes; None: every verified address of the user, and nowhere without one.
        facts: small facts for the template, never a secret.
        after: microseconds to wait before it is sent; until then it can be withdrawn.
    """

    template: str
    user_id: int | None
    address: str | None = None
    facts: Mapping[str, object] = field(default_factory=dict)
    after: int = 0


@dataclass(frozen=True, slots=True)
class Waiting:
    """A mail that this process has begun to send.

    Attributes:
        tries: how often it was begun, this time included.
    """

    id: int
    template: str
    user_id: int | None
    address: str
    facts: dict[str, Any]
    tries: int
    created_at: Instant

    def is_late(self, now: Instant) -> bool:
        """Tell whether it was tried for so long that it says nothing any more."""
        return now >= self.created_at + (LINK_LIFE if self.template in WITH_LINK else NOTICE_LIFE)


@dataclass(frozen=True, slots=True)
class Written:
    """A mail in words."""

    subject: str
    text: str
    html: str


class Writer(Protocol):
    """Puts mails into words; the app's own templates win."""

    def write(self, template: str, facts: Mapping[str, object]) -> Written:
        """Return the mail of a template."""

    def link(self, page: str, secret: str) -> str:
        """Return the URL of a page that takes a link's secret, below the app's first origin."""


# Built once: a flow that asks for mail runs them, and building one costs several times what running it does.
_INSERT = insert(mail)


def _to(address: ColumnElement[str | None], verified: ColumnElement[str | None]) -> Select[Any]:
    return select(
        cast(bindparam("the_template"), String(32)),
        user.c.id,
        address,
        cast(bindparam("the_detail"), Text),
        cast(bindparam("the_start"), BigInteger),
        literal(0),
        literal(0),
        cast(bindparam("at"), BigInteger),
    ).where(user.c.id == bindparam("the_user"), verified.is_not(None), user.c.state == ACTIVE)


_TO_VERIFIED = insert(mail).from_select(
    ["template", "user_id", "address", "detail", "due_at", "sending_until", "tries", "created_at"],
    _to(user.c.email, user.c.email_key).union_all(_to(user.c.second_email, user.c.second_email)),
)
"""One statement for both addresses: each event reaches every address of the user (NIST SP 800-63B 4.6)."""


def queue(connection: Connection, letters: Iterable[Letter], now: Instant) -> None:
    """Write mails to be sent once the transaction is committed."""
    for letter in letters:
        detail = json.dumps(letter.facts, separators=(",", ":"), sort_keys=True) if letter.facts else ""
        if letter.address is None:
            told = {"the_template": letter.template, "the_user": letter.user_id or 0, "the_detail": detail, "at": now}
            connection.execute(_TO_VERIFIED, told | {"the_start": now + letter.after})
            continue
        values = {"template": letter.template, "user_id": letter.user_id, "address": letter.address, "detail": detail}
        connection.execute(
            _INSERT, {**values, "due_at": now + letter.after, "sending_until": 0, "tries": 0, "created_at": now}
        )


class Unsent(NamedTuple):
    """A mail that waits."""

    id: int
    user_id: int | None


def due(connection: Connection, now: Instant, *, after: int = 0, is_forced: bool = False) -> list[Unsent]:
    """Return some mails that may be sent now, oldest first.

    Args:
        connection: where to read.
        now: the present instant.
        after: only those with a higher id.
        is_forced: also those that wait longer because they could not be handed over before.
    """
    query = select(mail.c.id, mail.c.user_id).where(mail.c.id > after, *_free(now, is_forced=is_forced))
    return [Unsent(*row) for row in connection.execute(query.order_by(mail.c.id).limit(BATCH))]


def _free(now: Instant, *, is_forced: bool) -> tuple[Any, ...]:
    free, is_due = mail.c.sending_until <= now, mail.c.due_at <= now
    return (free, or_(is_due, mail.c.tries > 0)) if is_forced else (free, is_due)


def claim(connection: Connection, mail_id: int, now: Instant, *, is_forced: bool = False) -> Waiting | None:
    """Begin to send a mail: of many callers exactly one gets it, for five minutes; None: another has it, or it is sent.

    The user whom it is about is locked before (one order everywhere).
    """
    mine = update(mail).where(mail.c.id == mail_id, *_free(now, is_forced=is_forced))
    columns = (mail.c.id, mail.c.template, mail.c.user_id, mail.c.address, mail.c.detail, mail.c.tries)
    taken = mine.values(sending_until=now + LEASE, tries=mail.c.tries + 1).returning(*columns, mail.c.created_at)
    row = connection.execute(taken).one_or_none()
    if row is None:
        return None
    facts = json.loads(row.detail) if row.detail else {}
    return Waiting(row.id, row.template, row.user_id, row.address, facts, row.tries, row.created_at)


def drop(connection: Connection, mail_id: int) -> None:
    """Forget a mail: it is sent, or never will be."""
    connection.execute(delete(mail).where(mail.c.id == mail_id))


def postpone(connection: Connection, waiting: Waiting, now: Instant) -> None:
    """Try again later: after one minute, four, sixteen, then every hour."""
    pause = min(MINUTE << (2 * min(waiting.tries - 1, 3)), LONGEST_PAUSE)
    mine = update(mail).where(mail.c.id == waiting.id, mail.c.tries == waiting.tries)
    connection.execute(mine.values(due_at=now + pause, sending_until=0))


def withdraw(connection: Connection, user_id: int, template: str, **fact: str) -> None:
    """Forget a user's mails of a template that tell this, and are not sent yet."""
    query = select(mail.c.id, mail.c.detail).where(mail.c.user_id == user_id, mail.c.template == template)
    told = [row.id for row in connection.execute(query) if fact.items() <= json.loads(row.detail or "{}").items()]
    if told:
        connection.execute(delete(mail).where(mail.c.id.in_(told)))


def set_aside(connection: Connection, mail_id: int, now: Instant) -> None:
    """Look at a mail again in an hour only, whatever it is; one that stands there for days is forgotten."""
    mine = mail.c.id == mail_id
    connection.execute(delete(mail).where(mine, mail.c.created_at <= now - NOTICE_LIFE))
    connection.execute(update(mail).where(mine).values(due_at=now + LONGEST_PAUSE, sending_until=0))


def drop_links_of(connection: Connection, user_id: int, templates: Iterable[str] = WITH_LINK) -> None:
    """Forget mails of a user that would hold a link: what they were asked for counts no longer."""
    connection.execute(delete(mail).where(mail.c.user_id == user_id, mail.c.template.in_(sorted(templates))))


def count(connection: Connection) -> int:
    """Return how many mails wait."""
    return int(connection.execute(select(func.count()).select_from(mail)).scalar_one())


def next_due_at(connection: Connection) -> Instant | None:
    """Return when the next mail may be sent, or None where none waits."""
    latest = case((mail.c.sending_until > mail.c.due_at, mail.c.sending_until), else_=mail.c.due_at)
    found = connection.execute(select(func.min(latest))).scalar_one()
    return None if found is None else int(found)


def waiting_address(connection: Connection, user_id: int, template: str = VERIFY) -> str | None:
    """Return the address that a user has asked to verify, as long as its mail is not sent."""
    query = select(mail.c.address).where(mail.c.user_id == user_id, mail.c.template == template)
    return connection.execute(query.order_by(mail.c.id.desc()).limit(1)).scalar_one_or_none()
