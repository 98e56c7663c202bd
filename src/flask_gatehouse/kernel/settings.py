"""Every setting: type, default, meaning, and which values are unsafe. The only reader of `app.config`.

The reference page `docs/reference/settings.md` is made from `Settings`.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dotenv import dotenv_values

from . import parsing
from .errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Network = ipaddress.IPv4Network | ipaddress.IPv6Network

PREFIX = "GATEHOUSE_"
MIN_SECRET_LENGTH = 32
MINUTE = timedelta(minutes=1)
ARGON2_FLOOR_KIB, ARGON2_ONE_PASS_KIB = 19456, 47104
"""OWASP's pairs: 19456 KiB with two passes, 47104 KiB with one."""
SHORTEST_PASSWORD, LONGEST_MINIMUM = 8, 64
"""NIST SP 800-63B 3.1.1.2: 8 at least; passwords of 64 must be possible."""
ADMIN_FRESH = timedelta(minutes=5)
STRICT_ADMIN_ABSOLUTE = timedelta(hours=8)
FLASKS_SECRETS = frozenset({"SECRET_KEY", "SECRET_KEY_FALLBACKS"})
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})


def _setting(parse: Callable[[object], Any], default: object, meaning: str, strict: object = None) -> Any:
    metadata = {"parse": parse, "meaning": meaning, "strict": strict}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Settings:
    """The settings of one app, read once. Field `session_idle` is the setting `GATEHOUSE_SESSION_IDLE`."""

    secret_key: str = _setting(
        parsing.secret,
        "",
        "Root of every key; Flask's own `SECRET_KEY` counts when it is absent. 32 characters or more.",
    )
    secret_key_fallbacks: tuple[str, ...] = _setting(
        parsing.secrets_list, (), "Older secrets that still verify while cookies and links made with them run out."
    )
    origins: tuple[str, ...] = _setting(
        parsing.origins,
        (),
        "Where the app is served, such as `https://app.example`. Source of all links, the Origin check and the "
        "cookies' form; other Hosts get 400. Required outside debug and tests.",
    )
    trusted_proxies: tuple[Network | str, ...] = _setting(
        parsing.networks,
        (),
        "Whose `X-Forwarded-For` is believed: `none`, or CIDRs, and `unix` for a proxy that connects by a unix socket.",
    )
    database_url: str = _setting(
        parsing.database_url,
        "",
        "SQLAlchemy URL; `sqlite:///…` or `postgresql+psycopg://…`. Empty: SQLite in the instance folder.",
    )
    valkey_url: str = _setting(parsing.text, "", "Valkey or Redis for sessions and counters; not used by this release.")
    mail_url: str = _setting(parsing.text, "", "`smtp://`, `smtps://` or `console:`; not used by this release.")
    mail_sender: str = _setting(parsing.text, "", "Address that mail is sent from; not used by this release.")
    profile: str = _setting(parsing.one_of("default", "strict"), "default", "`strict` tightens the defaults below.")
    registration: str = _setting(
        parsing.one_of("open", "closed"), "open", "Whether anyone may register; `closed` makes `/register` a 404."
    )
    login_name: str = _setting(
        parsing.one_of("username", "email", "both"),
        "username",
        "What is typed to log in; e-mail addresses come with mail.",
    )
    password_min: int = _setting(parsing.whole, 8, "Shortest password, in characters (code points).", strict=15)
    argon2: tuple[int, int, int] = _setting(
        parsing.argon2, (19456, 2, 1), "Argon2id cost `m,t,p` (KiB, passes, lanes).", strict=(47104, 2, 1)
    )
    pepper: str = _setting(
        parsing.secret, "", "Secret for a keyed step before hashing, kept outside the database; `strict` requires one."
    )
    session_idle: timedelta = _setting(
        parsing.duration,
        timedelta(minutes=60),
        "A session unused for this long has ended.",
        strict=timedelta(minutes=30),
    )
    session_absolute: timedelta = _setting(
        parsing.duration,
        timedelta(hours=24),
        "A session whose last proof is older than this has ended, used or not.",
        strict=timedelta(hours=12),
    )
    session_protection: str = _setting(
        parsing.one_of("strong", "basic", "none"),
        "strong",
        "`strong`: a request with another user agent than at login (versions apart) is refused; `basic`: not fresh.",
        strict="strong",
    )
    max_sessions: int = _setting(parsing.whole, 20, "Live sessions of one user; the oldest ends when one more begins.")
    admin_idle: timedelta = _setting(
        parsing.duration, timedelta(minutes=30), "`SESSION_IDLE` of administrators.", strict=timedelta(minutes=15)
    )
    fresh: timedelta = _setting(
        parsing.duration,
        timedelta(minutes=10),
        "How long a proof counts as fresh; for administrators and factor changes at most 5 minutes.",
        strict=timedelta(minutes=5),
    )
    remember: timedelta = _setting(
        parsing.duration,
        timedelta(0),
        'Life of a session with "remember me", its idle limit too; `0`: no such box.',
        strict=timedelta(0),
    )
    throttle: str = _setting(
        parsing.one_of("on", "off"),
        "on",
        "`off` only in debug and tests: no account or address counts; hashing stays bounded.",
    )
    after_login: str = _setting(parsing.local_path, "/", "Where a login without `next` leads; a path of this app.")
    csp: str = _setting(
        parsing.text,
        "",
        "Content-Security-Policy of the app's own pages, `{nonce}` stands for `gatehouse_nonce()`; empty: none.",
    )
    features: tuple[str, ...] = _setting(parsing.words, (), "Optional parts to switch on, comma separated.")
    url_prefix: str = _setting(parsing.url_path, "", "Prefix of all Gatehouse pages, such as `/auth`.")
    admin_prefix: str = _setting(parsing.url_path, "/admin", "Prefix of the administrators' pages.")
    first_user_admin: bool = _setting(
        parsing.flag,
        default=False,
        meaning="The first user to register becomes administrator, once: from loopback, elsewhere with the code that "
        "`gatehouse demo` prints. Made for the demo: elsewhere run `gatehouse init --admin NAME`.",
    )

    @property
    def admin_absolute(self) -> timedelta:
        """`SESSION_ABSOLUTE` of administrators: at most 8 hours under `strict`."""
        is_strict = self.profile == "strict"
        return min(self.session_absolute, STRICT_ADMIN_ABSOLUTE) if is_strict else self.session_absolute

    @property
    def admin_fresh(self) -> timedelta:
        """`FRESH` of administrators and of factor changes: at most 5 minutes."""
        return min(self.fresh, ADMIN_FRESH)

    def __repr__(self) -> str:
        """Hide all values: the secret is among them."""
        return f"<Settings of profile {self.profile!r}>"


