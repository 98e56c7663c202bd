"""The key ring: a key for each purpose, older secrets that verify and sign nothing new."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from flask_gatehouse.kernel.keys import KeyRing, new_public_id, new_secret, secret_digest

OLD, NEW = "the older secret, 32 characters long", "the newer secret, 32 characters long"
PURPOSES = [
    *("csrf", "csrf-seed", "guest-cookie", "throttle-name", "first-admin-code"),
    *("audit-head", "audit-export", "audit-segment"),
]


def test_each_purpose_has_a_key_of_its_own_and_none_is_the_secret():
    keys = {purpose: KeyRing(NEW).keys(purpose)[0] for purpose in PURPOSES}
    assert len(set(keys.values())) == len(PURPOSES)
    assert all(len(key) == 32 and NEW.encode() not in key for key in keys.values())


def test_a_mac_made_for_one_purpose_fits_no_other():
    ring = KeyRing(NEW)
    mac = ring.mac("csrf", b"data")
    assert ring.verify("csrf", b"data", mac)
    assert [purpose for purpose in PURPOSES if ring.verify(purpose, b"data", mac)] == ["csrf"]


@given(st.binary(max_size=64), st.integers(0, 255), st.integers(0, 31))
def test_v11_4_3_any_changed_bit_of_data_or_mac_is_found(data, flip, position):
    ring = KeyRing(NEW)
    mac = bytearray(ring.mac("csrf", data))
    assert bytes(mac) == hmac.digest(ring.keys("csrf")[0], data, hashlib.sha256)
    mac[position] ^= flip
    assert ring.verify("csrf", data, bytes(mac)) is (flip == 0)
    assert not ring.verify("csrf", data + b"x", ring.mac("csrf", data))


def test_v11_2_2_after_a_rotation_old_macs_verify_and_new_ones_are_made_with_the_new_secret():
    before, after = KeyRing(OLD), KeyRing(NEW, (OLD,))
    old_mac = before.mac("audit-head", b"data")
    assert after.verify("audit-head", b"data", old_mac)
    assert after.mac("audit-head", b"data") == KeyRing(NEW).mac("audit-head", b"data") != old_mac
    assert not before.verify("audit-head", b"data", after.mac("audit-head", b"data"))


def test_v13_3_4_once_the_fallback_is_gone_its_macs_are_refused():
    old_mac = KeyRing(OLD).mac("audit-head", b"data")
    assert not KeyRing(NEW).verify("audit-head", b"data", old_mac)


def test_the_present_key_stands_first_and_fallbacks_follow_in_order():
    ring = KeyRing(NEW, (OLD, "oldest"))
    assert ring.keys("csrf") == tuple(KeyRing(secret).keys("csrf")[0] for secret in (NEW, OLD, "oldest"))


def test_v11_7_2_a_key_ring_shows_no_secret():
    ring = KeyRing(NEW, (OLD,))
    ring.keys("csrf")
    assert repr(ring) == str(ring) == "<KeyRing of 2>"


def test_a_keyed_digest_hides_the_text_and_differs_with_purpose_and_key():
    digests = {
        KeyRing(NEW).digest("throttle-name", "alice"),
        KeyRing(NEW).digest("throttle-name", "alicf"),
        KeyRing(NEW).digest("csrf-seed", "alice"),
        KeyRing(OLD).digest("throttle-name", "alice"),
    }
    assert len(digests) == 4
    assert all(len(digest) == 32 and int(digest, 16) >= 0 for digest in digests)
    assert hashlib.sha256(b"alice").hexdigest()[:32] not in digests


def test_texts_that_are_no_utf_8_have_a_digest_all_the_same():
    assert KeyRing("\udcff" * 32).digest("throttle-name", "\ud800") != KeyRing(NEW).digest("throttle-name", "\ud800")
    assert len(secret_digest("\ud800")) == 32


def test_v7_2_3_63b_3_2_12_1_secrets_are_256_random_bits_and_never_repeat():
    made = [new_secret() for _ in range(10_000)]
    raw = [base64.urlsafe_b64decode(secret + "=") for secret in made]
    assert {len(secret) for secret in made} == {43}
    assert {len(value) for value in raw} == {32}
    assert len(set(raw)) == len(raw)
    ones = sum(int.from_bytes(value).bit_count() for value in raw)
    assert abs(ones / (256 * len(raw)) - 0.5) < 0.002  # 6 standard deviations are 0.0019


def test_v7_2_3_what_is_stored_of_a_secret_is_its_sha_256():
    secret = new_secret()
    assert secret_digest(secret) == hashlib.sha256(secret.encode()).digest()


def test_public_ids_are_no_secrets_and_unique():
    made = {new_public_id() for _ in range(10_000)}
    assert len(made) == 10_000
    assert {len(public_id) for public_id in made} == {16}


def test_v11_5_2_processes_forked_from_one_make_different_secrets():
    program = (
        "import os\n"
        "from flask_gatehouse.kernel.keys import new_secret\n"
        "new_secret()\n"
        "for _ in range(3):\n"
        "    if os.fork() == 0:\n"
        "        os.write(1, (new_secret() + '\\n').encode()); os._exit(0)\n"
        "    os.wait()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ)
    assert len(set(done.stdout.split())) == 3
