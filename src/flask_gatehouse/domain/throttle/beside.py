"""Attempts by e-mail address, counted towards what disables the password by whichever name; beside `counters`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, ColumnElement, bindparam, literal, update

from flask_gatehouse.kernel.schema import counter
from flask_gatehouse.kernel.statements import Statement
from flask_gatehouse.kernel.upsert import insert_for

from .rules import STREAK_LIFE

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from flask_gatehouse.kernel.clock import Instant

_NOTHING = {column.name: literal(0) for column in counter.c if column.default is not None}
_IS_COUNTED = (counter.c.key == bindparam("at_key"), counter.c.total > 0)
_UNCOUNT = Statement(update(counter).where(*_IS_COUNTED).values(total=counter.c.total - 1))


def count_beside(connection: Connection, key: str, now: Instant, *, is_kept: bool) -> int:
    """Count one attempt towards the number that disables an account, and to no delay; return that number.

    Args:
        connection: where to write.
        key: whose counter.
        now: the present instant.
        is_kept: as in `charge_account`.
    """
    purge_at = None if is_kept else now + STREAK_LIFE
    return int(_COUNT_BESIDE.rows(connection, {"b_key": key, "b_now": now, "b_purge_at": purge_at})[0][0])


def _counting_beside(dialect: str) -> Any:
    purge_at: ColumnElement[int] = bindparam("b_purge_at", type_=BigInteger)
    new = {"key": bindparam("b_key"), "total": literal(1), "ends_at": bindparam("b_now"), "purge_at": purge_at}
    statement = insert_for(dialect, counter).values({**_NOTHING, "count": literal(0), **new})
    grown = {"total": counter.c.total + 1, "purge_at": purge_at}
    return statement.on_conflict_do_update(index_elements=[counter.c.key], set_=grown).returning(counter.c.total)


_COUNT_BESIDE = Statement(_counting_beside)


def uncount(connection: Connection, key: str) -> None:
    """Undo one `count_beside`."""
    _UNCOUNT.write(connection, {"at_key": key})
