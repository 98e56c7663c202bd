"""Verifying the chain as it stands in the database: all of it, or its newest part up to the head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from flask_gatehouse.kernel.schema import chain_head, event

from .chain import GENESIS, START, Finding, HeadError, Link, Walk, parse_link
from .rows import batches
from .segments import Sealed

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from flask_gatehouse.kernel.keys import KeyRing


@dataclass(frozen=True, slots=True)
class Verified:
    """A chain that agrees, or the newest part of one.

    Attributes:
        before: what the first row that was checked follows.
        end: the last row, which the head names.
        is_whole: whether the check began where the newest segment ends, and segments were checked too.
    """

    before: Link
    end: Link
    is_whole: bool

    @property
    def rows(self) -> int:
        """How many rows agree."""
        return self.end.id - self.before.id


def is_sealed(keys: KeyRing, head: Link, mac: Any) -> bool:
    """Tell whether the key ring wrote a head: an empty one needs no MAC."""
    if not head.id:
        return head.hash == GENESIS
    return isinstance(mac, bytes) and keys.verify("audit-head", head_bytes(head), mac)


def head_bytes(head: Link) -> bytes:
    """Return what a head's MAC covers."""
    return head.id.to_bytes(8, "big") + head.hash


def verify(
    connection: Connection,
    keys: KeyRing,
    head: str = "",
    *,
    most: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Verified | Finding:
    """Walk the chain from where the newest segment ends, or its newest rows, and compare it with its head.

    Args:
        connection: where to read; a snapshot, when others write meanwhile.
        keys: the key ring.
        head: a head value emitted before; the chain must contain it, and it vouches for the rows up to it.
        most: walk no more than the newest so many rows; the hash of the row before them is taken as it stands.
        progress: called with the number of rows checked so far.

    Raises:
        HeadError: the head given is none, or lies inside a segment, so that only its file can tell.
    """
    wanted = parse_link(head) if head else START
    stored = connection.execute(select(chain_head.c.event_id, chain_head.c.hash, chain_head.c.mac)).one_or_none()
    sealed = Sealed.read(connection, keys)
    if isinstance(sealed, Finding):
        return sealed
    if not (is_known := sealed.knows(wanted)):
        if is_known is None:
            msg = f"row {wanted.id} of this head was sealed: verify the exported file that holds it"
            raise HeadError(msg)
        return _not_given(wanted)
    start = _start(connection, sealed.end, wanted, most)
    if isinstance(start, Finding):
        return start
    is_whole = start == sealed.end
    walk = Walk(start, wanted)
    rows = batches(connection, None if is_whole else start.id)
    finding = walk.over(rows, progress) or _unmet(connection, walk, None if is_whole else start)
    finding = finding or walk.ended() or _verify_head(keys, stored, walk.last)
    if is_whole:
        finding = _verify_segments(sealed, walk) or finding
    return finding or Verified(start, walk.last, is_whole)


def _not_given(wanted: Link) -> Finding:
    return Finding(wanted.id, f"row {wanted.id} is not the one of the head given")


def _start(connection: Connection, end: Link, wanted: Link, most: int | None) -> Link | Finding:
    """Return what the first row to walk follows: the newest segment, or a row whose hash is taken as it stands."""
    if most is None:
        return end
    number = (connection.scalar(select(func.max(event.c.id))) or 0) - most
    if number <= end.id:
        return end
    ids = {number, wanted.id} if end.id < wanted.id < number else {number}
    rows = connection.execute(select(event.c.id, event.c.hash).where(event.c.id.in_(ids)))
    found: dict[int, Any] = {row.id: row.hash for row in rows}
    for one in sorted(ids):
        if one not in found:
            return Finding(one, f"row {one} is missing")
        if not isinstance(found[one], bytes) or len(found[one]) != len(GENESIS):
            return Finding(one, f"row {one} has no hash")
        if one == wanted.id and found[one] != wanted.hash:
            return _not_given(wanted)
    return Link(number, found[number])


def _unmet(connection: Connection, walk: Walk, start: Link | None) -> Finding | None:
    """Find rows that no walk meets: a table that lost its primary key holds a number twice, or a row without one."""
    walked = [] if start is None else [event.c.id > start.id]
    if connection.scalar(select(func.count()).select_from(event).where(*walked)) == walk.rows:
        return None
    twice = select(event.c.id).where(*walked).group_by(event.c.id).having(func.count() > 1).order_by(event.c.id)
    number = connection.scalars(twice.limit(1)).first()
    return Finding(number or 0, f"row {number} is there more than once" if number else "a row has no number")


def _verify_head(keys: KeyRing, stored: Any, last: Link) -> Finding | None:
    if stored is None:
        return Finding(0, "the head is missing") if last.id else None
    if Link(stored.event_id, stored.hash) != last:
        return Finding(0, f"the head names row {stored.event_id}, the chain ends at {last.id}")
    if not is_sealed(keys, last, stored.mac):
        return Finding(0, "the head was not written by this key ring")
    return None


def _verify_segments(sealed: Sealed, walk: Walk) -> Finding | None:
    """Judge the segments last: where no MAC vouches for them, an event of a chain whose head is genuine may."""
    doubtful = sealed.doubtful()
    if doubtful is None or sealed.seal.hex() in walk.sealed:
        return None
    return Finding(doubtful.last_id, f"{doubtful} was not written by this key ring")
