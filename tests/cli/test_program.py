"""The program `gatehouse` as a whole, and `flask gatehouse`."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from flask_gatehouse import __main__ as top
from flask_gatehouse import cli
from tests.cli.conftest import PASSWORD, PROGRAM, SAFE
from tests.docs import pages, shell
from tests.support.processes import clean_environment

COMMANDS = {
    "audit": {"export", "list", "verify"},
    "check": set(),
    "db": {"current", "upgrade"},
    "demo": set(),
    "init": set(),
    "keys": {"list", "rotate"},
    "mail": {"flush"},
    "role": {"create", "delete", "edit", "grant", "list", "show", "withdraw"},
    "routes": set(),
    "session": {"list", "revoke", "revoke-all"},
    "user": {"create", "delete", "list", "mark-compromised", "reset", "reset-factors", "restore", "show", "suspend"}
    | {"unlock"},
}
CHANGES = {
    *("user create", "user suspend", "user restore", "user unlock", "user reset", "user reset-factors", "user delete"),
    "user mark-compromised",
    *("role create", "role edit", "role delete", "role grant", "role withdraw"),
    *("session revoke", "session revoke-all", "init", "audit export", "keys rotate"),
}


def leaves(group, path=""):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from leaves(command, f"{path}{name} ")
        else:
            yield f"{path}{name}", {option for parameter in command.params for option in parameter.opts}


def test_the_commands_are_those_of_the_public_face():
    for group in (top.gatehouse, top.commands):
        found = {name: set(getattr(command, "commands", {})) for name, command in group.commands.items()}
        assert found == COMMANDS
    assert set(cli.commands.commands) == set(COMMANDS) - {"demo"}


def test_every_change_takes_a_reason_and_every_command_can_answer_in_json():
    for name, options in leaves(top.gatehouse):
        assert ("--reason" in options) == (name in CHANGES), name
        assert ("--json" in options) == (name not in {"init", "demo"}), name


def test_no_option_of_any_command_takes_a_secret():
    names = {option for _, options in leaves(top.gatehouse) for option in options}
    assert [name for name in names if re.search("pass|secret|token|key|pin", name)] == []


def test_every_command_explains_itself():
    def ask(*arguments):
        return CliRunner().invoke(top.gatehouse, [*arguments, "--help"], prog_name="gatehouse")

    assert set(re.findall(r"^  ([a-z]+)  ", ask().stdout, re.MULTILINE)) == set(COMMANDS)
    for name, _ in leaves(top.gatehouse):
        result = ask(*name.split())
        assert (result.exit_code, result.stdout.startswith(f"Usage: gatehouse {name} ")) == (0, True)


def test_the_version_is_told(program):
    assert re.fullmatch(r"gatehouse, version \d+\.\d+\.\d+\n", program("--version").stdout)


@pytest.mark.parametrize("way", ["--app", "-A", "FLASK_APP", ".env", ".env elsewhere"])
def test_the_app_is_found_by_option_environment_or_env_file(program, app_file, tmp_path, way):
    app_file.rename(tmp_path / "shop.py")
    arguments, env = ["user", "list", "--json"], dict(SAFE)
    if way in {"--app", "-A"}:
        arguments = [way, "shop:app", *arguments]
    elif way == "FLASK_APP":
        env["FLASK_APP"] = "shop"
    elif way == ".env":
        (tmp_path / ".env").write_text("FLASK_APP=shop\n", encoding="utf-8")
    else:
        (tmp_path / "other.env").write_text("FLASK_APP=shop\n", encoding="utf-8")
        arguments = ["--env-file", "other.env", *arguments]
    result = program(*arguments, env=env)
    assert (result.returncode, result.stdout, result.stderr) == (0, "[]\n", "")


def test_without_an_app_the_ways_to_name_one_are_told(program):
    result = program("user", "list")
    assert (result.returncode, result.stdout) == (2, "")
    assert all(way in result.stderr for way in ("--app", "FLASK_APP", ".env", "app.py"))


@pytest.mark.parametrize("app", ["nothing", "app:nothing"])
def test_an_app_that_is_not_there_is_a_usage_error(program, app_file, app):
    result = program("--app", app, "user", "list")
    assert (result.returncode, "nothing" in result.stderr, "Traceback" in result.stderr) == (2, True, False)


def test_a_server_at_the_foot_of_the_apps_file_is_not_started(program, app_file):
    app_file.write_text(app_file.read_text(encoding="utf-8") + "\napp.run(port=0)\n", encoding="utf-8")
    assert program("user", "list", "--json", env=SAFE).returncode == 0


def test_flask_gatehouse_offers_the_same(app_file, tmp_path):
    def flask(*arguments, stdin=""):
        command = [PROGRAM.with_name("flask"), "gatehouse", *arguments]
        env = clean_environment(SAFE)
        return subprocess.run(
            command, cwd=tmp_path, env=env, input=stdin, capture_output=True, text=True, check=False, timeout=60
        )

    assert flask("user", "create", "alice", stdin=f"{PASSWORD}\n").returncode == 0
    assert json.loads(flask("user", "list", "--json").stdout)[0]["username"] == "alice"
    refused = flask("user", "suspend", "nobody")
    assert (refused.returncode, refused.stderr) == (1, "Error: no user is named nobody\n")
    assert "demo" in flask("--help").stdout


def test_python_m_runs_it_too(tmp_path):
    command = [sys.executable, "-m", "flask_gatehouse", "--help"]
    done = subprocess.run(command, cwd=tmp_path, env=clean_environment({}), capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: gatehouse ")


def test_a_whole_story_through_the_program(program, app_file):
    program("init", "--admin", "root", stdin=f"{PASSWORD}\n")
    assert program("user", "create", "alice", "--role", "clerk", stdin=f"{PASSWORD}\n").returncode == 0
    assert program("role", "withdraw", "alice", "clerk", "--reason", "moved").returncode == 0
    assert program("user", "suspend", "alice", "--reason", "left").returncode == 0
    rows = json.loads(program("user", "list", "--json").stdout)
    assert [(row["username"], row["state"], row["roles"]) for row in rows] == [
        ("alice", "suspended", []),
        ("root", "active", ["admin"]),
    ]
    head = json.loads(program("audit", "verify", "--json").stdout)["head"]
    assert program("audit", "verify", "--head", head).returncode == 0
    assert program("check").returncode == 0


@pytest.mark.parametrize("stdin", ["\udcff\udcfe passphrase", "\x00" * 10, "x" * 2000])
def test_a_password_that_cannot_be_one_is_refused(program, app_file, tmp_path, stdin):
    done = subprocess.run(
        [PROGRAM, "user", "create", "alice"],
        cwd=tmp_path,
        env=clean_environment(SAFE),
        input=f"{stdin}\n".encode("utf-8", "surrogateescape"),
        capture_output=True,
        check=False,
    )
    assert done.returncode in {1, 2}
    assert b"Traceback" not in done.stderr
    assert json.loads(program("user", "list", "--json", env=SAFE).stdout) == []


@pytest.mark.parametrize("argument", [b"\xff", "\u202e".encode(), b"a\nb", b"\x1b[2J"])
def test_a_hostile_argument_is_refused_without_reaching_the_terminal(app_file, tmp_path, argument):
    command = [os.fsencode(PROGRAM), b"session", b"revoke", argument]
    done = subprocess.run(command, cwd=tmp_path, env=clean_environment(SAFE), capture_output=True, check=False)
    assert done.returncode in {1, 2}
    assert b"Traceback" not in done.stderr
    assert b"\x1b[2J" not in done.stderr


# --- at a terminal -----------------------------------------------------------------------------------------


class Terminal:
    """A person at a terminal: reads what is asked, types an answer."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.shown, self._read_up_to = "", 0
        self.pid, self._master = pty.fork()
        if self.pid == 0:  # pragma: no cover - the child becomes the program
            os.chdir(folder)
            os.execve(PROGRAM, [str(PROGRAM), *arguments], clean_environment({**SAFE, "TERM": "dumb"}))  # noqa: S606 - the program itself

    def wait_for(self, text: str) -> None:
        """Read until the text is shown, after what was waited for before."""
        deadline = time.monotonic() + 30
        while (found := self.shown.find(text, self._read_up_to)) < 0:
            assert time.monotonic() < deadline, self.shown
            self._read()
        self._read_up_to = found + len(text)

    def type(self, line: str) -> None:
        """Type a line."""
        os.write(self._master, f"{line}\n".encode())

    def _read(self) -> bool:
        if not select.select([self._master], [], [], 0.1)[0]:
            return True
        try:
            read = os.read(self._master, 4096)
        except OSError:  # the program has ended
            return False
        self.shown += read.decode("utf-8", "replace")
        return bool(read)

    def end(self) -> int:
        """Read to the end and return the exit code."""
        deadline = time.monotonic() + 30
        while self._read():
            assert time.monotonic() < deadline, self.shown
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self._master)
        return code


