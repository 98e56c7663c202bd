"""The demo program as people meet it: its own process, its own data, Chromium in front."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.browser.person import Demo
from tests.conftest import OpenPage, RunServer
from tests.support.processes import clean_environment, free_port

PROGRAM = str(Path(sys.executable).with_name("gatehouse"))


@pytest.fixture
def demo(run_server: RunServer, tmp_path: Path) -> Demo:
    """Return the running demo, nobody registered yet."""
    port = free_port()
    command = [PROGRAM, "demo", "--port", str(port), "--data", "gatehouse-demo"]
    server = run_server(command, port=port)
    return Demo(server.url, tmp_path / "gatehouse-demo" / "demo.sqlite3")


@pytest.fixture
def command(tmp_path: Path):
    """Return a runner of `gatehouse` over the demo's data."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [PROGRAM, "--app", "flask_gatehouse.demo:create_app", *arguments]
        return subprocess.run(
            line, cwd=tmp_path, env=clean_environment({}), capture_output=True, text=True, check=False
        )

    return run


@pytest.fixture
def alice(demo: Demo, page: Page) -> Page:
    """Return the browser of the first user, the administrator, logged in."""
    demo.register(page, "alice")
    demo.log_in(page, "alice")
    return page


@pytest.fixture
def bob(demo: Demo, alice: Page, open_page: OpenPage) -> Page:
    """Return the browser of the second user, logged in."""
    page = open_page()
    demo.register(page, "bob")
    demo.log_in(page, "bob")
    return page
