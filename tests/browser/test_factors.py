"""An authenticator app and recovery codes as a person meets them, the codes from an independent generator."""

from __future__ import annotations

import re
import subprocess
import time

import pytest
from playwright.sync_api import expect

from tests.browser.person import PASSWORD
from tests.browser.test_looks import LOOKS, must_be_fit

STEP_SECONDS = 30


def code_of(key: str) -> str:
    """Return the code of now by Debian's oathtool, from the key as a person would type it."""
    line = ["oathtool", "--totp", "--base32", key.replace(" ", "")]
    return subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()


def wait_for_next_step() -> None:
    """Wait until the code of now is another one: each counts once."""
    time.sleep(STEP_SECONDS - time.time() % STEP_SECONDS + 0.2)


def press(page, *keys: str) -> None:
    """Type and press keys as somebody without a mouse does."""
    for key in keys:
        page.keyboard.press(key)


def enrol(demo, page) -> tuple[str, list[str]]:
    """Enrol an authenticator app by keyboard, and return its key and the recovery codes."""
    page.goto(f"{demo.url}/account/security")
    must_be_fit(page)
    page.get_by_role("link", name="Enrol an app").focus()
    press(page, "Enter")
    page.wait_for_url("**/account/security/totp*")
    expect(page.get_by_role("img", name="QR code of the key below")).to_be_visible()
    must_be_fit(page)
    key = page.locator(".gh-key").inner_text()
    page.get_by_role("textbox", name="Code", exact=True).focus()
    page.keyboard.type("123456")
    press(page, "Enter")
    expect(page.get_by_text("This is not the code that the app shows now.")).to_be_visible()
    must_be_fit(page)
    assert page.locator(".gh-key").inner_text() == key
    page.get_by_role("textbox", name="Code", exact=True).focus()
    page.keyboard.type(code_of(key))
    press(page, "Enter")
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    must_be_fit(page)
    codes = page.locator(".gh-codes code").all_inner_texts()
    page.get_by_role("link", name="I have kept them").focus()
    press(page, "Enter")
    page.wait_for_url("**/account/security")
    return key, codes


def begin(demo, page) -> None:
    """Log in by password, to where the second factor is asked for."""
    page.goto(f"{demo.url}/login")
    page.get_by_label("Login name").fill("alice")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    press(page, "Enter")
    page.wait_for_url("**/login/factor*")


@pytest.mark.parametrize("look", LOOKS)
def test_v6_5_1_an_app_is_enrolled_used_lost_and_replaced_by_keyboard(demo, open_page, look):
    page = open_page(**LOOKS[look])
    demo.register(page, "alice")
    demo.log_in(page, "alice")
    key, codes = enrol(demo, page)
    assert len(codes) == 10
    expect(page.get_by_text("10 left.")).to_be_visible()
    must_be_fit(page)
    demo.log_out(page)
    begin(demo, page)
    must_be_fit(page)
    assert page.evaluate("fetch('/protected').then(answer => answer.status)") == 401
    page.get_by_label("Recovery code").fill(codes[0])
    press(page, "Enter")
    expect(page.get_by_role("heading", name="Enrol your new factor")).to_be_visible()
    must_be_fit(page)
    new = page.locator(".gh-key").inner_text()
    assert new != key
    page.get_by_role("textbox", name="Code", exact=True).fill(code_of(new))
    press(page, "Enter")
    page.wait_for_url("**/protected")
    page.goto(f"{demo.url}/account/security")
    expect(page.get_by_text("9 left.")).to_be_visible()


def test_v6_6_3_the_right_code_logs_in_once_and_removal_asks_for_the_password(demo, open_page):
    page = open_page()
    demo.register(page, "alice")
    demo.log_in(page, "alice")
    key, _ = enrol(demo, page)
    demo.log_out(page)
    wait_for_next_step()
    begin(demo, page)
    code = code_of(key)
    page.get_by_role("textbox", name="Code", exact=True).fill(code)
    press(page, "Enter")
    page.wait_for_url("**/protected")
    demo.log_out(page)
    begin(demo, page)
    page.get_by_role("textbox", name="Code", exact=True).fill(code)
    press(page, "Enter")
    expect(page.get_by_text(re.compile("wrong, used or out of date"))).to_be_visible()
    wait_for_next_step()
    page.get_by_role("textbox", name="Code", exact=True).fill(code_of(key))
    press(page, "Enter")
    page.wait_for_url("**/protected")
    page.goto(f"{demo.url}/account/security")
    page.get_by_role("button", name="Remove it").click()
    expect(page.get_by_text("Your authenticator app is removed")).to_be_visible()
