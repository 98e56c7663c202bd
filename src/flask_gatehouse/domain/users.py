"""User rows: login names, states, the session epoch. The only writer of `gatehouse_user`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, case, exists, or_, select, update
from sqlalchemy.exc import IntegrityError

from flask_gatehouse.kernel.errors import InvalidEmail, InvalidName
from flask_gatehouse.kernel.keys import new_public_id
from flask_gatehouse.kernel.schema import ACTIVE, CLOSED, grant, link, mail, user, user_count
from flask_gatehouse.kernel.upsert import insert_into

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection

    from flask_gatehouse.kernel.clock import Instant

NAME_MIN, NAME_MAX, EMAIL_MAX = 3, 80, 254
NAME_PATTERN = re.compile(r"[A-Za-z0-9_.-]{3,80}")
SETTLED_AFTER = 24 * 60 * 60 * 1_000_000
"""What was added less than a day before an alarm counts for nothing (rule 32)."""
_SEARCH = re.compile(r"[A-Za-z0-9_.-]{1,80}")
_LABEL = r"(?!-)[A-Za-z0-9-]+(?<!-)"
_EMAIL = re.compile(rf"(?!.*=\?)[^\s@\x00-\x1f\x7f<>,;:\"()\[\]\\]{{1,64}}@(?=.{{1,189}}\Z)(?:{_LABEL}\.)*{_LABEL}")
"""One mailbox, as it is written. `=?` begins an encoded word (RFC 2047): a header that holds one names another."""


@dataclass(frozen=True, slots=True)
class UserRecord:
    """A user row as read.

    Attributes:
        state: `active`, `suspended` or `closed`.
        epoch: counter; a bump ends older sessions and links.
        aal: assurance that is demanded of the user, 2 for a second factor.
        email_key: the address by which it is unique, once it is verified; None before.
        must_verify: whether there is no login before the address is verified.
        second_email: another verified address, which gets what the first one gets and logs nobody in.
        second_email_at: when that was last changed; None: it never was.
        alarm_at: since when the user's "this wasn't me" stands; None: nothing was said.
        email_at: when the address was last changed or verified; None: it never was since the user was made.
        email_before: the verified address of a day before that change; None: there was none.
    """

    id: int
    username: str
    email: str | None
    state: str
    epoch: int
    created_at: Instant
    aal: int = 1
    email_key: str | None = None
    must_verify: bool = False
    second_email: str | None = None
    second_email_at: Instant | None = None
    alarm_at: Instant | None = None
    email_at: Instant | None = None
    email_before: str | None = None

    @property
    def is_email_verified(self) -> bool:
        """Whether the address was proven to be the user's: mail goes to no other (NIST SP 800-63B 4.2.1.2)."""
        return self.email_key is not None

    def has_address_since(self, since: Instant) -> bool:
        """Tell whether mail would reach the user after an alarm that doubts what became of the address since then."""
        if self.second_email is not None and (self.second_email_at or 0) < since:
            return True
        is_settled = self.email_at is None or self.email_at < since or self.created_at >= since
        return self.email_before is not None if not is_settled else self.is_email_verified

    @property
    def verified_addresses(self) -> tuple[str, ...]:
        """Where mail about the user goes, the first address first; empty where none is proven to be theirs."""
        first = self.email if self.is_email_verified else None
        return tuple(address for address in (first, self.second_email) if address)

    @property
    def is_active(self) -> bool:
        """Whether the user may log in and be logged in."""
        return self.state == ACTIVE


_COLUMNS = (
    *(user.c.id, user.c.username, user.c.email, user.c.state, user.c.epoch, user.c.created_at, user.c.aal),
    *(user.c.email_key, user.c.must_verify, user.c.second_email, user.c.second_email_at),
    *(user.c.alarm_at, user.c.email_at, user.c.email_before),
)


def _record(row: Sequence[Any] | None) -> UserRecord | None:
    return None if row is None else UserRecord(*row)


