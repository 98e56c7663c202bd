"""The manual's page on lockouts: each section's commands are run on an app that is in that very state."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_gatehouse.domain import passwords
from flask_gatehouse.kernel import schema
from tests.cli.conftest import PASSWORD, Commands
from tests.docs import pages, shell
from tests.support import databases, phones
from tests.support.apps import SECRET
from tests.support.visitor import submit

PAGE = "howto/recover-an-administrator.md"
NEW = "another phrase of hers"
PIPED = re.compile(r'echo "([^"]*)" \| (gatehouse .*)')
SECTIONS = [
    "The password is forgotten",
    "The account is in its delay, or its password disabled",
    "The account is suspended",
    "There is no administrator any more",
    "A backup was put back",
    "The secret key is lost",
    "The second factor is lost",
    "Somebody else was in",
]
Site = Callable[..., Commands]


@pytest.fixture
def site(make_app, tmp_path) -> Site:
    """Return a maker of commands on an app whose database stands where `gatehouse init` would put it."""
    url = f"sqlite:///{tmp_path / 'instance' / 'gatehouse.sqlite3'}"

    def build(secret: str = SECRET) -> Commands:
        return Commands(make_app(SECRET_KEY=secret, GATEHOUSE_DATABASE_URL=url, **phones.ON))

    return build


@pytest.fixture
def run(site) -> Commands:
    """Return commands on an app whose only administrator is alice."""
    found: Commands = site()
    found.create("alice", "--role", "admin")
    return found


def follow(run: Commands, heading: str, folder: Path) -> str:
    """Run the commands of a section, compare what they print with what it shows, and return it all."""
    printed = ""
    for block in pages.blocks(section(heading), "console"):
        for command, expected in shell.commands(block.text):
            shown = _run_one(run, command, folder)
            assert shell.agrees(expected, shown) or not expected, f"$ {command}\n{shown}"
            printed += shown
    return printed


def section(heading: str) -> str:
    """Return a section; the page has no comment in its code that looks like a heading."""
    return pages.section(pages.page(PAGE), heading)


def _run_one(run: Commands, command: str, folder: Path) -> str:
    piped = PIPED.fullmatch(command)
    stdin, command = (f"{piped[1]}\n", piped[2]) if piped else ("", command)
    may_find = command.endswith(" || true")
    if not command.startswith("gatehouse "):
        return shell.run_one(command, folder)
    result = run(*shlex.split(command.removesuffix(" || true"))[1:], stdin=stdin)
    assert result.exit_code == (1 if may_find else 0), f"$ {command}\n{result.output}"
    return result.stdout


def change(run: Commands, statement: sa.Executable) -> None:
    """Do with SQL what no command would do."""
    with run.services.database.unit() as connection:
        connection.execute(statement)


def status(app: Flask, password: str = PASSWORD, name: str = "alice") -> int:
    """Log in from a browser that nobody knows and return the status."""
    return submit(app.test_client(), "/login", username=name, password=password).status_code


def is_admin(app: Flask, name: str, password: str = PASSWORD) -> bool:
    """Log in and ask for the administrators' page."""
    client = app.test_client()
    assert submit(client, "/login", username=name, password=password).status_code == 303
    return client.get("/admin").status_code == 200


def test_every_section_with_commands_is_followed_by_a_test():
    headings = re.findall(r"^## (.*)$", pages.page(PAGE), re.MULTILINE)
    told = [
        heading for heading in headings if "console" in [block.language for block in pages.blocks(section(heading))]
    ]
    assert told == SECTIONS


def test_first_of_all_the_shell_says_what_is_wrong(run, tmp_path):
    first = pages.page(PAGE).partition("\n## ")[0]
    (block,) = pages.blocks(first, "console")
    change(run, sa.update(schema.user).values(state=schema.SUSPENDED))
    (show, _), (check, _) = shell.commands(block.text)
    assert "suspended" in _run_one(run, show, tmp_path)
    found = json.loads(run("check", "--json").stdout)["findings"]
    assert "no-administrator" in [one["finding"] for one in found]
    assert check == "gatehouse check"


def test_v6_4_1_a_forgotten_password_is_chosen_anew_through_the_link_or_after_a_temporary_one(run, tmp_path):
    link, temporary = (line.strip() for line in follow(run, SECTIONS[0], tmp_path).splitlines())
    path = "/" + link.split("/", 3)[3]
    client = run.app.test_client()
    assert client.get(path).status_code in {200, 410}  # the temporary password ended the older link
    first = submit(client, "/login", username="alice", password=temporary)
    assert first.status_code == 303
    assert "/reset-password/" in first.location
    assert submit(client, first.location, password=NEW, confirm=NEW).status_code == 303
    assert (status(run.app), status(run.app, NEW)) == (401, 303)


def test_the_link_alone_is_enough(run, tmp_path):
    (block, _) = pages.blocks(section(SECTIONS[0]), "console")
    ((command, _),) = shell.commands(block.text)
    path = "/" + _run_one(run, command, tmp_path).strip().split("/", 3)[3]
    assert submit(run.app.test_client(), path, password=NEW, confirm=NEW).status_code == 303
    assert status(run.app, NEW) == 303


