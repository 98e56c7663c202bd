"""One writer of this machine at a time: an advisory lock on a file, between processes.

`flock` of the system itself: a library's lock costs a hundred times as much, twice in every login (measured).
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress

POLL_SECONDS = 0.001


class ProcessLock:
    """A lock between processes, taken by one thread of each at a time; the caller sees to that.

    Args:
        path: the file that is locked; made with mode 0600 when it is not there.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: int | None = None

    def acquire(self, wait_seconds: float) -> bool:
        """Take the lock; False when somebody else kept it all the time.

        Raises:
            OSError: the file cannot be opened or locked.
        """
        if self._file is None:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        deadline = 0.0
        while not _is_taken(self._file):
            now = time.monotonic()
            deadline = deadline or now + wait_seconds
            if now >= deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def release(self) -> None:
        """Let the next one in."""
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file; the lock, if a parent process holds it by the same file, stays the parent's."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                os.close(file)

    def __del__(self) -> None:
        self.close()


def _is_taken(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
