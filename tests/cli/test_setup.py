"""`gatehouse init`; the first test and the last through the real program."""

from __future__ import annotations

import json
import os
import re
import resource
import shlex
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from dotenv import dotenv_values
from flask import Flask

from flask_gatehouse import features
from flask_gatehouse.cli import setup
from tests.cli.conftest import PASSWORD, PROGRAM, Commands
from tests.support.apps import SECRET
from tests.support.processes import clean_environment, free_port
from tests.support.visitor import Visitor

FACTORY = """
from flask import Flask
from flask_gatehouse import Gatehouse

def create_app():
    app = Flask(__name__)
    Gatehouse(app)
    return app
"""
FROM_FILE = "from flask import Flask\napp = Flask(__name__)\n"
START = re.compile(r"^Start it with: (.*)$", re.MULTILINE)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def bare(tmp_path):
    """Return a maker of an app without Gatehouse."""
    return lambda: Flask("bare", instance_path=str(tmp_path / "instance"))


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
    assert result.returncode == 0
    assert mode(tmp_path / ".env") == 0o600
    assert mode(tmp_path / "instance") == 0o700
    made = dotenv_values(tmp_path / ".env")
    assert len(made["GATEHOUSE_SECRET_KEY"] or "") == 43
    assert made["GATEHOUSE_PROFILE"] == "default"
    assert made["GATEHOUSE_ORIGINS"] == "http://127.0.0.1:5000,http://localhost:5000"
    assert str(made["GATEHOUSE_SECRET_KEY"]) not in result.stdout


@pytest.mark.parametrize("kind", ["file", "empty file", "link to nothing"])
def test_rule_30_an_env_file_that_exists_is_never_overwritten(in_folder, bare, tmp_path, kind):
    path = tmp_path / ".env"
    if kind == "link to nothing":
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.write_text("GATEHOUSE_CSP=mine\n" if kind == "file" else "", encoding="utf-8")
    before = path.read_bytes() if path.exists() else None
    result = in_folder("init", "--origin", "https://app.example", app=bare)
    assert result.exit_code == 0
    assert ".env exists: left as it is." in result.stdout
    assert (path.read_bytes() if path.exists() else None) == before
    assert not (tmp_path / "elsewhere").exists()


def test_rule_30_one_of_many_writes_the_env_file(program, tmp_path):
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda _: program("init"), range(3)))
    assert [result.returncode for result in results] == [0] * 3
    assert sum(".env was made" in result.stdout for result in results) == 1
    assert len((tmp_path / ".env").read_text(encoding="utf-8").splitlines()) == 4


def test_two_secrets_are_never_alike(in_folder, bare, tmp_path):
    secrets = set()
    for _ in range(3):
        in_folder("init", app=bare)
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


def test_v13_2_3_what_init_has_set_up_in_an_empty_folder_runs_safely_by_the_command_that_it_prints(
    program, run_server, tmp_path
):
    port = free_port()
    made = program("init", "--origin", f"http://127.0.0.1:{port}", "--admin", "root", stdin=f"{PASSWORD}\n")
    assert made.returncode == 0, made.stderr
    assert all(json.loads(line) for line in made.stderr.splitlines())  # the app's own log, and nothing else
    assert PASSWORD not in made.stdout + made.stderr
    (command,) = START.findall(made.stdout)
    name, *arguments = shlex.split(command)
    server = run_server([Path(sys.executable).with_name(name), *arguments], port=port, ready_path="/login")
    root = Visitor(server.url)
    assert root.get("/").location == "/login?next=/"
    assert root.log_in("root", PASSWORD).location == "/"
    assert "Hello root" in root.get("/").text
    assert root.get("/admin").status == 200
    lines = [json.loads(line) for line in server.tail().splitlines() if line.startswith("{")]
    assert "login.succeeded" in [line["event"]["kind"] for line in lines if "event" in line]
    checked = program("check", "--json")
    assert checked.returncode == 0, checked.stdout
    assert [(finding["finding"], finding["subject"]) for finding in json.loads(checked.stdout)["findings"]] == [
        ("advised-setting", "GATEHOUSE_MAIL_URL"),
        ("advised-setting", "GATEHOUSE_SUPPORT"),
        ("one-administrator", "administrators"),
    ]


