"""Argon2id in a bounded pool, equal work for users who do not exist, old schemes that verify and upgrade."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import threading
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager, suppress
from enum import Enum
from math import prod
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

from werkzeug.security import check_password_hash, generate_password_hash

from flask_gatehouse.kernel.errors import HashingBusyError

from .argon2id import Argon2id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")
WAIT_SECONDS = 5.0
WAITING_PLACES = 2
RESERVED_PLACES = 1
NICENESS = 5
LONGEST_SCHEME = 200
NO_MEMORY = "there is not enough memory to hash"
_WERKZEUG = ("scrypt:", "pbkdf2:")
_COSTS = (
    (re.compile(r"\$argon2\w+(?:\$v=\d+)?\$m=(\d+),t=(\d+),p=\d+"), 1 << 22, 1 << 24),
    (re.compile(r"scrypt:(\d+):(\d+):(\d+)"), 1 << 21, 1 << 24),
    (re.compile(r"pbkdf2:\w+:(\d+)"), 1 << 25, 1 << 25),
)
"""Of each scheme where its numbers stand, the most that the first may be, and all of them multiplied.

Beyond it a check takes longer than anybody waits (`WAIT_SECONDS`), or more memory than the process should risk.
"""
_pools: WeakSet[HashingPool] = WeakSet()


class Verdict(Enum):
    """What checking a password against a digest gave."""

    WRONG = "wrong"
    RIGHT = "right"
    RIGHT_OUTDATED = "right, and the digest is of an older scheme or cost"

    def __bool__(self) -> bool:
        """Be true when the password was right."""
        return self is not Verdict.WRONG


class HashingPool:
    """One hashing thread a process, with few places to wait: a flood of logins finds a closed door, not a queue.

    The thread starts at first use, so after any fork, and runs at a lower priority than the people inside.
    """

    def __init__(self) -> None:
        self._executor: ThreadPoolExecutor | None = None
        self.after_fork()
        _pools.add(self)

    def after_fork(self) -> None:
        """Begin anew in a child: the parent's thread is not there, and its places are not taken."""
        self._lock, self._taken, self._executor = threading.Lock(), 0, None

    def run(self, work: Callable[[], T], *, is_inside: bool = False) -> T:
        """Run the work in the pool and return its result.

        Args:
            work: hashes or verifies.
            is_inside: for people with a live session; one place is kept for them.

        Raises:
            HashingBusyError: no place to wait, or not done within 5 s.
        """
        with self.place(is_inside=is_inside) as place:
            return place.run(work)

    def is_full(self, *, is_inside: bool = False) -> bool:
        """Tell whether no place is free at the moment."""
        return self._taken >= _places(is_inside=is_inside)

    @contextmanager
    def place(self, *, is_inside: bool = False) -> Iterator[Place]:
        """Take a place, for all that one attempt hashes; work that is still running keeps it until it is done.

        Args:
            is_inside: for people with a live session and for known browsers; one place is kept for them.

        Raises:
            HashingBusyError: no place is free.
        """
        with self._lock:
            if self._taken >= _places(is_inside=is_inside):
                msg = "all places of the hashing pool are taken"
                raise HashingBusyError(msg)
            if self._executor is None:
                self._executor = ThreadPoolExecutor(1, "gatehouse-hash", initializer=_lower_priority)
            self._taken += 1
            taken = Place(self._executor)
        try:
            yield taken
        finally:
            taken.when_done(self._release)

    def _release(self) -> None:
        with self._lock:
            self._taken -= 1


def _after_fork() -> None:
    for pool in _pools:
        pool.after_fork()


os.register_at_fork(after_in_child=_after_fork)


def _places(*, is_inside: bool) -> int:
    return 1 + WAITING_PLACES + (RESERVED_PLACES if is_inside else 0)


