"""Rules 20 and 21: forged requests are refused by token and Origin; what excuses a request from them, and what not."""

from __future__ import annotations

import pytest
from flask import jsonify, render_template_string, request
from flask_wtf import CSRFProtect, FlaskForm
from wtforms import StringField

from flask_gatehouse import current_user, public
from tests.http.people import (
    JSON,
    PASSWORD,
    CodeFactor,
    StillClock,
    add_user,
    answer_factor,
    come_in,
    cookie,
    count,
    enter,
    entries,
    is_inside,
    log_in,
    our_pages,
    problem,
    token_of,
)

HERE = "http://localhost"
UNSAFE = ("POST", "PUT", "PATCH", "DELETE")


def pages(app, gate):
    app.get("/protected", endpoint="protected")(lambda: "inside")
    app.add_url_rule("/change", "change", lambda: "changed", methods=["GET", *UNSAFE])
    app.add_url_rule("/open-change", "open_change", public(lambda: "changed"), methods=["GET", *UNSAFE])

    @app.get("/token")
    @public
    def token():
        return render_template_string("{{ csrf_token() }}")


@pytest.fixture
def app(build):
    return build(pages)


def send(client, path, token=None, *, method="POST", origin=None, **options):
    """Send a change with a token in the form and an Origin."""
    headers = {**options.pop("headers", {}), **({"Origin": origin} if origin is not None else {})}
    data = {**options.pop("data", {}), **({"csrf_token": token} if token is not None else {})}
    return client.open(path, method=method, data=data, headers=headers, **options)


# --- the token always counts --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", UNSAFE)
def test_v3_5_1_rule_21_every_unsafe_method_needs_the_token(app, method):
    alice = come_in(app)
    token = token_of(alice)
    assert send(alice, "/change", method=method).status_code == 403
    assert send(alice, "/change", "", method=method).status_code == 403
    assert send(alice, "/change", "x" + token, method=method).status_code == 403
    assert send(alice, "/change", token, method=method).text == "changed"


def test_v3_5_1_rule_21_open_routes_and_guests_need_it_too(app):
    guest = app.test_client()
    assert send(guest, "/open-change").status_code == 403
    assert send(guest, "/open-change", token_of(guest)).text == "changed"


def test_v3_5_1_v7_6_2_rule_21_login_needs_it_so_nobody_is_logged_in_by_another_site(app):
    add_user(app)
    client = app.test_client()
    data = {"username": "alice", "password": PASSWORD}
    for headers, token in (
        ({}, None),
        ({"Origin": "https://evil.example"}, token_of(client)),
        ({"Sec-Fetch-Site": "cross-site"}, token_of(client)),
        ({}, token_of(app.test_client())),
    ):
        assert send(client, "/login", token, data=data, headers=headers).status_code == 403
        assert cookie(client) == ""
    assert count(app) == 0


def test_v3_5_1_rule_21_every_action_of_our_own_pages_needs_it(build):
    factor = CodeFactor()  # some of them are open to who has proven two factors alone
    app = build(pages, factors=[factor])
    factor.holders.add(add_user(app, "root", "admin").id)
    root = app.test_client()
    log_in(root, "root")
    assert answer_factor(root).status_code == 303
    add_user(app, "alice")
    before = entries(app, "user.suspended") + entries(app, "role.granted")[1:]
    data = {"reason": "x", "role": "admin"}
    refused = {endpoint: send(root, path, data=data).status_code for endpoint, path in our_pages(app, "POST").items()}
    assert len(refused) > 15
    assert set(refused.values()) == {403}
    assert entries(app, "user.suspended") + entries(app, "role.granted")[1:] == before
    assert count(app) == 1


@pytest.mark.parametrize("header", ["X-CSRFToken", "X-CSRF-Token"])
def test_rule_21_scripts_send_the_token_in_a_header(app, header):
    alice = come_in(app)
    token = token_of(alice)
    assert alice.post("/change", json={}, headers={header: token}).text == "changed"
    assert alice.post("/change", json={"csrf_token": token}).status_code == 403
    assert alice.post(f"/change?csrf_token={token}").status_code == 403
    assert send(alice, "/change", token, headers={header: "wrong"}).status_code == 403


