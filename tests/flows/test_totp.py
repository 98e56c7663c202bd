"""TOTP and recovery codes: enrolled by a code, each code used once, and what a recovery code allows (rules 14, 32)."""

from __future__ import annotations

import pyotp
import pytest
import sqlalchemy as sa

from flask_gatehouse.domain import devices, throttle
from flask_gatehouse.domain.sessions import Issued
from flask_gatehouse.flows import enrol, revoke, rotate_keys, second_step, step_up
from flask_gatehouse.flows.opening import Attempt
from flask_gatehouse.flows.outcomes import FactorDue, FactorLost, Refusal, Refused
from flask_gatehouse.flows.seeds import Enrolled, Offer
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.errors import LostKeyError
from flask_gatehouse.kernel.identity import assurance
from tests.support import apps, house
from tests.support.house import BY_COMMAND, HERE, PASSWORD, SECOND

ON = {"GATEHOUSE_FEATURES": "totp,recovery_codes"}


@pytest.fixture
def home(open_house):
    """Return a house with both features on."""
    return open_house(**ON)


def code_of(home: house.House, seed: str, steps: int = 0) -> str:
    """Return the code of now, or of some steps later."""
    return pyotp.TOTP(seed).generate_otp(home.clock.now() // (30 * SECOND) + steps)


def begin(home: house.House, name: str = "alice", **attempt: str) -> str:
    """Log in by password, which must leave a factor due, and return the pending secret."""
    outcome = home.log_in(name, **attempt)
    assert isinstance(outcome, FactorDue)
    return outcome.pending.secret


def answer(
    home: house.House, pending: str, value: str, field: str = "code", device: str = ""
) -> Issued | FactorLost | Refused:
    """Answer the second step."""
    spare = devices.new(home.services.keys) if device else ""
    return second_step.answer(home.services, pending, field, value, Attempt(HERE, device=device, spare=spare))


def refusal(outcome: object) -> object:
    """Return why a flow refused, the field where one is concerned, None where it did not."""
    return (outcome.field or outcome.reason) if isinstance(outcome, Refused) else None


class Phone:
    """What a user has after enrolling."""

    def __init__(self, home: house.House, name: str = "alice", user_id: int = 0) -> None:
        self.user_id = user_id or home.person(name)
        issued = home.session(name)
        offer = enrol.offer_totp(home.services, home.identity(issued.secret))
        assert isinstance(offer, Offer)
        self.seed = offer.seed
        enrolled = enrol.confirm_totp(
            home.services, home.identity(issued.secret), issued.secret, code_of(home, self.seed), HERE
        )
        assert isinstance(enrolled, Enrolled)
        self.codes, self.session = enrolled.codes, enrolled.issued
        home.later(seconds=30)


# --- enrolling --------------------------------------------------------------------------------------------


def test_v6_3_3_after_enrolling_the_password_alone_opens_nothing(home):
    phone = Phone(home)
    pending = begin(home)
    opened = answer(home, pending, code_of(home, phone.seed))
    assert isinstance(opened, Issued)
    assert assurance(home.identity(opened.secret).proofs) == 2


def test_v7_4_3_with_the_first_factor_all_other_sessions_end(home):
    home.person("alice")
    other, mine = home.session().secret, home.session().secret
    offer = enrol.offer_totp(home.services, home.identity(mine))
    assert isinstance(offer, Offer)
    done = enrol.confirm_totp(home.services, home.identity(mine), mine, code_of(home, offer.seed), HERE)
    assert isinstance(done, Enrolled)
    assert home.load(other).name == "UNKNOWN"
    assert home.load(mine).name == "UNKNOWN"  # it goes on under a new id
    assert assurance(home.identity(done.issued.secret).proofs) == 2
    assert [len(done.codes), len(set(done.codes))] == [10, 10]


def test_a_seed_belongs_to_the_session_it_was_made_in(home):
    home.person("alice")
    one, other = (home.session().secret for _ in range(2))
    first = enrol.offer_totp(home.services, home.identity(one))
    assert isinstance(first, Offer)
    again = enrol.offer_totp(home.services, home.identity(one))
    elsewhere = enrol.offer_totp(home.services, home.identity(other))
    assert isinstance(again, Offer)
    assert isinstance(elsewhere, Offer)
    assert again.seed == first.seed != elsewhere.seed
    wrong = enrol.confirm_totp(home.services, home.identity(other), other, code_of(home, first.seed), HERE)
    assert refusal(wrong) == "code"
    assert "otpauth://totp/" in first.link
    assert first.picture[1].startswith("M0 0h1v1h-1z")


def test_v2_3_1_nothing_is_enrolled_that_was_not_offered(home):
    home.person("alice")
    mine = home.session().secret
    assert refusal(enrol.confirm_totp(home.services, home.identity(mine), mine, "000000", HERE)) is Refusal.GONE
    assert home.count(schema.totp) == 0


def test_v6_5_1_five_wrong_codes_void_the_seed_that_waits(home):
    home.person("alice")
    mine = home.session().secret
    offer = enrol.offer_totp(home.services, home.identity(mine))
    assert isinstance(offer, Offer)
    for _ in range(5):
        assert refusal(enrol.confirm_totp(home.services, home.identity(mine), mine, "abc", HERE)) == "code"
    late = enrol.confirm_totp(home.services, home.identity(mine), mine, code_of(home, offer.seed), HERE)
    assert refusal(late) is Refusal.GONE
    anew = enrol.offer_totp(home.services, home.identity(mine))
    assert isinstance(anew, Offer)
    assert anew.seed != offer.seed


def test_v11_3_2_v11_3_3_the_seed_is_sealed_for_its_user(home):
    phone, other = Phone(home), Phone(home, "bob")
    rows = home.rows(sa.select(schema.totp))
    assert phone.seed not in repr(rows)
    stolen = {row.user_id: row for row in rows}[phone.user_id]
    mine = schema.totp.c.user_id == other.user_id
    home.change(sa.update(schema.totp).where(mine).values(sealed=stolen.sealed, key_id=stolen.key_id))
    with pytest.raises(LostKeyError, match="was changed or is another's"):
        answer(home, begin(home, "bob"), code_of(home, phone.seed))


def test_v11_2_2_a_seed_outlives_a_rotation_of_the_secret_and_is_sealed_anew(home, open_house):
    phone = Phone(home)
    new = {"GATEHOUSE_SECRET_KEY": "n" * 40, "GATEHOUSE_SECRET_KEY_FALLBACKS": [apps.SECRET]}
    later = open_house(**ON, **new)
    assert isinstance(answer(later, begin(later), code_of(later, phone.seed)), Issued)
    assert rotate_keys.due(later.services) == 1
    assert rotate_keys.rotate(later.services, BY_COMMAND, lambda _: None) == rotate_keys.Rotated(1)
    assert rotate_keys.due(later.services) == 0
    alone = open_house(**ON, GATEHOUSE_SECRET_KEY="n" * 40)
    later.later(seconds=30)
    alone.later(seconds=60)
    assert isinstance(answer(alone, begin(alone), code_of(alone, phone.seed)), Issued)
    lost = open_house(**ON, GATEHOUSE_SECRET_KEY="x" * 40)
    lost.later(seconds=120)
    with pytest.raises(LostKeyError, match="GATEHOUSE_SECRET_KEY_FALLBACKS"):
        answer(lost, begin(lost), code_of(lost, phone.seed))


# --- a code counts once ------------------------------------------------------------------------------------


def test_v6_5_1_a_code_counts_once_and_so_does_the_step_before_it(home):
    phone = Phone(home)
    code = code_of(home, phone.seed)
    assert isinstance(answer(home, begin(home), code), Issued)
    assert refusal(answer(home, begin(home), code)) is Refusal.CREDENTIALS
    assert refusal(answer(home, begin(home), code_of(home, phone.seed, -1))) is Refusal.CREDENTIALS


@pytest.mark.parametrize("steps, is_taken", [(0, True), (-1, True), (-2, False), (1, False)])
def test_v6_5_5_the_present_step_and_the_one_before_count(home, steps, is_taken):
    phone = Phone(home)
    home.later(minutes=5)
    assert isinstance(answer(home, begin(home), code_of(home, phone.seed, steps)), Issued) is is_taken


def _answer(here: house.House, number: int, pending: list[str], code: str, field: str) -> str:
    attempt = Attempt(house.source(f"10.0.0.{number}"))
    outcome = second_step.answer(here.services, pending[number % len(pending)], field, code, attempt)
    return outcome.reason.name if isinstance(outcome, Refused) else "done"


@pytest.mark.parametrize("field", ["code", "recovery_code"])
def test_v2_3_4_v15_4_2_63b_3_1_2_3_one_code_sent_fifty_times_at_once_opens_one_session(crowd, home, field):
    phone = Phone(home)
    value = code_of(home, phone.seed) if field == "code" else phone.codes[3]
    pending = [begin(home) for _ in range(4)]
    outcomes = crowd.rush(_answer, home, 50, pending, value, field, **ON)
    assert outcomes.count("done") == 1
    assert home.verified() == len(home.events())


@pytest.mark.parametrize("field", ["code", "recovery_code"])
def test_v6_6_3_63b_3_1_2_5_five_wrong_answers_end_the_pending_login_and_delay_the_factor(home, field):
    phone = Phone(home)
    right, wrong = (code_of(home, phone.seed), "000 000") if field == "code" else (phone.codes[0], f"0{'A' * 26}")
    pending = begin(home)
    for _ in range(5):
        assert refusal(answer(home, pending, wrong, field)) is Refusal.CREDENTIALS
    assert refusal(answer(home, pending, right, field)) is Refusal.GONE
    assert refusal(answer(home, begin(home), right, field)) is Refusal.THROTTLED


# --- proving again ------------------------------------------------------------------------------------------


def test_a_code_renews_the_session_and_another_users_does_not(home):
    phone, other = Phone(home), Phone(home, "bob")
    identity, secret = home.identity(phone.session.secret), phone.session.secret
    foreign = step_up.prove_factor(home.services, identity, secret, code_of(home, other.seed), HERE)
    assert refusal(foreign) is Refusal.CREDENTIALS
    assert [entry.user_id for entry in home.events("step_up.failed")] == [phone.user_id]
    renewed = step_up.prove_factor(home.services, identity, secret, code_of(home, phone.seed), HERE)
    assert isinstance(renewed, Issued)
    assert home.identity(renewed.secret).proven_at == home.clock.now()


def test_removal_asks_for_a_fresh_proof_of_something_else(home):
    phone = Phone(home)
    home.later(minutes=6)
    secret = phone.session.secret
    by_phone = step_up.prove_factor(home.services, home.identity(secret), secret, code_of(home, phone.seed), HERE)
    assert isinstance(by_phone, Issued)
    held = home.identity(by_phone.secret)
    assert refusal(enrol.remove_totp(home.services, held, by_phone.secret, HERE)) == "factor"
    by_password = step_up.prove(home.services, held, by_phone.secret, PASSWORD, HERE)
    assert isinstance(by_password, Issued)
    done = enrol.remove_totp(home.services, home.identity(by_password.secret), by_password.secret, HERE)
    assert isinstance(done, Issued)
    assert assurance(home.identity(done.secret).proofs) == 1
    assert isinstance(home.log_in(), Issued)
    assert home.count(schema.recovery_code) == 0


# --- a lost factor ------------------------------------------------------------------------------------------


def test_rule_32_v6_4_4_a_recovery_code_replaces_the_lost_factor_and_opens_nothing_else(home):
    phone = Phone(home)
    pending = begin(home)
    assert second_step.offer(home.services, pending) is None
    lost = answer(home, pending, phone.codes[0].lower().replace("-", " "), "recovery_code")
    assert isinstance(lost, FactorLost)
    assert home.load(lost.pending.secret).name == "UNKNOWN"  # no identity
    offer = second_step.offer(home.services, lost.pending.secret)
    assert offer is not None
    assert offer.seed != phone.seed
    wrong = second_step.replace_factor(home.services, lost.pending.secret, code_of(home, phone.seed), Attempt(HERE))
    assert refusal(wrong) == "code"
    opened = second_step.replace_factor(home.services, lost.pending.secret, code_of(home, offer.seed), Attempt(HERE))
    assert isinstance(opened, Issued)
    assert [proof.method for proof in home.identity(opened.secret).proofs] == ["password", "totp"]
    assert home.load(phone.session.secret).name == "UNKNOWN"  # the thief of the phone is out
    home.later(seconds=30)
    assert refusal(answer(home, begin(home), code_of(home, phone.seed))) is Refusal.CREDENTIALS
    assert home.kinds().count("login.recovered") == 1


def replaced(home: house.House, code: str) -> Issued:
    """Lose the factor, replace it by a recovery code and return the session."""
    lost = answer(home, begin(home), code, "recovery_code")
    assert isinstance(lost, FactorLost)
    offer = second_step.offer(home.services, lost.pending.secret)
    assert offer is not None
    new = code_of(home, offer.seed)
    opened = second_step.replace_factor(home.services, lost.pending.secret, new, Attempt(HERE))
    assert isinstance(opened, Issued)
    home.later(seconds=60)
    return opened


def test_63b_4_2_1_1_3_a_used_recovery_code_has_a_successor_once_the_factor_is_replaced(home):
    phone = Phone(home)
    code = phone.codes[4]
    for _ in range(2):
        opened = replaced(home, code)
        (code,) = second_step.replace_codes(home.services, opened, HERE)
        assert code[0] == "4"  # in the place of the used one
        assert second_step.replace_codes(home.services, opened, HERE) == ()
    assert home.details("recovery_codes.made")[1:] == [{"number": 1, "replaced": True}] * 2
    assert refusal(answer(home, begin(home), phone.codes[4], "recovery_code")) is Refusal.CREDENTIALS
    last = replaced(home, phone.codes[9])
    revoke.all_own(home.services, home.identity(last.secret), HERE)
    assert second_step.replace_codes(home.services, last, HERE) == ()  # that session has ended
    assert isinstance(answer(home, begin(home), code, "recovery_code"), FactorLost)


def test_rule_32_v2_3_1_without_a_recovery_code_nothing_is_replaced(home):
    Phone(home)
    pending = begin(home)
    outcome = second_step.replace_factor(home.services, pending, "000000", Attempt(HERE))
    assert refusal(outcome) is Refusal.GONE


def test_v6_5_2_v6_5_4_63b_3_1_2_4_recovery_codes_are_stored_as_digests_and_new_ones_end_the_old(home):
    phone = Phone(home)
    assert not any(
        code.replace("-", "")[1:] in repr(home.rows(sa.select(schema.recovery_code))) for code in phone.codes
    )
    new = enrol.renew_codes(home.services, home.identity(phone.session.secret), HERE)
    assert isinstance(new, tuple)
    assert refusal(answer(home, begin(home), phone.codes[1], "recovery_code")) is Refusal.CREDENTIALS
    assert isinstance(answer(home, begin(home), new[1], "recovery_code"), FactorLost)


def test_recovery_codes_alone_are_no_factor(home):
    home.person("alice")
    mine = home.session().secret
    assert refusal(enrol.renew_codes(home.services, home.identity(mine), HERE)) == "factor"
    assert isinstance(home.log_in(), Issued)


# --- while somebody guesses ---------------------------------------------------------------------------------


def known_browser(home: house.House, phone: Phone) -> str:
    """Log in with both factors in a new browser and return its device cookie."""
    cookie = devices.new(home.services.keys)
    opened = answer(home, begin(home), code_of(home, phone.seed), device=cookie)
    assert isinstance(opened, Issued)
    home.later(minutes=11)
    return opened.device


def test_rule_04_a_known_browser_passes_the_second_step_whatever_others_do_at_its_address(home):
    mallory, phone = Phone(home, "mallory"), Phone(home)
    cookie = known_browser(home, phone)
    home.change(schema.session.update().values(seen_at=home.clock.now()))  # mallory has been busy meanwhile
    inside = mallory.session
    identity = home.identity(inside.secret)
    step_up.prove_factor(home.services, identity, inside.secret, "000000", HERE)
    for _ in range(60):  # and all the others who are there
        home.services.throttle.spend(throttle.STEP_UP, HERE.address, home.clock.now())
    assert home.counter(f"step-up@{HERE.address}")[0] == 60
    opened = answer(home, begin(home, device=cookie), code_of(home, phone.seed), device=cookie)
    assert isinstance(opened, Issued)


def test_rule_04_a_known_browser_passes_the_second_step_while_a_thief_of_the_password_guesses_codes(home):
    phone = Phone(home)
    cookie = known_browser(home, phone)
    pending = begin(home)
    for _ in range(5):
        answer(home, pending, "000000")
    assert refusal(answer(home, begin(home), code_of(home, phone.seed))) is Refusal.THROTTLED
    opened = answer(home, begin(home, device=cookie), code_of(home, phone.seed), device=cookie)
    assert isinstance(opened, Issued)


def test_rule_03_rule_05_a_known_browser_is_equally_capped_at_the_second_step(home):
    phone = Phone(home)
    cookie = known_browser(home, phone)
    for _ in range(10):
        home.later(hours=1)
        answer(home, begin(home, device=cookie), "000000", device=cookie)
    with home.services.reading() as connection:
        assert devices.find(connection, cookie, phone.user_id) is None


def test_rule_03_the_refund_of_a_login_in_two_steps_goes_to_the_address_that_was_charged(home):
    phone, elsewhere = Phone(home), "198.51.100.7"
    home.later(minutes=11)
    for number in range(10):
        home.log_in(f"nobody{number}", "wrong")
    pending = begin(home, address=elsewhere)
    assert isinstance(answer(home, pending, code_of(home, phone.seed)), Issued)
    assert (home.counter(f"login@{HERE.address}")[0], home.counter(f"login@{elsewhere}")[0]) == (10, 0)
