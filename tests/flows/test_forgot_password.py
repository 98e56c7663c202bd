"""A forgotten password: one answer and one amount of work for everybody, and a link that opens nothing by itself."""

from __future__ import annotations

import re

import pytest
import sqlalchemy as sa

from flask_gatehouse.domain import passwords, throttle
from flask_gatehouse.domain.sessions import Issued, Session
from flask_gatehouse.flows import administer, forgot_password, own_addresses, own_password, reset_password, second_step
from flask_gatehouse.flows.opening import Attempt
from flask_gatehouse.flows.outcomes import FactorDue, FactorLost, Refusal, Refused
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.identity import assurance
from tests.flows.test_totp import Phone, code_of
from tests.support import house
from tests.support.house import BY_COMMAND, HERE, PASSWORD, PaperCodes, source, statements_of
from tests.support.post import LINK, part, token_of
from tests.support.visitor import csrf_token, submit

ALICE = "alice@example.org"
NEW = "another quiet river"
KINDS = [
    "unknown",
    "unknown address",
    "impossible",
    "by name",
    "by address",
    "other case",
    "unverified",
    "unverified, by address",
    "no address",
    "suspended",
    "closed",
    "password-less",
]


@pytest.fixture
def home(post, open_house):
    """Return a house that sends mail."""
    return open_house(GATEHOUSE_MAIL_URL=post.url, GATEHOUSE_ORIGINS="http://localhost")


def asked_for(home: house.House, kind: str) -> str:
    """Set the stage for a kind of asking and return what is typed."""
    if kind in {"unknown", "unknown address", "impossible"}:
        return {"unknown": "nobody", "unknown address": "nobody@example.org"}.get(kind, "no\u017fuch user @@")
    if kind.startswith("unverified"):
        home.person(email=ALICE)
        return ALICE if "address" in kind else "alice"
    user_id = home.person() if kind == "no address" else home.proven()
    if kind == "suspended":
        administer.suspend(home.services, BY_COMMAND, user_id)
    if kind == "closed":
        administer.close(home.services, BY_COMMAND, user_id)
    if kind == "password-less":
        with home.services.database.unit() as connection:
            passwords.forget(connection, user_id)
    return {"by address": ALICE, "other case": "ALICE@Example.org"}.get(kind, "alice")


def ask(home: house.House, name: str = "alice", address: str = HERE.address) -> Refused | None:
    """Ask for a link, and wait until it has left."""
    outcome = forgot_password.ask(home.services, name, source(address))
    assert home.rest()
    return outcome


def link_of(home: house.House, post) -> str:
    """Ask for a link and return the secret that was mailed."""
    assert ask(home) is None
    return token_of(post.mails[-1])


def use(home: house.House, link: str, password: str = NEW) -> int | Refused:
    """Use a link."""
    return reset_password.complete(home.services, link, password, HERE)


# --- nobody learns who has an account ----------------------------------------------------------------------


@pytest.fixture
def expected(home):
    """Return what an unknown name costs, on a warm house whose mail waits."""
    home.services.postman.retire(10)
    forgot_password.ask(home.services, "warm", HERE)
    with statements_of(home) as noted:
        outcome = forgot_password.ask(home.services, "stranger", HERE)
    return outcome, noted.texts


@pytest.mark.parametrize("kind", KINDS)
def test_rule_09_v6_3_8_asking_costs_the_same_statements_whoever_is_meant(home, expected, kind):
    name = asked_for(home, kind)
    before = home.count(schema.mail), home.count(schema.event)
    hashes = house.hashes_of(home)
    with statements_of(home) as noted:
        outcome = forgot_password.ask(home.services, name, HERE)
    assert (outcome, noted.texts) == expected == (None, noted.texts)
    assert hashes == []
    assert (home.count(schema.mail), home.count(schema.event)) == (before[0] + forgot_password.ADDRESSES, before[1] + 1)


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
@pytest.mark.parametrize("is_up", [True, False])
def test_rule_09_v6_3_8_status_body_headers_and_cookies_are_the_same_for_every_kind(home, post, accept, is_up):
    if not is_up:
        post.close()
    seen = {_answer(home, kind, accept) for kind in KINDS}
    assert len(seen) == 1
    assert seen.pop()[0] == (303 if accept == "text/html" else 202)


def _answer(home: house.House, kind: str, accept: str) -> tuple[object, ...]:
    name = asked_for(home, kind)
    home.change(sa.delete(schema.counter))
    client = home.app.test_client()
    fields = {"username": name, "csrf_token": csrf_token(client.get("/forgot-password").text)}
    answer = client.post("/forgot-password", data=fields, headers={"Accept": accept})
    cookies = tuple(sorted(cookie.partition("=")[0] for cookie in answer.headers.getlist("Set-Cookie")))
    headers = tuple(
        sorted(f"{key}: {re.sub('nonce-[^ ;]*', '', value)}" for key, value in answer.headers if key != "Set-Cookie")
    )
    shown = re.sub(r'value="[^"]*"|nonce="[^"]*"|nonce-[^\']*', "", client.get("/login").text)
    home.change(sa.update(schema.user).values(username_key=schema.user.c.username_key + "-", email_key=None))
    return answer.status_code, answer.text, headers, cookies, shown


