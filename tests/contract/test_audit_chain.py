"""The hash chain: any edit without the key ring is found, a cut tail against a head kept outside (rule 27)."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import pytest
import sqlalchemy as sa

from flask_gatehouse.domain import audit
from flask_gatehouse.domain.audit import KINDS, Event, Finding, rows
from flask_gatehouse.domain.audit.chain import line_of, link_hash
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.identity import APP, Actor
from flask_gatehouse.kernel.keys import KeyRing
from tests.support import apps, house

EVENT, HEAD = schema.event, schema.chain_head


@pytest.fixture
def chain(home):
    """Return a house with ten events."""
    for number in range(10):
        home.record(user_id=number, source=house.HERE, session_id=f"session {number}", detail={"number": number})
        home.later(seconds=1)
    assert home.verified() == 10
    return home


def head_of(home: house.House) -> str:
    """Return the head as it would be emitted."""
    with home.services.reading() as connection:
        return home.services.audit.head(connection)


def found_at(home: house.House, head: str = "") -> int:
    """Verify, which must find something, and return where."""
    finding = home.verified(head)
    assert isinstance(finding, Finding), finding
    return finding.event_id


COLUMNS = [column.name for column in EVENT.c if column.name not in {"id", "hash"}]


@pytest.mark.parametrize("column", COLUMNS)
def test_rule_27_v16_4_2_an_edit_of_any_column_is_found(chain, column):
    value = 7_777 if isinstance(EVENT.c[column].type, sa.BigInteger | sa.Integer) else "edited"
    chain.change(sa.update(EVENT).where(EVENT.c.id == 4).values({column: value}))
    assert found_at(chain) == 4


def test_rule_27_v16_4_2_an_edited_hash_is_found(chain):
    chain.change(sa.update(EVENT).where(EVENT.c.id == 4).values(hash=bytes(32)))
    assert found_at(chain) == 4


@pytest.mark.parametrize("number", [1, 5, 10])
def test_rule_27_v16_4_2_a_deleted_row_is_found(chain, number):
    chain.change(sa.delete(EVENT).where(EVENT.c.id == number))
    assert found_at(chain) == (number if number < 10 else 0)


def test_rule_27_v16_4_2_rows_that_changed_places_are_found(chain):
    for old, new in ((4, 99), (5, 4), (99, 5)):
        chain.change(sa.update(EVENT).where(EVENT.c.id == old).values(id=new))
    assert found_at(chain) == 4


def test_rule_27_v16_4_2_an_inserted_row_is_found(chain):
    row = dict(chain.rows(sa.select(EVENT).where(EVENT.c.id == 10))[0]._mapping)
    chain.change(sa.insert(EVENT).values({**row, "id": 11}))
    assert found_at(chain) == 11


def _rewritten_without_the_key(home: house.House, head: dict[str, object]) -> None:
    """Do what somebody with the source but not the key can: rewrite history and every hash after it."""
    home.change(sa.update(EVENT).where(EVENT.c.id == 4).values(kind="user.created"))
    last = audit.GENESIS
    for row in home.rows(sa.select(EVENT).order_by(EVENT.c.id)):
        last = link_hash(last, line_of(row))
        home.change(sa.update(EVENT).where(EVENT.c.id == row.id).values(hash=last))
    home.change(sa.update(HEAD).values(hash=last, **head))


def test_rule_27_v16_4_2_a_history_rewritten_with_all_its_hashes_is_found_at_the_heads_mac(chain):
    _rewritten_without_the_key(chain, {})
    assert found_at(chain) == 0
    _rewritten_without_the_key(chain, {"mac": KeyRing("another secret, 32 characters long").mac("audit-head", b"")})
    assert found_at(chain) == 0


def test_rule_27_a_tail_cut_off_is_found_unless_an_older_genuine_head_stands_there_again(chain):
    older = dict(chain.rows(sa.select(HEAD))[0]._mapping)
    chain.record()
    chain.record()
    newest = head_of(chain)
    chain.change(sa.delete(EVENT).where(EVENT.c.id > 10))
    assert found_at(chain) == 0
    chain.change(sa.update(HEAD).values({key: value for key, value in older.items() if key != "id"}))
    assert chain.verified() == 10
    assert found_at(chain, newest) == 11


def test_rule_27_a_head_kept_outside_is_agreed_with_for_ever_and_a_wrong_one_is_not(chain):
    kept = head_of(chain)
    chain.record()
    assert chain.verified(kept) == 11
    number, _, digest = kept.partition(":")
    assert found_at(chain, f"{number}:{'0' * len(digest)}") == 10
    assert found_at(chain, f"9:{digest}") == 9
    assert found_at(chain, f"12:{digest}") == 12


@pytest.mark.parametrize("head", ["nonsense", ":", "1", "x:00", "1:zz", "-1:00", "1:00:00"])
def test_a_head_that_is_none_is_refused(chain, head):
    with pytest.raises(ValueError, match=r"head looks like|hexadecimal"):
        chain.verified(head)


def test_a_head_that_vanished_is_found(chain):
    chain.change(sa.delete(HEAD))
    assert found_at(chain) == 0


NEXT = "the next secret of the tests, long enough"


def test_rule_27_the_head_agrees_through_a_rotation_of_the_secret(chain, open_house):
    rotated = open_house(SECRET_KEY=NEXT, SECRET_KEY_FALLBACKS=[apps.SECRET])
    assert rotated.verified() == 10
    rotated.record()
    assert rotated.verified() == open_house(SECRET_KEY=NEXT).verified() == 11
    assert audit.UNSEALED not in rotated.kinds()


def test_rule_27_a_head_that_only_the_older_secret_signed_is_found_once_that_is_gone(chain, open_house):
    assert found_at(open_house(SECRET_KEY=NEXT)) == 0


def test_rule_27_v16_4_2_a_rewritten_history_does_not_come_right_with_the_next_event(chain, caplog):
    _rewritten_without_the_key(chain, {})
    forged = head_of(chain)
    chain.record("user.created")
    chain.record("user.created")
    assert chain.kinds()[10:] == [audit.UNSEALED, "user.created", "user.created"]
    assert chain.details(audit.UNSEALED) == [{"head": forged}]
    assert found_at(chain) == 11
    assert f"head {forged} was not written by this key ring" in caplog.text


def test_rule_27_who_knows_why_a_head_was_not_sealed_goes_on_from_a_later_one(chain, open_house):
    careless = open_house(SECRET_KEY=NEXT)  # a rotation without the fallback
    careless.record()
    finding = careless.verified()
    assert finding.event_id == 11
    known = finding.text.rpartition(" ")[2]
    assert careless.verified(known) == 12
    careless.record()
    assert careless.verified(known) == 13
    assert found_at(careless, known.replace("12:", "10:")) == 10
    careless.change(sa.update(EVENT).where(EVENT.c.id == 4).values(kind="user.created"))
    assert found_at(careless, known) == 4


def without_key(connection):
    """Take the primary key off the table, as its owner could."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("CREATE TABLE copy AS SELECT * FROM gatehouse_event")
        connection.exec_driver_sql("DROP TABLE gatehouse_event")
        connection.exec_driver_sql("ALTER TABLE copy RENAME TO gatehouse_event")
        return
    connection.exec_driver_sql("ALTER TABLE gatehouse_event DROP CONSTRAINT pk_gatehouse_event")
    connection.exec_driver_sql("ALTER TABLE gatehouse_event ALTER COLUMN id DROP NOT NULL")


