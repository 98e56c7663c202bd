"""Rule 19: the gate stands before everything else, and lets through only what no view answers."""

from __future__ import annotations

import pytest
from flask import Blueprint, Flask, abort, current_app, g, request
from flask.views import MethodView

import flask_gatehouse as gatehouse
from flask_gatehouse import public
from tests.http.people import come_in, cookie, enter


def closed(app: Flask, path: str, **options) -> bool:
    """Tell whether a guest is sent to the login page."""
    answer = app.test_client().get(path, **options)
    return answer.status_code == 302 and (answer.location or "").startswith("/login")


# --- first --------------------------------------------------------------------------------------------------


def test_rule_19_the_gate_runs_before_hooks_of_extensions_initialised_earlier(build):
    seen = []

    def earlier(app):
        @app.before_request
        def answers():
            seen.append(request.path)
            return "answered by an extension" if request.path == "/page" else None

    app = build(lambda app, gate: app.get("/page")(lambda: "view"), before=earlier)
    assert closed(app, "/page")
    assert seen == []
    assert come_in(app).get("/page").text == "answered by an extension"


def test_rule_19_the_gate_runs_before_hooks_put_in_front_of_it_later(build):
    seen = []

    def setup(app, gate):
        app.get("/page")(lambda: "view")
        app.before_request_funcs.setdefault(None, []).insert(0, lambda: seen.append(g.get("user")))

    app = build(setup)
    app.test_client().get("/nowhere")  # at the first request the gate goes back to its place
    seen.clear()
    assert closed(app, "/page")
    assert seen == []


def test_rule_19_the_gate_runs_before_the_hooks_of_blueprints(build):
    def setup(app, gate):
        house = Blueprint("house", "x")
        house.before_request(lambda: "answered by the blueprint")
        house.before_app_request(lambda: None)
        house.get("/")(lambda: "view")
        app.register_blueprint(house, url_prefix="/house")

    app = build(setup)
    assert closed(app, "/house/")
    assert come_in(app).get("/house/").text == "answered by the blueprint"


def test_rule_19_routes_added_after_gatehouse_are_closed(build):
    app = build()

    @app.get("/late")
    def late():
        return "view"

    assert closed(app, "/late")


def test_rule_19_a_view_that_aborts_was_asked_by_the_gate_first(build):
    def setup(app, gate):
        @app.get("/broken")
        def broken():
            abort(418)

    app = build(setup)
    assert closed(app, "/broken")
    assert come_in(app).get("/broken").status_code == 418


# --- what no view answers -----------------------------------------------------------------------------------


@pytest.fixture
def shop(build):
    def setup(app, gate):
        app.get("/folder/", endpoint="folder")(lambda: "folder")
        app.post("/order", endpoint="order")(lambda: "ordered")
        app.add_url_rule("/explicit", "explicit", lambda: "own options", methods=["GET", "OPTIONS"])
        app.add_url_rule("/shown", "shown", public(lambda: "shown"), methods=["GET"])

        class Api(MethodView):
            def get(self):
                return "read"

            def options(self):
                return "own options"

        app.add_url_rule("/api-like", view_func=Api.as_view("api_like"))

    return build(setup)


def test_rule_19_404_405_and_slash_redirects_pass(shop):
    guest = shop.test_client()
    assert guest.get("/nowhere").status_code == 404
    assert guest.get("/order").status_code == 405
    assert guest.delete("/folder/").status_code == 405
    redirect = guest.get("/folder")
    assert (redirect.status_code, redirect.location) == (308, "http://localhost/folder/")
    assert closed(shop, "/folder/")


@pytest.mark.parametrize("path", ["/folder/", "/order", "/shown"])
def test_rule_19_automatic_options_pass_and_say_the_methods(shop, path):
    answer = shop.test_client().options(path)
    assert answer.status_code == 200
    assert "OPTIONS" in answer.headers["Allow"]
    assert answer.get_data() == b""


@pytest.mark.parametrize("path", ["/explicit", "/api-like"])
def test_rule_19_an_explicit_options_view_is_gated(shop, path):
    answer = shop.test_client().options(path)
    assert (answer.status_code, answer.location) == (302, "/login")
    assert come_in(shop).options(path).text == "own options"


def test_rule_19_an_app_that_turns_automatic_options_off_has_none_to_pass(build):
    def setup(app, gate):
        app.add_url_rule("/x", "x", lambda: "own", methods=["GET", "OPTIONS"], provide_automatic_options=False)

    assert build(setup).test_client().options("/x").status_code == 302


