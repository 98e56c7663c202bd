"""The hash chain: how a row becomes a line, how lines are linked, and where a walk stops agreeing. Pure.

A row's *line* is one JSON object in UTF-8: its values in the order of the table, without blanks, texts as RFC 8785
writes them. The hash of a row is SHA-256 over the previous row's hash and that line. An export holds the same lines, so
a file can be checked without knowing how a row is written.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from json.encoder import encode_basestring as quoted
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

GENESIS = bytes(32)
UNSEALED, SEALED = "audit.unsealed", "audit.sealed"
_HEAD = re.compile(r"([0-9]{1,18}):([0-9a-fA-F]{64})")
NOTED = frozenset({UNSEALED, SEALED})
"""Events about the chain itself, which a walk looks at more closely."""


class HeadError(ValueError):
    """The head that was given is none, or nothing here can be compared with it; the text says which."""


class Link(NamedTuple):
    """A place in the chain.

    Attributes:
        id: the row's number; 0: before the first.
        hash: the row's hash.
    """

    id: int
    hash: bytes

    def __str__(self) -> str:
        """Return it as `number:hash`, the form that heads are kept in."""
        return f"{self.id}:{self.hash.hex()}"


START = Link(0, GENESIS)


def parse_link(text: str) -> Link:
    """Return the link that `number:hash` names.

    Raises:
        HeadError: it names none.
    """
    parts = _HEAD.fullmatch(text)
    if parts is None:
        msg = "a head looks like 1234:… (number, colon, 64 hex digits)"
        raise HeadError(msg)
    return Link(int(parts[1]), bytes.fromhex(parts[2]))


@dataclass(frozen=True, slots=True)
class Finding:
    """Where verification stopped agreeing.

    Attributes:
        event_id: the first row that does not fit; 0: the head itself.
        text: in words.
    """

    event_id: int
    text: str


def line_of(row: Sequence[Any]) -> bytes:
    """Return the line of a row: its values in the order of the table, the hash left out.

    Args:
        row: twelve values, and a thirteenth that does not count. Numbers are numbers: where the database does not
            see to that, `rows` does. Another thing in their place gives what is no line of any row.

    Raises:
        TypeError: a text is none.
        ValueError: a text has no UTF-8.
    """
    number, at, kind, outcome, actor_id, actor, user_id, address, agent, request_id, session_id, detail = row[:12]
    return (
        f'{{"id":{number!r},"at":{at!r},"kind":{quoted(kind)},"outcome":{quoted(outcome)},'
        f'"actor_id":{"null" if actor_id is None else repr(actor_id)},"actor":{quoted(actor)},'
        f'"user_id":{"null" if user_id is None else repr(user_id)},"address":{quoted(address)},'
        f'"agent":{quoted(agent)},"request_id":{quoted(request_id)},"session_id":{quoted(session_id)},'
        f'"detail":{quoted(detail)}}}'
    ).encode()


def link_hash(previous: bytes, line: bytes) -> bytes:
    """Return the hash of a row.

    Args:
        previous: the hash of the row before, 32 bytes; `GENESIS` before the first.
        line: the row's line.
    """
    return hashlib.sha256(previous + line).digest()


class Batch(NamedTuple):
    """Rows that follow each other, column by column, as they were found: nothing about them is known yet.

    Attributes:
        ids: their numbers.
        lines: their lines; None: a text was none, or has no UTF-8.
        hashes: their hashes.
        noted: the lines of those whose kind is in `NOTED`.
    """

    ids: list[Any]
    lines: list[bytes | None]
    hashes: list[Any]
    noted: list[bytes]

    @classmethod
    def of(cls, rows: Sequence[Sequence[Any]]) -> Batch:
        """Return rows of the table, thirteen values each, as a batch."""
        lines: list[bytes | None]
        try:
            lines = [line_of(row) for row in rows]  # one `try` for all, and where it fails one for each
        except (TypeError, ValueError):
            lines = [_line_or_none(row) for row in rows]
        noted = [line for row, line in zip(rows, lines, strict=True) if line and row[2] in NOTED]
        return cls([row[0] for row in rows], lines, [row[12] for row in rows], noted)


def _line_or_none(row: Sequence[Any]) -> bytes | None:
    try:
        return line_of(row)
    except (TypeError, ValueError):
        return None


class Walk:
    """A walk along the chain.

    Args:
        start: the link before the first row.
        wanted: a link that the walk must pass, kept from before; it vouches for what comes up to it.
        every: keep the links whose numbers are multiples of this; 0: none.

    Attributes:
        last: the link reached so far.
        rows: how many rows agreed.
        unsealed: the first `audit.unsealed` that nothing vouches for; 0: none.
        sealed: the seals of segments that events of the chain name, as hex.
        kept: see `every`.
    """

    def __init__(self, start: Link = START, wanted: Link | None = None, *, every: int = 0) -> None:
        self.last = start
        self.rows = 0
        self.unsealed = 0
        self.sealed: set[str] = set()
        self.kept: list[Link] = []
        self._wanted = wanted or START
        self._every = every

    def over(self, batches: Iterable[Batch], progress: Callable[[int], None] | None = None) -> Finding | None:
        """Take batches until one does not agree.

        Args:
            batches: rows in the order of their numbers.
            progress: called with the number of rows that agreed so far.
        """
        for batch in batches:
            if finding := self.take(batch):
                return finding
            if progress:
                progress(self.rows)
        return None

    def take(self, batch: Batch) -> Finding | None:
        """Go on over the rows of a batch, or say which one does not agree."""
        if not batch.ids:
            return None
        first = self.last.id + 1
        if not self._agrees(batch):
            return self._first_wrong(batch)
        self._note(batch.noted)
        self.last = Link(first + len(batch.ids) - 1, batch.hashes[-1])
        self.rows += len(batch.ids)
        if self._every:
            multiples = range(first + -first % self._every, self.last.id + 1, self._every)
            self.kept += [Link(number, batch.hashes[number - first]) for number in multiples]
        wanted = self._wanted
        if first <= wanted.id <= self.last.id and batch.hashes[wanted.id - first] != wanted.hash:
            return Finding(wanted.id, f"row {wanted.id} is not the one of the head given")
        return None

    def _agrees(self, batch: Batch) -> bool:
        """Tell whether the batch goes on from here; each row is checked against the hash stored in the one before."""
        first = self.last.id + 1
        if batch.ids != list(range(first, first + len(batch.ids))):
            return False
        sha256 = hashlib.sha256
        before = [self.last.hash, *batch.hashes[:-1]]
        try:
            return [sha256(a + b).digest() for a, b in zip(before, batch.lines, strict=True)] == batch.hashes
        except TypeError:  # a hash or line of the wrong type
            return False

    def _first_wrong(self, batch: Batch) -> Finding:
        expected, previous = self.last
        for number, line, stored in zip(batch.ids, batch.lines, batch.hashes, strict=True):
            expected += 1
            if number != expected:
                return _misplaced(number, expected)
            previous = GENESIS if line is None else link_hash(previous, line)
            if line is None or previous != stored:
                break
        return Finding(expected, f"row {expected} or one before it was changed")

    def _note(self, lines: Iterable[bytes]) -> None:
        """Look closer at events about the log itself."""
        for line in lines:
            row = _object(line)
            kind, number = row.get("kind"), row.get("id")
            if kind == UNSEALED and isinstance(number, int) and number > self._wanted.id and not self.unsealed:
                self.unsealed = number
            elif kind == SEALED and isinstance(seal := _object(row.get("detail")).get("seal"), str):
                self.sealed.add(seal)

    def ended(self) -> Finding | None:
        """Return what is wrong with a walk that came to its end: too short for the head given, or unsealed."""
        if self.last.id < self._wanted.id:
            text = f"the chain ends at {self.last.id}, before the head given ({self._wanted.id})"
            return Finding(self.last.id + 1, text)
        if self.unsealed:
            known = f"where you know why, go on with --head {self.last}"
            text = f"row {self.unsealed}: the head before it bore no MAC of this key ring; {known}"
            return Finding(self.unsealed, text)
        return None


def _object(text: Any) -> dict[str, Any]:
    """Return a JSON object, or an empty one: whoever has no key can write a row that is none, and hash it."""
    try:
        found = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _misplaced(number: Any, expected: int) -> Finding:
    if isinstance(number, int) and number < expected:
        return Finding(number, f"row {number} stands where there is none: it was sealed, or never was")
    return Finding(expected, f"row {expected} is missing")
