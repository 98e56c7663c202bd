"""Mails in words: templates under `templates/gatehouse/mail/`, the app's own first, and links below its origin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask_gatehouse.domain.mail import Written

from .browsers import known_browser

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flask import Flask
    from jinja2 import Template

FOLDER = "gatehouse/mail"
LETTER = f"{FOLDER}/letter.html"
PAGES = {"not_me": ("security", "#not-me"), "forgot_password": ("forgot_password", "")}
"""What mails lead to that holds no secret: opening it changes nothing."""
IN_DEBUG = "http://localhost:5000"
"""Where links lead in debug and tests without `GATEHOUSE_ORIGINS`: what `flask run` serves. Never what a Host says."""


class Letters:
    """Writes the mails of one app.

    `NAME.txt` is the text: its first line is the subject. The HTML part is made of the same words by `letter.html`, or
    of a `NAME.html` of the app's own.

    Args:
        app: whose templates and routes they are.
        origins: from `GATEHOUSE_ORIGINS`; links lead below the first.
        root: Flask's `APPLICATION_ROOT`, below which the app is served.
        support: whom people turn to, the last line of every mail; `""`: nobody is named.
    """

    def __init__(self, app: Flask, origins: tuple[str, ...], root: str = "/", support: str = "") -> None:
        self._app = app
        self._root = root
        self._closing = f"\n\nQuestions about your account? {support}" if support else ""
        self._origin = origins[0] if origins else IN_DEBUG

    def write(self, template: str, facts: Mapping[str, object]) -> Written:
        """Return the mail of a template.

        Args:
            template: its name, such as `reset_password`.
            facts: what it tells of.
        """
        told: dict[str, Any] = {"site": self._origin.partition("://")[2], "origin": self._origin, **facts}
        told["from_where"] = _from_where(str(facts.get("browser", "")), str(facts.get("ip", "")))
        told["pages"] = {name: self._url(page) + anchor for name, (page, anchor) in PAGES.items()}
        subject, _, text = self._template(f"{FOLDER}/{template}.txt").render(told).strip().partition("\n")
        subject, text = " ".join(subject.split()), f"{text.strip()}{self._closing}\n"
        told |= {"subject": subject, "paragraphs": text.strip().split("\n\n")}
        return Written(subject, text, self._template(f"{FOLDER}/{template}.html", LETTER).render(told))

    def _template(self, *names: str) -> Template:
        return self._app.jinja_env.select_template(list(names))

    def link(self, page: str, secret: str) -> str:
        """Return the URL of a page that takes a link's secret.

        Args:
            page: `reset_password` or `verify_email`.
            secret: the link's secret.
        """
        return self._url(page, token=secret)

    def _url(self, page: str, **values: str) -> str:
        scheme, _, host = self._origin.partition("://")
        urls = self._app.url_map.bind(host, script_name=self._root, url_scheme=scheme)
        return urls.build(f"gatehouse.{page}", values, force_external=True)


def _from_where(agent: str, ip: str) -> str:
    """Return such as `, with Firefox on Linux, from 192.0.2.1`, `""` where nothing is known.

    The browser is named only where it is one that we know: a stranger may have written the rest.
    """
    browser = known_browser(agent)
    return (f", with {browser}" if browser else "") + (f", from {ip}" if ip else "")
