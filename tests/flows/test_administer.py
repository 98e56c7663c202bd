"""What administrators and commands do: nobody acts on themselves or on more than they are, and one stays (rule 24)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from flask_gatehouse.domain import passwords
from flask_gatehouse.domain.sessions import Issued, Session
from flask_gatehouse.flows import administer, edit_roles
from flask_gatehouse.flows.acts import Act, require_reason
from flask_gatehouse.flows.outcomes import Refusal, Refused
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.clock import as_text
from flask_gatehouse.kernel.errors import InvalidReason
from flask_gatehouse.kernel.identity import CLI, Actor
from flask_gatehouse.kernel.schema import ACTIVE, CLOSED, SUSPENDED
from tests.support import house
from tests.support.house import BY_COMMAND, HERE, SECOND

HOUR = 3600 * SECOND
Deed = Callable[[house.House, Act, int], object]


def suspend(home: house.House, act: Act, user_id: int) -> object:
    """Suspend a user."""
    return administer.suspend(home.services, act, user_id)


def close(home: house.House, act: Act, user_id: int) -> object:
    """Close a user."""
    return administer.close(home.services, act, user_id)


def withdraw(home: house.House, act: Act, user_id: int) -> object:
    """Withdraw `admin`."""
    return administer.withdraw(home.services, act, user_id, "admin")


def end_the_grant(home: house.House, act: Act, user_id: int) -> object:
    """Let `admin` end in an hour."""
    return administer.grant(home.services, act, user_id, "admin", home.clock.now() + HOUR)


def mark(home: house.House, act: Act, user_id: int) -> object:
    """Mark a user's password as compromised."""
    return administer.mark_compromised(home.services, act, user_id)


def restore(home: house.House, act: Act, user_id: int) -> object:
    """Restore a user."""
    return administer.restore(home.services, act, user_id)


def unlock(home: house.House, act: Act, user_id: int) -> object:
    """Unlock a user."""
    return administer.unlock(home.services, act, user_id)


def end_sessions(home: house.House, act: Act, user_id: int) -> object:
    """End a user's sessions."""
    return administer.end_sessions(home.services, act, user_id)


def reset_factors(home: house.House, act: Act, user_id: int) -> object:
    """Reset a user's second factors."""
    return administer.reset_factors(home.services, act, user_id)


def grant_clerk(home: house.House, act: Act, user_id: int) -> object:
    """Grant `clerk`."""
    return administer.grant(home.services, act, user_id, "clerk")


TAKING: list[Deed] = [suspend, close, withdraw, end_the_grant, mark]
DEEDS: list[Deed] = [*TAKING, restore, unlock, end_sessions, grant_clerk, reset_factors]


def reason(outcome: object) -> Refusal | None:
    """Return why a flow refused, None where it did not."""
    return outcome.reason if isinstance(outcome, Refused) else None


# --- the last administrator --------------------------------------------------------------------------------


@pytest.mark.parametrize("deed", TAKING)
def test_rule_24_the_last_administrator_stays_on_every_path(home, deed: Deed):
    root = home.person("root", roles=["admin"])
    before = home.kinds()
    assert reason(deed(home, BY_COMMAND, root)) is Refusal.LAST_ADMIN
    assert home.user(root).state == ACTIVE
    assert [(grant.role, grant.until_at) for grant in home.grants(root)] == [("admin", None)]
    assert home.kinds() == before


@pytest.mark.parametrize("deed", TAKING)
@pytest.mark.parametrize("other", ["ending", "suspended", "passwordless", "marked"])
def test_rule_24_who_cannot_log_in_for_ever_does_not_count(home, deed: Deed, other: str):
    root, second = home.person("root", roles=["admin"]), home.person("second", roles=["admin"])
    if other == "ending":
        end_the_grant(home, BY_COMMAND, second)
    if other == "suspended":
        suspend(home, BY_COMMAND, second)
    if other == "marked":
        mark(home, BY_COMMAND, second)
    if other == "passwordless":
        with home.services.database.unit() as connection:
            passwords.forget(connection, second)
    assert reason(deed(home, BY_COMMAND, root)) is Refusal.LAST_ADMIN


@pytest.mark.parametrize("deed", TAKING)
def test_of_two_administrators_one_may_go(home, deed: Deed):
    root, second = home.person("root", roles=["admin"]), home.person("second", roles=["admin"])
    assert reason(deed(home, BY_COMMAND, second)) is None
    assert reason(deed(home, BY_COMMAND, root)) is Refusal.LAST_ADMIN