def require_name(name: str) -> str:
    """Return the login name if it can be one.

    Raises:
        InvalidName: it does not fit; the whole name is matched, before any case folding.
    """
    if not NAME_PATTERN.fullmatch(name):
        msg = f"{NAME_MIN} to {NAME_MAX} characters: letters A to Z, digits and _ . - only"
        raise InvalidName(msg)
    return name


def require_email(email: str | None) -> str | None:
    """Return the address if it can be one, None for an empty one.

    Raises:
        InvalidEmail: it cannot.
    """
    if not email:
        return None
    if len(email) > EMAIL_MAX or not _EMAIL.fullmatch(email) or ".." in email:
        msg = "an e-mail address looks like name@example.org"
        raise InvalidEmail(msg)
    return email


def name_key(name: str) -> str | None:
    """Return the key by which a name is unique, or None when no user can have that name."""
    return name.lower() if NAME_PATTERN.fullmatch(name) else None


def login_key(typed: str, login_name: str) -> str | None:
    """Return the key of whoever is meant by what was typed to log in, or None when it can be nobody.

    Args:
        typed: a login name; with `email` and `both` a verified address too.
        login_name: `GATEHOUSE_LOGIN_NAME`.
    """
    return email_key(typed) if is_address(typed, login_name) else name_key(typed)


def is_address(typed: str, login_name: str) -> bool:
    """Tell whether what was typed to log in is taken for an e-mail address."""
    return "@" in typed and login_name != "username"


def email_key(email: str) -> str | None:
    """Return the key by which a verified address is unique, upper and lower case aside; None: nobody can have it.

    Only what is all ASCII is folded: else a letter that folds to another would make one address of two.
    """
    if len(email) > EMAIL_MAX or not _EMAIL.fullmatch(email):
        return None
    return email.lower() if email.isascii() else email


def find_by_email(connection: Connection, email: str) -> UserRecord | None:
    """Return the user whose verified address this is; one that cannot be an address costs the same statement."""
    query = select(*_COLUMNS).where(user.c.email_key == (email_key(email) or ""))
    return _record(connection.execute(query).one_or_none())


def find(connection: Connection, user_id: int, *, lock: bool = False) -> UserRecord | None:
    """Return a user by id; with `lock` nobody else changes the row until the transaction ends.

    Rows that point at the user may still be added: a host's open transaction with one would make us wait (PostgreSQL).
    """
    query = select(*_COLUMNS).where(user.c.id == user_id)
    return _record(connection.execute(query.with_for_update(key_share=True) if lock else query).one_or_none())


def find_by_name(connection: Connection, name: str, *, lock: bool = False) -> UserRecord | None:
    """Return a user by login name, upper and lower case aside; with `lock` as `find`."""
    query = select(*_COLUMNS).where(user.c.username_key == (name_key(name) or ""))
    return _record(connection.execute(query.with_for_update(key_share=True) if lock else query).one_or_none())


def names_of(connection: Connection, user_ids: Iterable[int]) -> dict[int, str]:
    """Return the login names of several users at once."""
    rows = connection.execute(select(user.c.id, user.c.username).where(user.c.id.in_(sorted(set(user_ids)))))
    return {row.id: row.username for row in rows}


def active_names(connection: Connection, user_ids: Iterable[int]) -> dict[int, str]:
    """Return the login names of those among several users who are active."""
    query = select(user.c.id, user.c.username).where(user.c.id.in_(sorted(set(user_ids))), user.c.state == ACTIVE)
    return {row.id: row.username for row in connection.execute(query)}


def create(
    connection: Connection, name: str, email: str | None, now: Instant, *, must_verify: bool = False
) -> UserRecord | None:
    """Insert an active user and return it, or None when the name is taken.

    Args:
        connection: where to write.
        name: the login name.
        email: stored unverified.
        now: the present instant.
        must_verify: whether there is no login before the address is confirmed.
    """
    statement = (
        insert_into(connection, user)
        .values(username=name, username_key=name.lower(), email=email, state=ACTIVE, epoch=0, created_at=now)
        .values(must_verify=must_verify)
        .on_conflict_do_nothing(index_elements=[user.c.username_key])
        .returning(*_COLUMNS)
    )
    created = _record(connection.execute(statement).one_or_none())
    if created is not None:
        _count(connection, ACTIVE, 1)
    return created


