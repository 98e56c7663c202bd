"""What every contender offers: the same two routes, and a way in through its own door."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from argon2 import PasswordHasher
from flask import Flask
from flask.testing import FlaskClient

PUBLIC_PATH = "/public"
PROTECTED_PATH = "/protected"
PUBLIC_TEXT = "anyone may read this"
PROTECTED_TEXT = "only who is logged in may read this"

USERNAME = "bench.user"
PASSWORD = "seven quiet lanterns at 4"

#: What a secret must be in every contender: long enough for each of them to take it without a warning.
SECRET = "benchmarks-only-0123456789-0123456789-0123456789-0123456789"

#: Argon2id as Gatehouse has it by default: memory in KiB, passes, lanes.
COST = (19456, 2, 1)

PLAIN = "plain Flask"
NOTES = "notes' stack"
NOTES_POSTGRES = "notes' stack, PostgreSQL"
GATEHOUSE = "Gatehouse"
GATEHOUSE_FLASK_LOGIN = "Gatehouse, Flask-Login's label"
GATEHOUSE_POSTGRES = "Gatehouse, PostgreSQL"


def hasher() -> PasswordHasher:
    """The reference implementation, with which the peers hash, at `COST`."""
    memory, passes, lanes = COST
    return PasswordHasher(time_cost=passes, memory_cost=memory, parallelism=lanes)


@dataclass(frozen=True)
class Card:
    """What the table needs to know of a contender."""

    name: str
    #: False for plain Flask only, whose "protected" route is just a route.
    guards: bool = True
    #: The contender whose overhead counts as 1.
    peer: str = NOTES


@dataclass(frozen=True)
class Contender:
    """One app with both routes; `log_in` goes through its HTTP door and returns the headers that carry the login."""

    card: Card
    app: Flask
    log_in: Callable[[FlaskClient], Mapping[str, str]]


#: How to make a contender with an empty database.
Recipe = Callable[[], Contender]
