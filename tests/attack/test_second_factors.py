"""Second factors attacked: guessed, replayed, raced, read out of pages and logs, with a clock that lies."""

from __future__ import annotations

import ast
import logging
import math
import re
from base64 import b32decode

import pyotp
import pyotp.compat
import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from flask_gatehouse import features
from flask_gatehouse.domain.factors import recovery_codes
from flask_gatehouse.domain.factors.totp import STEP_MICROS
from flask_gatehouse.domain.sessions import Issued
from flask_gatehouse.flows import administer, enrol, second_step, step_up
from flask_gatehouse.flows.opening import Attempt
from flask_gatehouse.flows.outcomes import FactorDue, FactorLost, Refusal, Refused
from flask_gatehouse.flows.seeds import Offer
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.keys import KeyRing, secret_digest
from tests.architecture.source import modules
from tests.flows.test_totp import ON, Phone, answer, begin, code_of, refusal
from tests.support import house
from tests.support.house import BY_COMMAND, HERE
from tests.support.people import PROGRAM, logged_in, make_person, services_of
from tests.support.phones import code_now
from tests.support.visitor import csrf_token, submit

SEED = re.compile(r"secret=([A-Z2-7]+)")


@pytest.fixture
def home(open_house):
    """Return a house with both features on."""
    return open_house(**ON)


# --- what cannot be guessed --------------------------------------------------------------------------------


def test_63b_3_1_4_1_v6_5_3_seeds_are_160_bits_of_the_systems_generator(home):
    factor = home.services.factors[0]
    made = {factor.new_seed() for _ in range(500)}
    assert len(made) == 500
    assert {len(b32decode(seed)) for seed in made} == {20}
    assert type(pyotp.compat.random).__name__ == "SystemRandom"
    nodes = [node for module in modules() for node in ast.walk(module.tree)]
    assert "random" not in {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    assert "random" not in {node.module for node in nodes if isinstance(node, ast.ImportFrom)}


def test_63b_3_1_2_1_63b_4_2_1_1_1_v6_5_3_v6_5_4_recovery_codes_are_128_bits_each_and_none_is_like_another(home):
    codes = [code.replace("-", "") for _ in range(20) for code in Phone(home, f"user{_}").codes]
    assert len({code[1:] for code in codes}) == 200
    assert recovery_codes.CODE_BYTES * 8 == 128
    assert all(len(b32decode(code[1:] + "======")) == 16 for code in codes)
    used = {letter: sum(code.count(letter) for code in codes) for letter in set("".join(code[1:25] for code in codes))}
    assert len(used) == 32


def test_63b_3_1_4_2_v6_5_5_a_step_is_thirty_seconds():
    assert STEP_MICROS == 30 * 1_000_000


def test_v6_6_1_no_factor_goes_by_telephone():
    assert not {name for name in features.FACTORIES if re.search("sms|voice|phone|call|mail|push", name)}


# --- what is not told --------------------------------------------------------------------------------------


def test_63b_3_1_4_3_v11_3_2_a_seed_is_opened_in_one_place_only():
    opening = {
        module.path
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute) and node.attr == "open" and "sealer" in ast.unparse(node.value)
    }
    assert opening == {"domain/factors/totp.py", "domain/factors/offers.py"}


def test_63b_3_1_4_3_v16_2_5_no_seed_and_no_code_is_told_by_any_page_log_or_row(make_app, database_url, caplog):
    caplog.set_level(logging.DEBUG)
    app = make_app(**ON)
    for name, roles in (("alice", ()), ("root", ("admin",))):
        make_person(app, name, *roles)
    alice, root = logged_in(app, "alice"), logged_in(app, "root")
    page = alice.get("/account/security/totp")
    assert page.headers["Cache-Control"] == "no-store"
    found = SEED.search(page.get_data(as_text=True))
    assert found is not None
    shown = submit(alice, "/account/security/totp", code=(code := code_now(app, found[1])))
    assert shown.headers["Cache-Control"] == "no-store"
    codes = re.findall(r"<code>([0-9A-Z-]{20,})</code>", shown.get_data(as_text=True))
    assert len(codes) == 10
    other = app.test_client()
    submit(other, "/login", username="alice", password="quiet river stone")
    submit(other, "/login/factor", code=code)  # burnt
    submit(other, "/login/factor", recovery_code=codes[0])
    offered = SEED.search(other.get("/login/factor").get_data(as_text=True))
    assert offered is not None
    secrets = [found[1], offered[1], *codes]
    secrets += [*(text.replace("-", "") for text in codes), *(text.lower() for text in codes)]
    told = [caplog.text, *map(_everything_of, (alice, root))]
    with services_of(app).reading() as connection:
        told += [str(connection.execute(sa.select(table)).all()) for table in schema.metadata.sorted_tables]
    for text in told:
        assert [secret for secret in secrets if secret in text] == []
    assert alice.get("/account/security/totp").status_code == 404  # it is shown once


