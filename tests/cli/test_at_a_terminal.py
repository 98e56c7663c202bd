"""Commands at a real terminal: what is asked for, and what happens while somebody thinks about the answer."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.conftest import PROGRAM, SAFE
from tests.support.processes import clean_environment


@contextmanager
def at_terminal(folder: Path, *arguments: str, until: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run the program at a terminal, and go on once it has asked."""
    ours, theirs = pty.openpty()
    env = clean_environment({**SAFE, "COLUMNS": "120"})
    process = subprocess.Popen([PROGRAM, *arguments], cwd=folder, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    while until.encode() not in said:
        said += os.read(ours, 4096)
    try:
        yield process, ours
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@pytest.mark.usefixtures("app_file")
def test_a_role_that_changed_while_somebody_read_what_goes_is_not_deleted(program, tmp_path):
    for command in (
        ("db", "upgrade"),
        ("role", "create", "cashier", "audit:read"),
    ):
        assert program(*command, env=SAFE).returncode == 0
    asked = ("role", "delete", "cashier", "--reason", "shop closed")
    with at_terminal(tmp_path, *asked, until="Delete the role cashier?") as (process, terminal):
        assert program("role", "edit", "cashier", "users:read", env=SAFE).returncode == 0
        os.write(terminal, b"y\n")
        assert process.wait(30) == 1
    assert "users:read" in program("role", "show", "cashier", env=SAFE).stdout
