"""What the one small script adds: a password shown on demand, and a login that waits its turn."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.person import PASSWORD, turn_away


def test_v6_2_6_63b_3_1_1_2_21_a_password_is_shown_on_demand_and_hidden_before_it_is_sent(demo, page):
    page.goto(f"{demo.url}/login")
    field, reveal = page.locator("#password"), page.get_by_role("button", name="Show password")
    expect(field).to_have_attribute("type", "password")
    field.fill("not the password")
    reveal.click()
    expect(field).to_have_attribute("type", "text")
    expect(reveal).to_have_attribute("aria-pressed", "true")
    reveal.click()
    expect(field).to_have_attribute("type", "password")
    reveal.click()
    page.get_by_label("Login name").fill("nobody")
    page.get_by_role("main").get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_have_text("Wrong name or password.")
    expect(field).to_have_attribute("type", "password")
    expect(reveal).to_have_attribute("aria-pressed", "false")


def test_v6_2_7_63b_3_1_1_2_20_a_password_is_pasted(demo, page, open_page):
    page.goto(f"{demo.url}/register")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.evaluate("text => navigator.clipboard.writeText(text)", PASSWORD)
    page.get_by_label("Login name").fill("alice")
    for label in ("Password", "The same once more"):
        page.get_by_label(label, exact=True).click()
        page.keyboard.press("Control+V")
    expect(page.locator("#password")).to_have_value(PASSWORD)
    page.get_by_role("button", name="Register").click()
    page.wait_for_url("**/login")
    page.get_by_label("Login name").fill("alice")
    page.get_by_label("Password", exact=True).click()
    page.keyboard.press("Control+V")
    page.keyboard.press("Enter")
    page.wait_for_url("**/protected")


def test_a_throttled_login_waits_and_sends_itself_again(demo, page, open_page):
    demo.register(open_page(), "alice")
    page.clock.install()
    page.goto(f"{demo.url}/login")
    button = page.get_by_role("main").get_by_role("button", name="Log in")
    page.get_by_label("Login name").fill("alice")
    page.get_by_label("Password", exact=True).fill("not the password")
    for _ in range(5):
        with page.expect_response("**/login") as answered:
            button.click()
        assert answered.value.status == 401
        expect(page.get_by_role("alert")).to_have_text("Wrong name or password.")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    button.click()
    expect(page.get_by_role("status")).to_have_text(
        "Too many attempts. Try again a little later. This page tries again by itself."
    )
    expect(page.get_by_role("timer")).to_have_text(re.compile(r"^0:(2\d|30)$"))
    expect(button).to_be_disabled()
    demo.end_delays()
    page.clock.fast_forward("00:31")
    page.wait_for_url("**/protected")


def test_waiting_can_be_stopped(demo, page):
    page.clock.install()
    turn_away(page, 503, 7)
    page.goto(f"{demo.url}/login")
    page.get_by_label("Login name").fill("alice")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    button = page.get_by_role("main").get_by_role("button", name="Log in")
    button.click()
    expect(page.get_by_role("timer")).to_have_text("0:07")
    page.get_by_role("button", name="Stop waiting").click()
    expect(page.get_by_role("alert")).to_have_text("Stopped. Nothing is sent any more.")
    expect(button).to_be_enabled()
    sent = []
    page.on("request", lambda request: sent.append(request.url))
    page.clock.fast_forward("01:00")
    expect(page.get_by_role("timer")).to_be_hidden()
    assert sent == []


@pytest.mark.parametrize("answer", ["no answer", "no JSON", "no next"])
def test_an_answer_that_nobody_expects_is_told_of(demo, page, answer):
    def reply(route):
        if route.request.method != "POST":
            route.continue_()
        elif answer == "no answer":
            route.abort()
        else:
            route.fulfill(status=200, body="<p>" if answer == "no JSON" else "{}")

    page.route("**/login", reply)
    page.goto(f"{demo.url}/login")
    page.get_by_label("Login name").fill("alice")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("main").get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("Reload the page and try again.")


def test_v3_2_3_the_script_works_beside_elements_named_like_globals(demo, page):
    names = ("fetch", "location", "document", "FormData", "problem", "waiting", "submit", "action", "elements")
    clutter = "".join(f'<a id="{name}" name="{name}"></a><img name="{name}" alt="">' for name in names)

    def with_clutter(route):
        if route.request.method != "GET":
            route.continue_()
            return
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace('<main id="content"', f'{clutter}<main id="content"'))

    demo.register(page, "alice")
    page.route("**/login", with_clutter)
    demo.log_in(page, "alice")
    expect(page).to_have_url(f"{demo.url}/protected")


def test_v14_3_3_63b_5_1_9_nothing_is_kept_in_the_browser_but_cookies(demo, alice):
    for path in ("/protected", "/account", "/account/sessions", "/admin"):
        alice.goto(demo.url + path)
        assert alice.evaluate("[localStorage.length, sessionStorage.length]") == [0, 0]
        assert alice.evaluate("indexedDB.databases().then(found => found.length)") == 0
        assert alice.evaluate("caches.keys().then(found => found.length)") == 0
        assert alice.evaluate("document.cookie") == ""
    assert {cookie["name"] for cookie in alice.context.cookies()} == {"gatehouse", "gatehouse-device"}