class Place:
    """A place in the pool, for one attempt."""

    def __init__(self, executor: ThreadPoolExecutor) -> None:
        self._executor = executor
        self._future: Future[Any] | None = None

    def run(self, work: Callable[[], T]) -> T:
        """Run the work and return its result.

        Raises:
            HashingBusyError: not done within 5 s.
        """
        future = self._executor.submit(work)
        self._future = future
        try:
            return future.result(timeout=WAIT_SECONDS)
        except FutureTimeoutError as error:
            future.cancel()
            msg = "hashing took too long"
            raise HashingBusyError(msg) from error

    def when_done(self, release: Callable[[], None]) -> None:
        """Release the place: now, or when work that took too long has ended."""
        if self._future is None or self._future.done():
            release()
        else:
            self._future.add_done_callback(lambda _: release())


def _lower_priority() -> None:
    if hasattr(os, "setpriority"):
        with suppress(OSError):
            present = os.getpriority(os.PRIO_PROCESS, 0)  # an absolute one would raise it where all are nicer
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(present + NICENESS, 19))


class Hasher:
    """Hashes and verifies with one set of parameters.

    Args:
        cost: Argon2id memory in KiB, passes, lanes.
        pool: where the work runs.
        pepper: keyed step with a secret kept outside the database; empty for none.
        older: peppers of before; what they made still verifies, and is renewed.
    """

    def __init__(
        self, cost: tuple[int, int, int], pool: HashingPool, pepper: str = "", older: tuple[str, ...] = ()
    ) -> None:
        self._argon2 = Argon2id(cost)
        self._pool = pool
        self._pepper = pepper.encode("utf-8", "surrogateescape")
        self._mark = _mark_of(self._pepper)
        known = (self._pepper, *(one.encode("utf-8", "surrogateescape") for one in older))
        self._peppers = {_mark_of(one): one for one in known if one}
        self._dummy: str | None = None

    def is_busy(self, *, is_inside: bool = False) -> bool:
        """Tell whether an attempt that came now would be turned away."""
        return self._pool.is_full(is_inside=is_inside)

    @contextmanager
    def place(self, *, is_inside: bool = False) -> Iterator[Hashing]:
        """Take a place in the pool before anything is charged: who finds none has spent nothing.

        Args:
            is_inside: for people with a live session and for known browsers; one place is kept for them.

        Raises:
            HashingBusyError: no place is free.
        """
        with self._pool.place(is_inside=is_inside) as place:
            yield Hashing(self, place)

    def hash(self, value: str, *, is_inside: bool = False) -> str:
        """Return the digest of a normalised password.

        Raises:
            HashingBusyError: the pool is full.
        """
        with self.place(is_inside=is_inside) as place:
            return place.hash(value)

    def verify(self, digest: str | None, value: str, *, is_inside: bool = False) -> Verdict:
        """Check a normalised password; without a digest do the same work and say `WRONG`.

        Raises:
            HashingBusyError: the pool is full.
        """
        with self.place(is_inside=is_inside) as place:
            return place.verify(digest, value)

    def imitate(self, digests: Iterable[str]) -> None:
        """Make the dummy of the scheme and cost that most of these digests have (rule 9)."""
        self._dummy = None
        for scheme, _ in Counter(scheme_of(digest) for digest in digests).most_common(1):
            with suppress(ValueError, KeyError):  # rows of no scheme that we know
                self._dummy = None if _is_beyond_reach(scheme) else self._digest_like(scheme)
        self._dummy_digest()

    def _hash(self, value: str) -> str:
        try:
            return self._mark + self._argon2.hash(_seasoned(value, self._pepper))
        except MemoryError as error:
            raise HashingBusyError(NO_MEMORY) from error

    def _verify(self, digest: str | None, value: str) -> Verdict:
        if digest is None or _is_beyond_reach(digest):
            self._check(self._dummy_digest(), value)
            return Verdict.WRONG
        if not self._check(digest, value):
            return Verdict.WRONG
        return Verdict.RIGHT_OUTDATED if self.is_outdated(digest) else Verdict.RIGHT

    def _check(self, digest: str, value: str) -> bool:
        if digest.startswith(_WERKZEUG):
            return _matches_werkzeug(digest, value)
        if digest.startswith("pepper:"):
            mark, plain = digest[: len("pepper:12345678:")], digest[len("pepper:12345678:") :]
            pepper = self._peppers.get(mark)  # of an unknown one the work is the same, and nothing matches
            is_right = self._matches(plain, _seasoned(value, self._pepper if pepper is None else pepper))
            return is_right and pepper is not None
        return self._matches(digest, value.encode("utf-8", "surrogatepass"))

    def _matches(self, digest: str, raw: bytes) -> bool:
        try:
            return self._argon2.verify(digest, raw)
        except MemoryError as error:  # nothing was judged
            raise HashingBusyError(NO_MEMORY) from error

    def is_current(self, scheme: str) -> bool:
        """Tell whether a scheme, as `scheme_of` names it, is the one that new digests get."""
        return scheme == scheme_of(self._hash(""))

    def is_outdated(self, digest: str) -> bool:
        """Tell whether a digest has another scheme, cost or pepper than new ones get; hashes nothing."""
        if not digest.startswith(self._mark or "$argon2"):
            return True
        return self._argon2.is_outdated(digest.removeprefix(self._mark))

    def _dummy_digest(self) -> str:
        if self._dummy is None:
            self._dummy = self._hash(_nothing())
        return self._dummy

    def _digest_like(self, scheme: str) -> str:
        if scheme.startswith(_WERKZEUG):
            return generate_password_hash(_nothing(), method=scheme)
        return self._mark + _argon2_like(scheme).hash(_seasoned(_nothing(), self._pepper))