def _race(here: house.House, number: int, secrets: list[str], deed: str) -> str:
    mine, other = (here.load(secret) for secret in (secrets if number % 2 else secrets[::-1]))
    if not isinstance(mine, Session) or not isinstance(other, Session):
        return "gone"
    act = Act(Actor.of(mine.identity), mine.identity, "against each other", HERE)
    outcome = globals()[deed](here, act, other.identity.user_id)
    return outcome.reason.name if isinstance(outcome, Refused) else "done"


@pytest.mark.parametrize("deed", ["withdraw", "suspend", "close", "end_the_grant"])
def test_rule_24_v15_4_2_two_administrators_against_each_other_in_parallel_leave_one(crowd, home, deed):
    ids = [home.person(name, roles=["admin"]) for name in ("root", "second")]
    secrets = [home.session(name).secret for name in ("root", "second")]
    outcomes = crowd.rush(_race, home, 20, secrets, deed)
    assert "done" in outcomes
    with home.services.reading() as connection:
        (left,) = home.services.roles.lasting_admins(connection, home.clock.now())
    assert left in ids
    assert home.verified() == len(home.events())


def _withdraw_by_command(here: house.House, number: int, ids: list[int]) -> str:
    outcome = withdraw(here, BY_COMMAND, ids[number % len(ids)])
    return outcome.reason.name if isinstance(outcome, Refused) else "done"


def test_rule_24_v15_4_2_commands_that_withdraw_every_administrator_at_once_leave_one(crowd, home):
    ids = [home.person(f"root{number}", roles=["admin"]) for number in range(10)]
    outcomes = crowd.rush(_withdraw_by_command, home, 20, ids)
    assert outcomes.count("done") == 9
    assert len([user_id for user_id in ids if home.grants(user_id)]) == 1
    assert "LAST_ADMIN" in outcomes


# --- who may ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deed", DEEDS)
def test_nobody_acts_on_themselves(home, deed: Deed):
    home.person("root", roles=["admin"])
    home.person("second", roles=["admin"])
    act = home.by(home.session("root").secret)
    assert act.identity is not None
    assert reason(deed(home, act, act.identity.user_id)) is Refusal.SELF


@pytest.mark.parametrize("deed", DEEDS)
def test_v8_2_2_acting_on_a_user_needs_a_superset_of_that_users_rights(home, deed: Deed):
    home.person("root", roles=["admin"])
    home.person("second", roles=["admin"])
    home.person("weak", roles=["clerk"])
    cashier, root = home.person("strong", roles=["cashier"]), home.user(1).id
    weak = home.by(home.session("weak").secret)
    for target in (cashier, root):
        assert reason(deed(home, weak, target)) is Refusal.FORBIDDEN
    assert [grant.role for grant in home.grants(cashier)] == ["cashier"]
    assert home.user(root).state == home.user(cashier).state == ACTIVE


def test_v8_2_3_nobody_grants_or_withdraws_more_than_they_hold(home):
    home.person("clerk", roles=["clerk"])
    plain = home.person("plain")
    act = home.by(home.session("clerk").secret)
    for role in ("cashier", "admin"):
        assert reason(administer.grant(home.services, act, plain, role)) is Refusal.FORBIDDEN
    assert reason(administer.grant(home.services, act, plain, "clerk")) is None
    assert reason(edit_roles.create(home.services, act, "auditors", ["invoice:refund"])) is Refusal.FORBIDDEN
    assert edit_roles.create(home.services, act, "Readers", ["invoice:read"]) == "readers"


def test_v8_3_2_rights_are_read_again_under_lock_not_taken_from_the_request(home):
    home.person("root", roles=["admin"])
    second, plain = home.person("second", roles=["admin"]), home.person("plain")
    stale = home.by(home.session("second").secret)  # passed the gate a moment ago
    assert reason(withdraw(home, BY_COMMAND, second)) is None
    assert reason(administer.grant(home.services, stale, plain, "admin")) is Refusal.FORBIDDEN


@pytest.mark.parametrize("ending", [suspend, close, end_sessions])
def test_who_was_ended_meanwhile_does_nothing_any_more(home, ending: Deed):
    home.person("root", roles=["admin"])
    home.person("third", roles=["admin"])
    second, plain = home.person("second", roles=["admin"]), home.person("plain")
    stale = home.by(home.session("second").secret)
    assert reason(ending(home, BY_COMMAND, second)) is None
    assert reason(suspend(home, stale, plain)) is Refusal.FORBIDDEN
    assert reason(edit_roles.create(home.services, stale, "auditors", ["audit:read"])) is Refusal.FORBIDDEN
    assert home.user(plain).state == ACTIVE