@pytest.mark.parametrize("number", [4, None], ids=["twice", "without a number"])
def test_rule_27_v16_4_2_a_row_that_no_walk_meets_is_found(chain, monkeypatch, number):
    """Batches go on behind the last number: a second row of that number stands between them."""
    monkeypatch.setattr(rows, "BATCH", 4)
    others = [column.name for column in EVENT.c if column is not EVENT.c.id]
    with chain.services.database.engine.begin() as connection:
        without_key(connection)
        forged = sa.select(sa.literal(number, EVENT.c.id.type), *(EVENT.c[name] for name in others))
        connection.execute(sa.insert(EVENT).from_select(["id", *others], forged.where(EVENT.c.id == 4)))
    assert found_at(chain) in ({4} if number else {0, 1})


def test_a_long_chain_is_walked_in_batches_and_tells_how_far_it_is(home):
    with home.services.unit() as unit:
        unit.events.extend([Event("logout", APP)] * (2 * audit.BATCH + 5))
    told: list[int] = []
    with home.services.reading() as connection:
        assert home.services.audit.verify(connection, progress=told.append) == 2 * audit.BATCH + 5
    assert told == [audit.BATCH, 2 * audit.BATCH, 2 * audit.BATCH + 5]


def test_v16_4_1_v1_2_4_anything_a_person_can_type_is_one_row_that_verifies(home):
    nasty = 'a\r\nb\x1b[31m "q" \\ % \' ; -- \u2028 \U0001f9d9 {{7*7}} \x7f'
    actor = Actor(None, nasty[:80])
    with home.services.unit() as unit:
        unit.record(Event("logout", actor, None, house.source("::1", nasty), nasty[:32], detail={nasty: nasty}))
    (entry,) = home.events()
    assert (entry.actor, entry.agent, entry.session_id) == (nasty[:80], nasty, nasty[:32])
    assert home.details("logout") == [{nasty: nasty}]
    assert home.verified() == 1


def test_an_event_nobody_has_described_is_an_error_and_undoes_its_unit(home):
    with pytest.raises(LookupError, match=r"no\.such"):
        home.record("no.such")
    assert home.events() == []
    assert all(text.endswith(".") for text in KINDS.values())


def test_v16_2_1_an_entry_says_when_where_who_and_what(chain):
    entry = chain.events()[3]
    assert (entry.kind, entry.outcome, entry.actor, entry.actor_id, entry.user_id) == ("logout", "ok", "app", None, 3)
    assert (entry.address, entry.agent) == (house.HERE.address, house.HERE.agent)
    assert (entry.request_id, entry.session_id) == ("request", "session 3")
    assert entry.at == chain.events()[0].at + 3 * house.SECOND


def _record(here: house.House, number: int) -> None:
    here.record(user_id=number)


def test_rule_27_v15_4_1_many_that_write_at_once_make_one_chain(crowd, home):
    crowd.rush(_record, home, 60)
    assert home.verified() == 60
    assert {entry.user_id for entry in home.events()} == set(range(60))


def _record_many(url: str, process: int) -> None:
    here = house.build(url)
    for number in range(EACH):
        here.record(user_id=process * EACH + number)
    house.close(here)


PROCESSES, EACH = 8, 25


def test_rule_27_v15_4_1_eight_processes_that_append_at_once_make_one_chain(home):
    url = home.app.config["GATEHOUSE_DATABASE_URL"]
    with ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn")) as processes:
        for pending in [processes.submit(_record_many, url, number) for number in range(PROCESSES)]:
            pending.result(120)
    assert home.verified() == PROCESSES * EACH
    assert {entry.user_id for entry in home.events()} == set(range(PROCESSES * EACH))


def test_an_empty_chain_agrees_and_has_a_head(home):
    assert home.verified() == 0
    assert head_of(home) == f"0:{'00' * 32}"