class Hashing:
    """What one attempt hashes, in the place it has taken."""

    def __init__(self, hasher: Hasher, place: Place) -> None:
        self._hasher = hasher
        self._place = place

    def hash(self, value: str) -> str:
        """Return the digest of a normalised password.

        Raises:
            HashingBusyError: not done within 5 s.
        """
        return self._place.run(lambda: self._hasher._hash(value))  # noqa: SLF001 - the two are one

    def verify(self, digest: str | None, value: str) -> Verdict:
        """Check a normalised password; without a digest do the same work and say `WRONG`.

        Raises:
            HashingBusyError: not done within 5 s.
        """
        return self._place.run(lambda: self._hasher._verify(digest, value))  # noqa: SLF001 - the two are one


def _mark_of(pepper: bytes) -> str:
    """Return what names a pepper before the digests that were made with it; `""` for none."""
    return f"pepper:{hashlib.sha256(b'gatehouse ' + pepper).hexdigest()[:8]}:" if pepper else ""


def _seasoned(value: str, pepper: bytes) -> bytes:
    raw = value.encode("utf-8", "surrogatepass")
    return hmac.digest(pepper, raw, "sha256").hex().encode() if pepper else raw


def _nothing() -> str:
    """Return what nobody has as a password."""
    return os.urandom(16).hex()


def _matches_werkzeug(digest: str, value: str) -> bool:
    try:
        return check_password_hash(digest, value)
    except ValueError:  # a broken digest, or a text that is no UTF-8
        return False


def scheme_of(digest: str) -> str:
    """Return the part of a digest that names pepper, scheme and cost; nothing of the password or its salt."""
    if digest.startswith(_WERKZEUG):
        return digest.partition("$")[0]
    start = digest.find("$argon2")
    return digest[: max(start - 1, 0)] + "$".join(digest[start:].split("$")[:4])


def _is_beyond_reach(digest: str) -> bool:
    """Tell whether checking a digest would keep the one thread from everybody else, as a row of elsewhere may."""
    scheme = scheme_of(digest)
    if len(scheme) > LONGEST_SCHEME:
        return True
    for form, most, product in _COSTS:
        found = form.search(scheme)
        if found is not None:
            numbers = [int(number) for number in found.groups()]
            return numbers[0] > most or prod(numbers) > product
    return False


def _argon2_like(parameters: str) -> Argon2id:
    numbers = dict(part.split("=") for part in parameters.rpartition("$")[2].split(","))
    return Argon2id((int(numbers["m"]), int(numbers["t"]), int(numbers["p"])))
