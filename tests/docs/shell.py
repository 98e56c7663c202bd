"""Run the manual's shell examples: blocks marked `console`, commands after `$`, what they print below."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.support.processes import clean_environment

SECONDS = 120


def commands(block: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each command with the lines that it should print."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        lines = part.rstrip("\n").split("\n")
        yield lines[0], [line for line in lines[1:] if line.strip()]


def run(block: str, folder: Path, *, env: Mapping[str, str] | None = None, stdin: str = "") -> None:
    """Run the commands of a block, and compare what they print.

    Args:
        block: the text of the block.
        folder: where they run.
        env: for their environment.
        stdin: what somebody would type.
    """
    for command, expected in commands(block):
        printed = run_one(command, folder, env=env, stdin=stdin)
        if expected:
            assert agrees(expected, printed), f"$ {command}\n{printed}\nexpected:\n" + "\n".join(expected)


def run_one(command: str, folder: Path, *, env: Mapping[str, str] | None = None, stdin: str = "") -> str:
    """Run one command and return what it printed; it must end with 0."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env=clean_environment({"PATH": path, **(env or {})}),
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"
    return done.stdout


def agrees(expected: list[str], printed: str) -> bool:
    """Tell whether the lines agree: blanks count as one, `…` is anything, a line `...` is any lines."""
    pattern = "".join(_line(line) for line in expected)
    text = "".join(f"{' '.join(line.split())}\n" for line in printed.splitlines() if line.strip(" ─"))
    return re.fullmatch(pattern, text) is not None


def _line(line: str) -> str:
    if line.strip() == "...":
        return r"(?:[^\n]*\n)*"
    words = " ".join(line.split())
    return re.escape(words).replace("…", ".*").replace(re.escape("..."), ".*") + r"\n"
