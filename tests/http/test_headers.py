"""The response headers of every answer, and the policy of our own pages."""

from __future__ import annotations

import re

import pytest
from flask import Response

from flask_gatehouse import public
from tests.http.people import JSON, come_in, our_pages

FIXED = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Permitted-Cross-Domain-Policies": "none",
}
TLS = {"base_url": "https://app.example"}


def pages(app, gate):
    app.get("/plain", endpoint="plain")(public(lambda: "plain"))
    app.get("/inside", endpoint="inside")(lambda: "inside")

    @app.get("/own")
    @public
    def own():
        kept = {"x-frame-options": "SAMEORIGIN", "Content-Security-Policy": "default-src 'self'"}
        return Response("own", headers={**kept, "Strict-Transport-Security": "max-age=1"})

    @app.get("/broken")
    @public
    def broken():
        raise RuntimeError("a secret of the inside")


EVERY_ANSWER = {
    "/plain": 200,
    "/inside": 302,
    "/nowhere": 404,
    "/logout": 405,
    "/broken": 500,
    "/login": 200,
    "/gatehouse-static/gatehouse.css": 200,
    "/gatehouse-static/none.css": 404,
}


@pytest.fixture
def app(build):
    return build(pages, PROPAGATE_EXCEPTIONS=False)


def test_v3_4_4_v3_4_5_v3_4_6_v3_4_8_v3_5_8_every_answer_bears_the_fixed_headers(app):
    guest = app.test_client()
    for path, status in EVERY_ANSWER.items():
        answer = guest.get(path, buffered=True)
        assert answer.status_code == status, path
        assert {name: answer.headers.getlist(name) for name in FIXED} == {name: [FIXED[name]] for name in FIXED}, path
    for answer in (guest.post("/login"), guest.get("/inside", headers=JSON), guest.options("/plain")):
        assert all(name in answer.headers for name in FIXED)


def test_what_a_view_sets_itself_stays(app):
    answer = app.test_client().get("/own")
    assert answer.headers.getlist("X-Frame-Options") == ["SAMEORIGIN"]
    assert answer.headers["Content-Security-Policy"] == "default-src 'self'"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_v3_4_1_v3_7_4_every_answer_over_tls_asks_for_tls_for_two_years(build):
    app = build(pages, GATEHOUSE_ORIGINS="https://app.example", PROPAGATE_EXCEPTIONS=False)
    guest = app.test_client()
    for path, status in EVERY_ANSWER.items():
        answer = guest.get(path, buffered=True, **TLS)
        assert answer.status_code == status, path
        assert answer.headers.getlist("Strict-Transport-Security") == ["max-age=63072000; includeSubDomains"], path
    assert guest.get("/own", **TLS).headers.getlist("Strict-Transport-Security") == ["max-age=1"]


def test_v3_4_1_tls_is_asked_for_behind_a_proxy_that_ends_it(build):
    """The server itself speaks plain HTTP; that the origin is https is known from GATEHOUSE_ORIGINS."""
    app = build(pages, GATEHOUSE_ORIGINS="https://app.example")
    answer = app.test_client().get("/plain", environ_overrides={"HTTP_HOST": "app.example"})
    assert "Strict-Transport-Security" in answer.headers


def test_no_tls_is_asked_for_on_plain_http(app):
    guest = app.test_client()
    assert all(
        "Strict-Transport-Security" not in guest.get(path, buffered=True).headers
        for path in EVERY_ANSWER
        if path != "/own"
    )


# --- the policy of our own pages ----------------------------------------------------------------------------


def directives(answer):
    """Return a Content-Security-Policy by directive."""
    parts = (part.split() for part in answer.headers["Content-Security-Policy"].split(";"))
    return {name: values for name, *values in parts}


def test_v3_4_3_v3_4_6_our_pages_allow_nothing_but_our_own_style_and_script(build):
    app = build(pages)
    root = come_in(app, "root", "admin")
    checked = 0
    for path in our_pages(app, "GET").values():
        answer = root.get(path)
        if answer.status_code == 302:
            continue
        checked += 1
        policy = directives(answer)
        (nonce,) = set(re.findall(r'<script [^>]*nonce="([^"]+)"', answer.text))
        assert policy["default-src"] == policy["object-src"] == policy["base-uri"] == ["'none'"]
        assert policy["frame-ancestors"] == ["'none'"]
        assert policy["script-src"] == [f"'nonce-{nonce}'"]
        assert policy["form-action"] == ["'self'"]
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert len(nonce) >= 22
    assert checked > 10


def test_v3_4_3_the_nonce_is_new_with_every_answer(app):
    guest = app.test_client()
    assert len({guest.get("/login").headers["Content-Security-Policy"] for _ in range(5)}) == 5


def test_the_hosts_pages_get_a_policy_when_told(build):
    app = build(pages, GATEHOUSE_CSP="default-src 'self'; frame-ancestors 'none'")
    guest = app.test_client()
    assert guest.get("/plain").headers.getlist("Content-Security-Policy") == [
        "default-src 'self'; frame-ancestors 'none'"
    ]
    assert guest.get("/own").headers["Content-Security-Policy"] == "default-src 'self'"
    assert directives(guest.get("/login"))["default-src"] == ["'none'"]


def test_without_the_setting_the_hosts_pages_get_none(app):
    assert "Content-Security-Policy" not in app.test_client().get("/plain").headers


def test_v3_4_3_refusals_are_pages_of_ours_too(app):
    guest = app.test_client()
    for answer in (guest.post("/login"), come_in(app).get("/admin")):
        assert answer.status_code == 403
        assert directives(answer)["default-src"] == ["'none'"]


# --- what is not said ---------------------------------------------------------------------------------------


def test_v4_1_1_every_answer_says_its_type_and_charset(app):
    guest = app.test_client()
    for path in ("/login", "/register", "/nowhere", "/gatehouse-static/gatehouse.css"):
        assert guest.get(path, buffered=True).headers["Content-Type"].endswith("charset=utf-8")
    assert guest.get("/inside", headers=JSON).headers["Content-Type"] == "application/problem+json"


def test_v13_4_6_v16_5_1_no_version_trace_or_secret_is_shown(app):
    guest = app.test_client()
    for path in EVERY_ANSWER:
        answer = guest.get(path, buffered=True)
        assert "Server" not in answer.headers
        assert "X-Powered-By" not in answer.headers
        assert not re.search(r"Traceback|Werkzeug|Flask/|sqlalchemy|a secret of the inside", answer.text), path


def test_v3_5_6_a_callback_parameter_makes_no_script(app):
    guest = app.test_client()
    for path in ("/login", "/inside"):
        answer = guest.get(f"{path}?callback=steal", headers={**JSON, "Sec-Fetch-Dest": "script"})
        assert "javascript" not in answer.headers["Content-Type"]
        assert "steal(" not in answer.text


def test_v3_5_7_the_script_is_the_same_for_everybody(app):
    path = "/gatehouse-static/gatehouse.js"
    assert (
        app.test_client().get(path, buffered=True).get_data() == come_in(app).get(path, buffered=True).get_data() != b""
    )


def test_headers_of_a_page_are_not_taken_for_the_hosts_by_a_missing_state(build):
    """A request that fails before Flask has opened a session still gets the fixed headers."""
    app = build(pages, TRUSTED_HOSTS=["localhost"])
    answer = app.test_client().get("/plain", headers={"Host": "evil.example"})
    assert answer.status_code == 400
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
