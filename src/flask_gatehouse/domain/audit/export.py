"""Files that hold a stretch of the chain as JSON lines: how they are written, and how they are checked without us.

The first line says where the stretch starts and the hash before it, each line after it is a row with its hash, the last
one holds the head of the stretch, the count of rows and a MAC by the key ring over first and last line. Rows need no
MAC: the hashes lead from the first line to the last. The key is not the one of the chain's own head, else whoever reads
an export could put its last line there and cut off what came later.
"""

from __future__ import annotations

import json
import os
from binascii import hexlify, unhexlify
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkstemp
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from flask_gatehouse.kernel.clock import as_text
from flask_gatehouse.kernel.errors import FileUnusableError

from .chain import START, Batch, Finding, HeadError, Link, Walk, parse_link

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from flask_gatehouse.kernel.clock import Instant
    from flask_gatehouse.kernel.keys import KeyRing

FORMAT, VERSION = "gatehouse audit export", 1
RULE = "hash of a row: SHA-256 over the 32 bytes of the hash before and the row's line without its member hash"
CHUNK = 1 << 20
"""How many bytes of a file are read at once."""
_ID, _HASH, _END, _HEAD, _MAC = b'{"id":', b',"hash":"', b'"}\n', b'{"head":', b',"mac":"'
_NOTED = b',"kind":"audit.'
"""Stands in the line of an event about the log itself, and nowhere else: inside a text the quotes are escaped."""
_TAIL = len(_HASH) + 64 + len(_END)


class Stretch(NamedTuple):
    """Rows that follow each other.

    Attributes:
        before: the link before the first of them.
        last: the number of the last one.
    """

    before: Link
    last: int

    @property
    def first(self) -> int:
        """The number of the first row."""
        return self.before.id + 1

    @property
    def rows(self) -> int:
        """How many there are."""
        return self.last - self.before.id


@dataclass(frozen=True, slots=True)
class Checked:
    """Files that agree as one chain.

    Attributes:
        before: the link before their first row.
        end: their last row.
        has_mac: whether their MACs were checked too, not only the hashes.
        kept: links on the way, if some were asked for.
    """

    before: Link
    end: Link
    has_mac: bool
    kept: tuple[Link, ...] = ()

    @property
    def rows(self) -> int:
        """How many rows agree."""
        return self.end.id - self.before.id


# --- writing -----------------------------------------------------------------------------------------------


def pieces_of(stretch: Stretch, batches: Iterable[Batch], keys: KeyRing, now: Instant) -> Iterator[bytes]:
    """Yield a file piece by piece.

    Args:
        stretch: what is exported; somebody has verified it up to the chain's head.
        batches: its rows.
        keys: for the MAC.
        now: when it is made, in microseconds.

    Raises:
        RuntimeError: the rows are not those of the stretch.
    """
    about = {"file": FORMAT, "version": VERSION, "made_at": as_text(now), "first": stretch.first}
    first = _dumped({**about, "previous": stretch.before.hash.hex(), "rule": RULE}) + b"\n"
    yield first
    walk = Walk(stretch.before)
    for batch in batches:
        if finding := walk.take(batch):
            raise RuntimeError(finding.text)
        yield b"".join(
            b"%b%b%b%b" % (line[:-1], _HASH, hexlify(hash_), _END)
            for line, hash_ in zip(batch.lines, batch.hashes, strict=True)
            if line is not None  # the walk has seen to that
        )
    body = _dumped({"head": str(walk.last), "count": stretch.rows})[:-1]
    yield b"%b%b%b%b" % (body, _MAC, hexlify(keys.mac("audit-export", first + body)), _END)


