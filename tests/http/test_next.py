"""Rule 22: whatever is sent as `next`, `Referer` or `Host`, nobody leaves the origin."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_gatehouse import public
from flask_gatehouse.http.origin import NEXT_MAX, safe_next
from tests.http.browser_url import NOWHERE, destination
from tests.http.hostile import HOSTS, NEXT, WITHIN
from tests.http.people import (
    JSON,
    PASSWORD,
    CodeFactor,
    StillClock,
    add_user,
    answer_factor,
    come_in,
    enter,
    log_in,
    log_out,
    reauthenticate,
    token_of,
)
from tests.support.browser import launched_browser

HERE = "http://localhost"
LINKS = re.compile(r"""\b(?:href|action|src|formaction)\s*=\s*"([^"]*)\"""")
NEXT_FIELD = re.compile(r'name="next" value="([^"]*)"')


def pages(app, gate):
    app.get("/protected", endpoint="protected")(lambda: "inside")
    app.get("/fresh-only/<path:rest>", endpoint="deep")(lambda rest: "inside")
    app.post("/post-only", endpoint="post_only")(lambda: "posted")
    app.get("/folder/", endpoint="folder")(public(lambda: "folder"))
    app.get("/go/<path:rest>/", endpoint="go")(public(lambda rest: rest))


def stays(location: str | None, base: str = HERE) -> bool:
    """Tell whether a browser that reads this `Location` stays; its header may not be split either."""
    assert location
    assert "\r" not in location
    assert "\n" not in location
    return destination(base, location) == base


FORM = "application/x-www-form-urlencoded"


def _encoded(fields: dict[str, str]) -> str:
    """Return a form's body as a careless client sends it: lone surrogates as their three bytes."""
    return "&".join(
        f"{name}={quote_from_bytes(text.encode('utf-8', 'surrogatepass'))}" for name, text in fields.items()
    )


@pytest.fixture
def app(build):
    app = build(pages, GATEHOUSE_THROTTLE="off")
    add_user(app)
    return app


def test_the_corpus_is_large():
    assert len(set(NEXT)) == len(NEXT) >= 80
    assert len(set(HOSTS)) == len(HOSTS) >= 40


def test_the_oracle_knows_where_the_corpus_leads():
    """An oracle that says "here" to everything would judge nothing."""
    away = [value for value in NEXT if destination(HERE, value) not in {HERE, NOWHERE}]
    nowhere = [value for value in NEXT if destination(HERE, value) == NOWHERE]
    assert len(away) > 35
    assert len(nowhere) > 10
    assert {destination(HERE, value) for value in WITHIN} == {HERE}


def test_the_oracle_agrees_with_chromium():
    ask = """([base, links]) => links.map(link => {
        try { const url = new URL(link, base); return url.protocol.startsWith("http") ? url.origin : "null" }
        catch { return "null" }
    })"""
    values = [value for value in (*NEXT, *WITHIN) if "\ud800" not in value]
    with launched_browser() as browser:
        answers = browser.new_page().evaluate(ask, [HERE, values])
    differ = {
        value: (said, ours)
        for value, said in zip(values, answers, strict=True)
        if (said == HERE) != ((ours := destination(HERE, value)) == HERE)
    }
    assert differ == {}


# --- next ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["form", "query"])
def test_v3_7_2_v1_5_3_v1_2_2_rule_22_no_next_leads_a_login_away(app, by):
    client = app.test_client()
    token, seen = token_of(client), set()
    for value in NEXT:
        data = {"csrf_token": token, "username": "alice", "password": PASSWORD}
        if by == "form":
            answer = client.post("/login", data=_encoded({**data, "next": value}), content_type=FORM)
        else:
            answer = client.post(f"/login?{_encoded({'next': value})}", data=data)
        if answer.status_code in {400, 422}:  # text that is no UTF-8
            assert "\ud800" in value
            continue
        assert answer.status_code == 303, repr(value)
        assert stays(answer.location), repr(value)
        seen.add(answer.location)
        client = app.test_client()
        token = token_of(client)
    assert seen == {"/"}


def test_rule_22_next_within_the_app_is_followed_re_serialised(app):
    for value, location in WITHIN.items():
        client = app.test_client()
        answer = log_in(client, next=value)
        assert (answer.status_code, answer.location) == (303, location)


def test_rule_22_the_form_comes_before_the_query(app):
    client = app.test_client()
    data = {"csrf_token": token_of(client), "username": "alice", "password": PASSWORD, "next": "/account"}
    assert client.post("/login?next=/protected", data=data).location == "/account"


def test_rule_22_programs_are_told_of_no_place_outside_either(app):
    for value in NEXT:
        if "\ud800" in value:
            continue
        client = app.test_client()
        data = {"csrf_token": token_of(client), "username": "alice", "password": PASSWORD, "next": value}
        answer = client.post("/login", data=data, headers=JSON)
        assert answer.status_code == 200, repr(value)
        assert answer.get_json()["next"] == "/", repr(value)