@pytest.mark.parametrize("user_id", [0, -1, 999, 2**62])
@pytest.mark.parametrize("deed", DEEDS)
def test_a_user_who_does_not_exist_is_not_found(home, deed: Deed, user_id: int):
    assert reason(deed(home, BY_COMMAND, user_id)) is Refusal.NOT_FOUND


@pytest.mark.parametrize("deed", DEEDS)
def test_a_closed_user_is_not_found(home, deed: Deed):
    plain = home.person("plain")
    close(home, BY_COMMAND, plain)
    assert reason(deed(home, BY_COMMAND, plain)) is Refusal.NOT_FOUND


# --- what happens ------------------------------------------------------------------------------------------


def test_v7_4_2_a_suspended_user_has_no_session_left_and_gets_none(home):
    plain = home.person("plain")
    issued = [home.session("plain") for _ in range(3)]
    assert reason(suspend(home, BY_COMMAND, plain)) is None
    assert home.user(plain).state == SUSPENDED
    assert not [one for one in issued if isinstance(home.load(one.secret), Session)]
    assert home.count(schema.session) == 0
    assert isinstance(home.log_in("plain"), Refused)
    (detail,) = home.details("user.suspended")
    assert detail["reason"] == "a test"
    assert sorted(detail["sessions_ended"]) == sorted(one.public_id for one in issued)


def test_a_restored_user_logs_in_again_and_old_sessions_stay_ended(home):
    plain = home.person("plain")
    issued = home.session("plain")
    suspend(home, BY_COMMAND, plain)
    assert reason(restore(home, BY_COMMAND, plain)) is None
    assert not isinstance(home.load(issued.secret), Session)
    assert isinstance(home.log_in("plain"), Issued)
    assert home.kinds()[-2:] == ["user.restored", "login.succeeded"]


@pytest.mark.parametrize("deed", [suspend, restore])
def test_what_is_so_already_is_neither_changed_nor_recorded(home, deed: Deed):
    plain = home.person("plain")
    deed(home, BY_COMMAND, plain)
    before, epoch = home.kinds(), home.user(plain).epoch
    assert reason(deed(home, BY_COMMAND, plain)) is None
    assert (home.kinds(), home.user(plain).epoch) == (before, epoch)


def test_63b_4_5_1_a_closed_user_loses_name_address_password_roles_and_sessions(home):
    plain = home.person("plain", roles=["clerk"], email="plain@example.org")
    home.session("plain")
    assert reason(close(home, BY_COMMAND, plain)) is None
    gone = home.user(plain)
    assert (gone.state, gone.email) == (CLOSED, None)
    assert "plain" not in gone.username
    assert home.grants(plain) == []
    assert home.digest(plain) is None
    assert home.count(schema.session) == 0
    assert home.person("plain") != plain
    assert "plain@example.org" not in str(home.rows(sa.select(schema.event)))


def test_v7_4_5_an_administrator_ends_the_sessions_of_one_user_and_no_others(home):
    home.person("root", roles=["admin"])
    plain = home.person("plain")
    mine, theirs = home.session("root"), [home.session("plain") for _ in range(3)]
    assert administer.end_sessions(home.services, home.by(mine.secret), plain) == 3
    assert not [one for one in theirs if isinstance(home.load(one.secret), Session)]
    assert isinstance(home.load(mine.secret), Session)
    (entry,) = home.events("session.ended")
    assert (entry.actor, entry.user_id, home.details("session.ended")[0]["reason"]) == ("root", plain, "a test")


def test_rule_34_a_grant_may_have_an_end_in_the_future_which_may_be_changed(home):
    plain = home.person("plain")
    until = home.clock.now() + HOUR

    def granted(end: int | None) -> object:
        return administer.grant(home.services, BY_COMMAND, plain, "CLERK", end)

    assert reason(granted(until)) is None
    assert [(grant.role, grant.until_at) for grant in home.grants(plain)] == [("clerk", until)]
    assert reason(granted(until + HOUR)) is None
    assert reason(granted(None)) is None
    assert [(grant.role, grant.until_at) for grant in home.grants(plain)] == [("clerk", None)]
    for past in (home.clock.now(), home.clock.now() - 1, 0):
        outcome = granted(past)
        assert isinstance(outcome, Refused)
        assert (outcome.reason, outcome.field) == (Refusal.FIELD, "until")
    ends = [detail["until"] for detail in home.details("role.granted")]
    assert ends == [as_text(until), as_text(until + HOUR), None]


