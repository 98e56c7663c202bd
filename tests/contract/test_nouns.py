"""Users, password rows, links and roles: what each noun's rows promise on both databases."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from flask_gatehouse.domain import passwords, roles, tokens, users
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.errors import SetupError, UnknownRole
from flask_gatehouse.kernel.keys import secret_digest
from tests.support import house
from tests.support.house import PASSWORD, SECOND

USER, LINK = schema.user, schema.link
HOUR = 3600 * SECOND


@pytest.fixture
def connection(home):
    """Return an open unit's connection."""
    with home.services.database.unit() as found:
        yield found


def make(connection: sa.Connection, name: str) -> int:
    """Insert a user and return the id."""
    made = users.create(connection, name, None, 1)
    assert made is not None
    return made.id


# --- users -------------------------------------------------------------------------------------------------


def test_rule_02_a_name_is_found_and_taken_upper_and_lower_case_aside(connection):
    alice = make(connection, "Alice")
    for name in ("alice", "ALICE", "aLiCe"):
        assert users.create(connection, name, None, 1) is None
        found = users.find_by_name(connection, name)
        assert found is not None
        assert (found.id, found.username) == (alice, "Alice")


@pytest.mark.parametrize("name", ["alice\n", "al\u0131ce", "\u0391lice", "", "alice ", "a" * 81])
def test_rule_02_an_impossible_name_finds_nobody(connection, name):
    make(connection, "alice")
    assert users.find_by_name(connection, name) is None
    assert passwords.find_credential(connection, users.name_key(name)) is None


def test_an_id_is_never_reused(home):
    first = home.person("alice")
    home.change(sa.delete(schema.password))
    home.change(sa.delete(USER))
    assert home.person("alice") > first


def test_a_closed_user_keeps_the_row_and_leaves_the_name_to_others(home):
    alice = home.person("alice", email="alice@example.org")
    with home.services.database.unit() as connection:
        users.close(connection, home.user(alice))
    gone = home.user(alice)
    assert (gone.state, gone.email) == ("closed", None)
    assert "alice" not in gone.username
    assert home.person("alice") != alice


def test_a_state_nobody_has_described_cannot_be_stored(home):
    home.person()
    with pytest.raises(sa.exc.IntegrityError):
        home.change(sa.update(USER).values(state="banned"))


def test_users_are_paged_by_key_and_searched_by_the_start_of_their_name(connection):
    for name in ("Bob", "alice", "bo_b", "bob.2", "carol", "boZ", "b%b", "~"):
        if users.name_key(name):
            make(connection, name)
    first = users.page(connection, limit=3)
    rest = users.page(connection, limit=9, after=first[-1].username)
    assert [found.username for found in first + rest] == ["alice", "bo_b", "Bob", "bob.2", "boZ", "carol"]
    assert [found.username for found in users.page(connection, search="BO")] == ["bo_b", "Bob", "bob.2", "boZ"]
    assert [found.username for found in users.page(connection, search="bo_")] == ["bo_b"]
    assert [found.username for found in users.page(connection, search="bob.")] == ["bob.2"]


@pytest.mark.parametrize("search", ["%", "b%", "*", ".*(", "'", "bo b", "\u00fc", "\x00"])
def test_v1_2_9_a_search_is_taken_literally(connection, search):
    make(connection, "bob")
    assert users.page(connection, search=search) == []


def test_a_bump_of_the_epoch_counts_on(connection):
    alice = make(connection, "alice")
    assert [users.bump_epoch(connection, alice) for _ in range(3)] == [1, 2, 3]
    found = users.find(connection, alice, lock=True)
    assert found is not None
    users.set_state(connection, found, "suspended")
    found = users.find(connection, alice)
    assert found is not None
    assert (found.epoch, found.is_active) == (4, False)


def _create(here: house.House, number: int) -> int | None:
    name = "".join(letter.upper() if number >> place & 1 else letter for place, letter in enumerate("concurrent"))
    with here.services.database.unit() as connection:
        made = users.create(connection, name, None, number)
        return made.id if made else None


