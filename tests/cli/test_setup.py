"""`gatehouse init`; the first test and the last through the real program."""

from __future__ import annotations

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest
from dotenv import dotenv_values
from flask import Flask

from tests.cli.conftest import PASSWORD, Commands
from tests.support.apps import SECRET

FROM_FILE = "from flask import Flask\napp = Flask(__name__)\n"


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def site(make_app, database_url):
    """Return commands on an app without users."""
    return Commands(make_app(SECRET_KEY=SECRET))


def test_rule_30_a_fresh_secret_and_a_closed_folder_are_made_whatever_the_umask(program, tmp_path):
    before = os.umask(0)
    try:
        result = program("init")
    finally:
        os.umask(before)
    assert (result.returncode, result.stderr) == (0, "")
    assert mode(tmp_path / ".env") == 0o600
    assert mode(tmp_path / "instance") == 0o700
    made = dotenv_values(tmp_path / ".env")
    assert len(made["GATEHOUSE_SECRET_KEY"] or "") == 43
    assert made["GATEHOUSE_ORIGINS"] == "http://127.0.0.1:5000,http://localhost:5000"
    assert str(made["GATEHOUSE_SECRET_KEY"]) not in result.stdout


@pytest.mark.parametrize("kind", ["file", "empty file", "link to nothing"])
def test_rule_30_an_env_file_that_exists_is_never_overwritten(in_folder, tmp_path, kind):
    path = tmp_path / ".env"
    if kind == "link to nothing":
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.write_text("GATEHOUSE_CSP=mine\n" if kind == "file" else "", encoding="utf-8")
    before = path.read_bytes() if path.exists() else None
    result = in_folder("init", "--origin", "https://app.example")
    assert result.exit_code == 0
    assert ".env exists: left as it is." in result.stdout
    assert (path.read_bytes() if path.exists() else None) == before
    assert not (tmp_path / "elsewhere").exists()


def test_rule_30_one_of_many_writes_the_env_file(program, tmp_path):
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda _: program("init"), range(3)))
    assert [result.returncode for result in results] == [0] * 3
    assert sum(".env was made" in result.stdout for result in results) == 1
    assert len((tmp_path / ".env").read_text(encoding="utf-8").splitlines()) == 3


def test_two_secrets_are_never_alike(in_folder, tmp_path):
    secrets = set()
    for _ in range(3):
        in_folder("init")
        secrets.add(dotenv_values(tmp_path / ".env")["GATEHOUSE_SECRET_KEY"])
        (tmp_path / ".env").unlink()
    assert len(secrets) == 3


def test_the_origin_and_the_app_are_written_down(program, tmp_path):
    (tmp_path / "shop.py").write_text(FROM_FILE, encoding="utf-8")
    assert program("--app", "shop", "init", "--origin", "https://Shop.example/").returncode == 0
    made = dotenv_values(tmp_path / ".env")
    assert (made["GATEHOUSE_ORIGINS"], made["FLASK_APP"]) == ("https://shop.example", "shop")


@pytest.mark.parametrize("origin", ["shop.example", "ftp://shop.example", "https://shop.example/path", "javascript:x"])
def test_an_origin_that_is_none_is_a_usage_error_and_makes_nothing(in_folder, tmp_path, origin):
    assert in_folder("init", "--origin", origin).exit_code == 2
    assert not (tmp_path / ".env").exists()


def test_no_app_is_needed(in_folder):
    result = in_folder("init")
    assert "No app was found" in result.stdout
    assert "gatehouse user create NAME --role admin" in result.stdout


def test_an_app_without_gatehouse_is_told_how_to_get_one(in_folder, tmp_path):
    result = in_folder("init", app=lambda: Flask("bare", instance_path=str(tmp_path / "instance")))
    assert (result.exit_code, "add Gatehouse(app)" in result.stdout) == (0, True)


def test_a_broken_app_does_not_stop_the_rest(in_folder, tmp_path):
    (tmp_path / "app.py").write_text("import nothing_of_this_name\n", encoding="utf-8")
    result = in_folder("init")
    assert (result.exit_code, (tmp_path / ".env").exists()) == (0, True)
    assert "nothing_of_this_name" in result.stderr


def test_rule_25_the_first_administrator_is_made_and_spends_the_claim(site):
    options = ("--admin", "Root", "--email", "r@example.org", "--reason", "day one")
    assert "Root is the first administrator." in site.ok("init", *options, stdin=f"{PASSWORD}\n")
    (user,) = site.json("user", "list")
    assert (user["username"], user["email"], user["roles"]) == ("Root", "r@example.org", ["admin"])
    with site.services.reading() as connection:
        assert not site.services.roles.is_first_admin_open(connection)
    assert site.events("user.created")[0]["detail"] == {"reason": "day one"}


def test_there_is_one_first_administrator(site):
    site.ok("init", "--admin", "root", stdin=f"{PASSWORD}\n")
    again = site("init", "--admin", "other", stdin=f"{PASSWORD}\n")
    assert (again.exit_code, "already" in again.stderr) == (1, True)
    assert "There is an administrator already." in site.ok("init")
    assert len(site.json("user", "list")) == 1


@pytest.mark.parametrize("password", ["", "root", "password", "short"])
def test_v6_3_2_the_first_administrator_has_no_blank_default_or_listed_password(site, password):
    result = site("init", "--admin", "root", stdin=f"{password}\n")
    assert (result.exit_code, result.stderr.startswith("Error: password: ")) == (1, True)
    assert site.json("user", "list") == []


def test_a_name_that_cannot_be_one_makes_nothing(site, tmp_path):
    assert site("init", "--admin", "r t", stdin=f"{PASSWORD}\n").exit_code == 1
    assert not (tmp_path / ".env").exists()


def test_an_administrator_needs_an_app(in_folder):
    result = in_folder("init", "--admin", "root", stdin=f"{PASSWORD}\n")
    assert (result.exit_code, "--app" in result.stderr) == (2, True)


def test_a_script_without_an_administrator_is_told_how_to_make_one(site):
    assert "gatehouse user create NAME --role admin" in site.ok("init")


def test_tables_are_made_where_there_are_none(make_app, empty_database_url):
    bare = Commands(make_app(SECRET_KEY=SECRET, GATEHOUSE_DATABASE_URL=empty_database_url))
    bare.ok("init", "--admin", "root", stdin=f"{PASSWORD}\n")
    assert bare.json("user", "list")[0]["roles"] == ["admin"]


def test_the_app_that_init_has_set_up_passes_the_check(program, app_file):
    made = program("init", "--admin", "root", stdin=f"{PASSWORD}\n")
    assert (made.returncode, made.stderr) == (0, "")
    assert json.loads(program("user", "list", "--json").stdout)[0]["roles"] == ["admin"]
    result = program("check")
    assert (result.returncode, result.stderr) == (0, "")
    assert "All is well." in result.stdout
