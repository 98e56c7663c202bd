"""Everybody can use the pages: by eye and ear, light and dark, on a phone, without a mouse."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.person import PASSWORD, SUBMIT, turn_away
from tests.support.browser import axe_violations

LOOKS: dict[str, dict[str, Any]] = {
    "screen": {},
    "phone": {"viewport": {"width": 375, "height": 740}, "is_mobile": True, "has_touch": True},
}
GUEST_PAGES = ("/", "/login", "/register", "/forgot-password", "/reset-password/gone", "/verify-email/gone")
OWN_PAGES = (
    *(
        "/protected",
        "/account",
        "/account/password",
        "/account/security",
        "/account/security/passkeys",
        "/account/close",
        "/account/sessions",
        "/account/activity",
        "/reauthenticate",
    ),
    *("/admin", "/admin/users", "/admin/users/1", "/admin/users/2", "/admin/users/99", "/admin/users?search=%00"),
    *("/admin/sessions", "/admin/sessions?username=nobody", "/admin/sessions?after=x"),
    *("/admin/roles", "/admin/roles/admin", "/admin/roles/nobody"),
    *("/admin/audit", "/admin/audit?username=nobody", "/admin/audit?since=x"),
)


ILLEGIBLE = """[...document.querySelectorAll('.gh-button')]
    .filter((one) => getComputedStyle(one).color === getComputedStyle(one).backgroundColor)
    .map((one) => one.textContent)"""
"""Buttons whose text has the colour of its ground: axe leaves those to people to judge."""


COLOUR_RULES = ("color-contrast", "link-in-text-block")
"""The rules of axe that can find another thing in the dark than by light: nothing but colours depends on it."""


def must_be_fit(page):
    """Look at a page by light, then at its colours in the dark."""
    page.wait_for_load_state()  # text shows before the style sheet is there
    for scheme, rules in (("dark", COLOUR_RULES), ("light", ())):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # no colour on its way to another
        assert axe_violations(page, *rules) == [], f"{page.url} ({scheme})"
        assert page.evaluate(ILLEGIBLE) == [], f"{page.url} ({scheme})"
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{page.url} scrolls sideways"


def change_a_role(demo, page):
    """Make a role, grant it, look at what a change would mean, be refused for want of a reason, then save it."""
    page.goto(f"{demo.url}/admin/roles")
    page.locator("summary", has_text="Make a role").click()
    must_be_fit(page)
    page.get_by_label("Name").fill("auditor")
    page.get_by_label("audit:read").check()
    page.get_by_role("button", name="Make it").click()
    expect(page.get_by_text("The role auditor was made.")).to_be_visible()
    must_be_fit(page)
    page.goto(f"{demo.url}/admin/users/2")
    page.locator("summary", has_text="Grant a role").click()
    page.locator("#grant-role").select_option("auditor")
    page.locator("details[open] button").click()
    page.goto(f"{demo.url}/admin/roles/auditor")
    page.get_by_label("audit:read").uncheck()
    page.get_by_label("users:read").check()
    page.get_by_role("button", name="See what would change").click()
    expect(page.get_by_role("row", name="users:read audit:read")).to_be_visible()
    must_be_fit(page)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_be_visible()
    must_be_fit(page)
    page.get_by_label("Reason").first.fill("another task")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved; it counts from the next request on.")).to_be_visible()
    page.locator("summary", has_text="Delete the role").click()
    must_be_fit(page)


def end_everything(demo, page, name):
    """Say by keyboard that it was somebody else, and meet what the password alone opens afterwards."""
    page.goto(f"{demo.url}/account/security#not-me")
    page.locator("summary", has_text="This wasn't me").focus()
    page.keyboard.press("Enter")
    must_be_fit(page)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("1 session has ended.")
    must_be_fit(page)
    demo.log_in(page, name)
    expect(page.get_by_role("heading", name="Your account is on alarm")).to_be_visible()
    must_be_fit(page)
    page.goto(f"{demo.url}/protected")
    expect(page.get_by_role("heading", name="Your account is on alarm")).to_be_visible()


@pytest.mark.parametrize("look", LOOKS)
def test_no_page_has_an_axe_violation_or_scrolls_sideways(demo, open_page, look):
    page = open_page(**LOOKS[look])
    other = open_page(**LOOKS[look])
    for path in GUEST_PAGES:
        page.goto(demo.url + path)
        must_be_fit(page)
    page.goto(f"{demo.url}/register")
    page.locator("#username").fill("no good name")
    page.locator("#password").fill("password1")
    page.locator("#confirm").fill("something else")
    page.evaluate("document.querySelector('main form').noValidate = true")
    page.locator(SUBMIT).click()
    expect(page.get_by_role("alert")).to_be_visible()
    must_be_fit(page)
    demo.register(page, "alice")
    must_be_fit(page)
    demo.log_in(page, "alice")
    demo.register(other, "b" * 80)
    demo.log_in(other, "b" * 80)
    other.goto(f"{demo.url}/admin")
    must_be_fit(other)
    for path in OWN_PAGES:
        page.goto(demo.url + path)
        must_be_fit(page)
    for summary in ("Suspend", "Grant a role", "End all sessions"):
        page.goto(f"{demo.url}/admin/users/2")
        page.locator("summary", has_text=summary).click()
        must_be_fit(page)
    page.goto(f"{demo.url}/admin/sessions")
    page.locator("summary", has_text="End").first.click()
    must_be_fit(page)
    change_a_role(demo, page)
    page.goto(f"{demo.url}/admin/users/2")
    page.locator("summary", has_text="Suspend").click()
    page.locator("#suspend-reason").fill("   ")
    page.locator("details[open] button").click()
    expect(page.get_by_role("alert")).to_be_visible()
    must_be_fit(page)
    page.goto(f"{demo.url}/admin")
    page.locator("summary", has_text="The same in numbers").click()
    must_be_fit(page)
    page.goto(f"{demo.url}/admin/audit?kind=logout")
    page.get_by_role("button", name="Verify").click()
    expect(page.get_by_role("status")).to_contain_text("The chain agrees:")
    must_be_fit(page)
    end_everything(demo, other, "b" * 80)
    page.goto(f"{demo.url}/admin/users/2")
    expect(page.get_by_text("On alarm since")).to_be_visible()
    must_be_fit(page)
    demo.let_proofs_age(timedelta(minutes=5))
    for path in ("/account", "/account/sessions", "/admin/users/2", "/admin/sessions", "/admin/audit"):
        page.goto(demo.url + path)
        expect(page.get_by_role("link", name="Prove it now")).to_be_visible()
        must_be_fit(page)


def test_a_login_that_waits_has_no_axe_violation(demo, page):
    turn_away(page, 429, 30)
    page.goto(f"{demo.url}/login")
    page.locator("#username").fill("alice")
    page.locator("#password").fill(PASSWORD)
    page.locator(SUBMIT).click()
    expect(page.get_by_role("timer")).to_be_visible()
    must_be_fit(page)


def focused(page):
    return page.evaluate("(document.activeElement.textContent.trim() || document.activeElement.id)")


def test_the_keyboard_alone_logs_in_and_out(demo, page):
    demo.register(page, "alice")
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to content"
    expect(page.get_by_role("link", name="Skip to content")).to_be_in_viewport()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert focused(page) == "username"
    page.keyboard.type("alice")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Tab")
    assert focused(page) == "Show"
    page.keyboard.press("Space")
    expect(page.locator("#password")).to_have_attribute("type", "text")
    page.keyboard.press("Tab")
    assert focused(page) == "Log in"
    page.keyboard.press("Enter")
    page.wait_for_url("**/protected")
    for _ in range(10):
        page.keyboard.press("Tab")
        if focused(page) == "Log out":
            break
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    expect(page.get_by_text("You have logged out.")).to_be_visible()


def test_the_keyboard_alone_suspends_a_user(demo, alice, bob):
    alice.goto(f"{demo.url}/admin/users/2")
    for _ in range(20):
        alice.keyboard.press("Tab")
        if focused(alice).startswith("Suspend"):
            break
    alice.keyboard.press("Enter")
    alice.keyboard.press("Tab")
    assert focused(alice) == "suspend-reason"
    alice.keyboard.type("left the company")
    alice.keyboard.press("Enter")
    expect(alice.get_by_text("Suspended.", exact=True)).to_be_visible()


def test_the_keyboard_alone_looks_into_the_log_and_verifies_it(demo, alice):
    alice.goto(f"{demo.url}/admin/audit")
    alice.locator("#username").focus()
    alice.keyboard.type("alice")
    alice.keyboard.press("Tab")
    alice.keyboard.type("login.succeeded")  # chooses
    alice.keyboard.press("Tab")
    alice.keyboard.press("Enter")
    alice.wait_for_url("**username=alice&kind=login.succeeded**")
    expect(alice.get_by_role("row")).to_have_count(2)
    expect(alice.get_by_role("cell").nth(1)).to_contain_text("A login was completed.")
    alice.locator("#head").focus()
    alice.keyboard.press("Tab")
    assert focused(alice) == "Verify"
    alice.keyboard.press("Enter")
    expect(alice.get_by_role("status")).to_contain_text("The chain agrees:")


def test_the_picture_keeps_its_place_whatever_the_numbers(demo, open_page):
    page = open_page(**LOOKS["phone"])
    demo.register(page, "alice")
    demo.log_in(page, "alice")
    demo.count_refusals(1_234_567_890)
    page.goto(f"{demo.url}/admin")
    expect(page.get_by_text("up to 1234567890 an hour")).to_be_visible()
    boxes = [picture.bounding_box() for picture in page.get_by_role("img").all()]
    assert len({(box["x"], box["width"]) for box in boxes if box}) == 1
    card = page.locator("section", has=page.get_by_role("img")).bounding_box()
    for piece in page.locator(".gh-series > *").all():
        box = piece.bounding_box()
        assert box is not None
        assert card is not None
        assert card["x"] < box["x"]
        assert box["x"] + box["width"] < card["x"] + card["width"]
    must_be_fit(page)


def test_overview_and_audit_log_need_no_script(demo, open_page):
    page = open_page(java_script_enabled=False)
    demo.register(page, "alice")
    demo.log_in(page, "alice")
    page.goto(f"{demo.url}/admin")
    pictures = page.get_by_role("img")
    expect(pictures).to_have_count(3)
    expect(pictures.first).to_have_accessible_name(re.compile(r"Logins in each of the last 24 hours 1 in all; most"))
    page.get_by_text("The same in numbers").click()
    expect(page.get_by_role("row").nth(1).get_by_role("cell")).to_have_text(["1", "0", "0"])
    page.get_by_role("link", name="Audit log").click()
    page.get_by_label("Event").select_option("login.succeeded")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("row")).to_have_count(2)
    page.get_by_role("button", name="Verify").click()
    expect(page.get_by_role("status")).to_contain_text("The chain agrees:")


def test_v7_4_4_every_page_shows_a_logout_button(demo, alice):
    for path in OWN_PAGES:
        alice.goto(demo.url + path)
        expect(alice.get_by_role("button", name="Log out")).to_be_visible()


def test_buttons_are_large_enough_for_a_thumb(demo, open_page):
    page = open_page(**LOOKS["phone"])
    demo.register(page, "alice")
    demo.log_in(page, "alice")
    for path in ("/login", "/account/sessions", "/account/password"):
        page.goto(demo.url + path)
        for element in page.locator("button:visible, .gh-nav a:visible, .gh-tabs a:visible, input:visible").all():
            box = element.bounding_box()
            assert box is not None
            assert box["height"] >= 24, element.evaluate("it => it.outerHTML")  # WCAG 2.2, 2.5.8