def test_at_a_terminal_the_password_is_asked_twice_and_never_shown(program, app_file, tmp_path):
    terminal = Terminal(tmp_path, "user", "create", "alice")
    terminal.wait_for("Password for alice")
    terminal.type(PASSWORD)
    terminal.wait_for("Repeat for confirmation")
    terminal.type("something else entirely")
    terminal.wait_for("do not match")
    terminal.wait_for("Password for alice")  # only then is the echo off again
    terminal.type(PASSWORD)
    terminal.wait_for("Repeat for confirmation")
    terminal.type(PASSWORD)
    assert terminal.end() == 0
    assert PASSWORD not in terminal.shown
    assert json.loads(program("user", "list", "--json", env=SAFE).stdout)[0]["username"] == "alice"


def test_at_a_terminal_a_missing_reason_is_asked_for(program, app_file, tmp_path):
    program("user", "create", "alice", stdin=f"{PASSWORD}\n", env=SAFE)
    terminal = Terminal(tmp_path, "user", "suspend", "alice")
    terminal.wait_for("Reason")
    terminal.type("left the company")
    assert terminal.end() == 0
    events = json.loads(program("audit", "list", "--kind", "user.suspended", "--json", env=SAFE).stdout)
    assert events[0]["detail"]["reason"] == "left the company"


