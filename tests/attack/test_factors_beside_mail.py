"""Second factors attacked through what stands beside them: resets by mail, other factors, other sessions."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from flask_gatehouse.domain import devices
from flask_gatehouse.domain.sessions import Issued, Session
from flask_gatehouse.flows import administer, edit_roles, enrol, own_password, reset_password, second_step, step_up
from flask_gatehouse.flows.opening import Attempt
from flask_gatehouse.flows.outcomes import FactorDue, FactorLost, Refusal
from flask_gatehouse.flows.seeds import Enrolled, Offer
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.identity import CLI
from tests.flows.test_passkeys import ALL, Owner
from tests.flows.test_totp import Phone, answer, begin, code_of, refusal
from tests.support import house
from tests.support.house import BY_COMMAND, HERE, PASSWORD

NEW = "a new river stone"
WRONG_CODE = "000000"


@pytest.fixture
def home(open_house):
    """Return a house with every factor on."""
    return open_house(**ALL)


# --- guessed after resets ----------------------------------------------------------------------------------


def guess_after_reset(home: house.House) -> str:
    """Do as who reads alice's mail does: choose a password by link, log in, guess codes. Return the device cookie."""
    shown = devices.new(home.services.keys)
    link = str(reset_password.make_link(home.services, CLI, "alice"))
    assert reset_password.complete(home.services, link, NEW, HERE, device=shown)
    due = home.log_in("alice", NEW, device=shown, spare=devices.new(home.services.keys))
    assert isinstance(due, FactorDue)
    answer(home, due.pending.secret, WRONG_CODE, device=shown)
    return shown


def test_63b_3_2_2_1_wrong_codes_stay_counted_over_resets_of_the_password(home):
    phone = Phone(home)
    key = home.services.throttle.factor_key("totp", phone.user_id)
    for _ in range(3):
        guess_after_reset(home)
    cookie = guess_after_reset(home)
    assert home.counter(key)[:2] == (4, 4)
    due = home.log_in("alice", NEW, device=cookie)
    assert isinstance(due, FactorDue)
    opened = answer(home, due.pending.secret, code_of(home, phone.seed), device=cookie)
    assert isinstance(opened, Issued)
    assert opened.device  # by now it is a known one
    assert home.counter(key)[:2] == (0, 0)


# --- enrolled by who has not shown the other one -----------------------------------------------------------


def test_63b_4_1_2_2_who_has_a_passkey_and_did_not_prove_it_enrols_no_app(home, open_house):
    """As a session is that was opened while the feature was off for a day."""
    owner, without = Owner(home), open_house(GATEHOUSE_FEATURES="totp")
    mine = without.session().secret
    offer = enrol.offer_totp(home.services, home.identity(mine))
    assert isinstance(offer, Offer)
    told = (home.services, home.identity(mine), mine, code_of(home, offer.seed), HERE)
    assert refusal(enrol.confirm_totp(*told)) == "factor"
    assert isinstance(home.log_in(), FactorDue)
    options = step_up.ask_passkey(home.services, home.identity(mine))
    proven = step_up.prove_passkey(home.services, home.identity(mine), mine, owner.key.get(options), HERE)
    assert isinstance(proven, Issued)
    again = (home.services, home.identity(proven.secret), proven.secret, code_of(home, offer.seed), HERE)
    assert isinstance(enrol.confirm_totp(*again), Enrolled)


def disable(home: house.House, user_id: int, method: str) -> str:
    """Let somebody guess until a factor answers no more; return the key of its count."""
    key = home.services.throttle.factor_key(method, user_id)
    values = {"count": 9, "total": 150, "blocked_until": home.clock.now() + 1, "ends_at": home.clock.now() + 1}
    home.change(sa.delete(schema.counter).where(schema.counter.c.key == key))
    home.change(sa.insert(schema.counter).values(key=key, **values))
    return key


def test_63b_3_2_2_3_an_app_and_codes_that_are_enrolled_anew_are_not_disabled_by_what_was_wrong_before(home):
    """The old app was guessed at until it answered no more; the user enrols another, and its codes count."""
    old = Phone(home)
    keys = [disable(home, old.user_id, method) for method in ("totp", "recovery_code")]
    assert administer.reset_factors(home.services, BY_COMMAND, old.user_id)
    mine = home.session().secret
    offer = enrol.offer_totp(home.services, home.identity(mine))
    assert isinstance(offer, Offer)
    done = enrol.confirm_totp(home.services, home.identity(mine), mine, code_of(home, offer.seed), HERE)
    assert isinstance(done, Enrolled)
    assert [home.counter(key)[:2] for key in keys] == [(0, 0)] * 2
    home.later(seconds=30)
    assert isinstance(answer(home, begin(home), code_of(home, offer.seed)), Issued)
    disable(home, old.user_id, "recovery_code")
    codes = enrol.renew_codes(home.services, home.identity(done.issued.secret), HERE)
    assert isinstance(codes, tuple)
    assert isinstance(answer(home, begin(home), codes[0], "recovery_code"), FactorLost)


