"""New passwords against a list of stolen ones, through every door that takes one."""

from __future__ import annotations

import hashlib

import pytest

from flask_gatehouse.flows import own_password, register, reset_password
from flask_gatehouse.flows.outcomes import Refusal, Refused
from flask_gatehouse.flows.stolen import STOLEN
from flask_gatehouse.kernel.errors import SettingsError, SetupError, WeakPassword
from flask_gatehouse.kernel.identity import CLI
from tests.support.house import HERE, PASSWORD

TAKEN, FREE = "a river of many bends", "a river of few bends"


@pytest.fixture
def listed(tmp_path, open_house):
    """Return a house whose list holds one password."""
    digests = sorted(
        hashlib.sha1(one.encode(), usedforsecurity=False).hexdigest().upper() for one in (TAKEN, "x" * 20, "y" * 20)
    )
    (tmp_path / "stolen.txt").write_text("\n".join(digests), encoding="ascii")
    return open_house(GATEHOUSE_BREACHED_PASSWORDS=str(tmp_path / "stolen.txt"))


@pytest.fixture
def silent(open_house):
    """Return a house whose service does not answer."""
    return open_house(GATEHOUSE_BREACHED_PASSWORDS="http://127.0.0.1:1/range/")


def asked(outcome):
    """Return what a refusal says, and where."""
    assert isinstance(outcome, Refused)
    return outcome.reason, outcome.field, outcome.text


WEAK = (Refusal.FIELD, "password", STOLEN)


def registered(home, password, name="carol"):
    return register.register(home.services, register.NewUser(name, password), HERE, may_claim=False)


def test_v6_2_12_63b_3_1_1_2_13_a_stolen_password_is_refused_at_registration_and_nothing_is_made(listed):
    assert asked(registered(listed, TAKEN)) == WEAK
    with listed.app.app_context(), pytest.raises(WeakPassword, match="list of stolen ones"):
        listed.gate.create_user("carol", TAKEN)
    assert not isinstance(registered(listed, FREE), Refused)


def test_v6_2_12_63b_3_1_1_2_15_at_a_change_it_is_refused_and_counts_as_no_wrong_password(listed):
    alice = listed.person()
    session = listed.session()
    identity = listed.identity(session.secret)
    for _ in range(7):
        outcome = own_password.change(listed.services, identity, session.secret, PASSWORD, TAKEN, HERE)
        assert asked(outcome) == WEAK
    assert listed.counter(f"inside:{alice}")[0] == 0
    outcome = own_password.change(listed.services, identity, session.secret, PASSWORD, FREE, HERE)
    assert not isinstance(outcome, Refused)


def test_v6_2_12_at_a_reset_it_is_refused_and_the_link_goes_on(listed):
    listed.person()
    link = reset_password.make_link(listed.services, CLI, "alice")
    assert isinstance(link, str)
    assert asked(reset_password.complete(listed.services, link, TAKEN, HERE)) == WEAK
    assert not isinstance(reset_password.complete(listed.services, link, FREE, HERE), Refused)


def test_v6_2_12_a_list_that_does_not_answer_keeps_nobody_out_and_is_told_once(silent):
    for number in range(3):
        assert not isinstance(registered(silent, FREE, f"user{number}"), Refused)
    assert silent.kinds().count("password.unasked") == 1


@pytest.mark.parametrize("value", ["http://pwned.example/range/", "https://pwned.example/range", "ftp://x.example/"])
def test_an_address_without_tls_or_without_an_end_is_refused(open_house, value):
    with pytest.raises(SettingsError, match="https://"):
        open_house(GATEHOUSE_BREACHED_PASSWORDS=value)


def test_a_file_that_is_no_list_is_refused(open_house, tmp_path):
    (tmp_path / "words.txt").write_text("password\nletmein\n", encoding="ascii")
    with pytest.raises(SetupError, match=r"words\.txt is no list"):
        open_house(GATEHOUSE_BREACHED_PASSWORDS=str(tmp_path / "words.txt"))