def test_rule_02_fifty_parallel_inserts_of_one_name_in_mixed_case_make_one_user(crowd, home):
    made = [found for found in crowd.rush(_create, home, 50) if found is not None]
    assert len(made) == 1
    assert home.count(USER) == 1


# --- passwords ---------------------------------------------------------------------------------------------


def test_rule_01_a_digest_is_renewed_only_while_it_is_the_one_that_was_verified(home):
    alice = home.person()
    verified = home.digest(alice)
    assert verified is not None
    with home.services.database.unit() as connection:
        passwords.store(connection, alice, "changed meanwhile", 5)
        assert passwords.replace_digest(connection, alice, verified, "renewed") is False
    assert home.digest(alice) == "changed meanwhile"
    with home.services.database.unit() as connection:
        assert passwords.replace_digest(connection, alice, "changed meanwhile", "renewed") is True
    assert home.digest(alice) == "renewed"


def test_a_user_without_a_password_has_no_digest(home):
    alice = home.person()
    with home.services.database.unit() as connection:
        passwords.forget(connection, alice)
        found = passwords.find_credential(connection, "alice")
    assert found is not None
    assert (found.user_id, found.digest) == (alice, None)


def test_63b_3_1_1_2_22_the_password_itself_is_nowhere_in_the_database(home):
    home.person()
    home.log_in()
    home.log_in(password="another secret word")
    stored = [
        str(bytes(value) if isinstance(value, memoryview) else value)
        for table in schema.metadata.sorted_tables
        for row in home.rows(sa.select(table))
        for value in row
    ]
    assert not [text for text in stored if PASSWORD in text or "another secret word" in text]


def test_digests_are_counted_by_scheme(home):
    alice, _ = home.person("alice"), home.person("bob")
    with home.services.database.unit() as connection:
        passwords.store(connection, alice, "scrypt:1024:8:1$salt$hash", 5)
        counted = passwords.count_schemes(connection)
        sample = passwords.sample_digests(connection, limit=1)
    assert counted == {"scrypt:1024:8:1": 1, "$argon2id$v=19$m=1024,t=1,p=1": 1}
    assert {passwords.scheme_of(digest) for digest in sample} == set(counted)


# --- links -------------------------------------------------------------------------------------------------


def issue(connection: sa.Connection, user_id: int, *, epoch: int = 0, now: int = 0, address: str = "") -> str:
    """Make a link that lives for an hour."""
    return tokens.issue_link(
        connection, tokens.Terms(tokens.RESET_PASSWORD, user_id, epoch, address), now=now, ends_at=now + HOUR
    )


def test_rule_31_v11_5_1_only_the_digest_of_a_256_bit_link_is_stored(connection):
    secret = issue(connection, make(connection, "alice"))
    assert len(secret) == 43
    assert [bytes(found) for found in connection.execute(sa.select(LINK.c.digest)).scalars()] == [secret_digest(secret)]


def test_rule_31_looking_consumes_nothing_and_consuming_works_once(connection):
    alice = make(connection, "alice")
    secret = issue(connection, alice)
    for _ in range(5):
        assert tokens.find_link(connection, tokens.RESET_PASSWORD, secret, 0) == (alice, "alice", None, "")
    assert tokens.consume_link(connection, tokens.RESET_PASSWORD, secret, 0) == ("reset_password", alice, 0, "")
    assert tokens.consume_link(connection, tokens.RESET_PASSWORD, secret, 0) is None
    assert tokens.find_link(connection, tokens.RESET_PASSWORD, secret, 0) is None


def test_a_link_ends_by_time(connection):
    secret = issue(connection, make(connection, "alice"))
    assert tokens.find_link(connection, tokens.RESET_PASSWORD, secret, HOUR - 1)
    assert tokens.find_link(connection, tokens.RESET_PASSWORD, secret, HOUR) is None
    assert tokens.consume_link(connection, tokens.RESET_PASSWORD, secret, HOUR) is None