# --- prepared by who is thrown out -------------------------------------------------------------------------


def change_password(home: house.House, secret: str) -> str:
    """Change alice's password in a session and return its new secret."""
    done = own_password.change(home.services, home.identity(secret), secret, PASSWORD, NEW, HERE)
    assert isinstance(done, Issued)
    return done.secret


def test_v7_4_3_a_key_that_a_thief_of_the_session_has_seen_is_not_the_one_that_is_enrolled_later(home):
    """A thief looks at the page of the authenticator app; the owner changes the password, then enrols an app."""
    home.person()
    mine = home.session().secret
    seen = enrol.offer_totp(home.services, home.identity(mine))
    later = enrol.offer_totp(home.services, home.identity(change_password(home, mine)))
    assert isinstance(seen, Offer)
    assert isinstance(later, Offer)
    assert later.seed != seen.seed


def test_rule_32_new_recovery_codes_end_the_login_that_an_old_one_has_opened(home):
    """Who hears by mail that one was used makes new ones."""
    phone = Phone(home)
    pending = begin(home)
    lost = answer(home, pending, phone.codes[0], "recovery_code")
    assert isinstance(lost, FactorLost)
    thief = lost.pending.secret
    offer = second_step.offer(home.services, thief)
    assert isinstance(offer, Offer)
    assert enrol.renew_codes(home.services, home.identity(phone.session.secret), HERE)
    replaced = second_step.replace_factor(home.services, thief, code_of(home, offer.seed), Attempt(HERE))
    assert refusal(replaced) is Refusal.GONE
    assert isinstance(home.load(phone.session.secret), Session)


def test_rule_24_who_must_confirm_an_address_first_is_no_administrator_who_can_log_in(home):
    root, other = home.person("root", roles=["admin"]), home.person("other", roles=["admin"])
    home.change(sa.update(schema.user).where(schema.user.c.id == other).values(must_verify=True))
    assert refusal(administer.suspend(home.services, BY_COMMAND, root)) is Refusal.LAST_ADMIN


def test_a_key_that_nobody_confirmed_is_forgotten(home):
    for name in ("alice", "bob", "carol"):
        home.person(name)
        enrol.offer_totp(home.services, home.identity(home.session(name).secret))
    assert home.count(schema.challenge) == 3
    home.later(minutes=10)
    enrol.offer_totp(home.services, home.identity(home.session("bob").secret))
    assert home.count(schema.challenge) == 1


def test_v11_2_2_a_key_that_waits_under_a_secret_that_is_gone_gives_way_to_another(home, open_house):
    """The site's secret was replaced, without its predecessor, while somebody enrolled an app."""
    home.person()
    mine = home.session().secret
    before = enrol.offer_totp(home.services, home.identity(mine))
    anew = open_house(**ALL, SECRET_KEY="another secret of the tests, as long as the first")
    assert isinstance(before, Offer)
    told = (anew.services, anew.identity(mine), mine, code_of(home, before.seed), HERE)
    assert refusal(enrol.confirm_totp(*told)) is Refusal.GONE
    offer = enrol.offer_totp(anew.services, anew.identity(mine))
    assert isinstance(offer, Offer)
    done = enrol.confirm_totp(anew.services, anew.identity(mine), mine, code_of(home, offer.seed), HERE)
    assert isinstance(done, Enrolled)


# --- handed on by who has not shown a factor ---------------------------------------------------------------


def test_v8_3_1_an_administrator_hands_on_no_permission_that_is_withheld_from_them_either(open_house):
    """Who knows an administrator's password alone would grant it to an account of theirs that has a factor."""
    home = open_house(**ALL)
    home.gate.permission("vault:open", "Open the vault", aal=2)
    home.gate.role("keeper", ["vault:open"])
    edit_roles.create(home.services, BY_COMMAND, "clean", ["users:read"])
    bob = home.person("bob", roles=["keeper"])
    home.person("root", roles=["admin"])
    root = home.by(home.session("root").secret)
    for role in ("keeper", "admin"):
        assert refusal(administer.grant(home.services, root, bob, role)) is Refusal.FORBIDDEN
    assert refusal(edit_roles.create(home.services, root, "mine", ["vault:open"])) is Refusal.FORBIDDEN
    assert refusal(edit_roles.change(home.services, root, "clean", ["vault:open", "users:read"])) is Refusal.FORBIDDEN
    assert administer.grant(home.services, root, bob, "clean")
    assert administer.withdraw(home.services, root, bob, "keeper")
    assert administer.suspend(home.services, root, bob)
