"""Verifying the newest rows alone: bounded, exact about what it covers, and as strict there as a whole verification."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from flask_gatehouse.domain import audit
from flask_gatehouse.domain.audit import Event, Finding, Verified
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.identity import APP
from tests.support.statements import sent_to

EVENT, HEAD = schema.event, schema.chain_head
ROWS = 30


@pytest.fixture
def chain(home):
    """Return a house with thirty events."""
    for number in range(ROWS):
        home.record(user_id=number)
    return home


def newest(home, most=10, head=""):
    with home.services.database.snapshot() as connection:
        return home.services.audit.verify_newest(connection, most, head=head)


def head_of(home):
    with home.services.reading() as connection:
        return home.services.audit.head(connection)


def edit(home, number):
    home.change(sa.update(EVENT).where(EVENT.c.id == number).values(kind="user.created"))


def test_rule_27_a_short_chain_is_verified_whole(chain):
    found = newest(chain, ROWS)
    assert isinstance(found, Verified)
    assert (found.rows, found.before.id, found.is_whole) == (ROWS, 0, True)
    assert str(found.end) == head_of(chain)
    assert chain.verified() == ROWS


def test_rule_27_of_a_long_one_only_the_newest_rows_are_read(chain):
    with sent_to(chain.services.database) as sent:
        found = newest(chain)
    assert isinstance(found, Verified)
    assert (found.rows, found.before.id, found.is_whole) == (10, ROWS - 10, False)
    assert str(found.end) == head_of(chain)
    assert len(sent) <= 8
    about = [(text, values) for text, values in sent if "gatehouse_event" in text]
    assert all(ROWS - 9 in values for text, values in about if "BETWEEN" in text)  # the first of the ten
    bounded = ("id >", "max(", "id IN", "id BETWEEN")
    assert [text for text, _ in about if not any(word in text for word in bounded)] == []


def test_rule_27_v16_4_2_an_edit_among_them_is_found_and_one_before_is_not_claimed_to_be(chain):
    edit(chain, ROWS - 10)
    found = newest(chain)
    assert isinstance(found, Verified)
    assert not found.is_whole
    edit(chain, ROWS - 9)
    assert newest(chain) == Finding(ROWS - 9, f"row {ROWS - 9} or one before it was changed")
    assert newest(chain, ROWS) == Finding(ROWS - 10, f"row {ROWS - 10} or one before it was changed")


def test_rule_27_the_head_must_bear_our_mac_and_name_the_last_row(chain):
    chain.change(sa.update(HEAD).values(mac=bytes(32)))
    assert newest(chain) == Finding(0, "the head was not written by this key ring")
    chain.change(sa.delete(EVENT).where(EVENT.c.id == ROWS))
    assert newest(chain) == Finding(0, f"the head names row {ROWS}, the chain ends at {ROWS - 1}")
    chain.change(sa.delete(HEAD))
    assert newest(chain) == Finding(0, "the head is missing")


@pytest.mark.parametrize("number", [ROWS - 10, ROWS - 5])
def test_rule_27_a_missing_row_is_named(chain, number):
    chain.change(sa.delete(EVENT).where(EVENT.c.id == number))
    assert newest(chain) == Finding(number, f"row {number} is missing")


def test_rule_27_a_row_without_a_hash_is_named(chain):
    chain.change(sa.update(EVENT).where(EVENT.c.id == ROWS - 10).values(hash=b"short"))
    assert newest(chain) == Finding(ROWS - 10, f"row {ROWS - 10} has no hash")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_rule_27_a_hash_that_sqlite_holds_as_text_is_no_hash(chain):
    chain.change(sa.text("UPDATE gatehouse_event SET hash = 'x' WHERE id = 20"))
    assert newest(chain) == Finding(ROWS - 10, f"row {ROWS - 10} has no hash")


@pytest.mark.parametrize("number", [5, ROWS - 10, ROWS - 5, ROWS])
def test_rule_27_a_head_kept_from_before_is_compared_wherever_it_lies(chain, number):
    (row,) = chain.rows(sa.select(EVENT.c.hash).where(EVENT.c.id == number))
    assert isinstance(newest(chain, head=f"{number}:{row.hash.hex()}"), Verified)
    assert newest(chain, head=f"{number}:{'0' * 64}") == Finding(
        number, f"row {number} is not the one of the head given"
    )


def test_rule_27_v16_4_2_a_tail_that_was_cut_is_found_against_a_head_kept_outside(chain):
    (before,) = chain.rows(sa.select(HEAD))
    chain.record()
    kept = head_of(chain)
    chain.change(sa.delete(EVENT).where(EVENT.c.id > ROWS))
    chain.change(sa.update(HEAD).values(**before._mapping))
    assert isinstance(newest(chain), Verified)
    found = newest(chain, head=kept)
    assert isinstance(found, Finding)
    assert "the chain ends at 30, before the head given (31)" in found.text


@pytest.mark.parametrize("head", ["x", "1:zz", "1:" + "a" * 63, "\u0661:" + "a" * 64, "9" * 19 + ":" + "a" * 64])
def test_a_head_that_is_none_is_a_value_error(chain, head):
    with pytest.raises(ValueError, match="a head looks like"):
        newest(chain, head=head)


def test_rule_27_what_was_sealed_is_no_part_of_the_whole(chain):
    with chain.services.database.unit() as connection:
        chain.services.audit.seal(connection, audit.parse_link(link_of(chain, 25)), chain.clock.now())
    found = newest(chain)
    assert isinstance(found, Verified)
    assert (found.rows, found.is_whole) == (5, True)
    with pytest.raises(ValueError, match="was sealed"):
        newest(chain, head=f"20:{'0' * 64}")
    chain.change(sa.update(schema.segment).values(mac=bytes(32)))
    assert newest(chain) == Finding(25, "segment 1 to 25 was not written by this key ring")


def link_of(home, number):
    (row,) = home.rows(sa.select(EVENT.c.hash).where(EVENT.c.id == number))
    return f"{number}:{row.hash.hex()}"


def test_rule_27_a_head_that_was_not_ours_is_told_as_the_whole_verification_tells_it(chain):
    chain.change(sa.update(HEAD).values(mac=bytes(32)))
    with chain.services.unit() as unit:
        unit.record(Event("logout", APP))
    found = newest(chain)
    assert isinstance(found, Finding)
    assert found.text.startswith(f"row {ROWS + 1}: the head before it bore no MAC of this key ring")
    assert isinstance(newest(chain, head=head_of(chain)), Verified)
