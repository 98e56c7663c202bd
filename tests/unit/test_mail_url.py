"""Where mail goes, as a setting: what is taken, what is refused, and that no password is repeated."""

from __future__ import annotations

import pytest

from flask_gatehouse.kernel.errors import SettingsError
from flask_gatehouse.kernel.mail_url import NO_MAIL, MailUrl, parse_mail_url, parse_sender
from flask_gatehouse.kernel.problems import doubts, problems
from flask_gatehouse.kernel.settings import load
from tests.support.apps import SECRET

SAFE: dict[str, object] = {"SECRET_KEY": SECRET, "GATEHOUSE_ORIGINS": "https://app.example"}


@pytest.mark.parametrize(
    "given, expected",
    [
        ("", NO_MAIL),
        ("console:", MailUrl("console")),
        ("smtp://localhost", MailUrl("smtp", "localhost", 25)),
        ("smtp://mail.example:2525", MailUrl("smtp", "mail.example", 2525)),
        ("smtp://mail.example?starttls=never", MailUrl("smtp", "mail.example", 25, is_plain=True)),
        ("smtps://mail.example", MailUrl("smtps", "mail.example", 465)),
        ("smtps://a%40b:p%3Aw%2F@mail.example", MailUrl("smtps", "mail.example", 465, "a@b", "p:w/")),
        ("smtp://[::1]:1025", MailUrl("smtp", "::1", 1025)),
    ],
)
def test_a_mail_url_is_read(given, expected):
    assert parse_mail_url(given) == expected
    assert bool(expected) == bool(given)


@pytest.mark.parametrize(
    "given",
    [
        "mail.example",
        "http://mail.example",
        "smtp://",
        "smtp://:hidden@",
        "smtp://user:hidden@mail.example:port",
        "smtp://user:hidden@mail.example:99999",
        "smtp://user:hidden@mail.example/path",
        "smtp://user:hidden@mail.example?tls=off",
        "smtps://user:hidden@mail.example?starttls=never",
        "smtp://user:hidden@mail.example#x",
        5,
    ],
)
def test_what_is_no_mail_url_is_refused_without_repeating_it(given):
    with pytest.raises(SettingsError, match="GATEHOUSE_MAIL_URL") as told:
        load({"GATEHOUSE_MAIL_URL": given})
    assert "hidden" not in str(told.value)


def test_v13_3_1_a_mail_url_shows_no_password():
    url = parse_mail_url("smtps://user:hidden@mail.example")
    assert "hidden" not in f"{url} {url!r}"
    assert str(url) == "smtps://mail.example:465"


@pytest.mark.parametrize("given", ["", "a@b.example", "Our Site <no-reply@b.example>"])
def test_a_sender_is_an_address_with_or_without_a_name(given):
    assert parse_sender(given) == given


@pytest.mark.parametrize(
    "given", ["nobody", "a@b.example, c@d.example", "a@b.example\nBcc: c@d.example", "<a@b.example", 5]
)
def test_v1_3_11_what_is_no_sender_is_refused(given):
    with pytest.raises(ValueError, match="must be"):
        parse_sender(given)


def _named(config: dict[str, object], *, relaxed: bool = False) -> list[str]:
    return [problem.setting for problem in problems(load(SAFE | config), SAFE | config, relaxed=relaxed)]


SENDER: dict[str, object] = {"GATEHOUSE_MAIL_SENDER": "no-reply@app.example"}


def test_mail_by_smtp_needs_a_sender_outside_debug_and_tests():
    told: dict[str, object] = {"GATEHOUSE_MAIL_URL": "smtps://mail.example"}
    assert _named(told) == ["GATEHOUSE_MAIL_SENDER"]
    assert _named(told, relaxed=True) == _named(told | SENDER) == []


def test_a_console_that_prints_links_serves_no_strangers():
    told: dict[str, object] = {"GATEHOUSE_MAIL_URL": "console:"}
    assert _named(told) == ["GATEHOUSE_MAIL_URL"]
    assert _named(told, relaxed=True) == _named(told | {"GATEHOUSE_ORIGINS": "http://localhost:8000"}) == []


@pytest.mark.parametrize("relaxed", [True, False])
def test_v12_3_1_a_password_of_a_mail_server_is_never_sent_without_tls(relaxed):
    told = {"GATEHOUSE_MAIL_URL": "smtp://user:hidden@mail.example?starttls=never"} | SENDER
    assert _named(told, relaxed=relaxed) == ["GATEHOUSE_MAIL_URL"]


def test_v12_3_1_mail_without_tls_off_loopback_is_doubted():
    found = {}
    for url in ("smtp://mail.example?starttls=never", "smtp://mail.example", "smtp://localhost?starttls=never"):
        settings = load(SAFE | SENDER | {"GATEHOUSE_MAIL_URL": url})
        found[url] = [problem.setting for problem in doubts(settings, relaxed=False)]
    assert list(found.values()) == [["GATEHOUSE_MAIL_URL"], [], []]


@pytest.mark.parametrize("name", ["email", "both"])
def test_a_login_by_address_needs_mail(name):
    told: dict[str, object] = {"GATEHOUSE_LOGIN_NAME": name}
    assert _named(told, relaxed=True) == ["GATEHOUSE_LOGIN_NAME"]
    assert _named(told | {"GATEHOUSE_MAIL_URL": "console:"}, relaxed=True) == []


@pytest.mark.parametrize("value", ["help@app.example\nBcc: all@app.example", "x" * 201])
def test_whom_to_ask_is_one_line(value):
    with pytest.raises(SettingsError, match="GATEHOUSE_MAIL_CONTACT"):
        load({"GATEHOUSE_MAIL_CONTACT": value})
