"""Authenticator apps of the tests' people: enrolled through the flows, codes made by pyotp."""

from __future__ import annotations

from typing import Any

import pyotp
from flask import Flask

from flask_gatehouse.flows.seeds import totp_of
from flask_gatehouse.flows.services import Services
from flask_gatehouse.kernel.clock import Instant
from flask_gatehouse.kernel.sealed import Sealed
from tests.support.people import services_of

ON = {"GATEHOUSE_FEATURES": "totp,recovery_codes"}
STEP = 30 * 1_000_000


def enrol(held: Services, user_id: int) -> str:
    """Give a user an authenticator app, past all pages, and return its seed; no code of it is used yet."""
    factor = totp_of(held)
    assert factor is not None
    seed = factor.new_seed()
    with held.unit() as unit:
        factor.enrol(unit.connection, user_id, seed, 0, unit.now)
    return seed


def sealed_of(row: Any) -> Sealed:
    """Return the sealed seed of a row."""
    return Sealed(row.key_id, bytes(row.sealed))


def code_at(seed: str, now: Instant, steps: int = 0) -> str:
    """Return the code of an instant, or of some steps later."""
    return pyotp.TOTP(seed).generate_otp(now // STEP + steps)


def code_now(app: Flask, seed: str, steps: int = 0) -> str:
    """Return the code that the app shows now."""
    return code_at(seed, services_of(app).clock.now(), steps)
