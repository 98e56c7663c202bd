"""What somebody wrote at the database's own prompt is found by `verify`, and hides the log from nobody meanwhile."""

from __future__ import annotations

import json

import pytest
import sqlalchemy as sa

from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.clock import as_text
from tests.cli.conftest import Commands
from tests.http.people import come_in, services

EVENT = schema.event
PAGES = (
    "/admin",
    "/admin/audit",
    "/admin/audit?username=root",
    "/admin/audit?since=2020-01-01T00:00:00Z",
    "/admin/users/1",
    "/account/activity",
)


def counted(number: object, kind: object = "login.failed") -> dict[str, object]:
    """Return what a window that has just ended seems to tell."""
    return {"kind": "failures.counted", "detail": json.dumps({"kind": kind, "number": number, "until": "NOW"})}


@pytest.mark.parametrize(
    "written",
    [
        {"kind": "of.another.release"},
        {"at": 2**62},
        {"at": -(2**62)},
        {"detail": "[1"},
        {"kind": "audit.sealed", "detail": "[1"},
        {"kind": "audit.sealed", "detail": "[]"},
        {"kind": "role.granted", "detail": json.dumps({"until": 2**70})},
        counted("ABC", kind=["x"]),
        counted(float("inf")),
        counted(10**30),
        counted(10**15 - 1),
        counted(1.5),
        counted(-5),
    ],
    ids=str,
)
def test_v16_4_2_no_row_that_somebody_wrote_hides_the_log_and_verify_names_it(make_app, database_url, written):
    del database_url
    app = make_app()
    root = come_in(app, "root", "admin")
    if "detail" in written:
        now = as_text(services(app).clock.now())
        written = written | {"detail": written["detail"].replace("NOW", now).replace("Infinity", "1e999")}
    with services(app).database.unit() as connection:
        connection.execute(sa.update(EVENT).where(EVENT.c.kind == "login.succeeded").values(**written))
    assert {path: root.get(path).status_code for path in PAGES} == dict.fromkeys(PAGES, 200)
    run = Commands(app)
    assert len(run.json("audit", "list")) == 3
    assert "row 3" in run("audit", "verify").output
