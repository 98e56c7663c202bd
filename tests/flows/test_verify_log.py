"""Verifying the newest rows is recorded, and a chain that broke is told even where it takes no further row."""

from __future__ import annotations

import json
import logging

import pytest
import sqlalchemy as sa

from flask_gatehouse.domain.audit import Finding, Verified
from flask_gatehouse.flows import verify_log
from flask_gatehouse.flows.outcomes import Refused
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.identity import Actor
from tests.support.house import HERE

EVENT, HEAD = schema.event, schema.chain_head
ROOT = Actor(1, "root")


@pytest.fixture
def chain(home):
    """Return a house with twelve events, some more than one request walks."""
    for number in range(12):
        home.record(user_id=number)
    return home


@pytest.fixture(autouse=True)
def few_rows(monkeypatch):
    monkeypatch.setattr(verify_log, "ROWS_AT_MOST", 10)


def verify(home, head=""):
    return verify_log.verify_newest(home.services, ROOT, head, HERE)


def test_rule_27_a_verification_is_recorded_with_what_it_covered(chain):
    found = verify(chain)
    assert isinstance(found, Verified)
    assert not found.is_whole
    (entry,) = chain.events("audit.verified")
    assert (entry.actor_id, entry.actor, entry.address, entry.outcome) == (1, "root", HERE.address, "ok")
    assert json.loads(entry.detail) == {"first": 3, "last": 12, "head": str(found.end)}
    assert isinstance(verify(chain, str(found.end)), Verified)
    assert chain.verified(str(found.end)) == 14


def test_rule_27_v16_4_2_a_chain_that_broke_is_logged_as_an_error_and_recorded(chain, caplog):
    chain.change(sa.update(EVENT).where(EVENT.c.id == 7).values(kind="user.created"))
    with caplog.at_level(logging.INFO, "flask_gatehouse.audit"):
        found = verify(chain)
    assert found == Finding(7, "row 7 or one before it was changed")
    (line,) = [line for line in caplog.records if line.levelno > logging.INFO]
    assert (line.levelname, line.getMessage()) == (
        "ERROR",
        "the audit chain does not agree: row 7 or one before it was changed",
    )
    (entry,) = chain.events("audit.verified")
    assert entry.outcome == "refused"
    assert json.loads(entry.detail) == {"row": 7, "finding": "row 7 or one before it was changed"}


@pytest.mark.parametrize("harm", [sa.delete(HEAD), sa.update(HEAD).values(event_id=5)])
def test_rule_27_a_chain_that_takes_no_row_any_more_is_told_all_the_same(chain, caplog, harm):
    chain.change(harm)
    found = verify(chain)
    assert isinstance(found, Finding)
    assert found.event_id == 0
    assert [line.getMessage() for line in caplog.records if line.levelname == "ERROR"] == [
        f"the audit chain does not agree: {found.text}",
        "the finding could not be recorded in the chain itself",
    ]
    assert chain.events("audit.verified") == []


@pytest.mark.parametrize("head", ["x", "12:00", "\u0661:" + "0" * 64])
def test_a_head_that_is_none_is_refused_and_recorded_nowhere(chain, head):
    found = verify(chain, head)
    assert isinstance(found, Refused)
    assert (found.field, found.text[:17]) == ("head", "A head looks like")
    assert chain.events("audit.verified") == []