def _dumped(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def write_whole(path: Path, pieces: Iterable[bytes]) -> None:
    """Make a file of mode 0600 that is whole and on the disk, or none.

    Raises:
        FileUnusableError: something of that name is there, even a link that leads nowhere, or the disk refuses.
    """
    try:
        descriptor, name = mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                for piece in pieces:
                    stream.write(piece)
                stream.flush()
                os.fsync(stream.fileno())
            os.link(name, path)  # the one way to name a file that replaces nothing
        finally:
            Path(name).unlink()
        _sync_folder(path.parent)
    except OSError as error:
        raise FileUnusableError(f"{path} cannot be written: {error.strerror}") from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- checking ----------------------------------------------------------------------------------------------


class _MalformedError(Exception):
    """A line is none of ours; the text says which."""


class _Reader:
    """One file, read once from its first line to its last.

    Raises:
        _MalformedError: it does not begin as an export does.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self._first = stream.readline(CHUNK)
        self._last = b""
        self._line = 1
        self.before = self._before()

    def _before(self) -> Link:
        try:
            told = json.loads(self._first)
            if told["file"] == FORMAT and told["version"] == VERSION and self._first.endswith(b"}\n"):
                before = parse_link(f"{told['first'] - 1}:{told['previous']}")
                if before.id or before == START:
                    return before
        except (ValueError, TypeError, KeyError):
            pass
        msg = f"the first line is none of an export of version {VERSION}"
        raise _MalformedError(msg)

    def batches(self) -> Iterator[Batch]:
        """Yield the rows; a line that is none ends them with an error, after those before it."""
        while lines := self.stream.readlines(CHUNK):
            if self._last:
                raise _MalformedError("something stands after the last line")
            if lines[-1].startswith(_HEAD):
                self._last = lines.pop()
            found = []
            for line in lines:
                self._line += 1
                if (row := _row(line)) is None:
                    break
                found.append(row)
            if found:
                ids, texts, hashes = map(list, zip(*found, strict=True))
                yield Batch(ids, texts, hashes, [text for text in texts if _NOTED in text])
            if len(found) < len(lines):
                raise _MalformedError(f"line {self._line} is no row")

    def ended(self, walk: Walk, keys: KeyRing | None) -> Finding | None:
        """Compare the last line with the rows, and its MAC where there are keys."""
        body, _, tail = self._last.rpartition(_MAC)
        try:
            told = json.loads(body + b"}") if tail.endswith(_END) else {}
            mac = unhexlify(tail.removesuffix(_END))
            head, count = parse_link(told["head"]), told["count"]
        except (ValueError, TypeError, KeyError, AttributeError):
            return Finding(walk.last.id + 1, "the last line is missing: the file was cut off")
        if head != walk.last or count != walk.last.id - self.before.id:
            return Finding(walk.last.id + 1, f"the last line names row {head.id}, the rows end at {walk.last.id}")
        if keys is not None and not keys.verify("audit-export", self._first + body, mac):
            text = "the first or last line was not written by this key ring"
            return Finding(0, f"{text}; where its secret was replaced since, the database vouches: --with-database")
        return None


def _row(line: bytes) -> tuple[int, bytes, bytes] | None:
    """Return number, line and hash of a row of a file."""
    if not (line.startswith(_ID) and line[-_TAIL:].startswith(_HASH) and line.endswith(_END)):
        return None
    try:
        hash_ = unhexlify(line[len(_HASH) - _TAIL : -len(_END)])
        return int(line[len(_ID) : line.index(b",")]), line[:-_TAIL] + b"}", hash_
    except ValueError:
        return None


def verify_files(
    paths: Sequence[Path],
    *,
    keys: KeyRing | None = None,
    head: str = "",
    progress: Callable[[int], None] | None = None,
    every: int = 0,
    is_vouched: bool = False,
) -> Checked | Finding:
    """Check files as one chain, in the order of their rows.

    Args:
        paths: the files, in any order.
        keys: the key ring, to check their MACs as well; None: the hashes alone.
        head: a head kept from before; the files must contain it, and it vouches for the rows up to it.
        progress: called with the number of bytes read so far.
        every: keep the links whose numbers are multiples of this.
        is_vouched: somebody has accepted every `audit.unsealed` in them.

    Returns:
        What agrees, or the first finding, whose text names the file.

    Raises:
        HeadError: the head given is none, or lies before the first row.
        OSError: a file cannot be read.
    """
    wanted = parse_link(head) if head else START
    walk: Walk | None = None
    before, read = START, 0
    for path in _in_order(paths):
        with path.open("rb") as stream:
            try:
                reader = _Reader(stream)
                if walk is None:
                    before = reader.before
                    walk = Walk(before, _reachable(wanted, before), every=every)
                tell = _teller(stream, read, progress)
                finding = _follows(reader, walk) or walk.over(reader.batches(), tell) or reader.ended(walk, keys)
            except _MalformedError as error:
                finding = Finding(walk.last.id + 1 if walk else 0, str(error))
        if finding is not None:
            return replace(finding, text=f"{path.name}: {finding.text}")
        read += path.stat().st_size
    if walk is None:
        raise ValueError("there is no file to verify")
    if not is_vouched and (finding := walk.ended()):
        return finding
    return Checked(before, walk.last, keys is not None, tuple(walk.kept))


def _in_order(paths: Sequence[Path]) -> Sequence[Path]:
    """Sort files by their first rows; a single one may be a pipe, which can be read only once."""
    return sorted(paths, key=_first_row) if len(paths) > 1 else paths


def _first_row(path: Path) -> int:
    with path.open("rb") as stream:
        try:
            return _Reader(stream).before.id
        except _MalformedError:
            return 0  # found when its turn comes


def _reachable(wanted: Link, before: Link) -> Link:
    if wanted != START and (wanted.id < before.id or (wanted.id == before.id and wanted != before)):
        msg = f"the head given ({wanted.id}) lies before the first row of the files ({before.id + 1})"
        raise HeadError(msg)
    return wanted


def _teller(stream: BinaryIO, read: int, progress: Callable[[int], None] | None) -> Callable[[int], None] | None:
    if progress is None or not stream.seekable():
        return None
    return lambda _rows: progress(read + stream.tell())


def _follows(reader: _Reader, walk: Walk) -> Finding | None:
    if reader.before == walk.last:
        return None
    expected, first = walk.last.id + 1, reader.before.id + 1
    if first > expected:
        return Finding(expected, f"it starts at row {first}: rows {expected} to {first - 1} are missing")
    if first < expected:
        return Finding(first, f"it starts at row {first}, which the file before it holds already")
    return Finding(first, f"row {first} does not follow the last one of the file before it")
