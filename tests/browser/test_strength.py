"""The hint while a new password is typed: it stays in the page, says little, and is no rule."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.person import PASSWORD
from tests.browser.test_looks import LOOKS, must_be_fit

SHORT = "Too short: 8 characters at least."
EASY = "Easy to guess: make it longer, best by more words."
FAIR = "Fair: one more word makes it hard to guess."
STRONG = "Hard to guess, as far as its form tells."
RATED = {
    "river": SHORT,
    "\U0001f512\U0001f512\U0001f512\U0001f512": SHORT,  # code points are counted, as by the rule
    **dict.fromkeys(("password", "Password123!", "Summer2025!", "P@ssw0rd2024", "hunter2hunter2", "a" * 400), EASY),
    **dict.fromkeys(("1234567890987654321", "qwertyuiopasdfghjkl", "abcdefghijklmnopqrstuvwxyz"), EASY),
    **dict.fromkeys(("AliceALICEalice2024", "a.pleasance alice"), EASY),  # one's own names
    **dict.fromkeys(("quiet river stone", "correcthorsebattery"), FAIR),
    **dict.fromkeys(
        ("quiet river stone bridge", "aB3xK9qLw2pTz7Vd", "fyskna-2Jobzi-hukwep", "静かな川の石" * 2), STRONG
    ),
}


LISTEN = """() => {
    const hint = document.querySelector("#password-strength");
    window.said = [];
    new MutationObserver(() => said.push(hint.textContent)).observe(hint, {childList: true, characterData: true});
}"""


def hint_of(page):
    """Return where the hint stands."""
    return page.locator("#password-strength")


def test_the_hint_tells_the_form_of_a_password_and_nothing_leaves_the_page(demo, page):
    page.clock.install()
    page.goto(f"{demo.url}/register")
    sent = []
    page.on("request", lambda request: sent.append(request.url))
    page.get_by_label("Login name").fill("alice")
    page.get_by_label("E-mail").fill("a.pleasance@example.org")
    field, hint = page.get_by_label("Password", exact=True), hint_of(page)
    for password, words in RATED.items():
        field.fill(password)
        page.clock.fast_forward(600)
        assert (password, hint.text_content()) == (password, words)
    field.fill("")
    page.clock.fast_forward(600)
    assert hint.text_content() == ""
    assert [url for url in sent if not url.endswith("/gatehouse.svg")] == []  # the browser's own, for its tab
    stored = page.evaluate("[Object.keys(localStorage), Object.keys(sessionStorage), document.cookie]")
    assert stored == [[], [], ""]


def test_a_screen_reader_hears_the_hint_in_a_pause_and_once(demo, page):
    page.clock.install()
    page.goto(f"{demo.url}/register")
    field, hint = page.get_by_label("Password", exact=True), hint_of(page)
    expect(hint).to_have_attribute("aria-live", "polite")
    assert "password-strength" in (field.get_attribute("aria-describedby") or "").split()
    page.evaluate(LISTEN)
    for sign in "quiet river":
        field.press_sequentially(sign)
        page.clock.fast_forward(100)
    assert page.evaluate("said") == []
    page.clock.fast_forward(600)
    for sign in "ed":
        field.press_sequentially(sign)
        page.clock.fast_forward(700)
    assert page.evaluate("said") == [EASY]


def test_the_hint_is_no_rule(demo, page):
    page.clock.install()
    page.goto(f"{demo.url}/register")
    page.get_by_label("Login name").fill("alice")
    for label in ("Password", "The same once more"):
        page.get_by_label(label, exact=True).fill("hunter2hunter2")
    page.clock.fast_forward(600)
    expect(hint_of(page)).to_have_text(EASY)
    page.get_by_role("button", name="Register").click()
    page.wait_for_url("**/login")  # what is easy is taken; what is listed is refused, whatever the hint says


def test_the_hint_is_fit_in_every_look(demo, open_page):
    for look in LOOKS.values():
        page = open_page(**look)
        page.clock.install()
        page.goto(f"{demo.url}/register")
        for password, words in (("password", EASY), (PASSWORD, FAIR), (f"{PASSWORD} bridge", STRONG)):
            page.get_by_label("Password", exact=True).fill(password)
            page.clock.fast_forward(600)
            expect(hint_of(page)).to_have_text(words)
            must_be_fit(page)


def test_without_javascript_there_is_no_hint(demo, open_page):
    page = open_page(java_script_enabled=False)
    page.goto(f"{demo.url}/register")
    expect(page.locator(".gh-strength")).to_have_count(0)
    expect(page.locator("#password-hint")).to_be_visible()
