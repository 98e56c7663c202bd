"""An app with unsafe settings refuses to serve: 500 for everybody, the mend in the log only."""

from __future__ import annotations

import pytest

import flask_gatehouse as gatehouse
from flask_gatehouse import public
from tests.http.people import gate_of

SOUND = {"TESTING": False, "GATEHOUSE_ARGON2": "19456,2,1", "GATEHOUSE_ORIGINS": "https://app.example"}
SECRET = "0123456789abcdef0123456789abcdef"
TLS = {"base_url": "https://app.example"}

# setting → value, the setting that the log names, a word of the mend
UNSAFE = [
    ({"SECRET_KEY": "short"}, "GATEHOUSE_SECRET_KEY", "token_urlsafe"),
    ({"SECRET_KEY": ""}, "GATEHOUSE_SECRET_KEY", "token_urlsafe"),
    ({"GATEHOUSE_SECRET_KEY_FALLBACKS": "short"}, "GATEHOUSE_SECRET_KEY_FALLBACKS", "remove it"),
    ({"GATEHOUSE_ORIGINS": ""}, "GATEHOUSE_ORIGINS", "https://app.example"),
    ({"GATEHOUSE_ORIGINS": "http://app.example"}, "GATEHOUSE_ORIGINS", "serve it as https://"),
    ({"GATEHOUSE_THROTTLE": "off"}, "GATEHOUSE_THROTTLE", "remove it"),
    ({"GATEHOUSE_ARGON2": "1024,1,1"}, "GATEHOUSE_ARGON2", "19456,2,1"),
    ({"GATEHOUSE_PASSWORD_MIN": "7"}, "GATEHOUSE_PASSWORD_MIN", "8 to 64"),
    ({"GATEHOUSE_SESSION_IDLE": "59"}, "GATEHOUSE_SESSION_IDLE", "60 or more"),
    ({"GATEHOUSE_SESSION_ABSOLUTE": "0"}, "GATEHOUSE_SESSION_ABSOLUTE", "above zero"),
    ({"GATEHOUSE_FRESH": "5"}, "GATEHOUSE_FRESH", "60 or more"),
    ({"GATEHOUSE_REMEMBER": "5"}, "GATEHOUSE_REMEMBER", "60 or more"),
    ({"GATEHOUSE_MAX_SESSIONS": "0"}, "GATEHOUSE_MAX_SESSIONS", "1 or more"),
    ({"GATEHOUSE_PROFILE": "strict"}, "GATEHOUSE_PEPPER", "strict profile needs one"),
    ({"GATEHOUSE_ARGON2": "19456,1,1"}, "GATEHOUSE_ARGON2", "19456,2,1"),
    ({"GATEHOUSE_TRUSTED_PROXIES": "10.0.0.0/8, ::/0"}, "GATEHOUSE_TRUSTED_PROXIES", "name your proxies"),
    ({"GATEHOUSE_TRUSTED_PROXIES": "unix 0.0.0.0/0"}, "GATEHOUSE_TRUSTED_PROXIES", "name your proxies"),
    ({"WTF_CSRF_FIELD_NAME": "my_token"}, "WTF_CSRF_FIELD_NAME", "remove it"),
    ({"GATEHOUSE_LOGIN_NAME": "email"}, "GATEHOUSE_LOGIN_NAME", "or username"),
    ({"GATEHOUSE_USER_FACTOR": "demanded"}, "GATEHOUSE_USER_FACTOR", "add totp"),
    ({"WTF_CSRF_ENABLED": False}, "WTF_CSRF_ENABLED", "remove it"),
    ({"LOGIN_DISABLED": True}, "LOGIN_DISABLED", "remove it"),
    ({"SESSION_COOKIE_HTTPONLY": False}, "SESSION_COOKIE_HTTPONLY", "remove it"),
    ({"SESSION_COOKIE_DOMAIN": ".example"}, "SESSION_COOKIE_DOMAIN", "remove it"),
    ({"SESSION_COOKIE_SAMESITE": "none"}, "SESSION_COOKIE_SAMESITE", "remove it"),
]


def pages(app, gate):
    app.get("/open", endpoint="open")(public(lambda: "open"))


@pytest.mark.parametrize(
    "config, setting, mend", UNSAFE, ids=[f"{setting}-{number}" for number, (_, setting, _) in enumerate(UNSAFE)]
)
def test_v13_2_3_v13_4_2_an_unsafe_setting_refuses_to_serve_and_only_the_log_says_why(
    build, caplog, config, setting, mend
):
    app = build(pages, **{**SOUND, **config})
    client = app.test_client()
    for method, path in (("GET", "/open"), ("GET", "/login"), ("POST", "/login"), ("GET", "/account")):
        answer = client.open(path, method=method, **TLS)
        assert (answer.status_code, answer.text) == (500, "Internal Server Error\n")
        assert "Set-Cookie" not in answer.headers
    line = next(
        record.message for record in caplog.records if record.message.startswith(f"refusing to serve: {setting}: ")
    )
    assert mend in line