def test_at_a_terminal_what_takes_away_for_good_asks_for_its_reason_too(program, app_file, tmp_path):
    program("user", "create", "alice", stdin=f"{PASSWORD}\n", env=SAFE)
    terminal = Terminal(tmp_path, "user", "delete", "alice", "--yes")
    terminal.wait_for("Reason")
    terminal.type("asked to be forgotten")
    assert terminal.end() == 0
    events = json.loads(program("audit", "list", "--kind", "user.closed", "--json", env=SAFE).stdout)
    assert events[0]["detail"]["reason"] == "asked to be forgotten"


@pytest.mark.parametrize("page", ["README.md", "tutorial/first-app.md"])
def test_at_a_terminal_the_first_command_of_the_manual_asks_for_a_password_and_nothing_else(app_file, tmp_path, page):
    block = pages.blocks(pages.page(page), "console")[0].text
    ((command, _), *_) = shell.commands(block)
    terminal = Terminal(tmp_path, *command.split()[1:])
    for prompt in ("Password for alice", "Repeat for confirmation"):
        terminal.wait_for(prompt)
        terminal.type(PASSWORD)
    assert terminal.end() == 0
    assert "alice is the first administrator." in terminal.shown
    assert terminal.shown.count("?") == 0


def test_at_a_terminal_init_asks_for_origin_and_first_administrator(program, app_file, tmp_path):
    terminal = Terminal(tmp_path, "init")
    terminal.wait_for("Where is the app served?")
    terminal.type("https://shop.example")
    terminal.wait_for("Which profile?")
    terminal.type("strict")
    terminal.wait_for("Create the first administrator now?")
    terminal.type("y")
    terminal.wait_for("Name")
    terminal.type("root")
    for prompt in ("Password for root", "Repeat for confirmation"):
        terminal.wait_for(prompt)
        terminal.type(PASSWORD)
    assert terminal.end() == 0
    assert "root is the first administrator." in terminal.shown
    assert PASSWORD not in terminal.shown
    made = (tmp_path / ".env").read_text(encoding="utf-8")
    assert "https://shop.example" in made
    assert "GATEHOUSE_PROFILE=strict" in made


def test_without_the_apps_secret_nothing_is_written_that_the_app_could_not_verify(program, tmp_path):
    (tmp_path / "app.py").write_text(BARE, encoding="utf-8")
    secret = {"GATEHOUSE_SECRET_KEY": "k" * 40}
    assert program("user", "create", "alice", stdin="quiet river stone\n", env=secret).returncode == 0
    refused = program("user", "create", "bobby", stdin="quiet river stone\n")
    assert refused.returncode == 1
    assert refused.stderr.startswith("Error: GATEHOUSE_SECRET_KEY is not set here")
    assert program("audit", "verify", env=secret).returncode == 0
    assert program("check").returncode == 1  # it looks at an app that would refuse to serve


BARE = """
from flask import Flask
from flask_gatehouse import Gatehouse

app = Flask(__name__)
Gatehouse(app)
"""
