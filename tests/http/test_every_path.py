"""Every path that reaches an account, against everything that shuts it: one table."""

from __future__ import annotations

import re
from html import unescape

import pytest
import sqlalchemy as sa
from flask import request

from flask_gatehouse import current_user, login_user, public
from flask_gatehouse.domain import users
from flask_gatehouse.flows import administer, alarm, reset_password, seeds
from flask_gatehouse.flows.acts import Act
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.identity import CLI, Source
from tests.docs import pages
from tests.http.people import StillClock
from tests.support.authenticator import Authenticator
from tests.support.people import PASSWORD, PROGRAM, confirming_link, make_person, services_of
from tests.support.phones import code_now, enrol
from tests.support.post import LINK, part
from tests.support.visitor import csrf_token, submit

FEATURES = {"GATEHOUSE_FEATURES": "totp,passkeys,recovery_codes"}
PASSKEYS = "/account/security/passkeys"
OPTIONS = re.compile(r'data-options="([^"]*)"')
ACT = Act(CLI, None, "a test")
NEW = "another quiet river"
SEED = re.compile(r"secret=([A-Z2-7]+)")
AGENT = {"HTTP_USER_AGENT": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"}


class Host:
    """The object of a host app that vouches for somebody by `login_user`."""

    is_active = is_authenticated = True

    def get_id(self) -> str:
        """Return alice's id."""
        return "1"


def add_routes(app, gate):
    """Add a page inside, and the host's own way in."""
    app.get("/inside", endpoint="inside")(lambda: f"inside: {current_user.username}")

    @app.post("/sso")
    @public
    def vouch():
        login_user(Host(), remember="remember" in request.form)
        return "in"


class Home:
    """An app with alice (1), and what she has."""

    def __init__(self, app, clock, post=None):
        self.post, self.key = post, Authenticator()
        self.app, self.clock, self.held = app, clock, services_of(app)
        make_person(app, "alice")
        self.known, self.live = self.enter(), self.enter()
        codes = seeds.codes_of(self.held)
        assert codes is not None
        with self.held.unit() as unit:
            self.codes = codes.renew(unit.connection, 1, unit.now)
        self.seed = self.earlier = self.link = ""
        self.pending = self.browser()

    def browser(self):
        """Return a browser that nobody knows."""
        client = self.app.test_client()
        client.environ_base.update(AGENT)
        return client

    def enter(self):
        """Return a browser that has logged in by password."""
        client = self.browser()
        assert submit(client, "/login", username="alice", password=PASSWORD).status_code == 303
        return client

    def keep_a_passkey(self, client):
        """Enrol a passkey in a live session, or in what is left of one, and return what the page says."""
        self.key = Authenticator()
        found = OPTIONS.search(client.get(PASSKEYS).get_data(as_text=True))
        made = self.key.create(unescape(found[1])) if found else "none"
        return submit(client, PASSKEYS, page="/login", passkey=made)

    def signed(self, client, page):
        """Return the passkey's answer to what a page asks, `none` where it asks nothing."""
        found = OPTIONS.search(client.get(page).get_data(as_text=True))
        return self.key.get(unescape(found[1])) if found else "none"

    def confirm_address(self):
        """Let alice's address be her own."""
        with self.held.database.unit() as connection:
            assert users.verify_email(connection, 1, "alice@example.org")

    def mailed(self, post):
        """Return the secret of the newest link that was mailed to alice, `""` without one."""
        assert self.held.postman.rest(30)
        texts = [part(one, "plain") for one in post.to("alice@example.org")]
        return ([found[1] for text in texts if (found := LINK.search(text))] or [""])[-1]

    def enrol(self):
        """Give alice an authenticator app, past her sessions."""
        self.seed = enrol(self.held, 1)


# --- what shuts an account ---------------------------------------------------------------------------------


def nothing(home):
    """Leave the account as it is."""


def delay(home):
    """Send five wrong passwords from elsewhere."""
    for _ in range(5):
        submit(home.browser(), "/login", username="alice", password="wrong")


def disable(home):
    """Let a hundred wrong passwords have been sent, the last of them long ago."""
    delay(home)
    counter = schema.counter
    with home.held.database.unit() as connection:
        mine = sa.update(counter).where(counter.c.key == home.held.throttle.account_key(1, ""))
        connection.execute(mine.values(total=100, blocked_until=0, count=0))


def suspend(home):
    """Suspend alice."""
    assert administer.suspend(home.held, ACT, 1)


def close(home):
    """Close alice."""
    assert administer.close(home.held, ACT, 1)


def mark(home):
    """Mark alice's password as compromised."""
    assert administer.mark_compromised(home.held, ACT, 1)


def demand(home):
    """Demand a factor of alice, who has none."""
    assert administer.demand_factor(home.held, ACT, 1, is_demanded=True)


def demand_enrolled(home):
    """Demand a factor of alice, who has one."""
    home.enrol()
    demand(home)


def on_alarm(home):
    """Let alice say that it was not her, past her sessions: what she has enrolled is younger than a day."""
    with home.held.unit() as unit:
        epoch = users.bump_epoch(unit.connection, 1)
        mine = home.held.sessions.issue(unit.connection, 1, epoch, unit.now, source=Source(), proofs=())
    found = home.held.sessions.load(mine.secret, None, home.clock.now())
    assert alarm.raise_alarm(home.held, found.identity, Source())


SHUT = {one.__name__: one for one in (nothing, delay, disable, suspend, close, mark, demand, demand_enrolled, on_alarm)}


# --- paths -------------------------------------------------------------------------------------------------


def by_page(home):
    """Log in on the page."""
    client = home.browser()
    submit(client, "/login", username="alice", password=PASSWORD)
    return client


def by_program(home):
    """Log in as a program."""
    client = home.browser()
    token = csrf_token(client.get("/login").get_data(as_text=True))
    client.post("/login", data={"username": "alice", "password": PASSWORD, "csrf_token": token}, headers=PROGRAM)
    return client


def by_known_browser(home):
    """Log in where alice has logged in before."""
    submit(home.known, "/logout", page="/login")
    submit(home.known, "/login", username="alice", password=PASSWORD)
    return home.known


def by_host(home):
    """Let the host app vouch."""
    client = home.browser()
    token = csrf_token(client.get("/login").get_data(as_text=True))
    client.post("/sso", data={"csrf_token": token})
    return client


def by_live_session(home):
    """Go on in a session of before."""
    return home.live


def by_link(home):
    """Choose a password by a link of before, and log in with it."""
    client = home.browser()
    submit(client, f"/reset-password/{home.link}", page="/login", password=NEW, confirm=NEW)
    submit(client, "/login", username="alice", password=NEW)
    return client


def by_temporary_password(home):
    """Log in with a temporary password, choose one, and log in with that."""
    client = home.browser()
    word = reset_password.make_temporary(home.held, CLI, "alice")
    answer = submit(client, "/login", username="alice", password=word if isinstance(word, str) else "none")
    if answer.status_code == 303 and "/reset-password/" in answer.location:
        submit(client, answer.location, password=NEW, confirm=NEW)
        submit(client, "/login", username="alice", password=NEW)
    return client


def by_code(home):
    """Log in by password and a code."""
    client = by_page(home)
    if home.seed:
        submit(client, "/login/factor", page="/login", code=code_now(home.app, home.seed))
    return client


def by_code_asked_before(home):
    """Answer with a code what was asked before the account was shut."""
    submit(home.pending, "/login/factor", page="/login", code=code_now(home.app, home.seed or home.earlier))
    return home.pending


def by_recovery_code(home):
    """Use a recovery code, and enrol another app."""
    client = by_page(home)
    submit(client, "/login/factor", page="/login", recovery_code=home.codes[0])
    offered = SEED.search(client.get("/login/factor").get_data(as_text=True))
    if offered:
        submit(client, "/login/factor", code=code_now(home.app, offered[1]))
    return client


def by_step_up(home):
    """Prove the password in a session of before."""
    submit(home.live, "/reauthenticate", page="/login", password=PASSWORD)
    return home.live


def by_new_password(home):
    """Change the password in a session of before."""
    fields = {"current": PASSWORD, "password": NEW, "confirm": NEW}
    submit(home.live, "/account/password", page="/login", **fields)
    return home.live


def by_passkey(home):
    """Log in by a passkey alone."""
    client = home.browser()
    submit(client, "/login/passkey", page="/login", passkey=home.signed(client, "/login"))
    return client


def by_touched_passkey(home):
    """Log in by a passkey alone, whose authenticator has made sure of nobody."""
    home.key.is_verifying = False
    return by_passkey(home)


def by_passkey_after_password(home):
    """Log in by password and a passkey."""
    client = by_page(home)
    submit(client, "/login/factor", page="/login", passkey=home.signed(client, "/login/factor"))
    return client


def by_passkey_again(home):
    """Prove a passkey in a session of before."""
    submit(home.live, "/reauthenticate", page="/login", passkey=home.signed(home.live, "/reauthenticate"))
    return home.live


def by_enrolling_a_passkey(home):
    """Enrol a passkey in a session of before."""
    home.keep_a_passkey(home.live)
    return home.live


def by_removing_a_passkey(home):
    """Remove the passkey by which a session of before stood at AAL2."""
    submit(home.live, f"{PASSKEYS}/1/remove", page="/login")
    return home.live


def by_forgotten_password(home):
    """Ask for a mailed link, choose a password, and log in with it."""
    client = home.browser()
    submit(client, "/forgot-password", username="alice")
    submit(client, f"/reset-password/{home.mailed(home.post) or 'x' * 43}", page="/login", password=NEW, confirm=NEW)
    submit(client, "/login", username="alice", password=NEW)
    return client


def by_mailed_link_alone(home):
    """Follow the link for a forgotten password and choose one, and go no further."""
    client = home.browser()
    submit(client, "/forgot-password", username="alice")
    submit(client, f"/reset-password/{home.mailed(home.post) or 'x' * 43}", page="/login", password=NEW, confirm=NEW)
    return client


def by_confirmed_address(home):
    """Confirm an e-mail address by the link that was mailed there."""
    client = home.browser()
    submit(client, f"/verify-email/{home.link}", page="/login")
    return client


# A link and a temporary password lift a delay and enable a disabled password: that is what they are handed out for.
IN, OUT, PENDING, ENROL, PROVE, ALARM = "in", "out", "pending", "enrol", "prove", "alarm"
TABLE = {
    #                       nothing delay disable suspend close mark demand demand_enrolled on_alarm
    by_page: (IN, OUT, OUT, OUT, OUT, OUT, ENROL, PENDING, ALARM),
    by_program: (IN, OUT, OUT, OUT, OUT, OUT, ENROL, PENDING, ALARM),
    by_known_browser: (IN, IN, IN, OUT, OUT, OUT, ENROL, PENDING, ALARM),
    by_host: (IN, IN, IN, OUT, OUT, IN, ENROL, PENDING, ALARM),
    by_live_session: (IN, IN, IN, OUT, OUT, OUT, ENROL, PROVE, OUT),
    by_link: (IN, IN, IN, OUT, OUT, OUT, ENROL, PENDING, OUT),
    by_temporary_password: (IN, IN, IN, OUT, OUT, OUT, ENROL, PENDING, IN),
    by_code: (IN, OUT, OUT, OUT, OUT, OUT, ENROL, IN, ALARM),
    by_code_asked_before: (IN, IN, IN, OUT, OUT, OUT, IN, IN, OUT),
    by_recovery_code: (IN, OUT, OUT, OUT, OUT, OUT, ENROL, IN, ALARM),
    by_step_up: (IN, IN, IN, OUT, OUT, OUT, ENROL, PROVE, OUT),
    by_new_password: (IN, IN, IN, OUT, OUT, OUT, ENROL, PROVE, OUT),
    by_passkey: (IN, IN, IN, OUT, OUT, IN, IN, IN, OUT),
    by_touched_passkey: (OUT, OUT, OUT, OUT, OUT, OUT, OUT, OUT, OUT),
    by_passkey_after_password: (IN, OUT, OUT, OUT, OUT, OUT, IN, IN, ALARM),
    by_passkey_again: (IN, IN, IN, OUT, OUT, OUT, IN, IN, OUT),
    by_enrolling_a_passkey: (IN, IN, IN, OUT, OUT, OUT, IN, PROVE, OUT),
    by_removing_a_passkey: (IN, IN, IN, OUT, OUT, OUT, ENROL, PROVE, OUT),
    by_forgotten_password: (IN, IN, IN, OUT, OUT, IN, ENROL, PENDING, IN),
    by_mailed_link_alone: (OUT, OUT, OUT, OUT, OUT, OUT, OUT, OUT, OUT),
    by_confirmed_address: (OUT, OUT, OUT, OUT, OUT, OUT, OUT, OUT, OUT),
}
WITH_PASSKEY = {by_passkey, by_touched_passkey, by_passkey_after_password, by_passkey_again, by_removing_a_passkey}
CASES = [
    pytest.param(path, shut, wanted, id=f"{path.__name__}-{shut}")
    for path, row in TABLE.items()
    for shut, wanted in zip(SHUT, row, strict=True)
]


def outcome(client) -> str:
    """Tell what a browser has come to."""
    answer = client.get("/inside")
    if answer.status_code == 200:
        return IN
    if answer.location.startswith("/account/security"):
        return ALARM if "is on alarm" in client.get(answer.location).get_data(as_text=True) else ENROL
    if answer.location.startswith("/reauthenticate"):
        return PROVE
    return PENDING if client.get("/login/factor").status_code == 200 and _is_answerable(client) else OUT


def _is_answerable(client) -> bool:
    """Tell whether a wrong code is judged: what has ended says so."""
    return submit(client, "/login/factor", page="/login", code="000000").status_code == 401


@pytest.mark.parametrize("path, shut, wanted", CASES)
def test_v6_3_3_v6_3_4_every_path_honours_lockout_suspension_and_demanded_factors(build, post, path, shut, wanted):
    app = build(add_routes, clock=(clock := StillClock()), GATEHOUSE_MAIL_URL=post.url, **FEATURES)
    home = Home(app, clock, post)
    if path in WITH_PASSKEY:
        assert home.keep_a_passkey(home.live).status_code == 303
    home.confirm_address()
    if path is by_code_asked_before:
        home.enrol()
        home.earlier, home.seed = home.seed, ""
        home.pending = by_page(home)
    if path is by_link:
        home.link = str(reset_password.make_link(home.held, CLI, "alice"))
    if path is by_confirmed_address:
        home.link = confirming_link(home.held, "alice")
    if shut == "demand_enrolled" and path is by_code_asked_before:
        demand(home)
    else:
        SHUT[shut](home)
    clock.move(seconds=1)
    assert outcome(path(home)) == wanted
    home.held.postman.retire(30)


def test_v6_3_4_63b_4_2_2_1_1_every_place_that_opens_a_session_is_a_path_of_the_table():
    """The manual names each of them, which another test compares with the code: what is new there belongs here too."""
    rows = pages.table(pages.section(pages.page("reference/logins.md"), "Ways in"))
    assert {row["flow"].strip("`") for row in rows} == {
        *("login.begin", "second_step.answer", "second_step.replace_factor", "login.vouched", "step_up._decide"),
        *("second_step._answer_by_passkey", "passkey_login._decide", "step_up.prove_passkey"),
        *("passkeys.confirm", "passkeys.remove"),
        *("step_up.prove_factor", "enrol.confirm_totp", "enrol.remove_totp", "own_password.change"),
    }
