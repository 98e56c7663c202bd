"""The tutorial, as a beginner would follow it."""

from __future__ import annotations

import sys

import pytest

from tests.docs import pages, shell
from tests.support.processes import free_port
from tests.support.visitor import Visitor

PASSWORD = "correct horse battery"


@pytest.fixture
def followed(tmp_path):
    """Return the folder of somebody who has done everything the tutorial says, the server excepted."""
    found = pages.blocks(pages.page("tutorial/first-app.md"), "python", "console")
    for block in found:
        if block.language == "console":
            shell.run(block.text, tmp_path, stdin=f"{PASSWORD}\n")
        else:
            with (tmp_path / (block.file or "app.py")).open("a", encoding="utf-8") as file:
                file.write(block.text)
    return tmp_path


def test_every_step_of_the_tutorial_does_what_it_says(followed, run_server):
    assert (followed / ".env").stat().st_mode & 0o777 == 0o600
    shell.run_one("python -m pytest -q -p no:cacheprovider", followed)

    port = free_port()
    env = {"GATEHOUSE_ORIGINS": f"http://127.0.0.1:{port}"}
    run_server([sys.executable, "-m", "flask", "--app", "app", "run", "--port", str(port)], port=port, env=env)
    alice, bob = Visitor(f"http://127.0.0.1:{port}"), Visitor(f"http://127.0.0.1:{port}")
    page = "/login?next=/notes"
    assert alice.get("/notes").location == page
    fields = {"username": "alice", "password": PASSWORD, "next": "/notes"}
    assert alice.submit("/login", page=page, **fields).location == "/notes"
    assert alice.get("/notes").text.endswith("Hello alice.")
    assert [alice.get(path).status for path in ("/notes/new", "/notes/burn", "/admin")] == [200, 200, 200]
    bob.log_in("bob", "a phrase of several words")
    assert [bob.get(path).status for path in ("/notes", "/notes/new", "/admin")] == [200, 403, 403]
