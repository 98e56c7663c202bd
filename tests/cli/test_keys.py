"""`gatehouse keys rotate`: every seed under the present secret, whatever happens on the way."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_gatehouse.domain.factors import passkey_rows
from flask_gatehouse.flows import rotate_keys
from flask_gatehouse.flows.services import Services
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.keys import PURPOSES, KeyRing
from flask_gatehouse.kernel.sealing import Sealer
from tests.cli.conftest import PROGRAM, Commands
from tests.support import phones
from tests.support.people import services_of
from tests.support.processes import clean_environment

pytestmark = pytest.mark.usefixtures("database_url")
SECRET = "o" * 20 + "0123456789abcdefghij"
NEW, LOST = "n" * 20 + "0123456789abcdefghij", "l" * 20 + "0123456789abcdefghij"
MANY = 6_000
SEED = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
APP = """
from flask import Flask
from flask_gatehouse import Gatehouse

app = Flask(__name__, instance_path="{instance}")
Gatehouse(app)
"""


@dataclass
class Site:
    """One database and the secrets over time."""

    url: str
    folder: Path

    def settings(self, *secrets: str) -> dict[str, object]:
        """Return settings whose present secret is the first."""
        ring = {"SECRET_KEY": secrets[0], "SECRET_KEY_FALLBACKS": list(secrets[1:])}
        return {"GATEHOUSE_DATABASE_URL": self.url, **ring, **phones.ON}

    def environment(self, *secrets: str) -> dict[str, str]:
        """Return the environment of the real program."""
        found = {"GATEHOUSE_DATABASE_URL": self.url, "GATEHOUSE_SECRET_KEY": secrets[0], **phones.ON}
        fallbacks = {"GATEHOUSE_SECRET_KEY_FALLBACKS": ",".join(secrets[1:])} if secrets[1:] else {}
        return clean_environment({**found, **fallbacks, "GATEHOUSE_ORIGINS": "https://app.example"})

    def start(self, *secrets: str) -> subprocess.Popen[bytes]:
        """Start the real program's rotation."""
        (self.folder / "app.py").write_text(APP.format(instance=self.folder / "instance"), encoding="utf-8")
        command = [str(PROGRAM), "keys", "rotate", "--json", "--reason", "a test"]
        env = self.environment(*secrets)
        return subprocess.Popen(command, cwd=self.folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.fixture
def site(database_url, tmp_path):
    """Return the site."""
    return Site(database_url, tmp_path)


def fill(held: Services, number: int, secret: str = SECRET, first: int = 1) -> None:
    """Make users whose seeds a secret has sealed."""
    sealer = Sealer(KeyRing(secret), "totp-seed")
    ids = range(first, first + number)
    people = [{"id": i, "username": f"u{i}", "username_key": f"u{i}", "created_at": 0, "state": "active"} for i in ids]
    sealed = {i: sealer.seal(SEED.encode(), str(i)) for i in ids}
    common = {"last_step": 0, "created_at": 0}
    with held.database.unit() as connection:
        connection.execute(sa.insert(schema.user), [{**one, "epoch": 0} for one in people])
        rows = [{"user_id": i, "key_id": sealed[i].key_id, "sealed": sealed[i].text, **common} for i in ids]
        connection.execute(sa.insert(schema.totp), rows)


def by_key(held: Services) -> dict[str, int]:
    """Return how many seeds each secret has sealed, by the secret's id."""
    query = sa.select(schema.totp.c.key_id, sa.func.count()).group_by(schema.totp.c.key_id)
    with held.reading() as connection:
        return {row[0]: row[1] for row in connection.execute(query)}


def key_id(secret: str) -> str:
    """Return the id of a secret."""
    return KeyRing(secret).ids()[0]


def opened(app: Flask, user_id: int) -> bool:
    """Tell whether a code of the seed is understood."""
    held = services_of(app)
    now = held.clock.now()
    with held.database.unit() as connection:
        return held.factors[0].verify(connection, user_id, phones.code_at(SEED, now), now) is not None


def test_v11_2_2_every_seed_is_sealed_anew_and_the_old_secret_may_go(make_app, site):
    fill(services_of(make_app(**site.settings(SECRET))), 1_234)
    run = Commands(make_app(**site.settings(NEW, SECRET)))
    assert rotate_keys.due(run.services) == 1_234
    assert run.ok("keys", "rotate", "--reason", "yearly") == "1234 seeds were sealed anew.\n"
    assert by_key(run.services) == {key_id(NEW): 1_234}
    events = run.events("keys.rotated")
    assert [event["detail"]["number"] for event in events] == [234, 500, 500]
    assert events[0]["detail"] == {"method": "totp", "number": 234, "key": key_id(NEW), "reason": "yearly"}
    assert run.ok("keys", "rotate") == "0 seeds were sealed anew.\n"
    assert len(run.events("keys.rotated")) == 3  # what changes nothing leaves no row
    assert SEED not in json.dumps(events)
    alone = make_app(**site.settings(NEW))
    with services_of(alone).reading() as connection:
        rows = connection.execute(sa.select(schema.totp)).all()
    sealer = Sealer(KeyRing(NEW), "totp-seed")
    assert {sealer.open(phones.sealed_of(row), str(row.user_id)) for row in rows} == {SEED.encode()}


def test_v11_1_1_secrets_are_listed_by_id_with_what_needs_them_and_what_keys_are_made_for(make_app, site):
    run = Commands(make_app(**site.settings(NEW, SECRET)))
    fill(run.services, 3)
    fill(run.services, 1, NEW, first=4)
    new, old, lost = (KeyRing(one).ids()[0] for one in (NEW, SECRET, LOST))
    told = run.json("keys", "list")
    assert [(one["id"], one["state"], one["needed_by"]) for one in told["secrets"]] == [
        (new, "present", {}),
        (old, "fallback", {"totp": 3}),
    ]
    assert told["purposes"] == PURPOSES
    shown = run.ok("keys", "list")
    assert "3 seeds" in shown
    assert not any(secret in shown for secret in (NEW, SECRET))
    run.ok("keys", "rotate")
    (event,) = run.events("keys.rotated")
    told = run.json("keys", "list")["secrets"]
    assert [(one["needed_by"], one["rotated_at"]) for one in told] == [({}, event["at"]), ({}, None)]
    fill(run.services, 1, LOST, first=5)
    refused = run("keys", "list")
    assert (refused.exit_code, "is not set" in refused.output) == (1, True)
    assert [lost, "not", "set", "1", "seed"] in [line.split() for line in refused.stdout.splitlines()]


def test_v11_2_2_a_lost_secret_is_named_with_the_users_and_the_others_are_done(make_app, site):
    first = services_of(make_app(**site.settings(SECRET)))
    fill(first, 700)
    fill(first, 3, LOST, first=1_001)
    fill(first, 700, first=2_001)
    run = Commands(make_app(**site.settings(NEW, SECRET)))
    result = run("keys", "rotate")
    assert result.exit_code == 1
    assert result.stdout == "1400 seeds were sealed anew.\n"
    assert "Error: 3 cannot be opened" in result.stderr
    assert "u1001, u1002, u1003" in result.stderr
    assert key_id(LOST) in result.stderr
    assert "GATEHOUSE_SECRET_KEY_FALLBACKS" in result.stderr
    assert not any(secret in result.stderr for secret in (LOST, NEW, SECRET))
    assert by_key(run.services) == {key_id(NEW): 1_400, key_id(LOST): 3}
    found = run("keys", "rotate", "--json")
    assert (found.exit_code, json.loads(found.stdout)) == (
        1,
        {"sealed": 0, "lost": 3, "users": ["u1001", "u1002", "u1003"]},
    )
    healed = Commands(make_app(**site.settings(NEW, SECRET, LOST)))
    assert healed.json("keys", "rotate") == {"sealed": 3, "lost": 0, "users": []}


def test_check_tells_of_seeds_that_need_an_older_or_a_lost_secret(make_app, site):
    first = services_of(make_app(**site.settings(SECRET)))
    fill(first, 2)
    fill(first, 3, LOST, first=11)
    run = Commands(make_app(**site.settings(NEW, SECRET)))

    def told() -> dict[str, str]:
        found = json.loads(run("check", "--json").stdout)["findings"]
        return {one["finding"]: one["text"] for one in found if one["subject"] == "second factors"}

    assert told() == {
        "lost-seals": "3 sealed under a secret that is not set: gatehouse keys rotate names the users",
        "old-seals": "2 sealed under an older secret: gatehouse keys rotate",
    }
    run("keys", "rotate")
    assert told().keys() == {"lost-seals"}
    for number in (11, 12, 13):
        run.ok("user", "reset-factors", f"u{number}", "--reason", "the key is gone")
    assert told() == {}


def test_of_many_lost_seeds_twenty_are_named(make_app, site):
    fill(services_of(make_app(**site.settings(SECRET))), 45, LOST)
    result = Commands(make_app(**site.settings(NEW)))("keys", "rotate")
    assert result.stderr.count("u") >= 20
    assert "u20 and 25 more" in result.stderr


def test_a_seed_that_somebody_changed_or_moved_is_named_and_left_alone(make_app, site):
    held = services_of(make_app(**site.settings(SECRET)))
    fill(held, 5)
    with held.database.unit() as connection:
        stolen = connection.execute(sa.select(schema.totp.c.sealed).where(schema.totp.c.user_id == 1)).scalar_one()
        connection.execute(sa.update(schema.totp).where(schema.totp.c.user_id == 4).values(sealed=stolen))
    run = Commands(make_app(**site.settings(NEW, SECRET)))
    assert "u4" in run("keys", "rotate").stderr
    assert by_key(run.services) == {key_id(NEW): 4, key_id(SECRET): 1}


def vouch(held: Services, number: int, secret: str, first: int = 1) -> None:
    """Give users a passkey each, whose row a secret vouches for."""
    ring, rows = KeyRing(secret), []
    for i in range(first, first + number):
        text = passkey_rows.covered(i, b"id%d" % i, b"key", b"handle")
        row = {
            "digest": b"%032d" % i,
            "user_id": i,
            "credential_id": b"id%d" % i,
            "public_key": b"key",
            "sign_count": 0,
        }
        row |= {"aaguid": "", "transports": "usb", "handle": b"handle", "name": "k", "can_be_backed_up": False}
        rows.append({**row, "is_backed_up": False, "created_at": 0, "mac": ring.mac("passkey-row", text)})
    with held.database.unit() as connection:
        connection.execute(sa.insert(schema.passkey), rows)


def test_v11_2_2_passkeys_are_vouched_for_anew_as_well_and_lost_ones_are_named_at_the_end(make_app, site):
    features = {"GATEHOUSE_FEATURES": "totp,passkeys,recovery_codes"}
    first = services_of(make_app(**site.settings(SECRET) | features))
    fill(first, 1_003)
    vouch(first, 600, SECRET)
    vouch(first, 2, LOST, first=601)
    vouch(first, 401, SECRET, first=603)
    run = Commands(make_app(**site.settings(NEW, SECRET) | features))
    assert rotate_keys.due(run.services) == 2_006
    found = {one["finding"]: one["text"] for one in json.loads(run("check", "--json").stdout)["findings"]}
    assert found["old-seals"] == "2004 sealed under an older secret: gatehouse keys rotate"
    assert found["lost-seals"].startswith("2 sealed under a secret that is not set")
    result = run("keys", "rotate")
    assert (result.exit_code, result.stdout) == (1, "1003 seeds and 1001 passkeys were sealed anew.\n")
    assert "Error: 2 cannot be opened" in result.stderr
    assert "u601, u602" in result.stderr
    told = [(event["detail"]["method"], event["detail"]["number"]) for event in run.events("keys.rotated")]
    assert told == [("passkey", 3), ("passkey", 498), ("passkey", 500), ("totp", 3), ("totp", 500), ("totp", 500)]
    assert run("keys", "rotate").stdout == "0 seeds were sealed anew.\n"
    for name in ("u601", "u602"):
        run.ok("user", "reset-factors", name, "--reason", "the key is gone")
    alone = services_of(make_app(**site.settings(NEW) | features))
    assert rotate_keys.due(alone) == 0


def test_without_a_feature_that_seals_there_is_nothing_to_do(make_app, site):
    run = Commands(make_app(SECRET_KEY=SECRET))
    assert run.ok("keys", "rotate") == "0 seeds were sealed anew.\n"


def wait_until_some_are_done(held: Services, before: int) -> int:
    """Return how many are sealed anew, once there are more than before."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        done = by_key(held).get(key_id(NEW), 0)
        if done > before:
            return done
        time.sleep(0.002)
    raise AssertionError("the rotation never began")


def test_v11_2_2_killed_at_any_moment_it_goes_on_where_it_was(make_app, site):
    """`kill -9`, three times; whatever was done stays done, and each batch has its row in the log or did not happen."""
    held = services_of(make_app(**site.settings(SECRET)))
    fill(held, MANY)
    run, done, kills = Commands(make_app(**site.settings(NEW, SECRET))), 0, 0
    for _ in range(3):
        process = site.start(NEW, SECRET)
        done = wait_until_some_are_done(held, done)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        process.communicate()
        now = by_key(held)
        done = now[key_id(NEW)]
        assert sum(now.values()) == MANY
        assert done % rotate_keys.BATCH == 0 or done == MANY
        told = sum(event["detail"]["number"] for event in run.events("keys.rotated"))
        assert told == done
    assert kills >= 1
    assert done < MANY
    process = site.start(NEW, SECRET)
    out, _ = process.communicate(timeout=60)
    assert json.loads(out) == {"sealed": MANY - done, "lost": 0, "users": []}
    assert by_key(held) == {key_id(NEW): MANY}
    assert opened(make_app(**site.settings(NEW)), MANY // 2)
    assert run.ok("audit", "verify").startswith("The chain agrees")


def test_people_log_in_while_it_runs(make_app, site):
    app = make_app(**site.settings(NEW, SECRET))
    fill(services_of(app), MANY)
    process = site.start(NEW, SECRET)
    seen = [opened(app, user_id) for user_id in range(1, MANY, MANY // 40)]
    process.communicate(timeout=60)
    assert all(seen)
    assert process.returncode == 0
    assert by_key(services_of(app)) == {key_id(NEW): MANY}
    with services_of(app).reading() as connection:
        burnt = connection.execute(sa.select(sa.func.count()).where(schema.totp.c.last_step > 0)).scalar_one()
    assert burnt == len(seen)  # no burnt step came back


def test_at_a_terminal_a_bar_shows_itself_when_it_takes_long(make_app, site, monkeypatch):
    """The bar of every command; here it is told to show itself at once."""
    held = services_of(make_app(**site.settings(SECRET)))
    fill(held, 1_500)
    (site.folder / "app.py").write_text(APP.format(instance=site.folder / "instance"), encoding="utf-8")
    (site.folder / "soon.py").write_text(
        "from flask_gatehouse.cli import output\noutput.QUIET_SECONDS = -1.0\n"
        "from flask_gatehouse.__main__ import main\nmain()\n",
        encoding="utf-8",
    )
    mine, theirs = pty.openpty()
    command = [str(PROGRAM.with_name("python")), "soon.py", "keys", "rotate"]
    env = site.environment(NEW, SECRET) | {"TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(command, cwd=site.folder, env=env, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while block := os.read(mine, 65536):
            shown += block
    except OSError:  # the other end is closed
        pass
    out, _ = process.communicate(timeout=60)
    assert out == b"1500 seeds were sealed anew.\n"
    assert b"Sealing seeds" in shown
