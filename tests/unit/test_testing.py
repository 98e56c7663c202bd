"""What the package gives to the tests of host apps."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flask import Flask

from flask_gatehouse import Gatehouse, SetupError, public
from flask_gatehouse.testing import FrozenClock, GatehouseClient, open_routes

PASSWORD = "correct horse battery"


def test_rule_36_the_kit_refuses_outside_tests(make_app):
    app = make_app()
    app.testing = False
    with pytest.raises(SetupError, match="TESTING"):
        GatehouseClient(app)
    with pytest.raises(SetupError, match="TESTING"):
        open_routes(app)


def test_the_client_logs_in_as_a_browser_would(make_app):
    app = make_app()
    app.test_client_class = GatehouseClient
    with app.app_context():
        app.extensions["gatehouse"].create_user("alice", PASSWORD)
    client = app.test_client()
    assert client.get("/account").status_code == 302
    assert client.log_in("alice", PASSWORD).status_code == 303
    assert client.get("/account").status_code == 200


def test_v8_2_1_the_attack_finds_no_open_route_and_tells_one_that_answers(make_app):
    def setup(app: Flask, _gate: Gatehouse) -> None:
        app.add_url_rule("/opened", "opened", public(lambda: "open"))
        app.add_url_rule("/closed/<int:number>", "closed", lambda number: f"number {number}")

    app = make_app(setup)
    assert open_routes(app) == []
    app.login_manager.unauthorized_handler(lambda: "a handler that lets guests in")
    assert "GET /closed/<int:number>" in open_routes(app)


def test_a_frozen_clock_goes_on_when_told():
    clock = FrozenClock(start=5)
    clock.advance(timedelta(seconds=1))
    assert clock.now() == 1_000_005