@dataclass(frozen=True, slots=True)
class Problem:
    """An unsafe setting and its mend.

    Attributes:
        setting: its full name.
        text: what is wrong and what to set instead; never the value of a secret.
    """

    setting: str
    text: str


def load(config: Mapping[str, object], *, folder: Path | None = None) -> Settings:
    """Read the settings: Flask config before environment, before `.env`, before the default.

    Args:
        config: the Flask app's config.
        folder: where `.env` is looked for; the working directory when None.

    Returns:
        The settings; whether they are safe is `problems()`'s business.

    Raises:
        SettingsError: a `GATEHOUSE_` key is unknown or a value cannot be read.
    """
    sources: tuple[Mapping[str, object], ...] = (config, os.environ, _dotenv(folder or Path.cwd()))
    given = dict(_given(sources))
    strict = given.get("profile") == "strict"
    values: dict[str, object] = {}
    for item in fields(Settings):
        if item.name in given:
            values[item.name] = given[item.name]
        elif strict and item.metadata["strict"] is not None:
            values[item.name] = item.metadata["strict"]
    if "secret_key" not in given:
        values["secret_key"] = _parsed("SECRET_KEY", parsing.secret, config.get("SECRET_KEY") or "")
    if "secret_key_fallbacks" not in given:
        fallbacks = config.get("SECRET_KEY_FALLBACKS") or ()
        values["secret_key_fallbacks"] = _parsed("SECRET_KEY_FALLBACKS", parsing.secrets_list, fallbacks)
    return Settings(**values)  # type: ignore[arg-type]  # each value came out of its field's own parser


def secret_files(config: Mapping[str, object], folder: Path | None = None) -> list[Path]:
    """Return the files named by `GATEHOUSE_…_FILE` settings, and `.env` where there is one."""
    base = folder or Path.cwd()
    sources: tuple[Mapping[str, object], ...] = (config, os.environ, _dotenv(base))
    names = {item.name for item in fields(Settings)}
    found = [
        Path(str(value))
        for source in sources
        for key, value in source.items()
        if key.startswith(PREFIX) and key.endswith("_FILE") and key.removeprefix(PREFIX).lower() not in names
    ]
    return [*dict.fromkeys(found), *([base / ".env"] if (base / ".env").is_file() else [])]


def _dotenv(folder: Path) -> Mapping[str, object]:
    path = folder / ".env"
    return {key: value for key, value in dotenv_values(path).items() if value is not None} if path.is_file() else {}


