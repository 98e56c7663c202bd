"""Every setting: type, default, meaning. The only reader of `app.config`; `problems` judges what it read.

The reference page `docs/reference/settings.md` is made from `Settings`.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dotenv import dotenv_values

from . import parsing
from .errors import SettingsError
from .mail_url import NO_MAIL, MailUrl, parse_contact, parse_mail_url, parse_sender

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Network = ipaddress.IPv4Network | ipaddress.IPv6Network

PREFIX = "GATEHOUSE_"
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
    mail_url: MailUrl = _setting(
        parse_mail_url,
        NO_MAIL,
        "Where mail is handed over: `smtp://[user:password@]host[:port]` (TLS by STARTTLS, demanded and verified off "
        "loopback; `?starttls=never` gives it up), `smtps://…`, or `console:` for debug. Empty: no mail is sent.",
    )
    mail_sender: str = _setting(
        parse_sender, "", "Address that mail is from, or `Name <address>`; needed where mail is sent by SMTP."
    )
    mail_contact: str = _setting(
        parse_contact,
        "",
        "Whom people turn to who get a mail about something they did not do: an address, a URL or a number. Each mail "
        "ends with it.",
    )
    profile: str = _setting(parsing.one_of("default", "strict"), "default", "`strict` tightens the defaults below.")
    registration: str = _setting(
        parsing.one_of("open", "closed"), "open", "Whether anyone may register; `closed` makes `/register` a 404."
    )
    login_name: str = _setting(
        parsing.one_of("username", "email", "both"),
        "username",
        "What is typed to log in: a login name; with `email` and `both` a verified e-mail address too. With `email` "
        "people register without a name; with either nobody logs in before the address is confirmed.",
    )
    password_min: int = _setting(parsing.whole, 8, "Shortest password, in characters (code points).", strict=15)
    breached_passwords: str = _setting(
        parsing.breached_passwords,
        "",
        "List of stolen passwords that new ones are compared with: a file of sorted SHA-1 digests, or the `https://` "
        "address of a service, to which the first five digits are added (`…/range/`). Empty: none is asked.",
    )
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
    admin_factor: str = _setting(
        parsing.one_of("asked", "demanded"),
        "asked",
        "`asked`: administrators without a second factor are asked to enrol one; `demanded`: the role `admin` counts "
        "only in a session in which two factors were proven.",
        strict="demanded",
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


def load(config: Mapping[str, object], *, folder: Path | None = None) -> Settings:
    """Read the settings: Flask config before environment, before `.env`, before the default.

    Args:
        config: the Flask app's config.
        folder: where `.env` is looked for; the working directory when None.

    Returns:
        The settings; whether they are safe is the business of `kernel.problems`.

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


def is_loopback(netloc: str) -> bool:
    """Tell whether a `host[:port]` names this machine's own loopback."""
    host, _, port = netloc.rpartition(":") if not netloc.endswith("]") and ":" in netloc else (netloc, "", "")
    return host.lower() in LOOPBACK_HOSTS and (not port or port.isdecimal())
