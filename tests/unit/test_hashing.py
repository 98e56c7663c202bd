"""Hashing: Argon2id in a small pool, old schemes that verify, equal work for users who do not exist."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import pytest
from argon2 import PasswordHasher, Type, extract_parameters
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.security import generate_password_hash

from flask_gatehouse.domain.passwords import hashing
from flask_gatehouse.domain.passwords.argon2id import Argon2id
from flask_gatehouse.domain.passwords.hashing import Hasher, HashingPool, Verdict, scheme_of
from flask_gatehouse.kernel.errors import HashingBusyError

CHEAP, DEARER = (8, 1, 1), (16, 2, 1)
WORD = "gnomes eat waffles"
WERKZEUG = ["scrypt:1024:8:1", "pbkdf2:sha256:1000"]


def hasher(cost: tuple[int, int, int] = CHEAP, pepper: str = "", older: tuple[str, ...] = ()) -> Hasher:
    """Return a hasher with a pool of its own."""
    return Hasher(cost, HashingPool(), pepper, older)


# --- digests -----------------------------------------------------------------------------------------------


def test_v11_4_2_63b_3_1_1_2_22_a_digest_is_an_argon2id_string_with_the_set_cost():
    digest = hasher((19456, 2, 1)).hash(WORD)
    found = extract_parameters(digest)
    assert digest.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert (found.type, found.salt_len, found.hash_len) == (Type.ID, 16, 32)


def test_63b_3_1_1_2_23_equal_passwords_have_different_salts_and_digests():
    held = hasher()
    digests = [held.hash(WORD) for _ in range(1000)]
    assert len({digest.split("$")[4] for digest in digests}) == len({*digests}) == 1000


@pytest.mark.parametrize("other", [WORD + " ", " " + WORD, WORD[:-1], WORD[1:], WORD.upper(), WORD.title(), ""])
def test_v6_2_8_63b_3_1_1_2_12_only_the_whole_exact_password_is_right(other):
    held = hasher()
    digest = held.hash(WORD)
    assert held.verify(digest, WORD) is Verdict.RIGHT
    assert held.verify(digest, other) is Verdict.WRONG


@pytest.mark.parametrize("length", [72, 73, 128, 1024])
@pytest.mark.parametrize("pepper", ["", "a pepper of thirty-two characters"])
def test_v6_2_8_nothing_is_cut_off_a_long_password(length, pepper):
    held = hasher(pepper=pepper)
    digest = held.hash("x" * length)
    assert held.verify(digest, "x" * length)
    for other in ("x" * 71, "x" * (length - 1), "x" * (length + 1), "x" * (length - 1) + "y"):
        assert not held.verify(digest, other)


def test_texts_that_are_no_utf_8_are_wrong_and_no_fault_under_every_scheme():
    held = hasher()
    for digest in (held.hash(WORD), *(generate_password_hash(WORD, method=method) for method in WERKZEUG), None):
        assert held.verify(digest, "\ud800") is Verdict.WRONG
    assert held.verify(held.hash("\ud800"), "\ud800") is Verdict.RIGHT


@pytest.mark.parametrize(
    "digest", ["", "!", "plain", "$argon2id$broken", "$2b$12$abc", "pepper:", "scrypt:x$y$z", "pbkdf2:"]
)
def test_a_digest_of_no_known_scheme_is_wrong_and_no_fault(digest):
    assert hasher().verify(digest, WORD) is Verdict.WRONG


@pytest.mark.parametrize("cost", [(8, 1, 1), (64, 3, 1), (16, 1, 2), (64, 2, 4)])
@given(secret=st.binary(max_size=200), other=st.binary(max_size=200))
@settings(max_examples=25)
def test_v11_4_2_digests_are_those_of_the_reference_implementation(cost, secret, other):
    memory, passes, lanes = cost
    ours, reference = Argon2id(cost), PasswordHasher(passes, memory, lanes)
    for digest in (ours.hash(secret), reference.hash(secret)):
        assert reference.verify(digest, secret)
        assert ours.verify(digest, secret)
        assert not ours.is_outdated(digest)
        assert ours.verify(digest, other) is (other == secret)


@pytest.mark.parametrize(
    "variant", [{"type": Type.I}, {"type": Type.D}, {"salt_len": 8}, {"hash_len": 16}, {"hash_len": 64}]
)
def test_v11_2_2_digests_of_other_argon2_verify_and_ask_for_their_renewal(variant):
    digest = PasswordHasher(1, 8, 1, **variant).hash(WORD)
    assert hasher().verify(digest, WORD) is Verdict.RIGHT_OUTDATED
    assert hasher().verify(digest, "wrong") is Verdict.WRONG


@pytest.mark.parametrize(
    "spoilt", [("m=8", "m=7"), ("m=8", "m=0"), ("m=8", "m=08"), ("t=1", "t=0"), ("v=19", "v=16"), ("p=1", "p=0")]
)
def test_a_digest_whose_cost_was_written_over_is_wrong_and_no_fault(spoilt):
    held = hasher()
    assert held.verify(held.hash(WORD).replace(*spoilt), WORD) is Verdict.WRONG


# --- older schemes and costs -------------------------------------------------------------------------------


@pytest.mark.parametrize("method", WERKZEUG)
def test_rule_01_werkzeug_hashes_verify_and_ask_for_their_upgrade(method):
    held = hasher()
    digest = generate_password_hash(WORD, method=method)
    assert held.verify(digest, WORD) is Verdict.RIGHT_OUTDATED
    assert held.verify(digest, WORD + " ") is Verdict.WRONG


@pytest.mark.parametrize(
    "scheme",
    [
        "$argon2id$v=19$m=19456,t=999999,p=1",
        "pepper:12345678:$argon2id$v=19$m=8,t=4294967295,p=1",
        "$argon2i$m=8000000,t=1,p=4",
        "scrypt:1073741824:8:1",
        "scrypt:32768:8:1000000",
        "pbkdf2:sha256:1000000000000",
        "pbkdf2:sha256:00000000000000000000001000000000",
        f"pbkdf2:sha256:{'9' * 5000}",
    ],
)
def test_v15_2_2_a_row_that_was_brought_along_does_not_keep_the_one_thread_from_everybody(scheme):
    salt, raw = "c29tZXNhbHRzb21lc2FsdA", "A" * 43
    held = hasher()
    held.imitate([f"{scheme}${salt}${raw}"])
    assert held.verify(f"{scheme}${salt}${raw}", WORD) is Verdict.WRONG  # within the five seconds that it is waited for


@pytest.mark.parametrize("method", ["scrypt", "pbkdf2", "scrypt:131072:8:1"])
def test_what_others_hash_with_by_default_and_dearer_is_within_reach(method):
    assert hasher().verify(generate_password_hash(WORD, method), WORD)


def test_63b_3_1_1_2_24_v11_2_2_a_digest_of_another_cost_verifies_and_asks_for_its_renewal():
    cheap, dear = hasher(CHEAP), hasher(DEARER)
    assert dear.verify(cheap.hash(WORD), WORD) is Verdict.RIGHT_OUTDATED
    assert dear.verify(cheap.hash(WORD), "wrong") is Verdict.WRONG
    assert dear.verify(dear.hash(WORD), WORD) is Verdict.RIGHT


def test_63b_3_1_1_2_25_without_the_pepper_the_stored_digest_verifies_nothing():
    peppered, plain, other = hasher(pepper="p" * 32), hasher(), hasher(pepper="q" * 32)
    digest = peppered.hash(WORD)
    assert digest.startswith("pepper:")
    assert "p" * 32 not in digest
    assert peppered.verify(digest, WORD) is Verdict.RIGHT
    for stranger in (plain, other):
        assert stranger.verify(digest, WORD) is Verdict.WRONG
        assert stranger.verify(digest.rpartition("pepper:")[2][9:], WORD) is Verdict.WRONG


def test_63b_3_1_1_2_25_a_pepper_is_added_at_the_next_login():
    digest = hasher().hash(WORD)
    assert hasher(pepper="p" * 32).verify(digest, WORD) is Verdict.RIGHT_OUTDATED


def test_63b_3_1_1_2_25_a_rotated_pepper_is_replaced_at_the_next_login_and_may_go_then():
    old, new = "p" * 32, "q" * 32
    digest, rotated = hasher(pepper=old).hash(WORD), hasher(pepper=new, older=(old,))
    assert rotated.verify(digest, WORD) is Verdict.RIGHT_OUTDATED
    assert rotated.verify(digest, "wrong") is Verdict.WRONG
    assert not rotated.is_current(scheme_of(digest))
    renewed = rotated.hash(WORD)
    assert rotated.verify(renewed, WORD) is Verdict.RIGHT
    assert rotated.is_current(scheme_of(renewed))
    alone = hasher(pepper=new)
    assert (alone.verify(renewed, WORD), alone.verify(digest, WORD)) == (Verdict.RIGHT, Verdict.WRONG)
    given_up = hasher(older=(new,))
    assert given_up.verify(renewed, WORD) is Verdict.RIGHT_OUTDATED
    assert given_up.verify(given_up.hash(WORD), WORD) is Verdict.RIGHT


def test_the_scheme_of_a_digest_names_its_cost_and_nothing_of_password_or_salt():
    assert scheme_of(hasher().hash(WORD)) == "$argon2id$v=19$m=8,t=1,p=1"
    assert re.fullmatch(
        r"pepper:[0-9a-f]{8}\$argon2id\$v=19\$m=8,t=1,p=1", scheme_of(hasher(pepper="p" * 32).hash(WORD))
    )
    assert not hasher(pepper="p" * 32).is_current(scheme_of(hasher().hash(WORD)))
    assert [scheme_of(generate_password_hash(WORD, method=method)) for method in WERKZEUG] == WERKZEUG
    assert hasher().is_current(scheme_of(hasher().hash(WORD)))
    assert not hasher(DEARER).is_current(scheme_of(hasher().hash(WORD)))


# --- the dummy ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pepper", ["", "p" * 32])
@pytest.mark.parametrize("method", ["argon2", *WERKZEUG])
def test_rule_09_the_dummy_has_the_scheme_and_cost_of_most_rows(method, pepper):
    held, old = hasher(DEARER, pepper), hasher(CHEAP, pepper)
    common = old.hash(WORD) if method == "argon2" else generate_password_hash(WORD, method=method)
    held.imitate([common, held.hash(WORD), common])
    assert scheme_of(held._dummy_digest()) == scheme_of(common) != scheme_of(held.hash(WORD))
    assert held._dummy_digest() is held._dummy_digest()
    assert held.verify(None, WORD) is Verdict.WRONG


@pytest.mark.parametrize("method", ["argon2", "scrypt:8192:8:1", "pbkdf2:sha256:60000"])
def test_rule_09_the_dummy_costs_what_a_wrong_password_costs(method):
    held = hasher((16384, 2, 1))
    digest = held.hash(WORD) if method == "argon2" else generate_password_hash(WORD, method=method)
    held.imitate([digest])
    known, unknown = (min(_seconds(held, given) for _ in range(5)) for given in (digest, None))
    assert 0.5 < unknown / known < 2


def _seconds(held: Hasher, digest: str | None) -> float:
    before = time.process_time()
    assert held.verify(digest, "wrong") is Verdict.WRONG
    return time.process_time() - before


def test_rule_09_without_rows_the_dummy_has_the_present_cost():
    held = hasher(DEARER)
    held.imitate([])
    assert scheme_of(held._dummy_digest()) == scheme_of(held.hash(WORD))


@pytest.mark.parametrize(
    "digest", ["$2b$12$abcdefghijkl", "!", "scrypt:x$y$z", "$argon2id$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA"]
)
def test_rule_09_rows_of_no_known_scheme_leave_the_dummy_at_the_present_cost(digest):
    held = hasher(DEARER)
    held.imitate([digest] * 3)
    assert scheme_of(held._dummy_digest()) == scheme_of(held.hash(WORD))


# --- the pool ----------------------------------------------------------------------------------------------


class Blocker:
    """Work that lasts until it is let go."""

    def __init__(self) -> None:
        self.is_running = threading.Event()
        self._may_end = threading.Event()

    def __call__(self) -> str:
        self.is_running.set()
        self._may_end.wait(30)
        return "done"

    def end(self) -> None:
        self._may_end.set()


def _hold(pool: HashingPool, blocker: Blocker) -> None:
    with suppress(HashingBusyError):  # where a test shortens the wait, this thread may be cut short as well
        pool.run(blocker)


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.fixture
def busy_pool():
    """Return a pool whose one thread is at work, and what holds it."""
    pool, blocker = HashingPool(), Blocker()
    threads = [threading.Thread(target=_hold, args=(pool, blocker))]
    threads[0].start()
    blocker.is_running.wait(60)
    yield pool, blocker, threads
    blocker.end()
    for thread in threads:
        thread.join()


def test_rule_07_v15_2_2_two_may_wait_and_one_more_from_inside(busy_pool):
    pool, blocker, threads = busy_pool
    for is_inside in (False, False, True):
        threads.append(threading.Thread(target=pool.run, args=(str,), kwargs={"is_inside": is_inside}))
        threads[-1].start()
        _wait_until(lambda: pool._taken == len(threads))
        if len(threads) == 3:
            with pytest.raises(HashingBusyError):
                pool.run(str)
    with pytest.raises(HashingBusyError):
        pool.run(str, is_inside=True)
    blocker.end()
    _wait_until(lambda: pool._taken == 0)
    assert pool.run(lambda: "free again") == "free again"


def test_rule_07_a_wait_ends_and_its_place_is_free_again(busy_pool, monkeypatch):
    pool, blocker, _ = busy_pool
    assert hashing.WAIT_SECONDS == 5
    monkeypatch.setattr(hashing, "WAIT_SECONDS", 0.05)
    ran: list[int] = []
    with pytest.raises(HashingBusyError):
        pool.run(lambda: ran.append(1))
    assert pool._taken == 1
    blocker.end()
    _wait_until(lambda: pool._taken == 0)
    assert ran == []


def test_a_fault_in_the_work_reaches_its_caller_and_frees_the_place():
    pool = HashingPool()
    with pytest.raises(ZeroDivisionError):
        pool.run(lambda: 1 / 0)
    _wait_until(lambda: pool._taken == 0)
    assert pool.run(lambda: 1) == 1


def test_rule_07_one_thread_hashes_at_a_lower_priority():
    pool = HashingPool()
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    seen = {pool.run(lambda: (threading.get_ident(), os.getpriority(os.PRIO_PROCESS, 0))) for _ in range(5)}
    assert len(seen) == 1
    assert seen.pop()[1] == min(mine + hashing.NICENESS, 19) or mine == 19
    assert os.getpriority(os.PRIO_PROCESS, 0) == mine


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_rule_07_a_pool_used_before_a_fork_works_in_the_child(busy_pool):
    pool, _, _ = busy_pool
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, pool.run(lambda: str(os.getpid())).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    assert os.read(reading, 100).decode() == str(child)
    os.close(reading)