def _given(sources: tuple[Mapping[str, object], ...]) -> Iterator[tuple[str, object]]:
    parsers = {item.name: item.metadata["parse"] for item in fields(Settings)}
    seen: set[str] = set()
    for source in sources:
        for key in sorted(key for key in source if key.startswith(PREFIX)):
            name = key.removeprefix(PREFIX).lower()
            is_file = name not in parsers and name.endswith("_file")
            name = name.removesuffix("_file") if is_file else name
            if name not in parsers:
                msg = f"unknown setting {key}: remove it, or see the settings reference for the right name"
                raise SettingsError(msg)
            if name not in seen:
                seen.add(name)
                yield name, _parsed(key, parsers[name], _file_text(key, source[key]) if is_file else source[key])


def _file_text(key: str, path: object) -> str:
    try:
        return Path(str(path)).read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        msg = f"{key}: cannot read {path}: {error.strerror}; mend the path or its mode"
        raise SettingsError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"{key}: {path} is not UTF-8; write its text anew as UTF-8"
        raise SettingsError(msg) from error


def _parsed(key: str, parse: Callable[[object], Any], value: object) -> Any:
    try:
        return parse(value)
    except ValueError as error:
        msg = f"{key} {error}"
        raise SettingsError(msg) from error


def as_told(config: Mapping[str, object]) -> dict[str, object]:
    """Return what a config says of our settings at the moment they are read, for `problems()` to compare later."""
    return {key: value for key, value in config.items() if key.startswith(PREFIX) or key in FLASKS_SECRETS}


def problems(
    settings: Settings, config: Mapping[str, object], *, relaxed: bool, told: Mapping[str, object] | None = None
) -> list[Problem]:
    """Return what makes these settings unsafe to serve with.

    Args:
        settings: the settings.
        config: the Flask app's config, for the keys of Flask, Flask-Login and Flask-WTF that could weaken ours.
        relaxed: `app.debug or app.testing`.
        told: `as_told()` of the config when the settings were read; what differs by now came too late.
    """
    found = list(_always(settings, config, testing=bool(config.get("TESTING"))))
    found += _set_too_late(told, config, relaxed=relaxed) if told is not None else ()
    if not relaxed:
        found += _outside_debug_and_tests(settings)
    return found


def _always(settings: Settings, config: Mapping[str, object], *, testing: bool) -> Iterator[Problem]:
    yield from _own(settings, testing=testing)
    if config.get("WTF_CSRF_ENABLED") is False and not testing:
        yield Problem("WTF_CSRF_ENABLED", "False leaves every form open to other sites: remove it")
    if config.get("WTF_CSRF_FIELD_NAME", "csrf_token") != "csrf_token":
        yield Problem("WTF_CSRF_FIELD_NAME", "the token is bound to its session under the name csrf_token: remove it")
    if config.get("LOGIN_DISABLED") and not testing:
        yield Problem("LOGIN_DISABLED", "opens every page: remove it")
    if config.get("SESSION_COOKIE_HTTPONLY") is False:
        yield Problem("SESSION_COOKIE_HTTPONLY", "False would show the cookie to scripts: remove it")
    if config.get("SESSION_COOKIE_DOMAIN"):
        yield Problem("SESSION_COOKIE_DOMAIN", "would share the session with other hosts: remove it")
    if str(config.get("SESSION_COOKIE_SAMESITE") or "Lax").lower() == "none":
        yield Problem("SESSION_COOKIE_SAMESITE", "'None' sends the session along from other sites: remove it")


def _set_too_late(told: Mapping[str, object], config: Mapping[str, object], *, relaxed: bool) -> Iterator[Problem]:
    """Find what was set after `Gatehouse(app)` had read the settings: it looks as if it counted."""
    now = as_told(config)
    for key in sorted(told.keys() | now.keys()):
        is_spared = key in FLASKS_SECRETS and (relaxed or f"{PREFIX}{key}" in now)
        if told.get(key) != now.get(key) and not is_spared:
            yield Problem(key, "was changed after Gatehouse(app) had read it: set it before, or call init_app() later")