def _everything_of(client: FlaskClient) -> str:
    """Return every page that a person may see."""
    paths = ("/account", "/account/security", "/account/sessions", "/account/activity", "/account/password")
    admin = ("/admin", "/admin/users", "/admin/users/1", "/admin/audit", "/admin/sessions", "/admin/roles")
    doors: tuple[dict[str, str], ...] = ({}, PROGRAM)
    return "".join(client.get(path, headers=door).get_data(as_text=True) for path in (*paths, *admin) for door in doors)


def test_v11_7_2_objects_that_hold_seeds_and_codes_do_not_show_them(home):
    phone = Phone(home)
    home.person("bob")
    offer = enrol.offer_totp(home.services, home.identity(home.session("bob").secret))
    assert isinstance(offer, Offer)
    assert offer.seed not in repr(offer)
    assert not any(code in repr(phone) for code in phone.codes)
    assert "secret" not in repr(KeyRing("a secret of the tests")).lower()


# --- replayed ----------------------------------------------------------------------------------------------


def test_63b_2_2_2_1_63b_3_1_4_4_63b_3_2_7_1_whatever_was_overheard_opens_nothing_again(home, open_house):
    phone, elsewhere = Phone(home), open_house(**ON)
    code = code_of(home, phone.seed)
    assert isinstance(answer(home, begin(home), code), Issued)
    for later in (home, elsewhere):  # another process too
        assert refusal(answer(later, begin(later), code)) is Refusal.CREDENTIALS
    identity = home.identity(phone.session.secret)
    again = step_up.prove_factor(home.services, identity, phone.session.secret, code, HERE)
    assert refusal(again) is Refusal.CREDENTIALS
    lost = answer(home, begin(home), phone.codes[0], "recovery_code")
    assert isinstance(lost, FactorLost)
    assert refusal(answer(elsewhere, begin(home), phone.codes[0], "recovery_code")) is Refusal.CREDENTIALS


@pytest.mark.parametrize("steps", range(-40, 3))
def test_63b_3_1_4_5_v6_5_1_no_step_at_or_before_a_burnt_one_counts_again(home, steps):
    phone = Phone(home)
    home.later(minutes=25)
    assert isinstance(answer(home, begin(home), code_of(home, phone.seed)), Issued)
    assert refusal(answer(home, begin(home), code_of(home, phone.seed, steps))) is Refusal.CREDENTIALS