def _count(connection: Connection, state: str, change: int) -> None:
    statement = update(user_count).where(user_count.c.state == state)
    connection.execute(statement.values(count=user_count.c.count + change))


def set_state(connection: Connection, target: UserRecord, state: str) -> None:
    """Set the state of a locked user and bump the epoch: sessions of before do not come back with a restore."""
    connection.execute(update(user).where(user.c.id == target.id).values(state=state, epoch=user.c.epoch + 1))
    for counted, change in sorted(((target.state, -1), (state, 1))):  # in one order, so that no two wait for each other
        _count(connection, counted, change)


def bump_epoch(connection: Connection, user_id: int) -> int:
    """End all older sessions and links of the user; return the new epoch."""
    statement = update(user).where(user.c.id == user_id).values(epoch=user.c.epoch + 1).returning(user.c.epoch)
    return int(connection.execute(statement).scalar_one())


def set_email(connection: Connection, user_id: int, email: str | None, now: Instant = 0) -> None:
    """Store the address, unverified; the verified one of before is kept in mind, for an alarm.

    Args:
        connection: where to write.
        user_id: whose.
        email: None for none.
        now: the present instant; 0: longer ago than an alarm asks about.
    """
    values = {"email": email, "email_key": None, **_kept_in_mind(now)}
    connection.execute(update(user).where(user.c.id == user_id).values(**values))


def verify_email(connection: Connection, user_id: int, email: str, now: Instant = 0) -> bool:
    """Store the address as the user's own, as `set_email`; False where it is another's already."""
    values = {"email": email, "email_key": email_key(email), "must_verify": False, **_kept_in_mind(now)}
    return _store_address(connection, user_id, values)


def _kept_in_mind(now: Instant) -> dict[str, Any]:
    """Return what is stored of a change: the verified address as it was a day before, None where there was none.

    Who changes it twice within a day leaves no address of theirs; of a user as young as that the first one counts.
    """
    is_settled = or_(user.c.email_at.is_(None), user.c.email_at <= now - SETTLED_AFTER)
    is_first = and_(user.c.email_before.is_(None), user.c.created_at > now - SETTLED_AFTER)
    verified = case((user.c.email_key.is_not(None), user.c.email), else_=None)
    return {"email_at": now, "email_before": case((or_(is_settled, is_first), verified), else_=user.c.email_before)}


def _store_address(connection: Connection, user_id: int, values: dict[str, Any]) -> bool:
    try:
        with connection.begin_nested():
            connection.execute(update(user).where(user.c.id == user_id).values(**values))
    except IntegrityError:
        return False
    return True


def set_second_email(connection: Connection, user_id: int, email: str | None, now: Instant) -> None:
    """Store another address that was proven to be the user's, or none."""
    values = {"second_email": email, "second_email_at": now}
    connection.execute(update(user).where(user.c.id == user_id).values(**values))


def is_same_address(email: str | None, other: str | None) -> bool:
    """Tell whether two addresses are one, upper and lower case aside."""
    return email is not None and other is not None and email_key(email) == email_key(other)


def take_back_email(connection: Connection, target: UserRecord, since: Instant) -> bool:
    """Undo what became of a locked user's addresses since then; True where something did.

    The verified address of before is the user's again. Without one, or where it is somebody else's by now, the present
    one counts as unverified: no mail goes there. The first address of a user as young as that stays. A second address
    that was added goes; one that was removed does not come back.
    """
    has_second = target.second_email is not None and (target.second_email_at or 0) >= since
    if has_second:
        set_second_email(connection, target.id, None, target.second_email_at or 0)
    return _take_back_first(connection, target, since) or has_second


