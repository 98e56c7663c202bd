"""Second factors attacked through what stands beside them: resets by mail, other factors, other sessions."""

from __future__ import annotations

import pytest

from flask_gatehouse.domain import devices
from flask_gatehouse.domain.sessions import Issued
from flask_gatehouse.flows import reset_password
from flask_gatehouse.flows.outcomes import FactorDue
from flask_gatehouse.kernel.identity import CLI
from tests.flows.test_passkeys import ALL
from tests.flows.test_totp import Phone, answer, code_of
from tests.support import house
from tests.support.house import HERE

NEW = "a new river stone"
WRONG_CODE = "000000"


@pytest.fixture
def home(open_house):
    """Return a house with every factor on."""
    return open_house(**ALL)


# --- guessed after resets ----------------------------------------------------------------------------------


def guess_after_reset(home: house.House, guesses: int) -> str:
    """Do as who reads alice's mail does: choose a password by link, log in, guess codes; return the browser's cookie."""
    shown = devices.new(home.services.keys)
    link = str(reset_password.make_link(home.services, CLI, "alice"))
    assert reset_password.complete(home.services, link, NEW, HERE, device=shown)
    for _ in range(guesses):
        due = home.log_in("alice", NEW, device=shown, spare=devices.new(home.services.keys))
        assert isinstance(due, FactorDue)
        answer(home, due.pending.secret, WRONG_CODE, device=shown)
    return shown


def test_63b_3_2_2_1_v6_6_2_wrong_codes_stay_counted_over_resets_of_the_password(home):
    phone = Phone(home)
    key = home.services.throttle.factor_key("totp", phone.user_id)
    for resets in range(1, 5):
        cookie = guess_after_reset(home, 1)
        assert home.counter(key)[:2] == (resets, resets)
    due = home.log_in("alice", NEW, device=cookie)
    assert isinstance(due, FactorDue)
    opened = answer(home, due.pending.secret, code_of(home, phone.seed), device=cookie)
    assert isinstance(opened, Issued)
    assert opened.device  # by now it is a known one
    assert home.counter(key)[:2] == (0, 0)
