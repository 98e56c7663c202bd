"""Passkeys as they are kept: public keys, names, counters; and which challenges were answered.

The only writer of `gatehouse_passkey` and `gatehouse_passkey_answer`. Needs no optional package.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, delete, select, update

from flask_gatehouse.kernel.keys import secret_digest
from flask_gatehouse.kernel.schema import passkey, passkey_answer
from flask_gatehouse.kernel.upsert import insert_into

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from flask_gatehouse.kernel.clock import Instant

    from .passkey_challenges import Question

MOST = 20
"""Passkeys of one user."""
NAME_MAX = 80
PURGED_AT_ONCE = 20


class Doubt(Enum):
    """Why an answer of a passkey does not count; the log says so."""

    MALFORMED = "it is no answer of a passkey to this site"
    CHALLENGE = "it answers something else, or came too late"
    USED = "it was used before"
    UNKNOWN = "there is no such passkey"
    OTHER = "it is another user's passkey"
    SIGNATURE = "the signature is not this passkey's"
    UNVERIFIED = "the passkey did not check who uses it"
    CLOSED = "its user may not log in"
    ALTERED = "the row of this passkey was changed by somebody without the app's secret"
    COPIED = "the counter went back: there may be a copy of this passkey"
    TAKEN = "this passkey is enrolled already"


@dataclass(frozen=True, slots=True)
class Passkey:
    """A row of `gatehouse_passkey`, its digest left out.

    Attributes:
        credential_id: what the authenticator calls it.
        public_key: COSE key.
        sign_count: of its newest answer; 0 where the authenticator counts nothing.
        aaguid: the kind of authenticator.
        transports: how browsers may reach it, such as `usb`.
        handle: what the authenticator calls the user.
        can_be_backed_up: whether it may live on several devices.
        is_backed_up: whether it does by now.
        mac: over whose it is and its key, so that nobody puts a key of theirs in its place (ASVS V6.7.1).
    """

    id: int
    user_id: int
    credential_id: bytes
    public_key: bytes
    sign_count: int
    aaguid: str
    transports: tuple[str, ...]
    handle: bytes
    name: str
    can_be_backed_up: bool
    is_backed_up: bool
    mac: bytes
    created_at: Instant
    used_at: Instant | None


@dataclass(frozen=True, slots=True)
class NewPasskey:
    """What an authenticator has made, checked and not stored yet."""

    question: Question
    credential_id: bytes
    public_key: bytes
    sign_count: int
    aaguid: str
    transports: tuple[str, ...]
    handle: bytes
    can_be_backed_up: bool
    is_backed_up: bool
    mac: bytes


@dataclass(frozen=True, slots=True)
class Shown:
    """An answer whose signature is right; it counts once it was taken (`burn`, `use`).

    Attributes:
        question: what was answered.
        passkey: which passkey answered.
        sign_count: its counter now.
        is_user_verified: whether the authenticator made sure of its user.
        is_backed_up: whether it lives on several devices by now.
        mac: of its row, under the present secret.
    """

    question: Question
    passkey: Passkey
    sign_count: int
    is_user_verified: bool
    is_backed_up: bool
    mac: bytes


_ROW = tuple(column for column in passkey.c if column.name != "digest")


def _row(values: Any) -> Passkey:
    found = dict(zip((column.name for column in _ROW), values, strict=True))
    found["transports"] = tuple(found["transports"].split())
    for name in ("credential_id", "public_key", "handle", "mac"):
        found[name] = bytes(found[name])
    return Passkey(**found)


def find(connection: Connection, credential_id: bytes) -> Passkey | None:
    """Return a passkey by what its authenticator calls it."""
    row = connection.execute(select(*_ROW).where(passkey.c.digest == _digest(credential_id))).one_or_none()
    return None if row is None else _row(row)


def of_user(connection: Connection, user_id: int) -> list[Passkey]:
    """Return a user's passkeys, oldest first."""
    query = select(*_ROW).where(passkey.c.user_id == user_id).order_by(passkey.c.id)
    return [_row(row) for row in connection.execute(query)]


def is_enrolled(connection: Connection, user_id: int) -> bool:
    """Tell whether a user has any."""
    query = select(passkey.c.id).where(passkey.c.user_id == user_id).limit(1)
    return connection.execute(query).one_or_none() is not None


