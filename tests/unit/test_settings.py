"""Settings: where a value comes from, which names exist, which values are unsafe to serve with."""

from __future__ import annotations

from dataclasses import fields
from datetime import timedelta

import pytest

from flask_gatehouse.kernel import settings
from flask_gatehouse.kernel.errors import SettingsError
from flask_gatehouse.kernel.problems import problems
from flask_gatehouse.kernel.settings import Settings, load

SECRET = "a secret of the settings' tests, long enough"
SAFE: dict[str, object] = {"SECRET_KEY": SECRET, "GATEHOUSE_ORIGINS": "https://app.example"}
NAMES = [item.name for item in fields(Settings)]


def unsafe(config: dict[str, object], *, relaxed: bool = False) -> list[str]:
    """Return the names of the settings that are unsafe."""
    return [problem.setting for problem in problems(load(config), config, relaxed=relaxed)]


# --- where a value comes from ------------------------------------------------------------------------------


def test_config_wins_over_the_environment_that_over_dotenv_that_over_the_default(monkeypatch, tmp_path):
    key = "GATEHOUSE_MAX_SESSIONS"
    assert load({}).max_sessions == 20
    (tmp_path / ".env").write_text(f"{key}=3\n", encoding="utf-8")
    assert load({}).max_sessions == 3
    monkeypatch.setenv(key, "4")
    assert load({}).max_sessions == 4
    assert load({key: 5}).max_sessions == 5


def test_dotenv_is_looked_for_in_the_folder_given(tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / ".env").write_text("GATEHOUSE_PROFILE=strict\n", encoding="utf-8")
    assert load({}).profile == "default"
    assert load({}, folder=folder).profile == "strict"


@pytest.mark.parametrize("name", NAMES)
def test_v13_3_1_every_setting_can_stand_in_a_file_of_its_own(monkeypatch, tmp_path, name):
    examples = {"origins": "https://a.example", "trusted_proxies": "10.0.0.0/8", "profile": "strict"}
    examples |= {"registration": "closed", "login_name": "both", "session_protection": "basic", "throttle": "off"}
    examples |= {"admin_factor": "demanded", "user_factor": "demanded"}
    examples |= {"argon2": "64,1,1", "url_prefix": "/auth", "admin_prefix": "/boss", "first_user_admin": "yes"}
    examples |= {"after_login": "/home", "database_url": "sqlite:///elsewhere.sqlite3"}
    examples |= {"password_min": "12", "max_sessions": "7", "features": "totp"}
    examples |= {"mail_url": "smtp://mail.example", "mail_sender": "no-reply@app.example"}
    examples |= {"support": "help@app.example"}
    durations = {"session_idle", "session_absolute", "admin_idle", "fresh", "remember"}
    text = examples.get(name, "123s" if name in durations else "some text")
    path = tmp_path / "value"
    path.write_text(text + "\n", encoding="utf-8")
    full = f"GATEHOUSE_{name.upper()}"
    monkeypatch.setenv(f"{full}_FILE", str(path))
    from_file = load({})
    monkeypatch.delenv(f"{full}_FILE")
    assert getattr(from_file, name) == getattr(load({full: text}), name) != getattr(load({}), name)
    assert settings.secret_files({f"{full}_FILE": str(path)}) == [path]


def test_the_value_itself_wins_over_its_file_in_one_place_and_a_nearer_file_over_a_farther_value(monkeypatch, tmp_path):
    path = tmp_path / "pepper"
    path.write_text("from the file", encoding="utf-8")
    assert load({"GATEHOUSE_PEPPER": "here", "GATEHOUSE_PEPPER_FILE": str(path)}).pepper == "here"
    monkeypatch.setenv("GATEHOUSE_PEPPER", "environment")
    assert load({"GATEHOUSE_PEPPER_FILE": path}).pepper == "from the file"


