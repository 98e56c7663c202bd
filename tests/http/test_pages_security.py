"""What people are told of second factors: have one, have two, the better kind first, what to do when one is lost."""

from __future__ import annotations

import re
from html import unescape

import pytest

from flask_gatehouse import SettingsError
from tests.support import phones
from tests.support.authenticator import Authenticator
from tests.support.people import PROGRAM, logged_in, make_person, newcomer, services_of
from tests.support.visitor import csrf_token, submit

ALL = {"GATEHOUSE_FEATURES": "totp,passkeys,recovery_codes"}
PAGE = "/account/security"
OPTIONS = re.compile(r'data-options="([^"]*)"')
SEED = re.compile(r"secret=([A-Z2-7]+)")
CODE = re.compile(r"<code>([0-9][0-9A-Z-]{20,})</code>")
ASKED = "Enrol a second factor"
ANOTHER = "Enrol another one, on another device"
BETTER = "a passkey it cannot take from you"


def text_of(client, path=PAGE):
    """Return a page."""
    return client.get(path).get_data(as_text=True)


def test_63b_2_1_1_who_has_no_second_factor_is_encouraged_to_enrol_one_after_the_login(make_app):
    app = make_app(**ALL, GATEHOUSE_AFTER_LOGIN="/account")
    make_person(app, "alice")
    client = app.test_client()
    landed = submit(client, "/login", username="alice", password="quiet river stone").location
    assert ASKED in text_of(client, landed)
    phones.enrol(services_of(app), 1)
    assert ASKED not in text_of(client, landed)
    assert ASKED not in text_of(newcomer(make_app(), "bob"), "/account")  # this site offers none


@pytest.mark.parametrize("profile", ["default", "strict"])
def test_63b_2_2_2_3_63b_2_2_2_4_the_factor_that_no_false_page_can_take_is_offered_first(make_app, profile):
    app = make_app(**ALL, GATEHOUSE_PROFILE=profile)
    make_person(app, "alice")
    client = logged_in(app, "alice")
    page = text_of(client)
    assert page.index("Enrol a passkey") < page.index("Enrol an app")
    assert BETTER not in page
    phones.enrol(services_of(app), 1)
    assert BETTER in text_of(client)  # whoever has an app is told what is better
    waiting = app.test_client()
    submit(waiting, "/login", username="alice", password="quiet river stone")
    assert "Your password was right." in text_of(waiting, "/login/factor")


def test_63b_4_1_2_1_a_user_with_one_factor_is_told_to_enrol_another_and_may_have_several(make_app):
    app = make_app(**ALL)
    make_person(app, "alice")
    client = logged_in(app, "alice")
    assert ANOTHER not in text_of(client)
    seen = []
    for _ in range(3):
        answer = Authenticator().create(options_of(text_of(client, f"{PAGE}/passkeys")))
        assert submit(client, f"{PAGE}/passkeys", passkey=answer).status_code in {200, 303}
        seen.append(ANOTHER in text_of(client))
    assert seen == [True, False, False]
    phones.enrol(services_of(app), 1)
    page = text_of(client)
    assert ANOTHER not in page
    assert page.count("not used yet") == 3
    assert "Whoever logs in with your password needs a code of it too." in page


@pytest.mark.parametrize("path", [f"{PAGE}/totp", f"{PAGE}/passkeys"])
def test_63b_3_2_1_1_where_a_factor_is_enrolled_people_read_how_to_keep_it_and_what_to_do_when_it_is_lost(
    make_app, path
):
    app = make_app(**ALL)
    make_person(app, "alice")
    page = text_of(logged_in(app, "alice"), path)
    assert "Keep it to yourself" in page
    assert "Remove it at once" in page


def options_of(page):
    """Return what a page asks the browser's authenticators."""
    found = OPTIONS.search(page)
    assert found is not None
    return unescape(found[1])


@pytest.mark.parametrize("headers", [{}, PROGRAM], ids=["page", "program"])
def test_63b_4_2_1_1_3_the_code_in_place_of_a_used_one_is_shown_once_on_the_way_in(make_app, headers):
    app = make_app(**ALL)
    make_person(app, "alice")
    client = logged_in(app, "alice")
    seed = SEED.search(text_of(client, f"{PAGE}/totp"))
    assert seed is not None
    page = submit(client, f"{PAGE}/totp", code=phones.code_now(app, seed[1])).get_data(as_text=True)
    codes = CODE.findall(page)
    other = app.test_client()
    submit(other, "/login", username="alice", password="quiet river stone")
    submit(other, "/login/factor", recovery_code=codes[7])
    offered = SEED.search(text_of(other, "/login/factor"))
    assert offered is not None
    assert "data-retry" not in text_of(other, "/login/factor")  # the script would go on without showing the code
    token = csrf_token(text_of(other, "/login/factor"))
    fields = {"csrf_token": token, "code": phones.code_now(app, offered[1]), "next": "/protected"}
    answer = other.post("/login/factor", data=fields, headers=headers)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
    found = answer.json["codes"] if headers else CODE.findall(answer.text)
    assert [code[0] for code in found] == ["7"]
    assert found[0] not in codes
    assert "/protected" in answer.text
    assert other.get("/protected").status_code == 200
    assert found[0] not in text_of(other, PAGE)


@pytest.mark.parametrize(
    "support, link",
    [("help@app.example", "mailto:help@app.example"), ("https://app.example/@help", "https://app.example/@help")],
)
def test_63b_2_4_4_1_every_page_says_whom_to_ask_who_cannot_log_in_too(make_app, support, link):
    app = make_app(**ALL, GATEHOUSE_SUPPORT=support)
    make_person(app, "alice")
    phones.enrol(services_of(app), 1)
    client, told = app.test_client(), f'<a href="{link}">{support}</a>'
    pages = [text_of(client, path) for path in ("/login", "/register", "/forgot-password", "/reset-password/gone")]
    submit(client, "/login", username="alice", password="quiet river stone")
    pages.append(text_of(client, "/login/factor"))
    wrong = {"password": "x" * 9}
    answers = [submit(client, "/login", username="alice", **wrong) for _ in range(6)]
    token = csrf_token(text_of(client, "/login"))
    fields = [{"csrf_token": token, "username": f"n{number}", **wrong} for number in range(20)]
    answers += [client.post("/login", data=one) for one in fields]
    assert [answers[place].status_code for place in (0, 5, -1)] == [401, 429, 429]
    pages += [answers[place].get_data(as_text=True) for place in (0, 5, -1)]
    assert "Try again in a moment" in pages[-1]  # the page that stands in front of Flask
    assert [told in page for page in pages] == [True] * len(pages)
    assert "Trouble with your account?" not in text_of(make_app().test_client(), "/login")


@pytest.mark.parametrize(
    "text", ["http://app.example", "help", "a@b c", "javascript:alert(1)", "https://", "x\n@y.org"]
)
def test_what_is_neither_an_address_nor_a_page_is_no_contact(make_app, text):
    with pytest.raises(SettingsError, match="must be an address such as"):
        make_app(GATEHOUSE_SUPPORT=text)
