"""What was committed is told to the log: each event, and the chain's head on a schedule (rule 27, ASVS V16.4.3)."""

from __future__ import annotations

import json
import logging
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .chain import Link

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

EMIT_EVERY = 1000
EMIT_AFTER = 3_600_000_000
"""A head is told every so many rows, and with the first event of a process and of each hour (microseconds) in it."""
FIELDS = "gatehouse"
"""Where a log record carries what it says as fields: `record.gatehouse`."""

log = logging.getLogger("flask_gatehouse.audit")


class Stream:
    """Tells the log, for one process."""

    def __init__(self) -> None:
        self._head_due_at = 0

    def tell(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Log rows after their transaction has been committed, so that the log holds nothing that was undone.

        Args:
            rows: what `AuditLog.append` returned.
        """
        if not rows or not log.isEnabledFor(logging.INFO):
            return
        for row in rows:
            told = _Line(row, hash=row["hash"].hex())
            _say("audit event %s", told, {"event": told})
        self._tell_head(rows[-1], len(rows))

    def _tell_head(self, last: Mapping[str, Any], count: int) -> None:
        is_full = last["id"] // EMIT_EVERY != (last["id"] - count) // EMIT_EVERY
        is_early = self._head_due_at - EMIT_AFTER <= last["at"] < self._head_due_at  # else the clock was set back
        if is_early and not is_full:
            return
        self._head_due_at = last["at"] + EMIT_AFTER
        head = str(Link(last["id"], last["hash"]))
        _say("audit chain head %s", head, {"head": head})


def _say(text: str, told: object, fields: Mapping[str, object]) -> None:
    """Tell one line; a handler that fails is shown on standard error, as `logging` does for its own.

    What it is told of has been committed: whoever asked for it must not hear that it failed.
    """
    try:
        log.info(text, told, extra={FIELDS: fields})
    except Exception:  # noqa: BLE001 - handlers and filters are the app's: they may raise anything
        with suppress(Exception):
            traceback.print_exc()


class _Line(dict[str, Any]):
    """A row that shows itself as one line of ASCII, whatever people typed (ASVS V16.4.1)."""

    def __str__(self) -> str:
        return json.dumps(self, separators=(",", ":"))
