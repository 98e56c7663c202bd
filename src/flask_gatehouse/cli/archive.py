"""`gatehouse audit export`: a stretch of the log as a file, and what a file holds may leave the database."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from flask_gatehouse.domain.audit import Finding, HeadError, parse_link, write_whole
from flask_gatehouse.flows import archive
from flask_gatehouse.flows.archive import Order, Span
from flask_gatehouse.kernel.errors import FileUnusableError
from flask_gatehouse.kernel.identity import CLI

from .app import accepted, with_services
from .options import json_option, reason_option, reason_or_ask, text, time
from .output import SlowBar, print_json, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask_gatehouse.flows.outcomes import Refused
    from flask_gatehouse.flows.services import Services

T = TypeVar("T")
TARGET = click.Path(dir_okay=False, allow_dash=True, path_type=Path)


@click.command("export")
@click.argument("file", type=TARGET)
@click.option("--since", type=time, metavar="TIME", help="Begin with the first event at this time or later (ISO 8601).")
@click.option("--until", type=time, metavar="TIME", help="End before the first event at this time or later.")
@click.option("--delete", "is_final", is_flag=True, help="Delete what was written; needs --until.")
@click.option("--head", type=text, default="", metavar="VALUE", help="As for `verify`: a head that you vouch for.")
@reason_option
@json_option
@with_services
def export(services: Services, /, file: Path, *, reason: str, is_final: bool, as_json: bool, **which: Any) -> None:
    """Write the log, or a stretch of it, to FILE (-: standard output) so that anybody can verify it offline.

    It holds every event of the stretch: a chain with gaps proves nothing, so there is no choice of user or kind. For
    that, see `audit list --json`. The file is new, readable by its owner only, and whole or not there.

    With --delete, the oldest events up to --until leave the database once the file is verified and on the disk. A run
    that was ended goes on where it stopped when it is given the same file. On PostgreSQL it needs the role of the
    tables' owner.
    """
    span = Span(**which)
    try:
        if span.head:
            parse_link(span.head)
        if is_final:
            _export_and_delete(services, file, span, reason, as_json=as_json)
        else:
            _export(services, file, span, as_json=as_json)
    except HeadError as error:
        raise click.BadParameter(str(error), param_hint="--head") from error


def _export(services: Services, file: Path, span: Span, *, as_json: bool) -> None:
    is_pipe = str(file) == "-"
    if is_pipe and as_json:
        raise click.UsageError("--json tells about a file; - is the file itself")
    if not is_pipe and (file.exists() or file.is_symlink()):
        raise click.BadParameter(f"{file} is there already: name another file", param_hint="FILE")
    found = archive.export(services, span, _print if is_pipe else partial(write_whole, file), SlowBar)
    stretch = _agreed(found)
    if is_pipe:
        return
    if as_json:
        print_json({"file": str(file), "first": stretch.first, "last": stretch.last, "rows": stretch.rows})
    else:
        say(f"{file}: {stretch.rows} rows, from {stretch.first} to {stretch.last}.")


def _print(pieces: Iterator[bytes]) -> None:
    try:
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise FileUnusableError(f"standard output cannot be written: {error.strerror}") from error


def _agreed(found: T | Finding | Refused) -> T:
    """Return what was asked for; a refusal and a finding end the command with 1."""
    if isinstance(found, Finding):
        raise click.ClickException(f"nothing was done: the chain does not agree: {found.text}")
    return accepted(found)


def _export_and_delete(services: Services, file: Path, span: Span, reason: str, *, as_json: bool) -> None:
    if span.until is None or span.since is not None or str(file) == "-":
        raise click.UsageError("--delete takes the oldest events up to --until, into a file: no --since, no -")
    checked, deleted = _agreed(archive.seal(services, Order(CLI, reason_or_ask(reason)), file, span, SlowBar))
    if as_json:
        facts = {"file": str(file), "first": checked.before.id + 1, "last": checked.end.id, "rows": checked.rows}
        print_json({**facts, "deleted": deleted, "head": str(checked.end)})
        return
    say(f"{file}: {checked.rows} rows, from {checked.before.id + 1} to {checked.end.id}.")
    say(f"{deleted} rows were deleted. Keep the file: it is the only copy.")
    say(f"Head: {checked.end}")
