"""Take the README's picture: `python -m docs.screenshot`, from the top of the repository, after `make dev`.

Starts the real demo with an empty folder, lets three people register in Chromium, and photographs what the
administrator sees.
"""
# ruff: noqa: INP001 - a script beside the pages, not a package

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page

from tests.support import ROOT
from tests.support.browser import launched_browser
from tests.support.processes import free_port, start_command

PASSWORD = "correct horse battery"  # noqa: S105 - of the demo
SIZE = {"width": 940, "height": 600}
TARGET = ROOT / "docs" / "_static" / "demo.png"


def main() -> None:
    """Run the demo, act, photograph."""
    with tempfile.TemporaryDirectory(prefix="gatehouse-picture-") as folder:
        port = free_port()
        command = [sys.executable, "-m", "flask_gatehouse", "demo", "--port", str(port)]
        server = start_command(command, port=port, folder=Path(folder), env={})
        try:
            with launched_browser() as browser:
                photograph(browser, server.url)
        finally:
            server.stop()


def photograph(browser: Browser, url: str) -> None:
    """Let people register, suspend one of them, and save the administrator's page."""
    page = browser.new_context(viewport=SIZE, device_scale_factor=1.5, color_scheme="light").new_page()
    for name in ("alice", "bob", "carol"):
        register(page, url, name)
    page.goto(f"{url}/login")
    page.fill("[name=username]", "alice")
    page.fill("[name=password]", PASSWORD)
    page.click("main button[type=submit]")
    page.wait_for_url("**/protected")
    page.goto(f"{url}/admin/users/3")
    page.get_by_text("Suspend", exact=True).first.click()  # unfolds the form
    suspend = page.locator("form[action$='/suspend']")
    suspend.locator("[name=reason]").fill("left the company")
    suspend.locator("button[type=submit]").click()
    page.get_by_text("Suspended.", exact=True).wait_for()
    page.goto(f"{url}/admin")
    page.screenshot(path=TARGET, full_page=True)


def register(page: Page, url: str, name: str) -> None:
    """Fill in the registration form."""
    page.goto(f"{url}/register")
    page.fill("[name=username]", name)
    page.fill("[name=password]", PASSWORD)
    page.fill("[name=confirm]", PASSWORD)
    page.click("main button[type=submit]")
    page.wait_for_url("**/login")


if __name__ == "__main__":
    main()
