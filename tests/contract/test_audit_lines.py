"""What a row's hash covers is the same bytes whoever writes them: Python, SQLite, or a stranger with the manual."""

from __future__ import annotations

import hashlib
import json
import re

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from flask_gatehouse.domain.audit import rows
from flask_gatehouse.domain.audit.chain import Batch, line_of
from flask_gatehouse.kernel import schema

EVENT = schema.event
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
number = st.integers(-(2**63), 2**63 - 1)
row = st.tuples(
    st.just(1), number, text, text, st.none() | number, text, st.none() | number, text, text, text, text, text
)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@given(values=row)
def test_rule_27_sqlite_writes_the_line_that_python_writes(home, values):
    names = [column.name for column in EVENT.c]
    with home.services.database.engine.connect() as connection:
        connection.execute(sa.insert(EVENT).values(dict(zip(names, (*values, bytes(32)), strict=True))))
        (batch,) = rows.batches(connection)
        connection.rollback()
    assert batch == Batch.of([(*values, bytes(32))])
    assert batch.lines == [line_of(values)]


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
    with pytest.raises((TypeError, ValueError)):
        line_of(changed)
    assert Batch.of([[*changed, bytes(32)]]).lines == [None]


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