def test_63b_3_1_4_5_v6_5_5_a_code_lives_from_its_step_to_the_end_of_the_next_to_the_microsecond(home):
    phone = Phone(home)
    start = (home.clock.now() // STEP_MICROS + 10) * STEP_MICROS
    code = pyotp.TOTP(phone.seed).generate_otp(start // STEP_MICROS)
    factor = home.services.factors[0]
    end, step = start + 2 * STEP_MICROS, start // STEP_MICROS
    found = [factor.step_of(phone.seed, code, now) for now in (start - 1, start, end - 1, end)]
    assert found == [None, step, step, None]


def test_v6_5_8_a_clock_that_is_set_back_makes_no_burnt_code_good(home):
    phone = Phone(home)
    code = code_of(home, phone.seed)
    assert isinstance(answer(home, begin(home), code), Issued)
    home.clock._now -= 90 * house.SECOND  # the server's own clock is corrected
    for steps in (-2, -1, 0):
        assert refusal(answer(home, begin(home), code_of(home, phone.seed, steps))) is Refusal.CREDENTIALS
    home.clock._now += 120 * house.SECOND
    assert isinstance(answer(home, begin(home), code_of(home, phone.seed)), Issued)


def test_v6_5_8_what_time_the_client_says_it_is_counts_for_nothing(make_app):
    app = make_app(**ON)
    make_person(app, "alice")
    seed, client = _enrolled(app), app.test_client()
    submit(client, "/login", username="alice", password="quiet river stone")
    held = services_of(app)
    then = held.clock.now() - 3_600 * house.SECOND
    old = pyotp.TOTP(seed).generate_otp(then // STEP_MICROS)
    token = csrf_token(client.get("/login/factor").get_data(as_text=True))
    claims = {"Date": "Wed, 21 Oct 2015 07:28:00 GMT", "X-Timestamp": str(then), "If-Modified-Since": "now"}
    fields = {"csrf_token": token, "code": old, "time": str(then), "timestamp": str(then // 1_000_000), "tz": "-60"}
    client.set_cookie("timezone", "Etc/GMT+1")
    assert client.post("/login/factor", data=fields, headers=claims).status_code == 401


def _enrolled(app) -> str:
    client = logged_in(app, "alice")
    found = SEED.search(client.get("/account/security/totp").get_data(as_text=True))
    assert found is not None
    assert submit(client, "/account/security/totp", code=code_now(app, found[1])).status_code == 200
    return found[1]


# --- guessed -----------------------------------------------------------------------------------------------


def test_63b_3_1_4_6_63b_4_2_1_1_2_v6_6_3_new_logins_give_no_new_guesses(home):
    """Who knows the password guesses from ever new addresses and logins: the factor's own count goes on."""
    phone = Phone(home)
    mine, judged = begin(home), 0
    for number in range(60):
        address = f"198.51.{number // 250}.{number % 250 + 1}"
        begun = home.log_in(address=address)
        if not isinstance(begun, FactorDue):
            continue
        attempt = Attempt(house.source(address))
        outcome = second_step.answer(home.services, begun.pending.secret, "code", f"{number:06}", attempt)
        judged += refusal(outcome) is Refusal.CREDENTIALS
    assert judged == 4  # with the login of before five right passwords, and no factor after any of them
    guesses_a_day = 5 + math.ceil(24 * 60 / 60) + 8  # then delays that double up to an hour
    assert guesses_a_day * 365 < 10**6 * 2 / 100  # a year of guessing finds one of two codes with under two percent
    assert refusal(home.log_in(address="203.0.113.1")) is Refusal.THROTTLED  # the password's count goes on too
    assert refusal(answer(home, mine, "000000")) is Refusal.CREDENTIALS  # the fifth for the app
    assert refusal(answer(home, mine, code_of(home, phone.seed))) is Refusal.GONE
    home.later(hours=25)
    assert isinstance(answer(home, begin(home), code_of(home, phone.seed)), Issued)


@pytest.mark.parametrize("field", ["code", "recovery_code"])
def test_each_factor_has_a_count_of_its_own(home, field):
    phone = Phone(home)
    pending = begin(home)
    for _ in range(4):
        answer(home, pending, "000000", "code")
    outcome = answer(home, pending, phone.codes[0] if field == "recovery_code" else code_of(home, phone.seed), field)
    assert not isinstance(outcome, Refused)


NO_CODES = ("", " ", "0" * 6, "12345", "1234567", "12345a", "+12345", "-12345", "1e5000", "0x1234", "12\n3456")
DIGITS_ELSEWHERE = ("\uff11\uff12\uff13\uff14\uff15\uff16", "\u0660\u0661\u0662\u0663\u0664\u0665")


@pytest.mark.parametrize("value", NO_CODES + DIGITS_ELSEWHERE)
def test_nothing_but_six_ascii_digits_is_ever_compared(home, value):
    phone = Phone(home)
    assert refusal(answer(home, begin(home), value)) is Refusal.CREDENTIALS
    assert refusal(answer(home, begin(home), value, "recovery_code")) is Refusal.CREDENTIALS
    assert phone.seed


# --- of another --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["code", "recovery_code"])
def test_what_is_anothers_is_wrong_at_every_door_and_stays_good_for_its_owner(home, field):
    alice, bob = Phone(home), Phone(home, "bob")
    value = code_of(home, bob.seed) if field == "code" else bob.codes[2]
    assert refusal(answer(home, begin(home), value, field)) is Refusal.CREDENTIALS
    identity = home.identity(alice.session.secret)
    foreign = step_up.prove_factor(home.services, identity, alice.session.secret, value, HERE)
    assert refusal(foreign) is Refusal.CREDENTIALS
    assert not isinstance(answer(home, begin(home, "bob"), value, field), Refused)


def test_a_pending_login_of_another_answers_to_its_own_factor_alone(home):
    alice, bob = Phone(home), Phone(home, "bob")
    pending = begin(home, "bob")
    assert refusal(answer(home, pending, code_of(home, alice.seed))) is Refusal.CREDENTIALS
    opened = answer(home, pending, code_of(home, bob.seed))
    assert isinstance(opened, Issued)
    assert home.identity(opened.secret).username == "bob"


def test_two_users_with_the_very_same_seed_burn_their_own_steps(home):
    alice, bob = Phone(home), Phone(home, "bob")
    factor = home.services.factors[0]
    with home.services.unit() as unit:
        factor.enrol(unit.connection, bob.user_id, alice.seed, 0, unit.now)
    code = code_of(home, alice.seed)
    assert isinstance(answer(home, begin(home), code), Issued)
    assert isinstance(answer(home, begin(home, "bob"), code), Issued)


# --- raced -------------------------------------------------------------------------------------------------


def _at_any_door(here: house.House, number: int, pending: list[str], session: str, code: str) -> str:
    """Show one code at the login, or in the live session."""
    if number % 2:
        attempt = Attempt(house.source(f"10.0.0.{number}"))
        outcome: object = second_step.answer(here.services, pending[number % len(pending)], "code", code, attempt)
    else:
        found = here.load(session)
        if not hasattr(found, "identity"):
            return "gone"
        outcome = step_up.prove_factor(here.services, found.identity, session, code, HERE)
    return outcome.reason.name if isinstance(outcome, Refused) else "done"


def test_v15_4_2_v6_5_1_one_code_shown_at_two_doors_fifty_times_at_once_counts_once(crowd, home):
    phone = Phone(home)
    pending = [begin(home) for _ in range(4)]
    args = (pending, phone.session.secret, code_of(home, phone.seed))
    outcomes = crowd.rush(_at_any_door, home, 50, *args, GATEHOUSE_THROTTLE="off", **ON)
    assert outcomes.count("done") == 1
    assert home.verified() == len(home.events())


def _enrol(here: house.House, _number: int, secret: str, code: str) -> str:
    found = here.load(secret)
    if not hasattr(found, "identity"):
        return "gone"
    outcome = enrol.confirm_totp(here.services, found.identity, secret, code, HERE)
    return outcome.reason.name if isinstance(outcome, Refused) else "done"


def test_v15_4_2_one_app_enrolled_fifty_times_at_once_is_enrolled_once(crowd, home):
    home.person()
    secret = home.session().secret
    offer = enrol.offer_totp(home.services, home.identity(secret))
    assert isinstance(offer, Offer)
    outcomes = crowd.rush(_enrol, home, 50, secret, code_of(home, offer.seed), GATEHOUSE_THROTTLE="off", **ON)
    assert outcomes.count("done") == 1
    assert (home.count(schema.totp), home.count(schema.recovery_code), home.count(schema.session)) == (1, 10, 1)
    assert home.kinds().count("factor.enrolled") == 1


def _reset_or_answer(here: house.House, number: int, pending: list[str], code: str, user_id: int) -> str:
    if number == 7:
        administer.reset_factors(here.services, BY_COMMAND, user_id)
        return "reset"
    attempt = Attempt(house.source(f"10.0.0.{number}"))
    outcome = second_step.answer(here.services, pending[number % len(pending)], "code", code, attempt)
    return outcome.reason.name if isinstance(outcome, Refused) else "done"


def test_v15_4_2_a_reset_amid_fifty_answers_leaves_no_session_that_outlived_it(crowd, home):
    phone = Phone(home)
    pending = [begin(home) for _ in range(4)]
    args = (pending, code_of(home, phone.seed), phone.user_id)
    outcomes = crowd.rush(_reset_or_answer, home, 50, *args, GATEHOUSE_THROTTLE="off", **ON)
    assert outcomes.count("done") <= 1
    assert home.count(schema.session) == 0  # one that was opened before the reset ended with it
    assert home.count(schema.totp) == 0
    assert home.verified() == len(home.events())


def _renew(here: house.House, number: int, secret: str, code: str, pending: list[str]) -> list[str] | str:
    """Make new codes, or use an old one."""
    if number % 2:
        attempt = Attempt(house.source(f"10.0.0.{number}"))
        outcome = second_step.answer(here.services, pending[number % len(pending)], "recovery_code", code, attempt)
        return outcome.reason.name if isinstance(outcome, Refused) else "used"
    found = here.load(secret)
    if not hasattr(found, "identity"):
        return "gone"
    made = enrol.renew_codes(here.services, found.identity, HERE)
    return made.reason.name if isinstance(made, Refused) else list(made)


def test_v15_4_2_codes_renewed_while_an_old_one_is_used_are_one_whole_set(crowd, home):
    phone = Phone(home)
    pending = [begin(home) for _ in range(4)]
    args = (phone.session.secret, phone.codes[0], pending)
    outcomes = crowd.rush(_renew, home, 20, *args, GATEHOUSE_THROTTLE="off", **ON)
    assert outcomes.count("used") <= 1
    sets = [made for made in outcomes if isinstance(made, list)]
    rows = {bytes(row[0]) for row in home.rows(sa.select(schema.recovery_code.c.digest))}
    assert len(rows) == 10
    digests = [{secret_digest(code.replace("-", "")[1:]) for code in made} for made in sets]
    assert rows in digests
