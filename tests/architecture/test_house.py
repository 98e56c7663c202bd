"""The house: who imports whom, how big things may be, who alone may ask for what."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.source import calls, dotted, findings, functions, imports, is_found, modules
from tests.support import ROOT

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 50
MAX_MEDIAN_FUNCTION_LINES = 12
MAX_PARAMETERS = 6
MAX_EXCUSES = 8
EXCUSE = re.compile(r"noqa: PLR0913 - \w")  # the reason stands beside it
WIRING = ("extension.py", "features.py", "migrations/__init__.py")  # import what is needed, when it is

# Who touches `app.config`, and why. Everything else asks `kernel.settings`.
CONFIG_KEEPERS = {
    "kernel/settings.py": "reads every setting",
    "extension.py": "hands the config to kernel.settings, and writes the keys that Flask and Flask-WTF read",
    "demo/__init__.py": "is an app, and configures itself",
    "http/gate.py": "asks Flask-WTF's own switch, which works in tests only",
}
CLOCKS = {"datetime.datetime.now", "datetime.datetime.utcnow", "datetime.date.today", "time.time", "time.time_ns"}
NEGOTIATION = {"accept_mimetypes", "is_json", "best_match"}


def test_every_floor_imports_only_what_stands_below_it():
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_policy_is_pure():
    (policy,) = [module for module in modules() if module.path == "domain/policy.py"]
    named = {name.removeprefix("flask_gatehouse.").lstrip(".") for name, _ in imports(policy.tree)}
    known = ("kernel.identity", "kernel.errors")  # frozen data, and what it raises when a label is wrong
    types = {"kernel.clock", "kernel.clock.Instant"}  # the type of `now`, never the clock
    foreign = [name for name in named if name.split(".")[0] not in sys.stdlib_module_names]
    assert [name for name in foreign if not name.startswith(known) and name not in types] == []


def test_no_file_is_longer_than_a_reader_holds_in_mind():
    assert [f"{module.path}: {module.lines}" for module in modules() if module.lines > MAX_FILE_LINES] == []


def test_no_function_is_longer_than_a_screen():
    lengths = {
        f"{module.path}:{function.name}": _length(function)
        for module in modules()
        if not module.path.startswith("migrations/versions/")
        for function in functions(module.tree)
    }
    assert {name: length for name, length in lengths.items() if length > MAX_FUNCTION_LINES} == {}
    assert statistics.median(lengths.values()) <= MAX_MEDIAN_FUNCTION_LINES


def test_no_function_asks_for_more_than_six_parameters():
    crowded = [
        f"{module.path}:{function.name}: {_parameters(function)}"
        for module in modules()
        for function in functions(module.tree)
        if _parameters(function) > MAX_PARAMETERS and not EXCUSE.search(module.text_of(function))
    ]
    assert crowded == []


def test_excuses_for_more_parameters_stay_rare():
    assert sum(len(EXCUSE.findall(module.text)) for module in modules()) <= MAX_EXCUSES


def test_imports_stand_at_the_top_of_the_file():
    assert findings(late_imports, except_in=WIRING) == []


def test_only_settings_reads_the_config():
    assert findings(config_uses, except_in=tuple(CONFIG_KEEPERS)) == []


def test_the_clock_is_the_only_now():
    assert findings(readings_of_a_clock, except_in=("kernel/clock.py",)) == []


def test_only_respond_asks_whether_html_or_json_is_wanted():
    assert findings(negotiations, except_in=("http/respond.py",)) == []


@pytest.mark.parametrize(
    "scanner, code",
    [
        ("late_imports", "def f():\n    import os"),
        ("late_imports", "class A:\n    def f(self):\n        if 1:\n            from os import path"),
        ("config_uses", "app.config['A']"),
        ("config_uses", "current_app.config.get('A')"),
        ("config_uses", "self.app.config"),
        ("readings_of_a_clock", "from datetime import datetime\ndatetime.now(UTC)"),
        ("readings_of_a_clock", "import datetime as dt\ndt.datetime.utcnow()"),
        ("readings_of_a_clock", "import time\ntime.time()"),
        ("negotiations", "request.accept_mimetypes.accept_html"),
        ("negotiations", "request.is_json"),
    ],
)
def test_the_rule_finds_what_it_forbids(scanner, code):
    assert is_found(globals()[scanner], code)


def test_the_rules_leave_the_rest_alone():
    innocent = "import os\nfrom time import monotonic\nsettings.config\nmonotonic()\nnow(clock)\nrequest.json"
    for scanner in (late_imports, config_uses, readings_of_a_clock, negotiations):
        assert not is_found(scanner, innocent)


def late_imports(tree: ast.AST) -> Iterator[ast.AST]:
    for function in functions(tree):
        yield from (node for node in ast.walk(function) if isinstance(node, ast.Import | ast.ImportFrom))


def config_uses(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "config":
            owner = dotted(node.value).rpartition(".")[2]
            if owner.strip("_") in {"app", "current_app", "application"}:
                yield node


def readings_of_a_clock(tree: ast.AST) -> Iterator[ast.AST]:
    return (node for name, node in calls(tree) if name in CLOCKS)


def negotiations(tree: ast.AST) -> Iterator[ast.AST]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in NEGOTIATION)


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def _parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    asked = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
    return len([argument for argument in asked if argument.arg not in {"self", "cls"}])