def test_roles_that_do_not_exist_or_are_not_held_are_named_beside_the_field(home):
    plain = home.person("plain")
    for outcome in (
        administer.grant(home.services, BY_COMMAND, plain, "nobody"),
        administer.withdraw(home.services, BY_COMMAND, plain, "nobody"),
        administer.withdraw(home.services, BY_COMMAND, plain, "clerk"),
    ):
        assert isinstance(outcome, Refused)
        assert (outcome.reason, outcome.field) == (Refusal.FIELD, "role")
    assert not home.events("role.withdrawn")


def test_a_withdrawn_role_is_gone_and_recorded_with_its_reason(home):
    plain = home.person("plain", roles=["clerk", "cashier"])
    assert reason(administer.withdraw(home.services, BY_COMMAND, plain, "Clerk")) is None
    assert [grant.role for grant in home.grants(plain)] == ["cashier"]
    assert home.details("role.withdrawn") == [{"reason": "a test", "role": "clerk"}]


# --- reasons and roles -------------------------------------------------------------------------------------


@pytest.mark.parametrize("deed", [suspend, withdraw, end_sessions, reset_factors, mark])
@pytest.mark.parametrize("text", ["", "  ", "a\nb", "a\x00b", "\ud800", "x" * 501])
def test_v2_2_3_what_takes_something_away_needs_a_reason_of_one_line(home, deed: Deed, text: str):
    home.person("root", roles=["admin"])
    second = home.person("second", roles=["admin"])
    outcome = deed(home, Act(CLI, None, text), second)
    assert isinstance(outcome, Refused)
    assert (outcome.reason, outcome.field) == (Refusal.FIELD, "reason")
    assert home.user(second).state == ACTIVE
    assert [grant.role for grant in home.grants(second)] == ["admin"]


def test_elsewhere_a_reason_is_optional_and_still_one_line(home):
    plain = home.person("plain")
    assert reason(unlock(home, Act(CLI, None, ""), plain)) is None
    assert reason(unlock(home, Act(CLI, None, "a\nb"), plain)) is Refusal.FIELD
    assert home.details("user.unlocked") == [{}]
    assert require_reason(" trimmed \u00e9 ", is_required=True) == "trimmed \u00e9"
    with pytest.raises(InvalidReason):
        require_reason("\x7f", is_required=False)


def test_a_role_made_at_run_time_counts_at_the_next_load(home, open_house):
    plain = home.person("plain")
    secret = home.session("plain").secret
    assert edit_roles.create(home.services, BY_COMMAND, "Auditor", ["audit:read", "users:read"]) == "auditor"
    assert reason(administer.grant(home.services, BY_COMMAND, plain, "auditor")) is None
    assert open_house().identity(secret).permissions == {"audit:read", "users:read"}
    assert home.details("role.created") == [
        {"permissions": ["audit:read", "users:read"], "reason": "a test", "role": "auditor"}
    ]


def test_a_reason_for_a_role_is_taken_as_any_other(home):
    act = Act(CLI, None, " for the till ")
    assert edit_roles.create(home.services, act, "till", ["audit:read"]) == "till"
    assert home.details("role.created")[0]["reason"] == "for the till"
    outcome = edit_roles.create(home.services, Act(CLI, None, "two\nlines"), "other", ["audit:read"])
    assert isinstance(outcome, Refused)
    assert (outcome.reason, outcome.field) == (Refusal.FIELD, "reason")


@pytest.mark.parametrize(
    "name, permissions, field",
    [
        ("ab", ["audit:read"], "role"),
        ("a role", ["audit:read"], "role"),
        ("clerk", ["audit:read"], "role"),
        ("ADMIN", ["audit:read"], "role"),
        ("auditor", ["audit:write"], "permission"),
        ("auditor", ["audit:read", ""], "permission"),
    ],
)
def test_a_role_that_cannot_be_made_is_refused_beside_its_field(home, name, permissions, field):
    outcome = edit_roles.create(home.services, BY_COMMAND, name, permissions)
    assert isinstance(outcome, Refused)
    assert (outcome.reason, outcome.field) == (Refusal.FIELD, field)
    assert home.count(schema.role) == 0
