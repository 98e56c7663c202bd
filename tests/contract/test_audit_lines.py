"""What a row's hash covers is the same bytes whoever writes them: Python, SQLite, or a stranger with the manual."""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import closing
from itertools import chain

import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from flask_gatehouse.domain.audit import rows
from flask_gatehouse.domain.audit.chain import Batch, line_of
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.database import Database

EVENT = schema.event
NAMES = [column.name for column in EVENT.c]
number = st.integers(-(2**63), 2**63 - 1)


def rows_of(text):
    return st.tuples(
        st.just(1), number, text, text, st.none() | number, text, st.none() | number, text, text, text, text, text
    )


row = rows_of(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
#: PostgreSQL's texts hold no NUL, and columns of a length hold no more.
short_row = rows_of(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=16))


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@given(values=row)
def test_rule_27_sqlite_gives_the_line_that_python_writes(home, values):
    gives_the_line_of(home, values)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@given(values=short_row)
def test_rule_27_postgresql_gives_the_line_that_python_writes(home, values):
    gives_the_line_of(home, values)


def gives_the_line_of(home, values):
    with home.services.database.engine.connect() as connection:
        connection.execute(sa.insert(EVENT).values(dict(zip(NAMES, (*values, bytes(32)), strict=True))))
        (batch,) = rows.batches(connection)
        connection.rollback()
    assert batch == Batch.of([(*values, bytes(32))])
    assert batch.lines == [line_of(values)]


def stored(connection, count):
    """Write so many rows straight into the table, their numbers in a hash that is none, and return them."""
    made = [
        (number, 7, "logout", "ok", *[None, ""] * 2, *[""] * 4, number.to_bytes(32)) for number in range(1, count + 1)
    ]
    connection.execute(sa.insert(EVENT), [dict(zip(NAMES, one, strict=True)) for one in made])
    return made


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("library", ["new", "old"])
def test_rule_27_rows_are_streamed_whatever_library_the_driver_has(home, monkeypatch, library):
    monkeypatch.setattr(rows, "BATCH", 25)
    monkeypatch.setattr(rows, "CHUNK", 10)
    with home.services.database.engine.connect() as connection:
        if library == "old":
            capabilities = connection.dialect.loaded_dbapi.capabilities
            monkeypatch.setattr(capabilities, "has_stream_chunked", lambda: False)
        made = stored(connection, 60)
        found = list(rows.batches(connection, 2, 57))
        connection.rollback()
    assert [len(batch.ids) for batch in found] == [25, 25, 5]
    columns = zip(*found, strict=True)
    assert Batch(*(list(chain.from_iterable(column)) for column in columns)) == Batch.of(made[2:57])


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_rule_27_who_stops_in_the_middle_leaves_nothing_open(home, monkeypatch):
    """Not between batches, and not within one: the connection is free, and its transaction goes on."""
    monkeypatch.setattr(rows, "BATCH", 25)
    monkeypatch.setattr(rows, "CHUNK", 10)
    with home.services.database.engine.connect() as connection:
        made = stored(connection, 60)
        left = rows.batches(connection)
        next(left)
        assert connection.scalar(sa.select(sa.func.count()).select_from(EVENT)) == len(made)

        def interrupted(_):
            raise KeyboardInterrupt

        monkeypatch.setattr(Batch, "of", interrupted)
        with pytest.raises(KeyboardInterrupt) as kept:
            next(left)
        assert kept.tb is not None  # the traceback holds the frames: nothing was closed by being collected
        connection.rollback()
        assert connection.scalar(sa.select(sa.func.count()).select_from(EVENT)) == 0


@given(values=row)
def test_rule_27_a_line_is_json_that_says_each_value_once(values):
    line = line_of(values)
    told = json.loads(line)
    assert list(told) == [column.name for column in EVENT.c if column.name != "hash"]
    assert tuple(told.values()) == values
    assert line == json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()
    assert b"\n" not in line


@given(one=row, other=row)
def test_rule_27_two_rows_never_share_a_line(one, other):
    assert (line_of(one) == line_of(other)) == (one == other)


VALUES = [1, 2, "k", "ok", None, "a", None, "", "", "", "", ""]


@pytest.mark.parametrize("place", range(len(VALUES)))
@pytest.mark.parametrize("wrong", [b"2", "2", 1.0, 1], ids=repr)
def test_rule_27_a_number_is_a_number_and_a_text_a_text(place, wrong):
    is_number = place in {0, 1, 4, 6}
    changed = [*VALUES[:place], wrong, *VALUES[place + 1 :]]
    if isinstance(wrong, int if is_number else str):
        assert json.loads(line_of(changed))
        return
    (line,) = Batch.of([[*changed, bytes(32)]]).lines
    if is_number:
        assert line != line_of([*VALUES[:place], int(wrong), *VALUES[place + 1 :]])
    else:
        assert line is None


def test_rule_27_a_stranger_who_reads_the_manual_gets_the_same_hashes(home):
    """Written after `docs/reference/events.md`, with nothing of ours."""
    for count in range(5):
        home.record(detail={"näme": '\x1b\u2028\U0001f9d9"\\\n', "number": count})
    with home.services.database.snapshot() as connection:
        audit = home.services.audit
        file = b"".join(audit.pieces(connection, audit.stretch(connection), home.clock.now()))
    first, *lines, last = file.decode().splitlines()
    before = bytes.fromhex(json.loads(first)["previous"])
    for line in lines:
        found = re.fullmatch(r'(.*),"hash":"([0-9a-f]{64})"}', line)
        assert found is not None
        before = hashlib.sha256(before + found[1].encode() + b"}").digest()
        assert before.hex() == found[2]
    assert json.loads(last)["head"] == f"5:{before.hex()}"


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_rule_27_a_hosts_own_kind_of_cursor_does_not_keep_the_chain_from_being_read(home, database_url):
    home.record()
    database = Database(sa.create_engine(database_url, connect_args={"cursor_factory": psycopg.ClientCursor}))
    with closing(database), database.snapshot() as connection:
        assert home.services.audit.verify(connection) == 1


def test_rule_27_a_kind_that_cannot_be_one_agrees_with_nothing():
    row = [*VALUES, bytes(32)]
    row[2] = ["audit.sealed"]
    assert Batch.of([row]).lines == [None]


class Numbered(int):
    def __repr__(self):
        return "another"


@pytest.mark.parametrize("wrong", ["7", 7.0, b"7"], ids=repr)
def test_rule_27_an_id_that_is_no_whole_number_is_never_hashed(home, wrong):
    with pytest.raises(TypeError):
        home.record(user_id=wrong)
    home.record(user_id=Numbered(7))
    assert home.verified() == 1
