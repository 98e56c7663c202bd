"""What may not stand in the repository, and what must be in the wheel."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest

from tests.support import ROOT, SOURCE

# Written in pieces, so that this file does not break its own rule.
MACHINE_PATHS = re.compile(r"(?<![\w.:/}])/(work|root|home|Users|opt)" + r"/[\w.]")
REGISTRIES = re.compile("|".join((r"pypi\." + "org", "python" + "hosted", "index" + "-url", r"npmjs\." + "org")))
PINNED = re.compile(r"[A-Za-z0-9_.-]+==[A-Za-z0-9_.+!-]+")


def test_no_path_of_a_developers_machine_is_named():
    assert _lines_with(MACHINE_PATHS) == []


def test_no_registry_is_named():
    assert _lines_with(REGISTRIES) == []


def test_v15_2_4_every_dependency_is_pinned():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert [line for line in pins if not PINNED.fullmatch(line)] == []
    pinned = {_normal(line.partition("==")[0]) for line in pins}
    assert {_normal(name) for name in _wanted()} - pinned == set()


def test_flask_login_is_the_version_whose_private_names_are_overridden():
    assert distribution("flask-login").version == "0.6.3"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> list[str]:
    """Return the names of the files in a freshly built wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return archive.namelist()


def test_v13_4_1_the_wheel_holds_the_package_and_nothing_of_version_control(wheel):
    tops = {name.partition("/")[0] for name in wheel}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"flask_gatehouse"}
    assert [name for name in wheel if "/.git" in name or "__pycache__" in name] == []


def test_v15_2_3_the_wheel_holds_no_tests(wheel):
    assert [name for name in wheel if re.search(r"(^|/)(tests?|conftest)(/|_|\.py)", name)] == []


def test_the_wheel_holds_pages_styles_migrations_and_types(wheel):
    files = {path.relative_to(SOURCE.parent).as_posix() for path in SOURCE.rglob("*") if path.is_file()}
    wanted = {name for name in files if "__pycache__" not in name}
    assert wanted - set(wheel) == set()
    assert "flask_gatehouse/py.typed" in wheel


def _repository_files() -> list[Path]:
    """Return what git tracks, or, in an unpacked archive, every file outside of generated folders."""
    if (ROOT / ".git").exists():
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
        names = [name for name in listed.split("\0") if name]
        return [ROOT / name for name in names if (ROOT / name).is_file()]
    generated = {".venv", "__pycache__", "_build", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"}
    return [path for path in ROOT.rglob("*") if path.is_file() and not generated & set(path.parts)]


def _lines_with(pattern: re.Pattern[str]) -> list[str]:
    found = []
    for path in _repository_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture
        found += [
            f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}"
            for number, line in enumerate(text.splitlines(), 1)
            if pattern.search(line)
        ]
    return found


def _wanted() -> set[str]:
    """Return every distribution that pyproject.toml asks for, in any group or extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = [*project["dependency-groups"].values(), *project["project"]["optional-dependencies"].values()]
    asked = [line for group in [project["project"]["dependencies"], *groups] for line in group if isinstance(line, str)]
    names = {re.split(r"[^A-Za-z0-9_.-]", line)[0] for line in asked}
    return names - {"flask-gatehouse"}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
