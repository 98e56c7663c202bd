"""Sealed texts: what was changed or moved opens no more, and no nonce comes twice."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_gatehouse.kernel.errors import LostKeyError
from flask_gatehouse.kernel.keys import KeyRing
from flask_gatehouse.kernel.sealed import Sealed
from flask_gatehouse.kernel.sealing import NONCE_BYTES, Sealer

RING = KeyRing("a secret of these tests, long enough")
SEALER = Sealer(RING, "totp-seed")
SEED = b"JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"


@given(st.integers(0, 8 * (NONCE_BYTES + len(SEED) + 16) - 1))
def test_v11_3_3_any_changed_bit_of_a_sealed_text_is_found(bit):
    key_id, text = SEALER.seal(SEED, "1")
    assert SEALER.open(Sealed(key_id, text), "1") == SEED
    changed = (int.from_bytes(text) ^ 1 << bit).to_bytes(len(text))
    with pytest.raises(LostKeyError):
        SEALER.open(Sealed(key_id, changed), "1")


@pytest.mark.parametrize("shortened", [b"", b"x", b"x" * NONCE_BYTES, b"x" * (NONCE_BYTES + 15)])
def test_v11_3_3_what_is_too_short_to_be_sealed_is_refused_like_any_other(shortened):
    with pytest.raises(LostKeyError):
        SEALER.open(Sealed(RING.ids()[0], shortened), "1")


def test_v11_3_3_a_text_of_another_owner_or_purpose_opens_no_more():
    sealed = SEALER.seal(SEED, "1")
    for sealer, owner in ((SEALER, "2"), (SEALER, ""), (Sealer(RING, "another purpose"), "1")):
        with pytest.raises(LostKeyError):
            sealer.open(sealed, owner)


def test_v11_3_4_of_a_hundred_thousand_nonces_none_comes_twice_and_no_caller_chooses_one():
    nonces = {SEALER.seal(b"", "1").text[:NONCE_BYTES] for _ in range(100_000)}
    assert len(nonces) == 100_000
    assert {len(nonce) for nonce in nonces} == {NONCE_BYTES}
    assert list(inspect.signature(SEALER.seal).parameters) == ["text", "owner"]