def test_rule_21_a_token_lives_as_long_as_its_session(build):
    clock = StillClock()
    app = build(pages, clock=clock)
    alice = come_in(app)
    token = token_of(alice)
    for _ in range(20):
        clock.move(minutes=55)
        assert send(alice, "/change", token).text == "changed"


def test_rule_21_tokens_differ_from_page_to_page_and_all_of_them_count(app):
    alice = come_in(app)
    tokens = [token_of(alice) for _ in range(3)]
    assert [send(alice, "/change", token).text for token in tokens] == ["changed"] * 3


def test_rule_21_a_token_made_with_a_fallback_key_still_counts(build):
    old = build(pages)
    guest = old.test_client()
    token = token_of(guest)
    rotated = build(
        pages, SECRET_KEY="the next secret of the tests, just as long", SECRET_KEY_FALLBACKS=[old.config["SECRET_KEY"]]
    )
    later = rotated.test_client()
    later.set_cookie("gatehouse-guest", cookie(guest, "gatehouse-guest"))
    assert send(later, "/open-change", token).text == "changed"
    stranger = build(pages, SECRET_KEY="another secret of the tests, just as long").test_client()
    stranger.set_cookie("gatehouse-guest", cookie(guest, "gatehouse-guest"))
    assert send(stranger, "/open-change", token).status_code == 403


def test_v16_3_3_rule_21_a_refusal_is_recorded_for_somebody_inside(app):
    alice = come_in(app)
    send(alice, "/change")
    entry = entries(app)[0]
    assert (entry.kind, entry.outcome, entry.actor) == ("csrf.refused", "refused", "alice")
    assert "/change" in entry.detail


def test_rule_21_refusals_say_what_to_do(app):
    alice = come_in(app)
    page = send(alice, "/change")
    assert "the CSRF token is missing" in page.text
    assert "Reload the page" in page.text
    assert "missing" in problem(send(alice, "/change", headers=JSON))["detail"]


# --- Origin and Sec-Fetch-Site ------------------------------------------------------------------------------

FOREIGN = [
    "https://evil.example",
    "http://evil.example",
    "null",
    "",
    "https://app.example.evil.example",
    "https://app.example@evil.example",
    "http://app.example",
    "https://app.example:8443",
    "https://app.example/",
    "HTTPS://APP.EXAMPLE/x",
    "https://app.example, https://evil.example",
    "app.example",
    "https://",
    "file://",
    "https://xapp.example",
    "https://sub.app.example",
    "http://localhost",
    "http://127.0.0.1:8000",
    "\xe4",
]


def test_v3_4_2_rule_21_a_foreign_origin_is_refused_whatever_the_token(build):
    app = build(pages, GATEHOUSE_ORIGINS="https://app.example, https://second.example:8443")
    base = {"base_url": "https://app.example"}
    guest = app.test_client()
    token = guest.get("/token", **base).text
    headers = {"Referer": "https://app.example/"}
    for origin in FOREIGN:
        answer = send(guest, "/open-change", token, headers=headers, environ_overrides={"HTTP_ORIGIN": origin}, **base)
        assert answer.status_code == 403, origin
        assert origin == "" or "Access-Control-Allow-Origin" not in answer.headers
    for origin in ("https://app.example", "https://second.example:8443"):
        assert send(guest, "/open-change", token, origin=origin, **base).text == "changed"
        assert send(guest, "/open-change", origin=origin, **base).status_code == 403
        assert send(guest, "/open-change", token[2:], origin=origin, **base).status_code == 403