@pytest.mark.parametrize("kind", KINDS)
def test_63b_4_2_1_2_2_a_link_goes_to_the_verified_address_of_an_active_user_and_to_nobody_else(home, post, kind):
    name = asked_for(home, kind)
    assert ask(home, name) is None
    has_mail = kind in {"by name", "by address", "other case", "password-less"}
    sent = zip(post.recipients, post.mails, strict=True)
    assert [to for to, mail in sent if LINK.search(part(mail, "plain"))] == ([ALICE] if has_mail else [])
    assert home.count(schema.link) == int(has_mail)
    assert home.count(schema.mail) == 0


def test_an_unknown_name_is_recorded_as_a_digest_and_repeats_are_counted(home):
    for _ in range(2):
        ask(home, "my password perhaps")
    (told,) = home.details("password.forgotten")
    assert list(told) == ["name_digest"]
    assert "perhaps" not in str(told)


# --- buckets -----------------------------------------------------------------------------------------------


def test_rule_08_asking_has_a_bucket_for_what_is_typed_known_or_not(home):
    home.proven()
    told = {}
    for name in ("alice", "nobody", ALICE):
        seen = [ask(home, name, f"198.51.100.{number}") for number in range(5)]
        told[name] = [outcome.reason if outcome is not None else None for outcome in seen]
    assert list(told.values()) == [[None] * 3 + [Refusal.THROTTLED] * 2] * 3


def test_rule_08_v2_4_1_asking_has_a_bucket_per_address(home):
    limit = throttle.FORGOT.per_address
    seen = [ask(home, f"name{number}") for number in range(limit + 1)]
    assert [outcome is None for outcome in seen] == [True] * limit + [False]
    assert ask(home, "another", "198.51.100.1") is None


def test_whoever_asks_in_a_row_fills_nobodys_mailbox_and_leaves_the_link_alive(home, post):
    home.proven()
    link = link_of(home, post)
    assert ask(home, ALICE) is None
    assert len(post.mails) == 1
    assert reset_password.find(home.services, link) == "alice"
    home.later(minutes=1)
    assert ask(home, ALICE) is None
    assert len(post.mails) == 2
    assert reset_password.find(home.services, link) is None


# --- the link ----------------------------------------------------------------------------------------------


def test_v6_4_3_a_mailed_link_sets_a_password_ends_all_sessions_and_logs_nobody_in(home, post):
    alice = home.proven()
    before = home.session()
    client = home.app.test_client()
    assert submit(client, "/forgot-password", username="alice").location == "/login"
    assert home.rest()
    path = f"/reset-password/{token_of(post.mails[0])}"
    assert f"http://localhost{path}" in part(post.mails[0], "plain")
    answer = submit(client, path, password=NEW, confirm=NEW)
    assert (answer.status_code, answer.location) == (303, "/login")
    assert client.get("/protected").status_code == 302
    assert not isinstance(home.load(before.secret), Session)
    assert home.count(schema.session) == 0
    assert isinstance(home.log_in(password=NEW), Issued)
    assert isinstance(home.log_in(), Refused)
    assert [entry.user_id for entry in home.events("password.reset")] == [alice]


def test_63b_4_2_3_1_v6_3_7_the_owner_hears_of_a_reset(home, post):
    home.proven()
    use(home, link_of(home, post))
    assert home.rest()
    assert post.subjects(ALICE)[-1] == "Your password was changed at localhost"


def test_v6_4_3_63b_4_2_2_2_1_v6_3_4_with_a_second_factor_the_link_alone_opens_nothing(post, open_house):
    codes = PaperCodes()
    home = open_house(factors=[codes], GATEHOUSE_MAIL_URL=post.url)
    alice = home.proven()
    codes.give(home, alice, "one", "two")
    assert use(home, link_of(home, post)) == alice
    assert home.count(schema.session) == 0
    with home.services.reading() as connection:
        assert codes.enrolled(connection, alice)
    outcome = home.log_in(password=NEW)
    assert isinstance(outcome, FactorDue)
    assert not isinstance(home.load(outcome.pending.secret), Session)


@pytest.mark.parametrize("field", ["code", "recovery_code"])
def test_63b_4_2_2_2_1_the_mailed_link_and_what_was_enrolled_or_kept_get_its_owner_in_again(post, open_house, field):
    home = open_house(GATEHOUSE_FEATURES="totp,recovery_codes", GATEHOUSE_MAIL_URL=post.url)
    alice = home.proven()
    phone = Phone(home, user_id=alice)
    assert use(home, link_of(home, post)) == alice
    outcome = home.log_in(password=NEW)
    assert isinstance(outcome, FactorDue)
    value = phone.codes[0] if field == "recovery_code" else code_of(home, phone.seed)
    found = second_step.answer(home.services, outcome.pending.secret, field, value, Attempt(HERE))
    assert isinstance(found, FactorLost if field == "recovery_code" else Issued)
    if isinstance(found, FactorLost):
        offer = second_step.offer(home.services, found.pending.secret)
        assert offer is not None
        code = code_of(home, offer.seed)
        found = second_step.replace_factor(home.services, found.pending.secret, code, Attempt(HERE))
    assert isinstance(found, Issued)
    assert assurance(home.identity(found.secret).proofs) == 2