def test_a_second_run_leaves_what_is_there_and_says_so(program, tmp_path):
    program("init", "--admin", "root", stdin=f"{PASSWORD}\n")
    before = {path: path.read_bytes() for path in (tmp_path / ".env", tmp_path / "app.py")}
    again = program("init")
    assert (again.returncode, again.stderr) == (0, "")
    for said in (".env exists: left as it is.", "app.py exists: left as it is.", "There is an administrator already."):
        assert said in again.stdout
    assert START.search(again.stdout)
    assert {path: path.read_bytes() for path in before} == before


def test_the_strict_profile_gets_its_pepper_and_passes_the_check(program, tmp_path):
    options = ("--origin", "https://app.example", "--profile", "strict", "--admin", "root")
    made = program("init", *options, stdin=f"{PASSWORD}\n")
    assert made.returncode == 0, made.stderr
    settings = dotenv_values(tmp_path / ".env")
    assert settings["GATEHOUSE_PROFILE"] == "strict"
    assert len(settings["GATEHOUSE_PEPPER"] or "") == 43
    assert settings["GATEHOUSE_FEATURES"] == "totp,recovery_codes"  # of administrators a second factor is demanded
    assert "--port 8000 " in START.findall(made.stdout)[0]  # a proxy ends TLS in front of it
    assert program("check").returncode == 0


def test_the_strict_profile_says_what_to_install_where_nothing_makes_codes(in_folder, monkeypatch, tmp_path):
    monkeypatch.setattr(setup, "FACTOR_PACKAGES", ("a_package_that_is_not_there",))
    made = in_folder("init", "--origin", "https://app.example", "--profile", "strict")
    assert "flask-gatehouse[totp]" in made.stderr
    assert "GATEHOUSE_FEATURES" not in dotenv_values(tmp_path / ".env")
    assert set(features.IMPORTS["totp"]) == {"cryptography", "pyotp", "segno"}


def test_an_app_that_refuses_to_serve_gets_no_command_but_the_mend(make_app, database_url):
    run = Commands(make_app(TESTING=False, GATEHOUSE_ORIGINS=""))
    result = run("init", "--admin", "root", stdin=f"{PASSWORD}\n")
    assert START.search(result.stdout) is None
    assert "GATEHOUSE_ORIGINS: missing" in result.stderr


def test_an_app_of_a_factory_is_started_by_flask(program, tmp_path):
    (tmp_path / "shop.py").write_text(FACTORY, encoding="utf-8")
    made = program("--app", "shop:create_app", "init", "--origin", "http://127.0.0.1:5001")
    assert START.findall(made.stdout) == ["flask --app shop:create_app run --port 5001"]


def test_an_app_without_gatehouse_is_told_how_to_get_one(in_folder, bare):
    result = in_folder("init", app=bare)
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


def test_an_administrator_needs_an_app_behind_gatehouse(in_folder, bare):
    result = in_folder("init", "--admin", "root", app=bare, stdin=f"{PASSWORD}\n")
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


def _little_space(size: int) -> None:
    """Let this process write files of so many bytes, as on a disk that is all but full."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _init(folder: Path, room: int = 1_000_000) -> subprocess.CompletedProcess[str]:
    """Run `gatehouse init` where files have little room."""
    return subprocess.run(
        [PROGRAM, "init"],
        cwd=folder,
        env=clean_environment({"PYTHONDONTWRITEBYTECODE": "1"}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=lambda: _little_space(room),
    )


@pytest.mark.parametrize("room", [0, 150])
def test_rule_30_a_full_disk_leaves_no_env_file_that_is_cut_short(tmp_path, room):
    full = _init(tmp_path, room)
    assert full.returncode == 1
    assert full.stderr.startswith("Error: ")
    assert ".env" in full.stderr
    assert list(tmp_path.iterdir()) == []
    assert _init(tmp_path).returncode == 0
    assert len((tmp_path / ".env").read_text(encoding="utf-8").splitlines()) == 4
    assert mode(tmp_path / ".env") == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == [".env", "app.py", "instance"]
