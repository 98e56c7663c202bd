"""The audit log: events in a hash chain whose head carries a MAC. The only writer of the event tables.

Who is kept out: whoever edits, inserts or deletes rows without the key ring is found by `verify`. A tail cut off
together with an older, genuine head is found only against a head value emitted to the log before
(`verify --head`).
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select, update

from flask_gatehouse.kernel.identity import SYSTEM, Actor, Source
from flask_gatehouse.kernel.schema import chain_head, event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from sqlalchemy import Connection

    from flask_gatehouse.kernel.clock import Instant
    from flask_gatehouse.kernel.keys import KeyRing

HEAD_ID = 1
GENESIS = bytes(32)
EMIT_EVERY = 1000
BATCH = 2000
HEAD_TEXT_PARTS = 2
UNSEALED = "audit.unsealed"

log = logging.getLogger("flask_gatehouse.audit")

KINDS: Mapping[str, str] = {
    "user.registered": "A user registered.",
    "user.created": "A user was created by a command, by `init` or by the app.",
    "user.suspended": "A user was suspended; all sessions ended.",
    "user.restored": "A suspended user may log in again.",
    "user.unlocked": "A user's counters of wrong passwords were zeroed.",
    "user.closed": "A user was closed for good; all sessions ended.",
    "user.email_changed": "The e-mail address was changed.",
    "admin.claimed": "The first administrator's claim was spent.",
    "role.created": "A role was made.",
    "role.granted": "A user was granted a role.",
    "role.withdrawn": "A role was withdrawn from a user.",
    "login.succeeded": "A login was completed.",
    "login.factor_due": "The password was right; a second factor is due.",
    "login.failed": "A login failed: wrong name, wrong password, or a user who may not log in.",
    "login.delayed": "Wrong passwords in a row put the account into its delay.",
    "login.throttled": "The first attempt of a window that was refused for its address.",
    "login.temporary": "A temporary password was used up; a link to choose a new one was made.",
    "failures.overflowed": "Failures of so many names or addresses that further ones are only counted for a while.",
    "failures.counted": "What was only counted in a window that has ended.",
    "logout": "A user logged out.",
    "session.ended": "Sessions were ended by their user, an administrator, a command or the cap.",
    "step_up.succeeded": "A user proved the password again.",
    "step_up.failed": "A repeated proof failed.",
    "password.changed": "A user changed the password; all other sessions ended.",
    "password.change_failed": "A password change named a wrong present password.",
    "password.rehashed": "A digest was renewed at login with the present scheme and cost.",
    "password.reset_link": "A link to choose a new password was made.",
    "password.temporary": "A temporary password was made.",
    "password.reset": "A password was chosen through a link; all sessions ended.",
    "audit.unsealed": "The chain's head, when this was appended, bore no MAC of this key ring.",
    "access.denied": "An authenticated user was refused.",
    "csrf.refused": "A request with a wrong token or origin was refused.",
}


@dataclass(frozen=True, slots=True)
class Event:
    """One security event, before it is in the chain.

    Attributes:
        kind: one of `KINDS`.
        actor: who did it.
        user_id: whom it is about.
        source: where it came from.
        session_id: public id of the session, never its secret.
        outcome: `ok` or `refused`.
        detail: small facts; never a secret, a password or a name that does not exist.
    """

    kind: str
    actor: Actor
    user_id: int | None = None
    source: Source = field(default_factory=Source)
    session_id: str = ""
    outcome: str = "ok"
    detail: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the log."""

    id: int
    at: Instant
    kind: str
    outcome: str
    actor_id: int | None
    actor: str
    user_id: int | None
    address: str
    agent: str
    request_id: str
    session_id: str
    detail: str


@dataclass(frozen=True, slots=True)
class Finding:
    """Where verification stopped agreeing.

    Attributes:
        event_id: the first row that does not fit; 0: the head itself.
        text: in words.
    """

    event_id: int
    text: str


_COLUMNS = tuple(column for column in event.c if column.name != "hash")


