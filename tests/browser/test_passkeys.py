"""Passkeys as a person meets them: Chromium with its virtual authenticator, by keyboard."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from playwright.sync_api import Page, expect

from tests.browser.person import PASSWORD
from tests.browser.test_looks import LOOKS, must_be_fit

NO_AUTOFILL = "PublicKeyCredential.isConditionalMediationAvailable = async () => false"
"""A virtual authenticator would log in as soon as the login page is there."""
BY_NAME = "localhost"
"""Browsers make no passkeys for an address."""


class Authenticator:
    """A virtual authenticator in one browser window.

    Args:
        page: the window.
        is_verifying: whether it makes sure of its user.
        transport: `internal` for the device's own, `usb` for a security key.
    """

    def __init__(self, page: Page, *, is_verifying: bool = True, transport: str = "internal") -> None:
        self._talk = page.context.new_cdp_session(page)
        self._talk.send("WebAuthn.enable")
        options = {
            "protocol": "ctap2",
            "transport": transport,
            "hasResidentKey": is_verifying,  # a key that asks for no PIN keeps nothing of its own
            "hasUserVerification": is_verifying,
            "isUserVerified": is_verifying,
            "automaticPresenceSimulation": True,
        }
        made = self._talk.send("WebAuthn.addVirtualAuthenticator", {"options": options})
        self._id = made["authenticatorId"]

    def credentials(self) -> list[dict[str, object]]:
        """Return what it keeps."""
        found = self._talk.send("WebAuthn.getCredentials", {"authenticatorId": self._id})
        credentials: list[dict[str, object]] = found["credentials"]
        return credentials

    def set_present(self, *, is_present: bool) -> None:
        """Let it answer by itself, or wait for its user."""
        told = {"authenticatorId": self._id, "enabled": is_present}
        self._talk.send("WebAuthn.setAutomaticPresenceSimulation", told)

    def add(self, credential: dict[str, object]) -> None:
        """Keep what another one kept, as a synced passkey."""
        self._talk.send("WebAuthn.addCredential", {"authenticatorId": self._id, "credential": credential})

    def set_count(self, count: int) -> None:
        """Turn the counter of its one credential, as in a copy."""
        (credential,) = self.credentials()
        self._talk.send(
            "WebAuthn.removeCredential", {"authenticatorId": self._id, "credentialId": credential["credentialId"]}
        )
        self.add({**credential, "signCount": count})

    def remove(self) -> None:
        """Take it away."""
        self._talk.send("WebAuthn.removeVirtualAuthenticator", {"authenticatorId": self._id})


@pytest.fixture
def site(demo):
    """Return the demo by its name."""
    return type(demo)(demo.url.replace("127.0.0.1", BY_NAME), demo.database)


def press(page, name: str) -> None:
    """Press a button by keyboard."""
    page.get_by_role("main").get_by_role("button", name=name, exact=True).focus()
    page.keyboard.press("Enter")


def enrol(site, page, name: str) -> None:
    """Enrol a passkey by keyboard."""
    page.goto(f"{site.url}/account/security/passkeys")
    must_be_fit(page)
    page.locator("#name").focus()
    page.keyboard.type(name)
    press(page, "Enrol a passkey")
    expect(
        page.get_by_role("heading", name=name).or_(page.get_by_role("heading", name="Recovery codes"))
    ).to_be_visible()
    must_be_fit(page)


def prove(page) -> None:
    """Use a passkey by keyboard, where a page asks for a fresh proof."""
    page.wait_for_url(re.compile("/reauthenticate"))
    must_be_fit(page)
    press(page, "Use a passkey")


@pytest.mark.parametrize("look", LOOKS)
def test_two_passkeys_are_enrolled_one_logs_in_without_a_name_the_other_steps_up(site, open_page, look):
    page = open_page(**LOOKS[look])
    page.add_init_script(NO_AUTOFILL)
    site.register(page, "alice")
    site.log_in(page, "alice")
    page.goto(f"{site.url}/account/security")
    must_be_fit(page)
    laptop = Authenticator(page)
    enrol(site, page, "my laptop")
    page.get_by_role("link", name="I have kept them").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/account/security")
    laptop.set_present(is_present=False)
    key = Authenticator(page, transport="usb")
    enrol(site, page, "my key")
    expect(page.get_by_text("not yet")).to_have_count(2)
    page.goto(f"{site.url}/account/security")
    must_be_fit(page)
    site.log_out(page)
    must_be_fit(page)
    key.set_present(is_present=False)
    laptop.set_present(is_present=True)
    press(page, "Use a passkey")
    page.wait_for_url("**/protected")
    expect(page.get_by_text("Hello alice")).to_be_visible()
    site.let_proofs_age(timedelta(minutes=30))
    laptop.remove()
    key.set_present(is_present=True)
    page.goto(f"{site.url}/sensitive-action")
    prove(page)
    page.wait_for_url(re.compile("^[^?]*/sensitive-action$"))
    page.goto(f"{site.url}/account/security/passkeys")
    expect(page.get_by_text("not yet")).to_have_count(0)
    must_be_fit(page)


def test_a_passkey_is_offered_where_the_name_is_typed(site, open_page):
    page = open_page()
    site.register(page, "alice")
    site.log_in(page, "alice")
    Authenticator(page)
    enrol(site, page, "my laptop")
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/protected")  # a virtual authenticator takes the offer at once
    expect(page.get_by_text("Hello alice")).to_be_visible()


def test_the_button_takes_the_place_of_the_offer(site, open_page):
    page = open_page()
    site.register(page, "alice")
    site.log_in(page, "alice")
    laptop = Authenticator(page)
    enrol(site, page, "my laptop")
    (kept,) = laptop.credentials()
    laptop.remove()
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/login")
    page.wait_for_timeout(500)  # the offer waits by now, with nothing to offer
    Authenticator(page).add(kept)
    press(page, "Use a passkey")
    page.wait_for_url("**/protected")


def test_v6_3_3_a_security_key_that_verifies_nobody_is_the_second_factor(site, open_page):
    page = open_page()
    site.register(page, "alice")
    site.log_in(page, "alice")
    key = Authenticator(page, is_verifying=False, transport="usb")
    enrol(site, page, "my key")
    page.get_by_role("link", name="I have kept them").click()
    page.wait_for_url("**/account/security")
    site.log_out(page)
    page.get_by_label("Login name").fill("alice")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/login/factor*")
    must_be_fit(page)
    expect(page.get_by_label("Code", exact=True)).to_have_count(0)
    key.set_count(0)
    press(page, "Use a passkey")
    expect(page.get_by_text("This passkey was not taken.")).to_be_visible()
    must_be_fit(page)
    assert site.count_events("passkey.copied") == 1
    key.set_count(100)
    press(page, "Use a passkey")
    page.wait_for_url("**/protected")


def test_a_passkey_is_renamed_and_removed_and_what_cannot_be_done_is_said(site, open_page):
    page = open_page()
    page.add_init_script(NO_AUTOFILL)
    site.register(page, "alice")
    site.log_in(page, "alice")
    laptop = Authenticator(page)
    enrol(site, page, "my laptop")
    page.goto(f"{site.url}/account/security/passkeys")
    press(page, "Enrol a passkey")
    expect(page.get_by_text("This device holds a passkey of your account already.")).to_be_visible()
    must_be_fit(page)
    page.get_by_label("Name", exact=True).last.fill("the old one")
    press(page, "Rename my laptop")
    expect(page.get_by_role("heading", name="the old one")).to_be_visible()
    press(page, "Remove the old one")
    expect(page.get_by_text("Your passkey is removed")).to_be_visible()
    site.log_out(page)
    press(page, "Use a passkey")
    expect(page.get_by_text("This passkey was not taken.")).to_be_visible()
    laptop.remove()
    Authenticator(page)
    press(page, "Use a passkey")
    expect(page.get_by_text("Nothing was sent")).to_be_visible()
    must_be_fit(page)


def test_v3_7_5_without_the_script_and_at_an_address_the_page_says_what_to_do(demo, site, open_page):
    plain = open_page(java_script_enabled=False)
    plain.goto(f"{site.url}/login")
    expect(plain.get_by_text("Passkeys need JavaScript")).to_be_visible()
    expect(plain.get_by_role("button", name="Use a passkey")).to_have_count(0)
    page = open_page()
    page.goto(f"{demo.url}/login")
    expect(page.get_by_role("link", name=site.url)).to_be_visible()
    must_be_fit(page)