def test_rule_22_the_pages_that_carry_next_along_carry_no_hostile_one(build):
    factor, clock = CodeFactor(), StillClock()
    app = build(pages, factors=[factor], clock=clock)
    factor.holders.add(add_user(app, "bob").id)
    alice, pending = come_in(app), app.test_client()
    log_in(pending, "bob")
    for value in NEXT:
        query = _encoded({"next": value})
        for client, path in ((app.test_client(), "/login"), (alice, "/reauthenticate"), (pending, "/login/factor")):
            shown = client.get(f"{path}?{query}")
            assert shown.status_code == 200
            links = [unescape(link) for link in LINKS.findall(shown.text)]
            assert [link for link in links if not stays(link)] == []
            assert NEXT_FIELD.findall(shown.text) == []
    shown = alice.get("/reauthenticate?next=/protected%3Fa=%22%3E")
    assert [unescape(value) for value in NEXT_FIELD.findall(shown.text)] == ["/protected?a=%22%3E"]


@pytest.mark.parametrize("value", NEXT[:12])
def test_rule_22_every_door_that_takes_next_refuses_a_hostile_one(build, value):
    factor = CodeFactor()
    app = build(pages, factors=[factor])
    factor.holders.add(add_user(app, "bob").id)
    alice, bob = come_in(app), app.test_client()
    assert reauthenticate(alice, next=value).location == "/account"
    assert log_in(bob, "bob", next=value).location == "/login/factor"
    assert answer_factor(bob, next=value).location == "/"
    assert log_out(alice, next=value).location == "/login"


def test_rule_22_every_door_that_takes_next_follows_one_within(build):
    factor = CodeFactor()
    app = build(pages, factors=[factor])
    factor.holders.add(add_user(app, "bob").id)
    alice, bob = come_in(app), app.test_client()
    assert reauthenticate(alice, next="/protected").location == "/protected"
    assert log_in(bob, "bob", next="/protected").location == "/login/factor?next=/protected"
    assert answer_factor(bob, next="/protected").location == "/protected"
    assert log_out(alice, next="/folder/").location == "/folder/"


@pytest.mark.parametrize("target", ["/post-only", "/logout", "/account/sessions/end-all", "/logout?x=/"])
def test_rule_22_next_is_a_place_that_answers_get(app, target):
    assert log_in(app.test_client(), next=target).location == "/"


def test_rule_22_after_login_is_the_default_and_a_path_of_the_app(build):
    app = build(pages, GATEHOUSE_AFTER_LOGIN="/protected")
    add_user(app)
    assert log_in(app.test_client()).location == "/protected"
    assert log_in(app.test_client(), next="//evil.example").location == "/protected"
    assert log_in(app.test_client(), next="/account").location == "/account"


def test_rule_22_next_keeps_the_mount_point_of_the_app(app):
    client = app.test_client()
    mounted = {"base_url": "http://localhost/sub"}
    assert client.get("/protected", **mounted).location == "/sub/login?next=/sub/protected"
    answer = client.get("/login?next=/sub/protected", **mounted)
    assert NEXT_FIELD.findall(answer.text) == ["/sub/protected"]
    assert NEXT_FIELD.findall(client.get("/login?next=/sub/logout", **mounted).text) == []


def test_v4_2_5_a_long_next_is_dropped_and_no_location_grows_beyond_two_kilobytes(app):
    longest = "/" + "a" * (NEXT_MAX - 1)
    assert log_in(app.test_client(), next=longest).location == longest
    assert log_in(app.test_client(), next=longest + "a").location == "/"
    guest = app.test_client()
    for path in (f"/fresh-only/{'a' * 8000}", f"/fresh-only/{'%20' * 1500}", f"/protected?q={'%C3%A9' * 900}"):
        location = guest.get(path).location
        assert location is not None
        assert len(location) < 2100
        assert location.startswith("/login")


# --- what the gate makes of the present URL -----------------------------------------------------------------


def test_rule_22_a_guest_is_sent_to_log_in_and_back_to_the_very_url(app):
    guest = app.test_client()
    for path in ("/protected", "/protected?a=1&b=%20%26", "/fresh-only/a%20b/c", "/protected?q=caf%C3%A9&r=%C3%A0"):
        location = guest.get(path).location
        assert location is not None
        shown = guest.get(location)
        (target,) = [unescape(value) for value in NEXT_FIELD.findall(shown.text)]
        assert target == path


def test_rule_22_raw_bytes_of_a_query_come_back_as_the_same_bytes(app):
    guest = app.test_client()
    location = guest.get("/protected", environ_overrides={"QUERY_STRING": "q=caf\xc3\xa9&r=\xc3\xa0"}).location
    assert location == "/login?next=/protected?q%3Dcaf%25C3%25A9%26r%3D%25C3%25A0"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_rule_22_only_get_and_head_come_back(build, method):
    app = build(lambda app, gate: app.add_url_rule("/x", "x", lambda: "x", methods=["GET", method]))
    guest = app.test_client()
    assert guest.open("/x", method=method).location == "/login"
    assert guest.get("/x").location == guest.head("/x").location == "/login?next=/x"


