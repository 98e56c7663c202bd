"""The audit log leaves the database: a stretch goes into a file; what a file holds may be deleted from the front."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from flask_gatehouse.domain.audit import Checked, Event, Finding, Stretch, parse_link, verify_files, write_whole

from .outcomes import Refusal, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from sqlalchemy import Connection

    from flask_gatehouse.domain.audit import Link
    from flask_gatehouse.kernel.clock import Instant
    from flask_gatehouse.kernel.identity import Actor

    from .services import Services

    Bars = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
    """Shows how far a piece of work is: `bars("Writing", steps)` is entered, then called with the steps done."""

SEAL_BATCH = 10_000
"""Rows deleted in one transaction, each batch a segment of its own: whoever writes waits for a batch, not for all."""

NO_ROWS = "there are no events in this stretch"
NOT_OWNER = (
    "sealing deletes events, which the app's database role may not: run it as the owner of the tables, "
    "with the owner's GATEHOUSE_DATABASE_URL"
)


@dataclass(frozen=True, slots=True)
class Span:
    """Which rows, and what vouches for them.

    Attributes:
        since: from this instant on, in microseconds; None: from the oldest row.
        until: up to before this instant; None: to the newest row.
        head: a head kept from before, for a log with an `audit.unsealed` that somebody can explain.
    """

    since: Instant | None = None
    until: Instant | None = None
    head: str = ""


@dataclass(frozen=True, slots=True)
class Order:
    """An order to delete.

    Attributes:
        actor: who gives it; recorded.
        reason: why; recorded.
    """

    actor: Actor
    reason: str


def export(
    services: Services, span: Span, save: Callable[[Iterator[bytes]], None], bars: Bars
) -> Stretch | Finding | Refused:
    """Write a stretch of the log, after verifying all of it: the MAC of the last line must not bless a forgery.

    Args:
        services: what flows work with.
        span: which rows.
        save: takes the file piece by piece.
        bars: shows how far it is.

    Returns:
        What was written; or what is wrong with the chain, or that there is nothing, and then nothing was saved.

    Raises:
        HeadError: the head given is none.
        FileUnusableError: the file cannot be made.
    """
    with services.database.snapshot() as connection:
        if finding := _verify(services, connection, span.head, bars):
            return finding
        stretch = services.audit.stretch(connection, span.since, span.until)
        if stretch is None:
            return Refused(Refusal.NOT_FOUND, text=NO_ROWS)
        with bars("Writing", stretch.rows) as bar:
            save(services.audit.pieces(connection, stretch, services.clock.now(), bar))
    return stretch


def _verify(services: Services, connection: Connection, head: str, bars: Bars) -> Finding | None:
    with bars("Verifying", services.audit.length(connection)) as bar:
        found = services.audit.verify(connection, head=head, progress=bar)
    return found if isinstance(found, Finding) else None


def seal(
    services: Services, order: Order, path: Path, span: Span, bars: Bars
) -> tuple[Checked, int] | Finding | Refused:
    """Export the rows up to an instant, verify what was written, and delete them.

    Where the file is there already, because an earlier run was ended, deleting goes on with what it holds.

    Args:
        services: over a database role that may delete events.
        order: who deletes, and why.
        path: the file.
        span: up to when; `since` does not count.
        bars: shows how far it is.

    Returns:
        What the file holds and how many rows were deleted now; or what does not agree, or why it cannot be.

    Raises:
        HeadError: the head given is none.
        FileUnusableError: the file cannot be made.
        OSError: it cannot be read.
    """
    if span.until is None or span.until > services.clock.now():
        return Refused(Refusal.FIELD, field="until", text="what is deleted lies in the past")
    with services.reading() as connection:
        if not services.audit.may_seal(connection):
            return Refused(Refusal.FORBIDDEN, text=NOT_OWNER)
    if not path.exists():
        written = export(services, Span(None, span.until, span.head), partial(write_whole, path), bars)
        if not isinstance(written, Stretch):
            return written
    checked = _checked(services, path, bars)
    if isinstance(checked, Finding):
        return checked
    begin = _begin(services, checked, span, bars)
    return begin if isinstance(begin, Finding | Refused) else _delete(services, order, path, checked, begin, bars)


def _checked(services: Services, path: Path, bars: Bars) -> Checked | Finding:
    """Read the file again as a stranger with the secret would; heads were judged with the whole chain."""
    with bars("Checking", path.stat().st_size) as bar:
        return verify_files([path], keys=services.keys, progress=bar, every=SEAL_BATCH, is_vouched=True)


def _begin(services: Services, checked: Checked, span: Span, bars: Bars) -> int | Finding | Refused:
    """Return the last row that is gone already, once it is sure that the file may stand for what is to go."""
    with services.database.snapshot() as connection:
        if finding := _verify(services, connection, span.head, bars):
            return finding
        sealed = services.audit.sealed(connection)
        if isinstance(sealed, Finding):
            return sealed
        allowed = services.audit.stretch(connection, None, span.until)
    if checked.before.id > sealed.end.id:
        text = f"the file begins with row {checked.before.id + 1}, the log with {sealed.end.id + 1}: name another file"
        return Refused(Refusal.FIELD, field="file", text=text)
    if checked.end.id > (allowed.last if allowed else sealed.end.id):
        return Refused(Refusal.FIELD, field="file", text="it is there already and holds rows that are not so old")
    return sealed.end.id


def _delete(
    services: Services, order: Order, path: Path, checked: Checked, begin: int, bars: Bars
) -> tuple[Checked, int] | Finding:
    ends = [link for link in dict.fromkeys((*checked.kept, checked.end)) if link.id > begin]
    with bars("Deleting", checked.end.id - begin) as bar:
        for end in ends:
            if finding := _delete_batch(services, order, path.name, end):
                return finding
            bar(end.id - begin)
    return checked, max(checked.end.id - begin, 0)


def _delete_batch(services: Services, order: Order, name: str, end: Link) -> Finding | None:
    with services.unit() as unit:
        detail = services.audit.seal(unit.connection, end, unit.now)
        if isinstance(detail, Finding):
            return detail
        if detail is not None:
            told = {**detail, "file": name, "reason": order.reason}
            unit.record(Event("audit.sealed", order.actor, detail=told))
    return None


def verify_with_files(
    services: Services, connection: Connection, paths: Sequence[Path], head: str, bars: Bars
) -> int | Finding:
    """Verify files and the database as one chain.

    The MACs of the files do not count, as they fade with the secret that made them: the chain of the database, from its
    segments to its head, vouches for the last row of the files, and that for every row before.

    Args:
        services: what flows work with.
        connection: a snapshot.
        paths: exported files that follow each other, in any order.
        head: a head kept from before, in the files or in the database; it vouches for the rows up to it.
        bars: shows how far it is.

    Returns:
        How many rows agree, from the first of the files to the newest of the database; or the first finding.

    Raises:
        HeadError: the head given is none.
        OSError: a file cannot be read.
    """
    wanted = parse_link(head) if head else None
    sealed = services.audit.sealed(connection)
    if isinstance(sealed, Finding):
        return sealed
    is_in_files = wanted is not None and wanted.id <= sealed.end.id
    with bars("Verifying files", sum(path.stat().st_size for path in paths)) as bar:
        checked = verify_files(
            paths,
            head=head if is_in_files else "",
            progress=bar,
            is_vouched=wanted is not None and not is_in_files,
        )
    if isinstance(checked, Finding):
        return checked
    finding = _verify(services, connection, "" if is_in_files else head, bars)
    newest = parse_link(services.audit.head(connection)).id
    return finding or services.audit.joint(connection, checked.end) or newest - checked.before.id