def test_of_a_file_only_the_line_end_is_cut(tmp_path):
    path = tmp_path / "pepper"
    path.write_bytes(b" blanks count \r\n")
    assert load({"GATEHOUSE_PEPPER_FILE": str(path)}).pepper == " blanks count "


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_an_error_that_shows_nothing_of_it(tmp_path, content):
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match="GATEHOUSE_SECRET_KEY_FILE") as caught:
        load({"GATEHOUSE_SECRET_KEY_FILE": str(path)})
    assert "\\xff" not in str(caught.value)


def test_flasks_own_secret_counts_where_the_prefixed_one_is_absent():
    config = {"SECRET_KEY": "flask", "SECRET_KEY_FALLBACKS": ["older"]}
    assert (load(config).secret_key, load(config).secret_key_fallbacks) == ("flask", ("older",))
    config |= {"GATEHOUSE_SECRET_KEY": "ours", "GATEHOUSE_SECRET_KEY_FALLBACKS": "one,two"}
    assert (load(config).secret_key, load(config).secret_key_fallbacks) == ("ours", ("one", "two"))
    assert load({"SECRET_KEY": b"bytes"}).secret_key == "bytes"
    assert load({"SECRET_KEY": None}).secret_key == ""


@pytest.mark.parametrize("key", ["GATEHOUSE_SESION_IDLE", "GATEHOUSE_", "GATEHOUSE_FILE", "GATEHOUSE_NO_SUCH_FILE"])
def test_an_unknown_name_is_refused_wherever_it_stands(monkeypatch, tmp_path, key):
    with pytest.raises(SettingsError, match=key):
        load({key: "1"})
    monkeypatch.setenv(key, "1")
    with pytest.raises(SettingsError, match=key):
        load({})
    monkeypatch.delenv(key)
    (tmp_path / ".env").write_text(f"{key}=1\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=key):
        load({})


def test_other_keys_of_the_host_are_left_alone(monkeypatch):
    monkeypatch.setenv("MY_GATEHOUSE_THING", "1")
    assert load({"GATEHOUSEKEEPER": 1, "DEBUG": True}) == load({})


@pytest.mark.parametrize(
    "key, value",
    [
        ("GATEHOUSE_MAX_SESSIONS", "many"),
        ("GATEHOUSE_SESSION_IDLE", "an hour"),
        ("GATEHOUSE_PROFILE", "loose"),
        ("GATEHOUSE_ORIGINS", "app.example"),
        ("GATEHOUSE_PEPPER", None),
        ("SECRET_KEY", 5),
        ("SECRET_KEY_FALLBACKS", 5),
    ],
)
def test_a_value_that_cannot_be_read_names_its_setting_and_not_itself(key, value):
    with pytest.raises(SettingsError, match=f"^{key} must"):
        load({key: value})


def test_v11_7_2_settings_show_no_value():
    loaded = load({"SECRET_KEY": SECRET, "GATEHOUSE_PEPPER": "a pepper"})
    assert repr(loaded) == "<Settings of profile 'default'>"


def test_there_are_at_most_sixty_settings_and_each_says_what_it_means():
    assert len(NAMES) <= 60
    assert [item.name for item in fields(Settings) if not item.metadata["meaning"].endswith(".")] == []


# --- defaults ----------------------------------------------------------------------------------------------


def test_v7_1_1_the_defaults_are_those_of_the_design():
    loaded = load({})
    assert (loaded.session_idle, loaded.session_absolute) == (timedelta(hours=1), timedelta(hours=24))
    assert (loaded.admin_idle, loaded.fresh) == (timedelta(minutes=30), timedelta(minutes=10))
    assert (loaded.remember, loaded.max_sessions) == (timedelta(0), 20)
    assert (loaded.password_min, loaded.argon2, loaded.session_protection) == (8, (19456, 2, 1), "strong")
    assert (loaded.registration, loaded.throttle, loaded.after_login) == ("open", "on", "/")


def test_the_strict_profile_tightens_what_is_not_set():
    loaded = load({"GATEHOUSE_PROFILE": "strict"})
    assert (loaded.session_idle, loaded.session_absolute) == (timedelta(minutes=30), timedelta(hours=12))
    assert (loaded.admin_idle, loaded.fresh) == (timedelta(minutes=15), timedelta(minutes=5))
    assert (loaded.password_min, loaded.argon2) == (15, (47104, 2, 1))
    assert load({"GATEHOUSE_PROFILE": "strict", "GATEHOUSE_PASSWORD_MIN": 20}).password_min == 20


def test_v6_2_1_63b_3_1_1_2_01_under_strict_eight_are_enough_where_no_password_stands_alone():
    strict = {"GATEHOUSE_PROFILE": "strict", "GATEHOUSE_USER_FACTOR": "demanded", "GATEHOUSE_FEATURES": "totp"}
    assert load(strict).password_min == 8
    assert load(strict | {"GATEHOUSE_PASSWORD_MIN": 20}).password_min == 20
    safe = SAFE | strict | {"GATEHOUSE_PEPPER": SECRET}
    assert unsafe(safe | {"GATEHOUSE_PASSWORD_MIN": 12}) == []
    alone = safe | {"GATEHOUSE_USER_FACTOR": "offered", "GATEHOUSE_PASSWORD_MIN": 12}
    assert unsafe(alone) == ["GATEHOUSE_PASSWORD_MIN"]


# --- unsafe values -----------------------------------------------------------------------------------------


def test_a_secret_and_an_origin_are_all_that_serving_needs():
    assert unsafe(SAFE) == []
    assert unsafe({}) == ["GATEHOUSE_SECRET_KEY", "GATEHOUSE_ORIGINS"]
    assert unsafe({}, relaxed=True) == []


@pytest.mark.parametrize(
    "setting, config",
    [
        ("GATEHOUSE_SECRET_KEY", {"SECRET_KEY": "x" * 31}),
        ("GATEHOUSE_SECRET_KEY_FALLBACKS", {"SECRET_KEY_FALLBACKS": [SECRET, "x" * 31]}),
        ("GATEHOUSE_PEPPER", {"GATEHOUSE_PROFILE": "strict"}),
        ("GATEHOUSE_PEPPER", {"GATEHOUSE_PROFILE": "strict", "GATEHOUSE_PEPPER": "x" * 31}),
        ("GATEHOUSE_THROTTLE", {"GATEHOUSE_THROTTLE": "off"}),
        ("GATEHOUSE_SESSION_IDLE", {"GATEHOUSE_SESSION_IDLE": 59}),
        ("GATEHOUSE_SESSION_ABSOLUTE", {"GATEHOUSE_SESSION_ABSOLUTE": 59}),
        ("GATEHOUSE_ADMIN_IDLE", {"GATEHOUSE_ADMIN_IDLE": 59}),
        ("GATEHOUSE_FRESH", {"GATEHOUSE_FRESH": 59}),
        ("GATEHOUSE_REMEMBER", {"GATEHOUSE_REMEMBER": 59}),
    ],
)
def test_v11_2_3_what_is_unsafe_outside_debug_and_tests_is_named(setting, config):
    assert unsafe(SAFE | config) == [setting]
    assert unsafe(SAFE | config, relaxed=True) == []


@pytest.mark.parametrize("relaxed", [True, False])
@pytest.mark.parametrize(
    "setting, config",
    [
        ("GATEHOUSE_ORIGINS", {"GATEHOUSE_ORIGINS": "https://app.example http://app.example"}),
        ("GATEHOUSE_ORIGINS", {"GATEHOUSE_ORIGINS": "http://localhost.evil.example"}),
        ("GATEHOUSE_ORIGINS", {"GATEHOUSE_ORIGINS": "http://127.0.0.2"}),
        ("GATEHOUSE_SESSION_ABSOLUTE", {"GATEHOUSE_MAX_SESSIONS": 5, "GATEHOUSE_SESSION_ABSOLUTE": 0}),
        ("GATEHOUSE_MAX_SESSIONS", {"GATEHOUSE_MAX_SESSIONS": 0}),
        ("GATEHOUSE_PASSWORD_MIN", {"GATEHOUSE_PASSWORD_MIN": 7}),
        ("GATEHOUSE_PASSWORD_MIN", {"GATEHOUSE_PASSWORD_MIN": 65}),
        ("GATEHOUSE_LOGIN_NAME", {"GATEHOUSE_LOGIN_NAME": "email"}),
        ("SESSION_COOKIE_HTTPONLY", {"SESSION_COOKIE_HTTPONLY": False}),
        ("SESSION_COOKIE_DOMAIN", {"SESSION_COOKIE_DOMAIN": "example"}),
        ("SESSION_COOKIE_SAMESITE", {"SESSION_COOKIE_SAMESITE": "None"}),
    ],
)
def test_v3_3_2_what_is_unsafe_everywhere_is_named_in_debug_too(relaxed, setting, config):
    found = unsafe(SAFE | config, relaxed=relaxed)
    assert setting in found
    assert set(found) <= {setting} or "0" in str(config.values())


@pytest.mark.parametrize("name", ["SESSION_IDLE", "SESSION_ABSOLUTE", "ADMIN_IDLE"])
def test_63b_2_1_3_1_a_session_without_an_end_is_unsafe_in_debug_too(name):
    for relaxed in (True, False):
        assert unsafe(SAFE | {f"GATEHOUSE_{name}": 0}, relaxed=relaxed) == [f"GATEHOUSE_{name}"]


@pytest.mark.parametrize(
    "name, content, said", [("nowhere", None, "cannot read"), ("latin", b"\xe4" * 40, "not UTF-8")]
)
def test_a_file_that_cannot_be_read_is_named_with_what_is_wrong_and_the_mend(tmp_path, name, content, said):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(
        SettingsError, match=f"GATEHOUSE_PEPPER_FILE: .*{said}.*; (mend the path|write its text)"
    ) as told:
        load({"GATEHOUSE_PEPPER_FILE": str(path)})
    assert str(path) in str(told.value)


def test_administrators_limits_follow_the_settings():
    assert (load({}).admin_absolute, load({}).admin_fresh) == (timedelta(hours=24), timedelta(minutes=5))
    strict = load({"GATEHOUSE_PROFILE": "strict", "GATEHOUSE_FRESH": "2m"})
    assert (strict.admin_absolute, strict.admin_fresh) == (timedelta(hours=8), timedelta(minutes=2))


@pytest.mark.parametrize(
    "setting, config",
    [
        ("WTF_CSRF_ENABLED", {"WTF_CSRF_ENABLED": False}),
        ("LOGIN_DISABLED", {"LOGIN_DISABLED": True}),
        ("GATEHOUSE_ARGON2", {"GATEHOUSE_ARGON2": "19455,2,1"}),
    ],
)
def test_v13_4_2_what_tests_alone_may_do_is_unsafe_even_in_debug(setting, config):
    assert unsafe(SAFE | config, relaxed=True) == [setting]
    assert unsafe(SAFE | config | {"TESTING": True}, relaxed=True) == []


@pytest.mark.parametrize("origin", ["http://localhost:5000", "http://127.0.0.1", "http://[::1]:8000"])
def test_plain_http_is_safe_on_loopback_alone(origin):
    assert unsafe(SAFE | {"GATEHOUSE_ORIGINS": origin}) == []


def test_v13_3_2_no_problem_repeats_a_secret():
    config = SAFE | {"SECRET_KEY": "short-secret", "GATEHOUSE_PROFILE": "strict", "GATEHOUSE_PEPPER": "short-pepper"}
    texts = [problem.text for problem in problems(load(config), config, relaxed=False)]
    assert len(texts) == 2
    assert all("short-" not in text for text in texts)


@pytest.mark.parametrize(
    "netloc, is_it",
    [
        ("localhost", True),
        ("LOCALHOST:80", True),
        ("127.0.0.1:5000", True),
        ("[::1]", True),
        ("[::1]:5000", True),
        ("localhost:", True),
        ("localhost:80x", False),
        ("127.0.0.1.evil.example", False),
        ("evil.example:127", False),
        ("[::2]", False),
        ("::1", False),
        ("", False),
    ],
)
def test_loopback_is_told_by_the_whole_host(netloc, is_it):
    assert settings.is_loopback(netloc) is is_it
