"""What every page is made of: masked passwords, labels, a logout button, nothing inline; and how an app changes it."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flask import abort, render_template, request
from jinja2 import ChoiceLoader, DictLoader, Environment, ModuleLoader

from flask_gatehouse import public
from flask_gatehouse.domain.passwords.rules import GUIDANCE
from flask_gatehouse.flows import edit_roles, reset_password
from flask_gatehouse.flows.acts import Act
from flask_gatehouse.http import compiling
from flask_gatehouse.http.browsers import browser_name
from flask_gatehouse.http.context import WIRED
from flask_gatehouse.kernel.identity import CLI
from tests.support import SOURCE
from tests.support.flasks import SlowLoader
from tests.support.people import Elements, confirming_link, logged_in, make_person, newcomer, services_of
from tests.support.visitor import submit

GUEST_PAGES = (
    *("/login", "/register", "/forgot-password", "/reset-password/<link>", "/reset-password/gone"),
    *("/verify-email/<confirm>", "/verify-email/gone"),
)
OWN_PAGES = (
    "/account",
    "/account/password",
    "/account/security",
    "/account/close",
    "/account/sessions",
    "/account/activity",
    "/reauthenticate",
)
ROLE = "/admin/roles/auditor"
ROLES = ("/admin/roles", "/admin/roles/admin", ROLE, f"{ROLE}?seen=x&permission=users:read")
ADMIN_PAGES = (
    "/admin",
    "/admin/users",
    "/admin/users/1",
    "/admin/users/2",
    "/admin/users/99",
    "/admin/sessions",
    *ROLES,
    "/admin/audit",
)
REFUSALS = (
    "/admin/audit?since=x&before=y",
    "/admin/users?search=%00",
    "/admin/sessions?after=x",
    f"{ROLE}?after=x",
    "/account/activity?before=x",
)
CHOOSING = ("/register", "/account/password", "/reset-password/<link>")
WITH_PASSWORD = ("/login", "/reauthenticate", *CHOOSING)
SCRIPT = (SOURCE / "static" / "gatehouse.js").read_text(encoding="utf-8")


@pytest.fixture
def show(make_app):
    """Return a reader of pages, as an administrator or, where that makes sense, as a guest."""
    app = make_app()
    root = newcomer(app, "root", "admin")
    make_person(app, "bob")
    link, confirm = reset_password.make_link(services_of(app), CLI, "bob"), confirming_link(services_of(app), "bob")
    edit_roles.create(services_of(app), Act(CLI, None), "auditor", ["audit:read"])

    def shown(path):
        client = app.test_client() if path in GUEST_PAGES else root
        return client.get(path.replace("<link>", str(link)).replace("<confirm>", confirm)).get_data(as_text=True)

    return shown


@pytest.mark.parametrize("path", WITH_PASSWORD)
def test_v6_2_6_v6_2_7_63b_3_1_1_2_19_passwords_are_masked_and_managers_are_welcome(show, path):
    html = show(path)
    inputs = Elements(html).named("input")
    secrets = [field for field in inputs if field["name"] in {"password", "confirm", "current"}]
    assert secrets
    for field in secrets:
        is_new = path in CHOOSING and field["name"] != "current"
        assert field["type"] == "password"
        assert field["autocomplete"] == ("new-password" if is_new else "current-password")
        assert "maxlength" not in field  # a browser would cut what is pasted without a word
        assert field["value"] == ""
    assert "onpaste" not in html
    named = [field for field in inputs if field["name"] == "username"]
    assert all(field["autocomplete"] == "username" for field in named)
    assert named or path == "/reauthenticate"


@pytest.mark.parametrize("path", CHOOSING)
def test_63b_3_1_1_2_17_pages_that_choose_a_password_say_how(show, path):
    html = show(path)
    field = Elements(html).field("password")
    assert field["aria-describedby"] == "password-hint"
    assert f"8 characters or more. {GUIDANCE}" in html


def test_63b_3_1_1_2_17_a_refusal_repeats_the_guidance(make_app):
    client = make_app().test_client()
    answer = submit(client, "/register", username="alice", password="password1", confirm="password1")
    error = answer.get_data(as_text=True).partition('id="password-error">')[2].partition("</p>")[0]
    assert GUIDANCE in error


@pytest.mark.parametrize("path", [*OWN_PAGES, *ADMIN_PAGES, *REFUSALS, "/login", "/register"])
def test_v7_4_4_63b_5_1_10_every_page_of_somebody_logged_in_has_a_logout_button(make_app, path):
    client = newcomer(make_app(), "root", "admin")
    page = Elements(client.get(path).get_data(as_text=True))
    (form,) = [form for form in page.named("form") if form.get("action") == "/logout"]
    assert form["method"] == "post"
    following = page.found[page.found.index(("form", form)) + 1 :][:2]
    assert [tag for tag, _ in following] == ["input", "button"]
    assert following[0][1]["name"] == "csrf_token"


@pytest.mark.parametrize("path", [*GUEST_PAGES, *OWN_PAGES, *ADMIN_PAGES, *REFUSALS])
def test_every_page_is_whole(show, path):
    html = show(path)
    page = Elements(html)
    ids = [attributes["id"] for _, attributes in page.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert len(page.named("h1")) == len(page.named("main")) == 1
    assert len(Elements(html.partition("</head>")[0]).named("title")) == 1  # a picture has titles too
    assert page.named("html") == [{"lang": "en"}]
    labelled = {label["for"] for label in page.named("label")}
    shown = [field for field in page.named("input") if field["type"] != "hidden" and "hidden" not in field]
    assert all(field["id"] in labelled for field in [*shown, *page.named("select")])
    for attributes in (attributes for _, attributes in page.found):
        assert set(attributes.get("aria-describedby", "").split()) <= set(ids)
        assert set(attributes.get("aria-labelledby", "").split()) <= set(ids)
    assert all("csrf_token" in part for part in html.split('<form method="post"')[1:])
    assert all(header.get("scope") for header in page.named("th"))
    assert len(page.named("caption")) == len(page.named("table"))


@pytest.mark.parametrize("path", [*GUEST_PAGES, *OWN_PAGES, *ADMIN_PAGES])
def test_v3_6_1_v3_7_1_pages_load_nothing_from_elsewhere(show, path):
    page = Elements(show(path))
    targets = [tag.get("src") or tag.get("href") or "" for name, tag in page.found if name in {"script", "link", "img"}]
    assert targets
    assert all(target.startswith("/gatehouse-static/") for target in targets)
    assert not {"object", "embed", "applet", "iframe", "style"} & {name for name, _ in page.found}
    assert all(script["nonce"] for script in page.named("script"))


def test_v3_2_2_v3_5_5_the_script_inserts_text_only_and_listens_to_no_other_window():
    unsafe = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|Function\(|postMessage|onmessage|Storage"
    assert re.search(unsafe, SCRIPT) is None
    assert len(SCRIPT.splitlines()) <= 90


def test_v3_5_7_script_and_style_are_the_same_for_everybody(make_app):
    app = make_app()
    client = newcomer(app, "alice")
    for name in ("gatehouse.js", "gatehouse.css", "gatehouse.svg"):
        for one in (app.test_client(), client):
            with one.get(f"/gatehouse-static/{name}") as answer:
                assert answer.get_data() == (SOURCE / "static" / name).read_bytes()


def test_the_words_are_log_in_never_sign_in():
    paths = [*(SOURCE / "templates").rglob("*.html"), *SOURCE.rglob("*.py"), *SOURCE.rglob("*.js")]
    pattern = re.compile(r"(?<![a-z])sign(ed)?[ _-]?(in|out|up)(?![a-z])", re.IGNORECASE)
    assert not [path.name for path in paths if pattern.search(path.read_text(encoding="utf-8"))]
    assert [word for word in ("_SIGNED_IN", "sign in", "Signup", "signed-out") if not pattern.search(word)] == []


# --- how an app changes the pages --------------------------------------------------------------------------


def test_an_app_overrides_any_page_with_a_file_of_its_own(make_app, tmp_path):
    folder = tmp_path / "templates" / "gatehouse"
    folder.mkdir(parents=True)
    own = '{% extends "gatehouse/layout.html" %}{% block content %}<h1>Our own door</h1>{% endblock %}'
    (folder / "login.html").write_text(own, encoding="utf-8")
    app = make_app(lambda made, _: setattr(made, "template_folder", str(tmp_path / "templates")))
    client = app.test_client()
    assert "<h1>Our own door</h1>" in client.get("/login").get_data(as_text=True)
    assert "<h1>Register</h1>" in client.get("/register").get_data(as_text=True)


def own_pages(folder: Path):
    (folder / "inside.html").write_text(
        '{% extends "gatehouse/layout.html" %}{% block title %}Ours{% endblock %}'
        "{% block brand %}Our app{% endblock %}{% block content %}<h1>Inside</h1>{% endblock %}",
        encoding="utf-8",
    )
    (folder / "bare.html").write_text(
        '{% from "gatehouse/macros.html" import logout_button %}<nav>{{ logout_button("Leave") }}</nav>',
        encoding="utf-8",
    )

    def setup(app, gate):
        app.template_folder = str(folder)
        app.add_url_rule("/inside", "inside", lambda: render_template("inside.html"))
        app.add_url_rule("/bare", "bare", lambda: render_template("bare.html"))
        app.add_url_rule("/open", "open", public(lambda: render_template("inside.html")))

    return setup


def test_v7_4_4_an_app_uses_the_layout_or_just_the_button(make_app, tmp_path):
    app = make_app(own_pages(tmp_path))
    client = newcomer(app, "alice")
    inside = client.get("/inside").get_data(as_text=True)
    assert "<title>Ours</title>" in inside
    assert "Our app" in inside
    assert "alice" in inside
    assert 'action="/logout"' in inside
    assert "alice" not in app.test_client().get("/open").get_data(as_text=True)
    bare = client.get("/bare")
    assert ">Leave</button>" in bare.get_data(as_text=True)
    assert submit(client, "/logout", page="/bare").status_code == 303
    assert client.get("/bare").status_code == 302


def test_the_apps_own_403_page_wins(make_app):
    def setup(app, gate):
        app.register_error_handler(403, lambda _: ("<h3>403 Forbidden</h3>", 403))
        app.add_url_rule("/never", "never", lambda: abort(403))

    client = newcomer(make_app(setup), "alice")
    for path in ("/admin", "/never"):
        answer = client.get(path)
        assert (answer.status_code, answer.get_data(as_text=True)) == (403, "<h3>403 Forbidden</h3>")


def test_prefixes_move_the_pages_and_every_link_on_them(make_app):
    app = make_app(GATEHOUSE_URL_PREFIX="/auth", GATEHOUSE_ADMIN_PREFIX="/staff")
    make_person(app, "root", "admin")
    client = app.test_client()
    submit(client, "/auth/login", username="root", password="quiet river stone")
    pages = ("/auth/account", "/auth/staff", "/auth/staff/users/1", "/auth/account/sessions")
    for path in pages:
        answer = client.get(path)
        assert answer.status_code == 200, path
        page = Elements(answer.get_data(as_text=True))
        targets = [tag.get("href") or tag.get("action") or "" for name, tag in page.found if name in {"a", "form"}]
        assert all(target in {"/", "#content"} or target.startswith("/auth/") for target in targets), targets
    assert client.get("/account").status_code == client.get("/admin").status_code == 404


@pytest.mark.parametrize(
    "agent, name",
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36 Edg/140.0",
            "Edge on Windows",
        ),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15) AppleWebKit/605.1.15 Version/18.0 Safari/605.1.15",
            "Safari on macOS",
        ),
        ("Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 Chrome/140.0 Mobile Safari/537.36", "Chrome on Android"),
        ("curl/8.5.0", "curl/8.5.0"),
        ("x" * 300, "x" * 60),
        ("", "Unknown browser"),
    ],
)
def test_a_browser_is_named_so_that_people_recognise_it(agent, name):
    assert browser_name(agent) == name


def test_the_list_of_sessions_names_the_browsers(make_app):
    app = make_app()
    make_person(app, "alice")
    shown = logged_in(app, "alice", agent="curl/8.5.0").get("/account/sessions").get_data(as_text=True)
    assert "curl/8.5.0" in shown


def test_rule_06_a_page_that_many_ask_for_at_first_is_compiled_by_one_of_them(make_app):
    app = make_app()
    slow = app.jinja_env.loader = SlowLoader(app.jinja_env.loader)
    with ThreadPoolExecutor(8) as many:
        answers = list(many.map(lambda _: app.test_client().get("/login").status_code, range(8)))
    assert answers == [200] * 8
    assert sorted(slow.loaded) == sorted(2 * [f"gatehouse/{name}.html" for name in ("layout", "login", "macros")])


def test_rule_06_a_context_processor_that_fails_or_waits_holds_nobody_up_who_wants_another_page(make_app):
    app = make_app()
    begun, release = threading.Event(), threading.Event()

    @app.context_processor
    def slow():
        if request.path == "/login":
            begun.set()
            assert release.wait(10)
        return {}

    with ThreadPoolExecutor(1) as one:
        waiting = one.submit(lambda: app.test_client().get("/login").status_code)
        assert begun.wait(10)
        assert app.test_client().get("/register").status_code == 200
        release.set()
        assert waiting.result() == 200


def test_rule_06_a_child_that_was_forked_while_a_page_was_compiled_shows_it_all_the_same(make_app, monkeypatch):
    app = make_app()
    monkeypatch.setattr(compiling, "PATIENCE_SECONDS", 0.05)
    app.extensions[WIRED].templates._lock.acquire()
    assert app.test_client().get("/login").status_code == 200


def test_a_page_that_includes_what_is_missing_and_itself_is_compiled(make_app):
    app = make_app()
    parts = {"gatehouse/login.html": '{% include "gone" ignore missing %}{% if x %}{% include y %}{% endif %}ours'}
    parts["gatehouse/login.html"] += '{% if x %}{% include "gatehouse/login.html" %}{% endif %}'
    app.jinja_env.loader = ChoiceLoader([DictLoader(parts), app.jinja_env.loader])
    assert app.test_client().get("/login").text == "ours"


@pytest.mark.parametrize(
    "page",
    [
        '{% if false %}{% include "old" %}{% endif %}ours',
        '{% include ["new", "old"] %}',
    ],
)
def test_what_is_wrong_with_a_template_that_is_never_rendered_hurts_nobody(make_app, page):
    app = make_app()
    parts = {"gatehouse/login.html": page, "old": "{% broken", "new": "ours"}
    app.jinja_env.loader = ChoiceLoader([DictLoader(parts), app.jinja_env.loader])
    assert app.test_client().get("/login").text == "ours"


def test_templates_that_were_compiled_before_need_no_source(make_app, tmp_path):
    app = make_app()
    made = Environment(loader=DictLoader({"gatehouse/login.html": "ours"}), autoescape=True)
    made.compile_templates(tmp_path / "compiled", zip=None)
    app.jinja_env.loader = ChoiceLoader([ModuleLoader(tmp_path / "compiled"), app.jinja_env.loader])
    assert app.test_client().get("/login").text == "ours"