def test_63b_4_2_1_2_1_a_mailed_link_lives_for_half_an_hour_from_when_it_was_sent(home, post):
    home.proven()
    link = link_of(home, post)
    home.later(minutes=29, seconds=59)
    assert reset_password.find(home.services, link) == "alice"
    home.later(seconds=1)
    assert reset_password.find(home.services, link) is None


def _by_address(home: house.House, alice: int) -> None:
    identity = home.identity(home.session().secret)
    own_addresses.change(home.services, identity, "", HERE)


def _by_password(home: house.House, alice: int) -> None:
    secret = home.session().secret
    assert own_password.change(home.services, home.identity(secret), secret, PASSWORD, "a third river", HERE)


@pytest.mark.parametrize("death", [_by_address, _by_password, house.end_all])
def test_rule_31_a_mailed_link_dies_with_password_address_and_epoch(home, post, death):
    alice = home.proven()
    link = link_of(home, post)
    death(home, alice)
    outcome = use(home, link)
    assert isinstance(outcome, Refused)
    assert outcome.reason is Refusal.GONE


def test_v6_3_6_63b_3_1_3_1_no_mailed_link_becomes_a_session(home, post):
    home.proven()
    use(home, link_of(home, post))
    assert home.count(schema.session) == 0
    assert not {"mail", "email"} & {factor.method for factor in home.services.factors}


def _use(here: house.House, number: int, link: str) -> str:
    password, place = f"{NEW} {number}", source(f"10.0.0.{number}")
    outcome = house.patiently(lambda: reset_password.complete(here.services, link, password, place))
    return outcome.reason.name if isinstance(outcome, Refused) else str(number)


def test_rule_31_v2_3_4_fifty_uses_of_a_mailed_link_over_two_processes_set_one_password(crowd, home, post):
    home.proven()
    outcomes = crowd.rush(_use, home, 50, link_of(home, post), GATEHOUSE_THROTTLE="off")
    (winner,) = [outcome for outcome in outcomes if outcome.isdecimal()]
    assert outcomes.count("GONE") == 49
    assert isinstance(home.log_in(password=f"{NEW} {winner}"), Issued)


def _ask(here: house.House, number: int) -> bool:
    return forgot_password.ask(here.services, "alice", source(f"10.0.0.{number}")) is None


def test_rule_31_fifty_that_ask_at_once_leave_one_live_link(crowd, home, post):
    home.proven()
    home.services.postman.retire(10)
    told = crowd.rush(_ask, home, 50, GATEHOUSE_THROTTLE="off", GATEHOUSE_MAIL_URL=post.url)
    assert told == [True] * 50
    assert home.count(schema.link) == len(post.mails) == 1


# --- the page ----------------------------------------------------------------------------------------------


def test_the_login_page_leads_to_the_page_and_an_empty_name_is_told(home):
    client = home.app.test_client()
    assert 'href="/forgot-password"' in client.get("/login").text
    assert submit(client, "/forgot-password", username="").status_code == 422
    assert submit(client, "/forgot-password", username="a\x00b").status_code == 422
    assert client.post("/forgot-password", data={"username": "alice"}).status_code == 403


def test_v6_3_8_links_never_follow_the_host_that_was_asked(post, open_house):
    home = open_house(GATEHOUSE_MAIL_URL=post.url, GATEHOUSE_ORIGINS="https://app.example,https://other.example")
    home.proven()
    client = home.app.test_client()
    token = csrf_token(client.get("/forgot-password", base_url="https://other.example").text)
    sent = {"username": "alice", "csrf_token": token}
    headers = {"X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}
    answer = client.post("/forgot-password", data=sent, base_url="https://other.example", headers=headers)
    assert answer.status_code == 303
    assert home.rest()
    assert "https://app.example/reset-password/" in part(post.mails[0], "plain")
    assert "evil.example" not in post.mails[0].as_string()
    assert client.post("/forgot-password", data=sent, base_url="https://evil.example").status_code == 400


def test_a_site_that_sends_no_mail_says_so_and_answers_alike(open_house):
    silent = open_house()
    silent.proven()
    client = silent.app.test_client()
    assert "sends no mail" in client.get("/forgot-password").text
    token = csrf_token(client.get("/login").text)
    for name in ("alice", "nobody"):
        answer = client.post("/forgot-password", data={"username": name, "csrf_token": token})
        assert (answer.status_code, answer.location) == (303, "/login")
    assert silent.count(schema.mail) == 0
