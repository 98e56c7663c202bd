"""Sealing that is killed, rushed or tried by the wrong role loses nothing: a row is in the file or in the database."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest
import sqlalchemy as sa

from flask_gatehouse.domain.audit import Checked, Event, verify_files
from flask_gatehouse.flows import administer
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.clock import as_text
from flask_gatehouse.kernel.identity import APP
from tests.cli.conftest import APP as APP_FILE
from tests.support import apps, databases, house
from tests.support.processes import clean_environment

EVENT, SEGMENT = schema.event, schema.segment
ROWS, SMALL = 6000, 200
SECONDS = 60
IN_SMALL_BATCHES = f"""
from flask_gatehouse.__main__ import main
from flask_gatehouse.flows import archive
archive.SEAL_BATCH = {SMALL}
main()
"""


@pytest.fixture
def old(home):
    """Return a house whose events are an hour old."""
    home.later(hours=-1)
    fill(home, ROWS)
    home.later(hours=1)
    return home


def fill(here, count):
    with here.services.unit() as unit:
        unit.events.extend([Event("logout", APP, number) for number in range(count)])


def export(home, folder, *options, url=None):
    """Start `gatehouse audit export --delete` in small batches."""
    (folder / "app.py").write_text(APP_FILE.format(instance=folder / "instance"), encoding="utf-8")
    environment = {
        "GATEHOUSE_SECRET_KEY": apps.SECRET,
        "GATEHOUSE_ORIGINS": "https://app.example",
        "GATEHOUSE_DATABASE_URL": url or home.app.config["GATEHOUSE_DATABASE_URL"],
    }
    until = as_text(home.clock.now() - 60 * house.SECOND)
    command = [sys.executable, "-c", IN_SMALL_BATCHES, "audit", "export", "log.jsonl", "--until", until, *options]
    env = clean_environment(environment)
    return subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def killed_when(process, condition):
    """Kill -9 as soon as the condition holds; tell whether it was still running."""
    deadline = time.monotonic() + SECONDS
    while process.poll() is None and not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def require_nothing_lost(home, file):
    """Every row is in the whole file, or in the chain of the database; both agree."""
    walked = home.verified()
    assert isinstance(walked, int), walked
    gone = home.rows(sa.select(sa.func.max(SEGMENT.c.last_id)))[0][0] or 0
    assert walked == ROWS + home.count(SEGMENT) - gone
    if not file.exists():
        assert gone == 0
        return
    checked = verify_files([file], keys=home.services.keys)
    assert isinstance(checked, Checked), checked
    assert (checked.before.id, checked.end.id) == (0, ROWS)


def test_rule_27_v16_4_2_kill_9_at_any_moment_of_sealing_loses_nothing_and_the_next_run_goes_on(old, tmp_path):
    file = tmp_path / "log.jsonl"
    moments = (
        lambda: any(tmp_path.glob(".log.jsonl.*.part")),
        file.exists,
        lambda: old.count(SEGMENT) >= 1,
        lambda: old.count(SEGMENT) >= 7,
    )
    killed = 0
    for moment in moments:
        killed += killed_when(export(old, tmp_path, "--delete", "--reason", "a year is over"), moment)
        require_nothing_lost(old, file)
    assert killed >= 3, "the kills came too late to show anything"
    assert 0 < old.count(SEGMENT) < ROWS // SMALL
    last = export(old, tmp_path, "--delete", "--reason", "a year is over")
    assert "Keep the file" in last.communicate(timeout=SECONDS)[0]
    assert last.returncode == 0
    require_nothing_lost(old, file)
    assert old.rows(sa.select(sa.func.min(EVENT.c.id)))[0][0] == ROWS + 1
    assert set(old.kinds()) == {"audit.sealed"}
    assert len(old.kinds()) == old.count(SEGMENT) == ROWS // SMALL


def test_rule_27_two_that_seal_at_once_and_others_that_write_meanwhile_make_one_chain(old, tmp_path):
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    processes = [export(old, folder, "--delete") for folder in folders]
    written = 0
    while any(process.poll() is None for process in processes):
        old.record()
        written += 1
    told = [process.communicate()[0] for process in processes]
    assert "Keep the file" in told[0] + told[1]
    assert "Traceback" not in told[0] + told[1]
    assert isinstance(old.verified(), int), old.verified()
    assert {row[0] for row in old.rows(sa.select(SEGMENT.c.last_id))} == set(range(SMALL, ROWS + 1, SMALL))
    assert old.rows(sa.select(sa.func.count()).where(EVENT.c.kind == "logout"))[0][0] == written
    for folder in folders:
        if (folder / "log.jsonl").exists():
            assert isinstance(verify_files([folder / "log.jsonl"], keys=old.services.keys), Checked)


# --- PostgreSQL's own word -----------------------------------------------------------------------------------


@pytest.fixture
def least(postgres_url):
    """Return a house whose database role may only read and insert events, and its owner's URL."""
    with databases.least_role(postgres_url) as role:
        here = house.build(role.url)
        yield here, postgres_url
        house.close(here)


def test_rule_29_v13_2_2_v16_4_2_flows_need_insert_and_select_alone_and_sealing_the_owner(least, tmp_path):
    home, owners_url = least
    home.later(hours=-1)
    alice = home.person("alice")
    assert home.session("alice")
    assert administer.suspend(home.services, house.BY_COMMAND, alice)
    assert home.kinds()[-3:] == ["user.created", "login.succeeded", "user.suspended"]
    for statement in (
        "UPDATE gatehouse_event SET actor = 'nobody'",
        "DELETE FROM gatehouse_event",
        "TRUNCATE gatehouse_event",
        "DELETE FROM gatehouse_audit_segment",
        "INSERT INTO gatehouse_audit_segment VALUES (1, 1, '', 1, '')",
    ):
        with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
            home.change(sa.text(statement))
    home.later(hours=1)
    refused = export(home, tmp_path, "--delete")
    assert "owner of the tables" in refused.communicate(timeout=SECONDS)[0]
    assert refused.returncode == 1
    assert not (tmp_path / "log.jsonl").exists()
    accepted = export(home, tmp_path, "--delete", "--json", url=owners_url)
    told = json.loads(accepted.communicate(timeout=SECONDS)[0])
    assert told["deleted"] == 3
    home.record()
    assert home.verified() == 2, "the app's own role verifies what the owner sealed"
