"""Who has lost app and codes asks an administrator: what a reset takes, whom it ends, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from flask_gatehouse.domain.sessions import Issued, Session
from flask_gatehouse.flows import administer, edit_roles, enrol, second_step, seeds
from flask_gatehouse.flows.acts import Act
from flask_gatehouse.flows.outcomes import FactorDue, Refusal, Refused
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.identity import CLI
from tests.flows.test_passkeys import ALL, Owner, enrol_in
from tests.flows.test_recorded import FAULTS, rows_of
from tests.flows.test_totp import ON, Phone, answer, begin, code_of, refusal
from tests.support import house
from tests.support.authenticator import Authenticator
from tests.support.house import BY_COMMAND, HERE

TABLES = (schema.totp, schema.recovery_code)


@pytest.fixture
def home(open_house):
    """Return a house with both features on."""
    return open_house(**ON)


def test_v6_5_6_63b_3_2_1_1_an_administrator_resets_all_factors_of_a_user_with_a_reason(home):
    phone = Phone(home)
    home.person("root", roles=["admin"])
    pending, link = begin(home), home.by(home.session("root").secret, "came to the desk with a passport")
    with home.services.reading() as connection:
        shown = seeds.enrolled_of(home.services, connection, phone.user_id)
    assert [(one.method, one.left) for one in shown] == [("totp", None), ("recovery_code", 10)]

    assert administer.reset_factors(home.services, link, phone.user_id)
    assert [home.count(table) for table in TABLES] == [0, 0]
    assert not isinstance(home.load(phone.session.secret), Session)
    assert refusal(answer(home, pending, code_of(home, phone.seed))) is Refusal.GONE
    assert isinstance(home.log_in(), Issued)  # the password alone
    (entry,) = home.events("factor.reset")
    assert (entry.actor, entry.user_id) == ("root", phone.user_id)
    (detail,) = home.details("factor.reset")
    assert detail["reason"] == "came to the desk with a passport"
    assert detail["methods"] == ["totp", "recovery_code"]
    assert detail["sessions_ended"] == [phone.session.public_id]
    assert phone.seed not in str(home.rows(sa.select(schema.event)))


def test_after_a_reset_another_app_is_enrolled_and_codes_of_the_old_one_are_dead(home):
    old = Phone(home)
    administer.reset_factors(home.services, BY_COMMAND, old.user_id)
    mine = home.session().secret
    offer = enrol.offer_totp(home.services, home.identity(mine))
    assert isinstance(offer, seeds.Offer)
    assert offer.seed != old.seed
    done = enrol.confirm_totp(home.services, home.identity(mine), mine, code_of(home, offer.seed), HERE)
    assert isinstance(done, seeds.Enrolled)
    assert len(done.codes) == 10
    assert not set(done.codes) & set(old.codes)
    home.later(seconds=30)
    assert refusal(answer(home, begin(home), code_of(home, old.seed))) is Refusal.CREDENTIALS
    assert refusal(answer(home, begin(home), old.codes[0], "recovery_code")) is Refusal.CREDENTIALS


def test_without_a_factor_there_is_nothing_to_reset_and_nothing_is_recorded(home):
    plain = home.person("plain")
    kept = home.session("plain")
    outcome = administer.reset_factors(home.services, BY_COMMAND, plain)
    assert isinstance(outcome, Refused)
    assert (outcome.field, outcome.text) == ("factor", administer.NO_FACTOR)
    assert isinstance(home.load(kept.secret), Session)
    assert home.events("factor.reset") == []


def test_a_reset_leaves_the_factors_of_others_alone(home):
    phone, other = Phone(home), Phone(home, "bob")
    assert administer.reset_factors(home.services, BY_COMMAND, phone.user_id)
    assert isinstance(home.log_in("bob"), FactorDue)
    assert isinstance(home.load(other.session.secret), Session)


def test_63b_4_5_1_a_closed_user_leaves_no_seed_and_no_code_behind(home):
    phone = Phone(home)
    assert administer.close(home.services, Act(CLI, None, "left"), phone.user_id)
    assert [home.count(table) for table in TABLES] == [0, 0]


DEEDS: dict[str, Callable[[house.House, int, str], object]] = {
    "reset": lambda home, user_id, _pending: administer.reset_factors(home.services, BY_COMMAND, user_id),
    "demand": lambda home, user_id, _: administer.demand_factor(home.services, BY_COMMAND, user_id, is_demanded=True),
    "demand of a role": lambda home, *_: edit_roles.demand_factor(home.services, BY_COMMAND, "payer", is_demanded=True),
    "give up": lambda home, _user_id, pending: second_step.cancel(home.services, pending, HERE),
}


@pytest.mark.parametrize("deed", DEEDS)
def test_rule_29_v16_3_1_without_its_row_in_the_log_nothing_is_changed(home, deed):
    phone = Phone(home)
    edit_roles.create(home.services, BY_COMMAND, "payer", ["invoice:refund"])
    pending = begin(home)
    before = rows_of(home)
    home.change(sa.text("ALTER TABLE gatehouse_event RENAME TO taken_away"))
    with pytest.raises(FAULTS):
        DEEDS[deed](home, phone.user_id, pending)
    home.change(sa.text("ALTER TABLE taken_away RENAME TO gatehouse_event"))
    assert rows_of(home) == before
    recorded = len(home.events())
    assert DEEDS[deed](home, phone.user_id, pending)
    assert len(home.events()) == recorded + 1
    assert home.verified() == recorded + 1


def test_v6_5_6_passkeys_are_reset_too_and_the_administrator_sees_each_by_its_name(open_house):
    home = open_house(**ALL)
    owner = Owner(home)
    assert isinstance(enrol_in(home, owner.session.secret, Authenticator(), "spare key"), seeds.Enrolled)
    with home.services.reading() as connection:
        shown = seeds.enrolled_of(home.services, connection, owner.user_id)
    assert [(one.method, one.name, one.left) for one in shown] == [
        *(("passkey", name, None) for name in ("my key", "spare key")),
        ("recovery_code", "", 10),
    ]
    assert [one.created_at for one in shown[:2]] == [home.clock.now()] * 2
    assert administer.reset_factors(home.services, BY_COMMAND, owner.user_id)
    assert home.count(schema.passkey) == 0
    assert home.details("factor.reset")[0]["methods"] == ["passkey", "recovery_code"]
    assert isinstance(owner.log_in(), Refused)
    assert isinstance(home.log_in(), Issued)


def test_a_closed_users_passkeys_go_with_the_feature_off_as_well(open_house):
    owner = Owner(open_house(**ALL))
    later = open_house(GATEHOUSE_FEATURES="totp")
    assert administer.close(later.services, BY_COMMAND, owner.user_id)
    assert later.count(schema.passkey) == 0
