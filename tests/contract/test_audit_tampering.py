"""Whatever somebody without the key ring does to the tables is found, and the row or segment is named (rule 27)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import sqlalchemy as sa
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flask_gatehouse.domain.audit import Event, Finding, Link
from flask_gatehouse.domain.audit.chain import line_of, link_hash
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.identity import APP
from flask_gatehouse.kernel.keys import KeyRing
from tests.support import apps, house

EVENT, HEAD, SEGMENT = schema.event, schema.chain_head, schema.segment
SEALED, FIRST, LAST = (5, 8), 9, 20
"""Rows 1 to 5 and 6 to 8 are sealed, so the table begins with 9."""
COLUMNS = [column.name for column in EVENT.c if column.name != "id"]
many = settings(max_examples=40, deadline=None)
data = given(st.data())


class Raw(sa.types.UserDefinedType[object]):
    """Hands a value to the driver as it is."""

    cache_ok = True

    def get_col_spec(self, **_kw: object) -> str:
        return ""


@dataclass(frozen=True)
class Scene:
    """A chain with two segments, and a head that was kept outside."""

    home: house.House
    kept: str

    @property
    def is_sqlite(self) -> bool:
        return self.home.services.database.is_sqlite

    @contextmanager
    def undone(self) -> Iterator[sa.Connection]:
        """Lend a transaction that leaves nothing behind."""
        with self.home.services.database.engine.connect() as connection:
            yield connection
            connection.rollback()

    def found(self, connection: sa.Connection, head: str = "") -> Finding:
        finding = self.home.services.audit.verify(connection, head=head)
        assert isinstance(finding, Finding), f"{finding} rows agree"
        return finding


def seal(home: house.House, last: int) -> None:
    (found,) = home.rows(sa.select(EVENT.c.hash).where(EVENT.c.id == last))
    with home.services.unit() as unit:
        detail = home.services.audit.seal(unit.connection, Link(last, found[0]), unit.now)
        assert isinstance(detail, dict)
        unit.record(Event("audit.sealed", APP, detail=detail))


@pytest.fixture
def scene(home):
    for number in range(1, LAST - 1):  # the seals are two events more
        home.record(user_id=number, source=house.HERE, session_id=f"session {number}", detail={"number": number})
        if number in (10, 14):
            seal(home, SEALED[number == 14])
    with home.services.reading() as connection:
        kept = home.services.audit.head(connection)
    assert kept.startswith(f"{LAST}:")
    assert home.verified() == home.verified(kept) == LAST - FIRST + 1
    return Scene(home, kept)


# --- rows --------------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
BIG = st.integers(-(2**63), 2**63 - 1)
ANYTHING = st.one_of(
    BIG, TEXTS, st.binary(max_size=12), st.floats(allow_nan=False), st.sampled_from(["null", "1", "\0"])
)


def values_for(column: str, scene: Scene) -> st.SearchStrategy[object]:
    """Return what a database would take there: SQLite anything at all, PostgreSQL what fits the type."""
    kind = EVENT.c[column]
    fitting: st.SearchStrategy[object] = TEXTS
    if isinstance(kind.type, sa.BigInteger | sa.Integer):
        fitting = st.one_of(BIG, st.none()) if kind.nullable else BIG
    elif isinstance(kind.type, sa.LargeBinary):
        fitting = st.binary(max_size=40)
    return st.one_of(fitting, ANYTHING) if scene.is_sqlite else fitting


def stored(connection: sa.Connection, column: str, number: int) -> tuple[object, ...]:
    """Return a value with its type; text that is no UTF-8 cannot be asked for otherwise."""
    shown = sa.func.hex(EVENT.c[column]) if connection.dialect.name == "sqlite" else EVENT.c[column]
    kind = sa.func.typeof(EVENT.c[column]) if connection.dialect.name == "sqlite" else sa.literal("")
    return tuple(connection.execute(sa.select(shown, kind).where(EVENT.c.id == number)).one())


@many
@data
@pytest.mark.parametrize("column", COLUMNS)
def test_rule_27_v16_4_2_an_edit_of_any_column_of_any_row_to_anything_is_found(scene, column, data):
    number, value = data.draw(st.integers(FIRST, LAST)), data.draw(values_for(column, scene))
    with scene.undone() as connection:
        before = stored(connection, column, number)
        literal = sa.literal(value, Raw() if scene.is_sqlite else EVENT.c[column].type)
        connection.execute(sa.update(EVENT).where(EVENT.c.id == number).values({column: literal}))
        assume(stored(connection, column, number) != before)
        assert scene.found(connection).event_id == number


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # PostgreSQL takes none
def test_rule_27_v16_4_2_a_text_that_is_no_utf_8_is_found(scene):
    with scene.undone() as connection:
        broken = sa.cast(sa.literal(b"\xff\xfe"), sa.Text)
        connection.execute(sa.update(EVENT).where(EVENT.c.id == 12).values(actor=broken, detail=sa.literal(b"", Raw())))
        assert scene.found(connection).event_id == 12


@many
@data
def test_rule_27_v16_4_2_a_deleted_row_is_named(scene, data):
    number = data.draw(st.integers(FIRST, LAST))
    with scene.undone() as connection:
        connection.execute(sa.delete(EVENT).where(EVENT.c.id == number))
        assert scene.found(connection).event_id == (number if number < LAST else 0)


@many
@data
def test_rule_27_v16_4_2_an_inserted_row_is_named(scene, data):
    like, number = (
        data.draw(st.integers(FIRST, LAST)),
        data.draw(st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 24)),
    )
    assume(not FIRST <= number <= LAST)
    with scene.undone() as connection:
        row = dict(connection.execute(sa.select(EVENT).where(EVENT.c.id == like)).mappings().one())
        connection.execute(sa.insert(EVENT).values({**row, "id": number}))
        assert scene.found(connection).event_id == min(number, LAST + 1)


@many
@data
def test_rule_27_v16_4_2_any_two_rows_that_changed_places_are_named(scene, data):
    one, other = sorted(data.draw(st.lists(st.integers(FIRST, LAST), min_size=2, max_size=2, unique=True)))
    with scene.undone() as connection:
        for old, new in ((one, 99), (other, one), (99, other)):
            connection.execute(sa.update(EVENT).where(EVENT.c.id == old).values(id=new))
        assert scene.found(connection).event_id == one


@many
@data
def test_rule_27_v16_4_2_a_tail_rewritten_with_right_hashes_is_found_at_the_head(scene, data):
    start, is_head_moved = data.draw(st.integers(FIRST, LAST)), data.draw(st.booleans())
    with scene.undone() as connection:
        connection.execute(sa.update(EVENT).where(EVENT.c.id == start).values(actor="somebody else"))
        last = rehashed(connection, start)
        if is_head_moved:
            mac = data.draw(
                st.binary(max_size=40)
                | st.just(KeyRing("not the secret of this app, but as long").mac("audit-head", b""))
            )
            connection.execute(sa.update(HEAD).values(hash=last, mac=mac))
        assert scene.found(connection).event_id == 0


NESTED = "[" * 100_000


@pytest.mark.parametrize("kind", ["audit.sealed", "audit.unsealed"])
@pytest.mark.parametrize(
    "detail", ["", "x", "5", "[]", '{"seal":[]}', '{"seal":7}', NESTED], ids=lambda text: text[:12]
)
def test_rule_27_v16_4_2_an_event_about_the_log_that_is_no_json_is_found_as_any_other(scene, kind, detail):
    start = FIRST + 1
    with scene.undone() as connection:
        connection.execute(sa.update(EVENT).where(EVENT.c.id == start).values(kind=kind, detail=detail))
        connection.execute(sa.update(HEAD).values(hash=rehashed(connection, start)))
        assert scene.found(connection).event_id == (0 if kind == "audit.sealed" else start)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("value", [b"2", 2.5, "two"], ids=repr)
def test_rule_27_v16_4_2_what_is_no_number_is_found_though_its_hash_is_right(scene, value):
    start = FIRST + 1
    with scene.undone() as connection:
        changed = {"kind": "audit.sealed", "at": sa.literal(value, Raw())}
        connection.execute(sa.update(EVENT).where(EVENT.c.id == start).values(changed))
        connection.execute(sa.update(HEAD).values(hash=rehashed(connection, start)))
        assert scene.found(connection).event_id in {start, 0}


def rehashed(connection: sa.Connection, start: int) -> bytes:
    """Write all hashes from a row on anew and return the last one: all that nobody needs a key for."""
    rows = connection.execute(sa.select(EVENT).where(EVENT.c.id >= start - 1).order_by(EVENT.c.id)).all()
    before = connection.execute(sa.select(SEGMENT.c.hash).order_by(SEGMENT.c.last_id.desc())).scalars().first()
    last = rows[0].hash if rows[0].id == start - 1 else before
    assert isinstance(last, bytes)
    for row in rows:
        if row.id >= start:
            last = link_hash(last, line_of(row))
            connection.execute(sa.update(EVENT).where(EVENT.c.id == row.id).values(hash=last))
    return last


@many
@data
def test_rule_27_v16_4_2_a_tail_that_was_cut_is_found_against_a_head_kept_outside(scene, data):
    end = data.draw(st.integers(FIRST, LAST - 1))
    with scene.undone() as connection:
        hash_ = connection.execute(sa.select(EVENT.c.hash).where(EVENT.c.id == end)).scalar_one()
        connection.execute(sa.delete(EVENT).where(EVENT.c.id > end))
        genuine = scene.home.services.keys.mac("audit-head", end.to_bytes(8, "big") + hash_)  # kept from back then
        connection.execute(sa.update(HEAD).values(event_id=end, hash=hash_, mac=genuine))
        assert scene.home.services.audit.verify(connection) == end - FIRST + 1, "nobody can tell without that head"
        assert scene.found(connection, scene.kept).event_id == end + 1


# --- segments ----------------------------------------------------------------------------------------------


@many
@data
@pytest.mark.parametrize("last", SEALED)
@pytest.mark.parametrize("column", [column.name for column in SEGMENT.c])
def test_rule_27_v16_4_2_a_forged_or_moved_segment_is_named(scene, last, column, data):
    fitting = (
        st.binary(max_size=40) if isinstance(SEGMENT.c[column].type, sa.LargeBinary) else BIG | st.integers(-2, 12)
    )
    value = data.draw(fitting | ANYTHING if scene.is_sqlite else fitting)
    literal = sa.literal(value, Raw() if scene.is_sqlite else SEGMENT.c[column].type)
    with scene.undone() as connection:
        before = connection.execute(sa.select(SEGMENT).order_by(SEGMENT.c.last_id)).all()
        try:
            connection.execute(sa.update(SEGMENT).where(SEGMENT.c.last_id == last).values({column: literal}))
        except sa.exc.IntegrityError:
            assume(False)  # the other segment has this number, or SQLite takes no such key
        assume(connection.execute(sa.select(SEGMENT).order_by(SEGMENT.c.last_id)).all() != before)
        assert "segment" in scene.found(connection).text


@pytest.mark.parametrize(
    "gone, missing", [([5], "rows 1 to 5 are missing"), ([8], "row 6 is missing"), ([5, 8], "row 1 is missing")]
)
def test_rule_27_v16_4_2_a_missing_segment_is_named(scene, gone, missing):
    with scene.undone() as connection:
        connection.execute(sa.delete(SEGMENT).where(SEGMENT.c.last_id.in_(gone)))
        assert missing in scene.found(connection).text


@many
@data
def test_rule_27_v16_4_2_rows_cut_off_the_front_without_the_key_are_found(scene, data):
    """The chain itself goes on from the forged segment up to the genuine head: its MAC alone gives it away."""
    end = data.draw(st.integers(FIRST, LAST - 1))
    is_new = data.draw(st.booleans())
    with scene.undone() as connection:
        hash_ = connection.execute(sa.select(EVENT.c.hash).where(EVENT.c.id == end)).scalar_one()
        newest = dict(connection.execute(sa.select(SEGMENT).where(SEGMENT.c.last_id == SEALED[1])).mappings().one())
        connection.execute(sa.delete(EVENT).where(EVENT.c.id <= end))
        if is_new:
            connection.execute(sa.insert(SEGMENT).values({**newest, "first_id": FIRST, "last_id": end, "hash": hash_}))
        else:
            connection.execute(sa.update(SEGMENT).where(SEGMENT.c.last_id == SEALED[1]).values(last_id=end, hash=hash_))
        finding = scene.found(connection)
        assert finding == Finding(end, f"segment {FIRST if is_new else 6} to {end} was not written by this key ring")


def test_rule_27_a_segment_put_back_after_its_rows_came_back_is_found(scene):
    """An old backup's rows beside today's segments: they stand where there are none."""
    with scene.undone() as connection:
        row = dict(connection.execute(sa.select(EVENT).where(EVENT.c.id == FIRST)).mappings().one())
        connection.execute(sa.insert(EVENT), [{**row, "id": number} for number in range(6, FIRST)])
        assert scene.found(connection) == Finding(6, "row 6 stands where there is none: it was sealed, or never was")


# --- rotation ----------------------------------------------------------------------------------------------

NEXT = "the next secret of the tests, long enough"


def test_rule_27_segments_outlive_the_secret_they_were_sealed_with(scene, open_house):

    rotated = open_house(SECRET_KEY=NEXT, SECRET_KEY_FALLBACKS=[apps.SECRET])
    rotated.record()
    bare = open_house(SECRET_KEY=NEXT)
    assert bare.verified() == LAST - FIRST + 2, "the event vouches for the newest, the newest for all"
    seal(bare, 11)
    assert bare.verified() == LAST - 11 + 2
    forged = sa.update(SEGMENT).where(SEGMENT.c.last_id == SEALED[0]).values(sealed_at=SEGMENT.c.sealed_at + 1)
    bare.change(forged)
    finding = bare.verified()
    assert "was not written by this key ring" in finding.text
