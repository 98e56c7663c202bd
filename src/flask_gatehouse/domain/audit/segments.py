"""Sealed stretches: what was exported and deleted from the front of the chain, so that it can go on without it.

A segment's MAC covers its own row and all segments before it, MACs included. So the newest vouches for all, and they
count even when the secret that they were made with is gone. After such a rotation the newest is vouched for by an event
`audit.sealed`: it names the seal, a hash over all of it, and stands in the chain that the head's MAC covers.
"""

from __future__ import annotations

import hashlib
from dataclasses import astuple, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from sqlalchemy import func, insert, select

from flask_gatehouse.kernel.schema import event, segment

from .chain import GENESIS, START, Finding, Link

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from flask_gatehouse.kernel.clock import Instant
    from flask_gatehouse.kernel.keys import KeyRing

_LOCK = 7304002
"""PostgreSQL's advisory lock of whoever seals; `migrations` has the one before."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch that is no longer in the database.

    Attributes:
        first_id: its first row.
        last_id: its last row.
        hash: that row's hash.
        sealed_at: when it was deleted.
        mac: by the key ring, over the digest of this segment.
    """

    first_id: int
    last_id: int
    hash: bytes
    sealed_at: Instant
    mac: bytes

    @property
    def end(self) -> Link:
        """Where the chain goes on."""
        return Link(self.last_id, self.hash)

    def __str__(self) -> str:
        """Name it in a sentence."""
        return f"segment {self.first_id} to {self.last_id}"


def digest(before: bytes, first_id: int, end: Link, sealed_at: Instant) -> bytes:
    """Return what a segment's MAC covers.

    Args:
        before: the seal of the segment before, 32 bytes; `GENESIS` for the first.
        first_id: its first row.
        end: its last row.
        sealed_at: when it was deleted, in microseconds.
    """
    numbers = b"".join(number.to_bytes(8, "big") for number in (first_id, end.id, sealed_at))
    return hashlib.sha256(before + numbers + end.hash).digest()


def seal_of(covered: bytes, mac: bytes) -> bytes:
    """Return the seal of a segment: a hash over what its MAC covers, and the MAC."""
    return hashlib.sha256(covered + mac).digest()


class Sealed:
    """All segments of a chain, oldest first.

    Args:
        segments: as they stand in the table.
        keys: the key ring.

    Attributes:
        seal: that of the newest segment; `GENESIS` where there is none.
    """

    def __init__(self, segments: Sequence[Segment], keys: KeyRing) -> None:
        self.segments = tuple(segments)
        self._keys = keys
        self._digests: list[bytes] = []
        self.seal = GENESIS
        for one in self.segments:
            self._digests.append(digest(self.seal, one.first_id, one.end, one.sealed_at))
            self.seal = seal_of(self._digests[-1], one.mac)

    @classmethod
    def read(cls, connection: Connection, keys: KeyRing) -> Sealed | Finding:
        """Return the segments, or the first that cannot follow the one before."""
        columns = (segment.c.first_id, segment.c.last_id, segment.c.hash, segment.c.sealed_at, segment.c.mac)
        rows = [Segment(*row) for row in connection.execute(select(*columns).order_by(segment.c.last_id))]
        return _unreadable(rows) or _out_of_order(rows) or cls(rows, keys)

    @property
    def end(self) -> Link:
        """Where the rows in the database begin."""
        return self.segments[-1].end if self.segments else START

    def doubtful(self) -> Segment | None:
        """Return the first segment that neither its own MAC nor that of a later one vouches for."""
        for number in range(len(self.segments), 0, -1):
            if self._keys.verify("audit-segment", self._digests[number - 1], self.segments[number - 1].mac):
                return self.segments[number] if number < len(self.segments) else None
        return self.segments[0] if self.segments else None

    def knows(self, link: Link) -> bool | None:
        """Tell whether a link ends a segment; None: it lies inside of one, so only its file can tell."""
        if link.id > self.end.id or link == START:
            return True
        found = next((one for one in self.segments if one.last_id == link.id), None)
        return None if found is None else found.hash == link.hash


def _unreadable(found: Sequence[Segment]) -> Finding | None:
    """Find what SQLite stores where it should not: a text in place of a number, a number in place of bytes."""
    for one in found:
        types = [type(value) for value in astuple(one)]
        if types != [int, int, bytes, int, bytes] or min(one.first_id, one.sealed_at) < 0:
            return Finding(one.last_id, f"{one} holds a value that nobody sealed")
    return None


def _out_of_order(found: Sequence[Segment]) -> Finding | None:
    for before, after in pairwise([Segment(0, 0, GENESIS, 0, b""), *found]):
        expected = before.last_id + 1
        if after.first_id > expected:
            return Finding(expected, f"rows {expected} to {after.first_id - 1} are missing, and so is their segment")
        if after.first_id < expected or after.last_id < after.first_id:
            return Finding(after.last_id, f"{after} does not follow the one before it")
    return None


def lock(connection: Connection) -> None:
    """Let one seal at a time; SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))


def may_seal(connection: Connection) -> bool:
    """Tell whether the database lets us delete events and add segments: on PostgreSQL the owner's role may."""
    if connection.dialect.name != "postgresql":
        return True
    wanted = ((event.name, "DELETE"), (segment.name, "INSERT"))
    return all(connection.scalar(select(func.has_table_privilege(*pair))) for pair in wanted)


def may_rewrite(connection: Connection) -> bool:
    """Tell whether the database's role could change rows of the log (rule 29); on SQLite whoever has the file can."""
    if connection.dialect.name != "postgresql":
        return False
    rights = ("UPDATE", "DELETE", "TRUNCATE")
    return any(connection.scalar(select(func.has_table_privilege(event.name, right))) for right in rights)


def add(connection: Connection, sealed: Sealed, end: Link, now: Instant, keys: KeyRing) -> bytes:
    """Record the next segment and return its seal.

    Args:
        connection: in the transaction that deletes the rows.
        sealed: the segments so far.
        end: the last row of the new one.
        now: when.
        keys: the key ring.
    """
    first_id = sealed.end.id + 1
    covered = digest(sealed.seal, first_id, end, now)
    row = Segment(first_id, end.id, end.hash, now, keys.mac("audit-segment", covered))
    names = ("first_id", "last_id", "hash", "sealed_at", "mac")
    connection.execute(insert(segment).values(dict(zip(names, astuple(row), strict=True))))
    return seal_of(covered, row.mac)
