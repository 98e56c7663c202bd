"""Nobody learns from a login who has an account: one answer, equal hashes, equal statements (rule 9)."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
import sqlalchemy as sa
from werkzeug.security import generate_password_hash

from flask_gatehouse.domain import devices, passwords, users
from flask_gatehouse.domain.passwords import scheme_of
from flask_gatehouse.flows import administer
from flask_gatehouse.flows.outcomes import Refusal, Refused
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.clock import micros
from tests.flows.test_totp import Phone
from tests.support import house
from tests.support.house import BY_COMMAND, PASSWORD, WRONG, statements_of
from tests.support.visitor import csrf_token

KINDS = [
    "unknown",
    "impossible",
    "empty",
    "wrong",
    "suspended",
    "suspended, wrong",
    "closed",
    "closed, its mark",
    "disabled",
    "password-less",
    "marked as compromised",
    "temporary, ended",
    "other case",
]


def attempt_of(home: house.House, kind: str) -> tuple[str, str]:
    """Set the stage for a kind of failing login and return name and password."""
    if kind in {"unknown", "impossible", "empty"}:
        return {"unknown": "nobody", "impossible": "no\u017fuch user", "empty": ""}[kind], PASSWORD
    user_id, services = home.person(), home.services
    if kind.startswith("suspended"):
        administer.suspend(services, BY_COMMAND, user_id)
    if kind.startswith("closed"):
        administer.close(services, BY_COMMAND, user_id)
    if kind == "disabled":
        values = {"key": f"user:{user_id}", "count": 0, "total": 100, "ends_at": home.clock.now() + 1}
        home.change(sa.insert(schema.counter).values(**values))
    if kind == "password-less":
        with services.database.unit() as connection:
            passwords.forget(connection, user_id)
    if kind == "marked as compromised":
        administer.mark_compromised(services, BY_COMMAND, user_id)
    if kind.startswith("temporary"):
        digest = services.hasher.hash(PASSWORD)
        with services.database.unit() as connection:
            passwords.store(connection, user_id, digest, 1, temporary_until=home.clock.now())
    name = home.user(user_id).username if kind == "closed, its mark" else "Alice" if kind == "other case" else "alice"
    return name, WRONG if kind in {"wrong", "suspended, wrong", "other case"} else PASSWORD


@pytest.fixture
def expected(home):
    """Return what an unknown name costs, on a warm house."""
    home.log_in("warm", WRONG)
    hashes = house.hashes_of(home)
    with statements_of(home) as noted:
        outcome = home.log_in("stranger", WRONG)
    return outcome, len(hashes), noted.texts


@pytest.mark.parametrize("kind", KINDS)
def test_rule_09_v6_3_8_every_failing_login_is_one_outcome_with_equal_hashes_and_statements(home, expected, kind):
    name, password = attempt_of(home, kind)
    hashes = house.hashes_of(home)
    before = home.count(schema.event)
    with statements_of(home) as noted:
        outcome = home.log_in(name, password)
    assert (outcome, len(hashes), noted.texts) == (expected[0], 1, expected[2])
    assert expected[1] == 1
    assert isinstance(outcome, Refused)
    assert outcome.reason is Refusal.CREDENTIALS
    assert home.count(schema.event) == before + 1


@pytest.mark.parametrize("kind", KINDS)
def test_rule_08_rule_09_the_fifth_failure_begins_the_same_delay_for_every_kind(home, kind):
    name, password = attempt_of(home, kind)
    seen = [home.log_in(name, password, address=f"192.0.2.{number}") for number in range(8)]
    told = [(outcome.reason, outcome.wait) for outcome in seen if isinstance(outcome, Refused)]
    assert told == [(Refusal.CREDENTIALS, 0)] * 5 + [(Refusal.THROTTLED, 30 * house.SECOND)] * 3
    assert len(home.events("login.delayed")) == 1


def test_rule_08_a_disabled_password_answers_with_the_401s_and_delays_of_an_unknown_name(home):
    alice = home.person()
    told: dict[str, list[tuple[Refusal, int]]] = {"alice": [], "nobody": []}
    is_disabled = False
    for number in range(110):
        is_disabled = is_disabled or home.counter(f"user:{alice}")[1] >= 100
        for name, seen in told.items():
            for port in range(2):
                outcome = home.log_in(
                    name, PASSWORD if is_disabled else WRONG, address=f"10.{len(name)}.{number}.{port}"
                )
                assert isinstance(outcome, Refused)
                seen.append((outcome.reason, outcome.wait))
        home.later(hours=1)
    assert is_disabled
    assert told["alice"] == told["nobody"]
    assert {reason for reason, _ in told["alice"]} == {Refusal.CREDENTIALS, Refusal.THROTTLED}


def test_rule_09_the_dummy_follows_what_most_rows_have(home, open_house):
    for name in ("alice", "bob", "carol"):
        user_id = home.person(name)
        if name != "carol":
            with home.services.database.unit() as connection:
                passwords.store(connection, user_id, generate_password_hash(PASSWORD, method="pbkdf2:sha256:1000"), 1)
    later = open_house()
    assert later.app.test_client().get("/").status_code == 200  # the first request of a process
    dummy = later.services.hasher._dummy_digest()
    assert scheme_of(dummy) == "pbkdf2:sha256:1000"


def test_rule_09_no_wait_tells_a_right_password_during_a_delay(home):
    home.person()
    for number in range(5):
        home.log_in(password=WRONG, address=f"192.0.2.{number}")
    hashes = house.hashes_of(home)
    right, wrong = home.log_in(address="198.51.100.1"), home.log_in(password=WRONG, address="198.51.100.1")
    assert right == wrong
    assert isinstance(right, Refused)
    assert right.wait == micros(timedelta(seconds=30))
    assert hashes == []


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_rule_09_v6_3_8_status_body_headers_and_cookies_are_the_same_for_every_kind(home, accept):
    seen = {_answer(home, kind, accept) for kind in KINDS if kind != "empty"}
    assert len(seen) == 1
    assert seen.pop()[0] == 401


def _answer(home: house.House, kind: str, accept: str) -> tuple[int, str, tuple[str, ...], tuple[str, ...]]:
    name, password = attempt_of(home, kind)
    home.change(sa.delete(schema.counter).where(schema.counter.c.key.startswith("login@")))
    client = home.app.test_client()
    token = csrf_token(client.get("/login").text)
    fields = {"username": name, "password": password, "csrf_token": token}
    answer = client.post("/login", data=fields, headers={"Accept": accept})
    home.change(sa.delete(schema.password))
    home.change(sa.delete(schema.grant))
    home.change(sa.update(schema.user).values(username_key=schema.user.c.username_key + "-"))
    body = re.sub(r'value="[^"]*"|nonce="[^"]*"|nonce-[^\']*', "", answer.text)
    headers = tuple(
        sorted(
            f"{key}: {re.sub('nonce-[^ ;]*', '', value)}"
            for key, value in answer.headers
            if key not in {"Content-Length", "Set-Cookie"}
        )
    )
    cookies = tuple(sorted(cookie.partition("=")[0] for cookie in answer.headers.getlist("Set-Cookie")))
    return answer.status_code, body, headers, cookies


def _noted(home: house.House, name: str, password: str, cookie: str, address: str) -> list[object]:
    """Return outcome, hashes and statements of nine failing logins.

    Five are judged, three are refused in the delay, one in the pause.
    """
    seen: list[object] = []
    for _ in range(9):
        spare, hashes = devices.new(home.services.keys), house.hashes_of(home)
        with statements_of(home) as noted:
            outcome = home.log_in(name, password, device=cookie, spare=spare, address=address)
        vars(home.services.hasher).pop("_check")
        vars(home.services.hasher).pop("_hash")
        seen.append((outcome, list(hashes), noted.texts))
    return seen


@pytest.mark.parametrize("kind", ["wrong", "suspended", "disabled", "temporary", "totp"])
def test_rule_09_v6_3_8_a_browser_known_for_somebody_else_is_told_no_more_all_the_way_into_the_delay(open_house, kind):
    home = open_house(GATEHOUSE_FEATURES="totp,recovery_codes")
    home.person("bob")
    cookie = home.session("bob", spare=devices.new(home.services.keys)).device
    password = WRONG
    if kind == "totp":
        Phone(home)
    else:
        _, password = attempt_of(home, "wrong" if kind == "temporary" else kind)
    if kind == "temporary":
        digest, until = home.services.hasher.hash(PASSWORD), home.clock.now() + 10**12
        with home.services.database.unit() as connection:
            user = users.find_by_name(connection, "alice")
            assert user is not None
            passwords.store(connection, user.id, digest, 1, temporary_until=until)
    home.later(minutes=15)
    for _ in range(2):  # the first tells what has ended, the second finds nothing to tell: it looks again in a second
        home.log_in("warm", WRONG, device=cookie)
    unknown = _noted(home, "stranger", WRONG, cookie, "198.51.100.1")
    home.log_in("warm", WRONG, device=cookie)  # tells what the pause has refused, as the next attempt of anybody does
    assert unknown == _noted(home, "alice", password, cookie, "198.51.100.2")