def _own(settings: Settings, *, testing: bool) -> Iterator[Problem]:
    for origin in settings.origins:
        if origin.startswith("http://") and not is_loopback(urlsplit(origin).netloc):
            yield Problem("GATEHOUSE_ORIGINS", f"{origin} is plain HTTP off loopback: serve it as https://")
    for name in ("session_absolute", "session_idle", "admin_idle"):
        if not getattr(settings, name):
            yield Problem(PREFIX + name.upper(), "0 leaves sessions without an end: set it above zero")
    if settings.max_sessions < 1:
        yield Problem("GATEHOUSE_MAX_SESSIONS", "must be 1 or more")
    memory, passes, _ = settings.argon2
    if memory < (ARGON2_FLOOR_KIB if passes > 1 else ARGON2_ONE_PASS_KIB) and not testing:
        text = f"memory below {ARGON2_FLOOR_KIB} KiB, or {ARGON2_ONE_PASS_KIB} KiB for a single pass"
        yield Problem("GATEHOUSE_ARGON2", f"{text}: set {ARGON2_FLOOR_KIB},2,1 or more")
    if any(not isinstance(proxy, str) and not proxy.prefixlen for proxy in settings.trusted_proxies):
        yield Problem("GATEHOUSE_TRUSTED_PROXIES", "a network of all addresses lets all name theirs: name your proxies")
    if not SHORTEST_PASSWORD <= settings.password_min <= LONGEST_MINIMUM:
        yield Problem("GATEHOUSE_PASSWORD_MIN", f"must be {SHORTEST_PASSWORD} to {LONGEST_MINIMUM}")
    if settings.login_name != "username":
        yield Problem("GATEHOUSE_LOGIN_NAME", "needs verified e-mail addresses, not in this release: set username")


def _outside_debug_and_tests(settings: Settings) -> Iterator[Problem]:
    mend = "python -c 'import secrets; print(secrets.token_urlsafe(48))'"
    if len(settings.secret_key) < MIN_SECRET_LENGTH:
        yield Problem(
            "GATEHOUSE_SECRET_KEY", f"missing or under {MIN_SECRET_LENGTH} characters: set the output of {mend}"
        )
    if any(len(fallback) < MIN_SECRET_LENGTH for fallback in settings.secret_key_fallbacks):
        yield Problem("GATEHOUSE_SECRET_KEY_FALLBACKS", f"one is under {MIN_SECRET_LENGTH} characters: remove it")
    if not settings.origins:
        yield Problem("GATEHOUSE_ORIGINS", "missing: set where the app is served, such as https://app.example")
    if settings.profile == "strict" and len(settings.pepper) < MIN_SECRET_LENGTH:
        yield Problem("GATEHOUSE_PEPPER", f"the strict profile needs one: set the output of {mend}")
    if settings.profile == "strict":
        yield from _looser_than_strict(settings)
    if settings.throttle == "off":
        yield Problem("GATEHOUSE_THROTTLE", "off outside debug and tests: remove it")
    for name in ("session_idle", "session_absolute", "admin_idle", "fresh", "remember"):
        value = getattr(settings, name)
        if value < MINUTE and (value or name == "fresh"):  # of the others 0 is refused everywhere, or means none
            yield Problem(PREFIX + name.upper(), "under a minute outside debug and tests: set 60 or more")


def _looser_than_strict(settings: Settings) -> Iterator[Problem]:
    """Find values that take back what the profile promises."""
    for item in fields(Settings):
        bound, value = item.metadata["strict"], getattr(settings, item.name)
        if bound is not None and _is_looser(value, bound):
            shown = ",".join(map(str, bound)) if isinstance(bound, tuple) else bound
            yield Problem(PREFIX + item.name.upper(), f"looser than the strict profile ({shown}): remove it")


def _is_looser(value: Any, bound: Any) -> bool:
    if isinstance(bound, timedelta):
        return bool(value > bound)
    if isinstance(bound, tuple):  # Argon2: memory and passes; lanes make it neither stronger nor weaker
        return any(mine < least for mine, least in zip(value[:2], bound[:2], strict=True))
    return bool(value < bound) if isinstance(bound, int) else value != bound


def out_of_place(settings: Settings, *, relaxed: bool) -> Iterator[Problem]:
    """Yield what is no reason to refuse to serve, and yet not what its owner may think.

    Args:
        settings: the settings.
        relaxed: `app.debug or app.testing`.
    """
    for name in ("valkey_url", "mail_url", "mail_sender"):
        if getattr(settings, name):
            yield Problem(PREFIX + name.upper(), "not used by this release: remove it")
    if settings.first_user_admin and not relaxed:
        text = "made for the demo: remove it, and run gatehouse init --admin NAME"
        yield Problem(f"{PREFIX}FIRST_USER_ADMIN", text)


def is_loopback(netloc: str) -> bool:
    """Tell whether a `host[:port]` names this machine's own loopback."""
    host, _, port = netloc.rpartition(":") if not netloc.endswith("]") and ":" in netloc else (netloc, "", "")
    return host.lower() in LOOPBACK_HOSTS and (not port or port.isdecimal())
