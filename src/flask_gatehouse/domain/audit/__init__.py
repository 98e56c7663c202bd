"""The audit log: events in a hash chain whose head carries a MAC. The only writer of the event tables.

Who is kept out: whoever edits, inserts or deletes rows without the key ring is found by `verify`. A tail cut off
together with an older, genuine head is found only against a head value emitted to the log before
(`verify --head`). What a row's hash covers stands in `chain`, files in `export`, deleted stretches in `segments`.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from operator import index
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, delete, func, insert, select, update

from flask_gatehouse.kernel.identity import SYSTEM, Actor, Source
from flask_gatehouse.kernel.schema import chain_head, event
from flask_gatehouse.kernel.statements import Statement

from . import search, segments, verification
from .chain import GENESIS, SEALED, START, UNSEALED, Finding, HeadError, Link, Walk, line_of, link_hash, parse_link
from .counts import EventCounts
from .export import Checked, Stretch, pieces_of, verify_files, write_whole
from .kinds import KINDS
from .rows import BATCH, SLACK, batches, first_id
from .search import READ_AT_MOST, Entry, Found, Wanted, address_of
from .segments import Sealed, Segment
from .stream import EMIT_AFTER, EMIT_EVERY, FIELDS, Stream
from .verification import Verified, head_bytes, is_sealed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from sqlalchemy import Connection

    from flask_gatehouse.kernel.clock import Instant
    from flask_gatehouse.kernel.keys import KeyRing

__all__ = [
    "BATCH",
    "EMIT_AFTER",
    "EMIT_EVERY",
    "FIELDS",
    "GENESIS",
    "KINDS",
    "READ_AT_MOST",
    "SEALED",
    "SLACK",
    "UNSEALED",
    "AuditLog",
    "Checked",
    "Entry",
    "Event",
    "Finding",
    "Found",
    "HeadError",
    "Link",
    "Sealed",
    "Segment",
    "Stretch",
    "Verified",
    "Wanted",
    "address_of",
    "head_text",
    "parse_link",
    "verify_files",
    "write_whole",
]

HEAD_ID = 1

log = logging.getLogger("flask_gatehouse.audit")


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


_IS_HEAD = chain_head.c.id == HEAD_ID
_LOCK_HEAD = Statement(
    select(chain_head.c.event_id, chain_head.c.hash, chain_head.c.mac).where(_IS_HEAD).with_for_update()
)
_MOVE_HEAD = Statement(
    update(chain_head)
    .where(_IS_HEAD)
    .values(event_id=bindparam("to_id"), hash=bindparam("to_hash"), mac=bindparam("to_mac"))
)
_INSERT = Statement(insert(event).values({column.name: bindparam(column.name) for column in event.c}))

_NAMES = tuple(column.name for column in event.c if column.name != "hash")


class AuditLog:
    """The chain of one app.

    Args:
        keys: the key ring, for the head's MAC.

    Attributes:
        stream: tells the log what was committed.
        counts: how many events of a kind there were in each ten minutes.
    """

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys
        self.stream = Stream()
        self.counts = EventCounts()

    def append(self, connection: Connection, events: Iterable[Event], now: Instant) -> list[dict[str, Any]]:
        """Append events to the chain, last in their transaction: the head stays locked until it ends.

        A head that this key ring did not write is told in the chain itself before a new MAC covers it: else whoever
        rewrote rows and head would only have to wait for the next event.

        Returns:
            The rows, for `stream.tell` once the transaction is committed.

        Raises:
            LookupError: a kind is not one of `KINDS`.
            TypeError: an id or the instant is no whole number: what is hashed must be what the database keeps.
        """
        pending = list(events)
        if not pending:
            return []
        event_id, last, is_sealed = self._lock_head(connection)
        if not is_sealed:
            head = head_text(event_id, last)
            log.critical("the audit chain's head %s was not written by this key ring", head)
            pending.insert(0, Event("audit.unsealed", SYSTEM, outcome="refused", detail={"head": head}))
        rows: list[dict[str, Any]] = []
        for item in pending:
            event_id += 1
            values = _values(event_id, item, now)
            last = link_hash(last, line_of(values))
            rows.append(dict(zip(_NAMES, values, strict=True)) | {"hash": last})
        for row in rows:
            _INSERT.write(connection, row)
        mac = self._keys.mac("audit-head", head_bytes(Link(event_id, last)))
        _MOVE_HEAD.write(connection, {"to_id": event_id, "to_hash": last, "to_mac": mac})
        return rows

    def _lock_head(self, connection: Connection) -> tuple[int, bytes, bool]:
        row = _LOCK_HEAD.row(connection, {})
        if row is None:
            connection.execute(insert(chain_head).values(id=HEAD_ID, event_id=0, hash=GENESIS, mac=GENESIS))
            return 0, GENESIS, True
        head = Link(row[0], bytes(row[1]))
        return *head, is_sealed(self._keys, head, row[2])

    def head(self, connection: Connection) -> str:
        """Return the head as `number:hash`, to keep outside and give to `verify` later."""
        row = connection.execute(select(chain_head.c.event_id, chain_head.c.hash)).one_or_none()
        return head_text(row[0], bytes(row[1])) if row else head_text(0, GENESIS)

    def length(self, connection: Connection) -> int:
        """Return how many rows `verify` will walk, for a progress bar: what head and segments say."""
        sealed = self.sealed(connection)
        return parse_link(self.head(connection)).id - (0 if isinstance(sealed, Finding) else sealed.end.id)

    def verify(
        self, connection: Connection, *, head: str = "", progress: Callable[[int], None] | None = None
    ) -> Finding | int:
        """Walk the whole chain, from where the newest segment ends.

        Args:
            connection: where to read; a snapshot, when others write meanwhile.
            head: a head value emitted before; the chain must contain it, and it vouches for the rows up to it.
            progress: called with the number of rows checked so far.

        Returns:
            How many rows agree, or the first finding.

        Raises:
            HeadError: the head given is none, or lies inside a segment, so that only its file can tell.
        """
        found = verification.verify(connection, self._keys, head, progress=progress)
        return found if isinstance(found, Finding) else found.rows

    def verify_newest(self, connection: Connection, most: int, *, head: str = "") -> Verified | Finding:
        """Walk the newest rows and compare them with the head; a chain that is no longer is verified as a whole.

        Whoever edits one of these rows without the key is found; what came before them is not looked at.

        Args:
            connection: where to read; a snapshot, when others write meanwhile.
            most: how many rows.
            head: a head value emitted before, as `verify` takes it.

        Raises:
            HeadError: the head given is none, or lies inside a segment, so that only its file can tell.
        """
        return verification.verify(connection, self._keys, head, most=most)

    def search(  # noqa: PLR0913 - each is one column of the question
        self,
        connection: Connection,
        *,
        user_id: int | None = None,
        kind: str = "",
        address: str = "",
        since: Instant | None = None,
        until: Instant | None = None,
        before: int = 0,
        limit: int = 50,
    ) -> list[Entry]:
        """Return entries newest first, paged by id.

        Args:
            connection: where to read.
            user_id: only those about this user.
            kind: only those of this kind.
            address: only those from this address.
            since: only those at this instant or later, in microseconds.
            until: only those before this instant, in microseconds.
            before: only those with a smaller id; 0: from the newest.
            limit: at most so many.
        """
        wanted = Wanted(user_id, kind, address, since, until)
        return search.all_of(connection, wanted, before=before, limit=limit)

    @staticmethod
    def page(connection: Connection, wanted: Wanted, *, before: int = 0, limit: int = 50) -> Found:
        """Return a page of entries, as `search.page` does: bounded work, whatever is asked for."""
        return search.page(connection, wanted, before=before, limit=limit)

    # -- exports and segments -------------------------------------------------------------------------------------

    def sealed(self, connection: Connection) -> Sealed | Finding:
        """Return the segments, or the first that cannot follow the one before; MACs are `verify`'s business."""
        return Sealed.read(connection, self._keys)

    def stretch(
        self, connection: Connection, since: Instant | None = None, until: Instant | None = None
    ) -> Stretch | None:
        """Return the rows from the first at `since` or later to the last before any at `until` or later.

        Args:
            connection: where to read; a snapshot, together with what is done with it.
            since: None: from the oldest row.
            until: None: to the newest row.

        Returns:
            The stretch, or None where it holds no row.
        """
        first = first_id(connection, None if since is None else event.c.at >= since)
        last = connection.scalar(select(func.max(event.c.id)))
        if first is None or last is None:
            return None
        if until is not None and (stop := first_id(connection, event.c.at >= until)) is not None:
            last = stop - 1
        hash_ = connection.scalar(select(event.c.hash).where(event.c.id == first - 1))
        sealed = self.sealed(connection)
        before = Link(first - 1, hash_) if hash_ else (START if isinstance(sealed, Finding) else sealed.end)
        return Stretch(before, last) if last >= first else None

    def pieces(
        self, connection: Connection, stretch: Stretch, now: Instant, progress: Callable[[int], None] | None = None
    ) -> Iterator[bytes]:
        """Yield the file that holds a stretch, piece by piece; verify the chain first, in the same snapshot.

        Args:
            connection: where to read.
            stretch: what to export.
            now: when, in microseconds.
            progress: called with the number of rows written so far.
        """
        rows = batches(connection, stretch.before.id, stretch.last)
        for number, piece in enumerate(pieces_of(stretch, rows, self._keys, now)):
            yield piece
            if progress:
                progress(min(number * BATCH, stretch.rows))

    def joint(self, connection: Connection, end: Link) -> Finding | None:
        """Compare where files end with where the database begins, or with the row of that number."""
        sealed = self.sealed(connection)
        if isinstance(sealed, Finding):
            return sealed
        if end.id < sealed.end.id:
            missing = f"rows {end.id + 1} to {sealed.end.id}"
            return Finding(end.id + 1, f"{missing} are sealed, and none of the files holds them")
        hash_ = connection.scalar(select(event.c.hash).where(event.c.id == end.id))
        if end == sealed.end or hash_ == end.hash:
            return None
        return Finding(end.id, f"row {end.id} of the files is not the one of the database")

    def seal(self, connection: Connection, end: Link, now: Instant) -> Mapping[str, object] | Finding | None:
        """Delete the rows up to `end` and let a segment stand for them; the caller records `audit.sealed`.

        Args:
            connection: in a transaction, as a role that may delete events.
            end: the last row to go, as a file holds it.
            now: when, in microseconds.

        Returns:
            The detail of the event, the first row that is not the file's, or None where all of them were gone.
        """
        segments.lock(connection)
        sealed = self.sealed(connection)
        if isinstance(sealed, Finding) or sealed.end.id >= end.id:
            return sealed if isinstance(sealed, Finding) else None
        walk = Walk(sealed.end)
        finding = walk.over(batches(connection, sealed.end.id, end.id))
        if finding is not None or walk.last != end:
            return finding or Finding(end.id, f"row {end.id} is not the one of the file")
        seal = segments.add(connection, sealed, end, now, self._keys)
        connection.execute(delete(event).where(event.c.id <= end.id))
        return {"first": sealed.end.id + 1, "last": end.id, "hash": end.hash.hex(), "seal": seal.hex()}

    @staticmethod
    def may_seal(connection: Connection) -> bool:
        """Tell whether the database's role may seal: on PostgreSQL the tables' owner."""
        return segments.may_seal(connection)

    may_rewrite = staticmethod(segments.may_rewrite)


def head_text(event_id: int, last: bytes) -> str:
    """Return a head value as text."""
    return str(Link(event_id, last))


def _id(user_id: int | None) -> int | None:
    return None if user_id is None else index(user_id)


def _values(event_id: int, item: Event, now: Instant) -> tuple[object, ...]:
    if item.kind not in KINDS:
        msg = f"unknown event kind {item.kind!r}"
        raise LookupError(msg)
    detail = json.dumps(dict(item.detail), separators=(",", ":"), sort_keys=True) if item.detail else ""
    return (
        event_id,
        index(now),
        item.kind,
        item.outcome,
        _id(item.actor.user_id),
        item.actor.label,
        _id(item.user_id),
        item.source.address,
        item.source.agent,
        item.source.request_id,
        item.session_id,
        detail,
    )
