"""What a person does with the demo in a browser."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from playwright.sync_api import Page, expect

PASSWORD = "quiet river stone"
SUBMIT = "main form button[type=submit]"


def turn_away(page: Page, status: int, seconds: int) -> None:
    """Answer every login of this page as a server does that wants it to come again in so many seconds."""
    page.route(
        "**/login",
        lambda route: (
            route.fulfill(status=status, headers={"Retry-After": str(seconds)})
            if route.request.method == "POST"
            else route.continue_()
        ),
    )


@dataclass(frozen=True)
class Demo:
    """A running demo.

    Attributes:
        url: where it answers.
        database: its SQLite file.
    """

    url: str
    database: Path

    def register(self, page: Page, name: str) -> None:
        """Fill in the registration form."""
        page.goto(f"{self.url}/register")
        page.get_by_label("Login name").fill(name)
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.get_by_label("The same once more", exact=True).fill(PASSWORD)
        page.get_by_role("button", name="Register").click()
        page.wait_for_url("**/login")

    def log_in(self, page: Page, name: str, path: str = "/login") -> None:
        """Fill in the login form, which `path` leads to."""
        page.goto(self.url + path)
        page.get_by_label("Login name").fill(name)
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.get_by_role("main").get_by_role("button", name="Log in").click()
        page.wait_for_url(re.compile(r"^(?!.*/login)"))

    def log_out(self, page: Page) -> None:
        """Press the button."""
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_text("You have logged out.")).to_be_visible()

    def let_proofs_age(self, age: timedelta) -> None:
        """Make every proof of every session older: what waiting would do."""
        micros = age // timedelta(microseconds=1)
        with closing(sqlite3.connect(self.database)) as connection, connection:
            for row_id, proofs in connection.execute("SELECT id, proofs FROM gatehouse_session").fetchall():
                older = re.sub(r"\d{10,}", lambda found: str(int(found[0]) - micros), proofs)
                connection.execute("UPDATE gatehouse_session SET proofs = ? WHERE id = ?", (older, row_id))

    def let_steps_pass(self) -> None:
        """Let the codes of now be unused: what waiting for the next would do, as each counts once."""
        with closing(sqlite3.connect(self.database)) as connection, connection:
            connection.execute("UPDATE gatehouse_totp SET last_step = last_step - 2")

    def count_refusals(self, number: int) -> None:
        """Write what a flood would leave: one row that tells how many were refused."""
        with closing(sqlite3.connect(self.database)) as connection, connection:
            (last, at) = connection.execute("SELECT max(id), max(at) FROM gatehouse_event").fetchone()
            until = datetime.fromtimestamp(at / 10**6, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            detail = json.dumps({"kind": "login.throttled", "number": number, "until": until})
            names = "id, at, kind, outcome, actor, address, agent, request_id, session_id, detail, hash"
            row = (last + 1, at, "failures.counted", "refused", "system", "", "", "", "", detail, b"")
            marks = ", ".join("?" * len(row))
            connection.execute(f"INSERT INTO gatehouse_event ({names}) VALUES ({marks})", row)  # noqa: S608 - names of ours

    def count_events(self, kind: str) -> int:
        """Count the events of a kind in the audit log."""
        with closing(sqlite3.connect(self.database)) as connection:
            rows = connection.execute("SELECT count(*) FROM gatehouse_event WHERE kind = ?", (kind,)).fetchall()
        return int(rows[0][0])

    def end_delays(self) -> None:
        """Let the server's delays be over: what waiting would do."""
        with closing(sqlite3.connect(self.database)) as connection, connection:
            connection.execute("UPDATE gatehouse_counter SET blocked_until = 0")
