"""Debian's Chromium, driven by Playwright, and axe on its pages."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

NAMES = ("chromium", "google-chrome")
# Chromium runs as root in a container, and may not ask the network for anything of its own.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def chromium_path() -> str:
    """Return the installed browser; `make test` installs one."""
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    if found is None:
        message = f"none of {', '.join(NAMES)} is installed: run make test, which installs Debian's chromium"
        raise RuntimeError(message)
    return found


@contextmanager
def launched_browser() -> Iterator[Browser]:
    """Run a headless browser with an empty profile."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=list(ARGUMENTS))
        yield browser
        browser.close()


class Complaints:
    """What the browser complains of on its console, refused responses (401, 403 …) excepted."""

    def __init__(self, page: Page) -> None:
        self.found: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.found.append(str(error)))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not message.text.startswith("Failed to load resource"):
            self.found.append(f"{message.type}: {message.text}")


def axe_violations(page: Page, *rules: str) -> list[str]:
    """Run axe on the page and return one line for each violation: rule, help, the elements.

    Text in the very colour of its ground is one too: axe leaves that to people, as it may be hidden on purpose.

    Args:
        page: a page that has loaded.
        rules: the rules of axe to go by; all of them where none is named.
    """
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    options: dict[str, Any] = {"resultTypes": ["violations", "incomplete"]}
    if rules:
        options["runOnly"] = {"type": "rule", "values": list(rules)}
    response = page.evaluate("(options) => axe.run(options)", options)
    found = [(rule, rule["nodes"]) for rule in response["violations"]]
    found += [(rule, [node for node in rule["nodes"] if _is_invisible(node)]) for rule in response["incomplete"]]
    return [
        f"{rule['id']}: {rule['help']}: {'; '.join(str(node['target']) for node in nodes)}"
        for rule, nodes in found
        if nodes
    ]


def _is_invisible(node: dict[str, Any]) -> bool:
    return any((check.get("data") or {}).get("messageKey") == "equalRatio" for check in node["any"])
