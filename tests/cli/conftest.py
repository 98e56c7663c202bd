"""Commands run in two ways: the real program in a folder with a tiny app, and click's runner on an app in here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import pytest
from click.testing import CliRunner, Result
from flask import Flask
from flask.cli import ScriptInfo

from flask_gatehouse.cli import commands
from flask_gatehouse.flows.services import Services
from tests.conftest import MakeApp
from tests.support import modules
from tests.support.apps import SECRET
from tests.support.processes import clean_environment

PASSWORD = "a phrase of the commands' tests"
PROGRAM = Path(sys.executable).with_name("gatehouse")
APP = """
from flask import Flask
from flask_gatehouse import Gatehouse, login_required, public

app = Flask(__name__, instance_path="{instance}")
gate = Gatehouse(app)
gate.permission("invoice:read", "Read invoices")
gate.role("clerk", ["invoice:read"])

@app.get("/")
@public
def index():
    return "open"

@app.get("/inside")
@login_required
def inside():
    return "inside"
"""
SAFE = {"GATEHOUSE_SECRET_KEY": SECRET, "GATEHOUSE_ORIGINS": "https://app.example"}


class Program(Protocol):
    """`program("user", "list", stdin="", env={})`."""

    def __call__(
        self, *arguments: str, stdin: str = "", env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `gatehouse` in the test's folder."""


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Return a runner of the real program, standard input no terminal."""

    def run(*arguments: str, stdin: str = "", env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PROGRAM, *arguments],
            cwd=tmp_path,
            env=clean_environment(env or {}),
            input=stdin,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def app_file(tmp_path: Path) -> Path:
    """Put a tiny app where Flask finds it by itself."""
    path = tmp_path / "app.py"
    path.write_text(APP.format(instance=tmp_path / "instance"), encoding="utf-8")
    return path


class InFolder(Protocol):
    """`in_folder("init", app=None, stdin="")`."""

    def __call__(self, *arguments: str, app: Callable[[], Flask] | None = None, stdin: str = "") -> Result:
        """Run a command; without `app` one is looked for in the test's folder."""


@pytest.fixture
def in_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[InFolder]:
    """Return a runner of commands in this process, for what happens in the test's folder."""
    monkeypatch.setattr(sys, "path", list(sys.path))  # Flask puts the folder of the app in front

    def run(*arguments: str, app: Callable[[], Flask] | None = None, stdin: str = "") -> Result:
        return invoke(ScriptInfo(create_app=app, set_debug_flag=False), *arguments, stdin=stdin)

    with modules.forgotten(tmp_path):
        yield run


def invoke(info: ScriptInfo, *arguments: str, stdin: str = "") -> Result:
    """Run a command with click's runner; what is no exit of a command is a bug."""
    result = CliRunner().invoke(commands, arguments, input=stdin, obj=info, prog_name="gatehouse")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@dataclass(frozen=True)
class Commands:
    """Runs commands on one app, in this process."""

    app: Flask

    @property
    def services(self) -> Services:
        """What the flows of this app work with."""
        return cast("Services", self.app.extensions["gatehouse"].services(self.app))

    def __call__(self, *arguments: str, stdin: str = "") -> Result:
        """Run a command, whatever its exit code."""
        return invoke(ScriptInfo(create_app=lambda: self.app, set_debug_flag=False), *arguments, stdin=stdin)

    def ok(self, *arguments: str, stdin: str = "") -> str:
        """Run a command that must succeed and return what it printed."""
        result = self(*arguments, stdin=stdin)
        assert result.exit_code == 0, result.output
        return result.stdout

    def json(self, *arguments: str, stdin: str = "") -> Any:
        """Run a command that must succeed and return its JSON."""
        return json.loads(self.ok(*arguments, "--json", stdin=stdin))

    def refused(self, *arguments: str, stdin: str = "") -> str:
        """Run a command that must end with 1 and one line on standard error; return the line."""
        result = self(*arguments, stdin=stdin)
        assert result.exit_code == 1, result.output
        assert result.stdout == ""
        assert result.stderr.count("\n") == 1
        return result.stderr

    def misused(self, *arguments: str, stdin: str = "") -> str:
        """Run a command that must end with 2; return what it said."""
        result = self(*arguments, stdin=stdin)
        assert result.exit_code == 2, result.output
        return result.stderr

    def create(self, name: str, *arguments: str) -> None:
        """Create a user with `PASSWORD`."""
        self.ok("user", "create", name, *arguments, stdin=f"{PASSWORD}\n")

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Return the events of a kind, newest first."""
        found: list[dict[str, Any]] = self.json("audit", "list", "--event", kind)
        return found


def add_clerk(app: Flask, gate: Any) -> None:
    """Declare a permission and a role in code."""
    gate.permission("invoice:read", "Read invoices")
    gate.permission("invoice:refund", "Refund an invoice")
    gate.role("clerk", ["invoice:read"])


@pytest.fixture
def run(make_app: MakeApp) -> Commands:
    """Return a runner of commands on a tiny app."""
    return Commands(make_app(add_clerk, SECRET_KEY=SECRET))