def test_a_sound_app_serves(build):
    app = build(pages, **SOUND)
    assert app.test_client().get("/open", **TLS).text == "open"
    assert app.test_client().get("/login", **TLS).status_code == 200


def test_a_secret_is_never_in_the_log(build, caplog):
    app = build(pages, **{**SOUND, "SECRET_KEY": "hunter2"})
    app.test_client().get("/open", **TLS)
    assert "GATEHOUSE_SECRET_KEY" in caplog.text
    assert "hunter2" not in caplog.text


def test_an_unsafe_app_can_be_looked_at(build):
    app = build(pages, **{**SOUND, "SECRET_KEY": "short", "GATEHOUSE_ORIGINS": ""})
    assert {problem.setting for problem in gate_of(app).problems(app)} == {"GATEHOUSE_SECRET_KEY", "GATEHOUSE_ORIGINS"}
    assert any(row.endpoint == "open" for row in gate_of(app).route_table(app))


def test_mended_it_serves_without_a_restart(build):
    app = build(pages, **{**SOUND, "LOGIN_DISABLED": True})
    client = app.test_client()
    assert client.get("/open", **TLS).status_code == 500
    del app.config["LOGIN_DISABLED"]
    assert client.get("/open", **TLS).text == "open"


@pytest.mark.parametrize("relaxed", [{"DEBUG": True}, {"TESTING": True}], ids=["debug", "tests"])
def test_debug_and_tests_are_read_at_the_first_request(build, relaxed):
    app = build(pages, **{**SOUND, "SECRET_KEY": "short", "GATEHOUSE_ORIGINS": ""})
    app.config.update(relaxed)
    assert app.test_client().get("/open").text == "open"


@pytest.mark.parametrize(
    "config",
    [
        {"GATEHOUSE_NO_SUCH_SETTING": 1},
        {"GATEHOUSE_SECRET": "x"},
        {"GATEHOUSE_SESSION_IDLE": "soon"},
        {"GATEHOUSE_ORIGINS": "app.example"},
        {"GATEHOUSE_FEATURES": "teleport"},
        {"GATEHOUSE_TRUSTED_PROXIES": "everybody"},
    ],
    ids=lambda config: next(iter(config)),
)
def test_a_setting_that_cannot_be_understood_is_an_error_at_once(build, config):
    with pytest.raises(gatehouse.SettingsError, match=next(iter(config))):
        build(pages, **config)


STRICT = {**SOUND, "GATEHOUSE_ARGON2": "47104,2,1", "GATEHOUSE_PROFILE": "strict", "GATEHOUSE_PEPPER": SECRET}
LOOSER = {
    "GATEHOUSE_REMEMBER": "365d",
    "GATEHOUSE_SESSION_IDLE": "31m",
    "GATEHOUSE_SESSION_ABSOLUTE": "13h",
    "GATEHOUSE_SESSION_PROTECTION": "none",
    "GATEHOUSE_PASSWORD_MIN": "14",
    "GATEHOUSE_ARGON2": "47104,1,1",
    "GATEHOUSE_ADMIN_IDLE": "16m",
    "GATEHOUSE_FRESH": "6m",
}
TIGHTER = {
    "GATEHOUSE_SESSION_IDLE": "10m",
    "GATEHOUSE_PASSWORD_MIN": "20",
    "GATEHOUSE_ARGON2": "65536,3,4",
    "GATEHOUSE_FRESH": "4m",
}


def test_v13_2_3_under_the_strict_profile_a_looser_value_refuses_to_serve(build):
    assert gate_of(app := build(pages, **STRICT)).problems(app) == []
    assert gate_of(app := build(pages, **{**STRICT, **TIGHTER})).problems(app) == []
    found = gate_of(app := build(pages, **{**STRICT, **LOOSER})).problems(app)
    assert {problem.setting for problem in found} == set(LOOSER)
    assert {problem.text.partition(" (")[0] for problem in found} == {"looser than the strict profile"}
    assert app.test_client().get("/open", **TLS).status_code == 500


@pytest.mark.parametrize(
    "key, value",
    [
        ("GATEHOUSE_REGISTRATION", "closed"),
        ("GATEHOUSE_PROFILE", "strict"),
        ("GATEHOUSE_SESION_IDLE", "5m"),  # misspelt, so that nothing else would ever look at it
        ("SECRET_KEY", SECRET),
    ],
)
def test_v13_2_3_a_setting_that_comes_too_late_refuses_to_serve(build, caplog, key, value):
    app = build(pages, **SOUND)
    app.config[key] = value
    assert app.test_client().get("/open", **TLS).status_code == 500
    assert f"refusing to serve: {key}: was changed after Gatehouse(app) had read it: set it before" in caplog.text


def test_flasks_own_secret_may_change_in_tests_and_where_ours_counts(build):
    relaxed = build(pages)
    relaxed.config["SECRET_KEY"] = SECRET
    assert relaxed.test_client().get("/open").text == "open"
    ours = build(pages, **SOUND, GATEHOUSE_SECRET_KEY=SECRET[::-1])
    ours.config["SECRET_KEY"] = SECRET
    assert ours.test_client().get("/open", **TLS).text == "open"
