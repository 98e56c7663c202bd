"""Mail: written with the change, sent after it, its link made when it is sent, tried again, never lost, never early."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
import time

import pytest
import sqlalchemy as sa
from jinja2 import FileSystemLoader

from flask_gatehouse.domain import mail, tokens, users
from flask_gatehouse.domain.mail import Letter
from flask_gatehouse.flows import post as posting
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.errors import InvalidEmail
from flask_gatehouse.kernel.keys import secret_digest
from tests.support import ROOT, house
from tests.support.post import part, token_of

ALICE = "alice@example.org"
NOTICE = "new_browser"
TEMPLATES = ROOT / "src/flask_gatehouse/templates/gatehouse/mail"


@pytest.fixture
def home(post, open_house):
    """Return a house that sends mail."""
    return open_house(GATEHOUSE_MAIL_URL=post.url, GATEHOUSE_MAIL_SENDER="Example <no-reply@app.example>")


@pytest.fixture
def alice(home):
    """Return the id of a user whose address is verified."""
    return home.proven()


def post_letter(home: house.House, letter: Letter) -> None:
    """Ask for a mail and wait until it was tried."""
    with home.services.unit() as unit:
        unit.post(letter)
    home.rest()


def waiting(home: house.House) -> list[tuple[object, ...]]:
    """Return template, tries and address of what waits."""
    table = schema.mail
    return [tuple(row) for row in home.rows(sa.select(table.c.template, table.c.tries, table.c.address))]


# --- written with the change -------------------------------------------------------------------------------


def test_a_mail_is_sent_after_the_commit_in_two_parts_that_say_the_same(home, alice, post):
    post_letter(home, Letter(NOTICE, alice, facts={"browser": "Firefox/140 (X11; Linux)"}))
    (message,) = post.mails
    assert (message["From"], message["To"]) == ("Example <no-reply@app.example>", ALICE)
    assert message["Subject"] == "A new browser logged in at localhost:5000"
    assert message["Auto-Submitted"] == "auto-generated"
    assert "app.example" in message["Message-ID"]
    for kind in ("plain", "html"):
        assert "alice" in part(message, kind)
        assert "Firefox on Linux" in part(message, kind)
    assert waiting(home) == []


def test_a_change_that_is_rolled_back_sends_nothing(home, alice, post):
    def fail() -> None:
        with home.services.unit() as unit:
            unit.post(Letter(NOTICE, alice))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert home.rest()
    assert waiting(home) == []
    assert post.mails == []


def test_63b_4_2_1_2_2_a_notice_goes_to_a_verified_address_alone(home, post):
    unverified, without = home.person("bob", email="bob@example.org"), home.person("carol")
    for user_id in (unverified, without):
        post_letter(home, Letter(NOTICE, user_id))
    assert waiting(home) == []
    assert post.mails == []


def test_without_a_mail_server_nothing_is_written(open_house):
    silent = open_house()
    post_letter(silent, Letter(NOTICE, silent.proven()))
    assert silent.count(schema.mail) == 0


def test_rule_31_a_row_holds_template_and_ids_and_no_secret(home, alice, post):
    post.close()
    with home.services.unit() as unit:
        unit.post(reset_letter(home, alice))
    home.rest()
    rows = home.rows(
        sa.select(schema.mail.c.template, schema.mail.c.user_id, schema.mail.c.address, schema.mail.c.detail)
    )
    (row,) = rows
    assert (row.template, row.user_id, row.address) == (mail.RESET, alice, ALICE)
    assert json.loads(row.detail) == {"epoch": 0}


# --- links are made when their mail is sent ----------------------------------------------------------------


def reset_letter(home: house.House, user_id: int) -> Letter:
    """Return the letter that a forgotten password asks for."""
    found = home.user(user_id)
    return Letter(mail.RESET, user_id, found.email or "", {"epoch": found.epoch})


def test_rule_31_the_link_of_a_mail_is_made_when_it_is_sent_and_lives_from_then_on(home, alice, post):
    post.close()
    post_letter(home, reset_letter(home, alice))
    first = home.rows(sa.select(schema.link.c.digest))
    home.later(minutes=20)
    post.open()
    assert posting.deliver(home.services, is_forced=True).sent == 1
    secret = token_of(post.mails[0])
    (row,) = home.rows(sa.select(schema.link.c.digest, schema.link.c.expires_at, schema.link.c.address))
    assert bytes(row.digest) == secret_digest(secret) != bytes(first[0].digest)
    assert (row.expires_at, row.address) == (home.clock.now() + tokens.LIFE_MICROS, ALICE)
    assert f"http://localhost:5000/reset-password/{secret}" in part(post.mails[0], "html")


def _with_epoch(home: house.House, alice: int) -> None:
    house.end_all(home, alice)


def _with_address(home: house.House, alice: int) -> None:
    with home.services.database.unit() as connection:
        users.verify_email(connection, alice, "other@example.org")


def _with_verification(home: house.House, alice: int) -> None:
    with home.services.database.unit() as connection:
        users.set_email(connection, alice, ALICE)


def _with_state(home: house.House, alice: int) -> None:
    home.change(sa.update(schema.user).values(state="suspended"))


@pytest.mark.parametrize("change", [_with_epoch, _with_address, _with_verification, _with_state])
def test_rule_31_a_link_that_waits_is_not_made_after_what_it_was_asked_for_has_changed(home, alice, post, change):
    post.close()
    post_letter(home, reset_letter(home, alice))
    home.change(sa.delete(schema.link))
    change(home, alice)
    post.open()
    told = posting.deliver(home.services, is_forced=True)
    assert (told.sent, told.dropped) == (0, 1)
    assert post.mails == []
    assert home.count(schema.link) == home.count(schema.mail) == 0


def test_a_row_of_nobody_is_forgotten(home, post):
    post_letter(home, Letter(mail.RESET, None, ""))
    assert waiting(home) == []
    assert post.mails == []


# --- a server that is down ---------------------------------------------------------------------------------


def test_v16_3_4_v13_2_6_a_mail_waits_longer_each_time_while_a_server_is_down_and_is_sent_once(
    home, alice, post, caplog
):
    post.close()
    post_letter(home, Letter(NOTICE, alice))
    pauses = []
    for tries in range(1, 7):
        ((_, seen, _),) = waiting(home)
        assert seen == tries
        (due_at,) = home.rows(sa.select(schema.mail.c.due_at))[0]
        pauses.append((due_at - home.clock.now()) // (60 * house.SECOND))
        assert posting.deliver(home.services).failed == 0  # not yet
        home.later(minutes=pauses[-1])
        assert posting.deliver(home.services).failed == 1
    assert pauses == [1, 4, 16, 60, 60, 60]
    assert home.details("mail.failed") == [
        {"template": NOTICE, "why": "ConnectionRefusedError", "tries": 1, "given_up": False}
    ]
    assert ALICE not in caplog.text
    post.open()
    home.later(hours=1)
    assert posting.deliver(home.services).sent == 1
    assert posting.deliver(home.services).sent == 0
    assert post.subjects(ALICE) == ["A new browser logged in at localhost:5000"]


def test_a_mail_that_could_not_be_handed_over_for_days_is_given_up_and_recorded(home, alice, post):
    post.close()
    post_letter(home, Letter(NOTICE, alice))
    home.later(hours=72)
    assert posting.deliver(home.services).dropped == 1
    assert [told["given_up"] for told in home.details("mail.failed")] == [False, True]
    assert waiting(home) == []


def test_an_address_that_the_server_refuses_for_good_is_given_up_at_once(home, alice, post):
    post.answers[ALICE] = "550 no such mailbox"
    post_letter(home, Letter(NOTICE, alice))
    assert waiting(home) == []
    assert home.details("mail.failed") == [
        {"template": NOTICE, "why": "SMTPRecipientsRefused", "tries": 1, "given_up": True}
    ]


def test_an_address_that_is_refused_for_now_holds_up_no_other(home, alice, post):
    bob = home.proven("bob")
    post.answers[ALICE] = "450 try later"
    for user_id in (alice, bob):
        post_letter(home, Letter(NOTICE, user_id))
    assert post.recipients == ["bob@example.org"]
    assert waiting(home) == [(NOTICE, 1, ALICE)]


def test_a_server_that_is_down_is_tried_a_few_times_a_round_and_not_for_each_mail(home, alice, post):
    post.close()
    with home.services.unit() as unit:
        for _ in range(10):
            unit.post(Letter(NOTICE, alice))
    home.rest()
    assert sum(int(str(tries)) for _, tries, _ in waiting(home)) == posting.FAILURES_IN_A_ROW
    post.open()
    assert posting.deliver(home.services, is_forced=True).sent == 10


def test_a_template_that_fails_holds_up_no_other_mail(home, alice, post, caplog):
    with home.services.unit() as unit:
        unit.post(Letter("nothing", alice))
        unit.post(Letter(NOTICE, alice))
    assert home.rest()
    assert post.subjects() == ["A new browser logged in at localhost:5000"]
    assert "TemplatesNotFound" in caplog.text


def test_a_request_neither_waits_for_a_mail_server_nor_hears_of_it(home, alice, post):
    release, begun = threading.Event(), threading.Event()

    async def hang(*_given):
        begun.set()
        await asyncio.to_thread(release.wait, 30)
        return "250 OK"

    post.handle_DATA = hang
    started = time.monotonic()
    with home.services.unit() as unit:
        unit.post(Letter(NOTICE, alice))
    assert begun.wait(60)
    assert not home.services.postman.rest(0)
    with home.services.unit() as unit:  # another change meanwhile
        unit.post(Letter(NOTICE, alice))
    assert time.monotonic() - started < 10
    release.set()
    assert home.rest()
    assert waiting(home) == []


def test_what_a_process_left_behind_is_sent_by_the_next_one_that_starts(home, alice, post, open_house):
    home.services.postman.retire(10)
    with home.services.unit() as unit:
        unit.post(Letter(NOTICE, alice))
    assert waiting(home) == [(NOTICE, 0, ALICE)]
    later = open_house(GATEHOUSE_MAIL_URL=post.url)
    assert later.app.test_client().get("/").status_code == 200
    assert later.rest()
    assert post.recipients == [ALICE]


def test_a_mail_whose_process_died_while_sending_is_sent_after_its_lease(home, alice, post):
    home.services.postman.retire(10)
    with home.services.unit() as unit:
        unit.post(Letter(NOTICE, alice))
    (unsent,) = home.rows(sa.select(schema.mail.c.id))[0]
    with home.services.database.unit() as connection:
        assert mail.claim(connection, unsent, home.clock.now())  # and then it dies
    assert posting.deliver(home.services, is_forced=True).sent == 0
    home.later(minutes=5)
    assert posting.deliver(home.services).sent == 1


def _deliver(here: house.House, _number: int) -> int:
    return posting.deliver(here.services).sent


def test_v2_3_4_of_many_that_send_at_once_over_two_processes_each_mail_is_sent_by_one(crowd, home, alice, post):
    home.services.postman.retire(10)
    with home.services.unit() as unit:
        for _ in range(10):
            unit.post(Letter(NOTICE, alice))
    sent = crowd.rush(_deliver, home, 16, GATEHOUSE_MAIL_URL=post.url)
    assert sum(sent) == len(post.mails) == 10
    assert waiting(home) == []


def test_no_mail_is_written_to_a_log(home, alice, caplog):
    caplog.set_level(logging.DEBUG)
    post_letter(home, reset_letter(home, alice))
    ours = " ".join(record.getMessage() for record in caplog.records if record.name.startswith("flask_gatehouse"))
    assert "password.reset_link" in ours
    assert ALICE not in ours
    assert "reset-password/" not in ours


def test_a_console_prints_the_mail(open_house, capfd):
    debug = open_house(GATEHOUSE_MAIL_URL="console:")
    post_letter(debug, reset_letter(debug, debug.proven()))
    assert "http://localhost:5000/reset-password/" in capfd.readouterr().err


def test_an_app_overrides_the_words_of_a_mail_and_its_html(home, alice, post, tmp_path):
    folder = tmp_path / "templates" / "gatehouse" / "mail"
    folder.mkdir(parents=True)
    (folder / "new_browser.txt").write_text("Hallo {{ username }}\n\nEin neuer Browser <am> {{ when }}.\n")
    home.app.jinja_loader = FileSystemLoader(tmp_path / "templates")
    post_letter(home, Letter(NOTICE, alice))
    assert post.subjects() == ["Hallo alice"]
    assert "Ein neuer Browser <am>" in part(post.mails[0], "plain")
    assert "Ein neuer Browser &lt;am&gt;" in part(post.mails[0], "html")
    (folder / "new_browser.html").write_text("<b>{{ subject }}</b>")
    post_letter(home, Letter(NOTICE, alice))
    assert part(post.mails[1], "html").strip() == "<b>Hallo alice</b>"


@pytest.mark.parametrize("name", sorted(path.stem for path in TEMPLATES.glob("*.txt")))
def test_every_mail_has_a_subject_and_words_of_ascii_without_a_leftover(home, name):
    facts = {
        "username": "alice",
        "address": ALICE,
        "when": "2026-11-28T18:00:00Z",
        "minutes": 30,
        "link": "https://x/y",
    }
    written = home.services.writer.write(name, facts)
    assert 10 < len(written.subject) < 90
    assert (written.subject + written.text + written.html).isascii()
    assert "localhost:5000" in written.text
    assert not re.search(r"[{}]{2}|\{%|None|Undefined", written.text + written.html)
    assert max(map(len, written.text.splitlines())) < 900


@pytest.mark.parametrize("name", sorted(path.stem for path in TEMPLATES.glob("*.txt")))
def test_63b_4_6_2_every_mail_says_what_to_do_if_it_was_not_you_and_whom_to_ask(post, open_house, name):
    home = open_house(GATEHOUSE_MAIL_URL=post.url, GATEHOUSE_SUPPORT="help@app.example")
    facts = {"username": "alice", "address": ALICE, "when": "now", "minutes": 30, "link": "https://x/y"}
    for is_demanded in (True, False):
        written = home.services.writer.write(name, {**facts, "is_demanded": is_demanded})
        assert re.search(r"This was not you\?|If not, |You did not ask for it\?|If it was not you", written.text), name
        assert written.text.endswith("Questions about your account? help@app.example\n")
        assert "help@app.example" in written.html


def test_v1_3_11_an_address_that_could_carry_a_second_one_never_gets_into_a_mail(home, post):
    for address in ("a@example.org\nBcc: b@example.org", "a@example.org,b@example.org", "<a@example.org>"):
        with pytest.raises(InvalidEmail):
            home.person(email=address)
