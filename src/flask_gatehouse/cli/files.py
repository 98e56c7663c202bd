"""Modes of files: what others than the owner can reach (rule 30)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .findings import CheckFinding

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OTHERS = 0o077
"""Any right of group and others."""


def loose(path: Path, mode: int) -> Iterator[CheckFinding]:
    """Find a file or folder that others than its owner may read or change.

    Args:
        path: the file; one that is not there is no finding.
        mode: what it should have.
    """
    try:
        present = path.stat().st_mode & 0o777
    except OSError:
        return
    if present & OTHERS:
        shown = os.path.relpath(path)
        yield CheckFinding("file-mode", str(path), f"others can reach it (mode {present:04o}): chmod {mode:o} {shown}")