@pytest.mark.parametrize("secret", ["", "x", "x" * 43, "\ud800", "\x00" * 100_000])
def test_a_link_that_was_never_made_is_none(connection, secret):
    issue(connection, make(connection, "alice"))
    assert tokens.find_link(connection, tokens.RESET_PASSWORD, secret, 0) is None
    assert tokens.consume_link(connection, tokens.RESET_PASSWORD, secret, 0) is None


def test_rule_31_a_link_serves_its_purpose_alone(connection):
    secret = issue(connection, make(connection, "alice"))
    assert tokens.find_link(connection, "verify_email", secret, 0) is None
    assert tokens.consume_link(connection, "verify_email", secret, 0) is None
    assert tokens.find_link(connection, tokens.RESET_PASSWORD, secret, 0)


def test_a_newer_link_kills_the_older_ones_of_its_user_alone(connection):
    alice, bob = make(connection, "alice"), make(connection, "bob")
    older, others = issue(connection, alice), issue(connection, bob)
    newer = issue(connection, alice)
    found = [tokens.find_link(connection, tokens.RESET_PASSWORD, secret, 0) for secret in (older, newer, others)]
    assert found == [None, (alice, "alice", None, ""), (bob, "bob", None, "")]


@pytest.mark.parametrize("values", [{"epoch": 1}, {"state": "suspended"}, {"state": "closed"}])
def test_rule_31_a_link_dies_with_the_epoch_and_with_its_user(connection, values):
    secret = issue(connection, make(connection, "alice"))
    connection.execute(sa.update(USER).values(values))
    assert tokens.find_link(connection, tokens.RESET_PASSWORD, secret, 0) is None


def test_rule_31_a_mailed_link_is_bound_to_the_very_address(connection):
    alice = make(connection, "alice")
    users.verify_email(connection, alice, "alice@example.org")
    secret = issue(connection, alice, address="alice@example.org")
    assert tokens.find_link(connection, tokens.RESET_PASSWORD, secret, 0)
    users.set_email(connection, alice, "other@example.org")
    assert tokens.find_link(connection, tokens.RESET_PASSWORD, secret, 0) is None
    assert tokens.consume_link(connection, tokens.RESET_PASSWORD, secret, 0) is None


def test_rule_31_an_address_is_verified_for_one_user_and_unverified_for_many(connection):
    alice, bob = make(connection, "alice"), make(connection, "bob")
    for user_id in (alice, bob):
        users.set_email(connection, user_id, "shared@example.org")
    assert users.find_by_email(connection, "shared@example.org") is None
    assert users.verify_email(connection, bob, "Shared@example.org")
    assert not users.verify_email(connection, alice, "shared@EXAMPLE.org")
    found = users.find_by_email(connection, "SHARED@example.org")
    assert found is not None
    assert (found.id, found.email, found.is_email_verified) == (bob, "Shared@example.org", True)
    unverified = users.find(connection, alice)
    assert unverified is not None
    assert (unverified.email, unverified.is_email_verified) == ("shared@example.org", False)
    users.set_email(connection, bob, None)
    assert users.verify_email(connection, alice, "shared@example.org")


def _consume(here: house.House, _number: int, secret: str) -> bool:
    with here.services.database.unit() as connection:
        return tokens.consume_link(connection, tokens.RESET_PASSWORD, secret, 0) is not None


def test_rule_31_v2_3_4_of_fifty_parallel_uses_of_a_link_exactly_one_gets_it(crowd, home):
    with home.services.database.unit() as connection:
        secret = issue(connection, make(connection, "alice"))
    assert crowd.rush(_consume, home, 50, secret).count(True) == 1


# --- roles -------------------------------------------------------------------------------------------------


def test_role_names_are_one_upper_and_lower_case_aside(home, connection):
    held = home.services.roles
    assert held.require(connection, "CLERK") == "clerk"
    assert held.create(connection, "Auditor", ["audit:read"], 1)
    assert held.require(connection, "aUDITOR") == "auditor"
    for taken in ("auditor", "AUDITOR", "Clerk", "admin", "ADMIN"):
        assert not held.create(connection, taken, [], 1)
    for unknown in ("", "nobody", "clerk ", "clerk\n"):
        with pytest.raises(UnknownRole):
            held.require(connection, unknown)