def test_v3_4_2_no_answer_lets_other_origins_read_it(app):
    alice = come_in(app)
    for origin in ("https://evil.example", "null", HERE):
        for method in ("GET", "OPTIONS", "POST"):
            answer = alice.open("/change", method=method, headers={"Origin": origin})
            assert not [name for name, _ in answer.headers if name.lower().startswith("access-control-")]
            assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_rule_21_without_origins_debug_and_tests_accept_loopback_names_only(app):
    guest = app.test_client()
    token = token_of(guest)
    for origin in (HERE, "http://127.0.0.1:5000", "http://[::1]:8000", "https://localhost"):
        assert send(guest, "/open-change", token, origin=origin).text == "changed"
    for origin in (
        "http://evil.example",
        "http://localhost.evil.example",
        "null",
        "http://127.0.0.2",
        "ftp://localhost",
    ):
        assert send(guest, "/open-change", token, origin=origin).status_code == 403


def test_rule_21_a_missing_origin_never_excuses_the_token(app):
    guest = app.test_client()
    token = token_of(guest)
    assert send(guest, "/open-change", token).text == "changed"
    assert send(guest, "/open-change").status_code == 403


@pytest.mark.parametrize("site, status", [("cross-site", 403), ("same-site", 200), ("same-origin", 200), ("none", 200)])
def test_rule_21_sec_fetch_site_may_refuse_and_never_excuses(app, site, status):
    guest = app.test_client()
    token = token_of(guest)
    assert send(guest, "/open-change", token, headers={"Sec-Fetch-Site": site}).status_code == status
    assert send(guest, "/open-change", headers={"Sec-Fetch-Site": site}).status_code == 403


def test_rule_21_no_referer_is_demanded_over_tls(build):
    app = build(pages, GATEHOUSE_ORIGINS="https://app.example")
    guest = app.test_client()
    token = guest.get("/token", base_url="https://app.example").text
    assert send(guest, "/open-change", token, base_url="https://app.example").text == "changed"


def test_rule_21_pages_with_a_form_send_referrer_policy_same_origin(app):
    alice = come_in(app)
    for path in ("/login", "/register", "/account", "/account/password", "/account/sessions", "/reauthenticate"):
        shown = alice.get(path)
        assert 'name="csrf_token"' in shown.text
        assert shown.headers["Referrer-Policy"] == "same-origin"
        assert 'name="referrer"' not in shown.text


# --- what excuses -------------------------------------------------------------------------------------------


def test_rule_21_wtf_csrf_enabled_false_works_in_tests(build):
    alice = come_in(build(pages, WTF_CSRF_ENABLED=False))
    assert send(alice, "/change").text == "changed"


def test_rule_21_wtf_csrf_enabled_false_is_refused_outside_tests(build, caplog):
    app = build(pages, TESTING=False, DEBUG=True, WTF_CSRF_ENABLED=False, GATEHOUSE_ARGON2="19456,2,1")
    assert app.test_client().get("/token").status_code == 500
    assert "refusing to serve: WTF_CSRF_ENABLED" in caplog.text


@pytest.mark.parametrize("value", [None, 0, "", "False"])
def test_rule_21_nothing_but_false_itself_turns_it_off(build, value):
    alice = come_in(build(pages, WTF_CSRF_ENABLED=value))
    assert send(alice, "/change").status_code == 403


def test_rule_21_settings_of_flask_wtf_that_would_weaken_it_do_not(build):
    weak = {"WTF_CSRF_METHODS": [], "WTF_CSRF_CHECK_DEFAULT": False, "WTF_CSRF_TIME_LIMIT": 0, "WTF_CSRF_HEADERS": []}
    alice = come_in(build(pages, **weak))
    assert send(alice, "/change").status_code == 403
    assert send(alice, "/change", token_of(alice)).text == "changed"


# --- the host's own forms -----------------------------------------------------------------------------------


class HostForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF has no types
    title = StringField("Title")


def with_form(app, gate):
    @app.route("/form", methods=["GET", "POST"])
    @public
    def form():
        made = HostForm()
        if made.validate_on_submit():
            return f"saved {made.title.data}"
        return render_template_string("{{ form.hidden_tag() }}{{ form.errors }}", form=made)

    @app.post("/json")
    @public
    def as_json():
        return jsonify(request.get_json())


