"""An authenticator app and recovery codes as a person meets them, the codes from an independent generator."""

from __future__ import annotations

import re
import subprocess

import pytest
from playwright.sync_api import expect

from tests.browser.person import PASSWORD
from tests.browser.test_looks import LOOKS, must_be_fit


def code_of(key: str) -> str:
    """Return the code of now by Debian's oathtool, from the key as a person would type it."""
    line = ["oathtool", "--totp", "--base32", key.replace(" ", "")]
    return subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()


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
    expect(page.get_by_role("heading", name="Your new recovery code")).to_be_visible()
    must_be_fit(page)
    (successor,) = page.locator(".gh-codes code").all_inner_texts()
    assert successor not in codes
    page.get_by_role("link", name="I have kept it").focus()
    press(page, "Enter")
    page.wait_for_url("**/protected")
    page.goto(f"{demo.url}/account/security")
    expect(page.get_by_text("10 left.")).to_be_visible()


def test_v6_6_3_the_right_code_logs_in_once_and_removal_asks_for_the_password(demo, open_page):
    page = open_page()
    demo.register(page, "alice")
    demo.log_in(page, "alice")
    key, _ = enrol(demo, page)
    demo.log_out(page)
    demo.let_steps_pass()
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
    demo.let_steps_pass()
    page.get_by_role("textbox", name="Code", exact=True).fill(code_of(key))
    press(page, "Enter")
    page.wait_for_url("**/protected")
    page.goto(f"{demo.url}/account/security")
    page.get_by_role("button", name="Remove it").click()
    expect(page.get_by_text("Your authenticator app is removed")).to_be_visible()


@pytest.mark.parametrize("look", LOOKS)
def test_v6_3_3_an_administrator_demands_a_factor_and_resets_it_by_keyboard(demo, open_page, look):
    alice, bob = open_page(**LOOKS[look]), open_page(**LOOKS[look])
    for page, name in ((alice, "alice"), (bob, "bob")):
        demo.register(page, name)
        demo.log_in(page, name)
    alice.goto(f"{demo.url}/admin")
    expect(alice.get_by_text("Administrators without a second factor.")).to_be_visible()
    expect(alice.get_by_role("link", name="Enrol a second factor")).to_be_visible()
    must_be_fit(alice)
    alice.goto(f"{demo.url}/admin/users/2")
    act_by_keyboard(alice, "Demand a second factor", "pays invoices", box="Demand a second factor")
    expect(alice.get_by_text("A second factor is demanded: nothing is open")).to_be_visible()
    must_be_fit(alice)
    bob.goto(f"{demo.url}/protected")
    bob.wait_for_url("**/account/security?next=/protected")
    expect(bob.get_by_role("alert")).to_contain_text("A second factor is demanded of you")
    must_be_fit(bob)
    bob.get_by_role("link", name="Enrol an app").focus()
    press(bob, "Enter")
    bob.get_by_role("textbox", name="Code", exact=True).fill(code_of(bob.locator(".gh-key").inner_text()))
    press(bob, "Enter")
    bob.get_by_role("link", name="I have kept them").focus()
    press(bob, "Enter")
    bob.wait_for_url("**/protected")
    alice.goto(f"{demo.url}/admin/users/2")
    expect(alice.get_by_role("row", name=re.compile("Authenticator app"))).to_be_visible()
    must_be_fit(alice)
    act_by_keyboard(alice, "Reset second factors", "phone in the lake")
    must_be_fit(alice)
    bob.goto(f"{demo.url}/protected")
    bob.wait_for_url("**/login?next=/protected")
    alice.goto(f"{demo.url}/admin/roles")
    alice.locator("summary", has_text="Make a role").click()
    must_be_fit(alice)
    alice.get_by_label("Name").fill("payer")
    alice.get_by_label("Demand a second factor of who holds it").check()
    alice.get_by_role("button", name="Make it").click()
    expect(alice.get_by_text("Demanded: the role counts only")).to_be_visible()
    act_by_keyboard(alice, "Change this", "no longer needed", box="Demand a second factor")
    expect(alice.get_by_text("Not demanded: the role counts")).to_be_visible()
    must_be_fit(alice)


def act_by_keyboard(page, summary: str, reason: str, *, box: str = "") -> None:
    """Unfold an action, fill it in and send it, without a mouse."""
    page.locator("summary", has_text=summary).focus()
    press(page, "Enter")
    must_be_fit(page)
    form = page.locator("details[open] form")
    if box:
        form.get_by_label(box).focus()
        press(page, "Space")
    form.get_by_label("Reason").focus()
    page.keyboard.type(reason)
    press(page, "Enter")
    expect(page.get_by_role("status")).to_be_visible()


def test_a_login_that_waits_for_a_code_can_be_given_up(demo, open_page):
    page = open_page()
    demo.register(page, "alice")
    demo.log_in(page, "alice")
    key, _ = enrol(demo, page)
    demo.log_out(page)
    begin(demo, page)
    page.get_by_role("button", name="Give up and begin again").click()
    page.wait_for_url("**/login")
    must_be_fit(page)
    page.goto(f"{demo.url}/login/factor")
    page.wait_for_url("**/login")
    assert key
