"""A real browser on a real other origin: what a hostile page makes Chromium do to somebody who is logged in."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import Browser, Page
from werkzeug.serving import make_server

from tests.support.people import PASSWORD, make_person, services_of
from tests.support.visitor import csrf_token

Site = tuple[str, str]


@dataclass
class Hostile:
    """A server of an attacker's pages, reached as the same site (another port) and as another site."""

    port: int
    pages: dict[str, str] = field(default_factory=dict)

    def url(self, host: str, path: str) -> str:
        """Return where a page is seen from: `127.0.0.1` is the app's site, `localhost` is another."""
        return f"http://{host}:{self.port}{path}"


@contextmanager
def serving(server: Any) -> Iterator[None]:
    """Serve from a thread."""
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def hostile() -> Iterator[Hostile]:
    """Return the attacker's server."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = found.pages.get(self.path, "").encode()
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
            pass

    server = ThreadingHTTPServer(("", 0), Handler)
    found = Hostile(server.server_address[1])
    with serving(server):
        yield found


@pytest.fixture
def app(make_app) -> Iterator[Flask]:
    """Return an app that is served over HTTP at the one origin it knows, `app.config["HERE"]`."""
    server = make_server("127.0.0.1", 0, Flask("nothing yet"), threaded=True)
    here = f"http://127.0.0.1:{server.server_port}"
    app: Flask = make_app(GATEHOUSE_ORIGINS=here, HERE=here)
    server.app = app
    for name in ("alice", "mallory"):
        make_person(app, name)
    with serving(server):
        yield app


@pytest.fixture
def alice(app: Flask, browser: Browser) -> Iterator[Page]:
    """Return the page of somebody who has logged in; a browser's console may complain here, that is the point."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{app.config['HERE']}/login")
    page.fill("[name=username]", "alice")
    page.fill("[name=password]", PASSWORD)
    page.click("main button[type=submit]")
    page.wait_for_url(f"{app.config['HERE']}/")
    assert is_inside(app, page)
    yield page
    context.close()


def is_inside(app: Flask, page: Page) -> bool:
    """Tell whether the browser's own visit is let in."""
    page.goto(f"{app.config['HERE']}/protected")
    return page.inner_text("body") == "inside: alice"


def kinds(app: Flask) -> list[str]:
    """Return the kinds of all events, oldest first."""
    held = services_of(app)
    with held.reading() as connection:
        return [entry.kind for entry in held.audit.search(connection, limit=1000)][::-1]


def forged_form(action: str, enctype: str = "application/x-www-form-urlencoded", **fields: str) -> str:
    """Return a page that sends a form as soon as it is shown."""
    inputs = "".join(f'<input name="{name}" value="{value}">' for name, value in fields.items())
    form = f'<form method="post" action="{action}" enctype="{enctype}">{inputs}</form>'
    return f"<!doctype html>{form}<script>document.forms[0].submit()</script>"


def sent(page: Page, url: str, at: str) -> int:
    """Open a hostile page, wait for what it sends, and return the status of the answer."""
    with page.expect_response(
        lambda response: response.request.method == "POST" and response.url.startswith(at)
    ) as got:
        page.goto(url)
    return got.value.status


ACTS = {
    "/logout": {},
    "/change": {},
    "/account": {"email": "mallory@evil.example"},
    "/account/password": {"current": PASSWORD, "password": "mallory was here", "confirm": "mallory was here"},
    "/account/sessions/end-all": {},
    "/login": {"username": "mallory", "password": PASSWORD},
    "/reauthenticate": {"password": PASSWORD},
}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"], ids=["same site", "other site"])
def test_v3_5_1_v7_6_2_rule_21_a_form_of_another_origin_changes_nothing(app, alice, hostile, host):
    here = app.config["HERE"]
    before = kinds(app)
    for number, (path, fields) in enumerate(ACTS.items()):
        hostile.pages[f"/{number}"] = forged_form(here + path, **fields)
        assert sent(alice, hostile.url(host, f"/{number}"), here + path) in {302, 403}, path
    assert is_inside(app, alice)
    assert set(kinds(app)[len(before) :]) <= {"csrf.refused"}
    if host == "127.0.0.1":  # SameSite does not help here: the browser sent the cookie along, and Origin refused
        assert kinds(app).count("csrf.refused") == len(ACTS)