def test_63b_3_2_2_1_a_disabled_password_counts_again_after_the_unlock(run, tmp_path):
    values = {"key": "user:1", "count": 100, "total": 100, "ends_at": 0, "blocked_until": 0, "refunded_until": 0}
    change(run, sa.insert(schema.counter).values(**values))
    assert status(run.app) == 401
    follow(run, SECTIONS[1], tmp_path)
    assert is_admin(run.app, "alice")


def test_rule_24_the_last_administrator_suspended_behind_our_back_gets_in_again(run, tmp_path):
    change(run, sa.update(schema.user).values(state=schema.SUSPENDED))
    assert status(run.app) == 401
    follow(run, SECTIONS[2], tmp_path)
    assert is_admin(run.app, "alice")


def test_rule_24_where_no_administrator_is_left_the_shell_makes_one(run, tmp_path):
    change(run, sa.delete(schema.grant))
    assert not is_admin(run.app, "alice")
    follow(run, SECTIONS[3], tmp_path)
    assert is_admin(run.app, "alice")
    assert is_admin(run.app, "carol", "a phrase of several words")


def test_after_a_backup_was_put_back_nothing_of_its_day_is_left_open(site, run, tmp_path):
    for name, *options in (("mallory",), ("bob", "--role", "admin")):
        run.create(name, *options)
    alice = run.app.test_client()
    submit(alice, "/login", username="alice", password=PASSWORD)
    databases.close(run.app)
    stored = tmp_path / "instance" / "gatehouse.sqlite3"
    shutil.copy(stored, tmp_path / "backup.sqlite3")
    for command in (("user", "suspend", "mallory"), ("role", "withdraw", "bob", "admin")):
        run.ok(*command, "--reason", "since then")
    run.ok("user", "reset", "alice")
    databases.close(run.app)
    shutil.copy(tmp_path / "backup.sqlite3", stored)
    again = site()
    alice.application = again.app
    assert alice.get("/protected").status_code == 200  # yesterday's truth
    follow(again, SECTIONS[4], tmp_path)
    assert alice.get("/protected").status_code == 302
    assert status(again.app, name="mallory") == 401
    assert not is_admin(again.app, "bob")


def test_v6_5_6_63b_3_2_1_1_a_lost_second_factor_is_reset_from_the_shell(run, tmp_path):
    run.create("bella")
    for user_id in (1, 2):
        phones.enrol(run.services, user_id)
    assert not is_admin(run.app, "alice")  # a code is due
    follow(run, SECTIONS[6], tmp_path)
    assert is_admin(run.app, "alice")
    other = submit(run.app.test_client(), "/login", username="bella", password=PASSWORD)
    assert other.location == "/login/factor"  # nobody else's went
    assert [event["detail"]["reason"] for event in run.events("factor.reset")] == ["no phone, no codes; known by sight"]


def test_rule_27_with_a_new_secret_key_people_get_in_and_the_log_goes_on(site, run, tmp_path):
    assert is_admin(run.app, "alice")
    before = run.json("audit", "verify")["head"]
    (tmp_path / ".env").write_text(f"GATEHOUSE_SECRET_KEY={SECRET}\n", encoding="utf-8")
    block, *rest = pages.blocks(section(SECTIONS[5]), "console")
    shell.run_one(next(shell.commands(block.text))[0], tmp_path)
    made = (tmp_path / ".env").read_text(encoding="utf-8").partition("=")[2].strip()
    assert len(made) == 64
    (tmp_path / ".env").unlink()
    databases.close(run.app)
    again = site(made)
    assert rest
    printed = "".join(_run_one(again, command, tmp_path) for block in rest for command, _ in shell.commands(block.text))
    (head,) = re.findall(r"go on with --head (\d+:[0-9a-f]+)", printed)
    assert before in printed  # what `audit.unsealed` names is the newest head under the lost key
    assert again.json("audit", "verify", "--head", head)["agrees"] is True
    chain = [one for one in json.loads(again("check", "--json").stdout)["findings"] if one["finding"] == "audit-chain"]
    assert [one["severity"] for one in chain] == ["unsafe"]
    content = json.loads(again("check", "--json", "--head", head).stdout)["findings"]
    assert "audit-chain" not in [one["finding"] for one in content]
    assert is_admin(again.app, "alice")


def test_whoever_was_in_is_out_and_the_owner_gets_in_again(run, tmp_path):
    run.create("carol", "--role", "admin")  # the last administrator is suspended by nobody
    thief = run.app.test_client()
    submit(thief, "/login", username="alice", password=PASSWORD)
    printed = follow(run, SECTIONS[7], tmp_path)
    assert thief.get("/protected").status_code == 302
    path = "/" + printed.strip().splitlines()[-1].split("/", 3)[3]
    assert submit(run.app.test_client(), path, password=NEW, confirm=NEW).status_code == 303
    assert (status(run.app), status(run.app, NEW)) == (401, 303)


def test_a_lost_pepper_leaves_passwords_that_match_no_more(make_app, tmp_path):
    url = f"sqlite:///{tmp_path / 'gatehouse.sqlite3'}"
    settings = {"SECRET_KEY": SECRET, "GATEHOUSE_DATABASE_URL": url}
    before = Commands(make_app(**settings, GATEHOUSE_PEPPER="a pepper that is long enough for anybody"))
    before.create("alice")
    with before.services.reading() as connection:
        assert passwords.sample_digests(connection)
    databases.close(before.app)
    after = make_app(**settings, GATEHOUSE_PEPPER="another pepper, as long as the one before it")
    assert status(after) == 401
