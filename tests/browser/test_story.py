"""The notes' story in Chromium, against the demo program in a process of its own."""

from __future__ import annotations

from datetime import timedelta

from playwright.sync_api import expect

from tests.browser.person import PASSWORD


def status_of(page, url):
    response = page.goto(url)
    assert response is not None
    return response.status


def test_the_notes_story(demo, page, open_page, command):
    # Register: the first user becomes the administrator, and nobody is logged in by it.
    page.goto(demo.url)
    page.get_by_role("main").get_by_role("link", name="register").click()
    expect(page.get_by_text("Whoever registers now becomes the administrator.")).to_be_visible()
    demo.register(page, "alice")
    expect(page.get_by_text("Registered. Please log in.")).to_be_visible()
    page.goto(f"{demo.url}/protected")
    expect(page).to_have_url(f"{demo.url}/login?next=/protected")

    # Log in, log out by the button, log in again: back where one wanted to go.
    demo.log_in(page, "alice", "/protected")
    expect(page).to_have_url(f"{demo.url}/protected")
    expect(page.get_by_text("Hello alice (role: admin)")).to_be_visible()
    demo.log_out(page)
    page.goto(f"{demo.url}/protected")
    expect(page).to_have_url(f"{demo.url}/login?next=/protected")
    demo.log_in(page, "alice")
    expect(page).to_have_url(f"{demo.url}/protected")

    # A second user gets 403 where the administrator sees users with their roles.
    second = open_page()
    demo.register(second, "bob")
    demo.log_in(second, "bob")
    assert status_of(second, f"{demo.url}/admin") == 403
    assert status_of(page, f"{demo.url}/admin") == 200
    expect(page.get_by_role("row", name="alice admin active")).to_be_visible()
    expect(page.get_by_role("row", name="bob none active")).to_be_visible()

    # The administrator suspends them; their open page is refused at the next click.
    second.goto(demo.url)
    page.get_by_role("link", name="bob").click()
    page.locator("summary", has_text="Suspend").click()
    page.locator("#suspend-reason").fill("left the company")
    page.locator("details[open]").get_by_role("button", name="Suspend").click()
    expect(page.get_by_text("Suspended.", exact=True)).to_be_visible()
    second.get_by_role("link", name="Your dashboard").click()
    expect(second).to_have_url(f"{demo.url}/login?next=/protected")

    # A sensitive action asks for the password again once freshness has passed.
    page.goto(f"{demo.url}/sensitive-action")
    expect(page.get_by_role("heading", name="Sensitive action performed")).to_be_visible()
    demo.let_proofs_age(timedelta(minutes=5))
    page.goto(f"{demo.url}/sensitive-action")
    expect(page).to_have_url(f"{demo.url}/reauthenticate?next=/sensitive-action")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("heading", name="Sensitive action performed")).to_be_visible()

    # And the chain of what happened holds.
    verified = command("audit", "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_every_page_works_without_javascript(demo, open_page):
    page = open_page(java_script_enabled=False)
    demo.register(page, "alice")
    demo.log_in(page, "alice", "/sensitive-action")
    expect(page.get_by_role("heading", name="Sensitive action performed")).to_be_visible()
    page.goto(f"{demo.url}/account")
    page.get_by_label("E-mail optional").fill("alice@example.org")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Your e-mail address is saved.")).to_be_visible()
    page.get_by_role("link", name="Password").click()
    page.get_by_label("Present password").fill(PASSWORD)
    page.get_by_label("New password").fill("another river stone")
    page.get_by_label("The same once more").fill("another river stone")
    page.get_by_role("button", name="Change the password").click()
    expect(page.get_by_text("Your password is changed")).to_be_visible()
    other = open_page(java_script_enabled=False)
    demo.register(other, "bob")
    page.goto(f"{demo.url}/admin")
    page.get_by_label("Name begins with").fill("BO")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name="bob").click()
    page.locator("summary", has_text="Grant a role").click()
    page.get_by_role("button", name="Grant", exact=True).click()
    expect(page.get_by_role("rowheader", name="admin")).to_be_visible()
    demo.log_in(other, "bob")
    page.goto(f"{demo.url}/admin/users/2")
    page.locator("summary", has_text="End all sessions").click()
    page.locator("#end-sessions-reason").fill("a lost laptop")
    page.get_by_role("button", name="End them").click()
    expect(page.get_by_text("1 session ended.")).to_be_visible()
    other.reload()
    expect(other).to_have_url(f"{demo.url}/login?next=/protected")
    demo.log_out(page)


def test_a_refused_login_without_javascript_says_when_to_try_again(demo, open_page):
    page = open_page(java_script_enabled=False)
    page.goto(f"{demo.url}/login")
    for _ in range(6):
        page.get_by_label("Login name").fill("alice")
        page.get_by_label("Password", exact=True).fill("not the password")
        page.get_by_role("main").get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_have_text("Too many attempts. Try again a little later.")
    expect(page.get_by_role("timer")).to_contain_text("seconds")
    expect(page.get_by_label("Login name")).to_have_value("alice")


def test_people_end_sessions_of_other_browsers(demo, alice, open_page):
    phone = open_page(user_agent="Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1")
    demo.log_in(phone, "alice")
    alice.goto(f"{demo.url}/account/sessions")
    expect(alice.get_by_role("row", name="Safari on iPhone")).to_be_visible()
    demo.let_proofs_age(timedelta(minutes=5))
    alice.reload()
    alice.get_by_role("link", name="Prove it now").click()
    alice.get_by_label("Password", exact=True).fill(PASSWORD)
    alice.get_by_role("button", name="Continue").click()
    expect(alice).to_have_url(f"{demo.url}/account/sessions")
    alice.get_by_role("row", name="Safari on iPhone").get_by_role("button").click()
    expect(alice.get_by_text("The session has ended.")).to_be_visible()
    phone.reload()
    expect(phone).to_have_url(f"{demo.url}/login?next=/protected")
