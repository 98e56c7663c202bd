"""`gatehouse routes`."""

from __future__ import annotations

import json

import pytest
from flask import Flask

from flask_gatehouse import login_required, public, requires, role_required
from tests.cli.conftest import Commands, add_clerk


def add_routes(app, gate):
    add_clerk(app, gate)
    app.add_url_rule("/cash", "cash", requires("invoice:refund")(lambda: ""), methods=["POST"])


def table(make_app, setup=add_routes):
    return {row["rule"]: row for row in Commands(make_app(setup)).json("routes")}


def test_v8_1_1_every_route_is_listed_with_what_guards_it(make_app):
    rows = table(make_app)
    assert list(rows["/cash"]) == ["rule", "methods", "endpoint", "guard", "is_labelled", "error"]
    assert rows["/cash"]["methods"] == ["POST"]
    assert {rule: rows[rule]["guard"] for rule in ("/", "/protected", "/fresh", "/for-admins", "/cash")} == {
        "/": "public",
        "/protected": "login",
        "/fresh": "login, fresh",
        "/for-admins": "login, role admin",
        "/cash": "login, permission invoice:refund",
    }


def test_the_table_for_people_shows_the_same(make_app):
    lines = Commands(make_app(add_routes)).ok("routes").splitlines()
    (line,) = [line for line in lines if line.startswith("/cash")]
    assert line.split() == ["/cash", "POST", "cash", "login,", "permission", "invoice:refund", "own"]


def test_rule_19_static_files_and_our_own_pages_count_as_labelled(make_app):
    rows = table(make_app)
    assert rows["/static/<path:filename>"]["is_labelled"]
    assert [
        rule for rule, row in rows.items() if row["endpoint"].startswith("gatehouse.") and not row["is_labelled"]
    ] == []


def test_v8_2_1_strict_fails_on_every_route_without_a_label_of_its_own(make_app):
    run = Commands(make_app(add_routes))
    assert run("routes").exit_code == 0
    result = run("routes", "--strict")
    assert result.exit_code == 1
    named = {line.partition(":")[0] for line in result.stderr.splitlines()}
    assert named == {"/protected", "/async", "/change"}


@pytest.mark.parametrize("arguments", [(), ("--strict",), ("--json",)])
def test_a_label_that_is_lost_is_an_error_naming_the_line(make_app, arguments):
    def setup(app, gate):
        @login_required
        @app.get("/lost")
        def lost():
            return ""

    result = Commands(make_app(setup))("routes", *arguments)
    assert result.exit_code == 1
    assert "/lost" in result.stderr
    assert "test_routes.py" in result.stderr


def test_v8_1_1_a_permission_that_nobody_declared_is_an_error_naming_the_line(make_app):
    def setup(app, gate):
        app.get("/note", endpoint="note")(requires("note:wrte")(lambda: ""))
        gate.rule("note:raed")(lambda identity, note: True)

    run = Commands(make_app(setup))
    result = run("routes")
    assert result.exit_code == 1
    label, rule = result.stderr.splitlines()
    assert "'note:wrte'" in label
    assert "'note:raed'" in rule
    assert all("test_routes.py:" in line and "gate.permission(" in line for line in (label, rule))
    findings = json.loads(run("check", "--json").stdout)["findings"]
    assert {"/note", "rules"} <= {finding["subject"] for finding in findings}


def test_public_beside_another_label_is_an_error(make_app):
    def setup(app, gate):
        @app.get("/both")
        @public
        @role_required("admin")
        def both():
            return ""

    result = Commands(make_app(setup))("routes", "--json")
    assert result.exit_code == 1
    (row,) = [row for row in json.loads(result.stdout) if row["error"]]
    assert row["rule"] == "/both"


def test_an_app_that_refuses_to_serve_can_be_looked_at(make_app):
    assert Commands(make_app(add_routes, TESTING=False)).json("routes")


def test_an_app_without_gatehouse_says_so():
    assert Commands(Flask("bare")).refused("routes") == "Error: this app has no Gatehouse: add Gatehouse(app)\n"