def _link_hash(previous: bytes, values: Iterable[object]) -> bytes:
    canonical = json.dumps(list(values), separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(previous + canonical.encode("ascii")).digest()


class AuditLog:
    """The chain of one app.

    Args:
        keys: the key ring, for the head's MAC.
    """

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    def append(self, connection: Connection, events: Iterable[Event], now: Instant) -> None:
        """Append events to the chain, last in their transaction: the head stays locked until it ends.

        A head that this key ring did not write is told in the chain itself before a new MAC covers it: else whoever
        rewrote rows and head would only have to wait for the next event.
        """
        pending = list(events)
        if not pending:
            return
        event_id, last, is_sealed = self._lock_head(connection)
        if not is_sealed:
            log.critical("the audit chain's head %s was not written by this key ring", head_text(event_id, last))
            detail = {"head": head_text(event_id, last)}
            pending.insert(0, Event("audit.unsealed", SYSTEM, outcome="refused", detail=detail))
        rows: list[dict[str, Any]] = []
        for item in pending:
            event_id += 1
            values = _values(event_id, item, now)
            last = _link_hash(last, values)
            names = [column.name for column in _COLUMNS]
            rows.append(dict(zip(names, values, strict=True)) | {"hash": last})
        connection.execute(insert(event), rows)
        mac = self._keys.mac("audit-head", _head_bytes(event_id, last))
        statement = update(chain_head).where(chain_head.c.id == HEAD_ID)
        connection.execute(statement.values(event_id=event_id, hash=last, mac=mac))
        if event_id // EMIT_EVERY != (event_id - len(pending)) // EMIT_EVERY:
            log.info("audit chain head %s", head_text(event_id, last))

    def _lock_head(self, connection: Connection) -> tuple[int, bytes, bool]:
        query = select(chain_head.c.event_id, chain_head.c.hash, chain_head.c.mac).where(chain_head.c.id == HEAD_ID)
        row = connection.execute(query.with_for_update()).one_or_none()
        if row is None:
            connection.execute(insert(chain_head).values(id=HEAD_ID, event_id=0, hash=GENESIS, mac=GENESIS))
            return 0, GENESIS, True
        return row[0], bytes(row[1]), self._is_sealed(row[0], bytes(row[1]), bytes(row[2]))

    def _is_sealed(self, event_id: int, last: bytes, mac: bytes) -> bool:
        if not event_id:
            return last == GENESIS
        return self._keys.verify("audit-head", _head_bytes(event_id, last), mac)

    def head(self, connection: Connection) -> str:
        """Return the head as `number:hash`, to keep outside and give to `verify` later."""
        row = connection.execute(select(chain_head.c.event_id, chain_head.c.hash)).one_or_none()
        return head_text(row[0], bytes(row[1])) if row else head_text(0, GENESIS)

    def verify(
        self, connection: Connection, *, head: str = "", progress: Callable[[int], None] | None = None
    ) -> Finding | int:
        """Walk the whole chain.

        Args:
            connection: where to read; a snapshot, when others write meanwhile.
            head: a head value emitted before; the chain must contain it, and it vouches for the rows up to it.
            progress: called with the number of rows checked so far.

        Returns:
            How many rows agree, or the first finding.
        """
        wanted_id, wanted_hash = _parse_head(head) if head else (0, b"")
        stored = connection.execute(select(chain_head.c.event_id, chain_head.c.hash, chain_head.c.mac)).one_or_none()
        last, checked, unsealed = GENESIS, 0, 0
        for row in self._rows(connection):
            checked += 1
            if row.id != checked:
                return Finding(checked, f"row {checked} is missing")
            last = _link_hash(last, row[:-1])
            if last != bytes(row.hash):
                return Finding(row.id, f"row {row.id} or one before it was changed")
            if row.id == wanted_id and last != wanted_hash:
                return Finding(row.id, f"row {row.id} is not the one of the head given")
            if row.kind == UNSEALED and row.id > wanted_id and not unsealed:
                unsealed = row.id
            if progress and checked % BATCH == 0:
                progress(checked)
        if checked < wanted_id:
            return Finding(checked + 1, f"the chain ends at {checked}, before the head given ({wanted_id})")
        if unsealed:
            known = f"where you know why, go on with --head {head_text(checked, last)}"
            return Finding(unsealed, f"row {unsealed}: the head before it bore no MAC of this key ring; {known}")
        return self._verify_head(stored, checked, last) or checked

    def _verify_head(self, stored: Any, checked: int, last: bytes) -> Finding | None:
        if stored is None:
            return Finding(0, "the head is missing") if checked else None
        if stored.event_id != checked or bytes(stored.hash) != last:
            return Finding(0, f"the head names row {stored.event_id}, the chain ends at {checked}")
        if not self._is_sealed(checked, last, bytes(stored.mac)):
            return Finding(0, "the head was not written by this key ring")
        return None

    @staticmethod
    def _rows(connection: Connection) -> Iterator[Any]:
        after = 0
        while True:
            query = select(*_COLUMNS, event.c.hash).where(event.c.id > after).order_by(event.c.id).limit(BATCH)
            rows = connection.execute(query).all()
            yield from rows
            if len(rows) < BATCH:
                return
            after = rows[-1].id

    def search(
        self, connection: Connection, *, user_id: int | None = None, kind: str = "", before: int = 0, limit: int = 50
    ) -> list[Entry]:
        """Return entries newest first, paged by id.

        Args:
            connection: where to read.
            user_id: only those about this user.
            kind: only those of this kind.
            before: only those with a smaller id; 0: from the newest.
            limit: at most so many.
        """
        query = select(*_COLUMNS).order_by(event.c.id.desc()).limit(limit)
        if user_id is not None:
            query = query.where(event.c.user_id == user_id)
        if kind:
            query = query.where(event.c.kind == kind)
        if before:
            query = query.where(event.c.id < before)
        return [Entry(*row) for row in connection.execute(query)]


def head_text(event_id: int, last: bytes) -> str:
    """Return a head value as text."""
    return f"{event_id}:{last.hex()}"


def _parse_head(text: str) -> tuple[int, bytes]:
    parts = text.split(":")
    if len(parts) != HEAD_TEXT_PARTS or not parts[0].isdecimal():
        msg = "a head looks like 1234:… (number, colon, 64 hex digits)"
        raise ValueError(msg)
    return int(parts[0]), bytes.fromhex(parts[1])


def _head_bytes(event_id: int, last: bytes) -> bytes:
    return event_id.to_bytes(8, "big") + last


def _values(event_id: int, item: Event, now: Instant) -> tuple[object, ...]:
    if item.kind not in KINDS:
        msg = f"unknown event kind {item.kind!r}"
        raise LookupError(msg)
    detail = json.dumps(dict(item.detail), separators=(",", ":"), sort_keys=True) if item.detail else ""
    return (
        event_id,
        now,
        item.kind,
        item.outcome,
        item.actor.user_id,
        item.actor.label,
        item.user_id,
        item.source.address,
        item.source.agent,
        item.source.request_id,
        item.session_id,
        detail,
    )
