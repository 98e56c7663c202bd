"""Session rows: issued once, read in one statement, never revived, ended for everybody at once (rules 11, 12, 16)."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
import sqlalchemy as sa

from benchmarks import fill
from flask_gatehouse.domain.sessions import Gone, Issued, Lifetimes, Place, Session, row_number
from flask_gatehouse.domain.sessions.sql import PURGED_EVERY, SqlSessions
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.identity import KNOWS, Proof
from flask_gatehouse.kernel.keys import new_secret, secret_digest
from tests.support import house
from tests.support.house import AGENT, SECOND, statements_of
from tests.support.plans import plans_of

SESSION, USER = schema.session, schema.user
CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/138.0.0.0 Safari/537.36"


@pytest.fixture
def alice(home):
    """Return the id of a user."""
    return home.person()


def row_of(home: house.House, issued: Issued):
    """Return a stored session, or None."""
    found = home.rows(sa.select(SESSION).where(SESSION.c.public_id == issued.public_id))
    return found[0] if found else None


# --- what is stored ----------------------------------------------------------------------------------------


def test_v7_2_3_63b_5_1_3_only_the_digest_of_a_256_bit_secret_is_stored(home, alice):
    issued = home.session()
    assert len(issued.secret) == 43
    assert bytes(row_of(home, issued).digest) == secret_digest(issued.secret)
    texts = [str(value) for row in home.rows(sa.select(SESSION)) for value in row]
    assert issued.secret not in " ".join(texts)
    assert issued.secret not in repr(issued)


def test_v7_2_2_each_login_has_a_secret_and_a_public_id_of_its_own(home, alice):
    issued = [home.session() for _ in range(5)]
    assert len({one.secret for one in issued}) == len({one.public_id for one in issued}) == 5


def test_v7_2_1_a_secret_that_was_never_issued_gives_nothing_whatever_its_form(home, alice):
    known = home.session().secret
    for secret in ("", new_secret(), known[:-1], known + "A", known.swapcase(), "\x00" * 43, "é" * 43, "x" * 100_000):
        assert home.load(secret) is Gone.UNKNOWN


def test_a_session_is_read_in_one_statement_with_roles_and_their_permissions(home):
    home.change(sa.insert(schema.role).values(name="auditor", created_at=0))
    home.change(sa.insert(schema.role_permission).values(role="auditor", permission="audit:read"))
    home.person("bob", roles=["clerk", "auditor"])
    secret = home.session("bob").secret
    home.load(secret)
    with statements_of(home) as noted:
        identity = home.identity(secret)
    assert noted.verbs == ["SELECT"]
    assert identity.roles == ("auditor", "clerk")
    assert identity.permissions == {"audit:read", "invoice:read"}
    assert (identity.is_admin, identity.username, identity.scheme) == (False, "bob", "session")


# --- two ends by time --------------------------------------------------------------------------------------


def test_v7_3_1_63b_2_2_3_2_an_hour_unused_ends_it_and_use_just_before_keeps_it(home, alice):
    secret = home.session().secret
    for _ in range(3):
        home.later(minutes=59, seconds=59)
        assert home.load(secret)
        assert home.services.sessions.store.touch(secret_digest(secret), home.clock.now())
    home.later(hours=1)
    assert home.load(secret) is Gone.EXPIRED


def test_v7_3_2_63b_2_2_3_1_63b_2_1_3_1_a_day_after_the_login_it_ends_whatever_the_use(home, alice):
    secret = home.session().secret
    for _ in range(47):
        home.later(minutes=30)
        assert isinstance(home.load(secret), Session)
        home.services.sessions.store.touch(secret_digest(secret), home.clock.now())
    home.later(minutes=30, seconds=-1)
    assert isinstance(home.load(secret), Session)
    home.later(seconds=1)
    assert home.load(secret) is Gone.EXPIRED


def test_v7_3_1_administrators_have_half_an_hour(home):
    home.person("root", roles=["admin"])
    secret = home.session("root").secret
    home.later(minutes=29, seconds=59)
    assert isinstance(home.load(secret), Session)
    home.later(seconds=1)
    assert home.load(secret) is Gone.EXPIRED


def test_the_administrators_limit_counts_as_soon_as_the_role_is_held(home, alice):
    secret = home.session().secret
    home.later(minutes=31)
    assert isinstance(home.load(secret), Session)
    with home.services.unit() as unit:
        home.services.roles.add_grant(unit.connection, alice, "admin", unit.now, by=None, until_at=None)
    assert home.load(secret) is Gone.EXPIRED


def test_63b_2_3_3_1_strict_administrators_end_after_eight_hours(open_house):
    strict = open_house(GATEHOUSE_PROFILE="strict", GATEHOUSE_ARGON2="64,1,1", GATEHOUSE_PASSWORD_MIN=8)
    strict.person("root", roles=["admin"])
    secret = strict.session("root").secret
    for _ in range(8 * 6 - 1):
        strict.later(minutes=10)
        assert isinstance(strict.load(secret), Session)
        strict.services.sessions.store.touch(secret_digest(secret), strict.clock.now())
    strict.later(minutes=10)
    assert strict.load(secret) is Gone.EXPIRED


def test_rule_16_remember_me_is_the_longer_session_and_not_fresh_by_itself(open_house):
    lasting = open_house(GATEHOUSE_REMEMBER="30d")
    lasting.person()
    secret = lasting.session(is_remembered=True).secret
    lasting.later(days=29)
    found = lasting.load(secret)
    assert isinstance(found, Session)
    assert lasting.clock.now() - found.identity.proven_at == 29 * 86400 * SECOND
    lasting.later(days=1)
    assert lasting.load(secret) is Gone.EXPIRED


def test_rule_16_remember_me_counts_where_it_is_on_and_never_for_administrators(open_house):
    off, lasting = open_house(), open_house(GATEHOUSE_REMEMBER="30d")
    off.person()
    off.person("root", roles=["admin"])
    assert not off.session(is_remembered=True).is_remembered
    plain = off.session(is_remembered=True).secret
    admins = lasting.session("root", is_remembered=True).secret
    off.later(minutes=31)
    assert lasting.load(admins) is Gone.EXPIRED
    off.later(minutes=30)
    assert off.load(plain) is Gone.EXPIRED


def test_63b_5_2_1_a_new_proof_begins_both_times_anew(home, alice):
    issued = home.session()
    home.later(hours=23, minutes=59)
    home.services.sessions.store.touch(secret_digest(issued.secret), home.clock.now())
    renewed = _rotated(home, issued)
    home.later(minutes=59)
    assert isinstance(home.load(renewed.secret), Session)


def _rotated(home: house.House, issued: Issued) -> Issued:
    services = home.services
    with services.unit() as unit:
        row = services.sessions.store.lock(unit.connection, secret_digest(issued.secret))
        assert row is not None
        proofs = (Proof("password", unit.now, KNOWS),)
        renewed = services.sessions.rotate(unit.connection, row, unit.now, proofs=proofs, epoch=row.epoch)
    assert renewed is not None
    return renewed


def test_rows_whose_time_is_over_are_deleted_little_by_little(home, alice):
    for _ in range(3):
        home.session()
    home.later(hours=24)
    for _ in range(PURGED_EVERY):
        home.session()
    assert home.count(SESSION) == PURGED_EVERY


@pytest.mark.parametrize(
    "idle, due", [(timedelta(hours=1), 60), (timedelta(minutes=5), 30), (timedelta(seconds=50), 5)]
)
def test_rule_16_last_seen_is_due_after_a_minute_or_a_tenth_of_the_idle_limit(open_house, idle, due):
    here = open_house(GATEHOUSE_SESSION_IDLE=idle)
    here.person()
    secret = here.session().secret
    here.later(seconds=due - 1)
    found = here.load(secret)
    assert isinstance(found, Session)
    assert not found.is_seen_due
    here.later(seconds=1)
    found = here.load(secret)
    assert isinstance(found, Session)
    assert found.is_seen_due


# --- ended -------------------------------------------------------------------------------------------------


def test_v7_2_4_after_a_rotation_the_old_secret_is_unknown_and_the_session_the_same(home, alice):
    issued = home.session()
    renewed = _rotated(home, issued)
    assert renewed.secret != issued.secret
    assert renewed.public_id == issued.public_id
    assert home.load(issued.secret) is Gone.UNKNOWN
    assert isinstance(home.load(renewed.secret), Session)


def test_rule_11_saves_and_last_seen_never_revive_a_session_that_ended(home, alice):
    store = home.services.sessions.store
    issued = home.session()
    found = home.load(issued.secret)
    assert isinstance(found, Session)
    house.end_all(home, alice)
    digest = secret_digest(issued.secret)
    assert store.touch(digest, home.clock.now()) is False
    assert store.save_data(digest, '{"a":1}') is False
    with home.services.unit() as unit:
        arguments = {"proofs": (), "epoch": found.row.epoch + 1}
        assert home.services.sessions.rotate(unit.connection, found.row, unit.now, **arguments) is None
    assert home.count(SESSION) == 0
    assert home.load(issued.secret) is Gone.UNKNOWN


def test_rule_11_what_is_saved_under_a_rotated_id_is_not_saved(home, alice):
    issued = home.session()
    _rotated(home, issued)
    assert home.services.sessions.store.save_data(secret_digest(issued.secret), '{"a":1}') is False
    assert row_of(home, issued).data == ""


@pytest.mark.parametrize(
    "values, gone",
    [
        ({"epoch": USER.c.epoch + 1}, Gone.REVOKED),
        ({"state": "suspended"}, Gone.CLOSED),
        ({"state": "closed"}, Gone.CLOSED),
    ],
)
def test_v7_4_2_a_row_that_was_left_behind_counts_for_nothing(home, alice, values, gone):
    secret = home.session().secret
    home.change(sa.update(USER).values(values))
    assert home.load(secret) is gone


def test_rule_12_v7_4_1_a_revoked_session_is_refused_at_once_through_any_other_connection(home, alice, open_house):
    elsewhere = open_house()
    first, second = home.session().secret, home.session().secret
    assert isinstance(elsewhere.load(first), Session)  # reads once, as a request before
    assert isinstance(elsewhere.load(second), Session)
    identity = home.identity(first)
    with home.services.unit() as unit:
        assert home.services.sessions.store.drop_one(unit.connection, alice, identity.session_id)
    assert elsewhere.load(first) is Gone.UNKNOWN
    assert isinstance(elsewhere.load(second), Session)
    house.end_all(home, alice)
    assert elsewhere.load(second) is Gone.UNKNOWN


def test_rule_16_v8_3_2_roles_are_read_at_every_load_and_need_no_new_id(home, alice, open_house):
    elsewhere = open_house()
    secret = home.session().secret
    assert elsewhere.identity(secret).roles == ()
    with home.services.unit() as unit:
        home.services.roles.add_grant(unit.connection, alice, "clerk", unit.now, by=None, until_at=None)
    assert elsewhere.identity(secret).permissions == {"invoice:read"}
    with home.services.unit() as unit:
        home.services.roles.drop_grant(unit.connection, alice, "clerk")
    assert elsewhere.identity(secret).permissions == frozenset()


def test_rule_34_a_grant_with_an_end_counts_until_then_and_not_a_microsecond_longer(home, alice):
    secret = home.session().secret
    until = home.clock.now() + 60 * SECOND
    with home.services.unit() as unit:
        home.services.roles.add_grant(unit.connection, alice, "clerk", unit.now, by=None, until_at=until)
        home.services.roles.add_grant(unit.connection, alice, "cashier", unit.now, by=None, until_at=until + 1)
    home.later(microseconds=60 * SECOND - 1)
    identity = home.identity(secret)
    assert (identity.roles, identity.granted_until) == (("cashier", "clerk"), until)
    home.later(microseconds=1)
    assert (home.identity(secret).roles, home.identity(secret).granted_until) == (("cashier",), until + 1)
    home.later(microseconds=1)
    assert home.identity(secret).roles == ()
    with home.services.reading() as connection:
        assert home.services.roles.names_of(connection, [alice], home.clock.now()) == {}


# --- another browser ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "protection, elsewhere",
    [("strong", Gone.OTHER_BROWSER), ("basic", "not fresh"), ("none", "the same")],
)
def test_rule_17_v8_2_4_another_browser_is_judged_as_the_setting_says(open_house, protection, elsewhere):
    here = open_house(GATEHOUSE_SESSION_PROTECTION=protection)
    here.person()
    issued = here.session()
    found = here.load(issued.secret, CHROME)
    if isinstance(elsewhere, Gone):
        assert found is elsewhere
    else:
        assert isinstance(found, Session)
        assert (found.identity.proven_at == 0) is (elsewhere == "not fresh")
    assert row_of(here, issued) is not None  # the row stays
    again = here.load(issued.secret)
    assert isinstance(again, Session)
    assert again.identity.proven_at > 0


def test_rule_17_an_update_of_the_browser_and_another_address_are_no_other_browser(home, alice):
    secret = home.session(address="198.51.100.7").secret
    assert isinstance(home.load(secret, AGENT.replace("140.0", "141.2")), Session)


def test_rule_17_strong_refuses_a_request_that_hides_its_browser_and_pins_none_to_none(home, alice):
    assert home.load(home.session().secret, "") is Gone.OTHER_BROWSER
    assert isinstance(home.load(home.session(agent="").secret, CHROME), Session)


# --- the cap -----------------------------------------------------------------------------------------------


def test_v7_1_2_v2_3_2_one_login_more_than_the_cap_ends_the_oldest_and_tells_it(open_house):
    here = open_house(GATEHOUSE_MAX_SESSIONS=3)
    here.person()
    issued = []
    for _ in range(4):
        issued.append(here.session())
        here.later(seconds=1)
    assert [isinstance(here.load(one.secret), Session) for one in issued] == [False, True, True, True]
    assert here.details("session.ended") == [{"sessions": [issued[0].public_id], "why": "more than the cap"}]
    assert issued[3].ended == (issued[0].public_id,)


def _log_in(here: house.House, _number: int) -> str:
    return type(house.patiently(here.log_in)).__name__


def test_rule_11_v15_4_2_the_cap_is_exact_under_parallel_logins(crowd, home, alice):
    outcomes = crowd.rush(_log_in, home, 30, GATEHOUSE_MAX_SESSIONS=5, GATEHOUSE_THROTTLE="off")
    assert outcomes == ["Issued"] * 30
    assert home.count(SESSION) == 5
    ended = [public_id for detail in home.details("session.ended") for public_id in detail["sessions"]]
    assert len(ended) == len(set(ended)) == 25


# --- lists -------------------------------------------------------------------------------------------------


def test_v7_5_2_a_users_list_holds_what_lives_newest_first(home, alice):
    home.person("bob")
    first = home.session()
    home.later(minutes=50)
    second = home.session(address="198.51.100.7")
    home.later(seconds=1)
    third = home.session("bob")
    sessions = home.services.sessions

    def listed(user_id: int) -> list[str]:
        with home.services.reading() as connection:
            rows = sessions.live_of_user(connection, user_id, home.clock.now(), is_admin=False)
        return [row.public_id for row in rows]

    assert listed(alice) == [second.public_id, first.public_id]
    home.later(minutes=20)
    assert listed(alice) == [second.public_id]
    with home.services.reading() as connection:
        assert [(row.public_id, name) for row, name in sessions.store.page(connection)] == [
            (third.public_id, "bob"),
            (second.public_id, "alice"),
            (first.public_id, "alice"),
        ]
        row = sessions.store.find_public(connection, second.public_id)
    assert row is not None
    assert (row.address, row.agent) == ("198.51.100.7", AGENT)
    home.change(sa.update(USER).values(epoch=USER.c.epoch + 1))
    assert listed(alice) == []


def test_a_public_id_ends_a_session_of_its_own_user_alone(home, alice):
    bob = home.person("bob")
    issued = home.session()
    with home.services.unit() as unit:
        assert not home.services.sessions.store.drop_one(unit.connection, bob, issued.public_id)
        assert isinstance(home.load(issued.secret), Session)
        assert home.services.sessions.store.drop_one(unit.connection, alice, issued.public_id)
    assert home.load(issued.secret) is Gone.UNKNOWN


def test_the_rights_remembered_for_speed_never_outlive_a_grant(home):
    lives = Lifetimes(3600 * SECOND, 86400 * SECOND, 1800 * SECOND, 86400 * SECOND, 0)
    store = SqlSessions(home.services.database, {"clerk": frozenset({"invoice:read"})})
    assert lives.idle == 3600 * SECOND
    held = (("clerk", None, None, None),)
    assert store._rights(held, 0) is store._rights(held, 1)
    ending = (("clerk", 5, None, None),)
    assert [rights.roles for rights in store._rights(ending, 4)] == [("clerk",)] * 2
    assert [rights.roles for rights in store._rights(ending, 5)] == [()] * 2


# --- where a session stands --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "first, number", [(bytes(7) + b"\1", 1), (b"\x80" + bytes(7), 0), (b"\xff" * 8, 2**63 - 1)], ids=repr
)
def test_the_number_of_a_sessions_row_is_the_first_63_bits_of_its_digest(first, number):
    assert row_number(first + bytes(24)) == number


def test_a_session_moves_to_the_number_of_its_new_digest(home, alice):
    def stored_at():
        return [(row.id, bytes(row.digest)) for row in home.rows(sa.select(SESSION))]

    before = home.session().secret
    digest = secret_digest(before)
    assert stored_at() == [(row_number(digest), digest)]
    sessions = home.services.sessions
    with home.services.unit() as unit:
        row = sessions.store.lock(unit.connection, digest)
        proofs = sessions.store.proofs_of(row)
        given = sessions.rotate(unit.connection, row, home.clock.now(), proofs=proofs, epoch=row.epoch)
    digest = secret_digest(given.secret)
    assert stored_at() == [(row_number(digest), digest)]
    assert home.load(before) is Gone.UNKNOWN
    assert isinstance(home.load(given.secret), Session)


@pytest.mark.parametrize("is_pending", [False, True], ids=["active", "pending"])
def test_v7_2_1_a_digest_that_begins_like_a_sessions_is_none_of_it(home, alice, is_pending):
    """The number is 63 bits of 256: all of them are compared, wherever a session is looked for."""
    digest = secret_digest(home.session().secret)
    home.change(sa.update(SESSION).values(is_pending=is_pending))
    flipped = bytes([digest[0] ^ 0x80]) + digest[1:]
    store, now = home.services.sessions.store, home.clock.now()

    def finds(one):
        lock = store.lock_pending if is_pending else store.lock
        with home.services.unit() as unit:
            is_locked = lock(unit.connection, one) is not None
        found = store.find_live(one, now) is not None, store.touch(one, now), store.save_data(one, "{}"), is_locked
        assert len(set(found)) == 1, found
        return found[0]

    for one in (flipped, digest[:31] + bytes([digest[31] ^ 1]), digest[:8], digest[:8] + bytes(24)):
        assert row_number(one) == row_number(digest)
        assert not finds(one)
    assert finds(digest)


def test_a_session_and_a_page_of_all_are_found_by_one_index_each(home):
    fill.people(home.services.database, 5000, "no digest", AGENT)
    store, digest = home.services.sessions.store, secret_digest(fill.secret(7))
    (plan,) = plans_of(home.services.database, lambda: store.find_live(digest, home.clock.now()))
    assert re.search(r"gatehouse_session USING INTEGER PRIMARY KEY|pk_gatehouse_session", plan), plan

    def page():
        with home.services.reading() as connection:
            first = store.page(connection, limit=50)[-1][0]
            store.page(connection, after=Place(first.created_at, first.public_id), limit=50)

    for plan in plans_of(home.services.database, page):
        assert "ix_gatehouse_session_created_at_public_id" in plan, plan
        assert not re.search("TEMP B-TREE|Sort|Seq Scan on gatehouse_session", plan), plan
