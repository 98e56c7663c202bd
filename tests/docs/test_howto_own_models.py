"""The how-to about own models, run as it stands, on both databases."""

from __future__ import annotations

import importlib
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect

from flask_gatehouse import SchemaOutdatedError
from tests.docs import pages, shell
from tests.support import modules
from tests.support.visitor import csrf_token, submit

PAGE = pages.page("howto/own-models.md")
PASSWORD = "correct horse battery"
CONFIG = {
    "TESTING": True,
    "SECRET_KEY": "a secret of the tests, long enough to be taken for one",
    "GATEHOUSE_ARGON2": "1024,1,1",
}


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """Return the module of the page's app, all files of the page beside it once they are written."""
    (tmp_path / "shop.py").write_text(pages.files(PAGE)["shop.py"], encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    with modules.forgotten(tmp_path):
        yield importlib.import_module("shop")


def test_the_page_works_as_it_stands(shop, tmp_path, empty_database_url):
    env = {"FLASK_SQLALCHEMY_DATABASE_URI": empty_database_url}
    for block in pages.blocks(PAGE):
        if block.language == "console":
            shell.run(block.text, tmp_path, env=env)
        if block.file:
            (tmp_path / block.file).write_text(block.text, encoding="utf-8")

    _require_that_only_the_invoices_were_made(tmp_path, empty_database_url)
    shell.run_one("alembic check", tmp_path, env=env)  # a second autogenerate finds nothing to do
    with _app(shop, empty_database_url) as app:
        _require_that_rows_belong_to_users(app, shop)
        with app.app_context():
            shop.db.create_all()


def test_create_all_before_our_tables_names_the_mend(shop, empty_database_url):
    refusal = pytest.raises(SchemaOutdatedError, match="gatehouse db upgrade")
    with _app(shop, empty_database_url) as app, app.app_context(), refusal:
        shop.db.create_all()


@contextmanager
def _app(shop, url):
    app = shop.create_app({**CONFIG, "SQLALCHEMY_DATABASE_URI": url})
    try:
        yield app
    finally:
        shop.gate.services(app).database.close()


def _require_that_only_the_invoices_were_made(folder: Path, url: str) -> None:
    (revision,) = (folder / "migrations" / "versions").glob("*_invoices.py")
    upgrade = revision.read_text(encoding="utf-8").partition("def upgrade")[2].partition("def downgrade")[0]
    assert "create_table('invoice'" in upgrade
    assert upgrade.count("_table") == 1

    engine = create_engine(url)
    found = inspect(engine)
    (key,) = found.get_foreign_keys("invoice")
    assert (key["referred_table"], key["referred_columns"]) == ("gatehouse_user", ["id"])
    assert {"gatehouse_user", "gatehouse_event", "gatehouse_version"} <= set(found.get_table_names())
    engine.dispose()


def _require_that_rows_belong_to_users(app, shop) -> None:
    with app.app_context():
        for name in ("alice", "bob"):
            shop.gate.create_user(name, PASSWORD)
    clients = {name: app.test_client() for name in ("alice", "bob")}
    for name, client in clients.items():
        assert client.get("/invoices").location == "/login?next=/invoices"
        assert submit(client, "/login", username=name, password=PASSWORD).status_code == 303
        token = csrf_token(client.get("/account").get_data(as_text=True))
        assert client.post(f"/invoices/of-{name}", headers={"X-CSRFToken": token}).status_code == 201
    assert clients["alice"].get("/invoices").json == ["of-alice"]
    assert clients["bob"].get("/everybodys-invoices").json == [["alice", "of-alice"], ["bob", "of-bob"]]