def covered(user_id: int, credential_id: bytes, public_key: bytes, handle: bytes) -> bytes:
    """Return what the MAC of a row covers; no part holds the separator."""
    return "\n".join((str(user_id), credential_id.hex(), public_key.hex(), handle.hex())).encode()


def add(connection: Connection, user_id: int, new: NewPasskey, name: str, now: Instant) -> bool:
    """Store a passkey; False where it is enrolled already, whoever's it is."""
    values = {
        "digest": _digest(new.credential_id),
        "user_id": user_id,
        "credential_id": new.credential_id,
        "public_key": new.public_key,
        "sign_count": new.sign_count,
        "aaguid": new.aaguid,
        "transports": " ".join(new.transports),
        "handle": new.handle,
        "name": name,
        "can_be_backed_up": new.can_be_backed_up,
        "is_backed_up": new.is_backed_up,
        "mac": new.mac,
        "created_at": now,
    }
    statement = insert_into(connection, passkey).values(**values).on_conflict_do_nothing()
    return connection.execute(statement.returning(passkey.c.id)).one_or_none() is not None


def some(connection: Connection, *, after: int, limit: int) -> list[Passkey]:
    """Return passkeys of all users by id, to renew their MACs."""
    query = select(*_ROW).where(passkey.c.id > after).order_by(passkey.c.id).limit(limit)
    return [_row(row) for row in connection.execute(query)]


def renew_mac(connection: Connection, one: Passkey, mac: bytes) -> bool:
    """Write the MAC of a row under the present secret; False where it changed meanwhile."""
    same = (passkey.c.id == one.id, passkey.c.mac == one.mac)
    return connection.execute(update(passkey).where(*same).values(mac=mac)).rowcount == 1


def rename(connection: Connection, user_id: int, passkey_id: int, name: str) -> bool:
    """Give a user's own passkey another name."""
    mine = update(passkey).where(passkey.c.id == passkey_id, passkey.c.user_id == user_id)
    return connection.execute(mine.values(name=name)).rowcount == 1


def remove(connection: Connection, user_id: int, passkey_id: int) -> str | None:
    """Forget a user's own passkey and return its name; None where there is no such one."""
    mine = delete(passkey).where(passkey.c.id == passkey_id, passkey.c.user_id == user_id)
    name: str | None = connection.execute(mine.returning(passkey.c.name)).scalar_one_or_none()
    return name


def forget_all(connection: Connection, user_id: int, since: Instant = 0) -> int:
    """Forget all passkeys that a user has enrolled since then; return how many."""
    mine = and_(passkey.c.user_id == user_id, passkey.c.created_at >= since)
    locked = select(passkey.c.id).where(mine).order_by(passkey.c.id).with_for_update()
    connection.execute(locked).all()  # in the order of `some`: a rotation of keys and this do not wait in a ring
    return connection.execute(delete(passkey).where(mine)).rowcount


def use(connection: Connection, shown: Shown, now: Instant) -> Doubt | None:
    """Note an answer at its passkey; a counter that does not grow is refused (WebAuthn section 6.1.1)."""
    count = shown.sign_count
    grows = passkey.c.sign_count < count if count else passkey.c.sign_count == 0
    same = (passkey.c.id == shown.passkey.id, passkey.c.public_key == shown.passkey.public_key)
    values = {"sign_count": count, "is_backed_up": shown.is_backed_up, "used_at": now, "mac": shown.mac}
    if connection.execute(update(passkey).where(*same, grows).values(**values)).rowcount == 1:
        return None
    is_there = connection.execute(select(passkey.c.id).where(*same)).one_or_none() is not None
    return Doubt.COPIED if is_there else Doubt.UNKNOWN


def burn(connection: Connection, question: Question, now: Instant) -> bool:
    """Note that a challenge is answered; of many who answer the same one, exactly one is told True."""
    values = {"digest": secret_digest(question.nonce), "expires_at": question.expires_at}
    statement = insert_into(connection, passkey_answer).values(**values).on_conflict_do_nothing()
    is_first = connection.execute(statement.returning(passkey_answer.c.digest)).one_or_none() is not None
    old = select(passkey_answer.c.digest).where(passkey_answer.c.expires_at <= now).limit(PURGED_AT_ONCE)
    digests = list(connection.execute(old.with_for_update(skip_locked=True)).scalars())
    if digests:
        connection.execute(delete(passkey_answer).where(passkey_answer.c.digest.in_(digests)))
    return is_first


def _digest(credential_id: bytes) -> bytes:
    return secret_digest(credential_id.hex())