def _take_back_first(connection: Connection, target: UserRecord, since: Instant) -> bool:
    if target.email_at is None or target.email_at < since:
        return False
    if target.email_before is not None:
        before = {"email": target.email_before, "email_key": email_key(target.email_before)}
        if _store_address(connection, target.id, {**before, "email_at": None, "email_before": None}):
            return True
    elif target.created_at >= since or not target.is_email_verified:
        return False
    connection.execute(update(user).where(user.c.id == target.id).values(email_key=None))
    return True


def raise_alarm(connection: Connection, user_id: int, now: Instant) -> None:
    """Note that a locked user has said "this wasn't me"."""
    connection.execute(update(user).where(user.c.id == user_id).values(alarm_at=now))


def end_alarm(connection: Connection, user_id: int) -> bool:
    """Trust the user's password again; False where no alarm stood."""
    standing = update(user).where(user.c.id == user_id, user.c.alarm_at.is_not(None))
    return connection.execute(standing.values(alarm_at=None)).rowcount == 1


def alarmed(connection: Connection, limit: int) -> list[UserRecord]:
    """Return active users on whom an alarm stands, the newest alarm first."""
    query = select(*_COLUMNS).where(user.c.alarm_at.is_not(None), user.c.state == ACTIVE)
    rows = connection.execute(query.order_by(user.c.alarm_at.desc()).limit(limit))
    return [UserRecord(*row) for row in rows]


def set_aal(connection: Connection, user_id: int, aal: int) -> None:
    """Demand an assurance level of a user; it counts from the next request on."""
    connection.execute(update(user).where(user.c.id == user_id).values(aal=aal))


def close(connection: Connection, target: UserRecord) -> None:
    """Close a locked user and erase name and address; the row and its id stay."""
    set_state(connection, target, CLOSED)
    gone = f"closed.{target.id}.{new_public_id()}"
    values = {"username": gone, "username_key": gone, "must_verify": False}
    values |= {"email": None, "email_key": None, "second_email": None, "email_before": None}
    connection.execute(update(user).where(user.c.id == target.id).values(**values))


def unconfirmed(connection: Connection, before: Instant, *, limit: int, only: int | None = None) -> list[int]:
    """Return users who registered by mail, never confirmed the address, and have nothing left to confirm it with.

    Nobody among them ever logged in, as there is no login before; and commands and administrators make others.

    Args:
        connection: where to read.
        before: registered by then, and every link of theirs had run out by then.
        limit: at most so many, the oldest first.
        only: this user or none.
    """
    query = select(user.c.id).where(user.c.must_verify, user.c.state == ACTIVE, user.c.created_at <= before)
    query = query if only is None else query.where(user.c.id == only)
    waits = (
        exists().where(link.c.user_id == user.c.id, link.c.expires_at > before),
        exists().where(mail.c.user_id == user.c.id),
        exists().where(grant.c.user_id == user.c.id),
    )
    query = query.where(*(~one for one in waits)).order_by(user.c.created_at).limit(limit)
    return list(connection.execute(query).scalars())


def count_by_state(connection: Connection) -> dict[str, int]:
    """Return how many users are in each state."""
    rows = connection.execute(select(user_count.c.state, user_count.c.count))
    return {state: int(count) for state, count in rows}


def page(connection: Connection, *, search: str = "", after: str = "", limit: int = 50) -> list[UserRecord]:
    """Return users in order of their name key, those after a given key: paged by key, however many there are.

    Args:
        connection: where to read.
        search: start of the login name, upper and lower case aside; taken literally.
        after: the last name key of the page before.
        limit: at most so many.
    """
    if search and not _SEARCH.fullmatch(search):
        return []
    query = select(*_COLUMNS).order_by(user.c.username_key).limit(limit)
    if after:
        query = query.where(user.c.username_key > after.lower())
    if search:
        prefix = search.lower()
        query = query.where(user.c.username_key >= prefix, user.c.username_key < prefix + "~")
    found = map(_record, connection.execute(query))
    return [record for record in found if record is not None]
