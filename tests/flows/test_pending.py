"""A login whose second factor is due is no session: it opens nothing and waits ten minutes (rule 14)."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from flask_gatehouse.domain.sessions import Gone, Issued, Session
from flask_gatehouse.domain.users import UserRecord
from flask_gatehouse.flows import administer, login, own_password, reset_password, revoke, second_step
from flask_gatehouse.flows.login import Attempt
from flask_gatehouse.flows.outcomes import FactorDue, FactorLost, Refusal, Refused, refused
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.identity import CLI, HAS, KNOWS, Proof, assurance
from tests.support import house
from tests.support.house import BY_COMMAND, HERE, PASSWORD, WRONG, PaperCodes, source
from tests.support.visitor import submit

CODES = ("one", "two", "three", "four", "five", "six")
SESSION = schema.session


@pytest.fixture
def paper():
    """Return the factor."""
    return PaperCodes()


@pytest.fixture
def guarded(open_house, paper):
    """Return a house where alice has a second factor."""
    here = open_house(factors=[paper])
    here.person("bob")
    paper.give(here, here.person(), *CODES)
    return here


@pytest.fixture
def alice(guarded):
    """Return the id of the user with the factor."""
    return guarded.rows(sa.select(schema.user.c.id).where(schema.user.c.username == "alice"))[0][0]


def pend(here: house.House, **attempt) -> Issued:
    """Show the right password and return the pending login."""
    outcome = here.log_in(**attempt)
    assert isinstance(outcome, FactorDue), outcome
    return outcome.pending


def answer(here: house.House, pending: str, code: str, field: str = "code", **attempt) -> Issued | FactorLost | Refused:
    """Answer the factor."""
    return second_step.answer(here.services, pending, field, code, Attempt(source(), **attempt))


def opened(here: house.House, pending: str, code: str) -> Issued:
    """Answer the factor, which must succeed."""
    outcome = answer(here, pending, code)
    assert isinstance(outcome, Issued), outcome
    return outcome


def reason(outcome: object) -> Refusal | None:
    """Return why a flow refused, None where it did not."""
    return outcome.reason if isinstance(outcome, Refused) else None


def test_rule_14_the_right_password_gives_a_pending_login_that_no_load_takes_for_a_session(guarded, alice):
    outcome = guarded.log_in()
    assert isinstance(outcome, FactorDue)
    assert outcome.fields == ("code",)
    assert guarded.load(outcome.pending.secret) is Gone.UNKNOWN
    with guarded.services.unit() as unit:
        sessions = guarded.services.sessions
        assert sessions.store.of_user(unit.connection, alice) == []
        assert sessions.store.page(unit.connection) == []
        assert sessions.store.find_public(unit.connection, outcome.pending.public_id) is None
    assert not revoke.by_public_id(guarded.services, CLI, outcome.pending.public_id, "")
    with guarded.services.unit() as unit:
        assert sessions.load_pending(unit.connection, outcome.pending.secret, unit.now) is not None
    assert guarded.kinds()[-1] == "login.factor_due"
    assert not guarded.events("login.succeeded")


def test_rule_14_the_answer_makes_it_a_session_under_a_new_secret_with_two_kinds_of_proof(guarded, alice):
    pending = pend(guarded)
    guarded.later(minutes=2)
    issued = answer(guarded, pending.secret, "one", data='{"theme":"dark"}')
    assert isinstance(issued, Issued)
    assert issued.secret != pending.secret
    identity = guarded.identity(issued.secret)
    then = guarded.clock.now() - 120 * house.SECOND
    assert identity.proofs == (Proof("password", then, KNOWS), Proof("paper", guarded.clock.now(), HAS))
    assert assurance(identity.proofs) == 2
    found = guarded.load(issued.secret)
    assert isinstance(found, Session)
    assert found.row.data == '{"theme":"dark"}'
    assert guarded.details("login.succeeded") == [{"methods": ["password", "paper"]}]
    assert reason(answer(guarded, pending.secret, "two")) is Refusal.GONE


@pytest.mark.parametrize("code", ["wrong", "", "ONE", " one", "one "])
def test_a_wrong_answer_leaves_the_pending_login_and_is_recorded(guarded, alice, code):
    pending = pend(guarded)
    assert reason(answer(guarded, pending.secret, code)) is Refusal.CREDENTIALS
    assert [entry.user_id for entry in guarded.events("login.failed")] == [alice]
    assert isinstance(answer(guarded, pending.secret, "one"), Issued)


def test_rule_14_a_code_is_burnt_by_its_first_use(guarded):
    assert isinstance(answer(guarded, pend(guarded).secret, "one"), Issued)
    assert reason(answer(guarded, pend(guarded).secret, "one")) is Refusal.CREDENTIALS
    assert isinstance(answer(guarded, pend(guarded).secret, "two"), Issued)


def test_rule_14_v2_3_1_nothing_but_a_pending_logins_secret_may_be_answered(guarded):
    live = guarded.session("bob").secret
    for secret in (live, "", "x" * 43, "x"):
        assert reason(answer(guarded, secret, "one")) is Refusal.GONE
    assert reason(answer(guarded, pend(guarded).secret, "one", field="recovery_code")) is Refusal.GONE


def test_rule_14_it_waits_ten_minutes(guarded):
    pending = pend(guarded)
    guarded.later(minutes=9, seconds=59)
    assert isinstance(answer(guarded, pending.secret, "one"), Issued)
    pending = pend(guarded)
    guarded.later(minutes=10)
    assert reason(answer(guarded, pending.secret, "two")) is Refusal.GONE


def _changed(here: house.House, _alice: int) -> None:
    issued = answer(here, pend(here).secret, "six")
    assert isinstance(issued, Issued)
    identity = here.identity(issued.secret)
    changed = own_password.change(here.services, identity, issued.secret, PASSWORD, "another quiet river", HERE)
    assert isinstance(changed, Issued)


def _suspended(here: house.House, alice: int) -> None:
    assert administer.suspend(here.services, BY_COMMAND, alice)


def _suspended_and_restored(here: house.House, alice: int) -> None:
    _suspended(here, alice)
    assert administer.restore(here.services, BY_COMMAND, alice)


def _ended(here: house.House, alice: int) -> None:
    house.end_all(here, alice)


def _reset(here: house.House, _alice: int) -> None:
    link = reset_password.make_link(here.services, CLI, "alice")
    assert isinstance(link, str)
    assert isinstance(reset_password.complete(here.services, link, "another quiet river", HERE), int)


@pytest.mark.parametrize("change", [_changed, _suspended, _suspended_and_restored, _ended, _reset])
def test_rule_14_v6_4_3_it_dies_with_whatever_ends_sessions(guarded, alice, change):
    pending = pend(guarded)
    change(guarded, alice)
    before = guarded.count(SESSION)
    assert reason(answer(guarded, pending.secret, "one")) is Refusal.GONE
    assert guarded.count(SESSION) == before


def test_v6_4_3_a_reset_does_not_skip_the_factor(guarded):
    _reset(guarded, 0)
    assert isinstance(guarded.log_in(password="another quiet river"), FactorDue)


def test_a_host_that_vouches_gets_a_pending_login_while_a_factor_is_due(guarded, alice):
    outcome = login.vouched(guarded.services, alice, Attempt(HERE), is_fresh=True)
    assert isinstance(outcome, FactorDue)
    issued = answer(guarded, outcome.pending.secret, "one")
    assert isinstance(issued, Issued)
    assert [proof.method for proof in guarded.identity(issued.secret).proofs] == ["app", "paper"]


def test_the_session_of_before_ends_when_the_login_is_complete_and_not_sooner(guarded):
    before = answer(guarded, pend(guarded).secret, "one")
    assert isinstance(before, Issued)
    pending = pend(guarded, previous=guarded.identity(before.secret))
    assert isinstance(guarded.load(before.secret), Session)
    after = answer(guarded, pending.secret, "two", previous=guarded.identity(before.secret))
    assert isinstance(after, Issued)
    assert not isinstance(guarded.load(before.secret), Session)


def test_rule_03_the_address_gets_its_charge_back_once_the_factor_was_right(guarded):
    pending = pend(guarded)
    assert guarded.counter("login@192.0.2.1")[0] == 1
    opened(guarded, pending.secret, CODES[0])
    assert guarded.counter("login@192.0.2.1")[0] == 0
    pend(guarded)
    assert guarded.counter("login@192.0.2.1")[0] == 1


def test_rule_04_a_factor_that_answers_no_more_is_unlocked_by_command_and_no_right_code_is_lost(guarded, alice):
    pending = pend(guarded)
    assert answer(guarded, pending.secret, "wrong") == refused(Refusal.CREDENTIALS)
    guarded.change(sa.update(schema.counter).where(schema.counter.c.key == f"factor:paper:{alice}").values(total=101))
    assert not answer(guarded, pending.secret, CODES[0])
    assert isinstance(administer.unlock(guarded.services, BY_COMMAND, alice), UserRecord)
    opened(guarded, pending.secret, CODES[0])


# --- counting ----------------------------------------------------------------------------------------------


def test_rule_08_guesses_of_the_factor_are_counted_and_survive_a_new_login(guarded, alice):
    pending = pend(guarded)
    assert [reason(answer(guarded, pending.secret, "wrong")) for _ in range(5)] == [Refusal.CREDENTIALS] * 5
    assert reason(answer(guarded, pending.secret, "one")) is Refusal.GONE  # the fifth wrong answer ended it
    pending = pend(guarded)
    assert reason(answer(guarded, pending.secret, "one")) is Refusal.THROTTLED
    guarded.later(seconds=30)
    assert isinstance(answer(guarded, pending.secret, "one"), Issued)
    assert guarded.counter(f"factor:paper:{alice}")[:2] == (0, 0)


def test_63b_3_2_2_3_a_hundred_wrong_answers_disable_the_factor_and_not_the_password(guarded, alice):
    values = {"count": 0, "total": 100, "ends_at": guarded.clock.now() + 1}
    guarded.change(sa.insert(schema.counter).values(key=f"factor:paper:{alice}", **values))
    pending = pend(guarded)
    assert reason(answer(guarded, pending.secret, "one")) is Refusal.CREDENTIALS
    assert isinstance(guarded.log_in(), FactorDue)


def test_rule_03_63b_3_2_2_5_the_password_alone_zeroes_no_count_and_refunds_nothing(guarded, alice):
    for _ in range(3):
        guarded.log_in(password=WRONG)
    pending = pend(guarded)
    assert guarded.counter(f"user:{alice}")[0] == 4
    assert guarded.counter("login@192.0.2.1")[0] == 4
    assert isinstance(answer(guarded, pending.secret, "one"), Issued)
    assert guarded.counter(f"user:{alice}")[:2] == (0, 0)


def test_rule_08_pending_logins_are_capped_and_never_push_out_a_live_session(open_house, paper):
    here = open_house(factors=[paper], GATEHOUSE_MAX_SESSIONS=3, GATEHOUSE_THROTTLE="off")
    paper.give(here, here.person(), *CODES)

    def pend_later() -> Issued:
        here.later(seconds=1)  # of one instant, which is the older goes by chance
        return pend(here)

    live = [opened(here, pend_later().secret, code) for code in ("one", "two", "three")]
    pending = [pend_later() for _ in range(6)]
    assert here.count(SESSION) <= 6
    assert [isinstance(here.load(one.secret), Session) for one in live] == [True] * 3
    assert reason(answer(here, pending[0].secret, "four")) is Refusal.GONE
    here.later(seconds=1)
    assert opened(here, pending[-1].secret, "four").ended == (live[0].public_id,)
    assert [isinstance(here.load(one.secret), Session) for one in live] == [False, True, True]
    assert here.details("session.ended") == [{"sessions": [live[0].public_id], "why": "more than the cap"}]


# --- many at once ------------------------------------------------------------------------------------------


def _answer(here: house.House, number: int, secret: str, code: str) -> str:
    outcome = second_step.answer(here.services, secret, "code", code, Attempt(source(f"10.0.0.{number}")))
    return outcome.reason.name if isinstance(outcome, Refused) else "opened"


def test_v2_3_4_of_parallel_answers_with_one_code_exactly_one_opens_a_session(crowd, guarded):
    outcomes = crowd.rush(_answer, guarded, 30, pend(guarded).secret, "one", GATEHOUSE_THROTTLE="off")
    assert outcomes.count("opened") == 1
    assert guarded.count(SESSION) == 1


def _answer_own(here: house.House, number: int, secrets: list[str]) -> str:
    return _answer(here, number, secrets[number], "one")


def test_v2_3_4_one_code_opens_one_of_many_pending_logins(crowd, guarded):
    secrets = [pend(guarded, address=f"10.0.0.{number}").secret for number in range(4)]
    outcomes = crowd.rush(_answer_own, guarded, 4, secrets, GATEHOUSE_THROTTLE="off")
    assert outcomes.count("opened") == 1


# --- over HTTP ---------------------------------------------------------------------------------------------


def test_rule_14_flasks_session_and_current_user_know_nothing_of_a_pending_login(guarded):
    client = guarded.app.test_client()
    client.environ_base["HTTP_USER_AGENT"] = house.AGENT
    client.get("/remember/mine")
    assert submit(client, "/login", username="alice", password=PASSWORD).status_code == 303
    assert client.get_cookie("gatehouse") is None
    assert client.get_cookie("gatehouse-pending") is not None
    assert client.get("/protected").status_code == 302
    assert client.get("/recall").json == {"value": "mine"}  # still the guest's
    assert submit(client, "/login/factor", code="one").status_code == 303
    assert client.get_cookie("gatehouse-pending") is None
    assert client.get("/protected").text == "inside: alice"
    assert client.get("/recall").json == {"value": "mine"}
