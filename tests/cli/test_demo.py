"""`gatehouse demo`: runs by itself, in a closed folder of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat

import pytest

from flask_gatehouse.demo.defaults import demo_defaults
from flask_gatehouse.kernel.errors import SettingsError
from tests.cli.conftest import PROGRAM
from tests.support.processes import free_port
from tests.support.visitor import Visitor

PASSWORD = "a phrase for the demo"


def start(run_server, *arguments, env=None):
    port = free_port()
    return run_server([PROGRAM, "demo", "--port", str(port), *arguments], port=port, env=env)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_the_demo_answers_and_its_first_user_is_the_administrator(run_server):
    server = start(run_server)
    assert f"http://127.0.0.1:{server.port}" in server.tail()
    visitor = Visitor(server.url)
    assert visitor.get("/").status == 200
    assert (visitor.get("/protected").location or "").startswith("/login")
    assert visitor.register("root", PASSWORD).status == 303
    assert visitor.log_in("root", PASSWORD).location == "/protected"
    assert visitor.get("/admin").status == 200


def test_v16_2_4_the_demo_logs_its_events_as_lines_of_json(run_server):
    server = start(run_server)
    Visitor(server.url).register("root", PASSWORD)
    lines = [json.loads(line) for line in server.tail().splitlines() if line.startswith("{")]
    assert "user.registered" in [line["event"]["kind"] for line in lines if "event" in line]
    assert [line["head"] for line in lines if "head" in line]


def test_rule_30_the_data_folder_is_closed_and_the_secret_is_never_overwritten(run_server, tmp_path):
    before = os.umask(0)
    try:
        server = start(run_server)
    finally:
        os.umask(before)
    folder = tmp_path / "gatehouse-demo"
    secret = folder / "secret_key"
    assert mode(folder) == 0o700
    assert {path.name: mode(path) for path in folder.iterdir() if mode(path) != 0o600} == {}
    kept = secret.read_text(encoding="ascii")
    assert len(kept) == 43
    visitor = Visitor(server.url)
    visitor.register("root", PASSWORD)
    server.stop()
    again = start(run_server)
    assert secret.read_text(encoding="ascii") == kept
    assert Visitor(again.url).log_in("root", PASSWORD).status == 303
    assert kept not in server.tail() + again.tail()


def test_the_data_folder_can_be_chosen(run_server, tmp_path):
    start(run_server, "--data", "deep/er")
    assert mode(tmp_path / "deep" / "er") == 0o700
    assert not (tmp_path / "gatehouse-demo").exists()


def test_a_data_folder_that_cannot_be_made_is_one_line(program, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    result = program("demo", "--port", "0", "--data", "file/below")
    assert (result.returncode, result.stdout) == (1, "")
    assert "--data" in result.stderr
    assert result.stderr.count("\n") == 1


def test_rule_30_a_data_folder_that_others_may_change_is_not_taken(program, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    folder.chmod(0o777)
    found = program("demo", "--data", str(folder), "--port", "0")
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr == "Error: others can reach data (mode 0777): chmod 700 data, if you trust it\n"


def test_rule_30_a_secret_that_others_may_read_is_not_taken(program, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    (folder / "secret_key").write_text("a secret that somebody else has put here, and knows", encoding="ascii")
    (folder / "secret_key").chmod(0o666)
    found = program("demo", "--data", str(folder), "--port", "0")
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr == "Error: others can reach secret_key (mode 0666): chmod 600 secret_key, if you trust it\n"


def test_rule_30_a_data_folder_of_another_user_is_not_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(SettingsError, match="belongs to another user"):
        demo_defaults({}, tmp_path / "data")


def test_rule_30_a_data_folder_that_others_may_look_into_is_warned_of(tmp_path, caplog):
    folder = tmp_path / "data"
    folder.mkdir()
    folder.chmod(0o755)
    demo_defaults({}, folder)
    assert "others can look into data: chmod 700 data" in caplog.text


def test_a_port_that_is_taken_names_the_option(program, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = program("demo", "--port", str(port))
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"Error: port {port} is taken: choose another with --port\n"
    assert not (tmp_path / "gatehouse-demo").exists()


def test_an_address_that_is_not_ours_is_one_line(program):
    result = program("demo", "--host", "192.0.2.1", "--port", "0")
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)


def test_ctrl_c_ends_it_quietly(run_server):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background a shell lets all ignore it
    try:
        server = start(run_server)
    finally:
        signal.signal(signal.SIGINT, before)
    os.kill(server.pid, signal.SIGINT)
    assert server._process.wait(60) == 0
    assert "Traceback" not in server.tail()


def test_only_its_own_port_is_an_origin(run_server):
    server = start(run_server)
    assert Visitor(server.url).request("GET", "/", headers={"Host": f"localhost:{server.port}"}).status == 200
    for host in ("evil.example", "localhost", f"127.0.0.1:{server.port + 1}"):
        assert Visitor(server.url).request("GET", "/", headers={"Host": host}).status == 400


def test_rule_25_off_loopback_the_first_administrator_needs_the_code_on_the_console(run_server):
    server = start(run_server, "--host", "0.0.0.0")
    assert re.search(r"one-time code: [0-9a-f]{32}\n", server.tail())
    assert "HTTPS" in server.tail()


def test_rule_25_on_loopback_no_code_is_printed_and_none_after_the_claim(run_server):
    server = start(run_server)
    assert "code" not in server.tail()
    Visitor(server.url).register("root", PASSWORD)
    server.stop()
    assert "code" not in start(run_server, "--host", "0.0.0.0").tail()


def test_v13_4_2_the_demo_runs_without_debug_whatever_the_environment_says(run_server):
    server = start(run_server, env={"FLASK_DEBUG": "1"})
    assert Visitor(server.url).request("GET", "/", headers={"Host": "localhost:1"}).status == 400


def test_v13_4_6_answers_name_no_versions(run_server):
    answer = Visitor(start(run_server).url).get("/")
    assert answer.header("Server") == "gatehouse"


def test_the_log_holds_no_addresses_of_requests(run_server):
    server = start(run_server)
    Visitor(server.url).get("/reset-password/canary-of-a-link")
    assert "canary" not in server.tail()


def test_the_demo_does_not_mind_an_app_in_the_same_folder(run_server, tmp_path):
    (tmp_path / "app.py").write_text("raise RuntimeError\n", encoding="utf-8")
    (tmp_path / ".env").write_text(
        f"GATEHOUSE_ORIGINS=https://a.b\nGATEHOUSE_SECRET_KEY={'x' * 40}\n", encoding="utf-8"
    )
    assert Visitor(start(run_server).url).get("/").status == 200
    assert (tmp_path / "gatehouse-demo" / "secret_key").exists()
