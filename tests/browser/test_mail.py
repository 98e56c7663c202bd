"""A forgotten password and an address to be confirmed, as a person without a mouse meets them."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PROGRAM
from tests.browser.person import PASSWORD, Demo
from tests.browser.test_looks import LOOKS, must_be_fit
from tests.support.post import LINK, PostOffice, part
from tests.support.processes import free_port

ALICE, SECOND, NEW = "alice@example.org", "alice@second.example", "another quiet river"


@pytest.fixture
def demo(post, run_server, tmp_path):
    """Return the running demo that sends mail."""
    port = free_port()
    command = [PROGRAM, "demo", "--port", str(port), "--data", "gatehouse-demo"]
    env = {"GATEHOUSE_MAIL_URL": post.url, "GATEHOUSE_MAIL_SENDER": "no-reply@app.example"}
    return Demo(run_server(command, port=port, env=env).url, tmp_path / "gatehouse-demo" / "demo.sqlite3")


def link_in(post: PostOffice, number: int, address: str = ALICE) -> str:
    """Return the link of the mail of this number to an address, once it is there."""
    deadline = time.monotonic() + 20
    while len(post.to(address)) <= number:
        assert time.monotonic() < deadline, "no mail came"
        time.sleep(0.05)
    found = LINK.search(part(post.to(address)[number], "plain"))
    assert found is not None
    return found[0]


def fill(page: Page, **fields: str) -> None:
    """Type into fields and press Enter, as somebody without a mouse does."""
    for name, text in fields.items():
        page.locator(f"#{name}").focus()
        page.keyboard.type(text)
    page.keyboard.press("Enter")


@pytest.mark.parametrize("look", LOOKS)
def test_an_address_is_confirmed_and_a_forgotten_password_replaced_by_keyboard(demo, open_page, post, look):
    page = open_page(**LOOKS[look])
    page.goto(f"{demo.url}/register")
    fill(page, username="alice", email=ALICE, password=PASSWORD, confirm=PASSWORD)
    page.wait_for_url("**/login")
    link = link_in(post, 0)
    assert link.startswith(f"{demo.url}/verify-email/")
    page.goto(link)
    must_be_fit(page)
    page.get_by_role("button", name="Confirm").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("Your e-mail address is confirmed.")).to_be_visible()
    page.get_by_role("link", name="Password forgotten?").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/forgot-password")
    must_be_fit(page)
    fill(page, username=ALICE)
    page.wait_for_url("**/login")
    expect(page.get_by_text("If there is such an account")).to_be_visible()
    must_be_fit(page)
    page.goto(link_in(post, 1))
    fill(page, password=NEW, confirm=NEW)
    expect(page.get_by_text("Your new password is saved.")).to_be_visible()
    fill(page, username="alice", password=NEW)
    page.wait_for_url("**/protected")
    page.goto(f"{demo.url}/account")
    expect(page.get_by_text("verified", exact=True)).to_be_visible()
    must_be_fit(page)
    page.locator("#email").fill("")
    fill(page, email="new@example.org")
    expect(page.get_by_text("A link was mailed to")).to_be_visible()
    must_be_fit(page)
    fill(page, second_email=SECOND)
    expect(page.get_by_text(f"{SECOND} is to be confirmed")).to_be_visible()
    page.goto(link_in(post, 0, SECOND))
    page.get_by_role("button", name="Confirm").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/account")
    expect(page.locator("#second_email")).to_have_value(SECOND)
    must_be_fit(page)
    page.locator("#second_email").fill("")
    fill(page, second_email=ALICE)
    expect(page.get_by_role("alert")).to_contain_text("second address")
    must_be_fit(page)
