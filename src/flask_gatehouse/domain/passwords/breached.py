"""Lists of passwords that were stolen somewhere: a file of one's own, or a service that is asked by five digits.

Both hold SHA-1 digests in upper-case hexadecimal, in the form of the list Have I Been Pwned. A service learns the first
five of forty digits and nothing else (k-anonymity), and is waited for no longer than a few seconds.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import mmap
import re
import threading
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask_gatehouse.kernel.errors import SetupError

if TYPE_CHECKING:
    from typing import IO

PREFIX_LENGTH = 5
WAIT_SECONDS = 2.0
ANSWER_MAX = 1 << 20
ASKED_AT_ONCE = 4
"""Questions of one process that wait for a service. One that sends a byte now and then, or whose name nobody finds, is
waited for longer than the limits say: it holds so many threads at most, and others go on unasked."""
_LINE = re.compile(rb"[0-9A-F]{40}(?::\d{1,12})?\r?\n?")
_DIGEST_LENGTH = 40

log = logging.getLogger("flask_gatehouse.passwords")


def _digest(value: str) -> str:
    return hashlib.sha1(value.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest().upper()


class NoList:
    """No list is asked."""

    def holds(self, value: str) -> bool | None:
        """Return False."""
        del value
        return False


class ListFile:
    """A file with one digest a line, in ascending order, each perhaps followed by a colon and a number.

    Args:
        path: the file.

    Raises:
        SetupError: it cannot be read, or is no such file; the text names it and says what it should be.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        with suppress(OSError), Path(path).open("rb") as file:
            if _LINE.fullmatch(file.readline(100)):
                return
        msg = f"{path} is no list of SHA-1 digests: one a line, upper-case hexadecimal, in ascending order"
        raise SetupError(msg)

    def holds(self, value: str) -> bool | None:
        """Tell whether a normalised password stands in the list; None where the file cannot be read any more."""
        wanted = _digest(value).encode("ascii")
        try:
            with Path(self._path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as lines:
                return _is_among(lines, wanted)
        except (OSError, ValueError):
            log.warning("the list of stolen passwords cannot be read: %s", self._path)
            return None


def _is_among(lines: mmap.mmap, wanted: bytes) -> bool:
    low, high = 0, len(lines)
    while low < high:
        middle = (low + high) // 2
        start = lines.rfind(b"\n", low, middle) + 1 or low
        found = lines[start : start + _DIGEST_LENGTH]
        if found == wanted:
            return True
        if found < wanted:
            end = lines.find(b"\n", middle, high)
            low = high if end < 0 else end + 1
        else:
            high = start
    return False


class _Here(urllib.request.HTTPRedirectHandler):
    """Follows nowhere: only the service of the settings is asked."""

    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        """Return None, which is an error for who asks."""


class ListService:
    """A service that answers `URL` and five digits with all the rest of digests that begin so.

    Args:
        url: begins every question, such as `https://…/range/`.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._opener = urllib.request.build_opener(_Here)
        self._places = threading.BoundedSemaphore(ASKED_AT_ONCE)

    def holds(self, value: str) -> bool | None:
        """Tell whether a normalised password is known to the service; None where it does not answer."""
        if not self._places.acquire(blocking=False):
            log.warning("the service of stolen passwords is not asked: others wait for it already")
            return None
        try:
            return self._asked(_digest(value))
        finally:
            self._places.release()

    def _asked(self, digest: str) -> bool | None:
        asked = urllib.request.Request(  # noqa: S310 - the address is of the settings, which take https alone
            self._url + digest[:PREFIX_LENGTH], headers={"Add-Padding": "true", "User-Agent": "Flask-Gatehouse"}
        )
        try:
            with self._opener.open(asked, timeout=WAIT_SECONDS) as answer:
                return _is_told(answer, digest[PREFIX_LENGTH:])
        except (OSError, ValueError, http.client.HTTPException) as error:  # its text may hold the question
            log.warning("the service of stolen passwords does not answer: %s", type(error).__name__)
            return None


def _is_told(answer: IO[bytes], wanted: str) -> bool:
    for line in _read(answer).decode("ascii", "replace").splitlines():
        rest, _, number = line.strip().partition(":")
        if rest.upper() == wanted:
            return number.strip() != "0"  # a padding line counts none
    return False


def _read(answer: IO[bytes]) -> bytes:
    """Return the answer, unless it comes too slowly: a wait of its own for each piece would have no end."""
    deadline, found = time.monotonic() + WAIT_SECONDS, b""
    while piece := answer.read1(1 << 16):  # type: ignore[attr-defined]  # http.client's answers have it
        found += piece
        if len(found) > ANSWER_MAX or time.monotonic() > deadline:
            raise TimeoutError
    return found


StolenPasswords = NoList | ListFile | ListService


def list_of(setting: str) -> StolenPasswords:
    """Return the list that a setting names: nothing, a path, or an address.

    Raises:
        SetupError: the file is none.
    """
    if not setting:
        return NoList()
    return ListService(setting) if "://" in setting else ListFile(setting)
