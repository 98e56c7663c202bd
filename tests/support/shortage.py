"""A machine that is short of memory."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def of_a_gibibyte(digest: object) -> str:
    """Return a digest of the tests' cost, as one that takes a gibibyte to check."""
    return str(digest).replace("m=1024", "m=1048576")


@contextmanager
def scarce() -> Iterator[None]:
    """Leave this process a quarter of a gibibyte more than it has."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (1 << 28), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