def test_roles_in_code_and_in_the_database_are_listed_with_what_they_allow(home, connection):
    held = home.services.roles
    held.create(connection, "auditor", ["audit:read", "users:read", "audit:read"], 1)
    held.create(connection, "empty", [], 1)
    assert held.all(connection) == {
        "admin": None,
        "auditor": frozenset({"audit:read", "users:read"}),
        "cashier": frozenset({"invoice:read", "invoice:refund"}),
        "clerk": frozenset({"invoice:read"}),
        "empty": frozenset(),
    }


def test_rights_are_the_union_of_present_grants(home, connection):
    held, alice = home.services.roles, make(connection, "alice")
    held.create(connection, "auditor", ["audit:read"], 1)
    for role, until in (("clerk", None), ("auditor", 10), ("cashier", 5)):
        held.add_grant(connection, alice, role, 1, by=None, until_at=until)
    assert held.rights_of(connection, alice, 7).permissions == {"invoice:read", "audit:read"}
    held.add_grant(connection, alice, "admin", 7, by=alice, until_at=8)
    assert held.rights_of(connection, alice, 7).is_admin
    assert not held.rights_of(connection, alice, 8).is_admin
    assert held.names_of(connection, [alice], 7) == {alice: ["admin", "auditor", "clerk"]}


def test_of_a_role_in_code_and_in_the_database_the_code_alone_counts(home, connection):
    home.services.roles.create(connection, "auditor", ["audit:read"], 1)
    home.services.roles.declare("auditor", ["users:read"])  # an app's next release declares a role that was made before
    assert home.services.roles.all(connection)["auditor"] == {"users:read"}
    assert home.services.roles.rights_of_role(connection, "auditor").permissions == {"users:read"}


FAULTS_OF_NAMES = {
    "clerk": "declared twice: join",
    "admin": "built in.*choose another name",
    "": "give it a name of 1 to 80",
    "x" * 81: "give it a name of 1 to 80",
}


def test_a_role_is_declared_once():
    held = roles.Roles()
    held.declare("Clerk", [])
    for name in ("clerk", "admin", "ADMIN", "", "x" * 81):
        with pytest.raises(SetupError, match=FAULTS_OF_NAMES[name.casefold()]):
            held.declare(name, [])


def _claim(here: house.House, number: int) -> bool:
    with here.services.database.unit() as connection:
        return here.services.roles.claim_first_admin(connection, None, number)


def test_rule_25_the_claim_is_spent_once_for_ever(crowd, home):
    with home.services.database.unit() as connection:
        assert home.services.roles.is_first_admin_open(connection)
    assert crowd.rush(_claim, home, 50).count(True) == 1
    with home.services.database.unit() as connection:
        assert not home.services.roles.is_first_admin_open(connection)
        assert not home.services.roles.claim_first_admin(connection, None, 1)


def test_rule_24_administrators_who_can_log_in_without_end_are_counted(home):
    names = ("lasting", "ending", "suspended", "closed", "passwordless", "expired", "temporary", "marked")
    ids = {name: home.person(name, roles=["admin"]) for name in names}
    home.person("plain")
    now, leaving = home.clock.now(), {name: home.user(ids[name]) for name in ("suspended", "closed")}
    with home.services.database.unit() as connection:
        held = home.services.roles
        held.add_grant(connection, ids["ending"], "admin", now, by=None, until_at=now + HOUR)
        for state, target in leaving.items():
            users.set_state(connection, target, state)
        passwords.forget(connection, ids["passwordless"])
        passwords.store(connection, ids["expired"], "digest", now, temporary_until=now)
        passwords.store(connection, ids["temporary"], "digest", now, temporary_until=now + 1)
        assert passwords.mark_compromised(connection, ids["marked"], now)
        assert not passwords.mark_compromised(connection, ids["marked"], now + 1)
        assert held.lasting_admins(connection, now) == {ids["lasting"], ids["temporary"]}
