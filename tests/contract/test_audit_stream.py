"""What the log is told of the audit log: every event once it is committed, and the head on a schedule (rule 27)."""

from __future__ import annotations

import json
import logging
from contextlib import suppress

import pytest

from flask_gatehouse.domain import audit
from flask_gatehouse.domain.audit import Event, stream
from flask_gatehouse.domain.audit.chain import line_of, link_hash
from flask_gatehouse.domain.sessions import Issued
from flask_gatehouse.kernel.identity import APP
from tests.support import house


def head_of(home: house.House) -> str:
    """Return the head as it stands in the database."""
    with home.services.reading() as connection:
        return home.services.audit.head(connection)


def heads(caplog):
    """Return the heads that the log was told, oldest first."""
    return [record.gatehouse["head"] for record in caplog.records if "head" in record.gatehouse]


def test_rule_27_v16_4_3_the_head_is_emitted_to_the_log_on_a_schedule(home, caplog):
    caplog.set_level(logging.INFO, "flask_gatehouse.audit")
    home.record()
    assert heads(caplog) == [head_of(home)]  # the first event of a process
    with home.services.unit() as unit:
        unit.events.extend([Event("logout", APP)] * (audit.EMIT_EVERY - 2))
    assert len(heads(caplog)) == 1
    with home.services.unit() as unit:
        unit.events.extend([Event("logout", APP)] * 2)
    assert heads(caplog)[1:] == [head_of(home)]
    home.later(minutes=59)
    home.record()
    assert len(heads(caplog)) == 2
    home.later(minutes=2)
    home.record()
    assert heads(caplog)[2:] == [head_of(home)]
    for head in heads(caplog):
        assert home.verified(head) == audit.EMIT_EVERY + 3
    assert f"audit chain head {head_of(home)}" in caplog.messages


def test_rule_27_v16_4_3_a_clock_that_was_ahead_for_a_moment_keeps_no_head_back(home, caplog):
    caplog.set_level(logging.INFO, "flask_gatehouse.audit")
    home.later(days=400)
    home.record()
    home.later(days=-400)
    home.record()
    assert heads(caplog)[1:] == [head_of(home)]
    home.record()
    assert len(heads(caplog)) == 2


def test_rule_27_v16_4_3_every_event_is_told_to_the_log_as_the_row_that_it_is(home, caplog):
    caplog.set_level(logging.INFO, "flask_gatehouse.audit")
    nasty = 'a\r\nb\x1b[31m "q" \\ \x85 \u2028 \U0001f9d9'
    with home.services.unit() as unit:
        unit.record(
            Event("login.failed", APP, None, house.source("::1", nasty), outcome="refused", detail={"a": nasty})
        )
        unit.record(Event("logout", APP))
    told = [record for record in caplog.records if "event" in record.gatehouse]
    assert [record.levelname for record in told] == ["INFO", "INFO"]
    last = audit.GENESIS
    for record, entry in zip(told, home.events(), strict=True):
        row = json.loads(record.getMessage().removeprefix("audit event "))
        assert record.getMessage().isprintable()
        assert record.getMessage().isascii()
        assert (row["id"], row["kind"], row["detail"]) == (entry.id, entry.kind, entry.detail)
        hash_ = row.pop("hash")
        last = link_hash(last, line_of(list(row.values())))
        assert hash_ == last.hex()  # a copy kept elsewhere proves what the table did


def test_v16_4_3_the_log_is_told_after_the_commit_and_never_of_what_was_undone(home, database_url):
    seen: list[int] = []
    other = house.build(database_url)

    class Looking(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            with other.services.reading() as connection:
                seen.append(len(other.services.audit.search(connection)))

    log, handler = logging.getLogger("flask_gatehouse.audit"), Looking()
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        with suppress(RuntimeError), home.services.unit() as unit:
            unit.record(Event("logout", APP))
            raise RuntimeError
        assert seen == []
        home.record()
        assert seen == [1, 1]  # the event and the first head: another connection sees the row by then
    finally:
        log.removeHandler(handler)
        log.setLevel(logging.NOTSET)
        house.close(other)


def test_v16_5_2_a_log_that_fails_after_the_commit_breaks_no_login_and_hides_no_later_event(home, capsys):
    heard: list[str] = []

    class Full(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())
            raise OSError("no space left")

    log, handler = logging.getLogger("flask_gatehouse.audit"), Full()
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        home.person()
        heard.clear()
        assert isinstance(home.log_in(), Issued)
        with home.services.unit() as unit:
            unit.record(Event("logout", APP))
            unit.record(Event("logout", APP))
    finally:
        log.removeHandler(handler)
        log.setLevel(logging.NOTSET)
    assert len([line for line in heard if line.startswith("audit event")]) == len(home.events()) - 1
    assert "OSError: no space left" in capsys.readouterr().err


def test_without_anybody_listening_nothing_is_made(home, monkeypatch, request):
    stream.log.setLevel(logging.WARNING)  # whatever a program that another test ran has set up
    request.addfinalizer(lambda: stream.log.setLevel(logging.NOTSET))
    monkeypatch.setattr(stream.log, "info", lambda *_, **__: pytest.fail("told"))
    home.record()
