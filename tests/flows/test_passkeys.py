"""Passkeys: enrolled, as second factor, alone, as step-up; each answer counts once, here, and for its own user."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sqlalchemy as sa

from flask_gatehouse.domain.factors import passkey_challenges, passkey_rows
from flask_gatehouse.domain.factors.passkey import Passkeys
from flask_gatehouse.domain.factors.passkey_challenges import LOGIN, Bound
from flask_gatehouse.domain.factors.passkey_rows import Doubt
from flask_gatehouse.domain.sessions import Issued
from flask_gatehouse.flows import administer, enrol, passkey_login, passkeys, revoke, second_step, step_up
from flask_gatehouse.flows.opening import Attempt
from flask_gatehouse.flows.outcomes import FactorDue, FactorLost, Refusal, Refused
from flask_gatehouse.flows.seeds import Enrolled
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.feature import Resealed
from flask_gatehouse.kernel.identity import assurance
from flask_gatehouse.kernel.keys import KeyRing
from tests.flows.test_totp import code_of
from tests.support import apps, house, phones
from tests.support.authenticator import Authenticator
from tests.support.house import BY_COMMAND, HERE, PASSWORD, WRONG

ON = {"GATEHOUSE_FEATURES": "passkeys"}
ALL = {"GATEHOUSE_FEATURES": "passkeys,totp,recovery_codes"}
PLACE = "what a guest's CSRF tokens are made of"


@pytest.fixture
def home(open_house):
    """Return a house with passkeys on."""
    return open_house(**ON)


def refusal(outcome: object) -> object:
    """Return why a flow refused, the field where one is concerned, None where it did not."""
    return (outcome.field or outcome.reason) if isinstance(outcome, Refused) else None


def enrol_in(home: house.House, secret: str, key: Authenticator, name: str = "my key") -> Enrolled | Refused:
    """Enrol a passkey in a session."""
    identity = home.identity(secret)
    answer = key.create(passkeys.offer(home.services, identity))
    return passkeys.confirm(home.services, identity, secret, answer, name, HERE)


class Owner:
    """A user with a passkey."""

    def __init__(self, home: house.House, name: str = "alice", **key: Any) -> None:
        self.home, self.name = home, name
        self.user_id = home.person(name)
        self.key = Authenticator(**key)
        enrolled = enrol_in(home, home.session(name).secret, self.key)
        assert isinstance(enrolled, Enrolled), enrolled
        self.codes, self.session = enrolled.codes, enrolled.issued

    def begin(self) -> str:
        """Log in by password, which must leave a factor due, and return the pending secret."""
        outcome = self.home.log_in(self.name)
        assert isinstance(outcome, FactorDue)
        return outcome.pending.secret

    def answer(self, pending: str, text: str = "") -> Issued | FactorLost | Refused:
        """Answer the second step."""
        text = text or self.key.get(second_step.choices(self.home.services, pending).passkey)
        return second_step.answer(self.home.services, pending, "passkey", text, Attempt(HERE))

    def log_in(
        self, text: str = "", place: str = PLACE, address: str = HERE.address, **attempt: Any
    ) -> Issued | Refused:
        """Log in by the passkey alone."""
        text = text or self.key.get(passkey_login.offer(self.home.services, PLACE))
        told = Attempt(house.source(address), **attempt)
        return passkey_login.begin(self.home.services, place, text, told)

    def prove(self, secret: str, text: str = "") -> Issued | Refused:
        """Prove the passkey again."""
        identity = self.home.identity(secret)
        text = text or self.key.get(step_up.ask_passkey(self.home.services, identity))
        return step_up.prove_passkey(self.home.services, identity, secret, text, HERE)


def reasons(home: house.House, kind: str) -> list[str]:
    """Return why answers of passkeys were refused, as the log says."""
    return [detail["why"] for detail in home.details(kind) if "why" in detail]


def app_of(home: house.House, user_id: int) -> str:
    """Give a user an authenticator app past their sessions, and return its seed."""
    return phones.enrol(home.services, user_id)


# --- enrolling --------------------------------------------------------------------------------------------


def test_v7_4_3_with_the_first_passkey_all_other_sessions_end_and_with_the_second_none(home):
    home.person("alice")
    other, mine = home.session().secret, home.session().secret
    done = enrol_in(home, mine, Authenticator())
    assert isinstance(done, Enrolled)
    assert [home.load(secret).name for secret in (other, mine)] == ["UNKNOWN", "UNKNOWN"]
    identity = home.identity(done.issued.secret)
    assert [proof.method for proof in identity.proofs] == ["password", "passkey"]
    assert assurance(identity.proofs) == 2
    again = enrol_in(home, done.issued.secret, Authenticator(), "another")
    assert isinstance(again, Enrolled)
    assert [one.name for one in passkeys.listed(home.services, identity)] == ["my key", "another"]
    assert [detail["name"] for detail in home.details("factor.enrolled")] == ["my key", "another"]


def test_63b_4_1_2_2_who_has_a_factor_and_did_not_prove_it_enrols_no_other(open_house):
    home = open_house(**ALL)
    user_id, mine = home.person("alice"), home.session().secret
    app_of(home, user_id)
    assert refusal(enrol_in(home, mine, Authenticator())) == "factor"
    assert home.count(schema.passkey) == 0
    proven = step_up.prove_factor(home.services, home.identity(mine), mine, code_of(home, app_of(home, user_id)), HERE)
    assert isinstance(proven, Issued)
    assert isinstance(enrol_in(home, proven.secret, Authenticator()), Enrolled)


def test_all_passkeys_of_a_user_share_a_handle_that_says_nothing_and_know_each_other(home):
    owner, other = Owner(home), Owner(home, "bob")
    options = json.loads(passkeys.offer(home.services, home.identity(owner.session.secret)))
    assert [one["transports"] for one in options["excludeCredentials"]] == [["usb"]]
    enrol_in(home, owner.session.secret, second := Authenticator())
    assert owner.key.handle == second.handle != other.key.handle
    assert len(second.handle) == 32


def test_v6_7_2_an_answer_enrols_once_in_the_session_it_was_made_for(home):
    home.person("alice")
    home.person("bob")
    mine, theirs = home.session().secret, home.session("bob").secret
    key = Authenticator()
    answer = key.create(passkeys.offer(home.services, home.identity(theirs)))
    foreign = passkeys.confirm(home.services, home.identity(mine), mine, answer, "theirs", HERE)
    assert refusal(foreign) == "passkey"
    home.later(minutes=5)
    assert refusal(passkeys.confirm(home.services, home.identity(theirs), theirs, answer, "late", HERE)) == "passkey"
    answer = key.create(passkeys.offer(home.services, home.identity(theirs)))
    done = passkeys.confirm(home.services, home.identity(theirs), theirs, answer, "in time", HERE)
    assert isinstance(done, Enrolled)
    secret = done.issued.secret
    assert refusal(passkeys.confirm(home.services, home.identity(secret), secret, answer, "again", HERE)) == "passkey"
    assert reasons(home, "factor.refused") == [Doubt.CHALLENGE.value, Doubt.CHALLENGE.value, Doubt.USED.value]
    assert home.count(schema.passkey) == 1


def test_v2_2_3_a_passkey_of_somebody_is_nobody_elses_too(home):
    owner = Owner(home)
    home.person("bob")
    assert refusal(enrol_in(home, home.session("bob").secret, owner.key)) == "passkey"
    assert reasons(home, "factor.refused") == [Doubt.TAKEN.value]


def test_another_users_login_answer_enrols_nothing(home):
    owner = Owner(home)
    home.person("bob")
    secret = home.session("bob").secret
    answer = owner.key.get(passkey_login.offer(home.services, PLACE))
    assert refusal(passkeys.confirm(home.services, home.identity(secret), secret, answer, "x", HERE)) == "passkey"
    assert reasons(home, "factor.refused") == [Doubt.MALFORMED.value]


def test_v2_3_2_passkeys_and_their_names_have_bounds(home):
    owner = Owner(home)
    secret = owner.session.secret
    for _ in range(passkey_rows.MOST - 1):
        done = enrol_in(home, secret, Authenticator())
        assert isinstance(done, Enrolled)
        secret = done.issued.secret
    assert refusal(enrol_in(home, secret, Authenticator())) == "passkey"
    identity = home.identity(secret)
    assert refusal(passkeys.rename(home.services, identity, 1, "x" * 81, HERE)) == "name"
    assert refusal(passkeys.confirm(home.services, identity, secret, "", "x" * 81, HERE)) == "name"


# --- as second factor -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "is_verifying, methods", [(True, ["password", "passkey", "user_verified"]), (False, ["password", "passkey"])]
)
def test_v6_3_3_after_the_password_a_passkey_opens_the_session(home, is_verifying, methods):
    owner = Owner(home, is_verifying=is_verifying)
    opened = owner.answer(owner.begin())
    assert isinstance(opened, Issued)
    proofs = home.identity(opened.secret).proofs
    assert [proof.method for proof in proofs] == methods
    assert assurance(proofs) == 2


def test_another_users_passkey_answers_nothing_and_that_is_recorded(home):
    owner, other = Owner(home), Owner(home, "bob")
    pending = owner.begin()
    asked = second_step.choices(home.services, pending).passkey
    assert refusal(owner.answer(pending, other.key.get(asked))) is Refusal.CREDENTIALS
    theirs = other.key.get(second_step.choices(home.services, other.begin()).passkey)
    assert refusal(owner.answer(pending, theirs)) is Refusal.CREDENTIALS
    assert reasons(home, "login.failed") == [Doubt.OTHER.value] * 2
    assert [entry.user_id for entry in home.events("login.failed")] == [owner.user_id] * 2
    assert isinstance(owner.answer(pending), Issued)


def test_an_answer_is_bound_to_its_pending_login_and_to_its_purpose(home):
    owner = Owner(home)
    one, other = owner.begin(), owner.begin()
    text = owner.key.get(second_step.choices(home.services, one).passkey)
    assert refusal(owner.answer(other, text)) is Refusal.CREDENTIALS
    assert refusal(owner.prove(owner.session.secret, text)) is Refusal.CREDENTIALS
    assert refusal(owner.log_in(text)) is Refusal.CREDENTIALS
    assert reasons(home, "login.failed") == [Doubt.CHALLENGE.value] * 2
    assert isinstance(owner.answer(one, text), Issued)


def test_rule_32_a_recovery_code_takes_the_place_of_lost_passkeys(open_house):
    home = open_house(**ALL)
    owner = Owner(home)
    assert len(owner.codes) == 10
    pending = owner.begin()
    lost = second_step.answer(home.services, pending, "recovery_code", owner.codes[0], Attempt(HERE))
    assert isinstance(lost, FactorLost)
    offer = second_step.offer(home.services, lost.pending.secret)
    assert offer is not None
    opened = second_step.replace_factor(home.services, lost.pending.secret, code_of(home, offer.seed), Attempt(HERE))
    assert isinstance(opened, Issued)
    assert home.count(schema.passkey) == 0
    assert refusal(owner.log_in()) is Refusal.CREDENTIALS


# --- alone ------------------------------------------------------------------------------------------------


def test_rule_32_a_user_verified_passkey_alone_is_aal2(home):
    owner = Owner(home)
    opened = owner.log_in()
    assert isinstance(opened, Issued)
    identity = home.identity(opened.secret)
    assert identity.user_id == owner.user_id
    assert [proof.method for proof in identity.proofs] == ["passkey", "user_verified"]
    assert assurance(identity.proofs) == 2
    assert home.details("login.succeeded")[-1] == {"methods": ["passkey", "user_verified"]}


def test_v6_5_7_63b_3_1_7_1_a_passkey_that_verified_nobody_is_one_factor_and_opens_nothing_alone(home):
    owner = Owner(home, is_verifying=False)
    assert refusal(owner.log_in()) is Refusal.UNVERIFIED
    assert reasons(home, "login.failed") == [Doubt.UNVERIFIED.value]


def test_63b_3_1_6_2_a_login_is_bound_to_the_browser_that_was_asked_and_to_its_five_minutes(home):
    owner = Owner(home)
    text = owner.key.get(passkey_login.offer(home.services, PLACE))
    assert refusal(owner.log_in(text, place="another browser")) is Refusal.CREDENTIALS
    home.later(minutes=4, seconds=59)
    assert isinstance(owner.log_in(text), Issued)
    late = owner.key.get(passkey_login.offer(home.services, PLACE))
    home.later(minutes=5)
    assert refusal(owner.log_in(late)) is Refusal.CREDENTIALS
    assert isinstance(owner.log_in(), Issued)


@pytest.mark.parametrize(
    "changes",
    [
        {"origin": "https://evil.example"},
        {"origin": "https://localhost.evil.example"},
        {"origin": "http://[::1"},
        {"origin": ["http://localhost"]},
        {"origin": None},
        {"crossOrigin": True},
        {"type": "webauthn.create"},
        {"challenge": ""},
        {"challenge": "YQ.MQ.YQ"},
        {"challenge": 7},
    ],
)
def test_63b_3_2_5_1_an_answer_from_elsewhere_or_about_something_else_opens_nothing(home, changes):
    owner = Owner(home)
    text = owner.key.get(passkey_login.offer(home.services, PLACE), **changes)
    assert refusal(owner.log_in(text)) is Refusal.CREDENTIALS


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "x", '{"id":1}', "9" * 5000, "[" * 5000, '{"id":"\\ud800"}'])
def test_what_is_no_answer_at_all_is_refused_everywhere(home, text):
    owner = Owner(home)
    secret = owner.session.secret
    assert refusal(owner.log_in(text or " ")) is Refusal.CREDENTIALS
    assert refusal(owner.prove(secret, text or " ")) is Refusal.CREDENTIALS
    assert refusal(passkeys.confirm(home.services, home.identity(secret), secret, text, "x", HERE)) == "passkey"


def test_63b_3_2_5_1_an_answer_for_another_site_opens_nothing(home):
    owner = Owner(home)
    asked = json.loads(passkey_login.offer(home.services, PLACE))
    assert refusal(owner.log_in(owner.key.get(json.dumps(asked | {"rpId": "evil.example"})))) is Refusal.CREDENTIALS


def test_63b_2_2_2_2_an_answer_that_nobody_touched_the_key_for_is_refused(home):
    owner = Owner(home)
    owner.key.is_present = False
    assert refusal(owner.log_in()) is Refusal.CREDENTIALS


def test_v6_7_2_63b_3_1_6_2_a_challenge_is_long_and_never_comes_twice(home):
    bound = Bound(LOGIN, PLACE)
    made = {passkey_challenges.make(home.services.keys, bound, home.clock.now()) for _ in range(10_000)}
    assert len(made) == 10_000
    assert min(map(len, made)) >= 32
    assert passkey_challenges.LIFE_MICROS == 5 * 60 * house.SECOND
    asked = json.loads(passkey_login.offer(home.services, PLACE))
    assert 0 < asked["timeout"] < passkey_challenges.LIFE_MICROS // 1000  # a browser gives up before the server does


RSA, ES256, RS256, RS1 = 3, -7, -257, -65535


@pytest.mark.parametrize(
    "cose, is_taken",
    [
        ({1: RSA, 3: RS256, -1: b"\xff" * 256, -2: b"\1\0\1"}, True),
        ({1: RSA, 3: RS256, -1: b"\xff" * 128, -2: b"\1\0\1"}, False),
        ({1: RSA, 3: RS256, -1: bytes(200) + b"\xff" * 128, -2: b"\1\0\1"}, False),
        ({1: RSA, 3: RS256, -1: b"\xff" * 4096, -2: b"\1\0\1"}, False),
        ({1: RSA, 3: RS1, -1: b"\xff" * 256, -2: b"\1\0\1"}, False),
        ({1: RSA, 3: -99, -1: b"\xff" * 256, -2: b"\1\0\1"}, False),
        ({1: 2}, False),
    ],
)
def test_v11_6_1_63b_3_1_6_3_weak_keys_and_unknown_algorithms_are_not_enrolled(home, cose, is_taken):
    home.person("alice")
    assert isinstance(enrol_in(home, home.session().secret, Authenticator(cose=cose)), Enrolled) is is_taken


def test_v6_7_1_63b_3_1_6_1_a_key_that_was_put_in_anothers_place_opens_nothing(home):
    owner, thief = Owner(home), Owner(home, "mallory")
    theirs = sa.select(schema.passkey.c.public_key).where(schema.passkey.c.user_id == thief.user_id)
    mine = schema.passkey.c.user_id == owner.user_id
    home.change(sa.update(schema.passkey).where(mine).values(public_key=theirs.scalar_subquery()))
    thief.key.credential_id, thief.key.handle = owner.key.credential_id, owner.key.handle
    assert refusal(thief.log_in()) is Refusal.CREDENTIALS
    assert [entry.outcome for entry in home.events("passkey.altered")] == ["refused"]


def test_a_passkey_moved_to_another_user_opens_nothing(home):
    owner, thief = Owner(home), Owner(home, "mallory")
    mine = schema.passkey.c.user_id == thief.user_id
    home.change(sa.update(schema.passkey).where(mine).values(user_id=owner.user_id))
    assert refusal(thief.log_in()) is Refusal.CREDENTIALS
    assert len(home.events("passkey.altered")) == 1


def test_a_signature_by_another_key_is_refused(home):
    owner = Owner(home)
    forger = Authenticator(credential_id=owner.key.credential_id, handle=owner.key.handle)
    assert refusal(owner.log_in(forger.get(passkey_login.offer(home.services, PLACE)))) is Refusal.CREDENTIALS
    assert reasons(home, "login.failed") == [Doubt.SIGNATURE.value]


def test_a_passkey_that_names_another_user_is_refused(home):
    owner, other = Owner(home), Owner(home, "bob")
    owner.key.handle = other.key.handle
    assert refusal(owner.log_in()) is Refusal.CREDENTIALS
    owner.key.handle = b""
    assert refusal(owner.log_in()) is Refusal.CREDENTIALS


@pytest.mark.parametrize("act", ["suspend", "close"])
def test_a_suspended_or_closed_user_gets_in_by_no_passkey(home, act):
    owner = Owner(home)
    getattr(administer, act)(home.services, BY_COMMAND, owner.user_id)
    assert refusal(owner.log_in()) is Refusal.CREDENTIALS
    assert home.count(schema.passkey) == (act == "suspend")


def test_a_passkey_survives_the_end_of_all_sessions_and_pending_answers_do_not(home):
    owner = Owner(home)
    pending = owner.begin()
    text = owner.key.get(second_step.choices(home.services, pending).passkey)
    revoke.all_own(home.services, home.identity(owner.session.secret), HERE)
    assert refusal(owner.answer(pending, text)) is Refusal.GONE
    assert isinstance(owner.log_in(), Issued)


def test_rule_04_a_passkey_gets_in_while_the_password_is_in_its_delay_or_disabled(home):
    owner = Owner(home)
    for _ in range(5):
        home.log_in(password=WRONG)
    assert refusal(home.log_in()) is Refusal.THROTTLED
    assert isinstance(owner.log_in(), Issued)
    assert refusal(home.log_in()) is Refusal.THROTTLED  # and forgives the guessers nothing
    key = home.services.throttle.account_key(owner.user_id, "")
    home.change(sa.update(schema.counter).where(schema.counter.c.key == key).values(count=100, total=100))
    assert isinstance(owner.log_in(), Issued)


def test_logins_by_passkey_are_charged_to_the_address_or_to_the_known_browser(home):
    owner = Owner(home)
    for _ in range(100):
        assert refusal(owner.log_in("no answer")) is Refusal.CREDENTIALS
    assert refusal(owner.log_in()) is Refusal.THROTTLED
    assert isinstance(owner.log_in(address="192.0.2.2"), Issued)
    assert isinstance(owner.log_in(device="a browser that is known"), Issued)
    assert len(home.events("login.failed")) == 1
    assert len(home.events("login.throttled")) == 1


def _log_in(here: house.House, number: int, text: str) -> str:
    attempt = Attempt(house.source(f"10.0.0.{number}"))
    outcome = passkey_login.begin(here.services, PLACE, text, attempt)
    return outcome.reason.name if isinstance(outcome, Refused) else "done"


def _answer(here: house.House, number: int, pending: str, text: str) -> str:
    attempt = Attempt(house.source(f"10.0.0.{number}"))
    outcome = second_step.answer(here.services, pending, "passkey", text, attempt)
    return outcome.reason.name if isinstance(outcome, Refused) else "done"


@pytest.mark.parametrize("counts", [True, False])
def test_v15_4_2_63b_2_2_2_1_63b_3_2_7_1_one_answer_sent_fifty_times_at_once_logs_in_once(crowd, home, counts):
    owner = Owner(home, counts=counts)
    text = owner.key.get(passkey_login.offer(home.services, PLACE))
    outcomes = crowd.rush(_log_in, home, 50, text, **ON)
    assert outcomes.count("done") == 1
    assert outcomes.count("CREDENTIALS") == 49
    assert home.verified() == len(home.events())


def test_v15_4_2_one_answer_sent_fifty_times_at_once_completes_one_login(crowd, home):
    owner = Owner(home, counts=False)
    pending = owner.begin()
    text = owner.key.get(second_step.choices(home.services, pending).passkey)
    assert crowd.rush(_answer, home, 50, pending, text, **ON).count("done") == 1
    assert home.verified() == len(home.events())


def _enrol(here: house.House, number: int, secret: str, text: str) -> str:
    loaded = here.load(secret)
    identity = getattr(loaded, "identity", None)
    if identity is None:
        return "GONE"
    outcome = passkeys.confirm(here.services, identity, secret, text, "x", house.source(f"10.0.0.{number}"))
    return outcome.reason.name if isinstance(outcome, Refused) else "done"


def test_v15_4_2_one_answer_sent_fifty_times_at_once_enrols_once(crowd, home):
    home.person("alice")
    secret = home.session().secret
    text = Authenticator().create(passkeys.offer(home.services, home.identity(secret)))
    assert crowd.rush(_enrol, home, 50, secret, text, **ON).count("done") == 1
    assert home.count(schema.passkey) == 1


def test_63b_b_3_1_to_make_sure_of_the_user_is_asked_for_and_looked_at_each_time(home):
    owner = Owner(home)
    identity = home.identity(owner.session.secret)
    new = json.loads(passkeys.offer(home.services, identity))
    factor = json.loads(second_step.choices(home.services, owner.begin()).passkey)
    again = json.loads(step_up.ask_passkey(home.services, identity))
    alone = json.loads(passkey_login.offer(home.services, PLACE))
    assert new["authenticatorSelection"]["userVerification"] == "preferred"
    assert [one["userVerification"] for one in (factor, again, alone)] == ["preferred", "preferred", "required"]
    seen = []
    for owner.key.is_verifying in (True, False, True):
        opened = owner.answer(owner.begin())
        assert isinstance(opened, Issued)
        seen.append([proof.method for proof in home.identity(opened.secret).proofs][1:])
    assert seen == [["passkey", "user_verified"], ["passkey"], ["passkey", "user_verified"]]


def test_63b_b_3_2_a_passkey_that_lives_on_several_devices_is_taken_and_noted(home):
    columns = sa.select(schema.passkey.c.can_be_backed_up, schema.passkey.c.is_backed_up)
    owner = Owner(home, is_synced=False)
    assert [tuple(row) for row in home.rows(columns)] == [(True, False)]
    owner.key.is_synced = True
    opened = owner.log_in()
    assert isinstance(opened, Issued)
    assert assurance(home.identity(opened.secret).proofs) == 2
    assert [tuple(row) for row in home.rows(columns)] == [(True, True)]
    owner.key.is_present = False
    assert refusal(owner.log_in()) is Refusal.CREDENTIALS


def test_63b_4_1_1_every_passkey_there_ever_was_stands_in_the_log_with_kind_name_time_and_place(home):
    owner = Owner(home)
    secret = owner.session.secret
    (own,) = passkeys.listed(home.services, home.identity(secret))
    assert passkeys.rename(home.services, home.identity(secret), own.id, "blue key", HERE) is None
    home.later(minutes=1)
    assert isinstance(owner.log_in(), Issued)
    assert isinstance(passkeys.remove(home.services, home.identity(secret), secret, own.id, HERE), Issued)
    assert home.count(schema.passkey) == 0
    history = [entry for entry in home.events() if entry.kind.startswith("factor.")]
    assert [entry.kind for entry in history] == ["factor.enrolled", "factor.renamed", "factor.removed"]
    assert [json.loads(entry.detail)["name"] for entry in history] == ["my key", "blue key", "blue key"]
    assert {json.loads(entry.detail)["method"] for entry in history} == {"passkey"}
    assert {(entry.user_id, entry.address) for entry in history} == {(owner.user_id, HERE.address)}
    assert history[2].at - history[0].at == 60 * house.SECOND
    assert home.details("login.succeeded")[-1] == {"methods": ["passkey", "user_verified"]}
    assert home.verified() == len(home.events())


# --- the counter ------------------------------------------------------------------------------------------


def test_a_counter_that_went_back_is_recorded_and_refused(home):
    owner = Owner(home)
    assert isinstance(owner.log_in(), Issued)
    owner.key.count -= 1
    assert refusal(owner.log_in()) is Refusal.CREDENTIALS
    copied = home.events("passkey.copied")
    assert [(entry.user_id, entry.outcome) for entry in copied] == [(owner.user_id, "refused")]
    pending = owner.begin()
    owner.key.count = 0
    assert refusal(owner.answer(pending)) is Refusal.CREDENTIALS
    owner.key.count = 0
    assert refusal(owner.prove(owner.session.secret)) is Refusal.CREDENTIALS
    assert len(home.events("passkey.copied")) == 3
    owner.key.count = 50
    assert isinstance(owner.log_in(), Issued)


def test_whoever_cannot_sign_raises_no_alarm_about_a_copy(home):
    owner = Owner(home)
    assert isinstance(owner.log_in(), Issued)
    forger = Authenticator(credential_id=owner.key.credential_id, handle=owner.key.handle, counts=False)
    assert refusal(owner.log_in(forger.get(passkey_login.offer(home.services, PLACE)))) is Refusal.CREDENTIALS
    assert home.events("passkey.copied") == []


# --- proving again, renaming, removing --------------------------------------------------------------------


def test_v7_5_3_a_passkey_renews_the_session_and_another_users_does_not(home):
    owner, other = Owner(home), Owner(home, "bob")
    secret = owner.session.secret
    asked = step_up.ask_passkey(home.services, home.identity(secret))
    assert refusal(owner.prove(secret, other.key.get(asked))) is Refusal.CREDENTIALS
    theirs = step_up.ask_passkey(home.services, home.identity(other.session.secret))
    assert refusal(owner.prove(secret, other.key.get(theirs))) is Refusal.CREDENTIALS
    assert reasons(home, "step_up.failed") == [Doubt.OTHER.value] * 2
    assert {entry.user_id for entry in home.events("step_up.failed")} == {owner.user_id}
    home.later(minutes=30)
    renewed = owner.prove(secret)
    assert isinstance(renewed, Issued)
    assert home.identity(renewed.secret).proven_at == home.clock.now()
    assert home.load(secret).name == "UNKNOWN"


def _prove(here: house.House, number: int, secret: str, text: str) -> str:
    identity = getattr(here.load(secret), "identity", None)
    if identity is None:
        return "GONE"
    outcome = step_up.prove_passkey(here.services, identity, secret, text, house.source(f"10.0.0.{number}"))
    return outcome.reason.name if isinstance(outcome, Refused) else "done"


def test_v15_4_2_one_answer_sent_fifty_times_at_once_proves_once(crowd, home):
    owner = Owner(home, counts=False)
    secret = owner.session.secret
    text = owner.key.get(step_up.ask_passkey(home.services, home.identity(secret)))
    assert crowd.rush(_prove, home, 50, secret, text, **ON).count("done") == 1
    assert home.verified() == len(home.events())


def test_one_is_renamed_and_removed_by_its_owner_alone(home):
    owner, other = Owner(home), Owner(home, "bob")
    mine, theirs = (home.identity(one.session.secret) for one in (owner, other))
    (own,) = passkeys.listed(home.services, mine)
    assert refusal(passkeys.rename(home.services, theirs, own.id, "stolen", HERE)) is Refusal.NOT_FOUND
    assert refusal(passkeys.remove(home.services, theirs, other.session.secret, own.id, HERE)) is Refusal.NOT_FOUND
    assert passkeys.rename(home.services, mine, own.id, "Schlüssel", HERE) is None
    assert [one.name for one in passkeys.listed(home.services, mine)] == ["Schlüssel"]
    assert home.details("factor.renamed") == [{"method": "passkey", "name": "Schlüssel"}]
    for _ in range(9):
        assert passkeys.rename(home.services, mine, own.id, "key", HERE) is None
    assert refusal(passkeys.rename(home.services, mine, own.id, "key", HERE)) is Refusal.THROTTLED


def test_v6_5_6_63b_3_2_1_1_63b_4_3_1_removal_asks_for_another_proof_and_ends_other_sessions(open_house):
    home = open_house(**ALL)
    owner = Owner(home)
    (own,) = passkeys.listed(home.services, home.identity(owner.session.secret))
    home.later(minutes=6)
    by_key = owner.log_in()
    assert isinstance(by_key, Issued)
    refused = passkeys.remove(home.services, home.identity(by_key.secret), by_key.secret, own.id, HERE)
    assert refusal(refused) == "factor"
    proven = step_up.prove(home.services, home.identity(by_key.secret), by_key.secret, PASSWORD, HERE)
    assert isinstance(proven, Issued)
    done = passkeys.remove(home.services, home.identity(proven.secret), proven.secret, own.id, HERE)
    assert isinstance(done, Issued)
    assert assurance(home.identity(done.secret).proofs) == 1
    assert home.load(owner.session.secret).name == "UNKNOWN"
    assert home.count(schema.recovery_code) == 0
    assert refusal(owner.log_in()) is Refusal.CREDENTIALS
    assert isinstance(home.log_in(), Issued)


def test_a_passkey_is_proof_enough_to_remove_the_app_and_the_other_way_round(open_house):
    home = open_house(**ALL)
    owner = Owner(home)
    secret = owner.session.secret
    offer = enrol.offer_totp(home.services, home.identity(secret))
    assert not isinstance(offer, Refused)
    app = enrol.confirm_totp(home.services, home.identity(secret), secret, code_of(home, offer.seed), HERE)
    assert isinstance(app, Enrolled)
    home.later(minutes=6)
    by_key = owner.prove(app.issued.secret)
    assert isinstance(by_key, Issued)
    assert isinstance(enrol.remove_totp(home.services, home.identity(by_key.secret), by_key.secret, HERE), Issued)


# --- the site's name and secrets --------------------------------------------------------------------------


def test_63b_3_2_4_1_no_attestation_is_asked_for_and_the_name_of_the_site_comes_from_the_settings(open_house):
    home = open_house(**ON, GATEHOUSE_ORIGINS=["https://192.0.2.7", "https://app.example", "https://www.app.example"])
    home.person("alice")
    secret = home.session().secret
    options = json.loads(passkeys.offer(home.services, home.identity(secret)))
    assert (options["rp"]["id"], options["attestation"]) == ("app.example", "none")
    for origin, is_taken in (
        ("http://localhost", False),
        ("https://192.0.2.7", False),
        ("https://www.app.example", True),
    ):
        outcome = enrol_in(home, secret, Authenticator(origin=origin))
        assert isinstance(outcome, Enrolled) is is_taken, origin
    numbers = open_house(**ON, GATEHOUSE_ORIGINS=["https://192.0.2.7", "https://[2001:db8::1]"])
    assert passkey_login.offer(numbers.services, PLACE) == ""
    assert [found.setting for found in numbers.gate.doubts(numbers.app)] == ["GATEHOUSE_ORIGINS"]
    assert home.gate.doubts(home.app) == []


def test_v11_2_2_a_question_and_a_passkey_outlive_a_rotation_of_the_secret(home, open_house):
    owner = Owner(home)
    text = owner.key.get(passkey_login.offer(home.services, PLACE))
    home.person("bob")
    theirs = home.session("bob").secret
    made = (key := Authenticator()).create(passkeys.offer(home.services, home.identity(theirs)))
    later = open_house(**ON, GATEHOUSE_SECRET_KEY="n" * 40, GATEHOUSE_SECRET_KEY_FALLBACKS=[apps.SECRET])
    owner.home = later
    assert isinstance(owner.log_in(text), Issued)
    assert isinstance(owner.log_in(), Issued)
    assert isinstance(passkeys.confirm(later.services, later.identity(theirs), theirs, made, "x", HERE), Enrolled)
    stored = later.rows(sa.select(schema.passkey.c.handle).where(schema.passkey.c.user_id != owner.user_id))
    assert bytes(stored[0][0]) == key.handle


def test_v11_2_2_rows_are_vouched_for_anew_after_a_rotation_and_a_lost_secret_is_named(home, open_house):
    owner, other = Owner(home), Owner(home, "bob")
    later = open_house(**ON, GATEHOUSE_SECRET_KEY="n" * 40, GATEHOUSE_SECRET_KEY_FALLBACKS=[apps.SECRET])
    owner.home = later
    assert isinstance(owner.log_in(), Issued)  # renews its own by being used
    alone = open_house(**ON, GATEHOUSE_SECRET_KEY="n" * 40)
    owner.home = other.home = alone
    assert isinstance(owner.log_in(), Issued)
    assert refusal(other.log_in()) is Refusal.CREDENTIALS
    (factor,) = alone.services.factors
    assert isinstance(factor, Passkeys)
    with alone.services.unit() as unit:
        assert factor.old_seals(unit.connection) == {"": 1}
        assert factor.reseal(unit.connection) == Resealed(0, ((other.user_id, ""),), 0)
    (factor,) = later.services.factors
    assert isinstance(factor, Passkeys)
    with later.services.unit() as unit:
        assert factor.old_seals(unit.connection) == {KeyRing(apps.SECRET).ids()[0]: 1}
        first = factor.reseal(unit.connection, limit=1)
        assert (first.number, first.lost) == (0, ())  # the owner's own was renewed by being used
        assert factor.reseal(unit.connection, after=first.last) == Resealed(1, (), 0)
        assert factor.old_seals(unit.connection) == {}
    other.home = alone
    assert isinstance(other.log_in(), Issued)


def test_what_was_answered_is_forgotten_once_it_would_have_run_out(home):
    owner = Owner(home)
    for _ in range(3):
        assert isinstance(owner.log_in(), Issued)
    assert home.count(schema.passkey_answer) == 4
    home.later(minutes=11)
    assert isinstance(owner.log_in(), Issued)
    assert home.count(schema.passkey_answer) == 1