# --- static files -------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "style.css").write_text("body {}", encoding="utf-8")
    return str(folder)


def test_rule_19_static_files_of_app_and_blueprints_are_open(build, files):
    def setup(app, gate):
        house = Blueprint("house", "x", static_folder=files, static_url_path="/house-static")
        app.register_blueprint(house)

    app = build(setup, flask={"static_folder": files, "static_url_path": "/static"})
    guest = app.test_client()
    for path in ("/static/style.css", "/house-static/style.css", "/gatehouse-static/gatehouse.css"):
        answer = guest.get(path, buffered=True)
        assert answer.status_code == 200
        assert "Cookie" not in answer.headers.get("Vary", "")
        assert "no-store" not in answer.headers.get("Cache-Control", "")


def test_rule_19_an_endpoint_that_is_only_named_static_is_gated(build):
    def setup(app, gate):
        app.add_url_rule("/static/<path:filename>", "static", lambda filename: "own")

    assert closed(build(setup, flask={"static_folder": None}), "/static/x")


def test_rule_19_an_endpoint_named_static_before_gatehouse_is_gated_too(build, files):
    def before(app):
        app.static_folder = files
        app.add_url_rule("/static/<path:filename>", "static", lambda filename: "own")

    app = build(before=before, flask={"static_folder": None})
    assert app.has_static_folder
    assert closed(app, "/static/x")


@pytest.mark.parametrize("moment", ["before", "after"])
def test_rule_19_a_view_put_in_place_of_the_static_one_is_gated(build, files, moment):
    def replace(app, gate=None):
        app.view_functions["static"] = lambda filename: "own"

    app = build(
        **{"before" if moment == "before" else "setup": replace},
        flask={"static_folder": files, "static_url_path": "/static"},
    )
    assert closed(app, "/static/style.css")


def test_rule_19_a_blueprints_endpoint_that_is_only_named_static_is_gated(build, files):
    def setup(app, gate):
        house = Blueprint("house", "x")
        house.add_url_rule("/<path:filename>", "static", lambda filename: "own")
        house.add_url_rule("/sent/<path:filename>", "sent", app.send_static_file)
        app.register_blueprint(house, url_prefix="/house")

    app = build(setup, flask={"static_folder": files, "static_url_path": "/static"})
    assert closed(app, "/house/x")
    assert closed(app, "/house/sent/style.css")


def test_rule_19_two_apps_do_not_share_their_static_views(build, files):
    other = Flask("other", static_folder=files)

    def setup(app, gate):
        app.add_url_rule("/lent/<path:filename>", "lent", other.view_functions["static"])

    app = build(setup, flask={"static_folder": files, "static_url_path": "/static"})
    assert app.test_client().get("/static/style.css", buffered=True).status_code == 200
    assert closed(app, "/lent/style.css")


def test_v13_4_3_and_v13_4_7_our_static_folder_lists_nothing_and_serves_nothing_else(build):
    guest = build().test_client()
    for path in ("", "/", "/../__init__.py", "/%2e%2e/__init__.py", "/..%2f__init__.py", "/.env", "/gatehouse.py"):
        assert guest.get(f"/gatehouse-static{path}").status_code == 404


def test_v13_4_1_no_version_control_metadata_is_served(build):
    guest = build().test_client()
    for path in ("/.git/HEAD", "/static/.git/HEAD", "/gatehouse-static/.git/HEAD", "/.env"):
        assert guest.get(path).status_code == 404


# --- several apps, and none ---------------------------------------------------------------------------------


def test_two_apps_in_one_process_know_nothing_of_each_other(build, tmp_path):
    def setup(app, gate):
        app.get("/page")(lambda: current_app.config["NAME"])

    one = build(setup, NAME="one")
    two = build(setup, NAME="two", GATEHOUSE_DATABASE_URL=f"sqlite:///{tmp_path / 'two.sqlite3'}")
    alice = come_in(one)
    assert alice.get("/page").text == "one"
    stranger = two.test_client()
    stranger.set_cookie("gatehouse", cookie(alice))
    assert stranger.get("/page").status_code == 302
    come_in(two, "bob")
    assert enter(one).get("/page").text == "one"


def test_an_app_has_one_gatehouse(build):
    app = build()
    with pytest.raises(gatehouse.SetupError, match="a Gatehouse already"):
        gatehouse.Gatehouse(app)
