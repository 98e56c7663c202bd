"""Where the files of a run stand: in memory where the machine has enough, since no test is about a disk."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

SHARED = Path("/dev/shm")  # noqa: S108 - the folder itself; what is made in it has a name that nobody can guess
NEEDED_BYTES = 2 * 1024**3


def use_memory() -> None:
    """Let temporary files of this process, and of all that it starts, stand in memory.

    Whoever has set `TMPDIR` has chosen already. Programs are started from there, so `noexec` rules it out.
    """
    if "TMPDIR" not in os.environ and SHARED.is_dir() and _is_fit(os.statvfs(SHARED)):
        os.environ["TMPDIR"] = str(SHARED)
        tempfile.tempdir = None  # asks again


def _is_fit(found: os.statvfs_result) -> bool:
    return found.f_bavail * found.f_frsize >= NEEDED_BYTES and not found.f_flag & os.ST_NOEXEC
