"""The parts that other tests rest on do what they are trusted to do."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from jinja2 import DictLoader

from flask_gatehouse import Gatehouse
from tests.support import apps, modules
from tests.support.browser import axe_violations
from tests.support.flasks import QuickFlask
from tests.support.visitor import Answer, Visitor, csrf_token, submit


def test_every_test_has_a_database_of_its_own(postgres, postgres_url):
    engine = sa.create_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE mark (id integer)"))
        assert connection.execute(sa.text("SHOW server_version_num")).scalar_one().startswith("18")
    other = sa.create_engine(postgres.url(name := postgres.create_database()))
    with other.connect() as connection:
        assert not sa.inspect(connection).has_table("mark")
    engine.dispose()
    other.dispose()
    postgres.drop_database(name)


def test_a_server_of_ones_own_crashes_and_comes_back_with_its_rows(own_postgres):
    engine = sa.create_engine(own_postgres.url("postgres"), poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE mark AS SELECT 7 AS id"))
    own_postgres.stop("immediate")
    with pytest.raises(sa.exc.OperationalError):
        engine.connect()
    own_postgres.start()
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT id FROM mark")).scalar_one() == 7


def test_an_app_in_one_tests_folder_is_not_the_app_of_the_next(tmp_path, monkeypatch):
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "app.py").write_text(f"here = {name!r}\n", encoding="utf-8")
        with modules.forgotten(folder), monkeypatch.context() as patched:
            patched.syspath_prepend(str(folder))
            assert importlib.import_module("app").here == name
        assert "app" not in sys.modules


def test_a_killed_worker_is_replaced_and_the_others_go_on(serve):
    server = serve(workers=2)
    visitor = Visitor(server.url)
    dead = server.kill_worker()
    assert visitor.get("/").text == "open"
    server.wait_for_workers(2, without=dead)
    assert {int(visitor.get("/process").text) for _ in range(40)} <= set(server.worker_pids())


@pytest.mark.usefixtures("database_url")
def test_the_tiny_app_stands_behind_the_gate_on_both_databases(make_app):
    app = make_app()
    with app.app_context():
        app.extensions["gatehouse"].create_user("alice", password="correct horse battery")
    client = app.test_client()
    assert client.get("/").text == "open"
    assert client.get("/protected").status_code == 302
    assert submit(client, "/login", username="alice", password="correct horse battery").status_code == 303
    assert [client.get(path).text for path in ("/protected", "/async", "/fresh")] == [
        "inside: alice",
        "inside: alice",
        "fresh",
    ]
    assert client.get("/for-admins").status_code == 403


def test_visitors_meet_the_same_app_in_other_processes(serve, database_url):
    server = serve(config={"GATEHOUSE_DATABASE_URL": database_url}, workers=2)
    visitor = Visitor(server.url, source="127.0.0.7")
    assert visitor.register("alice", "correct horse battery").status == 303
    assert visitor.log_in("alice", "correct horse battery").status == 303
    assert visitor.get("/protected").text == "inside: alice"
    thief = visitor.copy()
    assert visitor.log_out().status == 303
    assert {thief.get("/protected").status for _ in range(10)} == {302}


def test_a_visitor_keeps_and_drops_cookies_as_told():
    visitor = Visitor("http://127.0.0.1:1")
    visitor._keep_cookies(Answer(200, [("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2; HttpOnly")], b""))
    assert visitor.cookies == {"a": "1", "b": "2"}
    thief = visitor.copy()
    visitor._keep_cookies(Answer(200, [("Set-Cookie", "a=; Max-Age=0; Path=/")], b""))
    assert visitor.cookies == {"b": "2"}
    assert thief.cookies == {"a": "1", "b": "2"}


def test_a_forms_token_is_found_wherever_it_stands():
    assert csrf_token('<form><input type="hidden" value="x&amp;y" name="csrf_token"></form>') == "x&y"
    with pytest.raises(AssertionError, match="no csrf_token"):
        csrf_token('<form><input name="username"></form>')


def test_apps_that_are_made_quickly_build_the_same_urls_as_any():
    quick, plain = QuickFlask("tests.support.apps"), Flask("tests.support.apps")
    for app in (quick, plain):
        app.config.update(apps.DEFAULTS, GATEHOUSE_DATABASE_URL="sqlite://", SERVER_NAME="app.example")
        Gatehouse(app)
        app.add_url_rule("/pages/<int:number>/<path:rest>", "some", defaults={"kind": "x y"})
    rules = list(plain.url_map.iter_rules())
    assert len(rules) > 40
    for rule in rules:
        values: dict[str, Any] = {name: "x y" if name == "kind" else 7 for name in rule.arguments} | {"q": "a&b"}
        with quick.app_context():
            built = quick.url_for(rule.endpoint, **values)
        with plain.app_context():
            assert built == plain.url_for(rule.endpoint, **values)


def test_a_template_that_has_changed_is_compiled_anew():
    for text, shown in (("one {{ 1 + 1 }}", "one 2"), ("two {{ 2 + 2 }}", "two 4"), ("one {{ 1 + 1 }}", "one 2")):
        environment = QuickFlask("tests.support.apps").jinja_env
        assert DictLoader({"page": text}).load(environment, "page").render() == shown


def test_axe_finds_what_it_should(page):
    page.set_content("<html lang=en><title>t</title><main><h1>t</h1><img src='data:,'></main></html>")
    assert [line.split(":")[0] for line in axe_violations(page)] == ["image-alt"]