def test_rule_21_not_even_a_stolen_token_helps_another_origin(app, alice, hostile):
    here = app.config["HERE"]
    alice.goto(f"{here}/account")
    token = csrf_token(alice.content())
    hostile.pages["/own"] = forged_form(f"{here}/change", csrf_token=token)
    assert sent(alice, hostile.url("127.0.0.1", "/own"), f"{here}/change") == 403
    alice.goto(f"{here}/")
    with alice.expect_response(f"{here}/change") as got:  # the same form from our own origin
        alice.set_content(forged_form(f"{here}/change", csrf_token=token))
    assert got.value.status == 200


@pytest.mark.parametrize("enctype", ["text/plain", "multipart/form-data"])
def test_v3_5_2_other_encodings_that_need_no_preflight_are_refused_too(app, alice, hostile, enctype):
    here = app.config["HERE"]
    hostile.pages["/form"] = forged_form(f"{here}/logout", enctype, csrf_token="x")
    assert sent(alice, hostile.url("127.0.0.1", "/form"), f"{here}/logout") == 403
    assert is_inside(app, alice)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"], ids=["same site", "other site"])
def test_v3_4_2_v3_5_8_scripts_of_another_origin_neither_read_nor_write(app, alice, hostile, host):
    here = app.config["HERE"]
    hostile.pages["/"] = "<!doctype html><title>x</title>"
    alice.goto(hostile.url(host, "/"))
    script = """async ([url, options]) => {
        try {
            const answer = await fetch(url, {credentials: "include", ...options});
            return [answer.type, answer.status, await answer.text()];
        } catch (error) { return ["refused", 0, ""]; }
    }"""
    for path, options in (
        ("/protected", {}),
        ("/protected", {"mode": "no-cors"}),
        ("/account", {"headers": {"Accept": "application/json"}}),
        ("/change", {"method": "POST", "mode": "no-cors"}),
        ("/change", {"method": "POST", "headers": {"X-CSRFToken": "x"}}),
        ("/change", {"method": "DELETE"}),
        ("/logout", {"method": "POST", "mode": "no-cors", "body": "csrf_token=x"}),
    ):
        kind, status, text = alice.evaluate(script, [here + path, options])
        assert (kind, status, text) in {("refused", 0, ""), ("opaque", 0, "")}, path
    assert is_inside(app, alice)
    assert not {"logout", "user.email_changed", "session.ended"} & set(kinds(app))


def test_v3_4_6_our_pages_are_shown_in_no_frame(app, alice, hostile):
    here = app.config["HERE"]
    hostile.pages["/"] = f'<!doctype html><iframe src="{here}/login"></iframe><iframe src="{here}/protected"></iframe>'
    alice.goto(hostile.url("127.0.0.1", "/"))
    alice.wait_for_timeout(500)
    shown = [frame.evaluate("document.body ? document.body.innerText : ''") for frame in alice.frames[1:]]
    assert len(shown) == 2
    assert not any("inside: alice" in text or "Log in" in text for text in shown)


def test_v3_5_3_v7_6_2_images_links_and_prefetches_of_another_origin_change_nothing(app, alice, hostile):
    here = app.config["HERE"]
    urls = [f"{here}{path}" for path in ("/logout", "/account/sessions/end-all", "/login?username=mallory", "/change")]
    parts = [f'<img src="{url}"><link rel="prefetch" href="{url}"><script src="{url}"></script>' for url in urls]
    hostile.pages["/"] = f"<!doctype html>{''.join(parts)}<a href='{urls[0]}'>go</a>"
    alice.goto(hostile.url("localhost", "/"))
    alice.click("a")
    assert alice.url == urls[0]
    assert is_inside(app, alice)
    assert kinds(app)[-1] == "login.succeeded"


def test_v3_4_8_a_page_that_opens_us_cannot_reach_the_window(app, alice, hostile):
    here = app.config["HERE"]
    hostile.pages["/"] = "<!doctype html><title>opener</title><button>open</button>"
    alice.goto(hostile.url("127.0.0.1", "/"))
    alice.evaluate(
        f"document.querySelector('button').onclick = () => {{ window.other = window.open({json.dumps(here)}) }}"
    )
    with alice.expect_popup() as opened:
        alice.click("button")
    opened.value.wait_for_load_state()
    assert opened.value.evaluate("window.opener") is None
    assert not opened.value.is_closed()