def raw_targets(value):
    """Return request targets that hold the text, as raw as a server would hand it over."""
    raw = value.encode("utf-8", "surrogatepass").decode("latin-1")
    query = re.sub(r"[\r\n]", "", raw)  # which a server splits requests by
    return [
        {"PATH_INFO": f"/fresh-only/{raw}"},
        {"PATH_INFO": raw},
        {"PATH_INFO": "/protected", "QUERY_STRING": query},
        {"PATH_INFO": f"/go/{raw}"},
        {"PATH_INFO": f"{raw}/folder"},
        {"PATH_INFO": "/folder", "QUERY_STRING": query},
    ]


def test_rule_22_no_path_or_query_of_a_request_leads_away(app):
    guest, redirects = app.test_client(), 0
    for target in (target for value in NEXT for target in raw_targets(value)):
        answer = guest.get("/", environ_overrides=target)
        assert answer.status_code in {200, 302, 308, 400, 404}, target
        if answer.location:
            redirects += 1
            assert stays(answer.location), (target, answer.location)
    assert redirects > 300


# --- Referer and Host ---------------------------------------------------------------------------------------


def test_rule_22_the_referer_decides_nothing(app):
    for value in NEXT:
        raw = value.encode("utf-8", "surrogatepass").decode("latin-1")
        client = app.test_client()
        assert client.get("/protected", environ_overrides={"HTTP_REFERER": raw}).location == "/login?next=/protected"
        token = token_of(client)
        data = {"csrf_token": token, "username": "alice", "password": PASSWORD}
        answer = client.post("/login", data=data, environ_overrides={"HTTP_REFERER": raw})
        assert (answer.status_code, answer.location) == (303, "/")


def test_rule_22_a_foreign_host_gets_400_and_no_location_or_cookie(build):
    app = build(pages, GATEHOUSE_ORIGINS="https://app.example")
    add_user(app)
    client = app.test_client()
    for host in HOSTS:
        for method, path in (
            ("GET", "/protected"),
            ("POST", "/login"),
            ("GET", "/folder"),
            ("GET", "/login"),
            ("GET", "/nowhere"),
        ):
            answer = client.open(
                path,
                method=method,
                environ_overrides={"HTTP_HOST": host, "wsgi.url_scheme": "https", "SERVER_PORT": "443"},
            )
            assert answer.status_code == 400, (host, path)
            assert answer.location is None
            assert "Set-Cookie" not in answer.headers
            assert host.strip() == "" or host not in answer.text


def test_rule_22_the_right_host_in_any_case_is_served_and_redirects_stay_there(build):
    app = build(pages, GATEHOUSE_ORIGINS="https://app.example")
    for host in ("app.example", "APP.Example", "app.example:443"):
        environ = {"HTTP_HOST": host, "wsgi.url_scheme": "https", "SERVER_PORT": "443"}
        guest = app.test_client()
        assert guest.get("/protected", environ_overrides=environ).location == "/login?next=/protected"
        location = guest.get("/folder", environ_overrides=environ).location
        assert stays(location, "https://app.example")


def test_rule_22_forwarding_headers_name_no_host(build):
    app = build(pages, GATEHOUSE_ORIGINS="https://app.example", GATEHOUSE_TRUSTED_PROXIES="127.0.0.0/8")
    headers = {
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Server": "evil.example",
        "X-Original-Host": "evil.example",
        "X-Host": "evil.example",
        "Forwarded": "host=evil.example;proto=http",
        "X-Forwarded-Prefix": "//evil.example",
        "X-Script-Name": "//evil.example",
        "X-Original-URL": "//evil.example",
        "X-Rewrite-URL": "//evil.example",
    }
    guest = app.test_client()
    for path in ("/protected", "/folder"):
        location = guest.get(path, base_url="https://app.example", headers=headers).location
        assert stays(location, "https://app.example")
        assert "evil" not in str(location)


# --- any text at all ----------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [
        *(
            "/",
            "//",
            "\\",
            "%2f",
            "%5c",
            "%25",
            "%09",
            "\t",
            "\n",
            "\r",
            " ",
            "\x00",
            ".",
            "..",
            "@",
            ":",
            "?",
            "#",
            ";",
        ),
        *("evil.example", "http:", "https:", "javascript:", "x", "\xa0", "\u2028", "[", "]", "&", "=", "%", "%2e"),
    ]
)


@settings(max_examples=400)
@given(st.lists(PIECES, max_size=8).map("".join) | st.text(max_size=30).map("/{}".format))
def test_v1_1_1_rule_22_whatever_passes_the_validator_stays_here(value):
    found = safe_next(value)
    if found is None:
        return
    assert destination(HERE, found) == HERE
    assert destination(HERE, value) == HERE
    assert safe_next(found) == found
    assert found.isascii()
    assert not re.search(r"[\x00-\x20\x7f\\]", found)


def test_a_user_logs_in_and_lands_where_they_wanted_to_be(app):
    client = app.test_client()
    location = client.get("/protected?a=1").location
    shown = client.get(location)
    (target,) = NEXT_FIELD.findall(shown.text)
    assert log_in(client, next=unescape(target)).location == "/protected?a=1"
    assert enter(app).get("/protected").text == "inside"