@pytest.mark.parametrize("protected", [False, True], ids=["plain", "with CSRFProtect"])
def test_rule_21_a_flask_form_of_the_host_works_as_it_stands(build, protected):
    app = build(with_form, before=CSRFProtect if protected else None)
    for client in (app.test_client(), come_in(app)):
        token = token_of(client, "/form")
        assert send(client, "/form", token, data={"title": "spring"}).text == "saved spring"
        assert send(client, "/form", data={"title": "spring"}).status_code == 403
        assert client.post("/json", json={"a": 1}, headers={"X-CSRFToken": token}).get_json() == {"a": 1}


def test_rule_21_the_token_of_a_host_form_is_new_after_login(build):
    app = build(with_form)
    client = app.test_client()
    add_user(app)
    before = token_of(client, "/form")
    log_in(client)
    assert send(client, "/form", before, data={"title": "x"}).status_code == 403
    assert send(client, "/form", token_of(client, "/form"), data={"title": "x"}).text == "saved x"


# --- schemes (rule 20) --------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["Bearer abc", "bearer abc", "BEARER", " Bearer x", "Bearer \xe9"])
def test_rule_20_with_a_bearer_token_the_cookie_is_ignored(app, value):
    alice = come_in(app)
    headers = {"Authorization": value}
    answer = alice.get("/protected", headers=headers)
    assert answer.status_code == 401
    assert problem(answer)["type"].endswith("/login")
    assert answer.headers["WWW-Authenticate"]
    assert "Set-Cookie" not in answer.headers
    assert is_inside(alice)


@pytest.mark.parametrize("value", ["Basic YTpi", "Basic", "Digest x", "Negotiate x", "Bearerx", "", "x", "Basic \xff"])
def test_rule_20_any_other_scheme_is_not_ours_and_the_cookie_counts_as_usual(app, value):
    alice = come_in(app)
    headers = {"Authorization": value}
    assert is_inside(alice, headers=headers)
    assert send(alice, "/change", headers=headers).status_code == 403
    assert send(alice, "/change", token_of(alice), headers=headers).text == "changed"


def test_rule_20_a_bearer_token_that_gives_no_identity_excuses_no_csrf(app):
    alice, guest = come_in(app), app.test_client()
    bearer = {"Authorization": "Bearer abc"}
    for client in (alice, guest):
        assert send(client, "/open-change", headers=bearer).status_code == 403
        assert (
            send(client, "/login", headers=bearer, data={"username": "alice", "password": PASSWORD}).status_code == 403
        )


def test_rule_20_a_scheme_of_a_proxy_does_not_make_anybody_somebody(app):
    guest = app.test_client()
    for name in ("REMOTE_USER", "HTTP_REMOTE_USER", "HTTP_X_REMOTE_USER", "HTTP_X_FORWARDED_USER", "HTTP_X_USER"):
        assert guest.get("/protected", environ_overrides={name: "alice", "AUTH_TYPE": "Basic"}).status_code == 302


def test_current_user_is_anonymous_under_a_bearer_token(build):
    app = build(lambda app, gate: app.get("/who", endpoint="who")(public(lambda: str(current_user.get_id()))))
    come_in(app)
    assert enter(app).get("/who").text == "1"
    assert enter(app).get("/who", headers={"Authorization": "Bearer x"}).text == "None"


# --- safe methods -------------------------------------------------------------------------------------------


def test_v3_5_3_safe_methods_change_nothing(build):
    app = build(pages)
    root = come_in(app, "root", "admin")
    add_user(app, "alice")
    before = len(entries(app))
    actions = (
        our_pages(app, "POST").keys()
        - our_pages(app, "GET").keys()
        - {"gatehouse.change_email", "gatehouse.admin_create_role"}
    )
    assert len(actions) > 8
    for path in (our_pages(app, "POST")[endpoint] for endpoint in actions):
        assert [root.get(path).status_code, root.head(path).status_code] == [405, 405], path
        assert root.options(path).status_code == 200
    assert len(entries(app)) == before
    assert is_inside(root)
